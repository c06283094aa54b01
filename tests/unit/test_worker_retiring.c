/* Replaced keys on a replica: served beside the present one until their time, with no event and across restarts. */
#include "worker_fixture.h"

#include <stdatomic.h>

#include "common/cloudevent.h"
#include "worker/apply.h"
#include "worker/export.h"

#define PUBLIC_C "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"CCCC\",\"kid\":\"c\"}"
#define SET(keys) "{\"keys\":[" keys "]}"

static _Atomic int64_t now_ms;
static int64_t test_clock(void) { return atomic_load(&now_ms); }

static struct key_set_cache *cache_new(struct worker_fixture *fixture) {
    struct key_set_options options = {.readers = fixture->readers, .memory = 1 << 20, .max_age = 300, .wall_ms = test_clock};
    return key_set_cache_new(&options);
}

/* Two replaced keys beside the present one: B until 2000, C until 3000. */
static struct state_jwk rotated(void) {
    static const struct event_retiring retiring[] = {{.public_key = PUBLIC_B, .until = 2000},
                                                     {.public_key = PUBLIC_C, .until = 3000}};
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 3);
    jwk.retiring = retiring;
    jwk.retiring_count = 2;
    return jwk;
}

static void assert_set_at(struct worker_fixture *fixture, int64_t now, const char *expected) {
    char *set = fixture_key_set(fixture, "MyProject", now);
    assert_string_equal(set, expected);
    free(set);
}

