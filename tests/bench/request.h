/* The requests of a load: patterns with numbers in them, and the order in which the targets are visited. */
#ifndef TESTS_BENCH_REQUEST_H
#define TESTS_BENCH_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "generator.h"

/* The bytes of one request; the buffer is kept for the next one. Freed with free(bytes). */
struct request {
    char *bytes;
    size_t capacity, length;
};

/* Every pair of a project and a key, visited once before any is visited again. */
struct targets {
    uint64_t count;
    uint64_t stride; /* from one to the next; shares no factor with count */
};

void targets_init(struct targets *targets, const struct load_plan *plan);

/* Writes the request with this serial number over what the buffer held. */
void request_build(struct request *request, const struct load_plan *plan, const struct targets *targets, uint64_t serial);

/* realloc() that ends the program when there is no memory. */
void *memory_grow(void *block, size_t size);

#endif
