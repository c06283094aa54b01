/* Blocks in a list, each filled from its start. */
#include "worker/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

enum { BLOCK_SIZE = 256 * 1024, SPARE_MAX = 4 };

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    char bytes[];
};

static struct arena_block *block_new(size_t size) {
    struct arena_block *block = memory_resize(NULL, sizeof *block + size);
    *block = (struct arena_block){.size = size};
    return block;
}

static void add_block(struct arena *arena, size_t size) {
    struct arena_block *block = arena->spare;
    if (size > BLOCK_SIZE) {
        block = block_new(size); /* one of its own, which is not kept */
    } else if (block) {
        arena->spare = block->next;
        block->used = 0;
    } else {
        block = block_new(BLOCK_SIZE);
    }
    block->next = arena->blocks;
    arena->blocks = block;
}

char *arena_take(struct arena *arena, size_t size) {
    if (!arena->blocks || arena->blocks->size - arena->blocks->used < size)
        add_block(arena, size);
    char *taken = arena->blocks->bytes + arena->blocks->used;
    arena->blocks->used += size;
    return taken;
}

void *arena_take_aligned(struct arena *arena, size_t size) {
    enum { ALIGNMENT = alignof(max_align_t) };
    char *taken = arena_take(arena, size + ALIGNMENT - 1);
    return taken + (ALIGNMENT - (uintptr_t)taken % ALIGNMENT) % ALIGNMENT;
}

const char *arena_string(struct arena *arena, const char *text) {
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    return memcpy(arena_take(arena, size), text, size);
}

void arena_reset(struct arena *arena) {
    size_t spare = 0;
    for (const struct arena_block *block = arena->spare; block; block = block->next)
        spare++;
    while (arena->blocks) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        if (block->size == BLOCK_SIZE && spare < SPARE_MAX) {
            block->next = arena->spare;
            arena->spare = block;
            spare++;
        } else {
            free(block);
        }
    }
}

void arena_free(struct arena *arena) {
    arena_reset(arena);
    while (arena->spare) {
        struct arena_block *block = arena->spare;
        arena->spare = block->next;
        free(block);
    }
}
