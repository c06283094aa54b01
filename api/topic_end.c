/* How the events topic ends. */
#include "topic_end.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"

enum { TIMEOUT_MS = 15000, POLL_MS = 200 };

/* Takes one record at an end into account. One that cannot be read tells nothing; a tombstone tells whose it is. */
static void look_at(struct topic_end *end, const rd_kafka_message_t *record, const char *own_source) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct event event;
    struct error error;
    if (cloudevent_read(record, &storage, &attributes, &error)) {
        log_warning("record can not be read", "topic", rd_kafka_topic_name(record->rkt), "offset", LOG_NUMBER(record->offset),
                    "reason", error.message);
        return;
    }
    if (strcmp(attributes.source, own_source) != 0) {
        snprintf(end->source, sizeof end->source, "%s", attributes.source);
        return;
    }
    if (!record->payload || event_decode(record->payload, record->len, &event, &error))
        return;
    if (event.epoch > end->epoch || (event.epoch == end->epoch && event.sequence > end->sequence)) {
        end->epoch = event.epoch;
        end->sequence = event.sequence;
    }
    event_free(&event);
}

/* Assigns the last record of each partition that has one; returns how many partitions there are to read, or -1. */
static int assign_ends(rd_kafka_t *consumer, const char *topic, struct topic_end *end, struct error *error) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(end->partitions);
    int count = 0;
    for (int32_t i = 0; i < end->partitions; i++) {
        int64_t low, high;
        if (kafka_watermarks(consumer, topic, i, &low, &high, error)) {
            rd_kafka_topic_partition_list_destroy(list);
            return -1;
        }
        end->empty[i] = high <= low;
        if (high <= low)
            continue;
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = high - 1;
        count++;
    }
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return count;
}

int topic_end_read(const struct kafka_settings *settings, const char *topic, int partitions, const char *store_uid,
                   struct topic_end *end, struct error *error) {
    *end = (struct topic_end){.partitions = partitions, .empty = memory_new((size_t)partitions * sizeof *end->empty)};
    rd_kafka_t *consumer = kafka_consumer_new(settings, "jwk-api", NULL, error);
    if (!consumer)
        return -1;
    char *own_source = memory_format("urn:jwk-api:%s", store_uid);
    int open = assign_ends(consumer, topic, end, error), status = open < 0 ? -1 : 0;
    int64_t until = clock_monotonic_ms() + TIMEOUT_MS;
    while (status == 0 && open > 0 && clock_monotonic_ms() < until) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, POLL_MS);
        if (!record)
            continue;
        if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            open--;
        else if (!record->err)
            look_at(end, record, own_source);
        else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            status = kafka_refusal_set(consumer, KAFKA_READ, topic, error);
        else if (record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) /* no group is needed */
            log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
        rd_kafka_message_destroy(record);
    }
    if (status == 0 && open > 0)
        status = error_set(error, ERROR_UNAVAILABLE, "reading the end of topic %s took too long", topic);
    free(own_source);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return status;
}

void topic_end_free(struct topic_end *end) {
    free(end->empty);
    end->empty = NULL;
}

int topic_end_check(const struct topic_end *end, const struct store_identity *identity, const char *topic,
                    struct error *error) {
    if (end->source[0])
        return error_set(error, ERROR_CONFLICT,
                         "topic %s holds events of another installation (%s) and this store is %s: give this one a "
                         "--topic-prefix of its own",
                         topic, end->source, identity->uid);
    if (end->epoch > identity->epoch || (end->epoch == identity->epoch && end->sequence > identity->sequence))
        return error_set(error, ERROR_CONFLICT,
                         "topic %s is ahead of this store (change %lld of epoch %lld; the store ends with change %lld of epoch "
                         "%lld): the store was put "
                         "back from a backup. To make it the truth again, run: jwk-api adopt",
                         topic, (long long)end->sequence, (long long)end->epoch, (long long)identity->sequence,
                         (long long)identity->epoch);
    return 0;
}
