/* A binary heap whose items know their place, so that one can be taken out of its middle. */
#include "worker/retry.h"

#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/memory.h"
#include "worker/effect.h"

struct item {
    struct effect_change *change;
    int64_t due_ms;
    size_t place; /* in the heap */
    UT_hash_handle hh;
};

struct retry_queue {
    int64_t initial_ms, maximum_ms;
    struct item **heap;
    size_t count, capacity;
    struct item *table; /* by JWK id */
};

struct retry_queue *retry_queue_new(int64_t initial_ms, int64_t maximum_ms) {
    struct retry_queue *queue = memory_new(sizeof *queue);
    queue->initial_ms = initial_ms;
    queue->maximum_ms = maximum_ms;
    return queue;
}

static void place(struct retry_queue *queue, struct item *item, size_t at) {
    queue->heap[at] = item;
    item->place = at;
}

static void sift_up(struct retry_queue *queue, struct item *item) {
    size_t at = item->place;
    while (at > 0 && queue->heap[(at - 1) / 2]->due_ms > item->due_ms) {
        place(queue, queue->heap[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(queue, item, at);
}

static void sift_down(struct retry_queue *queue, struct item *item) {
    size_t at = item->place;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= queue->count)
            break;
        if (child + 1 < queue->count && queue->heap[child + 1]->due_ms < queue->heap[child]->due_ms)
            child++;
        if (queue->heap[child]->due_ms >= item->due_ms)
            break;
        place(queue, queue->heap[child], at);
        at = child;
    }
    place(queue, item, at);
}

/* Takes an item out of heap and table and gives its change. */
static struct effect_change *take_out(struct retry_queue *queue, struct item *item) {
    struct item *last = queue->heap[--queue->count];
    if (last != item) {
        place(queue, last, item->place);
        sift_up(queue, last);
        sift_down(queue, last);
    }
    HASH_DEL(queue->table, item);
    struct effect_change *change = item->change;
    free(item);
    return change;
}

void retry_queue_free(struct retry_queue *queue) {
    if (!queue)
        return;
    while (queue->count > 0)
        effect_change_free(take_out(queue, queue->heap[queue->count - 1]));
    free(queue->heap);
    free(queue);
}

_Bool retry_queue_cancel(struct retry_queue *queue, const char *jwk_id) {
    struct item *item;
    HASH_FIND_STR(queue->table, jwk_id, item);
    if (!item)
        return 0;
    effect_change_free(take_out(queue, item));
    return 1;
}

void retry_queue_add_take(struct retry_queue *queue, struct effect_change *change, int64_t now_ms) {
    (void)retry_queue_cancel(queue, change->jwk_id);
    if (change->retry_delay_ms == 0)
        change->retry_delay_ms = queue->initial_ms;
    else if (change->retry_delay_ms < queue->maximum_ms / 2)
        change->retry_delay_ms *= 2;
    else
        change->retry_delay_ms = queue->maximum_ms;
    struct item *item = memory_new(sizeof *item);
    item->change = change;
    item->due_ms = now_ms + change->retry_delay_ms;
    item->place = queue->count;
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity ? queue->capacity * 2 : 64;
        queue->heap = memory_resize(queue->heap, queue->capacity * sizeof *queue->heap);
    }
    queue->heap[queue->count++] = item;
    sift_up(queue, item);
    HASH_ADD_KEYPTR(hh, queue->table, change->jwk_id, strlen(change->jwk_id), item);
}

void retry_queue_hurry(struct retry_queue *queue, int64_t now_ms) {
    /* All equal, so any order is a heap. */
    for (size_t i = 0; i < queue->count; i++) {
        queue->heap[i]->due_ms = now_ms;
        queue->heap[i]->change->retry_delay_ms = 0;
    }
}

int64_t retry_queue_due(const struct retry_queue *queue) { return queue->count > 0 ? queue->heap[0]->due_ms : INT64_MAX; }

struct effect_change *retry_queue_pop(struct retry_queue *queue, int64_t now_ms) {
    return queue->count > 0 && queue->heap[0]->due_ms <= now_ms ? take_out(queue, queue->heap[0]) : NULL;
}

size_t retry_queue_count(const struct retry_queue *queue) { return queue->count; }
