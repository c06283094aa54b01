/* The thread that gathers acks: who is there, what came in, which deployment is settled, and when a wait ends.
 *
 * It reads jwk.acks from offsets that are stored with the results (no ack is lost or counted twice across restarts) and
 * jwk.workers from its start. What is to be proven there and is not (enrolled.h) is refused: it changes nothing. It owns the
 * deployments that wait, the replicas and the heap of deadlines; no other thread touches them. A second thread looks whether
 * topics are missing or have more partitions. */
#ifndef API_GATHERER_H
#define API_GATHERER_H

#include "common/kafka.h"
#include "deployment.h"
#include "writer.h"

struct gatherer;

struct gatherer_options {
    const struct kafka_settings *kafka;
    const struct kafka_topics *topics;
    int64_t grace_ms; /* how long after its last replica left an environment is waited for */
    /* Makes topics that are missing; called in the thread that looks at them. NULL: nobody does. */
    void (*restore)(void *context);
    void *context;
};

/* Prepares the consumer and reads stored offsets from the store (used during the call only). */
struct gatherer *gatherer_new(const struct gatherer_options *options, struct store *store, struct writer *writer,
                              struct error *error) MUST_CHECK;
void gatherer_start(struct gatherer *gatherer);
/* Waits until the replicas that jwk.workers tells of are known, or timeout_ms have passed. */
void gatherer_await_replicas(struct gatherer *gatherer, int timeout_ms);
/* Takes a deployment whose commit is done, before its event goes out; gatherer_take_expected() must follow. Its settled() will
 * be called once. Thread-safe; how many wait is bounded by the caller's admission. */
void gatherer_expect(struct gatherer *gatherer, struct deployment *deployment);
/* Makes its thread take what was given to gatherer_expect(), also when no ack comes. Thread-safe. */
void gatherer_take_expected(struct gatherer *gatherer);
/* Whether every result that was told in an answer is in the store. Thread-safe. */
bool gatherer_all_stored(struct gatherer *gatherer);
/* A copy of what is known of the replicas (replicas_copy()). Thread-safe. */
struct replica *gatherer_copy_replicas(struct gatherer *gatherer, size_t *count);
/* How many replicas of an environment are there (replicas_count()). Thread-safe. */
struct replica_counts gatherer_count_replicas(struct gatherer *gatherer, const char *environment);
/* Whether a replica that is believed has told of a later epoch than this store's: it follows a store that was put back
 * elsewhere and adopted. Stays so until the process ends. Thread-safe. */
#define GATHERER_OVERTAKEN "another store of this installation was adopted: this one must not serve"
bool gatherer_is_overtaken(const struct gatherer *gatherer);
/* Tells what positions are worth after a topic was made again, and that every environment may have results that only they
 * settle. Thread-safe. */
void gatherer_note_republished(struct gatherer *gatherer, struct sequence_floor floor);
/* Follows what administration does to the environments and their keys (notify.h); context is the gatherer. */
int gatherer_look(void *context, struct store *store, struct error *error) MUST_CHECK;
void gatherer_act(void *context);
/* Gives all waiting deployments their answer now ("…; the deployment goes on"), and those that still come. Thread-safe. */
void gatherer_give_up(struct gatherer *gatherer, const char *reason);
/* Ends the thread; what was gathered goes to the writer. */
void gatherer_stop(struct gatherer *gatherer);
/* Frees it; only after the writer has ended. NULL is allowed. */
void gatherer_free(struct gatherer *gatherer);

#endif
