/* The HTTP server: epoll threads of libmicrohttpd, and the way of one request through its access handler.
 *
 * libmicrohttpd calls the handler once when the headers are in, once per piece of the body, and once more when all is in (and
 * again after a resume). Answers are queued in that last call: one queued in the first call makes it close the connection, and
 * in between it refuses them. So an early answer is noted and the rest of the body read and dropped, within bounds: a client
 * that is still sending would otherwise meet a reset instead of its answer. */
#include "http.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "http_connection.h"
#include "http_cors.h"
#include "http_internal.h"
#include "listen.h"
#include "log.h"
#include "memory.h"
#include "metrics.h"

/* How much of an unwanted body is read so that its sender sees the answer and the connection can go on. */
static const size_t DRAIN_LIMIT = 1024 * 1024;
/* Descriptors beside connections: database, brokers, epoll and the like. */
static const rlim_t DESCRIPTORS_RESERVED = 128;

struct http_server {
    struct http_server_options options;
    struct MHD_Daemon *daemon;
    struct http_connections *connections;
    int listen_fd; /* closed by libmicrohttpd */
    unsigned port;
    _Atomic unsigned active;
    _Atomic unsigned waiters; /* threads in http_server_wait_idle() */
    pthread_mutex_t mutex;    /* guards nothing but the sleep of the waiters */
    pthread_cond_t idle;
};

/* ---- the log of libmicrohttpd ---- */

/* Most of what it says is about clients that went away or sent nonsense; these beginnings are about us. */
static bool is_serious(const char *line) {
    static const char *const beginnings[] = {
        "Hit process",      "Error accepting",    "Call to epoll",        "Failed to set",    "Failed to create",
        "Failed to signal", "Attempted to queue", "Refused wrong status", "Error allocating",
    };
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
        if (strncmp(line, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

static void __attribute__((format(printf, 2, 0))) log_library(void *context, const char *format, va_list arguments) {
    char line[512];
    (void)context;
    vsnprintf(line, sizeof line, format, arguments);
    line[strcspn(line, "\n")] = '\0';
    if (is_serious(line))
        log_warning("http library", "message", line);
    else
        log_debug("http library", "message", line);
}

static _Noreturn void panic(void *context, const char *file, unsigned line, const char *reason) {
    (void)context;
    log_error("http library failed", "file", file, "line", LOG_NUMBER(line), "reason", reason != NULL ? reason : "unknown");
    abort();
}

/* Paths and queries stay as they were sent: "%2F" is not a '/' yet when the path is split. */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text) {
    (void)context;
    (void)connection;
    return strlen(text);
}

/* ---- answering ---- */

void http_request_defer(struct http_request *request) {
    request->deferred = true;
    /* Here and not after on_request has returned: another thread may answer before that, and a resume needs its suspend. */
    MHD_suspend_connection(request->connection);
}

void http_request_resume(struct http_request *request) {
    struct MHD_Connection *connection = request->connection;
    atomic_store_explicit(&request->resumed, true, memory_order_release);
    MHD_resume_connection(connection); /* the request may be gone from here on */
}

/* Gives up the answer's reference, if the request has one. */
static void release_response(struct http_request *request) {
    if (request->response != NULL && !request->shared)
        MHD_destroy_response(request->response);
    request->response = NULL;
}

static void answer(struct http_request *request, unsigned status, struct MHD_Response *response, bool shared) {
    struct MHD_Connection *connection = request->connection;
    bool deferred = request->deferred;
    if (atomic_load_explicit(&request->answered, memory_order_acquire)) {
        log_error("request answered twice", "path", request->path, "status", LOG_NUMBER(status));
        if (!shared)
            MHD_destroy_response(response);
        return;
    }
    if (request->server->options.on_answer)
        request->server->options.on_answer(request->server->options.context, status);
    request->status = status;
    request->response = response;
    request->shared = shared;
    atomic_store_explicit(&request->answered, true, memory_order_release);
    if (deferred)
        MHD_resume_connection(connection); /* the request may be gone from here on */
}

void http_respond(struct http_request *request, unsigned status, struct MHD_Response *response) {
    answer(request, status, response, false);
}

void http_respond_shared(struct http_request *request, unsigned status, struct MHD_Response *response) {
    answer(request, status, response, true);
}

static void respond_error(struct http_request *request, unsigned status) {
    const struct http_server_options *options = &request->server->options;
    http_respond(request, status, options->on_error(options->context, request, status));
}

static struct metric limited = {.name = "jwk_http_requests_limited_total",
                                .labels = "by=\"address\"",
                                .help = "Requests answered 429, by whose rate was exceeded."};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&limited);
}

