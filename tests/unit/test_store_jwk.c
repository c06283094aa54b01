/* JWKs in the store: create, update, delete, and the event that each of them leaves in the outbox. */
#include "store_fixture.h"

#include "common/identifier.h"
#include "common/message.h"

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

/* The event of a change, which must be what its hash names. The caller frees it with event_free(). */
static struct event event_of(const struct store_change *change) {
    const struct store_outgoing *outgoing = change->outgoing;
    struct event event;
    char hash[SHA256_TEXT_SIZE];
    SUCCEEDS(event_decode(outgoing->value, outgoing->value_length, &event, &error));
    sha256_text(outgoing->value, outgoing->value_length, hash);
    assert_string_equal(hash, change->event_hash);
    assert_string_equal(event.deployment_id, change->deployment_id);
    assert_string_equal(event.jwk_id, change->jwk_id);
    assert_string_equal(outgoing->key, change->jwk_id);
    assert_true(uuid_is_valid(outgoing->event_id));
    assert_int_equal(event.sequence, change->sequence);
    assert_int_equal(event.epoch, change->epoch);
    assert_int_equal(event.version, change->version);
    assert_int_equal(outgoing->partition, change->partition);
    assert_int_equal(outgoing->outbox_id, change->outbox_id);
    return event;
}

static void create_records_jwk_deployment_and_event(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct store_jwk jwk;
    fixture->author.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    fixture_create(fixture, "my-jwk", &change);
    assert_int_equal(change.version, 1);
    assert_int_equal(change.epoch, 1);
    assert_int_equal(change.sequence, 1);
    assert_int_equal(change.environments->count, 2);
    struct event event = event_of(&change);
    assert_int_equal(event.operation, EVENT_CREATE);
    assert_string_equal(event.project_name, PROJECT);
    assert_string_equal(event.project_id, fixture->project.uid);
    assert_string_equal(event.name, "my-jwk");
    assert_string_equal(event.type, "OKP");
    assert_string_equal(event.kid, "key-1");
    assert_null(event.description);
    assert_string_equal(event.public_key, PUBLIC_KEY);
    assert_string_equal(event.actor, "alice");
    event_free(&event);
    assert_string_equal(change.outgoing->event_type, EVENT_TYPE_CREATED);
    assert_string_equal(change.outgoing->subject, "projects/my-project/jwks/my-jwk");
    assert_string_equal(change.outgoing->traceparent, fixture->author.traceparent);
    SUCCEEDS(store_find_whole_jwk(fixture->store, fixture->project.id, "my-jwk", &jwk, &error));
    assert_null(jwk.private_key);
    SUCCEEDS(store_open_jwk(&jwk, &error));
    assert_string_equal(jwk.uid, change.jwk_id);
    assert_string_equal(jwk.public_key, PUBLIC_KEY);
    assert_string_equal(jwk.private_key, PRIVATE_KEY);
    assert_string_equal(jwk.source_type, "COPY_PASTE");
    assert_null(jwk.source_url);
    assert_int_equal(jwk.version, 1);
    store_jwk_free(&jwk);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_PENDING, NULL);
    expect_result(fixture->store, change.deployment_id, "staging", RESULT_PENDING, NULL);
    store_change_clear(&change);
}

