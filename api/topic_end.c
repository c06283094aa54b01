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
#include "common/signature.h"
#include "signing.h"

enum {
    TIMEOUT_MS = 15000, /* without any record */
    POLL_MS = 200,
    CHUNK = 100, /* records of a partition that are read at first; twice as many each time that none of ours was among them */
};

/* What is read of one partition at present: the records from `first` up to before `last`. */
struct stretch {
    int64_t low, first, last;
    bool open;  /* not read to its end yet */
    bool known; /* one of ours was there: nothing before it tells more */
};

struct reading {
    const char *topic;
    char *own_source;
    struct verifier *verifier;
    rd_kafka_t *consumer;
    struct stretch *stretches; /* by partition */
    struct topic_end *end;
    char source[sizeof(((struct topic_end *)0)->source)]; /* of somebody else's event */
};

/* Takes one record into account. One that cannot be read, or that no key of the store has signed, tells nothing. */
static void look_at(struct reading *reading, const rd_kafka_message_t *record) {
    struct topic_end *end = reading->end;
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct event event;
    struct error ignored;
    if (cloudevent_read(record, &storage, &attributes, &ignored))
        return;
    if (strcmp(attributes.source, reading->own_source) != 0) {
        snprintf(reading->source, sizeof reading->source, "%s", attributes.source);
        return;
    }
    if (verifier_check(reading->verifier, record, &attributes, 0, NULL, NULL) != SIGNATURE_VALID)
        return;
    reading->stretches[record->partition].known = true;
    if (!record->payload || event_decode(record->payload, record->len, &event, &ignored))
        return; /* a tombstone of ours */
    if (event.epoch > end->epoch || (event.epoch == end->epoch && event.sequence > end->sequence)) {
        end->epoch = event.epoch;
        end->sequence = event.sequence;
    }
    event_free(&event);
}

static int find_ends(struct reading *reading, struct error *error) {
    for (int32_t i = 0; i < reading->end->partitions; i++) {
        struct stretch *stretch = &reading->stretches[i];
        int64_t high;
        if (kafka_watermarks(reading->consumer, reading->topic, i, &stretch->low, &high, error))
            return -1;
        reading->end->empty[i] = high <= stretch->low;
        stretch->first = high;
    }
    return 0;
}

/* Assigns the next `count` records towards the beginning, where none of ours was found and there are more; returns of how many
 * partitions. */
static int assign_before(struct reading *reading, int64_t count) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(reading->end->partitions);
    for (int32_t i = 0; i < reading->end->partitions; i++) {
        struct stretch *stretch = &reading->stretches[i];
        stretch->open = !stretch->known && stretch->first > stretch->low;
        if (!stretch->open)
            continue;
        stretch->last = stretch->first;
        stretch->first = stretch->last - stretch->low > count ? stretch->last - count : stretch->low;
        rd_kafka_topic_partition_list_add(list, reading->topic, i)->offset = stretch->first;
    }
    int open = list->cnt;
    rd_kafka_assign(reading->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return open;
}

/* Reads what is assigned, of so many partitions. */
static int read_stretches(struct reading *reading, int open, struct error *error) {
    int64_t until = clock_monotonic_ms() + TIMEOUT_MS;
    int status = 0;
    while (status == 0 && open > 0) {
        if (clock_monotonic_ms() >= until)
            return error_set(error, ERROR_UNAVAILABLE, "reading the end of topic %s took too long", reading->topic);
        rd_kafka_message_t *record = rd_kafka_consumer_poll(reading->consumer, POLL_MS);
        if (!record)
            continue;
        struct stretch *stretch = record->partition >= 0 && record->partition < reading->end->partitions
                                      ? &reading->stretches[record->partition]
                                      : NULL;
        bool is_end = record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF; /* compaction may have taken the last */
        if (!record->err && stretch && stretch->open) {
            until = clock_monotonic_ms() + TIMEOUT_MS;
            if (record->offset < stretch->last)
                look_at(reading, record);
            is_end = record->offset >= stretch->last - 1;
        } else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            status = kafka_refusal_set(reading->consumer, KAFKA_READ, reading->topic, error);
        } else if (record->err && !is_end && record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
            /* (No group is needed.) */
            log_warning("consuming failed", "topic", reading->topic, "reason", rd_kafka_message_errstr(record));
        }
        if (is_end && stretch && stretch->open) {
            stretch->open = false;
            open--;
        }
        rd_kafka_message_destroy(record);
    }
    return status;
}

int topic_end_read(const struct kafka_settings *settings, const char *topic, struct store *store,
                   const struct store_identity *identity, struct topic_end *end, struct error *error) {
    size_t partitions = (size_t)identity->partitions;
    *end = (struct topic_end){.partitions = identity->partitions, .empty = memory_new(partitions * sizeof *end->empty)};
    struct reading reading = {.topic = topic, .end = end, .consumer = kafka_consumer_new(settings, "jwk-api", NULL, error)};
    if (!reading.consumer)
        return -1;
    reading.own_source = memory_format("urn:jwk-api:%s", identity->uid);
    reading.verifier = verifier_new();
    reading.stretches = memory_new(partitions * sizeof *reading.stretches);
    int status = signing_trust_own(reading.verifier, store, error) || find_ends(&reading, error) ? -1 : 0;
    int64_t count = CHUNK;
    for (int open; status == 0 && (open = assign_before(&reading, count)) > 0; count *= 2)
        status = read_stretches(&reading, open, error);
    if (reading.source[0] && end->epoch > 0)
        log_error("events of another installation, or in its name, are on the topic: find out who writes there", "topic", topic,
                  "source", reading.source);
    else
        memcpy(end->source, reading.source, sizeof end->source);
    free(reading.stretches);
    verifier_free(reading.verifier);
    free(reading.own_source);
    rd_kafka_consumer_close(reading.consumer);
    rd_kafka_destroy(reading.consumer);
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
