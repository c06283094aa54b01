/* Who is acked when. */
#include "worker/settle.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/identifier.h"
#include "common/memory.h"
#include "worker/hook.h"
#include "worker/metrics.h"

/* A JWK that succeeded after failures: it counts as failing until the ack that says so was delivered. */
struct recovered {
    uint64_t number;
    char jwk_id[UUID_SIZE];
    int64_t epoch, version;
    UT_hash_handle hh;
};

struct settler {
    struct settler_options options;
    struct effect_result *results; /* taken, and not settled because the state failed */
    struct effect_change *swept;   /* of the transaction that runs */
    struct recovered *recovered;
    uint64_t next_number;
};

struct settler *settler_new(const struct settler_options *options) {
    struct settler *settler = memory_new(sizeof *settler);
    settler->options = *options;
    return settler;
}

void settler_free(struct settler *settler) {
    if (!settler)
        return;
    struct effect_result *result, *next;
    DL_FOREACH_SAFE(settler->results, result, next) {
        effect_result_free(result);
    }
    settle_sweep_end(settler, false);
    struct recovered *recovered, *next_recovered;
    HASH_ITER(hh, settler->recovered, recovered, next_recovered) {
        HASH_DEL(settler->recovered, recovered);
        free(recovered);
    }
    free(settler);
}

/* ---- a batch ---- */

static bool is_event(const struct apply_record *record) {
    return record->outcome != APPLY_MALFORMED && record->outcome != APPLY_TOMBSTONE && record->outcome != APPLY_END &&
           record->outcome != APPLY_REFUSED;
}

static void subject_of_record(const struct apply_record *record, char hash[SHA256_TEXT_SIZE], struct ack_subject *subject) {
    sha256_text(record->value, record->value_length, hash);
    *subject = (struct ack_subject){
        .deployment_id = record->event.deployment_id,
        .event_id = record->event_id,
        .event_hash = hash,
        .traceparent = record->traceparent[0] ? record->traceparent : NULL,
        .jwk_id = record->event.jwk_id,
        .epoch = record->event.epoch,
        .version = record->event.version,
        .sequence = record->event.sequence,
    };
}

/* Whether file and hook are due for it before it is acked. */
static bool has_effect(const struct settler *settler, const struct apply_record *record, const struct consumer_place *place) {
    if (!settler->options.effects || record->outcome == APPLY_OLDER || record->outcome == APPLY_PAST_EPOCH)
        return false;
    /* What was settled when the partition was read before has had its hook. Another equal event may not have: its hook was waiting
     * when the worker ended, or began to read again. */
    if (record->outcome == APPLY_EQUAL && place->reading_again && record->event.sequence <= place->done_sequence)
        return false;
    if (settler->options.has_hook)
        return true;
    /* Before the replica has caught up, files are written all at once at the end. And nobody waits to know whether a private half
     * can be opened. */
    return (place->live || record->made_good) && (settler->options.has_files || !record->is_opened);
}

static void submit(struct settler *settler, const struct apply_record *record, bool live, uint64_t ticket) {
    char hash[SHA256_TEXT_SIZE];
    const struct event *event = &record->event;
    sha256_text(record->value, record->value_length, hash);
    struct effect_change pattern = {
        .operation = event->operation,
        .jwk_id = event->jwk_id,
        .deployment_id = event->deployment_id,
        .event_id = record->event_id,
        .event_hash = hash,
        .traceparent = record->traceparent[0] ? record->traceparent : NULL,
        .project_name = event->project_name,
        .name = event->name,
        .type = event->type,
        .kid = event->kid,
        .public_key = event->public_key,
        .sealed = event->private_key,
        .is_opened = record->is_opened,
        .epoch = event->epoch,
        .version = event->version,
        .sequence = event->sequence,
        .ticket = ticket,
        .acked = live,
    };
    effects_submit_take(settler->options.effects, effect_change_new(&pattern));
}

/* Whether its sequence tells how far the replica is: not when what it says of itself is not believed, nor when another store
 * gave it, which counts on from where both had been: also for a JWK that the store of the latest epoch does not know. */
static bool sequence_counts(const struct settler *settler, const struct apply_record *record) {
    return !record->is_unproven && record->outcome != APPLY_REFUSED &&
           record->event.epoch >= state_epoch(settler->options.state);
}