static void no_event_holds_a_private_half(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    assert_null(strstr(change.outgoing->value, "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
    store_change_clear(&change);
    fixture_update(fixture, "my-jwk", NULL, "text", &change);
    assert_null(strstr(change.outgoing->value, "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"));
    store_change_clear(&change);
}

static void a_taken_name_is_refused_by_create(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    const struct store_new_jwk jwk = fixture_new_jwk("my-jwk");
    fixture_create(fixture, "my-jwk", &change);
    store_change_clear(&change);
    SUCCEEDS(store_begin(fixture->store, &error));
    FAILS(store_create_jwk(fixture->store, &fixture->author, &jwk, &change, &error), ERROR_CONFLICT,
          "JWK (name: my-jwk) is already exist! Try update operation if want to change its value.");
    store_rollback(fixture->store);
}

static void the_same_name_is_free_in_another_project(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    const struct store_token everything = {.all_projects = true};
    struct store_project other;
    fixture_create(fixture, "my-jwk", &change);
    store_change_clear(&change);
    SUCCEEDS(store_add_project(fixture->store, "other", &error));
    SUCCEEDS(store_find_project(fixture->store, &everything, "other", &other, &error));
    fixture->author.project_id = other.id;
    fixture_create(fixture, "my-jwk", &change);
    store_change_clear(&change);
}

static void update_changes_what_is_given_and_nothing_else(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change created, change;
    struct store_jwk jwk;
    fixture_create(fixture, "my-jwk", &created);
    fixture_update(fixture, "my-jwk", NULL, "first", &change);
    assert_int_equal(change.version, 2);
    assert_string_equal(change.jwk_id, created.jwk_id);
    assert_int_equal(change.partition, created.partition);
    assert_true(change.sequence > created.sequence);
    assert_true(change.outbox_id > created.outbox_id);
    struct event event = event_of(&change);
    assert_int_equal(event.operation, EVENT_UPDATE);
    assert_string_equal(event.name, "my-jwk");
    assert_string_equal(event.description, "first");
    assert_string_equal(event.public_key, PUBLIC_KEY);
    event_free(&event);
    store_change_clear(&change);
    fixture_update(fixture, "my-jwk", "renamed", NULL, &change);
    event = event_of(&change);
    assert_string_equal(event.name, "renamed");
    assert_string_equal(event.description, "first");
    assert_int_equal(event.version, 3);
    event_free(&event);
    assert_string_equal(change.outgoing->subject, "projects/my-project/jwks/renamed");
    assert_string_equal(change.outgoing->event_type, EVENT_TYPE_UPDATED);
    store_change_clear(&change);
    SUCCEEDS(store_find_whole_jwk(fixture->store, fixture->project.id, "renamed", &jwk, &error));
    SUCCEEDS(store_open_jwk(&jwk, &error));
    assert_string_equal(jwk.uid, created.jwk_id);
    assert_string_equal(jwk.private_key, PRIVATE_KEY);
    store_jwk_free(&jwk);
    FAILS(store_find_jwk(fixture->store, fixture->project.id, "my-jwk", &jwk, &error), ERROR_NOT_FOUND, "JWK (name: my-jwk) is not found!");
    store_change_clear(&created);
}

static void an_empty_description_is_a_value(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    store_change_clear(&change);
    fixture_update(fixture, "my-jwk", NULL, "text", &change);
    store_change_clear(&change);
    fixture_update(fixture, "my-jwk", NULL, "", &change);
    struct event event = event_of(&change);
    assert_string_equal(event.description, "");
    event_free(&event);
    store_change_clear(&change);
}

static void update_to_its_own_name_is_no_conflict(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    store_change_clear(&change);
    fixture_update(fixture, "my-jwk", "my-jwk", NULL, &change);
    assert_int_equal(change.version, 2);
    store_change_clear(&change);
}

static void update_refuses_with_the_sentences_of_its_page(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    store_change_clear(&change);
    fixture_create(fixture, "updated-jwk", &change);
    store_change_clear(&change);
    SUCCEEDS(store_begin(fixture->store, &error));
    FAILS(store_update_jwk(fixture->store, &fixture->author, "nothing", "updated-jwk", NULL, &change, &error), ERROR_NOT_FOUND,
          "JWK (name: nothing) is not found! Try create operation.");
    FAILS(store_update_jwk(fixture->store, &fixture->author, "my-jwk", "updated-jwk", NULL, &change, &error), ERROR_CONFLICT,
          "JWK (name: updated-jwk) is already exist!");
    store_rollback(fixture->store);
}

static void update_detaches_from_the_source(void **state) {
    struct store_fixture *fixture = *state;
    static const struct {
        const char *before, *after;
    } cases[] = {{"URL", "COPY_PASTE"}, {"CERTIFICATE", "COPY_PASTE"}, {"KEYSTORE", "COPY_PASTE"}, {"GENERATE", "GENERATE"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store_new_jwk new_jwk = fixture_new_jwk(cases[i].before);
        struct store_change change;
        struct store_jwk jwk;
        new_jwk.source_type = cases[i].before;
        new_jwk.source_url = "https://example.com/jwks.json";
        new_jwk.source_id = fixture->project.uid;
        SUCCEEDS(store_begin(fixture->store, &error));
        SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &new_jwk, &change, &error));
        SUCCEEDS(store_commit(fixture->store, &error));
        store_change_clear(&change);
        fixture_update(fixture, cases[i].before, NULL, "text", &change);
        store_change_clear(&change);
        SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, cases[i].before, &jwk, &error));
        assert_string_equal(jwk.source_type, cases[i].after);
        assert_null(jwk.source_id);
        assert_null(jwk.source_url);
        store_jwk_free(&jwk);
    }
}

/* A becomes B after B became C, in one transaction. */
static void names_can_be_passed_on(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    struct store_jwk jwk;
    fixture_create(fixture, "a", &change);
    char first[UUID_SIZE];
    memcpy(first, change.jwk_id, sizeof first);
    store_change_clear(&change);
    fixture_create(fixture, "b", &change);
    store_change_clear(&change);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_update_jwk(fixture->store, &fixture->author, "b", "c", NULL, &change, &error));
    store_change_clear(&change);
    SUCCEEDS(store_update_jwk(fixture->store, &fixture->author, "a", "b", NULL, &change, &error));
    store_change_clear(&change);
    SUCCEEDS(store_commit(fixture->store, &error));
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "b", &jwk, &error));
    assert_string_equal(jwk.uid, first);
    store_jwk_free(&jwk);
}

