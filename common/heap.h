/* A binary heap of deadlines: the earliest on top, any entry removable in O(log n).
 *
 * An entry is embedded in what it belongs to. Not thread-safe. */
#ifndef COMMON_HEAP_H
#define COMMON_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_entry {
    int64_t due;  /* monotonic ms */
    size_t index; /* of the heap; HEAP_NONE when it is in none */
};
#define HEAP_NONE ((size_t)-1)

struct heap {
    struct heap_entry **entries;
    size_t count, capacity;
};

void heap_push(struct heap *heap, struct heap_entry *entry);
void heap_remove(struct heap *heap, struct heap_entry *entry); /* nothing when it is in none */
struct heap_entry *heap_top(const struct heap *heap);          /* NULL when empty */
void heap_free(struct heap *heap);                             /* the entries are not its own */

#endif
