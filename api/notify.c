/* Noticing what administration has changed: a datagram socket, a thread that waits on it, and one job for all who look. */
#include "notify.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memory.h"

#define SOCKET_NAME "notify.sock"

struct notify {
    struct job job;
    struct writer *writer;
    struct notify_subscriber *subscribers;
    bool *seen; /* of the job: whose look has succeeded */
    size_t count;
    int directory, socket, stop_event;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* guards all below */
    bool busy, again;     /* the job is under way; something came since it began */
    bool stopping;
};

/* A socket's address holds about a hundred bytes, and a path may be longer: it is named through the open directory. */
static struct sockaddr_un address_in(int directory) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, directory);
    return address;
}

/* ---- the job ---- */

static int run(struct job *job, struct store *store, struct error *error) {
    struct notify *notify = (struct notify *)job;
    (void)error;
    pthread_mutex_lock(&notify->lock);
    notify->again = false; /* what was committed until now is seen */
    pthread_mutex_unlock(&notify->lock);
    for (size_t i = 0; i < notify->count; i++) {
        const struct notify_subscriber *subscriber = &notify->subscribers[i];
        struct error reason = {0};
        notify->seen[i] = subscriber->look(subscriber->context, store, &reason) == 0;
        if (!notify->seen[i])
            log_error("change is not taken over yet", "what", subscriber->name, "reason", reason.message);
    }
    return 0;
}

static void look(struct notify *notify);

static void done(struct job *job, int status, const struct error *error) {
    struct notify *notify = (struct notify *)job;
    for (size_t i = 0; status == 0 && i < notify->count; i++)
        if (notify->seen[i])
            notify->subscribers[i].act(notify->subscribers[i].context);
    if (status != 0)
        log_warning("store was not looked at", "reason", error->message);
    pthread_mutex_lock(&notify->lock);
    notify->busy = false;
    bool again = notify->again;
    pthread_mutex_unlock(&notify->lock);
    if (again)
        look(notify);
}

/* Lets everybody look, now or once the present look is over. */
static void look(struct notify *notify) {
    pthread_mutex_lock(&notify->lock);
    notify->again = true;
    if (!notify->busy && !notify->stopping)
        notify->busy = writer_submit(notify->writer, &notify->job) == 0;
    pthread_mutex_unlock(&notify->lock);
}

/* ---- the thread ---- */

static void drain(int file) {
    char byte;
    while (recv(file, &byte, sizeof byte, MSG_DONTWAIT) >= 0) {
    }
}

static void *notify_main(void *context) {
    struct notify *notify = context;
    struct pollfd events[] = {{.fd = notify->socket, .events = POLLIN}, {.fd = notify->stop_event, .events = POLLIN}};
    pthread_setname_np(pthread_self(), "notify");
    while (!events[1].revents) {
        drain(notify->socket);
        look(notify);
        while (poll(events, 2, NOTIFY_PERIOD_MS) < 0 && errno == EINTR) {
        }
    }
    return NULL;
}

/* ---- life ---- */

static int listen_in(struct notify *notify, const char *data_directory, struct error *error) {
    notify->directory = open(data_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (notify->directory < 0)
        return error_set(error, error_code_of(errno), "data directory %s: %s", data_directory, strerror(errno));
    unlinkat(notify->directory, SOCKET_NAME, 0); /* of an earlier process: the lock says that no other one serves */
    const struct sockaddr_un address = address_in(notify->directory);
    notify->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode first: bind() gives it to the file. */
    if (notify->socket < 0 || fchmod(notify->socket, 0600) != 0 ||
        bind(notify->socket, (const struct sockaddr *)&address, sizeof address) != 0)
        return error_set(error, error_code_of(errno), "making the socket %s/" SOCKET_NAME ": %s", data_directory,
                         strerror(errno));
    return 0;
}

struct notify *notify_new(const char *data_directory, struct writer *writer, const struct notify_subscriber *subscribers,
                          size_t count, struct error *error) {
    struct notify *notify = memory_new(sizeof *notify);
    notify->job = (struct job){.checks_first = true, .run = run, .done = done};
    notify->writer = writer;
    notify->count = count;
    notify->subscribers = memory_new(count * sizeof *subscribers);
    memcpy(notify->subscribers, subscribers, count * sizeof *subscribers);
    notify->seen = memory_new(count * sizeof *notify->seen);
    notify->socket = -1;
    pthread_mutex_init(&notify->lock, NULL);
    notify->stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (listen_in(notify, data_directory, error)) {
        notify_free(notify);
        return NULL;
    }
    if (pthread_create(&notify->thread, NULL, notify_main, notify) != 0)
        abort(); /* no threads at start: nothing can work */
    notify->started = true;
    return notify;
}

void notify_stop(struct notify *notify) {
    if (!notify || !notify->started)
        return;
    uint64_t one = 1;
    if (write(notify->stop_event, &one, sizeof one) < 0)
        abort(); /* an eventfd that was never written to takes it */
    pthread_join(notify->thread, NULL);
    notify->started = false;
    pthread_mutex_lock(&notify->lock);
    notify->stopping = true;
    pthread_mutex_unlock(&notify->lock);
    unlinkat(notify->directory, SOCKET_NAME, 0);
}

void notify_free(struct notify *notify) {
    if (!notify)
        return;
    notify_stop(notify);
    if (notify->socket >= 0)
        close(notify->socket);
    if (notify->directory >= 0)
        close(notify->directory);
    close(notify->stop_event);
    pthread_mutex_destroy(&notify->lock);
    free(notify->subscribers);
    free(notify->seen);
    free(notify);
}

void notify_send(const char *data_directory) {
    int directory = open(data_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (directory >= 0 && file >= 0) {
        const struct sockaddr_un address = address_in(directory);
        /* Nobody serves, or it has a byte waiting already: both are fine. */
        if (sendto(file, "", 1, MSG_NOSIGNAL, (const struct sockaddr *)&address, sizeof address) < 0)
            log_debug("no API was told of the change", "reason", strerror(errno));
    }
    if (file >= 0)
        close(file);
    if (directory >= 0)
        close(directory);
}
