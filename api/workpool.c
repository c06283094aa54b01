/* A queue with a bound, and threads that take from it. */
#include "workpool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/memory.h"

struct workpool {
    char name[16];
    unsigned thread_count, queue_maximum;
    pthread_t *threads;
    atomic_bool stopping;
    pthread_mutex_t lock; /* guards all below, and the step of stopping to true */
    pthread_cond_t wake;
    struct work *head, **tail;
    unsigned queued;
};

/* The next work; NULL when the pool has ended. */
static struct work *take(struct workpool *pool) {
    pthread_mutex_lock(&pool->lock);
    while (!pool->head && !pool->stopping)
        pthread_cond_wait(&pool->wake, &pool->lock);
    struct work *work = pool->head;
    if (work) {
        pool->head = work->next;
        if (!pool->head)
            pool->tail = &pool->head;
        pool->queued--;
    }
    pthread_mutex_unlock(&pool->lock);
    return work;
}

static void *pool_main(void *context) {
    struct workpool *pool = context;
    struct work *work;
    pthread_setname_np(pthread_self(), pool->name);
    while ((work = take(pool)))
        work->run(work, atomic_load(&pool->stopping));
    return NULL;
}

struct workpool *workpool_new(const char *name, unsigned threads, unsigned queue_maximum) {
    struct workpool *pool = memory_new(sizeof *pool);
    snprintf(pool->name, sizeof pool->name, "%s", name);
    pool->queue_maximum = queue_maximum;
    pool->tail = &pool->head;
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
    bool refused = pool->stopping || pool->queued >= pool->queue_maximum;
    if (!refused) {
        work->next = NULL;
        *pool->tail = work;
        pool->tail = &work->next;
        pool->queued++;
        pthread_cond_signal(&pool->wake);
    }
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
