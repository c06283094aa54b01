/* Threads for work that takes long: fetching a URL, making an RSA key, opening a keystore. Neither an HTTP thread nor the
 * writer waits for it.
 *
 * Each kind of work has a pool of its own, so that a server that hangs holds up no import. And a pool is shared by all
 * projects: whoever may change one of them can ask for hours of work in small requests, so each has its turn, one thread at
 * least is left to the others, and so is a quarter of the places to wait. */
#ifndef API_WORKPOOL_H
#define API_WORKPOOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct workpool;

/* Embedded as the first member of what the work needs. */
struct work {
    struct work *next;
    int64_t owner; /* id of the project that it is for; 0: the program's own, which may have all there is */
    /* On a thread of the pool. It owns the work. stopping: the pool ends; nothing that takes long is to be begun. */
    void (*run)(struct work *work, bool stopping);
};

/* name: of the threads, at most 15 characters. queue_maximum: work that may wait for a thread. With a single thread owners
 * share that. */
struct workpool *workpool_new(const char *name, unsigned threads, unsigned queue_maximum);
/* Hands work over. -1 when too much waits, of its owner or in all, or the pool is stopping: the work stays with the caller.
 * Thread-safe. */
int workpool_submit(struct workpool *pool, struct work *work) MUST_CHECK;
/* Becomes true when the pool is stopping: for what is under way. Valid until workpool_free(). */
const atomic_bool *workpool_stopping(const struct workpool *pool);
/* Tells what is under way and what waits that it is over; takes nothing more. Thread-safe; may be called twice. */
void workpool_stop(struct workpool *pool);
/* Stops, waits for all work to have run, and frees. NULL is allowed. */
void workpool_free(struct workpool *pool);

#endif
