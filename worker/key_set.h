/* The cache of ready-made JWK Set answers, one per project, bounded in bytes.
 *
 * An answer is served only while it is what the state holds: key_set_invalidate() after a commit makes every answer built
 * before it stale at once, and an answer being built meanwhile is never kept. It is also only as old as its keys: past the
 * earliest exp or end of an overlap it is built anew. Thread-safe. */
#ifndef WORKER_KEY_SET_H
#define WORKER_KEY_SET_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/state_reader.h"

struct key_set_cache;

/* One prepared answer, shared by all who ask. */
struct key_set {
    struct MHD_Response *response;   /* for 200; for 304 too, with which libmicrohttpd sends the headers alone */
    char etag[SHA256_TEXT_SIZE + 2]; /* strong, with its quotes */
    const char *body;                /* of the response, which owns it */
    size_t length;
    char cache_control[64];
};

/* A response of its own with the same body and headers, for an answer that needs one more header. The set must be held until
 * the response is sent. */
struct MHD_Response *key_set_response(const struct key_set *set);

struct key_set_options {
    struct state_reader_pool *readers; /* must outlive the cache */
    size_t memory;                     /* bytes kept at most, beside what is being sent */
    int64_t max_age;                   /* seconds a client may keep an answer; less when a key leaves earlier */
    int64_t (*wall_ms)(void);          /* the clock, clock_wall_ms() but in tests */
};
struct key_set_cache *key_set_cache_new(const struct key_set_options *options);
/* Every set was released. */
void key_set_cache_free(struct key_set_cache *cache);

/* The answer for a project, to be released after use. *set NULL with 0 when the replica knows no such project. */
int key_set_get(struct key_set_cache *cache, const char *project_name, const struct key_set **set,
                struct error *error) MUST_CHECK;
void key_set_release(struct key_set_cache *cache, const struct key_set *set);

/* Every answer about the project that was built before this call is stale. Cheap: one atomic increment. */
typedef uint32_t key_set_slot;
key_set_slot key_set_slot_of(const char *project_name);
void key_set_invalidate(struct key_set_cache *cache, key_set_slot slot);

/* Bytes that the cache holds now, for the metrics. */
size_t key_set_cache_memory(struct key_set_cache *cache);

#endif
