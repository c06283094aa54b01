/* The worker's state: one SQLite file that holds the JWKs of the replica and how far in jwk.events it has read.
 *
 * Keys and positions change in the same transactions, so that a state that is lost, copied or put back from a snapshot always
 * continues from where that very state is. Whatever it holds can be read again from the topic: a damaged state is refused, and
 * deleting its directory mends it.
 *
 * One thread writes (all functions here but state_reader_*, see state_reader.h). */
#ifndef WORKER_STATE_H
#define WORKER_STATE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/message.h"

struct state;

/* Opens the state in directory, made (0700) when missing, and locks it for life: a second process is refused. Refused too, each
 * with a sentence that says what to do: files that others may read, a damaged file, a state of a newer program, and the state
 * of another environment or replica. */
struct state *state_open(const char *directory, const char *environment, const char *replica, struct error *error) MUST_CHECK;
void state_close(struct state *state); /* NULL is allowed */

int64_t state_keys(const struct state *state);  /* JWKs that it holds, deleted ones not counted */
int64_t state_epoch(const struct state *state); /* the highest of its events; 0 when it has seen none */

/* One JWK as the last event told it. Strings are borrowed. */
struct state_jwk {
    const char *id, *project_id, *project_name, *name, *type;
    const char *kid;        /* NULL when it has none */
    const char *public_key; /* NULL when it has no public half, and when deleted */
    const char *sealed;     /* its private half, a JWE's JSON text; NULL when it has none, and when deleted */
    int64_t epoch, version, sequence;
    int64_t expires; /* seconds since 1970; INT64_MAX: never */
    /* Served beside it; until is not later than the exp of that key. Not told by a reader or a sweep. */
    const struct event_retiring *retiring;
    size_t retiring_count;
    int32_t partition;
    int64_t generation; /* of its partition, see struct state_position */
    bool deleted;       /* kept until the tombstone, so that an older event sent again cannot bring it back */
    bool verified;      /* its event was verified; one that was not is replaced by any that is */
};

/* What is known of the private half of a JWK of the state. */
enum state_private {
    STATE_PRIVATE_NONE,
    STATE_PRIVATE_SEALED, /* whether this worker can open it is not known */
    STATE_PRIVATE_OPENED, /* this very JWE was opened before */
};

/* How far a partition of jwk.events has been read. */
struct state_position {
    struct position position;
    /* Counts how often the partition was begun from its start. A JWK carries the generation in which it was last seen, so that
     * those which a whole reading did not show are known. */
    int64_t generation;
    int64_t sweep_offset; /* JWKs of older generations are removed once this offset is passed; -1: no sweep is due */
    /* … and not before this wall time, ms; 0: at once; negative: -1 less the delay, which begins once the offset is passed. */
    int64_t sweep_after;
    /* When it was last begun from its start: whatever the state had of events to this sequence had had its hook. */
    int64_t done_sequence;
};

/* A transaction. Each of these returns -1 with ERROR_UNAVAILABLE when the disk is full or fails, and the caller rolls back and
 * tries again; ERROR_INTERNAL when the state is damaged and going on is wrong. */
int state_begin(struct state *state, struct error *error) MUST_CHECK;
int state_commit(struct state *state, struct error *error) MUST_CHECK;
void state_rollback(struct state *state);

enum state_result {
    STATE_NEWER, /* applied */
    STATE_EQUAL, /* was there already */
    STATE_OLDER, /* the state has a newer one; nothing changed */
    STATE_FORGOTTEN, /* older than the tombstone of this JWK; nothing changed */
};
struct state_outcome {
    enum state_result result;
    enum state_private private; /* of what is newer or equal */
    int64_t epoch;              /* of what is older or forgotten: the epoch of what the state has instead */
};
/* Applies one event by (id, epoch, version). changed is called for each project name whose served keys differ from before. */
struct state_changes {
    void (*changed)(void *context, const char *project_name);
    void *context;
};
int state_put(struct state *state, const struct state_jwk *jwk, struct state_outcome *outcome,
              const struct state_changes *changes, struct error *error) MUST_CHECK;
/* The private half of that version was opened: stored with the next transaction. */
void state_note_opened(struct state *state, const char *jwk_id, int64_t epoch, int64_t version);
/* A tombstone: forgets the JWK, but not that it was deleted. */
int state_forget(struct state *state, const char *jwk_id, const struct state_changes *changes, struct error *error) MUST_CHECK;
/* Removes the JWKs of a partition that generations before this one saw last. removed (may be NULL) is called for each. */
int state_sweep(struct state *state, int32_t partition, int64_t generation, const struct state_changes *changes,
                void (*removed)(void *context, const struct state_jwk *jwk), void *context, struct error *error) MUST_CHECK;