/* Tells who waits for it why it is not applied. It is never tried again. */
static void settle_not_applied(struct settler *settler, const struct apply_record *record) {
    char hash[SHA256_TEXT_SIZE], message[ACK_MESSAGE_MAX + 1];
    struct ack_subject subject;
    char *sentence = memory_format("%s%s", record->outcome == APPLY_REFUSED ? "The event was refused: " : "", record->refusal);
    subject_of_record(record, hash, &subject);
    hook_clean_message(sentence, strlen(sentence), message, sizeof message);
    free(sentence);
    uint64_t ticket = progress_add(settler->options.progress, record->partition, record->offset + 1, 0);
    progress_settle(settler->options.progress, ticket);
    ack_send(settler->options.acks, &subject, ACK_FAILED, message, ACK_KIND_EVENT, ticket);
}

void settle_batch(struct settler *settler, const struct apply_record *records, const struct consumer_place *places,
                  size_t count) {
    struct progress *progress = settler->options.progress;
    for (size_t i = 0; i < count; i++) {
        const struct apply_record *record = &records[i];
        int64_t next_offset = record->offset + 1;
        /* Who waits for an event would not send it unsigned, and what it says of itself is not believed. */
        bool live = (places[i].live || record->made_good) && !record->is_unproven;
        int64_t sequence = sequence_counts(settler, record) ? record->event.sequence : 0;
        bool failed = record->outcome == APPLY_PAST_EPOCH || (record->outcome == APPLY_REFUSED && record->is_failure);
        if (failed && live) {
            settle_not_applied(settler, record);
            continue;
        }
        if (!is_event(record)) {
            progress_pass(progress, record->partition, next_offset, 0);
            continue;
        }
        bool effect = has_effect(settler, record, &places[i]);
        if (!effect && !live) {
            progress_pass(progress, record->partition, next_offset, sequence);
            continue;
        }
        uint64_t ticket = progress_add(progress, record->partition, next_offset, sequence);
        if (effect) {
            submit(settler, record, live, ticket);
            continue;
        }
        char hash[SHA256_TEXT_SIZE];
        struct ack_subject subject;
        subject_of_record(record, hash, &subject);
        progress_settle(progress, ticket);
        ack_send(settler->options.acks, &subject, ACK_APPLIED, NULL, ACK_KIND_EVENT, ticket);
    }
}

void settle_failed_batch(struct settler *settler, const struct apply_record *records, const struct consumer_place *places,
                         size_t count, const char *message) {
    for (size_t i = 0; i < count; i++) {
        if (!places[i].live || !is_event(&records[i]) || records[i].is_unproven)
            continue;
        char hash[SHA256_TEXT_SIZE];
        struct ack_subject subject;
        subject_of_record(&records[i], hash, &subject);
        ack_send(settler->options.acks, &subject, ACK_FAILED, message, ACK_KIND_NONE, 0);
    }
}

/* ---- a sweep ---- */

void settle_swept(struct settler *settler, const struct state_jwk *jwk) {
    if (!settler->options.effects)
        return;
    struct effect_change pattern = {
        .operation = EVENT_DELETE,
        .jwk_id = jwk->id,
        .project_name = jwk->project_name,
        .name = jwk->name,
        .kid = jwk->kid,
        .epoch = jwk->epoch,
        .version = jwk->version,
        .sequence = jwk->sequence,
    };
    struct effect_change *change = effect_change_new(&pattern); /* apart: the macro names it several times */
    DL_APPEND(settler->swept, change);
}

void settle_sweep_end(struct settler *settler, bool committed) {
    struct effect_change *change, *next;
    DL_FOREACH_SAFE(settler->swept, change, next) {
        DL_DELETE(settler->swept, change);
        /* Beyond the queue's bound when many are swept: they are in memory already, and the consumer pauses until they are
         * done. */
        if (committed)
            effects_submit_take(settler->options.effects, change);
        else
            effect_change_free(change);
    }
}

/* ---- results ---- */

static int store_result(struct settler *settler, const struct effect_result *result, struct error *error) {
    const struct effect_change *change = result->change;
    struct state *state = settler->options.state;
    switch (result->outcome) {
    case EFFECT_FAILED: {
        if (!change->deployment_id)
            return 0;
        struct state_failing failing = {
            .jwk_id = change->jwk_id,
            .deployment_id = change->deployment_id,
            .event_id = change->event_id,
            .event_hash = change->event_hash,
            .traceparent = change->traceparent,
            .message = result->message,
            .operation = change->operation,
            .epoch = change->epoch,
            .version = change->version,
            .sequence = change->sequence,
        };
        return state_store_failing(state, &failing, error);
    }
    case EFFECT_DONE:
    case EFFECT_SUPERSEDED:
        return state_failing_count(state) > 0
                   ? state_clear_failing(state, change->jwk_id, change->epoch, change->version, error)
                   : 0;
    case EFFECT_RECOVERED:
        break; /* cleared once its ack was delivered */
    }
    return 0;
}

