/* A binary heap of deadlines. */
#include "heap.h"

#include <stdlib.h>

#include "common/memory.h"

static void put(struct heap *heap, size_t index, struct heap_entry *entry) {
    heap->entries[index] = entry;
    entry->index = index;
}

static void sift_up(struct heap *heap, size_t index) {
    struct heap_entry *entry = heap->entries[index];
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (heap->entries[parent]->due <= entry->due)
            break;
        put(heap, index, heap->entries[parent]);
        index = parent;
    }
    put(heap, index, entry);
}

static void sift_down(struct heap *heap, size_t index) {
    struct heap_entry *entry = heap->entries[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->entries[child + 1]->due < heap->entries[child]->due)
            child++;
        if (entry->due <= heap->entries[child]->due)
            break;
        put(heap, index, heap->entries[child]);
        index = child;
    }
    put(heap, index, entry);
}

void heap_push(struct heap *heap, struct heap_entry *entry) {
    if (heap->count == heap->capacity) {
        heap->capacity = heap->capacity ? heap->capacity * 2 : 64;
        heap->entries = memory_resize(heap->entries, heap->capacity * sizeof *heap->entries);
    }
    put(heap, heap->count, entry);
    sift_up(heap, heap->count++);
}

void heap_remove(struct heap *heap, struct heap_entry *entry) {
    size_t index = entry->index;
    if (index == HEAP_NONE)
        return;
    entry->index = HEAP_NONE;
    struct heap_entry *last = heap->entries[--heap->count];
    if (last == entry)
        return;
    put(heap, index, last);
    sift_up(heap, index);
    sift_down(heap, last->index);
}

struct heap_entry *heap_top(const struct heap *heap) {
    return heap->count ? heap->entries[0] : NULL;
}

void heap_free(struct heap *heap) {
    free(heap->entries);
    *heap = (struct heap){0};
}
