/* From records to rows. */
#include "worker/apply.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/log_limit.h"
#include "common/memory.h"
#include "worker/metrics.h"
#include "worker/public_key.h"
#include "worker/trust.h"

enum { KEY_SHOWN_MAX = 64 };

/* ---- decoding ---- */

static void mark_malformed(struct apply_record *record, const char *reason, struct arena *arena) {
    record->outcome = APPLY_MALFORMED;
    record->refusal = arena_string(arena, reason);
}

/* The JWK that the record's key names; false when it names none. */
static bool key_id(const struct apply_record *record, char id[UUID_SIZE]) {
    if (!record->key || record->key_length != UUID_SIZE - 1)
        return false;
    memcpy(id, record->key, UUID_SIZE - 1);
    id[UUID_SIZE - 1] = '\0';
    return uuid_is_valid(id);
}

static bool key_is(const struct apply_record *record, const char *id) {
    return record->key && record->key_length == strlen(id) && memcmp(record->key, id, record->key_length) == 0;
}

/* When each part of an event is not served any more, seconds since 1970. */
struct ends {
    int64_t expires;
    int64_t retiring[RETIRING_COUNT_MAX];
};

static int check_event(const struct apply_record *record, const struct event *event, struct ends *ends, struct error *error) {
    if (strcmp(record->attributes->type, event_operation_type(event->operation)) != 0)
        return error_set(error, ERROR_INVALID, "ce_type does not fit the operation");
    if (!key_is(record, event->jwk_id))
        return error_set(error, ERROR_INVALID, "the record's key is not the JWK's id");
    ends->expires = INT64_MAX;
    /* The API sends public halves only; this is the last door before they are served. */
    if (event->public_key && public_key_examine(event->public_key, &ends->expires, error))
        return -1;
    for (size_t i = 0; i < event->retiring_count; i++) {
        if (public_key_examine(event->retiring[i].public_key, &ends->retiring[i], error))
            return error_prefix(error, "retiring");
        if (event->retiring[i].until < ends->retiring[i])
            ends->retiring[i] = event->retiring[i].until;
    }
    return 0;
}

/* Keeps of an event what is needed until its batch is settled. */
static void keep_event(struct apply_record *record, const struct event *event, const struct ends *ends, struct arena *arena) {
    record->expires = ends->expires;
    record->event = *event;
    record->event.storage = NULL;
    record->event.deployment_id = arena_string(arena, event->deployment_id);
    record->event.project_id = arena_string(arena, event->project_id);
    record->event.project_name = arena_string(arena, event->project_name);
    record->event.jwk_id = arena_string(arena, event->jwk_id);
    record->event.name = arena_string(arena, event->name);
    record->event.type = arena_string(arena, event->type);
    record->event.kid = arena_string(arena, event->kid);
    record->event.public_key = arena_string(arena, event->public_key);
    record->event.private_key = arena_string(arena, event->private_key);
    record->event.description = record->event.actor = record->event.time = NULL;
    record->event.retiring = NULL;
    if (event->retiring_count == 0)
        return;
    struct event_retiring *retiring = arena_take_aligned(arena, event->retiring_count * sizeof *retiring);
    for (size_t i = 0; i < event->retiring_count; i++)
        retiring[i] = (struct event_retiring){.public_key = arena_string(arena, event->retiring[i].public_key),
                                              .until = ends->retiring[i]};
    record->event.retiring = retiring;
}

static int decode_event(struct apply_record *record, struct arena *arena, struct error *error) {
    const struct cloudevent *attributes = record->attributes;
    struct event event;
    struct ends ends;
    if (!attributes)
        return error_set(error, ERROR_INVALID, "%s", record->problem ? record->problem : "no CloudEvents headers");
    if (!uuid_is_valid(attributes->id))
        return error_set(error, ERROR_INVALID, "ce_id is not a UUID");
    if (event_decode(record->value, record->value_length, &event, error))
        return -1;
    int status = check_event(record, &event, &ends, error);
    if (status == 0) {
        memcpy(record->event_id, attributes->id, strlen(attributes->id) + 1);
        if (attributes->traceparent)
            memcpy(record->traceparent, attributes->traceparent, strlen(attributes->traceparent) + 1);
        keep_event(record, &event, &ends, arena);
    }
    event_free(&event);
    return status;
}