static void note_opened(struct settler *settler, const struct effect_result *results) {
    const struct effect_result *result;
    DL_FOREACH(results, result) {
        if (result->was_opened)
            state_note_opened(settler->options.state, result->change->jwk_id, result->change->epoch, result->change->version);
    }
}

static bool needs_storing(const struct settler *settler, const struct effect_result *results) {
    const struct effect_result *result;
    DL_FOREACH(results, result) {
        if (result->outcome == EFFECT_FAILED || state_failing_count(settler->options.state) > 0)
            return true;
    }
    return false;
}

static void ack_recovered(struct settler *settler, const struct ack_subject *subject) {
    struct recovered *recovered = memory_new(sizeof *recovered);
    recovered->number = settler->next_number++;
    snprintf(recovered->jwk_id, sizeof recovered->jwk_id, "%s", subject->jwk_id);
    recovered->epoch = subject->epoch;
    recovered->version = subject->version;
    HASH_ADD(hh, settler->recovered, number, sizeof recovered->number, recovered);
    ack_send(settler->options.acks, subject, ACK_APPLIED, NULL, ACK_KIND_RECOVERED, recovered->number);
}

static void ack_result(struct settler *settler, const struct effect_result *result) {
    const struct effect_change *change = result->change;
    struct ack_subject subject = {
        .deployment_id = change->deployment_id,
        .event_id = change->event_id,
        .event_hash = change->event_hash,
        .traceparent = change->traceparent,
        .jwk_id = change->jwk_id,
        .epoch = change->epoch,
        .version = change->version,
        .sequence = change->sequence,
    };
    if (!change->deployment_id || result->outcome == EFFECT_SUPERSEDED)
        return; /* nobody waits for it */
    if (result->outcome == EFFECT_RECOVERED) {
        ack_recovered(settler, &subject);
        return;
    }
    if (!change->acked) {
        progress_ack(settler->options.progress, change->ticket);
        return;
    }
    bool failed = result->outcome == EFFECT_FAILED;
    progress_settle(settler->options.progress, change->ticket);
    ack_send(settler->options.acks, &subject, failed ? ACK_FAILED : ACK_APPLIED, failed ? result->message : NULL,
             ACK_KIND_EVENT, change->ticket);
}

int settle_results(struct settler *settler, struct error *error) {
    struct state *state = settler->options.state;
    if (!settler->options.effects)
        return 0;
    struct effect_result *taken = effects_take_results(settler->options.effects), *result, *next;
    note_opened(settler, taken);
    DL_CONCAT(settler->results, taken);
    if (!settler->results)
        return 0;
    /* Durable before the ack, so that a failure that was told is tried again after a restart. */
    if (needs_storing(settler, settler->results)) {
        int status = state_begin(state, error);
        DL_FOREACH(settler->results, result) {
            if (status == 0)
                status = store_result(settler, result, error);
        }
        if (status || state_commit(state, error)) {
            state_rollback(state);
            return -1;
        }
        metric_set(&metric_failing, state_failing_count(state));
    }
    DL_FOREACH_SAFE(settler->results, result, next) {
        DL_DELETE(settler->results, result);
        ack_result(settler, result);
        effect_result_free(result);
    }
    return 0;
}

static void recover(void *context, const struct state_failing *failing) {
    struct ack_subject subject = {
        .deployment_id = failing->deployment_id,
        .event_id = failing->event_id,
        .event_hash = failing->event_hash,
        .traceparent = failing->traceparent,
        .jwk_id = failing->jwk_id,
        .epoch = failing->epoch,
        .version = failing->version,
        .sequence = failing->sequence,
    };
    ack_recovered(context, &subject);
}

int settle_recover_all(struct settler *settler, struct error *error) {
    if (settler->options.effects || state_failing_count(settler->options.state) == 0)
        return 0;
    return state_each_failing(settler->options.state, SIZE_MAX, recover, settler, error);
}

int settle_delivered(struct settler *settler, enum ack_kind kind, uint64_t number, struct error *error) {
    struct state *state = settler->options.state;
    if (kind == ACK_KIND_EVENT)
        progress_ack(settler->options.progress, number);
    if (kind != ACK_KIND_RECOVERED)
        return 0;
    struct recovered *recovered;
    HASH_FIND(hh, settler->recovered, &number, sizeof number, recovered);
    if (!recovered)
        return 0;
    int status = state_begin(state, error) ||
                         state_clear_failing(state, recovered->jwk_id, recovered->epoch, recovered->version, error) ||
                         state_commit(state, error)
                     ? -1
                     : 0;
    if (status)
        state_rollback(state); /* stays failing, and is tried and acked again at the next start */
    HASH_DEL(settler->recovered, recovered);
    free(recovered);
    metric_set(&metric_failing, state_failing_count(state));
    return status;
}