/* Answers 429 when the address has used its rate up. */
static void check_rate(struct http_request *request) {
    const struct http_server_options *options = &request->server->options;
    int64_t wait_us;
    if (http_connection_take_request(request->peer, &wait_us))
        return;
    metric_add(&limited, 1);
    struct MHD_Response *response = options->on_error(options->context, request, MHD_HTTP_TOO_MANY_REQUESTS);
    http_response_retry_after(response, wait_us);
    http_respond(request, MHD_HTTP_TOO_MANY_REQUESTS, response);
}

const struct http_cors *http_server_cors(const struct http_server *server) {
    return &server->options.cors;
}

static enum MHD_Result queue_answer(struct http_request *request) {
    if (!http_connection_enter(request->peer, HTTP_PHASE_ANSWER))
        return MHD_NO; /* request_completed() releases the answer */
    const char *origin = request->shared ? NULL : http_cors_origin(&request->server->options.cors, request);
    if (origin != NULL)
        http_response_header(request->response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    enum MHD_Result result = MHD_queue_response(request->connection, request->status, request->response);
    release_response(request);
    request->queued = true;
    return result;
}

/* ---- the steps of a request ---- */

struct framing {
    unsigned hosts, lengths, encodings;
    const char *length, *encoding;
    bool broken;
};

static enum MHD_Result look_at_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct framing *framing = context;
    (void)kind;
    if (value != NULL && strchr(value, '\r') != NULL)
        framing->broken = true; /* it ends a line for some, and what follows is a header to them (RFC 9112 section 2.2) */
    if (strcasecmp(name, MHD_HTTP_HEADER_CONTENT_LENGTH) == 0) {
        /* Equal lengths that were repeated may be taken as one (RFC 9110 section 8.6). */
        if (framing->lengths++ > 0 && (value == NULL || strcmp(value, framing->length) != 0))
            framing->broken = true;
        framing->length = value != NULL ? value : "";
    } else if (strcasecmp(name, MHD_HTTP_HEADER_TRANSFER_ENCODING) == 0) {
        framing->encodings++;
        framing->encoding = value != NULL ? value : "";
    } else if (strcasecmp(name, MHD_HTTP_HEADER_HOST) == 0) {
        framing->hosts++; /* libmicrohttpd has asked for one where HTTP does */
    } else if (name[strcspn(name, " \t\r\n")] != '\0') {
        framing->broken = true; /* "Content-Length : 5" (RFC 9112 section 5.1) */
    }
    return MHD_YES;
}

/* libmicrohttpd 0.9.75 takes a request whose length can be read in two ways; a proxy before us may then see other requests in
 * the stream than we do (RFC 9112 section 11.2). Returns 0 or the status that refuses it. */
static unsigned check_framing(struct http_request *request, struct framing *framing) {
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, look_at_header, framing);
    /* A proxy before us may have gone by the other Host (RFC 9112 section 3.2). */
    if (framing->broken || framing->hosts > 1 || framing->encodings > 1 || (framing->encodings > 0 && framing->lengths > 0))
        return MHD_HTTP_BAD_REQUEST;
    if (framing->encodings > 0 && strcasecmp(framing->encoding, "chunked") != 0)
        return MHD_HTTP_NOT_IMPLEMENTED;
    /* libmicrohttpd has refused lengths that are not digits or too large for 64 bits. */
    if (framing->lengths > 0)
        request->declared_length = strtoull(framing->length, NULL, 10);
    return 0;
}

/* Only HTTP/1.1 clients wait for "100 Continue". */
static bool waits_for_continue(const struct http_request *request, const char *version) {
    const char *expect = http_request_header(request, MHD_HTTP_HEADER_EXPECT);
    return expect != NULL && strcasecmp(expect, "100-continue") == 0 && strcmp(version, MHD_HTTP_VERSION_1_1) == 0;
}

static struct http_request *begin_request(struct http_server *server, struct MHD_Connection *connection, const char *method,
                                          const char *target) {
    struct http_request *request = memory_new(sizeof *request);
    request->server = server;
    request->connection = connection;
    request->peer = http_connection_of(connection);
    request->method = method;
    request->path = http_path_of_target(target);
    atomic_fetch_add(&server->active, 1);
    return request;
}

/* The headers are in. An answer now closes the connection, so it is kept for the last call, except where the body will not or
 * should not be read. */
