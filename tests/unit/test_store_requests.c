/* What the store remembers of requests with an Idempotency-Key, and of clients and their tokens: each for its time, and no more of it. */
#include "store_fixture.h"

#include "api/store_client.h"
#include "api/store_history.h"
#include "api/store_idempotency.h"

enum { MANY = 20, CLEARED_AT_ONCE = 4 };

static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 1, (const char *const[]){"production"});
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

static struct store_request request_of(const char *user, const char *key, unsigned char fill) {
    struct store_request request = {.user = user, .key = key};
    memset(request.hash, fill, sizeof request.hash);
    return request;
}

static bool is_known(struct store *store, const struct store_request *request, int64_t now) {
    struct store_remembered remembered;
    bool found = false;
    SUCCEEDS(store_find_request(store, request, now, &found, &remembered, &error));
    store_remembered_clear(&remembered);
    return found;
}

static void a_request_is_remembered_with_its_answer_until_it_expires(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    struct store_request request = request_of("alice", "key", 1);
    assert_false(is_known(store, &request, 0));
    SUCCEEDS(store_remember_request(store, &request, 3, 5, 100, 200, &error));
    struct store_remembered remembered;
    bool found;
    SUCCEEDS(store_find_request(store, &request, 199, &found, &remembered, &error));
    assert_true(found);
    assert_memory_equal(remembered.hash, request.hash, sizeof request.hash);
    assert_int_equal(remembered.first, 3);
    assert_int_equal(remembered.last, 5);
    assert_int_equal(remembered.status, 0);
    assert_null(remembered.body);
    SUCCEEDS(store_remember_answer(store, &request, 200, "/there/", "{}", &error));
    SUCCEEDS(store_find_request(store, &request, 199, &found, &remembered, &error));
    assert_int_equal(remembered.status, 200);
    assert_string_equal(remembered.location, "/there/");
    assert_string_equal(remembered.body, "{}");
    store_remembered_clear(&remembered);
    assert_false(is_known(store, &request, 200));
}

static void a_key_belongs_to_one_user(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    struct store_request alice = request_of("alice", "key", 1), bob = request_of("bob", "key", 2);
    SUCCEEDS(store_remember_request(store, &alice, 0, 0, 100, 200, &error));
    assert_false(is_known(store, &bob, 100));
    SUCCEEDS(store_remember_request(store, &bob, 0, 0, 100, 200, &error));
}

static void a_key_in_use_is_refused_and_an_expired_one_is_free(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    struct store_request first = request_of("alice", "key", 1), second = request_of("alice", "key", 2);
    SUCCEEDS(store_remember_request(store, &first, 1, 1, 100, 200, &error));
    SUCCEEDS(store_remember_answer(store, &first, 200, NULL, "{}", &error));
    FAILS(store_remember_request(store, &second, 2, 2, 199, 300, &error), ERROR_UNAVAILABLE, "The Idempotency-Key is in use");
    SUCCEEDS(store_remember_request(store, &second, 2, 2, 200, 300, &error));
    struct store_remembered remembered;
    bool found;
    SUCCEEDS(store_find_request(store, &second, 299, &found, &remembered, &error));
    assert_true(found);
    assert_int_equal(remembered.status, 0);
    assert_int_equal(remembered.first, 2);
    assert_memory_equal(remembered.hash, second.hash, sizeof second.hash);
    store_remembered_clear(&remembered);
    /* The first one's answer comes late: it is not the second one's. */
    SUCCEEDS(store_remember_answer(store, &first, 200, NULL, "{}", &error));
    SUCCEEDS(store_find_request(store, &second, 299, &found, &remembered, &error));
    assert_int_equal(remembered.status, 0);
    store_remembered_clear(&remembered);
}

static void expired_requests_melt_a_few_at_a_time(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    char key[MANY][16];
    for (int i = 0; i < MANY; i++) {
        snprintf(key[i], sizeof key[i], "key-%d", i);
        struct store_request request = request_of("alice", key[i], 1);
        SUCCEEDS(store_remember_request(store, &request, 0, 0, 100, 200, &error));
    }
    /* A look from before the expiry tells what is kept. */
    for (int added = 1; added <= MANY / CLEARED_AT_ONCE + 1; added++) {
        char name[24];
        snprintf(name, sizeof name, "new-%d", added);
        struct store_request request = request_of("alice", name, 1);
        SUCCEEDS(store_remember_request(store, &request, 0, 0, 200, 900, &error));
        int kept = 0;
        for (int i = 0; i < MANY; i++) {
            struct store_request old = request_of("alice", key[i], 1);
            kept += is_known(store, &old, 100);
        }
        assert_int_equal(kept, added * CLEARED_AT_ONCE < MANY ? MANY - added * CLEARED_AT_ONCE : 0);
    }
}

/* ---- clients ---- */

static void count_token(void *context, const struct store_token_item *item) {
    (void)item;
    ++*(int *)context;
}

static int tokens_kept(struct store *store) {
    int count = 0;
    SUCCEEDS(store_each_token(store, count_token, &count, &error));
    return count;
}

