/* Filling, reading and emptying a batch. */
#include "worker/batch.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/cloudevent.h"

enum { READ_ALONE = 32 }; /* so few records are read sooner than a thread is started */

void batch_add_take(struct batch *batch, const struct consumer *consumer, rd_kafka_message_t *message) {
    struct consumer_place place;
    if (!consumer_place(consumer, message->partition, message->offset, &place)) {
        rd_kafka_message_destroy(message);
        return;
    }
    batch->records[batch->count] = (struct apply_record){
        .partition = message->partition,
        .offset = message->offset,
        .key = message->key,
        .key_length = message->key_len,
        .value = message->payload,
        .value_length = message->len,
        .generation = place.generation,
        .live = place.live,
    };
    batch->messages[batch->count] = message;
    batch->places[batch->count] = place;
    batch->count++;
}

void batch_add_end_take(struct batch *batch, const struct consumer *consumer, rd_kafka_message_t *message) {
    struct consumer_place place;
    if (!consumer_place(consumer, message->partition, message->offset, &place)) {
        rd_kafka_message_destroy(message);
        return;
    }
    batch->records[batch->count] =
        (struct apply_record){.partition = message->partition, .offset = message->offset - 1, .outcome = APPLY_END};
    batch->messages[batch->count] = message;
    batch->places[batch->count] = place;
    batch->count++;
}

/* ---- reading ---- */

/* Neighbours, of which many share a signature, for one thread. */
struct slice {
    struct batch *batch;
    struct trust *trust;
    size_t checker; /* the number of the thread: of what is its own */
    size_t from, count;
    pthread_t thread;
};

/* Judges and decodes one record. */
static void read_record(const struct slice *slice, size_t i) {
    struct apply_record *record = &slice->batch->records[i];
    const rd_kafka_message_t *message = slice->batch->messages[i];
    struct arena *arena = &slice->batch->arenas[slice->checker];
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct error problem = {.message = ""}, refusal;
    int64_t now = clock_wall_ms() / 1000;
    if ((message->payload || slice->trust) && cloudevent_read(message, &storage, &attributes, &problem) == 0)
        record->attributes = &attributes;
    record->problem = problem.message;
    record->verified = slice->trust != NULL;
    if (slice->trust && !record->attributes) {
        record->verdict = SIGNATURE_MALFORMED;
        record->refusal = arena_string(arena, problem.message);
    } else if (slice->trust) {
        record->verdict = trust_check_event(slice->trust, slice->checker, message, &attributes, now, &refusal);
        record->refusal = record->verdict == SIGNATURE_VALID ? NULL : arena_string(arena, refusal.message);
    }
    apply_decode(record, arena);
    record->attributes = NULL; /* they and the problem are this function's */
    record->problem = NULL;
}

static void *read_slice(void *context) {
    const struct slice *slice = context;
    for (size_t i = slice->from; i < slice->from + slice->count; i++)
        if (slice->batch->records[i].outcome != APPLY_END)
            read_record(slice, i);
    return NULL;
}

static bool is_short_of_keys(const struct apply_record *record) {
    return record->outcome != APPLY_END && trust_verdict_may_change(record->verdict);
}

static bool lacks_keys(const struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        if (is_short_of_keys(&batch->records[i]))
            return true;
    return false;
}

void batch_read(struct batch *batch, struct trust *trust) {
    struct slice slices[TRUST_CHECKERS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t threads = cores > TRUST_CHECKERS_MAX ? TRUST_CHECKERS_MAX : cores > 1 ? (size_t)cores : 1, at = 0, started = 1;
    if (batch->count <= READ_ALONE)
        threads = 1;
    for (size_t i = 0; i < threads; i++) {
        size_t length = (batch->count - at) / (threads - i);
        slices[i] = (struct slice){.batch = batch, .trust = trust, .checker = i, .from = at, .count = length};
        at += length;
    }
    while (started < threads && pthread_create(&slices[started].thread, NULL, read_slice, &slices[started]) == 0)
        started++;
    read_slice(&slices[0]);
    for (size_t i = started; i < threads; i++)
        read_slice(&slices[i]); /* no thread could be had for it */
    for (size_t i = 1; i < started; i++)
        pthread_join(slices[i].thread, NULL);
    /* Keys that were handed in meanwhile: who waits for a deployment is not to be told of a failure first. */
    if (trust && lacks_keys(batch) && trust_look(trust))
        for (size_t i = 0; i < batch->count; i++)
            if (is_short_of_keys(&batch->records[i]))
                read_record(&slices[0], i);
}

/* ---- emptying ---- */

void batch_drop_outdated(struct batch *batch, const struct consumer *consumer) {
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct consumer_place place;
        if (consumer_place(consumer, batch->records[i].partition, batch->records[i].offset, &place) &&
            place.generation == batch->places[i].generation) {
            if (kept != i) {
                batch->records[kept] = batch->records[i];
                batch->messages[kept] = batch->messages[i];
                batch->places[kept] = batch->places[i];
            }
            kept++;
            continue;
        }
        rd_kafka_message_destroy(batch->messages[i]);
    }
    batch->count = kept;
}

bool batch_has_work(const struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        if (batch->records[i].outcome != APPLY_END)
            return true;
    return false;
}

void batch_clear(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        rd_kafka_message_destroy(batch->messages[i]);
    for (size_t i = 0; i < TRUST_CHECKERS_MAX; i++)
        arena_reset(&batch->arenas[i]);
    batch->count = 0;
    batch->refused = false;
}

void batch_free(struct batch *batch) {
    if (!batch)
        return;
    batch_clear(batch);
    for (size_t i = 0; i < TRUST_CHECKERS_MAX; i++)
        arena_free(&batch->arenas[i]);
    free(batch);
}
