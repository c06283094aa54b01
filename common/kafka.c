/* librdkafka, set up the same way everywhere. */
#include "kafka.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kafka_config.h"
#include "kafka_health.h"
#include "log.h"
#include "memory.h"

enum {
    CONNECT_ATTEMPT_MS = 500, /* one attempt to reach a broker, before the wait looks at its stop flag again */
    REFUSED_MS = 2000,        /* a refusal counts once it has lasted so long: a broker that starts may not know its users yet */
    ADMIN_TIMEOUT_MS = 15000,
    ERROR_TEXT_SIZE = 640,
    LEADER_RETRY_MS = 100,
    CLOSE_TIMEOUT_MS = 5000,
    UNKNOWN_TIMEOUT_MS = 3000, /* a topic that no broker knows for so long is not just new to it */
};

void kafka_topics_name(const char *prefix, struct kafka_topics *topics) {
    snprintf(topics->events, sizeof topics->events, "%s.events", prefix);
    snprintf(topics->acks, sizeof topics->acks, "%s.acks", prefix);
    snprintf(topics->workers, sizeof topics->workers, "%s.workers", prefix);
    snprintf(topics->audit, sizeof topics->audit, "%s.audit", prefix);
}

static void forward_log(const rd_kafka_t *client, int level, const char *facility, const char *text) {
    /* CONFWARN: a property of -X that only the other kind of client uses; each -X goes to both on purpose. */
    if (strcmp(facility, "CONFWARN") == 0)
        return;
    enum log_level ours = level <= 3 ? LOG_LEVEL_WARNING : level <= 6 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
    if (log_enabled(ours))
        log_write(ours, "kafka client", "client", client ? rd_kafka_name(client) : NULL, "facility", facility, "text", text,
                  NULL);
}

/* Sets one of our own choices; a failure is a mistake of ours or a librdkafka that is too old. */
static int choose(rd_kafka_conf_t *conf, const char *name, const char *value, struct error *error) {
    char text[ERROR_TEXT_SIZE];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        return error_set(error, ERROR_INVALID, "Kafka property %s: %s", name, text);
    return 0;
}

/* librdkafka takes an empty list for one to which brokers are added later, and waits. */
static int check_brokers(const rd_kafka_conf_t *conf, struct error *error) {
    char start[ERROR_TEXT_SIZE] = "";
    size_t size = sizeof start;
    if (rd_kafka_conf_get(conf, "bootstrap.servers", start, &size) != RD_KAFKA_CONF_OK ||
        start[strspn(start, ", \t\r\n")] == '\0')
        return error_set(error, ERROR_INVALID, "no Kafka broker is named: --brokers takes HOST:PORT,...");
    return 0;
}

/* What every client has; pairs is name, value, …, NULL of its own. The operator's properties come last and win. */
static rd_kafka_conf_t *conf_new(const struct kafka_settings *settings, const char *const *pairs, struct error *error) {
    static const char *const common[] = {
        /* A lost broker is tried again within a second, not ten: recovery time is bounded by it. */
        "reconnect.backoff.ms", "50", "reconnect.backoff.max.ms", "1000",
        /* Latency of small messages: 40 ms of delayed ACK otherwise. */
        "socket.nagle.disable", "true", "socket.keepalive.enable", "true", NULL};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, forward_log);
    rd_kafka_conf_set_error_cb(conf, kafka_health_on_error);
    if (choose(conf, "bootstrap.servers", settings->brokers, error) || choose(conf, "client.id", settings->client_id, error))
        goto failed;
    for (size_t i = 0; common[i]; i += 2)
        if (choose(conf, common[i], common[i + 1], error))
            goto failed;
    /* A broker's default is to make a missing topic when a producer asks for it, with settings that lose keys and evidence
     * after a week. On the embedded broker it is the only way to get one. */
    if (!settings->embedded && choose(conf, "allow.auto.create.topics", "false", error))
        goto failed;
    for (size_t i = 0; pairs && pairs[i]; i += 2)
        if (choose(conf, pairs[i], pairs[i + 1], error))
            goto failed;
    if (kafka_config_apply(conf, settings->properties, error) || check_brokers(conf, error))
        goto failed;
    return conf;
failed:
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* ---- threads ---- */

/* The first record of a batch wakes the thread that speaks to the broker. Under the usual policy it often takes the processor from
 * the one that is about to hand it the others, sends the one record that it finds, and all others in a second request. Under
 * SCHED_BATCH it has as large a share and interrupts nobody by waking: with 64 updates under way 20 % more of them a second, for a
 * fifth less processor time, and with one 8 % less time. */
