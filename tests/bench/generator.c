/* The engine of the load generator. */
#include "generator.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "request.h"
#include "response.h"

enum {
    EVENTS = 512,
    RECEIVE_BYTES = 64 * 1024,
    CONNECTING_MAX = 256,     /* handshakes at once: more would overflow a listen queue and wait a second for the next SYN */
    CONNECT_WAIT_SECONDS = 15, /* for all connections before the load starts */
    LOOK_MS = 200,            /* how often time-outs and the stop flag are looked at */
    RECONNECTS_IN_ROW = 100,  /* failed connects without a success in between: the server is gone */
};

static const uint64_t second_ns = 1000000000;

enum connection_state { CONNECTION_CLOSED, CONNECTION_CONNECTING, CONNECTION_IDLE, CONNECTION_BUSY };

struct connection {
    int descriptor;
    enum connection_state state;
    bool wants_write;
    struct request request;
    size_t request_sent;
    uint64_t due_ns;  /* when the request was due: what latency counts from */
    uint64_t sent_ns; /* when it was really sent: what the time-out counts from */
    struct response response;
};

struct generator {
    const struct load_plan *plan;
    struct load_result *result;
    struct sockaddr_storage address;
    socklen_t address_length;
    int epoll, timer;
    struct connection *connections;
    uint32_t *idle; /* a stack of idle connections */
    uint32_t idle_count, connecting, busy, opened;
    unsigned failed_in_row;
    bool started, finished;
    uint64_t begin_ns, measured_from_ns, end_ns, next_due_ns, last_answer_ns, stopped_ns;
    double interval_ns;
    uint64_t serial; /* requests sent */
    struct targets targets;
    bool announced, head_request;
    char *receive;
};

/* ---- Connections ---- */

static void watch(struct generator *generator, struct connection *connection, bool write) {
    struct epoll_event event = {.events = EPOLLIN | (write ? (uint32_t)EPOLLOUT : 0), .data.ptr = connection};
    epoll_ctl(generator->epoll, EPOLL_CTL_MOD, connection->descriptor, &event);
    connection->wants_write = write;
}

static void connection_close(struct generator *generator, struct connection *connection) {
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->state == CONNECTION_CONNECTING)
        generator->connecting--;
    else if (connection->state == CONNECTION_BUSY)
        generator->busy--;
    else {
        uint32_t number = (uint32_t)(connection - generator->connections);
        for (uint32_t i = 0; i < generator->idle_count; i++)
            if (generator->idle[i] == number) {
                generator->idle[i] = generator->idle[--generator->idle_count];
                break;
            }
    }
    close(connection->descriptor);
    connection->state = CONNECTION_CLOSED;
}

