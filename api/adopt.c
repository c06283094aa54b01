/* jwk-api adopt: makes a store that was put back from a backup the truth again.
 *
 * Replicas and topic are ahead of it. A new epoch orders before their versions; every JWK of the store is published again in
 * it, and JWKs that the topic has and the store has not are deleted. */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "audit_end.h"
#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/hash.h"
#include "common/jwk.h"
#include "common/kafka.h"
#include "common/kafka_config.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"
#include "settings.h"
#include "signing.h"
#include "store_republish.h"
#include "store_signing.h"
#include "topic_end.h"

enum { CONNECT_TIMEOUT_MS = 10000, SILENCE_MS = 15000 };

/* The last event of one JWK in the topic. */
struct last_event {
    char jwk_id[UUID_SIZE];
    struct event event;
    int partition;
    UT_hash_handle hh;
};

struct topic_content {
    struct last_event *events; /* by JWK id */
    int64_t epoch, sequence;   /* the highest of each */
    struct store_identity identity;
    struct verifier *verifier; /* of the store's keys, and those of --api-keys */
};

static void forget(struct topic_content *content, struct last_event *last) {
    HASH_DEL(content->events, last);
    event_free(&last->event);
    free(last);
}

static bool is_type(const char *name) {
    for (enum jwk_type type = JWK_RSA; type <= JWK_OKP; type++)
        if (strcmp(jwk_type_name(type), name) == 0)
            return true;
    return false;
}

/* Whether the record is an event that the store can have published since the backup: of the JWK that it is kept by. Who forges
 * one can thus not use up what epoch, sequence and version can count, nor have another JWK deleted. */
static bool read_event(const struct topic_content *content, const rd_kafka_message_t *record, const char *key,
                       struct event *event) {
    struct error error;
    if (event_decode(record->payload, record->len, event, &error))
        return false;
    if (strcmp(event->jwk_id, key) == 0 && is_type(event->type) &&
        topic_end_is_plausible(&content->identity, event->epoch, event->sequence) &&
        topic_end_is_plausible(&content->identity, event->epoch, event->version))
        return true;
    log_error("an event that can not be this store's own is left out of account", "topic", rd_kafka_topic_name(record->rkt),
              "partition", LOG_NUMBER(record->partition), "offset", LOG_NUMBER(record->offset));
    event_free(event);
    return false;
}

/* Whether one of our keys has signed the record. */
static bool is_proved(const struct topic_content *content, const rd_kafka_message_t *record) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct error ignored;
    return cloudevent_read(record, &storage, &attributes, &ignored) == 0 &&
           verifier_check(content->verifier, record, &attributes, 0, NULL, NULL) == SIGNATURE_VALID;
}

/* Keeps the record as the last one of its JWK; a tombstone takes it away. That a JWK is gone must be proved: replicas do not
 * believe it either, and would go on with what is not deleted then. To delete what is gone already does no harm. */
static void take_record(struct topic_content *content, const rd_kafka_message_t *record) {
    struct event event;
    char key[UUID_SIZE];
    if (record->key_len != UUID_SIZE - 1)
        return;
    memcpy(key, record->key, UUID_SIZE - 1);
    key[UUID_SIZE - 1] = '\0';
    if (record->payload && !read_event(content, record, key, &event))
        return;
    if ((!record->payload || event.operation == EVENT_DELETE) && !is_proved(content, record)) {
        if (record->payload)
            event_free(&event);
        return;
    }
    struct last_event *last;
    HASH_FIND_STR(content->events, key, last);
    if (last)
        forget(content, last);
    if (!record->payload)
        return;
    if (event.epoch > content->epoch)
        content->epoch = event.epoch;
    /* An API that went on though another store was adopted has counted on in its own epoch, and replicas told its sequences as
     * their positions: what is published from now on must lie beyond those, too. */
    if (event.sequence > content->sequence)
        content->sequence = event.sequence;
    last = memory_new(sizeof *last);
    memcpy(last->jwk_id, key, sizeof last->jwk_id);
    last->event = event;
    last->partition = record->partition;
    HASH_ADD_STR(content->events, jwk_id, last);
}

/* Reads the whole topic once. */
static int read_topic(const struct kafka_settings *settings, const char *topic, struct topic_content *content,
                      struct error *error) {
    struct kafka_topic_spec spec = {.name = topic};
    rd_kafka_t *consumer = kafka_consumer_new(settings, "jwk-api", NULL, error);
    if (!consumer)
        return -1;
    int status = kafka_find_topics(consumer, &spec, 1, CONNECT_TIMEOUT_MS, error), open = spec.partitions_found;
    if (status == 0) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(open);
        for (int32_t i = 0; i < open; i++)
            rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_assign(consumer, list);
        rd_kafka_topic_partition_list_destroy(list);
    }
    while (status == 0 && open > 0) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, SILENCE_MS);
        if (!record) {
            status = error_set(error, ERROR_UNAVAILABLE, "topic %s can not be read to its end", topic);
            break;
        }
        if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            open--;
        else if (!record->err)
            take_record(content, record);
        else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            status = kafka_refusal_set(consumer, KAFKA_READ, topic, error);
        else if (record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) /* no group is needed */
            log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
        rd_kafka_message_destroy(record);
    }
    kafka_client_free(consumer);
    return status;
}