static enum MHD_Result handle_headers(struct http_request *request, const char *version) {
    const struct http_server_options *options = &request->server->options;
    struct framing framing = {0};
    unsigned refused = check_framing(request, &framing);
    if (refused == 0 && request->path == NULL)
        refused = MHD_HTTP_BAD_REQUEST;
    if (request->path == NULL)
        request->path = "/";
    bool has_body = framing.encodings > 0 || request->declared_length > 0;
    if (!http_connection_enter(request->peer, has_body ? HTTP_PHASE_BODY : HTTP_PHASE_WORK))
        return MHD_NO;
    if (refused != 0) {
        respond_error(request, refused);
        return queue_answer(request);
    }
    check_rate(request);
    if (!request->answered && !http_cors_preflight(&options->cors, request))
        options->on_headers(options->context, request);
    if (!request->answered && request->declared_length > request->body_limit)
        respond_error(request, MHD_HTTP_CONTENT_TOO_LARGE);
    if (request->answered && has_body && (waits_for_continue(request, version) || request->declared_length > DRAIN_LIMIT))
        return queue_answer(request);
    return MHD_YES;
}

static enum MHD_Result handle_body(struct http_request *request, const char *bytes, size_t length) {
    if (!request->answered) {
        if (length <= request->body_limit - request->body_length) {
            http_request_store(request, bytes, length);
            return MHD_YES;
        }
        http_request_drop_body(request);
        respond_error(request, MHD_HTTP_CONTENT_TOO_LARGE);
    }
    request->drained += length;
    if (request->drained <= DRAIN_LIMIT)
        return MHD_YES;
    http_connection_note_cut_body();
    return MHD_NO; /* closes the connection */
}

static enum MHD_Result handle_request(struct http_request *request) {
    const struct http_server_options *options = &request->server->options;
    if (!atomic_load_explicit(&request->answered, memory_order_acquire)) {
        if (atomic_exchange(&request->resumed, false))
            request->dispatched = request->deferred = false;
        if (request->dispatched)
            return MHD_YES;
        if (!http_connection_enter(request->peer, HTTP_PHASE_WORK))
            return MHD_NO;
        request->dispatched = true;
        options->on_request(options->context, request);
        /* A deferred one may have been answered or resumed by now, but it is still suspended: that brings it back here. */
        if (request->deferred)
            return MHD_YES;
        if (!request->answered) {
            log_error("request left without an answer", "method", request->method, "path", request->path);
            respond_error(request, MHD_HTTP_INTERNAL_SERVER_ERROR);
        }
    }
    return queue_answer(request);
}

static enum MHD_Result access_handler(void *context, struct MHD_Connection *connection, const char *target, const char *method,
                                      const char *version, const char *upload, size_t *upload_length, void **slot) {
    struct http_request *request = *slot;
    if (request == NULL) {
        *slot = request = begin_request(context, connection, method, target);
        return handle_headers(request, version);
    }
    if (*upload_length > 0) {
        size_t length = *upload_length;
        *upload_length = 0;
        return handle_body(request, upload, length);
    }
    return request->queued ? MHD_YES : handle_request(request);
}

static void request_completed(void *context, struct MHD_Connection *connection, void **slot,
                              enum MHD_RequestTerminationCode why) {
    struct http_server *server = context;
    struct http_request *request = *slot;
    (void)connection;
    if (request == NULL)
        return;
    *slot = NULL;
    if (why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        (void)http_connection_enter(request->peer, HTTP_PHASE_NEXT);
    if (server->options.on_completed != NULL)
        server->options.on_completed(server->options.context, request);
    release_response(request); /* still there when the client left before it could be queued */
    http_request_clear(request);
    free(request);
    /* Both counters are sequentially consistent: either the waiter sees no request, or this sees the waiter. */
    if (atomic_fetch_sub(&server->active, 1) == 1 && atomic_load(&server->waiters) > 0) {
        pthread_mutex_lock(&server->mutex);
        pthread_cond_broadcast(&server->idle);
        pthread_mutex_unlock(&server->mutex);
    }
}

/* ---- the server ---- */

/* How many connections there can be: makes room for the wanted ones where that is allowed, and else takes what there is. More
 * than there are descriptors for would make libmicrohttpd turn in circles at accept(). */
static unsigned possible_connections(unsigned wanted) {
    struct rlimit limit;
    rlim_t needed = (rlim_t)wanted + DESCRIPTORS_RESERVED;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed)
        return wanted;
    limit.rlim_cur = limit.rlim_max < needed ? limit.rlim_max : needed;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return wanted;
    if (limit.rlim_cur >= needed)
        return wanted;
    rlim_t others = limit.rlim_cur / 2 < DESCRIPTORS_RESERVED ? limit.rlim_cur / 2 : DESCRIPTORS_RESERVED;
    unsigned possible = (unsigned)(limit.rlim_cur - others);
    log_warning("fewer descriptors than connections: raise the limit (ulimit -n, LimitNOFILE=)", "descriptors",
                LOG_NUMBER(limit.rlim_cur), "wanted", LOG_NUMBER(wanted), "connections", LOG_NUMBER(possible));
    return possible;
}

