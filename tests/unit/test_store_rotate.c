/* Rotation in the store: what the event tells, which overlaps run, what is refused, and that nothing private stays. */
#include "store_fixture.h"

#include <sqlite3.h>

#include "api/store_origin.h"
#include "api/store_retiring.h"
#include "common/clock.h"

static const char *const environments[] = {"production", "staging"};

static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 2, environments);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

/* A key of that kid (NULL: none), unlike any other one; the caller keeps public_key. */
static struct store_new_jwk new_key(const char *kid, const char *public_key) {
    return (struct store_new_jwk){
        .type = "EC", .kid = kid, .source_type = "GENERATE", .public_key = public_key, .private_key = "{\"d\":\"new\"}"};
}

static int rotate(struct store_fixture *fixture, const struct store_new_jwk *jwk, int64_t overlap_s,
                  struct store_change *change, struct error *problem) {
    SUCCEEDS(store_savepoint(fixture->store, &error));
    int status = store_rotate_jwk(fixture->store, &fixture->author, "one", jwk, overlap_s, change, problem);
    assert_int_equal(status ? store_rollback_savepoint(fixture->store) : store_release(fixture->store, problem), 0);
    return status;
}

static void rotate_to(struct store_fixture *fixture, const char *kid, const char *public_key, int64_t overlap_s) {
    struct store_new_jwk jwk = new_key(kid, public_key);
    struct store_change change;
    SUCCEEDS(rotate(fixture, &jwk, overlap_s, &change, &error));
    store_change_clear(&change);
}

static struct event event_of(const struct store_change *change) {
    struct event event;
    SUCCEEDS(event_decode(change->outgoing->value, change->outgoing->value_length, &event, &error));
    return event;
}

/* The event of an update of the JWK: what a change finds. */
static struct event next_event(struct store_fixture *fixture) {
    struct store_change change;
    SUCCEEDS(store_update_jwk(fixture->store, &fixture->author, "one", NULL, NULL, &change, &error));
    struct event event = event_of(&change);
    store_change_clear(&change);
    return event;
}

static void run_sql(struct store_fixture *fixture, const char *sql) {
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/jwk-api.db", fixture->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

/* Makes every overlap end in the past. */
static void let_time_pass(struct store_fixture *fixture) {
    SUCCEEDS(store_commit(fixture->store, &error));
    run_sql(fixture,
            "UPDATE jwk_retiring SET until = until - 4000000000; UPDATE jwk SET retiring_until = retiring_until - 4000000000");
    SUCCEEDS(store_begin(fixture->store, &error));
}

static void begin(struct store_fixture *fixture) {
    struct store_change change;
    fixture_create(fixture, "one", &change);
    store_change_clear(&change);
    SUCCEEDS(store_begin(fixture->store, &error));
}

static void a_rotation_is_one_update_that_carries_both_keys(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct store_jwk jwk, before;
    begin(fixture);
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "one", &before, &error));
    struct store_new_jwk new_jwk = new_key("new", "{\"kty\":\"EC\"}");
    int64_t earliest = (clock_wall_ms() + 999) / 1000 + 60; /* no part of a second less than asked for */
    SUCCEEDS(rotate(fixture, &new_jwk, 60, &change, &error));
    int64_t latest = clock_wall_ms() / 1000 + 61;
    struct event event = event_of(&change);
    assert_int_equal(event.operation, EVENT_UPDATE);
    assert_int_equal(event.version, 2);
    assert_string_equal(event.jwk_id, before.uid);
    assert_string_equal(event.name, "one");
    assert_string_equal(event.type, "EC");
    assert_string_equal(event.kid, "new");
    assert_string_equal(event.public_key, "{\"kty\":\"EC\"}");
    assert_int_equal(event.retiring_count, 1);
    assert_string_equal(event.retiring[0].public_key, PUBLIC_KEY);
    assert_in_range(event.retiring[0].until, earliest, latest);
    event_free(&event);
    store_change_clear(&change);
    SUCCEEDS(store_find_whole_jwk(fixture->store, fixture->project.id, "one", &jwk, &error));
    SUCCEEDS(store_open_jwk(&jwk, &error));
    assert_string_equal(jwk.uid, before.uid);
    assert_string_equal(jwk.type, "EC");
    assert_string_equal(jwk.source_type, "GENERATE");
    assert_string_equal(jwk.private_key, "{\"d\":\"new\"}");
    assert_true(jwk.retiring_until >= earliest * 1000 && jwk.retiring_until <= latest * 1000);
    store_jwk_free(&jwk);
    store_jwk_free(&before);
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(
        fixture_number(fixture, "SELECT count(*) FROM jwk_material WHERE instr(private_key, CAST('nWGxne_9' AS BLOB))"), 0);
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk_retiring WHERE public_key LIKE '%\"d\"%'"), 0);
    assert_int_equal(
        fixture_number(fixture, "SELECT changed = 'type,kid,sourceType,material,retiring' FROM deployment WHERE version = 2"),
        1);
}

