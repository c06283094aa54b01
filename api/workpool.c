/* A queue with a bound for each owner, from which threads take in turn. */
#include "workpool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/memory.h"

/* One that has work waiting or under way. */
struct owner {
    int64_t id;
    struct work *head, **tail; /* its work that waits, in the order in which it came */
    unsigned queued, running;
    struct owner *prev, *next; /* in the list of those that have work waiting; NULL when not in it */
    UT_hash_handle hh;
};

struct workpool {
    char name[16];
    unsigned thread_count, queue_maximum;
    pthread_t *threads;
    atomic_bool stopping;
    pthread_mutex_t lock; /* guards all below, and the step of stopping to true */
    pthread_cond_t wake;
    struct owner *owners;  /* by id */
    struct owner *waiting; /* whose turn it is comes first */
    unsigned queued;
};

/* ---- owners; the lock is held ---- */

static struct owner *find_or_make(struct workpool *pool, int64_t id) {
    struct owner *owner;
    HASH_FIND(hh, pool->owners, &id, sizeof id, owner);
    if (owner)
        return owner;
    owner = memory_new(sizeof *owner);
    owner->id = id;
    owner->tail = &owner->head;
    HASH_ADD(hh, pool->owners, id, sizeof owner->id, owner);
    return owner;
}

static void forget_idle(struct workpool *pool, struct owner *owner) {
    if (owner->queued > 0 || owner->running > 0)
        return;
    HASH_DEL(pool->owners, owner);
    free(owner);
}

static bool may_run(const struct workpool *pool, const struct owner *owner) {
    return owner->id == 0 || pool->stopping || pool->thread_count == 1 || owner->running < pool->thread_count - 1;
}

static bool may_wait(const struct workpool *pool, const struct owner *owner) {
    return pool->queued < pool->queue_maximum &&
           (owner->id == 0 || owner->queued < pool->queue_maximum - pool->queue_maximum / 4);
}

/* The next work of the first owner whose turn it is; NULL when nobody may have a thread. */
static struct work *next_work(struct workpool *pool, struct owner **whose) {
    struct owner *owner;
    DL_FOREACH (pool->waiting, owner)
        if (may_run(pool, owner))
            break;
    if (!owner)
        return NULL;
    struct work *work = owner->head;
    owner->head = work->next;
    if (!owner->head)
        owner->tail = &owner->head;
    DL_DELETE(pool->waiting, owner);
    if (--owner->queued > 0)
        DL_APPEND(pool->waiting, owner);
    owner->running++;
    pool->queued--;
    *whose = owner;
    return work;
}

/* ---- threads ---- */

/* The next work, when that of *owner (NULL: none) is over; NULL when the pool has ended. */
static struct work *take(struct workpool *pool, struct owner **owner) {
    struct work *work;
    pthread_mutex_lock(&pool->lock);
    if (*owner) {
        (*owner)->running--;
        forget_idle(pool, *owner);
    }
    while (!(work = next_work(pool, owner)) && !pool->stopping)
        pthread_cond_wait(&pool->wake, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return work;
}

static void *pool_main(void *context) {
    struct workpool *pool = context;
    struct owner *owner = NULL;
    struct work *work;
    pthread_setname_np(pthread_self(), pool->name);
    while ((work = take(pool, &owner)))
        work->run(work, atomic_load(&pool->stopping));
    return NULL;
}

struct workpool *workpool_new(const char *name, unsigned threads, unsigned queue_maximum) {
    struct workpool *pool = memory_new(sizeof *pool);
    snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->queue_maximum = queue_maximum;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pool->thread_count = threads;
    pool->threads = memory_new(threads * sizeof *pool->threads);
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&pool->threads[i], NULL, pool_main, pool) != 0)
            abort(); /* no threads at start: nothing can work */
    return pool;
}

int workpool_submit(struct workpool *pool, struct work *work) {
    pthread_mutex_lock(&pool->lock);
    struct owner *owner = find_or_make(pool, work->owner);
    bool refused = pool->stopping || !may_wait(pool, owner);
    if (!refused) {
        work->next = NULL;
        *owner->tail = work;
        owner->tail = &work->next;
        if (owner->queued++ == 0)
            DL_APPEND(pool->waiting, owner);
        pool->queued++;
        pthread_cond_signal(&pool->wake);
    }
    forget_idle(pool, owner);
    pthread_mutex_unlock(&pool->lock);
    return refused ? -1 : 0;
}

const atomic_bool *workpool_stopping(const struct workpool *pool) { return &pool->stopping; }

void workpool_stop(struct workpool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stopping, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

void workpool_free(struct workpool *pool) {
    if (!pool)
        return;
    workpool_stop(pool);
    for (unsigned i = 0; i < pool->thread_count; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}