static rd_kafka_resp_err_t on_thread_start(rd_kafka_t *client, rd_kafka_thread_type_t type, const char *name, void *context) {
    (void)client, (void)name, (void)context;
    static const struct sched_param none = {0};
    /* What an operator has chosen stays; and it may be denied to us. */
    if (type == RD_KAFKA_THREAD_BROKER && sched_getscheduler(0) == SCHED_OTHER)
        pthread_setschedparam(pthread_self(), SCHED_BATCH, &none);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_client_new(rd_kafka_t *client, const rd_kafka_conf_t *conf, void *context, char *text, size_t size) {
    (void)conf, (void)context, (void)text, (void)size;
    return rd_kafka_interceptor_add_on_thread_start(client, "scheduling", on_thread_start, NULL);
}

/* Makes the client; takes conf in every case. */
static rd_kafka_t *client_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct error *error) {
    char text[ERROR_TEXT_SIZE];
    rd_kafka_conf_interceptor_add_on_new(conf, "scheduling", on_client_new, NULL);
    rd_kafka_t *client = rd_kafka_new(type, conf, text, sizeof text);
    if (!client) {
        rd_kafka_conf_destroy(conf);
        error_set(error, ERROR_INVALID, "Kafka client: %s", text);
    }
    return client;
}

static rd_kafka_t *plain_client_new(const struct kafka_settings *settings, struct error *error) {
    rd_kafka_conf_t *conf = conf_new(settings, NULL, error);
    return conf ? client_new(RD_KAFKA_PRODUCER, conf, error) : NULL;
}

/* The characters that Kafka allows in a topic's name, and room for the longest of ours. */
static int check_prefix(const char *prefix, struct error *error) {
    size_t length = strspn(prefix, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    if (length == 0 || length > 200 || prefix[length] != '\0')
        return error_set(error, ERROR_INVALID, "--topic-prefix takes 1 to 200 letters, digits, '.', '_' and '-'");
    return 0;
}

int kafka_check(const struct kafka_settings *settings, struct error *error) {
    rd_kafka_conf_t *conf = check_prefix(settings->topic_prefix, error) ? NULL : conf_new(settings, NULL, error);
    if (!conf)
        return -1;
    rd_kafka_conf_destroy(conf);
    return 0;
}

/* Waits until a broker answers; ERROR_DENIED once all attempts of a while were refused for a reason that only an operator can
 * mend: a wrong password, a certificate that is not trusted. */
static int await_broker(rd_kafka_t *client, const char *brokers, int timeout_ms, const atomic_bool *stop, struct error *error) {
    char reason[ERROR_TEXT_SIZE];
    bool told = false;
    int64_t begin = clock_monotonic_ms(), refused_at = -1;
    for (;;) {
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t result = rd_kafka_metadata(client, 0, NULL, &metadata, CONNECT_ATTEMPT_MS);
        if (result == RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_metadata_destroy(metadata);
            return 0;
        }
        rd_kafka_poll(client, 0); /* serves the errors */
        bool refused = kafka_health_is_refused(client, reason, sizeof reason);
        if (!reason[0])
            snprintf(reason, sizeof reason, "%s", rd_kafka_err2str(result));
        int64_t now = clock_monotonic_ms();
        if (refused && refused_at < 0)
            refused_at = now;
        if (refused && now - refused_at >= REFUSED_MS)
            return error_set(error, ERROR_DENIED, "%s", reason);
        if ((stop && atomic_load(stop)) || (timeout_ms >= 0 && now - begin >= timeout_ms))
            return error_set(error, ERROR_UNAVAILABLE, "no Kafka broker answers at %s: %s", brokers, reason);
        if (!told)
            log_warning("waiting for a Kafka broker", "brokers", brokers, "reason", reason);
        told = true;
    }
}

int kafka_connect(struct kafka_settings *settings, int timeout_ms, const atomic_bool *stop, struct error *error) {
    if (check_prefix(settings->topic_prefix, error))
        return -1;
    rd_kafka_t *client = plain_client_new(settings, error);
    if (!client)
        return -1;
    kafka_health_watch(client);
    int status = await_broker(client, settings->brokers, timeout_ms, stop, error);
    if (status == 0) {
        char *cluster = rd_kafka_clusterid(client, ADMIN_TIMEOUT_MS);
        settings->embedded = cluster && strncmp(cluster, "mockCluster", strlen("mockCluster")) == 0;
        log_debug("connected to Kafka", "brokers", settings->brokers, "cluster", cluster ? cluster : "unknown");
        rd_kafka_mem_free(client, cluster);
    }
    kafka_health_forget(client);
    rd_kafka_destroy(client);
    return status;
}

static int find_topic(rd_kafka_t *client, struct kafka_topic_spec *spec, int timeout_ms, struct error *error) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, spec->name, NULL);
    if (!topic)
        return error_set(error, ERROR_INVALID, "topic %s: %s", spec->name, rd_kafka_err2str(rd_kafka_last_error()));
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t result = rd_kafka_metadata(client, 0, topic, &metadata, timeout_ms);
    rd_kafka_topic_destroy(topic);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR)
        return error_set(error, ERROR_UNAVAILABLE, "describing topic %s: %s", spec->name, rd_kafka_err2str(result));
    rd_kafka_resp_err_t topic_error =
        metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    spec->partitions_found = topic_error ? 0 : metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    if (topic_error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        kafka_health_refused(client, KAFKA_DESCRIBE, spec->name);
        return kafka_refusal_set(client, KAFKA_DESCRIBE, spec->name, error);
    }
    kafka_health_granted(KAFKA_DESCRIBE, spec->name);
    if (spec->partitions_max > 0 && spec->partitions_found > spec->partitions_max)
        return error_set(error, ERROR_INVALID,
                         "topic %s has %d partitions, and may have %d: delete it, and start jwk-api, which makes it again "
                         "and publishes every JWK",
                         spec->name, spec->partitions_found, spec->partitions_max);
    return 0;
}