static void mark_refused(struct apply_record *record, struct arena *arena) {
    struct error ignored;
    record->outcome = APPLY_REFUSED;
    record->is_readable = record->value && decode_event(record, arena, &ignored) == 0;
}

void apply_decode(struct apply_record *record, struct arena *arena) {
    struct error problem;
    record->event = (struct event){0};
    record->event_id[0] = record->traceparent[0] = '\0';
    record->is_readable = record->is_failure = record->made_good = record->is_opened = record->is_unproven = false;
    record->outcome = APPLY_PENDING;
    if (record->verdict != SIGNATURE_VALID) {
        mark_refused(record, arena);
    } else if (!record->value) {
        if (key_id(record, record->event_id))
            record->outcome = APPLY_TOMBSTONE; /* event_id: of the JWK */
        else
            mark_malformed(record, "a tombstone whose key is not a UUID", arena);
    } else if (decode_event(record, arena, &problem)) {
        mark_malformed(record, problem.message, arena);
    }
    record->attributes = NULL;
}

/* ---- one transaction ---- */

static void log_skipped(const char *what, const struct apply_record *record, const char *verdict, const char *reason) {
    static struct log_limit limit; /* of the one thread that applies */
    char key[KEY_SHOWN_MAX + 1];
    const char *shown = NULL;
    int64_t suppressed;
    if (!log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
        return;
    /* What is not text is not printed: it could be anything, a private key too. */
    if (record->key && record->key_length <= KEY_SHOWN_MAX && json_utf8_is_valid(record->key, record->key_length)) {
        memcpy(key, record->key, record->key_length);
        key[record->key_length] = '\0';
        shown = key;
    }
    log_warning(what, "partition", LOG_NUMBER(record->partition), "offset", LOG_NUMBER(record->offset), "key", shown, "verdict",
                verdict, "reason", reason, LOG_SUPPRESSED(suppressed));
}

/* The sets that a transaction changes. They are made stale after the commit: before it, a reader could build the old set again.
 */
struct stale_sets {
    key_set_slot *slots;
    size_t count, capacity;
};

static void note_changed(void *context, const char *project_name) {
    struct stale_sets *sets = context;
    if (sets->count == sets->capacity) {
        sets->capacity = sets->capacity ? sets->capacity * 2 : 64;
        sets->slots = memory_resize(sets->slots, sets->capacity * sizeof *sets->slots);
    }
    sets->slots[sets->count++] = key_set_slot_of(project_name);
}

static void invalidate(const struct apply_target *target, const struct stale_sets *sets) {
    for (size_t i = 0; i < sets->count; i++)
        key_set_invalidate(target->cache, sets->slots[i]);
}

/* The API has signed it, and it can not be read: it is of a later version of the API, or of one with a fault. What it says of its
 * JWK is not known here, so the JWK stays as it is, and is told to be failing until an event of it is applied: else the position,
 * which goes on, would tell that this one was. */
static int apply_malformed(struct state *state, const struct apply_record *record, struct error *error) {
    char id[UUID_SIZE];
    if (record->verdict != SIGNATURE_VALID || !key_id(record, id))
        return 0;
    return state_keep(state, id, record->partition, record->generation, error) ||
                   state_store_refused(state, id, STATE_UNREADABLE, error)
               ? -1
               : 0;
}

/* What was refused changes nothing. But its JWK may be one that is only told of in events which other keys would verify, and
 * who waits for its deployment is to know. */
static int apply_refused(struct state *state, struct apply_record *record, struct error *error) {
    char id[UUID_SIZE];
    bool has;
    record->outcome = APPLY_REFUSED;
    if (trust_verdict_may_change(record->verdict) && key_id(record, id) &&
        state_keep(state, id, record->partition, record->generation, error))
        return -1;
    if (!record->is_readable)
        return 0;
    const struct event *event = &record->event;
    /* A copy of what was applied, without its signature, is no failure: that would undo a success that was told. */
    if (state_has(state, event->jwk_id, event->epoch, event->version, &has, error))
        return -1;
    record->is_failure = !has;
    /* Nor is it told of the JWK in heartbeats, where it would keep what others deployed from being settled, when no key would
     * ever make it good: anybody can write that. */
    bool may_be_genuine = record->verdict == SIGNATURE_UNKNOWN_KEY || record->verdict == SIGNATURE_EXPIRED_KEY;
    return has || !may_be_genuine ? 0 : state_store_refused(state, event->jwk_id, record->event_id, error);
}

struct unproven {
    struct apply_record *record;
    struct arena *arena;
};

/* From here on the event tells what the state has: whoever wrote it may name any project and any version in it. */
static void note_unproven(void *context, const struct state_jwk *jwk) {
    struct unproven *unproven = context;
    struct apply_record *record = unproven->record;
    struct event *event = &record->event;
    event->project_id = arena_string(unproven->arena, jwk->project_id);
    event->project_name = arena_string(unproven->arena, jwk->project_name);
    event->name = arena_string(unproven->arena, jwk->name);
    event->type = arena_string(unproven->arena, jwk->type);
    event->kid = arena_string(unproven->arena, jwk->kid);
    event->public_key = event->private_key = NULL;
    event->retiring = NULL;
    event->retiring_count = 0;
    event->epoch = jwk->epoch;
    event->version = jwk->version;
    event->sequence = jwk->sequence;
    record->is_unproven = record->is_opened = true;
    record->outcome = jwk->deleted ? APPLY_EQUAL : APPLY_NEWER;
}

/* Follows the unsigned delete of a JWK that was taken unsigned, when the replica had no credentials. What is served by nobody's
 * word may go by nobody's word too: else a key that was deleted before events were signed, while the replica was away, would be
 * served on. Should it be a forgery, the JWK's next signed event, whatever its version, puts the row right; a JWK that nobody
 * changes stays gone until it is published again. One that comes again is no news, and is not refused either. */
static int follow_unproven(const struct apply_target *target, struct apply_record *record, const struct state_changes *changes,
                           struct error *error) {
    struct unproven unproven = {.record = record, .arena = target->arena};
    record->is_unproven = false;
    if (!record->is_readable || record->verdict != SIGNATURE_MISSING || record->event.operation != EVENT_DELETE)
        return 0;
    return state_delete_unproven(target->state, record->event.jwk_id, changes, note_unproven, &unproven, error);
}

/* What is not signed as it should be. */
static int apply_unverified(const struct apply_target *target, struct apply_record *record, const struct state_changes *changes,
                            struct error *error) {
    if (follow_unproven(target, record, changes, error))
        return -1;
    if (!record->is_unproven)
        return apply_refused(target->state, record, error);
    return state_keep(target->state, record->event.jwk_id, record->partition, record->generation, error);
}

static void note_replayed(struct apply_record *record) {
    /* A reading from the start meets what was there before the tombstone. And an API that was killed sends a delete again
     * together with its tombstone. */
    if (!record->live || record->event.operation == EVENT_DELETE)
        return;
    log_skipped("event refused", record, "replayed", "its JWK was deleted, and an event of before has come again");
    metric_add(&metric_events_replayed, 1);
}

static enum apply_outcome outcome_of(enum state_result result) {
    return result == STATE_NEWER ? APPLY_NEWER : result == STATE_EQUAL ? APPLY_EQUAL : APPLY_OLDER;
}

static void mark_past_epoch(struct apply_record *record, int64_t epoch, struct arena *arena) {
    char *sentence = memory_format("this replica follows a store that was adopted later (epoch %" PRId64
                                   ", the change is of epoch %" PRId64 "): another jwk-api has taken over",
                                   epoch, record->event.epoch);
    record->outcome = APPLY_PAST_EPOCH;
    record->refusal = arena_string(arena, sentence);
    free(sentence);
}

static int apply_one(const struct apply_target *target, struct apply_record *record, const struct state_changes *changes,
                     struct error *error) {
    struct state *state = target->state;
    if (record->outcome == APPLY_END)
        return 0;
    if (record->outcome == APPLY_MALFORMED)
        return apply_malformed(state, record, error);
    if (record->verdict != SIGNATURE_VALID)
        return apply_unverified(target, record, changes, error);
    if (record->outcome == APPLY_TOMBSTONE)
        return state_forget(state, record->event_id, changes, error);
    const struct event *event = &record->event;
    struct state_jwk jwk = {
        .id = event->jwk_id,
        .project_id = event->project_id,
        .project_name = event->project_name,
        .name = event->name,
        .type = event->type,
        .kid = event->kid,
        .public_key = event->public_key,
        .sealed = event->private_key,
        .epoch = event->epoch,
        .version = event->version,
        .sequence = event->sequence,
        .expires = record->expires,
        .retiring = event->retiring,
        .retiring_count = event->retiring_count,
        .partition = record->partition,
        .generation = record->generation,
        .deleted = event->operation == EVENT_DELETE,
        .verified = record->verified,
    };
    struct state_outcome outcome;
    if (state_put(state, &jwk, &outcome, changes, error))
        return -1;
    if (outcome.result == STATE_FORGOTTEN)
        note_replayed(record);
    record->is_opened = outcome.private != STATE_PRIVATE_SEALED;
    record->outcome = outcome_of(outcome.result);
    if (record->outcome == APPLY_OLDER && outcome.epoch > event->epoch)
        mark_past_epoch(record, outcome.epoch, target->arena);
    /* What was refused is of a later version than what the state has, and thus than one that is equal. */
    if (record->outcome == APPLY_NEWER)
        return state_clear_refused(state, event->jwk_id, record->event_id, &record->made_good, error);
    /* Of what could not be read the version is not known: read once more from the start, it is followed by what made it good. */
    return record->outcome == APPLY_EQUAL && !record->live ? state_clear_unreadable(state, event->jwk_id, error) : 0;
}

/* Stores what was acked since the last transaction, and when there was contact. */
static int store_positions(const struct apply_target *target, struct error *error) {
    enum { ROUND = 64 };
    struct position positions[ROUND];
    size_t count;
    do {
        count = progress_acked_changes(target->progress, positions, ROUND);
        for (size_t i = 0; i < count; i++)
            if (state_store_offset(target->state, &positions[i], error))
                return -1;
    } while (count == ROUND);
    enum { CONTACT_GRAIN_MS = 60000 };
    int64_t since = target->contact_ms - state_last_contact(target->state);
    return since >= CONTACT_GRAIN_MS || since < 0 ? state_store_contact(target->state, target->contact_ms, error) : 0;
}

static int fail(const struct apply_target *target) {
    state_rollback(target->state);
    progress_mark_dirty(target->progress);
    metric_add(&metric_state_failures, 1);
    return -1;
}

static void tell_malformed(const struct apply_record *record) {
    log_skipped("malformed event skipped", record, NULL, record->refusal);
    metric_add(&metric_events_malformed, 1);
}

static void tell_refused(const struct apply_record *record) {
    log_skipped("event refused", record, signature_verdict_name(record->verdict), record->refusal);
    metric_add(&metric_events_refused[record->verdict], 1);
}

static void tell_past_epoch(const struct apply_record *record) {
    log_skipped("event of an earlier epoch not applied", record, NULL, record->refusal);
    metric_add(&metric_events_past_epoch, 1);
}

/* One that is read again, or at the start, is of before the other store was adopted: nothing but superseded. */
static bool is_superseded(const struct apply_record *record) {
    return record->outcome == APPLY_OLDER || (record->outcome == APPLY_PAST_EPOCH && !record->live);
}

static void tell_unproven(const struct apply_record *record) {
    log_info("the unsigned delete of a JWK that was taken unsigned is followed", "jwk", record->event.jwk_id, "project",
             record->event.project_name, "name", record->event.name, "partition", LOG_NUMBER(record->partition), "offset",
             LOG_NUMBER(record->offset));
    metric_add(&metric_deletes_unproven, 1);
}

/* After the commit, so that what is applied again after a failure is told once. */
static void tell_outcomes(const struct apply_record *records, size_t count) {
    int64_t applied = 0, duplicate = 0, tombstones = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_newer = records[i].outcome == APPLY_NEWER;
        if (records[i].outcome == APPLY_MALFORMED)
            tell_malformed(&records[i]);
        else if (records[i].outcome == APPLY_REFUSED)
            tell_refused(&records[i]);
        else if (records[i].outcome == APPLY_PAST_EPOCH && records[i].live)
            tell_past_epoch(&records[i]);
        else if (is_newer && records[i].is_unproven)
            tell_unproven(&records[i]);
        applied += is_newer && !records[i].is_unproven;
        duplicate += records[i].outcome == APPLY_EQUAL || is_superseded(&records[i]);
        tombstones += records[i].outcome == APPLY_TOMBSTONE;
    }
    metric_add(&metric_events_applied, applied);
    metric_add(&metric_events_duplicate, duplicate);
    metric_add(&metric_tombstones, tombstones);
    metric_add(&metric_batches, 1);
}

