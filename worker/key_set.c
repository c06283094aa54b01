/* The cache: a table by project, a list by last use, and a counter per slot of names that tells what is stale. */
#include "worker/key_set.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/http.h"
#include "common/identifier.h"
#include "common/memory.h"

/* Names share slots; one that shares with a changing name is built anew too often, never too seldom. 256 KB of counters. */
enum { SLOT_COUNT = 65536 };

/* What an entry costs beside its body: itself, its name, a response with three headers. */
enum { ENTRY_OVERHEAD = 1024 };

/* A set that is younger than this clock by more was read when the clock was ahead, and may lack keys that it took for ended.
 * Threads that build and look at once are apart by far less. */
enum { CLOCK_BACK_MS = 1000 };

struct entry {
    struct key_set set; /* first: the public part is the entry */
    char *project_name;
    uint32_t generation; /* of the slot when building began */
    int64_t built_at, valid_until; /* wall ms */
    size_t memory;
    unsigned references; /* guarded by the mutex; the table holds one */
    struct entry *prev, *next;
    UT_hash_handle hh;
};

struct key_set_cache {
    struct key_set_options options;
    _Atomic uint32_t generations[SLOT_COUNT];
    pthread_mutex_t mutex; /* guards all below and the entries' references */
    struct entry *table;   /* by project name */
    struct entry *used;    /* head: last used */
    size_t memory;
};

struct key_set_cache *key_set_cache_new(const struct key_set_options *options) {
    struct key_set_cache *cache = memory_new(sizeof *cache);
    cache->options = *options;
    pthread_mutex_init(&cache->mutex, NULL);
    return cache;
}

static void entry_free(struct entry *entry) {
    if (entry->set.response)
        MHD_destroy_response(entry->set.response);
    free(entry->project_name);
    free(entry);
}

/* With the mutex held. */
static void entry_release(struct entry *entry) {
    if (--entry->references == 0)
        entry_free(entry);
}

/* With the mutex held: takes the entry out of the table; who uses it still may. */
static void evict(struct key_set_cache *cache, struct entry *entry) {
    HASH_DEL(cache->table, entry);
    DL_DELETE(cache->used, entry);
    cache->memory -= entry->memory;
    entry_release(entry);
}

/* With the mutex held: makes room, the least used first. What somebody is being sent stays: its memory is taken anyway, and who
 * asks meanwhile would be given a copy of its own. */
static void shrink(struct key_set_cache *cache) {
    struct entry *next = cache->used ? cache->used->prev : NULL;
    while (next && cache->table && cache->memory > cache->options.memory) {
        struct entry *entry = next;
        next = entry == cache->used ? NULL : entry->prev;
        if (entry->references == 1)
            evict(cache, entry);
    }
}

void key_set_cache_free(struct key_set_cache *cache) {
    if (!cache)
        return;
    while (cache->used)
        evict(cache, cache->used);
    pthread_mutex_destroy(&cache->mutex);
    free(cache);
}

key_set_slot key_set_slot_of(const char *project_name) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (const unsigned char *c = (const unsigned char *)project_name; *c; c++)
        hash = (hash ^ *c) * 16777619u;
    return (hash ^ hash >> 16) % SLOT_COUNT;
}

void key_set_invalidate(struct key_set_cache *cache, key_set_slot slot) { atomic_fetch_add(&cache->generations[slot], 1); }

static void add_headers(const struct key_set *set, struct MHD_Response *response) {
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/jwk-set+json");
    MHD_add_response_header(response, MHD_HTTP_HEADER_ETAG, set->etag);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, set->cache_control);
}

/* Takes the body. */
static struct entry *entry_new(struct key_set_cache *cache, const char *project_name, struct text *body, uint32_t generation,
                               int64_t now_ms, int64_t expires) {
    struct entry *entry = memory_new(sizeof *entry);
    char hash[SHA256_TEXT_SIZE];
    sha256_text(body->bytes, body->length, hash);
    snprintf(entry->set.etag, sizeof entry->set.etag, "\"%s\"", hash);
    /* A client must not keep an answer past the time that a key leaves. Until max_age before it the header stays the same; from
     * then on it shrinks with each second, and the answer lives for one. */
    int64_t now = now_ms / 1000, max_age = cache->options.max_age;
    if (expires == INT64_MAX) {
        entry->valid_until = INT64_MAX;
    } else if (expires - now > max_age) {
        entry->valid_until = expires > INT64_MAX / 1000 ? INT64_MAX : (expires - max_age) * 1000;
    } else {
        max_age = expires - now;
        entry->valid_until = (now + 1) * 1000;
    }
    snprintf(entry->set.cache_control, sizeof entry->set.cache_control, "public, max-age=%lld", (long long)max_age);
    size_t length = entry->set.length = body->length;
    char *bytes = text_take(body);
    entry->set.body = bytes;
    entry->set.response = MHD_create_response_from_buffer(length, bytes, MHD_RESPMEM_MUST_FREE);
    entry->project_name = memory_string(project_name);
    entry->generation = generation;
    entry->built_at = now_ms;
    entry->memory = length + strlen(project_name) + ENTRY_OVERHEAD;
    entry->references = 1;
    if (entry->set.response) {
        add_headers(&entry->set, entry->set.response);
        http_response_secure(entry->set.response);
    }
    return entry;
}