/* A daemon that listens on the server's socket; NULL with errno. */
static struct MHD_Daemon *start_daemon(struct http_server *server) {
    const struct http_server_options *options = &server->options;
    unsigned threads = options->threads > 0 ? options->threads : 1;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem further[4];
    size_t count = 0;
    /* A pool of one would only add a thread that does nothing. */
    if (threads > 1)
        further[count++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, (intptr_t)threads, NULL};
    if (options->tls != NULL) {
        flags |= MHD_USE_TLS;
        further[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_PRIORITIES};
        further[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *)(uintptr_t)tls_no_certificate};
    }
    further[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    return MHD_start_daemon(flags, (uint16_t)server->port, http_connections_admit, server->connections, access_handler, server,
                            MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL, /* must come first */
                            MHD_OPTION_LISTEN_SOCKET, server->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
                            possible_connections(options->connection_limit), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            options->connection_memory, MHD_OPTION_CONNECTION_TIMEOUT, options->idle_timeout,
                            MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, request_completed,
                            server, MHD_OPTION_NOTIFY_CONNECTION, http_connections_notify, server->connections,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, further, MHD_OPTION_END);
}

static void free_server(struct http_server *server) {
    http_connections_free(server->connections);
    pthread_cond_destroy(&server->idle);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}

struct http_server *http_server_start(const struct http_server_options *options, struct error *error) {
    unsigned port;
    struct tls *tls = NULL;
    if (http_cors_check(&options->cors, error) || (options->tls != NULL && (tls = tls_open(options->tls, error)) == NULL))
        return NULL;
    int listen_fd = listen_open(options->listen, &port, error);
    if (listen_fd < 0) {
        tls_close(tls);
        return NULL;
    }
    struct http_server *server = memory_new(sizeof *server);
    server->options = *options;
    server->listen_fd = listen_fd;
    server->port = port;
    pthread_mutex_init(&server->mutex, NULL);
    clock_condition_init(&server->idle);
    const char *constant[HTTP_CORS_CONSTANT_SIZE];
    http_cors_constant(&options->cors, constant);
    http_response_set_policy(tls != NULL, constant);
    MHD_set_panic_func(panic, NULL);
    server->connections = http_connections_new(options, tls);
    server->daemon = start_daemon(server);
    if (server->daemon == NULL) {
        /* It may or may not have closed the socket by now; both programs exit on this, so the descriptor is left alone. */
        error_set(error, ERROR_UNAVAILABLE, "Cannot start the HTTP threads for \"%s\": %s", options->listen, strerror(errno));
        free_server(server);
        return NULL;
    }
    return server;
}

void http_server_reload(struct http_server *server) {
    struct tls *tls = http_connections_tls(server->connections);
    if (tls != NULL)
        tls_reload(tls);
}

unsigned http_server_port(const struct http_server *server) {
    return server->port;
}

/* Puts an unconnected socket in the place of the listening one, which ends that and takes it out of every epoll set at once.
 * MHD_quiesce_daemon() is not used: in 0.9.75 it takes the socket out of the sets of running threads, and when one of these
 * does the same at that moment the library ends the process. */
void http_server_quiesce(struct http_server *server) {
    int placeholder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (placeholder < 0 || dup3(placeholder, server->listen_fd, O_CLOEXEC) < 0)
        log_error("cannot stop listening", "reason", strerror(errno));
    if (placeholder >= 0)
        close(placeholder);
}

unsigned http_server_active(struct http_server *server) {
    return atomic_load(&server->active);
}

bool http_server_wait_idle(struct http_server *server, int timeout_ms) {
    struct timespec until = clock_moment(clock_monotonic_ms() + timeout_ms);
    pthread_mutex_lock(&server->mutex);
    atomic_fetch_add(&server->waiters, 1);
    int result = 0;
    while (atomic_load(&server->active) > 0 && result == 0)
        result = pthread_cond_timedwait(&server->idle, &server->mutex, &until);
    atomic_fetch_sub(&server->waiters, 1);
    pthread_mutex_unlock(&server->mutex);
    return atomic_load(&server->active) == 0;
}

void http_server_stop(struct http_server *server) {
    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon);
    free_server(server);
}
