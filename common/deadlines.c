/* A heap of the moments at which to look, and a thread that waits for the first. */
#include "deadlines.h"

#include <pthread.h>
#include <stdlib.h>

#include "clock.h"
#include "memory.h"

enum { TAG_BITS = 3, TAG_MASK = (1 << TAG_BITS) - 1 };
static const int64_t DEADLINE_PASSED = -1;

struct deadlines {
    int64_t shortest_ms;
    deadline_passed passed;
    void *context;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    struct heap heap;
    bool stopping, started;
    pthread_t thread;
};

struct deadlines *deadlines_new(int64_t shortest_ms, deadline_passed passed, void *context) {
    struct deadlines *set = memory_new(sizeof *set);
    set->shortest_ms = shortest_ms;
    set->passed = passed;
    set->context = context;
    pthread_mutex_init(&set->mutex, NULL);
    clock_condition_init(&set->changed);
    return set;
}

static int64_t pack(int64_t due_ms, unsigned tag) {
    return due_ms << TAG_BITS | (int64_t)tag;
}

/* With the mutex held: files a deadline for its next look. Whatever is set later lies shortest_ms or more behind that moment.
 */
static void file(struct deadlines *set, struct deadline *deadline, int64_t due_ms, int64_t now_ms) {
    deadline->look.due = due_ms < now_ms + set->shortest_ms ? due_ms : now_ms + set->shortest_ms;
    heap_push(&set->heap, &deadline->look);
    if (heap_top(&set->heap) == &deadline->look)
        pthread_cond_signal(&set->changed);
}

void deadlines_add(struct deadlines *set, struct deadline *deadline, int64_t due_ms, unsigned tag, int64_t now_ms) {
    deadline->look.index = HEAP_NONE;
    atomic_store(&deadline->due_tag, pack(due_ms, tag));
    pthread_mutex_lock(&set->mutex);
    file(set, deadline, due_ms, now_ms);
    pthread_mutex_unlock(&set->mutex);
}

void deadlines_remove(struct deadlines *set, struct deadline *deadline) {
    pthread_mutex_lock(&set->mutex);
    heap_remove(&set->heap, &deadline->look);
    pthread_mutex_unlock(&set->mutex);
}

bool deadline_move(struct deadline *deadline, int64_t due_ms, unsigned tag) {
    int64_t before = atomic_load(&deadline->due_tag);
    /* Only the set's thread writes beside the caller, and only that it has passed. */
    return before != DEADLINE_PASSED && atomic_compare_exchange_strong(&deadline->due_tag, &before, pack(due_ms, tag));
}

/* With the mutex held: a deadline that was due for a look. */
static void look_at(struct deadlines *set, struct deadline *deadline, int64_t now_ms) {
    int64_t due_tag = atomic_load(&deadline->due_tag);
    while (due_tag >> TAG_BITS <= now_ms)
        if (atomic_compare_exchange_weak(&deadline->due_tag, &due_tag, DEADLINE_PASSED)) {
            set->passed(set->context, deadline, (unsigned)(due_tag & TAG_MASK));
            return;
        }
    file(set, deadline, due_tag >> TAG_BITS, now_ms);
}

int64_t deadlines_look(struct deadlines *set, int64_t now_ms) {
    struct heap_entry *top;
    pthread_mutex_lock(&set->mutex);
    while ((top = heap_top(&set->heap)) != NULL && top->due <= now_ms) {
        heap_remove(&set->heap, top);
        look_at(set, (struct deadline *)top, now_ms);
        /* Thousands may pass at once: whoever adds or removes must not wait for all of them. */
        pthread_mutex_unlock(&set->mutex);
        pthread_mutex_lock(&set->mutex);
    }
    int64_t next = top != NULL ? top->due : DEADLINE_NEVER;
    pthread_mutex_unlock(&set->mutex);
    return next;
}

static void *run(void *context) {
    struct deadlines *set = context;
    pthread_mutex_lock(&set->mutex);
    while (!set->stopping) {
        struct heap_entry *top = heap_top(&set->heap);
        if (top == NULL) {
            pthread_cond_wait(&set->changed, &set->mutex);
        } else if (top->due > clock_monotonic_ms()) {
            struct timespec until = clock_moment(top->due);
            pthread_cond_timedwait(&set->changed, &set->mutex, &until);
        } else {
            pthread_mutex_unlock(&set->mutex);
            deadlines_look(set, clock_monotonic_ms());
            pthread_mutex_lock(&set->mutex);
        }
    }
    pthread_mutex_unlock(&set->mutex);
    return NULL;
}

void deadlines_start(struct deadlines *set, const char *name) {
    if (pthread_create(&set->thread, NULL, run, set) != 0)
        abort(); /* no threads at start: nothing can work */
    pthread_setname_np(set->thread, name);
    set->started = true;
}

void deadlines_free(struct deadlines *set) {
    if (set == NULL)
        return;
    if (set->started) {
        pthread_mutex_lock(&set->mutex);
        set->stopping = true;
        pthread_cond_signal(&set->changed);
        pthread_mutex_unlock(&set->mutex);
        pthread_join(set->thread, NULL);
    }
    heap_free(&set->heap);
    pthread_cond_destroy(&set->changed);
    pthread_mutex_destroy(&set->mutex);
    free(set);
}