int kafka_find_topics(rd_kafka_t *client, struct kafka_topic_spec *specs, size_t count, int timeout_ms, struct error *error) {
    for (size_t i = 0; i < count; i++)
        if (find_topic(client, &specs[i], timeout_ms, error))
            return -1;
    return 0;
}

/* One CreateTopics request for one topic; "exists already" is success: another process was quicker. */
static int create_topic(rd_kafka_t *client, const struct kafka_topic_spec *spec, int replication, struct error *error) {
    char text[ERROR_TEXT_SIZE];
    int status = 0;
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(spec->name, spec->partitions, replication, text, sizeof text);
    if (!topic)
        return error_set(error, ERROR_INVALID, "topic %s: %s", spec->name, text);
    for (size_t i = 0; i + 1 < sizeof spec->config / sizeof *spec->config && spec->config[i]; i += 2)
        rd_kafka_NewTopic_set_config(topic, spec->config[i], spec->config[i + 1]);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_request_timeout(options, ADMIN_TIMEOUT_MS, text, sizeof text);
    rd_kafka_AdminOptions_set_operation_timeout(options, ADMIN_TIMEOUT_MS, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_CreateTopics(client, &topic, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS + 5000);
    rd_kafka_resp_err_t result = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const char *reason = event && result ? rd_kafka_event_error_string(event) : rd_kafka_err2str(result);
    const rd_kafka_CreateTopics_result_t *created = event ? rd_kafka_event_CreateTopics_result(event) : NULL;
    if (!result && created) {
        size_t count;
        const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(created, &count);
        if (count == 1) {
            result = rd_kafka_topic_result_error(results[0]);
            reason = rd_kafka_topic_result_error_string(results[0]);
        }
    }
    if (result == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || result == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
        kafka_health_refused(client, KAFKA_CREATE, spec->name);
        status = kafka_refusal_set(client, KAFKA_CREATE, spec->name, error);
    } else if (result && result != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
        status = error_set(error, ERROR_UNAVAILABLE, "creating topic %s: %s", spec->name,
                           reason ? reason : rd_kafka_err2str(result));
    } else {
        kafka_health_granted(KAFKA_CREATE, spec->name);
        log_info("topic created", "topic", spec->name, "partitions", LOG_NUMBER(spec->partitions));
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy(topic);
    return status;
}

/* Waits until the metadata shows a topic that was just made: a broker tells of it a moment later. */
static int await_topic(rd_kafka_t *client, struct kafka_topic_spec *spec, struct error *error) {
    for (int attempt = 0; attempt < ADMIN_TIMEOUT_MS / 50; attempt++) {
        if (find_topic(client, spec, ADMIN_TIMEOUT_MS, error))
            return -1;
        if (spec->partitions_found > 0)
            return 0;
        rd_kafka_poll(client, 50); /* serves the client while it waits for the next look */
    }
    return error_set(error, ERROR_UNAVAILABLE, "topic %s does not appear", spec->name);
}

int kafka_create_topics(const struct kafka_settings *settings, struct kafka_topic_spec *specs, size_t count, int replication,
                        struct error *error) {
    rd_kafka_t *client = plain_client_new(settings, error);
    if (!client)
        return -1;
    int status = kafka_find_topics(client, specs, count, ADMIN_TIMEOUT_MS, error);
    for (size_t i = 0; status == 0 && i < count; i++) {
        if (specs[i].partitions_found > 0)
            continue;
        /* The embedded broker has no CreateTopics: a topic appears when its metadata is asked for. */
        if (!settings->embedded)
            status = create_topic(client, &specs[i], replication, error);
        if (status == 0)
            status = await_topic(client, &specs[i], error);
        specs[i].created = status == 0;
    }
    rd_kafka_destroy(client);
    return status;
}

/* The value of that name of the one topic that was described; NULL with an error when it is not there. */
static char *read_setting(const rd_kafka_event_t *event, const char *name, struct error *error) {
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result((rd_kafka_event_t *)event);
    size_t count = 0;
    const rd_kafka_ConfigResource_t **resources = result ? rd_kafka_DescribeConfigs_result_resources(result, &count) : NULL;
    if (count != 1 || rd_kafka_ConfigResource_error(resources[0])) {
        const char *reason = count == 1 ? rd_kafka_ConfigResource_error_string(resources[0]) : NULL;
        return error_set(error, ERROR_UNAVAILABLE, "%s", reason ? reason : "no answer"), NULL;
    }
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resources[0], &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0 && rd_kafka_ConfigEntry_value(entries[i]))
            return memory_string(rd_kafka_ConfigEntry_value(entries[i]));
    return error_set(error, ERROR_NOT_FOUND, "the broker does not tell %s", name), NULL;
}

char *kafka_topic_setting(const struct kafka_settings *settings, const char *topic, const char *name, struct error *error) {
    char text[ERROR_TEXT_SIZE];
    rd_kafka_t *client = plain_client_new(settings, error);
    if (!client)
        return NULL;
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_AdminOptions_set_request_timeout(options, ADMIN_TIMEOUT_MS, text, sizeof text);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DescribeConfigs(client, &resource, 1, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS + 5000);
    char *value = event ? read_setting(event, name, error)
                        : (error_set(error, ERROR_UNAVAILABLE, "the broker does not answer"), NULL);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_destroy(client);
    return value;
}

bool kafka_topic_is_gone(rd_kafka_t *client, const char *topic) {
    struct kafka_topic_spec spec = {.name = topic};
    struct error ignored;
    return kafka_find_topics(client, &spec, 1, ADMIN_TIMEOUT_MS, &ignored) == 0 && spec.partitions_found == 0;
}

static bool says_unknown(rd_kafka_resp_err_t reason) {
    return reason == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || reason == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           reason == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

int kafka_watermarks(rd_kafka_t *client, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                     struct error *error) {
    rd_kafka_resp_err_t result = RD_KAFKA_RESP_ERR_NO_ERROR;
    bool is_unknown = false;
    int patience_ms = ADMIN_TIMEOUT_MS;
    for (int waited = 0; waited < patience_ms; waited += LEADER_RETRY_MS) {
        result = rd_kafka_query_watermark_offsets(client, topic, partition, low, high, ADMIN_TIMEOUT_MS);
        if (result == RD_KAFKA_RESP_ERR_NO_ERROR)
            return 0;
        is_unknown = says_unknown(result);
        if (!is_unknown && result != RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION &&
            result != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
            break;
        patience_ms = is_unknown ? UNKNOWN_TIMEOUT_MS : ADMIN_TIMEOUT_MS;
        poll(NULL, 0, LEADER_RETRY_MS); /* the broker tells nobody when a leader is there: it can only be asked again */
    }
    return error_set(error, is_unknown ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE, "asking for the end of topic %s: %s", topic,
                     rd_kafka_err2str(result));
}

rd_kafka_t *kafka_producer_new(const struct kafka_settings *settings, enum kafka_promise promise, void *opaque,
                               void (*delivered)(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque),
                               struct error *error) {
    /* While five records of a partition are under way, librdkafka 2.0 holds an idempotent producer's next ones back in a busy
     * loop. Without idempotence order takes one request at a time, which it waits for asleep: with 64 updates under way, 16 %
     * less processor time per ack. */
    bool once = promise == KAFKA_ONCE;
    const char *const pairs[] = {
        "enable.idempotence", once ? "true" : "false", "max.in.flight.requests.per.connection", once ? "5" : "1",
        "acks", "all", "linger.ms", "0",
        /* Never give up: what is sent again later would arrive behind newer events of the same JWK. */
        "message.timeout.ms", "0", "retry.backoff.ms", "100",
        /* Bounds the memory that a slow broker can hold: the outbox keeps the rest. */
        "queue.buffering.max.messages", "100000", "queue.buffering.max.kbytes", "65536", NULL};
    rd_kafka_conf_t *conf = conf_new(settings, pairs, error);
    if (!conf)
        return NULL;
    rd_kafka_conf_set_opaque(conf, opaque);
    if (delivered)
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    return client_new(RD_KAFKA_PRODUCER, conf, error);
}

rd_kafka_t *kafka_consumer_new(const struct kafka_settings *settings, const char *group, void *opaque, struct error *error) {
    const char *pairs[32] = {"group.id", group, "enable.auto.commit", "false", "enable.auto.offset.store", "false",
                             "enable.partition.eof", "true",
                             /* A truncated or re-made topic must be noticed, not skipped over. */
                             "auto.offset.reset", "error",
                             /* Bounds what is fetched ahead of a slow application. */
                             "queued.max.messages.kbytes", "16384", "fetch.error.backoff.ms", "100", NULL};
    if (settings->embedded) {
        /* The embedded broker does not wake a waiting fetch: its latency is this wait. */
        size_t end = 0;
        while (pairs[end])
            end++;
        pairs[end] = "fetch.wait.max.ms";
        pairs[end + 1] = "5";
    }
    rd_kafka_conf_t *conf = conf_new(settings, pairs, error);
    if (!conf)
        return NULL;
    rd_kafka_conf_set_opaque(conf, opaque);
    rd_kafka_t *client = client_new(RD_KAFKA_CONSUMER, conf, error);
    if (client)
        rd_kafka_poll_set_consumer(client); /* all events on one queue */
    return client;
}

/* ---- the end of a client ---- */

/* Owned by the thread once it is given up, by kafka_client_free() before. */
struct ending {
    rd_kafka_t *client;
    pthread_mutex_t lock; /* guards the two below */
    pthread_cond_t changed;
    bool ended, is_given_up;
};

static void ending_free(struct ending *ending) {
    pthread_cond_destroy(&ending->changed);
    pthread_mutex_destroy(&ending->lock);
    free(ending);
}

static void end_client(rd_kafka_t *client) {
    if (rd_kafka_type(client) == RD_KAFKA_CONSUMER)
        rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

static void *end_in_thread(void *context) {
    struct ending *ending = context;
    end_client(ending->client);
    pthread_mutex_lock(&ending->lock);
    ending->ended = true;
    bool is_given_up = ending->is_given_up;
    pthread_cond_signal(&ending->changed);
    pthread_mutex_unlock(&ending->lock);
    if (is_given_up)
        ending_free(ending);
    return NULL;
}

/* Waits for it; false when it takes too long. */
static bool await_end(struct ending *ending) {
    struct timespec until = clock_moment(clock_monotonic_ms() + CLOSE_TIMEOUT_MS);
    pthread_mutex_lock(&ending->lock);
    while (!ending->ended &&
           pthread_cond_clockwait(&ending->changed, &ending->lock, CLOCK_MONOTONIC, &until) != ETIMEDOUT) {
    }
    ending->is_given_up = !ending->ended;
    bool ended = ending->ended;
    pthread_mutex_unlock(&ending->lock);
    return ended;
}

void kafka_client_free(rd_kafka_t *client) {
    if (!client)
        return;
    char *name = memory_string(rd_kafka_name(client));
    struct ending *ending = memory_new(sizeof *ending);
    ending->client = client;
    pthread_mutex_init(&ending->lock, NULL);
    pthread_cond_init(&ending->changed, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, end_in_thread, ending) != 0) {
        end_client(client);
        ending_free(ending);
    } else {
        pthread_detach(thread);
        if (await_end(ending))
            ending_free(ending);
        else
            log_warning("a Kafka client does not end, and is left behind", "client", name);
    }
    free(name);
}
