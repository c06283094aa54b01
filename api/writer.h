/* The one thread that writes to the store: group commit.
 *
 * It takes all jobs that wait, runs them inside ONE transaction, commits once, and then tells each job how it went. A job that
 * fails takes back its own work only (a savepoint, or checks before its first write). Deferred jobs (marks and results, which
 * can be found again in Kafka) ride with the next transaction, or get their own after WRITER_DEFER_MS: they cost no fsync while
 * updates come.
 *
 * What is committed together is signed, sent, applied and acked together, here and at every worker, and most of that costs the
 * same for one and for thirty. So a transaction begins once as many jobs wait for it as are on their way behind it, or after a
 * few milliseconds (writer_gather()): few callers are not held up, and many make few large transactions. */
#ifndef API_WRITER_H
#define API_WRITER_H

#include <stdatomic.h>

#include "store.h"

enum {
    WRITER_BATCH_MAX = 1024, /* jobs of one transaction: bounds how long the first of them waits for the last */
    WRITER_DEFER_MS = 50,
    WRITER_GATHER_US = 5000, /* with 64 updates under way, 3 ms make 8 % fewer updates a second, and 8 ms no more */
};

struct writer;

struct job {
    struct job *next;
    /* Writes only once all its checks have passed: it needs no savepoint (which costs copies of the pages it touches). Should
     * it fail after it has written, the store itself has failed, and the whole transaction is given up. */
    bool checks_first;
    /* In the writer's thread, inside the transaction: 0, or -1 with an error. */
    int (*run)(struct job *job, struct store *store, struct error *error);
    /* In the writer's thread, after the commit (status 0) or once it is certain that nothing of the job is stored (-1). It owns
     * the job. */
    void (*done)(struct job *job, int status, const struct error *error);
};

/* Starts the thread; takes the store. */
struct writer *writer_new(struct store *store);
/* From now on called in the writer's thread behind the done() of all jobs of a transaction: what they have gathered goes on in
 * one piece. Once; thread-safe. */
void writer_after_batch(struct writer *writer, void (*flush)(void *context), void *context);
/* From now on a transaction is put off for up to wait_us as long as fewer urgent jobs wait than are on their way behind the
 * writer; admitted (borrowed) counts both. Once, before the first job. */
void writer_gather(struct writer *writer, const atomic_int *admitted, int64_t wait_us);
/* Hands a job over. -1 when the writer is stopping: the job stays with the caller. Thread-safe; the number of jobs is bounded
 * by the callers: one per admitted request. */
int writer_submit(struct writer *writer, struct job *job) MUST_CHECK;
/* The same for a job that can wait. A failed one is run again (done is called on success or at the stop only). Thread-safe. */
int writer_defer(struct writer *writer, struct job *job) MUST_CHECK;
/* Runs all that was handed over, ends the thread, closes the store, frees. */
void writer_free(struct writer *writer);

#endif
