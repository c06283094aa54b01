/* Events against the audit trail. */
#include "audit_events.h"

#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/hash.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"

enum { CONNECT_MS = 15000, SILENCE_MS = 30000 };

struct seen_event {
    char id[UUID_SIZE]; /* ce_id */
    bool recorded;      /* a change of the trail names it */
    bool differs;       /* it is there twice, with different values */
    int32_t partition;
    unsigned char hash[32];
    int64_t offset, time; /* wall ms of ce_time */
    UT_hash_handle hh;
};

struct audit_events {
    struct seen_event *events; /* by ce_id */
    int64_t same, gone;
    int64_t first_time, last_time; /* of the trail's changes */
};

static void take(struct audit_events *events, const rd_kafka_message_t *record) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct error error;
    unsigned char hash[32];
    if (!record->payload) /* a tombstone is no change */
        return;
    if (cloudevent_read(record, &storage, &attributes, &error) || strlen(attributes.id) >= UUID_SIZE) {
        log_warning("record is no event", "topic", rd_kafka_topic_name(record->rkt), "partition", LOG_NUMBER(record->partition),
                    "offset", LOG_NUMBER(record->offset));
        return;
    }
    sha256_bytes(record->payload, record->len, hash);
    struct seen_event *event;
    HASH_FIND_STR(events->events, attributes.id, event);
    if (event) { /* sent again */
        event->differs = event->differs || memcmp(event->hash, hash, sizeof hash) != 0;
        return;
    }
    event = memory_new(sizeof *event);
    strcpy(event->id, attributes.id);
    memcpy(event->hash, hash, sizeof hash);
    event->partition = record->partition;
    event->offset = record->offset;
    if (!attributes.time || clock_parse(attributes.time, &event->time))
        event->time = INT64_MIN;
    HASH_ADD_STR(events->events, id, event);
}

/* Assigns all partitions; ends gets where each ends now, since under load no end ever comes by itself. Returns how many have
 * records, or -1. */
static int assign_all(rd_kafka_t *consumer, const char *topic, int partitions, int64_t *ends, struct error *error) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    int open = 0;
    for (int32_t i = 0; i < partitions && open >= 0; i++) {
        int64_t low;
        if (kafka_watermarks(consumer, topic, i, &low, &ends[i], error)) {
            open = -1;
        } else if (low < ends[i]) {
            rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
            open++;
        }
    }
    if (open > 0)
        rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return open;
}

static int read_all(rd_kafka_t *consumer, const char *topic, struct audit_events *events, struct error *error) {
    struct kafka_topic_spec spec = {.name = topic};
    if (kafka_find_topics(consumer, &spec, 1, CONNECT_MS, error))
        return -1;
    if (spec.partitions_found == 0)
        return error_set(error, ERROR_NOT_FOUND, "there is no topic %s", topic);
    int64_t *ends = memory_new((size_t)spec.partitions_found * sizeof *ends); /* 0: read */
    int open = assign_all(consumer, topic, spec.partitions_found, ends, error), status = open < 0 ? -1 : 0;
    while (status == 0 && open > 0) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, SILENCE_MS);
        if (!record) {
            status =
                error_set(error, ERROR_UNAVAILABLE, "the broker does not answer: the end of topic %s is not reached", topic);
            break;
        }
        bool is_end = record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (!record->err) {
            take(events, record);
            is_end = record->offset + 1 >= ends[record->partition];
        } else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            status = kafka_refusal_set(consumer, KAFKA_READ, topic, error);
        } else if (!is_end && record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) { /* no group is needed */
            log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
        }
        if (is_end && ends[record->partition]) {
            ends[record->partition] = 0;
            open--;
        }
        rd_kafka_message_destroy(record);
    }
    free(ends);
    return status;
}

struct audit_events *audit_events_read(const struct kafka_settings *settings, const char *topic, struct error *error) {
    struct audit_events *events = memory_new(sizeof *events);
    rd_kafka_t *consumer = kafka_consumer_new(settings, "jwk-audit", NULL, error);
    int status = consumer ? read_all(consumer, topic, events, error) : -1;
    kafka_client_free(consumer);
    if (status == 0)
        return events;
    audit_events_free(events);
    return NULL;
}

void audit_events_free(struct audit_events *events) {
    if (!events)
        return;
    struct seen_event *event, *next;
    HASH_ITER (hh, events->events, event, next) {
        HASH_DEL(events->events, event);
        free(event);
    }
    free(events);
}

int audit_events_check(struct audit_events *events, const struct audit_line *change, struct error *error) {
    struct seen_event *event;
    char hash[SHA256_TEXT_SIZE];
    HASH_FIND_STR(events->events, change->entry.event_id, event);
    if (events->first_time == 0)
        events->first_time = change->entry.time;
    events->last_time = change->entry.time;
    if (!event) {
        events->gone++;
        return 0;
    }
    event->recorded = true;
    base64url_encode(event->hash, sizeof event->hash, hash);
    if (event->differs || strcmp(hash, change->entry.event_hash) != 0)
        return error_set(error, ERROR_INVALID,
                         "the event of sequence %lld (%s, partition %d, offset %lld) is not the one that was recorded",
                         (long long)change->sequence, event->id, event->partition, (long long)event->offset);
    events->same++;
    return 0;
}

int audit_events_end(const struct audit_events *events, struct error *error) {
    /* What is newer than the last change that was read may be recorded behind it. */
    for (const struct seen_event *event = events->events; event; event = event->hh.next)
        if (!event->recorded && event->time >= events->first_time && event->time < events->last_time)
            return error_set(error, ERROR_INVALID,
                             "event %s (partition %d, offset %lld) is on its topic, and the trail knows nothing of it",
                             event->id, event->partition, (long long)event->offset);
    return 0;
}

void audit_events_count(const struct audit_events *events, int64_t *same, int64_t *gone) {
    *same = events->same;
    *gone = events->gone;
}
