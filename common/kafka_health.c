/* What Kafka does not do for this process now. */
#include "kafka_health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "metrics.h"

enum {
    REFUSALS_MAX = 16, /* operations times topics of one process, and some room */
    CLIENTS_MAX = 8,
    REASON_SIZE = 640,
    SCRAM_VERSION = 0x020601ff, /* the first librdkafka whose SCRAM works with Kafka 4.0 */
};

struct refusal {
    enum kafka_operation operation;
    char topic[256];
    char sentence[sizeof((struct error *)0)->message]; /* "": a free place */
};

struct watched {
    rd_kafka_t *client;       /* NULL: a free place */
    char reason[REASON_SIZE]; /* why its last attempt failed; "" while it is connected */
    bool lost;                /* no broker is left */
    bool refused;             /* the reason is one that only an operator can mend */
};

/* Of the process: its clients are several, its state towards Kafka is one. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the three below */
static struct refusal refusals[REFUSALS_MAX];
static struct watched clients[CLIENTS_MAX];
static bool is_stalled;
static atomic_int refused_count, lost_count; /* changed with the lock, read without: to see that there is nothing to do */
static atomic_bool is_good = true;

static struct metric connected = {.name = "jwk_kafka_connected",
                                  .help = "Whether every Kafka client of this process has a broker and gets answers.",
                                  .type = METRIC_GAUGE,
                                  .value = 1};
static struct metric refused = {.name = "jwk_kafka_refused_operations",
                                .help = "Operations on topics that Kafka refuses for lack of a permission.",
                                .type = METRIC_GAUGE};
static struct metric refusals_total = {
    .name = "jwk_kafka_refusals_total", .help = "Answers of Kafka that an operation is not permitted.", .type = METRIC_COUNTER};

void kafka_health_register(void) {
    metrics_register(&connected);
    metrics_register(&refused);
    metrics_register(&refusals_total);
}

/* ---- sentences ---- */

static const char *const operation_names[] = {
    [KAFKA_DESCRIBE] = "Describe", [KAFKA_CREATE] = "Create", [KAFKA_READ] = "Read", [KAFKA_WRITE] = "Write"};

/* The user as the client authenticates; "" without SASL, where the broker knows the name alone. */
static void read_user(rd_kafka_t *client, char *user, size_t size) {
    if (rd_kafka_conf_get(rd_kafka_conf(client), "sasl.username", user, &size) != RD_KAFKA_CONF_OK)
        user[0] = '\0';
}

int kafka_refusal_set(rd_kafka_t *client, enum kafka_operation operation, const char *topic, struct error *error) {
    char user[128];
    const char *name = operation_names[operation];
    read_user(client, user, sizeof user);
    return error_set(error, ERROR_DENIED,
                     "Kafka refuses %s%s to %s topic %s: grant it with kafka-acls.sh --add --allow-principal User:%s "
                     "--operation %s --topic %s",
                     user[0] ? "user " : "this client", user, name, topic, user[0] ? user : "NAME", name, topic);
}

/* ---- the whole ---- */

/* Sets the metrics. The lock is held. */
static void sum_up(void) {
    int operations = 0, lost = 0;
    for (size_t i = 0; i < REFUSALS_MAX; i++)
        operations += refusals[i].sentence[0] != '\0';
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        lost += clients[i].client && clients[i].lost;
    atomic_store(&refused_count, operations);
    atomic_store(&lost_count, lost);
    metric_set(&refused, operations);
    metric_set(&connected, lost == 0 && !is_stalled);
    bool good = operations == 0 && lost == 0 && !is_stalled;
    atomic_store(&is_good, good);
}

bool kafka_health_is_good(void) {
    return atomic_load_explicit(&is_good, memory_order_relaxed);
}

void kafka_health_write(struct text *body, const char *other) {
    pthread_mutex_lock(&lock);
    if (other || !kafka_health_is_good()) {
        text_json_open(body, "problems", '[');
        if (other)
            text_json_string(body, NULL, other);
        for (size_t i = 0; i < REFUSALS_MAX; i++)
            if (refusals[i].sentence[0])
                text_json_string(body, NULL, refusals[i].sentence);
        const char *reason = NULL;
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            if (clients[i].client && clients[i].lost)
                reason = clients[i].reason;
        if (reason)
            text_json_string(body, NULL, reason);
        else if (is_stalled)
            text_json_string(body, NULL, "Kafka does not confirm what it was sent");
        text_json_close(body, ']');
    }
    pthread_mutex_unlock(&lock);
}

/* ---- operations ---- */

/* The place of an operation, or with make a free one; NULL when there is none. The lock is held. */
static struct refusal *find(enum kafka_operation operation, const char *topic, bool make) {
    struct refusal *empty = NULL;
    for (size_t i = 0; i < REFUSALS_MAX; i++) {
        if (!refusals[i].sentence[0])
            empty = &refusals[i];
        else if (refusals[i].operation == operation && strcmp(refusals[i].topic, topic) == 0)
            return &refusals[i];
    }
    return make ? empty : NULL;
}

void kafka_health_refused(rd_kafka_t *client, enum kafka_operation operation, const char *topic) {
    struct error problem;
    metric_add(&refusals_total, 1);
    kafka_refusal_set(client, operation, topic, &problem);
    pthread_mutex_lock(&lock);
    struct refusal *refusal = find(operation, topic, true);
    bool is_new = refusal && !refusal->sentence[0];
    if (is_new) {
        refusal->operation = operation;
        snprintf(refusal->topic, sizeof refusal->topic, "%s", topic);
        snprintf(refusal->sentence, sizeof refusal->sentence, "%s", problem.message);
        sum_up();
    }
    pthread_mutex_unlock(&lock);
    if (is_new)
        log_error("permission missing", "topic", topic, "operation", operation_names[operation], "reason", problem.message);
}