static void delete_leaves_an_event_without_a_key_and_frees_the_name(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change created, change;
    struct store_jwk jwk;
    fixture_create(fixture, "my-jwk", &created);
    fixture_delete(fixture, "my-jwk", &change);
    struct event event = event_of(&change);
    assert_int_equal(event.operation, EVENT_DELETE);
    assert_int_equal(event.version, 2);
    assert_null(event.public_key);
    event_free(&event);
    assert_string_equal(change.outgoing->event_type, EVENT_TYPE_DELETED);
    store_change_clear(&change);
    assert_int_equal(fixture_number(fixture, "SELECT count(*) FROM jwk_material"), 0); /* nor is anything private left */
    FAILS(store_find_jwk(fixture->store, fixture->project.id, "my-jwk", &jwk, &error), ERROR_NOT_FOUND, "JWK (name: my-jwk) is not found!");
    SUCCEEDS(store_begin(fixture->store, &error));
    FAILS(store_delete_jwk(fixture->store, &fixture->author, "my-jwk", &change, &error), ERROR_NOT_FOUND,
          "JWK (name: my-jwk) is not found!");
    store_rollback(fixture->store);
    fixture_create(fixture, "my-jwk", &change);
    assert_string_not_equal(change.jwk_id, created.jwk_id);
    store_change_clear(&change);
    store_change_clear(&created);
}

static void append_name(void *context, const struct store_jwk *jwk) {
    assert_null(jwk->public_key);
    assert_null(jwk->private_key);
    text_add_format(context, "%s,", jwk->name);
}

static void a_list_is_in_the_order_of_names_and_in_pages(void **state) {
    struct store_fixture *fixture = *state;
    static const char *const names[] = {"c", "a", "d", "b"};
    struct text list = TEXT_EMPTY;
    struct store_change change;
    for (size_t i = 0; i < 4; i++) {
        fixture_create(fixture, names[i], &change);
        store_change_clear(&change);
    }
    fixture_delete(fixture, "d", &change);
    store_change_clear(&change);
    SUCCEEDS(store_each_jwk(fixture->store, fixture->project.id, "", 2, append_name, &list, &error));
    assert_string_equal(list.bytes, "a,b,");
    text_reset(&list);
    SUCCEEDS(store_each_jwk(fixture->store, fixture->project.id, "b", 2, append_name, &list, &error));
    assert_string_equal(list.bytes, "c,");
    text_free(&list);
}

static void jwks_are_spread_over_the_partitions_and_stay_there(void **state) {
    struct store_fixture *fixture = *state;
    bool used[4] = {false};
    for (int i = 0; i < 64; i++) {
        char name[16];
        struct store_change created, change;
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_create(fixture, name, &created);
        assert_in_range(created.partition, 0, 3);
        used[created.partition] = true;
        fixture_update(fixture, name, NULL, "text", &change);
        assert_int_equal(change.partition, created.partition);
        store_change_clear(&created);
        store_change_clear(&change);
    }
    assert_true(used[0] && used[1] && used[2] && used[3]);
}

/* librdkafka would refuse it, and all that is behind it in the outbox would wait for ever. */
static void a_jwk_that_does_not_fit_an_event_is_refused(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    char *large = memory_new(EVENT_KEY_MAX + 2);
    struct store_new_jwk jwk = fixture_new_jwk("large");
    memset(large, 'x', EVENT_KEY_MAX + 1);
    jwk.public_key = large;
    SUCCEEDS(store_begin(fixture->store, &error));
    FAILS(store_create_jwk(fixture->store, &fixture->author, &jwk, &change, &error), ERROR_INVALID,
          "JWK (name: large) is too large: its public part can have 900000 bytes!");
    assert_null(change.outgoing);
    store_rollback(fixture->store);
    large[EVENT_KEY_MAX] = '\0';
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &jwk, &change, &error));
    store_change_clear(&change);
    store_rollback(fixture->store);
    free(large);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_STORE(create_records_jwk_deployment_and_event),
        WITH_STORE(no_event_holds_a_private_half),
        WITH_STORE(a_taken_name_is_refused_by_create),
        WITH_STORE(the_same_name_is_free_in_another_project),
        WITH_STORE(update_changes_what_is_given_and_nothing_else),
        WITH_STORE(an_empty_description_is_a_value),
        WITH_STORE(update_to_its_own_name_is_no_conflict),
        WITH_STORE(update_refuses_with_the_sentences_of_its_page),
        WITH_STORE(update_detaches_from_the_source),
        WITH_STORE(names_can_be_passed_on),
        WITH_STORE(delete_leaves_an_event_without_a_key_and_frees_the_name),
        WITH_STORE(a_list_is_in_the_order_of_names_and_in_pages),
        WITH_STORE(jwks_are_spread_over_the_partitions_and_stay_there),
        WITH_STORE(a_jwk_that_does_not_fit_an_event_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