/* Reads all positions; the caller frees *positions. Outside of a transaction too. */
int state_load_positions(struct state *state, struct state_position **positions, size_t *count, struct error *error) MUST_CHECK;
/* Within a transaction. The offset and sequence alone, or all of it. */
int state_store_offset(struct state *state, const struct position *position, struct error *error) MUST_CHECK;
int state_store_position(struct state *state, const struct state_position *position, struct error *error) MUST_CHECK;

/* When this state was last in touch with the topic, wall ms. 0 when it never was. */
int64_t state_last_contact(const struct state *state);
int state_store_contact(struct state *state, int64_t wall_ms, struct error *error) MUST_CHECK;
/* The Kafka cluster whose offsets the positions are; "" when none is known yet. Owned by the state. */
const char *state_cluster(const struct state *state);
int state_store_cluster(struct state *state, const char *cluster, struct error *error) MUST_CHECK;

/* A JWK whose last version is applied but whose hook or export fails. Strings are borrowed. */
struct state_failing {
    const char *jwk_id, *deployment_id, *event_id, *event_hash;
    const char *traceparent; /* NULL when there was none */
    const char *message;
    enum event_operation operation;
    int64_t epoch, version, sequence;
};
int state_store_failing(struct state *state, const struct state_failing *failing, struct error *error) MUST_CHECK;
/* Removes it unless it is of a later (epoch, version) than these. */
int state_clear_failing(struct state *state, const char *jwk_id, int64_t epoch, int64_t version,
                        struct error *error) MUST_CHECK;
int64_t state_failing_count(const struct state *state);
/* Calls visit for at most limit of them, oldest JWK first. */
int state_each_failing(struct state *state, size_t limit, void (*visit)(void *context, const struct state_failing *failing),
                       void *context, struct error *error) MUST_CHECK;

/* What was refused since the state was last read from the start, for reasons that other keys of the API would change. by tells
 * with which keys it was judged ("" when nothing was refused). Owned by the state. */
const char *state_refused_by(const struct state *state);
int state_store_refused_by(struct state *state, const char *by, struct error *error) MUST_CHECK;
/* Such an event was told to have failed: a JWK of which it is kept, at most STATE_REFUSED_MAX, until an event of it is applied.
 */
enum { STATE_REFUSED_MAX = 1000 };
int64_t state_refused_count(const struct state *state);
int state_store_refused(struct state *state, const char *jwk_id, const char *event_id, struct error *error) MUST_CHECK;
/* In place of the id of an event that could not be read. */
#define STATE_UNREADABLE ""
/* An event of the JWK that is in the topic behind one that could not be read, if there was such a one. */
int state_clear_unreadable(struct state *state, const char *jwk_id, struct error *error) MUST_CHECK;
/* An event of the JWK was applied and is newer than what the state had. *made_good: it is the one that was refused. */
int state_clear_refused(struct state *state, const char *jwk_id, const char *event_id, bool *made_good,
                        struct error *error) MUST_CHECK;
/* Calls visit for at most limit of them. */
int state_each_refused(struct state *state, size_t limit, void (*visit)(void *context, const char *jwk_id), void *context,
                       struct error *error) MUST_CHECK;
/* Marks the JWK as deleted when it is held by the word of an event that was not verified, and leaves its project, name, epoch
 * and version as they are. Then visit is called with what the state has of it, without keys; jwk->deleted: it was deleted
 * before. */
int state_delete_unproven(struct state *state, const char *jwk_id, const struct state_changes *changes,
                          void (*visit)(void *context, const struct state_jwk *jwk), void *context,
                          struct error *error) MUST_CHECK;
/* How many JWKs it holds, not deleted, by the word of events that were not verified. */
int state_count_unproven(struct state *state, int64_t *count, struct error *error) MUST_CHECK;
/* Whether the state has that version of the JWK, or a later one. */
int state_has(struct state *state, const char *jwk_id, int64_t epoch, int64_t version, bool *has, struct error *error) MUST_CHECK;
/* A sweep of this generation is to spare the JWK: an event of it could not be judged. */
int state_keep(struct state *state, const char *jwk_id, int32_t partition, int64_t generation, struct error *error) MUST_CHECK;

/* Moves what is in the write-ahead log into the file once it has that many pages; called when no one waits for an ack. */
void state_checkpoint(struct state *state, int pages);
/* Opens one more connection to the file, which only reads; closed with sqlite3_close(). Thread-safe. */
sqlite3 *state_open_reader(const struct state *state, struct error *error) MUST_CHECK;

#endif