static void note_kid(void *context, const char *kid, int64_t until) {
    assert_true(until > clock_wall_ms());
    text_add_format(context, "%s,", kid ? kid : "-");
}

static void assert_retiring(struct store_fixture *fixture, const char *expected) {
    struct text kids = TEXT_EMPTY;
    struct store_jwk jwk;
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "one", &jwk, &error));
    SUCCEEDS(store_each_retiring(fixture->store, &jwk, clock_wall_ms(), note_kid, &kids, &error));
    assert_string_equal(kids.bytes ? kids.bytes : "", expected);
    text_free(&kids);
    store_jwk_free(&jwk);
}

static void overlaps_run_beside_each_other_and_through_other_changes(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    begin(fixture);
    rotate_to(fixture, "b", "{\"kty\":\"b\"}", 100);
    rotate_to(fixture, "c", "{\"kty\":\"c\"}", 50);
    rotate_to(fixture, "d", "{\"kty\":\"d\"}", 0); /* c leaves at once */
    assert_retiring(fixture, "b,key-1,");
    struct event event = next_event(fixture);
    assert_int_equal(event.retiring_count, 2);
    assert_string_equal(event.retiring[0].public_key, "{\"kty\":\"b\"}");
    assert_string_equal(event.retiring[1].public_key, PUBLIC_KEY);
    event_free(&event);
    SUCCEEDS(store_redeploy_jwk(fixture->store, &fixture->author, "one", NULL, &change, &error));
    event = event_of(&change);
    assert_int_equal(event.retiring_count, 2);
    event_free(&event);
    store_change_clear(&change);
    SUCCEEDS(store_delete_jwk(fixture->store, &fixture->author, "one", &change, &error));
    event = event_of(&change);
    assert_int_equal(event.retiring_count, 0);
    event_free(&event);
    store_change_clear(&change);
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk_retiring"), 0);
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk WHERE retiring_until IS NOT NULL"), 0);
}

static void what_is_over_is_not_told_and_dropped_with_the_next_change(void **state) {
    struct store_fixture *fixture = *state;
    begin(fixture);
    rotate_to(fixture, "b", "{\"kty\":\"b\"}", 100);
    let_time_pass(fixture);
    rotate_to(fixture, "c", "{\"kty\":\"c\"}", 100);
    assert_retiring(fixture, "b,");
    struct event event = next_event(fixture);
    assert_int_equal(event.retiring_count, 1);
    event_free(&event);
    let_time_pass(fixture);
    assert_retiring(fixture, "");
    event = next_event(fixture);
    assert_int_equal(event.retiring_count, 0);
    event_free(&event);
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk_retiring"), 0);
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk WHERE retiring_until IS NOT NULL"), 0);
}

static void one_of_several_ends_alone(void **state) {
    struct store_fixture *fixture = *state;
    begin(fixture);
    rotate_to(fixture, "b", "{\"kty\":\"b\"}", 100);
    rotate_to(fixture, "c", "{\"kty\":\"c\"}", 200);
    SUCCEEDS(store_commit(fixture->store, &error));
    run_sql(fixture, "UPDATE jwk_retiring SET until = until - 4000000000 WHERE kid = 'key-1'");
    SUCCEEDS(store_begin(fixture->store, &error));
    struct event event = next_event(fixture);
    assert_int_equal(event.retiring_count, 1);
    assert_string_equal(event.retiring[0].public_key, "{\"kty\":\"b\"}");
    event_free(&event);
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk_retiring"), 1);
    assert_int_equal(fixture_number(fixture, "SELECT retiring_until = (SELECT until FROM jwk_retiring) FROM jwk"), 1);
    /* Read just before a rotation, a JWK has not replaced its present key. */
    struct store_jwk before;
    struct text kids = TEXT_EMPTY;
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "one", &before, &error));
    SUCCEEDS(store_begin(fixture->store, &error));
    rotate_to(fixture, "d", "{\"kty\":\"d\"}", 100);
    SUCCEEDS(store_commit(fixture->store, &error));
    SUCCEEDS(store_each_retiring(fixture->store, &before, clock_wall_ms(), note_kid, &kids, &error));
    assert_string_equal(kids.bytes, "b,");
    text_free(&kids);
    store_jwk_free(&before);
}

