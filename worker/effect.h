/* What must happen outside of the state before a change is acked: its private half was opened, files are replaced, the hook has
 * run.
 *
 * One thread of its own, so that a slow or hanging hook holds up neither applying nor serving. Changes wait in a queue of
 * EFFECT_QUEUE_MAX; when it is full the consumer pauses. A failure is told at once and tried again with a growing delay; a
 * later success is told too; a newer version of the JWK takes the place of the one that waits. A hook runs at least once per
 * change: again after a restart in between, and when an event is sent again. */
#ifndef WORKER_EFFECT_H
#define WORKER_EFFECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/message.h"
#include "worker/export.h"
#include "worker/private_files.h"
#include "worker/state_reader.h"
#include "worker/trust.h"

enum { EFFECT_QUEUE_MAX = 1000 };

/* One change and the identity that its ack needs. It owns its strings, which lie in one block behind it. */
struct effect_change {
    enum event_operation operation;
    const char *jwk_id;
    const char *deployment_id, *event_id, *event_hash, *traceparent; /* NULL for a sweep; traceparent NULL when there is none */
    const char *project_name, *name, *type, *kid, *public_key, *sealed; /* NULL in a retry: read from the state when it is due */
    int64_t epoch, version, sequence;
    uint64_t ticket;        /* of progress.h */
    bool is_opened;         /* its private half, if any, was opened before: it need not be for its own sake */
    bool acked;             /* an ack is expected: it was read when the replica was ready */
    bool was_failing;       /* it, or the version before it, is known to be failing */
    int64_t retry_delay_ms; /* 0: it was not tried again yet */
    struct effect_change *prev, *next;
};
/* Copies the strings of pattern. */
struct effect_change *effect_change_new(const struct effect_change *pattern);
void effect_change_free(struct effect_change *change); /* NULL is allowed */

enum effect_outcome {
    EFFECT_DONE,       /* all succeeded at the first try */
    EFFECT_FAILED,     /* the first try failed; it is tried again */
    EFFECT_RECOVERED,  /* a later try succeeded */
    EFFECT_SUPERSEDED, /* not tried again: the state holds another version, or the JWK no more */
};
struct effect_result {
    struct effect_change *change;
    enum effect_outcome outcome;
    char message[ACK_MESSAGE_MAX + 1]; /* of EFFECT_FAILED */
    bool was_opened;                   /* the private half was opened for it */
    struct effect_result *prev, *next;
};
void effect_result_free(struct effect_result *result);

struct effect_options {
    const char *environment, *replica;
    const char *hook; /* program, or NULL */
    bool hook_private; /* it gets the whole JWK */
    long hook_timeout_ms;
    long retry_initial_ms, retry_maximum_ms;
    struct export *export;               /* or NULL; used by this thread alone from the start on */
    struct private_files *private_files; /* likewise */
    struct trust *trust;                 /* NULL: private halves stay sealed */
    struct state_reader_pool *readers;
    int wake; /* an eventfd that is written when there is a result, or when all files are written */
};
struct effects;

struct effects *effects_new(const struct effect_options *options);
/* Queues a change that failed before this start (project_name … may be NULL). Only before effects_start(). */
void effects_resume_take(struct effects *effects, struct effect_change *change);
/* Starts the thread. */
int effects_start(struct effects *effects, struct error *error) MUST_CHECK;
/* Lets the hook that runs end (within its time), forgets what waits, ends the thread. Results can still be taken. */
void effects_stop(struct effects *effects);
void effects_free(struct effects *effects); /* never started, or stopped; NULL is allowed */

/* How many changes can be submitted now. */
size_t effects_room(struct effects *effects);
void effects_submit_take(struct effects *effects, struct effect_change *change);
/* The results so far, oldest first; the caller frees each. */
struct effect_result *effects_take_results(struct effects *effects);

/* All that was there has been read. Asks that all files be written (only what differs is); from then on they are kept, also when
 * a key expires or an overlap ends. */
void effects_note_caught_up(struct effects *effects);
/* Whether that is done, since it was asked for last. True when nothing is exported. */
bool effects_is_exported(struct effects *effects);
/* Tries again at once what has failed, and all private halves: there are other credentials. */
void effects_try_again(struct effects *effects);

#endif