static int64_t new_client(struct store *store, const char *project, char uid[UUID_SIZE]) {
    unsigned char secret[32];
    memset(secret, 7, sizeof secret);
    struct store_new_token holder = {.user = "robot", .roles = ROLE_API_SECURITY, .projects = &project, .project_count = project ? 1 : 0};
    int64_t id = 0;
    SUCCEEDS(store_add_client(store, &holder, secret, uid, &error));
    SUCCEEDS(store_find_client(store, uid, secret, &id, &error));
    return id;
}

static void an_issued_token_is_its_clients_until_it_expires_or_the_client_is_revoked(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    char uid[UUID_SIZE];
    unsigned char hash[32] = {1}, wrong[32] = {2};
    int64_t id = new_client(store, PROJECT, uid), ignored;
    FAILS(store_find_client(store, uid, wrong, &ignored, &error), ERROR_DENIED, "Bad credentials");
    SUCCEEDS(store_issue_token(store, id, hash, "127.0.0.1", 100, 200, &error));
    struct store_token token;
    struct store_project project;
    SUCCEEDS(store_find_token(store, hash, 199, &token, &error));
    assert_string_equal(token.user, "robot");
    assert_int_equal(token.roles, ROLE_API_SECURITY);
    assert_false(token.all_projects);
    SUCCEEDS(store_find_project(store, &token, PROJECT, &project, &error));
    FAILS(store_find_token(store, hash, 200, &token, &error), ERROR_DENIED, "Invalid token");
    SUCCEEDS(store_revoke_client(store, uid, &error));
    FAILS(store_find_token(store, hash, 199, &token, &error), ERROR_DENIED, "Invalid token");
    wrong[0] = 3;
    FAILS(store_issue_token(store, id, wrong, "127.0.0.1", 100, 200, &error), ERROR_DENIED, "Bad credentials");
}

static void expired_tokens_melt_a_few_at_a_time_and_personal_ones_stay(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    char uid[UUID_SIZE], personal_uid[UUID_SIZE];
    unsigned char hash[32] = {255};
    struct store_new_token personal = {.user = "alice", .roles = ROLE_ADMIN, .expires_at = 1};
    SUCCEEDS(store_add_token(store, &personal, hash, personal_uid, &error));
    int64_t id = new_client(store, PROJECT, uid);
    for (int i = 0; i < MANY; i++) {
        hash[0] = (unsigned char)i;
        SUCCEEDS(store_issue_token(store, id, hash, "127.0.0.1", 100, 200, &error));
    }
    for (int added = 1; added <= MANY / CLEARED_AT_ONCE + 1; added++) {
        hash[0] = (unsigned char)(MANY + added);
        SUCCEEDS(store_issue_token(store, id, hash, "127.0.0.1", 200, 900, &error));
        int expired = added * CLEARED_AT_ONCE < MANY ? MANY - added * CLEARED_AT_ONCE : 0;
        assert_int_equal(tokens_kept(store), 1 + added + expired);
    }
}

/* ---- histories ---- */

static void add_version(void *context, const struct store_deployment *deployment) {
    struct text *text = context;
    text_add_format(text, "%d%s ", (int)deployment->version, deployment->changed ? deployment->changed : "");
}

static void expect_history(struct store *store, int64_t project_id, int64_t jwk_id, int64_t before, int limit, const char *expected) {
    struct text text = TEXT_EMPTY;
    struct store_deployment_filter filter = {.project_id = project_id, .jwk_id = jwk_id, .before = before};
    text_add_string(&text, "");
    SUCCEEDS(store_each_deployment(store, &filter, limit, add_version, &text, &error));
    assert_string_equal(text.bytes, expected);
    text_free(&text);
}

static void a_history_goes_back_from_the_newest_and_keeps_deleted_jwks(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[4] = {0};
    int64_t id, same;
    fixture_create(fixture, "one", &changes[0]);
    SUCCEEDS(store_find_jwk_id(fixture->store, fixture->project.id, "one", &id, &error));
    fixture_update(fixture, "one", "two", "described", &changes[1]);
    fixture_update(fixture, "two", NULL, "described", &changes[2]);
    fixture_delete(fixture, "two", &changes[3]);
    FAILS(store_find_jwk_id(fixture->store, fixture->project.id, "two", &same, &error), ERROR_NOT_FOUND, "JWK (name: two) is not found!");
    SUCCEEDS(store_find_jwk_id_by_uid(fixture->store, fixture->project.id, changes[0].jwk_id, &same, &error));
    assert_int_equal(same, id);
    expect_history(fixture->store, fixture->project.id, 0, INT64_MAX, 10, "4 3 2name,description 1 ");
    expect_history(fixture->store, fixture->project.id, id, INT64_MAX, 2, "4 3 ");
    expect_history(fixture->store, fixture->project.id, id, changes[2].sequence, 2, "2name,description 1 ");
    expect_history(fixture->store, fixture->project.id + 1, id, INT64_MAX, 10, "");
    expect_history(fixture->store, fixture->project.id + 1, 0, INT64_MAX, 10, "");
    for (size_t i = 0; i < 4; i++)
        store_change_clear(&changes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_is_remembered_with_its_answer_until_it_expires, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_belongs_to_one_user, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_in_use_is_refused_and_an_expired_one_is_free, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_requests_melt_a_few_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_issued_token_is_its_clients_until_it_expires_or_the_client_is_revoked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_tokens_melt_a_few_at_a_time_and_personal_ones_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_history_goes_back_from_the_newest_and_keeps_deleted_jwks, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
