/* Opening the listening socket here rather than in libmicrohttpd, which knows neither host names nor "all addresses of both
 * families", and whose error does not say which address it could not bind. */
#include "listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "memory.h"

/* Splits "HOST:PORT" in a copy of it; the brackets of an IPv6 address are dropped. */
static int split_address(char *address, const char **host, const char **port) {
    char *end;
    if (address[0] == '[') {
        end = strchr(address, ']');
        if (end == NULL || end[1] != ':')
            return -1;
        *end++ = '\0';
        *host = address + 1;
    } else {
        end = strrchr(address, ':');
        /* More than one colon without brackets: an IPv6 address whose port cannot be told from its last group. */
        if (end == NULL || strchr(address, ':') != end)
            return -1;
        *host = address;
    }
    *end = '\0';
    *port = end + 1;
    if (**host == '\0' || **port == '\0' || strspn(*port, "0123456789") != strlen(*port) || strlen(*port) > 5)
        return -1;
    return strtol(*port, NULL, 10) <= 65535 ? 0 : -1;
}

/* The same with the error, which tells the whole address. */
static int split(const char *address, char *copy, const char **host, const char **service, struct error *error) {
    if (split_address(copy, host, service) == 0)
        return 0;
    return error_set(error, ERROR_INVALID, "Cannot listen on \"%s\": an address is HOST:PORT, [IPV6]:PORT or *:PORT", address);
}

/* Returns a descriptor that listens, or -1 with errno. */
static int open_socket(const struct addrinfo *info, bool both_families) {
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP), on = 1, only = !both_families;
    if (fd < 0)
        return -1;
    /* A restarted program must not wait for the connections of the one before to leave TIME-WAIT. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (info->ai_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0) &&
        bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static unsigned bound_port(int fd) {
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0)
        return 0;
    if (bound.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&bound)->sin6_port);
    /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): getsockname() has filled it */
    return ntohs(((struct sockaddr_in *)&bound)->sin_port);
}

int listen_check(const char *address, struct error *error) {
    char *copy = memory_string(address);
    const char *host, *service;
    int status = split(address, copy, &host, &service, error);
    free(copy);
    return status;
}

int listen_open(const char *address, unsigned *port, struct error *error) {
    char *copy = memory_string(address);
    const char *host, *service;
    struct addrinfo *found = NULL;
    int fd = -1;
    if (split(address, copy, &host, &service, error) != 0)
        goto out;
    bool all = strcmp(host, "*") == 0;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int failure = getaddrinfo(all ? NULL : host, service, &hints, &found);
    if (failure != 0) {
        /* A name server that is away, as when a machine starts, comes back. */
        bool passes = failure == EAI_AGAIN || failure == EAI_MEMORY || failure == EAI_SYSTEM;
        error_set(error, passes ? ERROR_UNAVAILABLE : ERROR_INVALID, "Cannot listen on \"%s\": %s", address,
                  failure == EAI_SYSTEM ? strerror(errno) : gai_strerror(failure));
        goto out;
    }
    /* For all addresses an IPv6 socket that takes IPv4 too is tried first, then IPv4 alone where the kernel has no IPv6. */
    int cause = 0;
    for (int pass = 0; pass < (all ? 2 : 1) && fd < 0; pass++)
        for (const struct addrinfo *info = found; info != NULL && fd < 0; info = info->ai_next) {
            if (all && (info->ai_family == AF_INET6) != (pass == 0))
                continue;
            fd = open_socket(info, all);
            if (fd < 0 && cause == 0)
                cause = errno;
        }
    if (fd < 0)
        error_set(error, cause == EADDRINUSE ? ERROR_CONFLICT : ERROR_UNAVAILABLE, "Cannot listen on \"%s\": %s", address,
                  strerror(cause));
    else
        *port = bound_port(fd);
out:
    if (found != NULL)
        freeaddrinfo(found);
    free(copy);
    return fd;
}
