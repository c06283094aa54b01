/* libmicrohttpd 0.9.75 knows one limit of time, that between two bytes: a client that sends one byte now and then may stay for
 * ever. The deadlines here are for the whole of what a connection is at. They are kept by one thread, which ends a connection
 * by shutting its socket down: libmicrohttpd then sees its end like any other. */
#include "http_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "deadlines.h"
#include "hash.h"
#include "log.h"
#include "memory.h"
#include "metrics.h"

enum { CUT_HEADERS, CUT_BODY, CUT_ANSWER }; /* tags of deadlines */
enum { RATED_ADDRESSES = 65536 };           /* addresses whose rate is remembered: 1.5 MB when all are seen */

struct http_connection {
    struct deadline deadline; /* first: the deadlines' thread knows a connection by it */
    struct http_connections *all;
    struct tls_credentials *credentials; /* NULL without TLS */
    int socket;
    bool refused;    /* its address has too many */
    bool handshaken; /* TLS only; written and read by the connection's thread */
    unsigned char address[RATE_KEY_SIZE];
};

/* How many connections an address has. */
struct address {
    unsigned char key[RATE_KEY_SIZE];
    unsigned count;
    UT_hash_handle hh;
};

struct http_connections {
    int64_t header_ms, body_ms, answer_ms, next_ms; /* 0: unlimited */
    unsigned per_address;                           /* 0: unlimited */
    struct tls *tls;
    struct rate_table *rates;    /* NULL: unlimited */
    struct deadlines *deadlines; /* NULL: no limit of time */
    pthread_mutex_t mutex;       /* guards the table */
    struct address *addresses;   /* empty without per_address */
};

static struct metric open_connections = {.name = "jwk_http_connections", .help = "Open connections.", .type = METRIC_GAUGE};
static struct metric cuts[] = {
    {.name = "jwk_http_connections_cut_total",
     .labels = "at=\"headers\"",
     .help = "Connections closed because what they were at took too long, or was a body that did not end."},
    {.name = "jwk_http_connections_cut_total", .labels = "at=\"body\""},
    {.name = "jwk_http_connections_cut_total", .labels = "at=\"answer\""},
};
static struct metric refusals = {.name = "jwk_http_connections_refused_total",
                                 .help = "Connections refused because their address had too many."};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&open_connections);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        metrics_register(&cuts[i]);
    metrics_register(&refusals);
}

/* ---- addresses ---- */

