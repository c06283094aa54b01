/* The cache of JWK Sets: never stale, never older than its keys, never larger than its bound. */
#include "worker_fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#include "worker/key_set.h"

static _Atomic int64_t now_ms;
static int64_t test_clock(void) { return atomic_load(&now_ms); }

static struct key_set_cache *cache_new(struct worker_fixture *fixture, size_t memory) {
    struct key_set_options options = {.readers = fixture->readers, .memory = memory, .max_age = 300, .wall_ms = test_clock};
    atomic_store(&now_ms, 1000000);
    return key_set_cache_new(&options);
}

static const struct key_set *get(struct key_set_cache *cache, const char *project) {
    struct error error;
    const struct key_set *set;
    assert_int_equal(key_set_get(cache, project, &set, &error), 0);
    return set;
}

static char *header(const struct key_set *set, const char *name) {
    return (char *)(uintptr_t)MHD_get_response_header(set->response, name);
}

/* Gets a set and gives its entity tag. */
static void get_etag(struct key_set_cache *cache, const char *project, char etag[64]) {
    const struct key_set *set = get(cache, project);
    assert_non_null(set);
    snprintf(etag, 64, "%s", set->etag);
    key_set_release(cache, set);
}

static void a_set_is_shared_until_it_is_invalidated(void **state) {
    struct worker_fixture *fixture = *state;
    struct key_set_cache *cache = cache_new(fixture, 1 << 20);
    assert_null(get(cache, "MyProject"));
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    const struct key_set *first = get(cache, "MyProject"), *second = get(cache, "MyProject");
    assert_ptr_equal(first, second);
    assert_string_equal(header(first, "Cache-Control"), "public, max-age=300");
    assert_string_equal(header(first, "Content-Type"), "application/jwk-set+json");
    assert_string_equal(header(first, "ETag"), first->etag);
    struct state_jwk changed = fixture_jwk(JWK_A, "one", 1, 2);
    changed.public_key = PUBLIC_B;
    fixture_put(fixture, changed);
    key_set_invalidate(cache, key_set_slot_of("MyProject"));
    const struct key_set *third = get(cache, "MyProject");
    assert_string_not_equal(third->etag, first->etag);
    key_set_release(cache, first);
    key_set_release(cache, second);
    key_set_release(cache, third);
    key_set_cache_free(cache);
}

static void an_equal_body_has_an_equal_etag(void **state) {
    struct worker_fixture *fixture = *state;
    struct key_set_cache *cache = cache_new(fixture, 1 << 20);
    char first[64], second[64];
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    get_etag(cache, "MyProject", first);
    fixture_put(fixture, fixture_jwk(JWK_A, "renamed", 1, 2));
    key_set_invalidate(cache, key_set_slot_of("MyProject"));
    get_etag(cache, "MyProject", second);
    assert_string_equal(first, second);
    key_set_cache_free(cache);
}

static void time_alone_takes_a_key_out(void **state) {
    struct worker_fixture *fixture = *state;
    struct key_set_cache *cache = cache_new(fixture, 1 << 20);
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.expires = 1500; /* seconds; the clock says 1000 */
    fixture_put(fixture, jwk);
    struct state_jwk stays = fixture_jwk(JWK_B, "two", 1, 1);
    stays.public_key = PUBLIC_B;
    fixture_put(fixture, stays);
    char before[64], after[64];
    const struct key_set *set = get(cache, "MyProject");
    assert_string_equal(header(set, "Cache-Control"), "public, max-age=300");
    key_set_release(cache, set);
    atomic_store(&now_ms, 1400000); /* nearer than max-age: a client must not keep it past the end */
    set = get(cache, "MyProject");
    assert_string_equal(header(set, "Cache-Control"), "public, max-age=100");
    key_set_release(cache, set);
    atomic_store(&now_ms, 1499999);
    set = get(cache, "MyProject");
    assert_string_equal(header(set, "Cache-Control"), "public, max-age=1");
    key_set_release(cache, set);
    get_etag(cache, "MyProject", before);
    atomic_store(&now_ms, 1500000);
    get_etag(cache, "MyProject", after);
    assert_string_not_equal(before, after);
    set = get(cache, "MyProject");
    assert_string_equal(header(set, "Cache-Control"), "public, max-age=300");
    key_set_release(cache, set);
    key_set_cache_free(cache);
}

static void a_set_that_was_read_by_a_clock_too_far_ahead_ends_when_the_clock_is_right_again(void **state) {
    struct worker_fixture *fixture = *state;
    struct key_set_cache *cache = cache_new(fixture, 1 << 20);
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.expires = 1500; /* seconds; the clock says 1000 */
    fixture_put(fixture, jwk);
    char right[64], ahead[64], again[64];
    get_etag(cache, "MyProject", right);
    atomic_store(&now_ms, 2000000);
    get_etag(cache, "MyProject", ahead);
    assert_string_not_equal(right, ahead);
    atomic_store(&now_ms, 1000000);
    get_etag(cache, "MyProject", again);
    assert_string_equal(right, again);
    key_set_cache_free(cache);
}

