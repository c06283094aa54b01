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
#include "store_republish.h"

/* How far ahead of a backup its store can be: an epoch is the second in which it was adopted, and a change takes longer than a
 * microsecond. */
#define AHEAD_MAX ((int64_t)1 << 40)

enum {
    TIMEOUT_MS = 15000, /* without any record */
    POLL_MS = 1000,     /* … and so long before the topic is looked for */
    CHUNK = 100, /* records of a partition that are read at first; twice as many each time that its end is not known then */
};

/* What is read of one partition at present: the records from `first` up to before `last`. */
struct stretch {
    int64_t low, first, last;
    int64_t expected; /* sequence of the last event that the store knows to be there, or that it knows at all */
    bool is_there;    /* … of the former sort */
    bool open;        /* not read to its end yet */
    bool known;       /* that event of ours was there, or a later one: nothing before it tells more */
};

struct reading {
    const char *topic;
    char *own_source;
    const struct store_identity *identity;
    struct verifier *verifier;
    rd_kafka_t *consumer;
    struct stretch *stretches; /* by partition */
    struct topic_end *end;
    bool own;                                             /* a record in our name was seen, tombstones among them */
    bool absurd;                                          /* and one that tells of a change that can not be */
    char source[sizeof(((struct topic_end *)0)->source)]; /* of somebody else's event */
};

static bool is_later(struct topic_change change, struct topic_change than) {
    return change.epoch > than.epoch || (change.epoch == than.epoch && change.sequence > than.sequence);
}

bool topic_end_is_plausible(const struct store_identity *identity, int64_t epoch, int64_t number) {
    return epoch - identity->epoch <= AHEAD_MAX && number - identity->sequence <= AHEAD_MAX;
}

/* Whether a record in our name may be of a key, or of a time before keys, that the store has forgotten. */
static bool is_claim(const struct reading *reading, enum signature_verdict verdict) {
    return verdict == SIGNATURE_UNKNOWN_KEY || verdict == SIGNATURE_EXPIRED_KEY ||
           (verdict == SIGNATURE_MISSING && verifier_count(reading->verifier) == 0);
}

/* Takes one event in our name into account. */
static void take_change(struct reading *reading, int partition, enum signature_verdict verdict, struct topic_change change) {
    struct stretch *stretch = &reading->stretches[partition];
    struct topic_change *latest = &reading->end->claimed;
    if (verdict == SIGNATURE_VALID) {
        latest = &reading->end->last;
        stretch->known = stretch->known || change.sequence >= stretch->expected;
        reading->end->reached = reading->end->reached || stretch->known;
    } else if (!topic_end_is_plausible(reading->identity, change.epoch, change.sequence)) {
        reading->absurd = true;
        return;
    }
    if (is_later(change, *latest))
        *latest = change;
}

/* Takes one record into account. One that cannot be read, or whose signature does not fit, tells nothing. */
static void look_at(struct reading *reading, const rd_kafka_message_t *record) {
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
    reading->own = true;
    enum signature_verdict verdict = verifier_check(reading->verifier, record, &attributes, 0, NULL, NULL);
    if ((verdict != SIGNATURE_VALID && !is_claim(reading, verdict)) || !record->payload ||
        event_decode(record->payload, record->len, &event, &ignored))
        return; /* tombstones among them: of no change */
    take_change(reading, record->partition, verdict, (struct topic_change){event.epoch, event.sequence});
    event_free(&event);
}