void http_address_key(const struct sockaddr *address, unsigned char key[RATE_KEY_SIZE]) {
    static const unsigned char mapped[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memset(key, 0, RATE_KEY_SIZE);
    if (address->sa_family == AF_INET) {
        memcpy(key, mapped, sizeof mapped);
        memcpy(key + sizeof mapped, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *whole = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        memcpy(key, whole, IN6_IS_ADDR_V4MAPPED(whole) ? 16 : 8);
    }
}

/* With the mutex held. */
static unsigned count_of(struct http_connections *all, const unsigned char key[RATE_KEY_SIZE], struct address **found) {
    HASH_FIND(hh, all->addresses, key, RATE_KEY_SIZE, *found);
    return *found != NULL ? (*found)->count : 0;
}

/* Counts a connection in; false when its address has as many as it may. */
static bool count_in(struct http_connections *all, const unsigned char key[RATE_KEY_SIZE]) {
    struct address *address;
    pthread_mutex_lock(&all->mutex);
    bool allowed = count_of(all, key, &address) < all->per_address;
    if (allowed && address == NULL) {
        address = memory_new(sizeof *address);
        memcpy(address->key, key, RATE_KEY_SIZE);
        HASH_ADD(hh, all->addresses, key, RATE_KEY_SIZE, address);
    }
    if (allowed)
        address->count++;
    pthread_mutex_unlock(&all->mutex);
    return allowed;
}

static void count_out(struct http_connections *all, const unsigned char key[RATE_KEY_SIZE]) {
    struct address *address;
    pthread_mutex_lock(&all->mutex);
    if (count_of(all, key, &address) > 0 && --address->count == 0) {
        HASH_DEL(all->addresses, address);
        free(address);
    }
    pthread_mutex_unlock(&all->mutex);
}

enum MHD_Result http_connections_admit(void *context, const struct sockaddr *address, socklen_t size) {
    struct http_connections *all = context;
    unsigned char key[RATE_KEY_SIZE];
    struct address *found;
    (void)size;
    if (all->per_address == 0)
        return MHD_YES;
    /* A look only: not everything that is admitted here becomes a connection. http_connections_notify() counts. */
    http_address_key(address, key);
    pthread_mutex_lock(&all->mutex);
    bool allowed = count_of(all, key, &found) < all->per_address;
    pthread_mutex_unlock(&all->mutex);
    if (!allowed)
        metric_add(&refusals, 1);
    return allowed ? MHD_YES : MHD_NO;
}

/* ---- phases ---- */

static void note_cut(unsigned tag) {
    static const char *const names[] = {"headers", "body", "answer"};
    metric_add(&cuts[tag], 1);
    log_debug("connection cut", "at", names[tag]);
}

/* In the deadlines' thread. The socket is open: it is closed after the connection's deadline was removed. */
static void cut(void *context, struct deadline *deadline, unsigned tag) {
    struct http_connection *connection = (struct http_connection *)deadline;
    (void)context;
    shutdown(connection->socket, SHUT_RDWR);
    note_cut(tag);
}

void http_connection_note_cut_body(void) {
    note_cut(CUT_BODY);
}

bool http_connection_enter(struct http_connection *connection, enum http_phase phase) {
    const struct http_connections *all = connection->all;
    if (connection->refused)
        return false;
    if (all->deadlines == NULL)
        return true;
    int64_t limit = phase == HTTP_PHASE_FIRST    ? all->header_ms
                    : phase == HTTP_PHASE_BODY   ? all->body_ms
                    : phase == HTTP_PHASE_ANSWER ? all->answer_ms
                    : phase == HTTP_PHASE_NEXT   ? all->next_ms
                                                 : 0;
    unsigned tag = phase == HTTP_PHASE_BODY ? CUT_BODY : phase == HTTP_PHASE_ANSWER ? CUT_ANSWER : CUT_HEADERS;
    return deadline_move(&connection->deadline, limit > 0 ? clock_monotonic_ms() + limit : DEADLINE_NEVER, tag);
}

bool http_connection_take_request(struct http_connection *connection, int64_t *wait_us) {
    struct rate_table *rates = connection->all->rates;
    return rates == NULL || rate_table_take(rates, connection->address, clock_monotonic_us(), wait_us);
}

const unsigned char *http_connection_address(const struct http_connection *connection) {
    return connection->address;
}

/* ---- beginning and end ---- */

struct http_connection *http_connection_of(struct MHD_Connection *connection) {
    return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/* Called once the client's Finished is in. libmicrohttpd's connection is what it has set as the session's pointer. */
static int note_handshake(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
                          const gnutls_datum_t *message) {
    (void)type, (void)when, (void)message;
    if (!incoming)
        return 0;
    struct http_connection *connection = http_connection_of(gnutls_session_get_ptr(session));
    int on = 1;
    connection->handshaken = true;
    /* In TLS 1.3 nothing of ours follows that could carry the acknowledgement, and a client with Nagle's algorithm holds its
     * request back for that: 40 ms, until the kernel's timer for delayed ones. */
    setsockopt(connection->socket, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    return 0;
}

static void begin(struct http_connections *all, struct MHD_Connection *mhd, void **slot) {
    struct http_connection *connection = memory_new(sizeof *connection);
    *slot = connection;
    connection->all = all;
    connection->socket = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    http_address_key(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr, connection->address);
    metric_add(&open_connections, 1);
    int64_t now_ms = clock_monotonic_ms();
    if (all->per_address > 0 && !count_in(all, connection->address)) {
        /* Another thread has accepted one of that address since it was admitted. */
        connection->refused = true;
        metric_add(&refusals, 1);
        shutdown(connection->socket, SHUT_RDWR);
    }
    if (all->deadlines != NULL)
        deadlines_add(all->deadlines, &connection->deadline, all->header_ms > 0 ? now_ms + all->header_ms : DEADLINE_NEVER,
                      CUT_HEADERS, now_ms);
    if (all->tls != NULL) {
        gnutls_session_t session = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)->tls_session;
        connection->credentials = tls_attach(all->tls, session, now_ms);
        gnutls_handshake_set_hook_function(session, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, note_handshake);
    }
}

/* The session is gone by now, and the socket still open. */
static void end(struct http_connections *all, struct http_connection *connection) {
    if (all->deadlines != NULL)
        deadlines_remove(all->deadlines, &connection->deadline);
    if (all->per_address > 0 && !connection->refused)
        count_out(all, connection->address);
    if (all->tls != NULL && !connection->handshaken)
        tls_count_failed_handshake();
    tls_credentials_give(connection->credentials);
    metric_add(&open_connections, -1);
    free(connection);
}

void http_connections_notify(void *context, struct MHD_Connection *connection, void **slot,
                             enum MHD_ConnectionNotificationCode what) {
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        begin(context, connection, slot);
    else
        end(context, *slot);
}

/* ---- all of them ---- */

static int64_t shortest(const struct http_connections *all) {
    const int64_t limits[] = {all->header_ms, all->body_ms, all->answer_ms, all->next_ms};
    int64_t result = 0;
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i] > 0 && (result == 0 || limits[i] < result))
            result = limits[i];
    return result;
}

struct http_connections *http_connections_new(const struct http_server_options *options, struct tls *tls) {
    struct http_connections *all = memory_new(sizeof *all);
    all->header_ms = options->header_timeout_ms;
    all->body_ms = options->body_timeout_ms;
    all->answer_ms = options->answer_timeout_ms;
    /* Nobody tells when the first byte of a next request comes. Whoever keeps within the idle time-out and then sends the
     * headers in time is within the sum, and nobody stays longer than that. */
    all->next_ms = all->header_ms > 0 && options->idle_timeout > 0 ? options->idle_timeout * INT64_C(1000) + all->header_ms : 0;
    all->per_address = options->connections_per_address;
    all->tls = tls;
    if (options->address_rate.interval_us > 0)
        all->rates = rate_table_new(&options->address_rate, RATED_ADDRESSES);
    pthread_mutex_init(&all->mutex, NULL);
    if (shortest(all) > 0) {
        all->deadlines = deadlines_new(shortest(all), cut, NULL);
        deadlines_start(all->deadlines, "http-deadlines");
    }
    return all;
}

void http_connections_free(struct http_connections *all) {
    if (all == NULL)
        return;
    deadlines_free(all->deadlines);
    rate_table_free(all->rates);
    tls_close(all->tls);
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

struct tls *http_connections_tls(const struct http_connections *all) {
    return all->tls;
}
