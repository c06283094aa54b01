/* A whole request over a socket, and what comes back. The input is the request with any line ends. Connection: close is added,
 * and Content-Length where there is a body whose length the head does not tell. */
#ifndef TESTS_FUZZ_REQUEST_H
#define TESTS_FUZZ_REQUEST_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "fuzz.h"

enum { REQUEST_PATIENCE_US = 100000 };

/* Where the body begins; the length of the head when there is none. */
static inline size_t request_head_length(const char *text, size_t size) {
    for (size_t i = 0; i + 1 < size; i++)
        if (text[i] == '\n' && (text[i + 1] == '\n' || (text[i + 1] == '\r' && i + 2 < size && text[i + 2] == '\n')))
            return text[i + 1] == '\n' ? i + 2 : i + 3;
    return size;
}

static inline void request_send_all(int connection, const char *bytes, size_t size) {
    while (size) {
        ssize_t sent = send(connection, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return; /* it has answered already and closed */
        bytes += sent;
        size -= (size_t)sent;
    }
}

static inline void request_send(int connection, const char *text, size_t size) {
    size_t head = request_head_length(text, size);
    char *upper = memory_bytes(text, head), length[64];
    bool told = strcasestr(upper, "\nContent-Length:") || strcasestr(upper, "\nTransfer-Encoding:");
    free(upper);
    const char *line = memchr(text, '\n', head);
    size_t first = line ? (size_t)(line - text) + 1 : size;
    request_send_all(connection, text, first);
    if (!line)
        return;
    /* Behind the request line. */
    request_send_all(connection, "Connection: close\r\n", 19);
    if (head < size && !told) {
        int written = snprintf(length, sizeof length, "Content-Length: %zu\r\n", size - head);
        request_send_all(connection, length, (size_t)written);
    }
    request_send_all(connection, text + first, size - first);
}

/* Sends the request and fills answer, at most limit bytes, with what comes until the end. Returns its length. */
static inline size_t request_exchange(const struct sockaddr_in *address, const uint8_t *bytes, size_t size, char *answer,
                                      size_t limit) {
    size_t length = 0;
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connection >= 0);
    REQUIRE(connect(connection, (const struct sockaddr *)address, sizeof *address) == 0);
    /* A request that is cut short is waited for by the server: it has no answer, and is given up. */
    const struct timeval patience = {.tv_usec = REQUEST_PATIENCE_US};
    REQUIRE(setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    char *text = take_rest(bytes, size);
    request_send(connection, text, size);
    free(text);
    shutdown(connection, SHUT_WR);
    for (ssize_t got; length < limit && (got = recv(connection, answer + length, limit - length, 0)) > 0;)
        length += (size_t)got;
    close(connection);
    return length;
}

#endif