struct MHD_Response *key_set_response(const struct key_set *set) {
    struct MHD_Response *response = http_response_view(set->body, set->length);
    add_headers(set, response);
    return response;
}

static struct entry *build(struct key_set_cache *cache, const char *project_name, uint32_t generation, bool *known,
                           struct error *error) {
    struct state_reader *reader = state_reader_take(cache->options.readers, error);
    if (!reader)
        return NULL;
    struct text body = TEXT_EMPTY;
    int64_t expires, now_ms = cache->options.wall_ms();
    struct entry *entry = NULL;
    if (state_reader_key_set(reader, project_name, now_ms / 1000, &body, known, &expires, error) == 0 && *known)
        entry = entry_new(cache, project_name, &body, generation, now_ms, expires);
    text_free(&body);
    state_reader_give(cache->options.readers, reader);
    if (entry && !entry->set.response) {
        error_set(error, ERROR_UNAVAILABLE, "preparing the answer: out of memory");
        entry_free(entry);
        entry = NULL;
    }
    return entry;
}

/* Puts an entry into the table unless something was invalidated since its building began. */
static void keep(struct key_set_cache *cache, struct entry *entry, key_set_slot slot) {
    pthread_mutex_lock(&cache->mutex);
    if (atomic_load(&cache->generations[slot]) == entry->generation) {
        struct entry *other;
        HASH_FIND_STR(cache->table, entry->project_name, other);
        if (other)
            evict(cache, other);
        entry->references++;
        HASH_ADD_KEYPTR(hh, cache->table, entry->project_name, strlen(entry->project_name), entry);
        DL_PREPEND(cache->used, entry);
        cache->memory += entry->memory;
        shrink(cache);
    }
    pthread_mutex_unlock(&cache->mutex);
}

/* Finds a fresh entry and takes a reference of it. */
static struct entry *find(struct key_set_cache *cache, const char *project_name, uint32_t generation, int64_t now_ms) {
    pthread_mutex_lock(&cache->mutex);
    struct entry *entry;
    HASH_FIND_STR(cache->table, project_name, entry);
    if (entry &&
        (entry->generation != generation || now_ms >= entry->valid_until || now_ms + CLOCK_BACK_MS < entry->built_at)) {
        evict(cache, entry);
        entry = NULL;
    }
    if (entry) {
        entry->references++;
        if (entry != cache->used) {
            DL_DELETE(cache->used, entry);
            DL_PREPEND(cache->used, entry);
        }
    }
    pthread_mutex_unlock(&cache->mutex);
    return entry;
}

int key_set_get(struct key_set_cache *cache, const char *project_name, const struct key_set **set, struct error *error) {
    key_set_slot slot = key_set_slot_of(project_name);
    /* Before the state is read: an invalidation from here on makes what is read stale. */
    uint32_t generation = atomic_load(&cache->generations[slot]);
    *set = NULL;
    struct entry *entry = find(cache, project_name, generation, cache->options.wall_ms());
    if (!entry) {
        bool known = false;
        struct error problem = {.code = ERROR_NONE};
        entry = build(cache, project_name, generation, &known, &problem);
        if (!entry) {
            if (problem.code == ERROR_NONE)
                return 0;
            return error_set(error, problem.code, "%s", problem.message);
        }
        keep(cache, entry, slot);
    }
    *set = &entry->set;
    return 0;
}

void key_set_release(struct key_set_cache *cache, const struct key_set *set) {
    pthread_mutex_lock(&cache->mutex);
    entry_release((struct entry *)set);
    shrink(cache);
    pthread_mutex_unlock(&cache->mutex);
}

size_t key_set_cache_memory(struct key_set_cache *cache) {
    pthread_mutex_lock(&cache->mutex);
    size_t memory = cache->memory;
    pthread_mutex_unlock(&cache->mutex);
    return memory;
}
