/* A batch of records of jwk.events becomes one durable transaction of the state.
 *
 * Idempotent by (JWK id, epoch, version): an event that is older than the state or equal to it changes nothing and is acked
 * again. But one of an earlier epoch is not superseded by the store that it comes from: another store was adopted in its place,
 * and whoever waits for it is told that it failed. A record that is not an event of ours is logged, counted and skipped, and so
 * is one that was refused: it must never stop the events behind it.
 *
 * An event that somebody puts on the topic again is one like any that the API sends again, and changes nothing: it is older, or
 * equal, or its JWK was deleted for good. Only in the last case it is certain that the API did not send it, and it counts as
 * replayed.
 *
 * One kind of event is followed though it is unsigned: the delete of a JWK that was taken unsigned, before the replica had
 * credentials. Anybody can write one, so that nothing but the JWK's id is taken from it. */
#ifndef WORKER_APPLY_H
#define WORKER_APPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/message.h"
#include "common/signature.h"
#include "worker/arena.h"
#include "worker/key_set.h"
#include "worker/progress.h"
#include "worker/state.h"

enum apply_outcome {
    APPLY_PENDING, /* decoded, not applied yet */
    APPLY_NEWER,
    APPLY_EQUAL,
    APPLY_OLDER,
    APPLY_PAST_EPOCH, /* older, and of a store that another has taken the place of */
    APPLY_TOMBSTONE,
    APPLY_MALFORMED,
    APPLY_REFUSED, /* its signature */
    APPLY_END,     /* no record: the partition ends behind this offset */
};

/* One record. The first part is filled by the caller and borrowed for as long as the record is used. */
struct apply_record {
    int32_t partition;
    int64_t offset;
    const char *key, *value; /* value NULL: a tombstone */
    size_t key_length, value_length;
    int64_t generation;                  /* of the partition, see state.h */
    bool live;                           /* it is behind what there was at the start */
    const struct cloudevent *attributes; /* of the record; only read by apply_decode(); NULL when they are malformed */
    const char *problem;                 /* then: why */
    enum signature_verdict verdict;      /* on its signature; SIGNATURE_VALID also where none is asked for */
    bool verified;                       /* it was asked for */
    const char *refusal;                 /* in the arena: why the verdict is another, it is malformed, or of a past epoch */

    struct event event; /* in the arena; description, actor and time are not kept, and retiring ends with each key's exp */
    char event_id[UUID_SIZE], traceparent[TRACEPARENT_SIZE]; /* "" when there is none */
    int64_t expires;                                         /* the public key's exp, or INT64_MAX */
    enum apply_outcome outcome;
    bool is_readable; /* of a refused one: its event was decoded, and may be told to have failed … */
    bool is_failure;  /* … unless the state has that version of the JWK, or a later one */
    bool made_good;   /* it was refused before, and told so */
    bool is_opened;   /* its private half was opened before, or there is none */
    bool is_unproven; /* an unsigned delete that is followed: event is what the state has of the JWK, and nobody is acked */
};

/* Decodes one record; what does not fit becomes APPLY_MALFORMED, and what was refused APPLY_REFUSED. Never fails. Thread-safe for
 * records and arenas of the caller's own. */
void apply_decode(struct apply_record *record, struct arena *arena);

struct apply_target {
    struct state *state;
    struct key_set_cache *cache;
    struct arena *arena;       /* of the records */
    struct progress *progress; /* whose acked positions are stored with the batch */
    int64_t contact_ms;        /* consumer_last_contact(), which is stored with them */
    const char *judged_by;     /* trust_keys() */
};
/* Applies decoded records in one transaction, and makes the sets that changed stale before it returns. On failure nothing is
 * changed, and the same records can be applied again. */
int apply_batch(const struct apply_target *target, struct apply_record *records, size_t count, struct error *error) MUST_CHECK;

/* Stores the acked positions and the contact alone, when there is no batch to go with. */
int apply_positions(const struct apply_target *target, struct error *error) MUST_CHECK;

/* Removes what a whole reading of the partition did not show, and stores the position without its sweep. removed is called for
 * each JWK before the commit. */
int apply_sweep(const struct apply_target *target, const struct state_position *position,
                void (*removed)(void *context, const struct state_jwk *jwk), void *context, struct error *error) MUST_CHECK;

#endif
