/* Filling and emptying a batch. */
#include "worker/batch.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/cloudevent.h"

/* Judges a record before anything of it is read. */
static void judge(struct trust *trust, bool is_valid, const rd_kafka_message_t *message, struct apply_record *record,
                  struct arena *arena) {
    struct error problem;
    record->verified = trust != NULL;
    if (!trust || (is_valid && record->attributes))
        return;
    if (record->attributes) {
        record->verdict = trust_check_event(trust, message, record->attributes, clock_wall_ms() / 1000, &problem);
    } else {
        error_set(&problem, ERROR_INVALID, "%s", record->problem);
        record->verdict = SIGNATURE_MALFORMED;
    }
    if (record->verdict != SIGNATURE_VALID)
        record->refusal = arena_string(arena, problem.message);
}

void batch_add_take(struct batch *batch, const struct consumer *consumer, struct trust *trust, bool is_valid,
                    rd_kafka_message_t *message) {
    struct consumer_place place;
    if (!consumer_place(consumer, message->partition, message->offset, &place)) {
        rd_kafka_message_destroy(message);
        return;
    }
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct error problem = {.message = ""};
    struct apply_record *record = &batch->records[batch->count];
    *record = (struct apply_record){
        .partition = message->partition,
        .offset = message->offset,
        .key = message->key,
        .key_length = message->key_len,
        .value = message->payload,
        .value_length = message->len,
        .generation = place.generation,
        .live = place.live,
    };
    if ((message->payload || trust) && cloudevent_read(message, &storage, &attributes, &problem) == 0)
        record->attributes = &attributes;
    record->problem = problem.message;
    judge(trust, is_valid, message, record, &batch->arena);
    apply_decode(record, &batch->arena);
    record->attributes = NULL; /* they and the problem are this function's */
    record->problem = NULL;
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
    arena_reset(&batch->arena);
    batch->count = 0;
    batch->refused = false;
}

void batch_free(struct batch *batch) {
    if (!batch)
        return;
    batch_clear(batch);
    arena_free(&batch->arena);
    free(batch);
}