/* Where no JWK has an event all is read: only the rest of deleted ones is there. */
static int find_expected(struct reading *reading, struct store *store, struct error *error) {
    int64_t *ends = memory_new((size_t)reading->end->partitions * sizeof *ends);
    int status = store_read_published_ends(store, ends, reading->end->partitions, error);
    for (int i = 0; i < reading->end->partitions; i++) {
        reading->stretches[i].is_there = ends[i] > 0;
        reading->stretches[i].expected = ends[i] > 0 ? ends[i] : reading->identity->sequence;
    }
    free(ends);
    return status;
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

/* Assigns the next `count` records towards the beginning, where the end is not known and there are more; returns of how many
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
        if (!record && kafka_topic_is_gone(reading->consumer, reading->topic))
            return error_set(error, ERROR_NOT_FOUND, "reading the end of topic %s: it was deleted", reading->topic);
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
    struct reading reading = {.topic = topic, .end = end, .identity = identity};
    reading.consumer = kafka_consumer_new(settings, "jwk-api", NULL, error);
    if (!reading.consumer)
        return -1;
    reading.own_source = memory_format("urn:jwk-api:%s", identity->uid);
    reading.verifier = verifier_new();
    reading.stretches = memory_new(partitions * sizeof *reading.stretches);
    int status = signing_trust_own(reading.verifier, store, error) || find_expected(&reading, store, error) ||
                         find_ends(&reading, error)
                     ? -1
                     : 0;
    int64_t count = CHUNK;
    for (int open; status == 0 && (open = assign_before(&reading, count)) > 0; count *= 2)
        status = read_stretches(&reading, open, error);
    for (size_t i = 0; i < partitions; i++)
        end->lacking = end->lacking || (reading.stretches[i].is_there && !reading.stretches[i].known);
    if (reading.absurd)
        log_error("the topic has events in this store's name that can not be its own: find out who writes there", "topic",
                  topic);
    if (reading.source[0] && reading.own)
        log_error("events of another installation, or in its name, are on the topic: find out who writes there", "topic", topic,
                  "source", reading.source);
    else
        memcpy(end->source, reading.source, sizeof end->source);
    free(reading.stretches);
    verifier_free(reading.verifier);
    free(reading.own_source);
    kafka_client_free(reading.consumer);
    return status;
}

void topic_end_free(struct topic_end *end) {
    free(end->empty);
    end->empty = NULL;
}

/* Events of a key that the store does not have go further than the store. It was put back from a backup of before that key, or
 * somebody has forged them: nothing in the topic tells which. To refuse would let whoever may write there keep the API from its
 * start by one record; to start would be to send what replicas take for old.
 *
 * So it depends on whether the topic still has what the store itself published last. If it has, this may be a forgery and is
 * only logged: a backup shows by other things then, mostly by a line of the audit trail that a key of the backup has signed. If
 * it has not, compaction has left nothing of the store: events of the newer key have taken the place of its own, as they do
 * some time after each change of the key. A forger would have to displace the last event of each partition, which takes the
 * keys from new replicas in any case. Adopting ends both: the store is ahead afterwards. */
static int judge_claims(struct topic_end *end, const struct topic_change *stored, const char *topic, struct error *error) {
    int status =
        error_set(error, ERROR_CONFLICT,
                  "topic %s goes on in this store's name (up to change %lld of epoch %lld; the store ends with change %lld of "
                  "epoch %lld) under a key that the store does not have: it was put back from a backup of before that key, or "
                  "somebody else who may write to the topic has forged this. To make the store the truth again, " ADOPT_ADVICE,
                  topic, (long long)end->claimed.sequence, (long long)end->claimed.epoch, (long long)stored->sequence,
                  (long long)stored->epoch);
    if (!end->reached)
        return status;
    end->in_doubt = true;
    log_error("the end of the topic is in doubt", "topic", topic, "reason", error->message);
    return 0;
}

int topic_end_check(struct topic_end *end, const struct store_identity *identity, const char *topic, struct error *error) {
    if (end->source[0])
        return error_set(error, ERROR_CONFLICT,
                         "topic %s holds events of another installation (%s) and this store is %s: if its data directory was "
                         "lost or is not mounted, put that or a backup of it back; if this is to be another installation, "
                         "give it a --topic-prefix of its own",
                         topic, end->source, identity->uid);
    const struct topic_change stored = {identity->epoch, identity->sequence};
    if (is_later(end->last, stored))
        return error_set(error, ERROR_CONFLICT,
                         "topic %s is ahead of this store (change %lld of epoch %lld; the store ends with change %lld of epoch "
                         "%lld): the store was put back from a backup, or another jwk-api serves this installation. To make "
                         "the store the truth again, " ADOPT_ADVICE,
                         topic, (long long)end->last.sequence, (long long)end->last.epoch, (long long)stored.sequence,
                         (long long)stored.epoch);
    return is_later(end->claimed, stored) ? judge_claims(end, &stored, topic, error) : 0;
}