static void connection_open(struct generator *generator, struct connection *connection) {
    connection->descriptor = socket(generator->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->descriptor < 0) {
        fprintf(stderr, "load: socket: %s\n", strerror(errno));
        exit(2);
    }
    int on = 1;
    setsockopt(connection->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->state = CONNECTION_CONNECTING;
    connection->wants_write = true;
    generator->connecting++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    epoll_ctl(generator->epoll, EPOLL_CTL_ADD, connection->descriptor, &event);
    /* Success and failure both arrive as an event. */
    (void)!connect(connection->descriptor, (const struct sockaddr *)&generator->address, generator->address_length);
}

static void connection_idle(struct generator *generator, struct connection *connection) {
    connection->state = CONNECTION_IDLE;
    generator->idle[generator->idle_count++] = (uint32_t)(connection - generator->connections);
}

static void connection_reopen(struct generator *generator, struct connection *connection) {
    connection_close(generator, connection);
    if (generator->finished)
        return;
    generator->result->reconnects++;
    connection_open(generator, connection);
}

/* An answer that will never come: the connection broke or took too long. */
static void connection_fail(struct generator *generator, struct connection *connection) {
    if (connection->state == CONNECTION_BUSY)
        generator->result->transport_errors++;
    connection_reopen(generator, connection);
}

static bool connection_write(struct generator *generator, struct connection *connection) {
    const struct request *request = &connection->request;
    while (connection->request_sent < request->length) {
        ssize_t written = send(connection->descriptor, request->bytes + connection->request_sent,
                               request->length - connection->request_sent, MSG_NOSIGNAL);
        if (written < 0) {
            if (errno != EAGAIN)
                return false;
            if (!connection->wants_write)
                watch(generator, connection, true);
            return true;
        }
        connection->request_sent += (size_t)written;
    }
    if (connection->wants_write)
        watch(generator, connection, false);
    return true;
}

static void request_send(struct generator *generator, struct connection *connection, uint64_t due_ns, uint64_t now) {
    const struct load_plan *plan = generator->plan;
    request_build(&connection->request, plan, &generator->targets, plan->first + generator->serial++);
    connection->request_sent = 0;
    generator->result->sent++;
    response_reset(&connection->response);
    connection->due_ns = due_ns;
    connection->sent_ns = now;
    connection->state = CONNECTION_BUSY;
    generator->busy++;
    if (!connection_write(generator, connection))
        connection_fail(generator, connection);
}

static bool may_send(const struct generator *generator, uint64_t due_ns) {
    const struct load_plan *plan = generator->plan;
    return generator->started && !generator->finished && due_ns < generator->end_ns &&
           (plan->requests == 0 || generator->serial < plan->requests);
}

/* Sends what is due on the connections that are idle, and sets the timer for what is due next. */
static void dispatch(struct generator *generator) {
    uint64_t now = monotonic_ns();
    if (generator->interval_ns <= 0) {
        while (generator->idle_count > 0 && may_send(generator, now))
            request_send(generator, &generator->connections[generator->idle[--generator->idle_count]], now, now);
        return;
    }
    while (generator->idle_count > 0 && generator->next_due_ns <= now && may_send(generator, generator->next_due_ns)) {
        uint64_t due = generator->next_due_ns;
        generator->next_due_ns = generator->begin_ns + (uint64_t)((double)(generator->serial + 1) * generator->interval_ns);
        request_send(generator, &generator->connections[generator->idle[--generator->idle_count]], due, now);
    }
    if (generator->idle_count > 0 && may_send(generator, generator->next_due_ns)) {
        struct itimerspec when = {.it_value = {.tv_sec = (time_t)(generator->next_due_ns / second_ns),
                                               .tv_nsec = (long)(generator->next_due_ns % second_ns)}};
        timerfd_settime(generator->timer, TFD_TIMER_ABSTIME, &when, NULL);
    }
}

/* ---- Answers ---- */

static void check_answer(struct generator *generator, const struct response *response) {
    const struct load_plan *plan = generator->plan;
    struct load_result *result = generator->result;
    size_t length;
    const char *body = response_body(response, &length);
    bool fits = plan->expected_status ? response->status == plan->expected_status : response->status / 100 == 2;
    if (fits && plan->expected_text)
        fits = memmem(body, length, plan->expected_text, strlen(plan->expected_text)) != NULL;
    if (fits)
        return;
    if (result->unexpected++ == 0) {
        result->unexpected_status = response->status;
        size_t kept = length < sizeof result->sample - 1 ? length : sizeof result->sample - 1;
        memcpy(result->sample, body, kept);
        result->sample[kept] = '\0';
    }
}

static void answer_complete(struct generator *generator, struct connection *connection) {
    struct load_result *result = generator->result;
    uint64_t now = monotonic_ns();
    result->answered++;
    result->statuses[connection->response.status]++;
    if (connection->due_ns >= generator->measured_from_ns)
        histogram_record(&result->latency, now - connection->due_ns);
    if (now >= generator->measured_from_ns && now < generator->end_ns)
        result->measured++;
    generator->last_answer_ns = now;
    check_answer(generator, &connection->response);
    generator->busy--;
    connection_idle(generator, connection);
    if (connection->response.closes)
        connection_reopen(generator, connection);
}

static void connection_read(struct generator *generator, struct connection *connection) {
    for (;;) {
        ssize_t length = recv(connection->descriptor, generator->receive, RECEIVE_BYTES, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            connection_fail(generator, connection);
            return;
        }
        generator->result->received_bytes += (uint64_t)length;
        enum response_state state = RESPONSE_INVALID;
        if (connection->state == CONNECTION_BUSY)
            state = response_feed(&connection->response, generator->receive, (size_t)length, generator->head_request);
        if (state == RESPONSE_INVALID) {
            connection_fail(generator, connection);
            return;
        }
        if (state == RESPONSE_COMPLETE) {
            answer_complete(generator, connection);
            return;
        }
        if (length < RECEIVE_BYTES)
            return; /* what is to come makes a new event: no second recv only to be told so */
    }
}

static void connection_event(struct generator *generator, struct connection *connection, uint32_t events) {
    if (connection->state == CONNECTION_CLOSED)
        return;
    if (connection->state == CONNECTION_CONNECTING) {
        int failure = 0;
        socklen_t length = sizeof failure;
        getsockopt(connection->descriptor, SOL_SOCKET, SO_ERROR, &failure, &length);
        if (failure || (events & (EPOLLERR | EPOLLHUP))) {
            generator->failed_in_row++;
            connection_reopen(generator, connection);
            return;
        }
        generator->failed_in_row = 0;
        generator->connecting--;
        connection_idle(generator, connection);
        watch(generator, connection, false);
        return;
    }
    if ((events & EPOLLOUT) && !connection_write(generator, connection)) {
        connection_fail(generator, connection);
        return;
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        connection_read(generator, connection);
}

/* ---- The run ---- */

static void start(struct generator *generator) {
    const struct load_plan *plan = generator->plan;
    generator->started = true;
    generator->begin_ns = generator->next_due_ns = monotonic_ns();
    generator->measured_from_ns = generator->begin_ns + (uint64_t)(plan->warm_up_s * 1e9);
    generator->end_ns = plan->duration_s > 0 ? generator->measured_from_ns + (uint64_t)(plan->duration_s * 1e9) : UINT64_MAX;
    generator->result->reconnects = 0;
}

static void fail_overdue(struct generator *generator) {
    uint64_t now = monotonic_ns(), timeout = (uint64_t)(generator->plan->timeout_s * 1e9);
    for (uint32_t i = 0; i < generator->opened; i++) {
        struct connection *connection = &generator->connections[i];
        if (connection->state == CONNECTION_BUSY && now - connection->sent_ns > timeout) {
            generator->result->timeouts++;
            connection_fail(generator, connection);
        }
    }
}

/* What was due before the end and never sent waited at least until now. */
static void count_unsent(struct generator *generator, uint64_t now) {
    uint64_t limit = generator->plan->requests ? generator->plan->requests : UINT64_MAX;
    uint64_t last_due = now < generator->end_ns ? now : generator->end_ns;
    for (uint64_t number = generator->serial; generator->interval_ns > 0 && number < limit; number++) {
        uint64_t due = generator->begin_ns + (uint64_t)((double)number * generator->interval_ns);
        if (due >= last_due)
            break;
        generator->result->unsent++;
        if (due >= generator->measured_from_ns)
            histogram_record(&generator->result->latency, now - due);
    }
}

/* Whether the load is over; what is under way is still waited for. */
static bool is_over(const struct generator *generator, uint64_t now) {
    if (now >= generator->end_ns)
        return true;
    return generator->plan->requests > 0 && generator->serial >= generator->plan->requests;
}

static int resolve(struct generator *generator, char error[GENERATOR_ERROR_BYTES]) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int result = getaddrinfo(generator->plan->address, generator->plan->port, &hints, &found);
    if (result) {
        snprintf(error, GENERATOR_ERROR_BYTES, "%s: %s", generator->plan->address, gai_strerror(result));
        return -1;
    }
    memcpy(&generator->address, found->ai_addr, found->ai_addrlen);
    generator->address_length = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int loop(struct generator *generator, const volatile sig_atomic_t *stop, char error[GENERATOR_ERROR_BYTES]) {
    const struct load_plan *plan = generator->plan;
    struct epoll_event events[EVENTS];
    uint64_t entered = monotonic_ns(), looked = entered;
    while (!generator->finished || generator->busy > 0) {
        while (generator->opened < plan->connections && generator->connecting < CONNECTING_MAX)
            connection_open(generator, &generator->connections[generator->opened++]);
        if (!generator->started && generator->idle_count == plan->connections)
            start(generator);
        dispatch(generator);
        if (plan->announce && !generator->announced && generator->busy == plan->connections) {
            generator->announced = true;
            fprintf(stderr, "load: %u requests are under way\n", generator->busy);
        }
        uint64_t now = monotonic_ns();
        if (now - looked > (uint64_t)LOOK_MS * 1000000u) {
            looked = now;
            fail_overdue(generator);
        }
        if (generator->started && !generator->finished && (*stop || is_over(generator, now))) {
            generator->finished = true;
            generator->stopped_ns = now;
            count_unsent(generator, now);
        }
        if (!generator->started && (*stop || now - entered > CONNECT_WAIT_SECONDS * second_ns)) {
            snprintf(error, GENERATOR_ERROR_BYTES, "only %u of %u connections to %s:%s", generator->idle_count,
                     plan->connections, plan->address, plan->port);
            return -1;
        }
        if (generator->failed_in_row > RECONNECTS_IN_ROW) {
            snprintf(error, GENERATOR_ERROR_BYTES, "%s:%s refuses connections", plan->address, plan->port);
            return -1;
        }
        if (generator->finished && generator->busy == 0)
            break;
        int count = epoll_wait(generator->epoll, events, EVENTS, LOOK_MS);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                connection_event(generator, events[i].data.ptr, events[i].events);
            else
                (void)!read(generator->timer, &(uint64_t){0}, sizeof(uint64_t));
        }
    }
    /* A load of so many requests lasts until its last answer, one of some seconds until they have passed. */
    uint64_t end = generator->end_ns == UINT64_MAX ? generator->last_answer_ns : generator->end_ns;
    if (generator->stopped_ns < end && *stop)
        end = generator->stopped_ns;
    if (end > generator->measured_from_ns)
        generator->result->seconds = (double)(end - generator->measured_from_ns) / 1e9;
    return 0;
}

int generator_run(const struct load_plan *plan, const volatile sig_atomic_t *stop, struct load_result *result,
                  char error[GENERATOR_ERROR_BYTES]) {
    struct generator generator = {.plan = plan, .result = result, .epoll = -1, .timer = -1};
    memset(result, 0, sizeof *result);
    generator.interval_ns = plan->rate > 0 ? 1e9 / plan->rate : 0;
    targets_init(&generator.targets, plan);
    generator.head_request = strcmp(plan->method, "HEAD") == 0;
    if (resolve(&generator, error))
        return -1;
    generator.epoll = epoll_create1(EPOLL_CLOEXEC);
    generator.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(generator.epoll, EPOLL_CTL_ADD, generator.timer, &event);
    generator.receive = memory_grow(NULL, RECEIVE_BYTES);
    generator.idle = memory_grow(NULL, plan->connections * sizeof *generator.idle);
    generator.connections = memory_grow(NULL, plan->connections * sizeof *generator.connections);
    memset(generator.connections, 0, plan->connections * sizeof *generator.connections);
    int status = loop(&generator, stop, error);
    generator.finished = true;
    for (uint32_t i = 0; i < generator.opened; i++) {
        connection_close(&generator, &generator.connections[i]);
        free(generator.connections[i].request.bytes);
    }
    free(generator.connections);
    free(generator.idle);
    free(generator.receive);
    close(generator.timer);
    close(generator.epoll);
    return status;
}
