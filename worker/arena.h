/* Memory for what lives exactly as long as one batch: taken piece by piece, given back all at once.
 *
 * An event that waits for its transaction is a few strings; keeping them together costs one pointer's move each, where a tree
 * of allocations for each of thousands of waiting events costs a fifth of the time that a new replica needs to catch up. */
#ifndef WORKER_ARENA_H
#define WORKER_ARENA_H

#include <stddef.h>

struct arena_block;

/* Zeroed, it is empty. */
struct arena {
    struct arena_block *blocks; /* the first one is filled */
    struct arena_block *spare;  /* kept by arena_reset() */
};

/* size bytes, not aligned for anything but characters. */
char *arena_take(struct arena *arena, size_t size) __attribute__((returns_nonnull));
/* The same, aligned for anything. */
void *arena_take_aligned(struct arena *arena, size_t size) __attribute__((returns_nonnull));
/* A copy of a string; NULL gives NULL. */
const char *arena_string(struct arena *arena, const char *text);
/* Forgets all that was taken, and keeps memory for a megabyte of it again. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

#endif