/* Remembers that other keys of the API might have taken some of these. */
static int store_refused_by(const struct apply_target *target, const struct apply_record *records, size_t count,
                            struct error *error) {
    if (state_refused_by(target->state)[0])
        return 0;
    for (size_t i = 0; i < count; i++)
        if (records[i].outcome == APPLY_REFUSED && trust_verdict_may_change(records[i].verdict))
            return state_store_refused_by(target->state, target->judged_by, error);
    return 0;
}

int apply_batch(const struct apply_target *target, struct apply_record *records, size_t count, struct error *error) {
    struct stale_sets sets = {0};
    struct state_changes changes = {.changed = note_changed, .context = &sets};
    int status = state_begin(target->state, error);
    for (size_t i = 0; status == 0 && i < count; i++)
        status = apply_one(target, &records[i], &changes, error);
    if (status || store_refused_by(target, records, count, error) || store_positions(target, error) ||
        state_commit(target->state, error)) {
        status = fail(target);
    } else {
        invalidate(target, &sets);
        tell_outcomes(records, count);
        metric_set(&metric_keys, state_keys(target->state));
    }
    free(sets.slots);
    return status;
}

int apply_positions(const struct apply_target *target, struct error *error) {
    if (state_begin(target->state, error) || store_positions(target, error) || state_commit(target->state, error))
        return fail(target);
    return 0;
}

int apply_sweep(const struct apply_target *target, const struct state_position *position,
                void (*removed)(void *context, const struct state_jwk *jwk), void *context, struct error *error) {
    struct stale_sets sets = {0};
    struct state_changes changes = {.changed = note_changed, .context = &sets};
    struct state_position swept = *position;
    swept.sweep_offset = -1;
    int64_t before = state_keys(target->state);
    int status = 0;
    if (state_begin(target->state, error) ||
        state_sweep(target->state, position->position.partition, position->generation, &changes, removed, context, error) ||
        state_store_position(target->state, &swept, error) || state_commit(target->state, error)) {
        status = fail(target);
    } else {
        invalidate(target, &sets);
        metric_add(&metric_swept, before - state_keys(target->state));
        metric_set(&metric_keys, state_keys(target->state));
    }
    free(sets.slots);
    return status;
}