void kafka_health_granted(enum kafka_operation operation, const char *topic) {
    if (atomic_load_explicit(&refused_count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&lock);
    struct refusal *refusal = find(operation, topic, false);
    if (refusal) {
        refusal->sentence[0] = '\0';
        log_info("permission is there again", "topic", topic, "operation", operation_names[operation]);
        sum_up();
    }
    pthread_mutex_unlock(&lock);
}

void kafka_health_stalled(bool stalled) {
    pthread_mutex_lock(&lock);
    if (stalled != is_stalled) {
        is_stalled = stalled;
        if (stalled)
            log_warning("Kafka does not confirm what it was sent");
        sum_up();
    }
    pthread_mutex_unlock(&lock);
}

/* ---- connections ---- */

/* The lock is held. */
static struct watched *find_client(const rd_kafka_t *client) {
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (clients[i].client == client)
            return &clients[i];
    return NULL;
}

void kafka_health_watch(rd_kafka_t *client) {
    pthread_mutex_lock(&lock);
    struct watched *place = find_client(NULL);
    if (place)
        *place = (struct watched){.client = client};
    pthread_mutex_unlock(&lock);
}

void kafka_health_forget(rd_kafka_t *client) {
    pthread_mutex_lock(&lock);
    struct watched *watched = find_client(client);
    if (client && watched) {
        *watched = (struct watched){.client = NULL};
        sum_up();
    }
    pthread_mutex_unlock(&lock);
}

/* librdkafka before 2.6.1 sends a SCRAM nonce that brokers since Kafka 4.0 refuse like a wrong password (librdkafka, pull
 * request 4895). */
static const char *scram_hint(rd_kafka_t *client) {
    char mechanism[64];
    size_t size = sizeof mechanism;
    bool is_scram = rd_kafka_conf_get(rd_kafka_conf(client), "sasl.mechanism", mechanism, &size) == RD_KAFKA_CONF_OK &&
                    strncmp(mechanism, "SCRAM", 5) == 0;
    return is_scram && rd_kafka_version() < SCRAM_VERSION ? "; or, since SCRAM of this librdkafka (before 2.6.1) does not work "
                                                            "with Kafka 4.0 and later, use PLAIN over TLS, a "
                                                            "client certificate or a newer librdkafka"
                                                          : "";
}

/* The sentence about a lost or refused connection. */
static void describe(rd_kafka_t *client, int code, const char *reason, char out[REASON_SIZE]) {
    char user[128];
    read_user(client, user, sizeof user);
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION)
        snprintf(out, REASON_SIZE,
                 "Kafka does not accept the credentials of user %s (check sasl.mechanism, sasl.username, sasl.password%s): %s",
                 user, scram_hint(client), reason);
    else if (code == RD_KAFKA_RESP_ERR__SSL || strstr(reason, "SSL_HANDSHAKE")) /* closed by the peer meanwhile */
        snprintf(out, REASON_SIZE, "TLS with Kafka fails (check security.protocol, ssl.ca.location and the port): %s", reason);
    else
        snprintf(out, REASON_SIZE, "No Kafka broker is reachable: %s", reason);
}

void kafka_health_on_error(rd_kafka_t *client, int code, const char *reason, void *opaque) {
    (void)opaque;
    bool is_refusal = code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL;
    bool is_loss = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, told = false;
    char sentence[REASON_SIZE];
    describe(client, code, reason, sentence);
    pthread_mutex_lock(&lock);
    struct watched *watched = find_client(client);
    if (watched && (is_refusal || code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__RESOLVE)) {
        /* What comes as a mere loss behind a refusal must not hide it. */
        if (is_refusal || !watched->refused)
            memcpy(watched->reason, sentence, sizeof sentence);
        watched->refused = watched->refused || is_refusal;
    } else if (watched && is_loss && !watched->lost) {
        watched->lost = told = true;
        if (!watched->reason[0])
            memcpy(watched->reason, sentence, sizeof sentence);
        memcpy(sentence, watched->reason, sizeof sentence);
        sum_up();
    }
    pthread_mutex_unlock(&lock);
    if (told)
        log_error("no connection to Kafka; trying again until it is there", "client", rd_kafka_name(client), "reason",
                  sentence);
    else
        log_debug("kafka client", "client", rd_kafka_name(client), "code", rd_kafka_err2name((rd_kafka_resp_err_t)code), "text",
                  reason);
}

bool kafka_health_is_refused(rd_kafka_t *client, char *reason, size_t size) {
    pthread_mutex_lock(&lock);
    const struct watched *watched = find_client(client);
    bool result = watched && watched->refused;
    if (reason)
        snprintf(reason, size, "%s", watched ? watched->reason : "");
    pthread_mutex_unlock(&lock);
    return result;
}

void kafka_health_check(rd_kafka_t *client, int timeout_ms) {
    if (atomic_load_explicit(&lost_count, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&lock);
    const struct watched *watched = find_client(client);
    bool lost = watched && watched->lost;
    pthread_mutex_unlock(&lock);
    const struct rd_kafka_metadata *metadata;
    if (!lost || rd_kafka_metadata(client, 0, NULL, &metadata, timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    rd_kafka_metadata_destroy(metadata);
    pthread_mutex_lock(&lock);
    struct watched *again = find_client(client);
    if (again && again->lost) {
        *again = (struct watched){.client = client};
        log_info("connected to Kafka", "client", rd_kafka_name(client));
        sum_up();
    }
    pthread_mutex_unlock(&lock);
}