/* Records a deletion for each JWK that the store does not have; returns how many, or -1. */
static int delete_unknown(struct store *store, const struct topic_content *content, struct error *error) {
    int count = 0;
    for (const struct last_event *last = content->events; last; last = last->hh.next) {
        int stays = last->event.operation == EVENT_DELETE ? 1 : store_has_jwk(store, last->jwk_id, error);
        if (stays < 0 || (stays == 0 && store_delete_unknown(store, &last->event, last->partition, error)))
            return -1;
        count += stays == 0;
    }
    return count;
}

/* The epoch that the next one must order behind. The topic alone does not tell it: it may have been lost since a replica took a
 * state of a later epoch, from an adoption that this backup knows nothing of. To that replica everything of an equal epoch would
 * be old, and it would acknowledge it. What was adopted before is of an earlier second. */
static int64_t latest_epoch(const struct topic_content *content) {
    int64_t now = clock_wall_ms() / 1000;
    return content->epoch > now ? content->epoch : now;
}

static int trust_key(void *context, const struct jwk *key, struct error *error) {
    return verifier_trust(context, key, INT64_MAX, error);
}

/* Whom to believe that a JWK is gone. */
static int trust_keys(const struct settings *settings, struct store *store, struct verifier *verifier, struct error *error) {
    return signing_trust_own(verifier, store, error) ||
                   (settings->api_keys && admin_each_api_key(settings->api_keys, trust_key, verifier, error))
               ? -1
               : 0;
}

static int import_key(void *context, const struct jwk *key, struct error *error) {
    return store_import_signing_key(context, key, error);
}

static int adopt(const struct settings *settings, const struct kafka_settings *kafka, const char *audit_topic,
                 struct store *store, const struct topic_content *content, struct error *error) {
    struct store_identity identity;
    if (store_begin(store, error))
        return -1;
    int deleted = -1;
    if ((!settings->api_keys || admin_each_api_key(settings->api_keys, import_key, store, error) == 0) &&
        audit_end_follow(kafka, audit_topic, store, settings->api_keys != NULL, error) == 0 &&
        store_audit_command(store, "adopt", NULL, NULL, error) == 0 &&
        store_adopt(store, latest_epoch(content), content->sequence, error) == 0 &&
        (deleted = delete_unknown(store, content, error)) >= 0 && store_commit(store, error) == 0 &&
        store_read_identity(store, &identity, error) == 0) {
        printf("The store in %s is the truth again, in epoch %lld. At its next start jwk-api publishes every JWK again and "
               "deletes %d that it does not "
               "know.\n",
               settings->data_dir, (long long)identity.epoch, deleted);
        return 0;
    }
    store_rollback(store);
    return -1;
}

int adopt_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct error error;
    struct kafka_topics topics;
    struct topic_content content = {.verifier = verifier_new()};
    struct store *store = NULL;
    struct kafka_settings kafka = {.brokers = settings->brokers,
                                   .topic_prefix = settings->topic_prefix,
                                   .properties = &settings->kafka_properties,
                                   .client_id = "jwk-api"};
    struct option_list *properties = &((struct settings *)context)->kafka_properties;
    int status = kafka_config_read(settings->kafka_config, properties, &error);
    kafka_topics_name(settings->topic_prefix, &topics);
    if (status == 0 && (status = store_lock_serving(settings->data_dir, STORE_WRITE, &error)) == 0)
        status = (store = store_open(settings->data_dir, STORE_WRITE, &error)) ? 0 : -1;
    if (status == 0 && (status = kafka_connect(&kafka, CONNECT_TIMEOUT_MS, NULL, &error)) == 0 &&
        (status = store_read_identity(store, &content.identity, &error)) == 0 &&
        (status = trust_keys(settings, store, content.verifier, &error)) == 0 &&
        (status = read_topic(&kafka, topics.events, &content, &error)) == 0)
        status = adopt(settings, &kafka, topics.audit, store, &content, &error);
    while (content.events)
        forget(&content, content.events);
    verifier_free(content.verifier);
    store_close(store);
    if (status != 0)
        fprintf(stderr, "jwk-api: %s\n", error.message);
    return status == 0 ? 0 : 1;
}