static void no_two_served_keys_are_told_apart_by_nothing(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct error problem;
    begin(fixture);
    struct store_new_jwk same = new_key("key-1", "{\"kty\":\"b\"}");
    assert_int_equal(rotate(fixture, &same, 100, &change, &problem), -1);
    assert_int_equal(problem.code, ERROR_CONFLICT);
    assert_non_null(
        strstr(problem.message, "JWK (name: one) has the kid \"key-1\" of a key that stays served until the overlap ends"));
    SUCCEEDS(rotate(fixture, &same, 0, &change, &error)); /* the old one is gone */
    store_change_clear(&change);
    rotate_to(fixture, "b", "{\"kty\":\"c\"}", 100);
    assert_int_equal(rotate(fixture, &same, 0, &change, &problem), -1); /* it is served yet */
    assert_non_null(strstr(problem.message, "stays served until 2"));
    let_time_pass(fixture);
    rotate_to(fixture, "key-1", "{\"kty\":\"d\"}", 100);
    rotate_to(fixture, NULL, "{\"kty\":\"e\"}", 100);
    struct store_new_jwk equal = new_key(NULL, "{\"kty\":\"e\"}");
    assert_int_equal(rotate(fixture, &equal, 100, &change, &problem), -1);
    rotate_to(fixture, NULL, "{\"kty\":\"f\"}", 100);
    assert_retiring(fixture, "-,key-1,b,");
    SUCCEEDS(store_commit(fixture->store, &error));
}

static void overlaps_are_bounded(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct error problem;
    char kid[16], public_key[32];
    begin(fixture);
    for (int i = 0; i < RETIRING_COUNT_MAX; i++) {
        snprintf(kid, sizeof kid, "%d", i);
        snprintf(public_key, sizeof public_key, "{\"kty\":\"%d\"}", i);
        rotate_to(fixture, kid, public_key, 100 + i);
    }
    struct store_new_jwk more = new_key("more", "{\"kty\":\"more\"}");
    assert_int_equal(rotate(fixture, &more, 100, &change, &problem), -1);
    assert_int_equal(problem.code, ERROR_CONFLICT);
    assert_non_null(
        strstr(problem.message, "JWK (name: one) has 10 keys that are still served beside its present one; the first of"));
    SUCCEEDS(rotate(fixture, &more, 0, &change, &error)); /* needs no place */
    store_change_clear(&change);
    let_time_pass(fixture);
    rotate_to(fixture, "again", "{\"kty\":\"again\"}", 100);
    assert_retiring(fixture, "more,");
    SUCCEEDS(store_commit(fixture->store, &error));
}

static void what_does_not_fit_an_event_with_the_others_is_refused(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    begin(fixture);
    char *large = memory_new(EVENT_KEY_MAX);
    memset(large, 'x', EVENT_KEY_MAX - 1);
    struct store_new_jwk jwk = new_key("large", large);
    FAILS(rotate(fixture, &jwk, 100, &change, &error), ERROR_INVALID,
          "JWK (name: one) is too large: its public part, with those it replaced, can have 900000 bytes!");
    SUCCEEDS(rotate(fixture, &jwk, 0, &change, &error));
    store_change_clear(&change);
    free(large);
    SUCCEEDS(store_commit(fixture->store, &error));
}

static void a_symmetric_key_is_served_nowhere_and_leaves_at_once(void **state) {
    struct store_fixture *fixture = *state;
    begin(fixture);
    struct store_new_jwk secret = {.type = "OCT", .kid = "s", .source_type = "GENERATE", .private_key = "{\"k\":\"AAAA\"}"};
    struct store_change change;
    SUCCEEDS(rotate(fixture, &secret, 100, &change, &error));
    store_change_clear(&change);
    assert_retiring(fixture, "key-1,");
    rotate_to(fixture, "s", "{\"kty\":\"s\"}", 100);
    assert_retiring(fixture, "key-1,");
    SUCCEEDS(store_commit(fixture->store, &error));
}