static void assert_rows(struct worker_fixture *fixture, int64_t expected) {
    struct error error;
    sqlite3 *reader = state_open_reader(fixture->state, &error);
    sqlite3_stmt *statement;
    assert_non_null(reader);
    assert_int_equal(sqlite3_prepare_v2(reader, "SELECT count(*) FROM jwk_retiring", -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int64(statement, 0), expected);
    sqlite3_finalize(statement);
    sqlite3_close(reader);
}

static void replaced_keys_follow_the_present_one_until_their_time(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_put(fixture, rotated());
    assert_set_at(fixture, 1999, SET(PUBLIC_A "," PUBLIC_B "," PUBLIC_C));
    assert_set_at(fixture, 2000, SET(PUBLIC_A "," PUBLIC_C));
    assert_set_at(fixture, 2999, SET(PUBLIC_A "," PUBLIC_C));
    assert_set_at(fixture, 3000, SET(PUBLIC_A));
    assert_int_equal(state_keys(fixture->state), 1);
    fixture_close_state(fixture);
    fixture_open_state(fixture);
    assert_set_at(fixture, 1999, SET(PUBLIC_A "," PUBLIC_B "," PUBLIC_C));
    assert_set_at(fixture, 3000, SET(PUBLIC_A));
}

static void the_present_key_may_be_one_that_is_not_served(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk jwk = rotated();
    jwk.public_key = NULL;
    fixture_put(fixture, jwk);
    assert_set_at(fixture, 1000, SET(PUBLIC_B "," PUBLIC_C));
    jwk = rotated();
    jwk.version++;
    jwk.expires = 1500;
    fixture_put(fixture, jwk);
    assert_set_at(fixture, 1499, SET(PUBLIC_A "," PUBLIC_B "," PUBLIC_C));
    assert_set_at(fixture, 1500, SET(PUBLIC_B "," PUBLIC_C));
}

static void a_later_event_tells_what_is_left_and_a_delete_ends_all(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_put(fixture, rotated());
    struct state_jwk jwk = rotated();
    jwk.version++;
    jwk.retiring++;
    jwk.retiring_count = 1;
    fixture_put(fixture, jwk);
    assert_set_at(fixture, 1000, SET(PUBLIC_A "," PUBLIC_C));
    assert_int_equal(fixture_put(fixture, rotated()), STATE_OLDER);
    assert_set_at(fixture, 1000, SET(PUBLIC_A "," PUBLIC_C));
    jwk.version++;
    jwk.deleted = true;
    fixture_put(fixture, jwk);
    assert_set_at(fixture, 1000, SET(""));
    assert_rows(fixture, 0);
}

static void what_is_forgotten_or_swept_takes_its_replaced_keys_along(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    fixture_put(fixture, rotated());
    assert_rows(fixture, 2);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_forget(fixture->state, JWK_A, NULL, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_rows(fixture, 0);
    fixture_put(fixture, rotated());
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_sweep(fixture->state, 0, 2, NULL, NULL, NULL, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_rows(fixture, 0);
}

/* ---- the prepared answer ---- */

static void assert_answer(struct key_set_cache *cache, const char *cache_control, char etag[64]) {
    struct error error;
    const struct key_set *set;
    assert_int_equal(key_set_get(cache, "MyProject", &set, &error), 0);
    assert_string_equal(MHD_get_response_header(set->response, "Cache-Control"), cache_control);
    snprintf(etag, 64, "%s", set->etag);
    key_set_release(cache, set);
}

static void the_prepared_answer_ends_with_the_overlap(void **state) {
    struct worker_fixture *fixture = *state;
    char before[64], between[64], after[64], restarted[64];
    struct key_set_cache *cache = cache_new(fixture);
    fixture_put(fixture, rotated());
    atomic_store(&now_ms, 1000000);
    assert_answer(cache, "public, max-age=300", before);
    atomic_store(&now_ms, 1900000);
    assert_answer(cache, "public, max-age=100", between);
    assert_string_equal(before, between);
    atomic_store(&now_ms, 1999999);
    assert_answer(cache, "public, max-age=1", between);
    assert_string_equal(before, between);
    atomic_store(&now_ms, 2000000);
    assert_answer(cache, "public, max-age=300", between);
    assert_string_not_equal(before, between);
    atomic_store(&now_ms, 2999999);
    assert_answer(cache, "public, max-age=1", after);
    assert_string_equal(between, after);
    atomic_store(&now_ms, 3000000);
    assert_answer(cache, "public, max-age=300", after);
    assert_string_not_equal(between, after);
    key_set_cache_free(cache);
    fixture_close_state(fixture);
    fixture_open_state(fixture);
    cache = cache_new(fixture);
    assert_answer(cache, "public, max-age=300", restarted);
    assert_string_equal(after, restarted);
    key_set_cache_free(cache);
}

static void an_exported_file_is_due_when_an_overlap_ends(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    char *path = memory_format("%s/export", fixture->directory);
    struct export *export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    fixture_put(fixture, rotated());
    static const struct { int64_t now, due; } steps[] = {{1000, 2000}, {2000, 3000}, {3000, INT64_MAX}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int64_t due = INT64_MAX;
        assert_int_equal(export_all(export, steps[i].now, &due, &error), 0);
        assert_true(due == steps[i].due);
    }
    export_close(export);
    free(path);
}

/* ---- events ---- */

/* Decodes an event with one replaced key; *arena holds what it is made of. */
static void decode(struct apply_record *record, struct arena *arena, const char *public_key, int64_t until) {
    const struct event_retiring retiring[] = {{.public_key = public_key, .until = until},
                                              {.public_key = PUBLIC_C, .until = 9000}};
    const struct event event = {.operation = EVENT_UPDATE,
                                .deployment_id = JWK_C,
                                .epoch = 1,
                                .version = 2,
                                .sequence = 2,
                                .project_id = PROJECT_ID,
                                .project_name = "MyProject",
                                .jwk_id = JWK_A,
                                .name = "x", /* an odd count of bytes before what must be aligned */
                                .type = "OKP",
                                .public_key = PUBLIC_A,
                                .retiring = retiring,
                                .retiring_count = 2,
                                .actor = "alice",
                                .time = "2026-01-01T00:00:00.000Z"};
    struct text value = TEXT_EMPTY;
    struct cloudevent attributes = {.id = JWK_B, .type = EVENT_TYPE_UPDATED};
    event_encode(&event, &value);
    *record = (struct apply_record){.key = JWK_A,
                                    .key_length = UUID_SIZE - 1,
                                    .value = value.bytes,
                                    .value_length = value.length,
                                    .generation = 1,
                                    .attributes = &attributes};
    apply_decode(record, arena);
    text_free(&value);
}

static void no_replaced_key_outlives_its_exp_and_none_is_private(void **state) {
    (void)state;
    static const struct {
        const char *public_key;
        int64_t until, end;
    } kept[] = {
        {PUBLIC_B, 2000, 2000},
        {"{\"kty\":\"OKP\",\"exp\":1500}", 2000, 1500},
        {"{\"kty\":\"OKP\",\"exp\":2500}", 2000, 2000},
    };
    static const char *const refused[] = {"{\"kty\":\"OKP\",\"x\":\"AAAA\",\"d\":\"AAAA\"}",
                                          "{\"kty\":\"oct\",\"k\":\"AAAA\"}"};
    struct apply_record record;
    struct arena arena = {0};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        decode(&record, &arena, kept[i].public_key, kept[i].until);
        assert_int_equal(record.outcome, APPLY_PENDING);
        assert_int_equal(record.event.retiring_count, 2);
        assert_string_equal(record.event.retiring[0].public_key, kept[i].public_key);
        assert_int_equal(record.event.retiring[0].until, kept[i].end);
        assert_string_equal(record.event.retiring[1].public_key, PUBLIC_C);
        assert_true(record.expires == INT64_MAX);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        decode(&record, &arena, refused[i], 2000);
        assert_int_equal(record.outcome, APPLY_MALFORMED);
    }
    arena_free(&arena);
}

static void an_applied_event_serves_what_it_tells(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    struct arena arena = {0};
    struct apply_record record;
    struct progress *progress = progress_new();
    struct key_set_cache *cache = cache_new(fixture);
    progress_start(progress, &(struct position){.partition = 0});
    decode(&record, &arena, PUBLIC_B, 2000);
    struct apply_target target = {.state = fixture->state, .cache = cache, .progress = progress, .contact_ms = 1000000};
    assert_int_equal(apply_batch(&target, &record, 1, &error), 0);
    assert_int_equal(record.outcome, APPLY_NEWER);
    assert_set_at(fixture, 1999, SET(PUBLIC_A "," PUBLIC_B "," PUBLIC_C));
    assert_set_at(fixture, 2000, SET(PUBLIC_A "," PUBLIC_C));
    progress_free(progress);
    key_set_cache_free(cache);
    arena_free(&arena);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(replaced_keys_follow_the_present_one_until_their_time),
        TEST(the_present_key_may_be_one_that_is_not_served),
        TEST(a_later_event_tells_what_is_left_and_a_delete_ends_all),
        TEST(what_is_forgotten_or_swept_takes_its_replaced_keys_along),
        TEST(the_prepared_answer_ends_with_the_overlap),
        TEST(an_exported_file_is_due_when_an_overlap_ends),
        TEST(no_replaced_key_outlives_its_exp_and_none_is_private),
        TEST(an_applied_event_serves_what_it_tells),
    };
    return cmocka_run_group_tests_name("worker replaced keys", tests, NULL, NULL);
}