static void memory_is_bounded_and_the_least_used_leaves_first(void **state) {
    struct worker_fixture *fixture = *state;
    for (int i = 0; i < 10; i++) {
        char id[UUID_SIZE], project_id[UUID_SIZE], project[32];
        snprintf(id, sizeof id, "01890000-0000-7000-8000-%012u", (unsigned)i % 10);
        snprintf(project_id, sizeof project_id, "01890000-0000-7000-8001-%012u", (unsigned)i % 10);
        snprintf(project, sizeof project, "Project%d", i);
        struct state_jwk jwk = fixture_jwk(id, "one", 1, 1);
        jwk.project_id = project_id;
        jwk.project_name = project;
        fixture_put(fixture, jwk);
    }
    struct key_set_cache *cache = cache_new(fixture, 4000); /* room for three */
    const struct key_set *first = get(cache, "Project0");
    key_set_release(cache, first);
    for (int i = 1; i < 10; i++) {
        char project[32];
        snprintf(project, sizeof project, "Project%d", i);
        key_set_release(cache, get(cache, project));
        assert_true(key_set_cache_memory(cache) <= 4000);
        /* Asked for each time, so it stays. */
        const struct key_set *again = get(cache, "Project0");
        assert_ptr_equal(again, first);
        key_set_release(cache, again);
    }
    key_set_cache_free(cache);
}

static void a_set_larger_than_the_cache_is_still_served(void **state) {
    struct worker_fixture *fixture = *state;
    struct key_set_cache *cache = cache_new(fixture, 0);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    const struct key_set *set = get(cache, "MyProject");
    assert_non_null(set);
    key_set_release(cache, set);
    assert_int_equal(key_set_cache_memory(cache), 0);
    key_set_cache_free(cache);
}

/* Else each of those who read slowly would hold a copy of its own. */
static void a_set_larger_than_the_cache_is_one_for_all_who_are_being_sent_it(void **state) {
    struct worker_fixture *fixture = *state;
    struct key_set_cache *cache = cache_new(fixture, 0);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    const struct key_set *first = get(cache, "MyProject"), *second = get(cache, "MyProject");
    assert_ptr_equal(first, second);
    key_set_release(cache, first);
    assert_ptr_equal(get(cache, "MyProject"), second);
    key_set_release(cache, second);
    assert_true(key_set_cache_memory(cache) > 0);
    key_set_release(cache, second);
    assert_int_equal(key_set_cache_memory(cache), 0);
    key_set_cache_free(cache);
}

/* ---- the race ---- */

struct race {
    struct key_set_cache *cache;
    _Atomic int64_t acked; /* the version that a reader must at least see */
    atomic_bool done;
    atomic_int stale;
};

static void *read_sets(void *context) {
    struct race *race = context;
    while (!atomic_load(&race->done)) {
        int64_t least = atomic_load(&race->acked);
        const struct key_set *set;
        struct error error;
        if (key_set_get(race->cache, "MyProject", &set, &error) || !set)
            abort();
        long long version = 0;
        /* The version is carried by a header that is derived from the key's exp: max-age. */
        sscanf(MHD_get_response_header(set->response, "Cache-Control"), "public, max-age=%lld", &version);
        if (version < least)
            atomic_fetch_add(&race->stale, 1);
        key_set_release(race->cache, set);
    }
    return NULL;
}

/* The max-age of the set is 300 at most, and exp - now below that: exp 1000 + n at time 1000 makes it n, which serves as the
 * version. */
static void no_reader_sees_an_older_set_than_was_acked(void **state) {
    enum { READERS = 3, VERSIONS = 250 };
    struct worker_fixture *fixture = *state;
    struct race race = {.cache = cache_new(fixture, 1 << 20)};
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.expires = 1001;
    fixture_put(fixture, jwk);
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_sets, &race), 0);
    for (int64_t version = 2; version <= VERSIONS; version++) {
        jwk = fixture_jwk(JWK_A, "one", 1, version);
        jwk.expires = 1000 + version;
        fixture_put(fixture, jwk);
        key_set_invalidate(race.cache, key_set_slot_of("MyProject"));
        atomic_store(&race.acked, version);
    }
    atomic_store(&race.done, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&race.stale), 0);
    key_set_cache_free(race.cache);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_set_is_shared_until_it_is_invalidated),
        TEST(an_equal_body_has_an_equal_etag),
        TEST(time_alone_takes_a_key_out),
        TEST(a_set_that_was_read_by_a_clock_too_far_ahead_ends_when_the_clock_is_right_again),
        TEST(memory_is_bounded_and_the_least_used_leaves_first),
        TEST(a_set_larger_than_the_cache_is_one_for_all_who_are_being_sent_it),
        TEST(a_set_larger_than_the_cache_is_still_served),
        TEST(no_reader_sees_an_older_set_than_was_acked),
    };
    return cmocka_run_group_tests_name("worker key sets", tests, NULL, NULL);
}