/* ---- sources ---- */

static void attach_url(struct store_fixture *fixture, const char *uid) {
    const struct store_url url = {.connect_timeout = 1, .read_timeout = 2, .size_limit = 3, .due_at = 100};
    SUCCEEDS(store_attach_url(fixture->store, uid, &url, &error));
}

static void a_fetch_that_was_under_way_does_not_bring_the_old_key_back(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct store_jwk jwk;
    begin(fixture);
    struct store_new_jwk from_url = new_key("first", "{\"kty\":\"first\"}");
    from_url.source_type = "URL";
    from_url.source_url = "https://issuer.example/";
    SUCCEEDS(rotate(fixture, &from_url, 0, &change, &error));
    attach_url(fixture, change.jwk_id);
    int64_t first = change.version;
    store_change_clear(&change);
    from_url = new_key("second", "{\"kty\":\"second\"}");
    from_url.source_type = "URL";
    from_url.source_url = "https://issuer.example/";
    SUCCEEDS(rotate(fixture, &from_url, 100, &change, &error));
    attach_url(fixture, change.jwk_id); /* the first attachment is over, or this would not go */
    int64_t second = change.version;
    store_change_clear(&change);
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "one", &jwk, &error));
    struct store_remade remade = {
        .jwk_id = jwk.id, .attachment = first, .type = "EC", .kid = "first", .public_key = "{\"kty\":\"first again\"}"};
    const struct store_url_outcome outcome = {.jwk_id = jwk.id, .attachment = first, .due_at = 7, .error = "of the other"};
    struct store_url_status status;
    SUCCEEDS(store_set_url_outcome(fixture->store, &outcome, &error));
    SUCCEEDS(store_find_url_status(fixture->store, jwk.id, &status, &error));
    assert_int_equal(status.failures, 0);
    const struct store_url_outcome success = {.jwk_id = jwk.id, .attachment = first, .due_at = 7, .etag = "\"of the other\""};
    SUCCEEDS(store_set_url_outcome(fixture->store, &success, &error));
    SUCCEEDS(store_find_url_status(fixture->store, jwk.id, &status, &error));
    assert_int_equal(status.due_at, 100);
    SUCCEEDS(store_refresh_jwk(fixture->store, &fixture->author, &remade, &change, &error));
    assert_null(change.environments);
    assert_retiring(fixture, "first,");
    /* The present source brings the kid of a key that is served yet: the newer one stays. */
    remade.attachment = second;
    SUCCEEDS(store_refresh_jwk(fixture->store, &fixture->author, &remade, &change, &error));
    struct event event = event_of(&change);
    assert_string_equal(event.public_key, "{\"kty\":\"first again\"}");
    assert_int_equal(event.retiring_count, 0);
    event_free(&event);
    store_change_clear(&change);
    assert_retiring(fixture, "");
    store_jwk_free(&jwk);
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "one", &jwk, &error));
    assert_int_equal(jwk.retiring_until, 0);
    store_jwk_free(&jwk);
    SUCCEEDS(store_commit(fixture->store, &error));
}

static void a_rotation_of_what_is_not_there_is_told_as_by_update(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct store_new_jwk jwk = new_key("new", "{\"kty\":\"EC\"}");
    SUCCEEDS(store_begin(fixture->store, &error));
    FAILS(rotate(fixture, &jwk, 100, &change, &error), ERROR_NOT_FOUND, "JWK (name: one) is not found! Try create operation.");
    SUCCEEDS(store_commit(fixture->store, &error));
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_rotation_is_one_update_that_carries_both_keys),
        WITH_STORE(overlaps_run_beside_each_other_and_through_other_changes),
        WITH_STORE(what_is_over_is_not_told_and_dropped_with_the_next_change),
        WITH_STORE(one_of_several_ends_alone),
        WITH_STORE(no_two_served_keys_are_told_apart_by_nothing),
        WITH_STORE(overlaps_are_bounded),
        WITH_STORE(what_does_not_fit_an_event_with_the_others_is_refused),
        WITH_STORE(a_symmetric_key_is_served_nowhere_and_leaves_at_once),
        WITH_STORE(a_fetch_that_was_under_way_does_not_bring_the_old_key_back),
        WITH_STORE(a_rotation_of_what_is_not_there_is_told_as_by_update),
    };
    return cmocka_run_group_tests_name("store rotation", tests, NULL, NULL);
}
