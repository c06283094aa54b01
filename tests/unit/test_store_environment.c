/* Keys of environments in the store: what changes with them, what is sealed for them, and what is deployed again. */
#include "store_fixture.h"

#include "api/store_republish.h"
#include "api/store_sql.h"
#include "common/credentials.h"
#include "common/jwe.h"

static const char *const environments[] = {"production"};

#define OTHER_PRIVATE_KEY "{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}"

/* One environment's keys, whole and public. */
struct keying {
    struct text credentials, public_keys;
    struct credentials parsed;
};

static void make_keys(const char *environment, struct keying *keying) {
    *keying = (struct keying){0};
    credentials_generate(environment, "{\"keys\":[]}", &keying->credentials, &keying->public_keys);
    /* Without a key of the API they would not be whole; what is tested here needs none. */
    cJSON *tree = cJSON_Parse(keying->credentials.bytes);
    cJSON_DeleteItemFromObjectCaseSensitive(tree, "apiKeys");
    char *text = cJSON_PrintUnformatted(tree);
    SUCCEEDS(credentials_parse(text, strlen(text), &keying->parsed, &error));
    cJSON_free(text);
    cJSON_Delete(tree);
}

static void free_keys(struct keying *keying) {
    credentials_clear(&keying->parsed);
    text_wipe(&keying->credentials);
    text_free(&keying->public_keys);
}

static int open_store(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 1, environments);
    *state = fixture;
    return 0;
}

static int close_store(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

/* What administration does with a connection of its own. */
static void administer(struct store_fixture *fixture, const char *name, const char *keys,
                       int (*change)(struct store *store, const char *name, const char *keys, struct error *error)) {
    struct store *store = fixture_connect(fixture, STORE_WRITE);
    SUCCEEDS(store_begin(store, &error));
    SUCCEEDS(change(store, name, keys, &error));
    SUCCEEDS(store_commit(store, &error));
    store_close(store);
}

static int remove_it(struct store *store, const char *name, const char *keys, struct error *error) {
    (void)keys;
    return store_remove_environment(store, name, error);
}

static struct store_environments *list_of(struct store_fixture *fixture) {
    struct store_environments *list;
    SUCCEEDS(store_environments(fixture->store, &list, &error));
    return list;
}

static bool is_due(struct store_fixture *fixture) {
    struct error reason;
    int due = store_republish_is_due(fixture->store, &reason);
    assert_true(due >= 0);
    return due;
}

/* ---- the list ---- */

static void keys_come_and_go_with_a_generation(void **state) {
    struct store_fixture *fixture = *state;
    struct keying staging, other;
    make_keys("staging", &staging);
    make_keys("staging", &other);
    struct store_environments *lists[4] = {list_of(fixture)};
    assert_int_equal(lists[0]->recipient_count, 0);
    assert_false(lists[0]->items[0].has_keys);
    administer(fixture, "staging", staging.public_keys.bytes, store_add_environment);
    lists[1] = list_of(fixture);
    assert_int_equal(lists[1]->generation, lists[0]->generation + 1);
    assert_int_equal(lists[1]->recipient_count, 1);
    assert_string_equal(lists[1]->recipients[0].kid, staging.parsed.keys.encryption[0].kid);
    assert_true(lists[1]->items[1].has_keys);
    assert_int_equal(lists[1]->items[1].keys.signature_count, 1);
    administer(fixture, "staging", other.public_keys.bytes, store_rekey_environment);
    lists[2] = list_of(fixture);
    assert_int_equal(lists[2]->generation, lists[0]->generation + 2);
    assert_string_equal(lists[2]->recipients[0].kid, other.parsed.keys.encryption[0].kid);
    assert_string_equal(lists[1]->recipients[0].kid, staging.parsed.keys.encryption[0].kid); /* what is shared stays */
    administer(fixture, "staging", NULL, remove_it);
    lists[3] = list_of(fixture);
    assert_int_equal(lists[3]->generation, lists[0]->generation + 3);
    assert_int_equal(lists[3]->recipient_count, 0);
    for (size_t i = 0; i < 4; i++)
        store_environments_release(lists[i]);
    free_keys(&staging);
    free_keys(&other);
}

static void a_commit_that_leaves_the_environments_alone_leaves_their_list(void **state) {
    struct store_fixture *fixture = *state;
    struct store_environments *before = list_of(fixture);
    struct store *other = fixture_connect(fixture, STORE_WRITE);
    SUCCEEDS(store_add_project(other, "another", &error));
    store_close(other);
    struct store_environments *after = list_of(fixture);
    assert_ptr_equal(before, after);
    store_environments_release(before);
    store_environments_release(after);
}

static void one_of_the_list_shares_its_keys(void **state) {
    struct store_fixture *fixture = *state;
    struct keying staging;
    make_keys("staging", &staging);
    administer(fixture, "staging", staging.public_keys.bytes, store_add_environment);
    struct store_environments *whole = list_of(fixture), *one = store_environments_one(whole, "staging");
    assert_null(store_environments_one(whole, "none"));
    store_environments_release(whole);
    assert_int_equal(one->count, 1);
    assert_ptr_equal(one->items[0].keys.encryption[0].key, one->whole->items[1].keys.encryption[0].key);
    store_environments_release(one);
    free_keys(&staging);
}

static void there_are_no_more_environments_with_keys_than_a_jwe_has_recipients(void **state) {
    struct store_fixture *fixture = *state;
    struct keying keying;
    char name[32];
    make_keys("any", &keying);
    SUCCEEDS(store_begin(fixture->store, &error));
    for (int i = 0; i < JWE_RECIPIENTS_MAX; i++) {
        snprintf(name, sizeof name, "environment-%d", i);
        SUCCEEDS(store_add_environment(fixture->store, name, keying.public_keys.bytes, &error));
    }
    FAILS(store_add_environment(fixture->store, "more", keying.public_keys.bytes, &error), ERROR_CONFLICT,
          "There can be 256 environments with keys!");
    store_rollback(fixture->store);
    free_keys(&keying);
}

/* ---- what is deployed again ---- */

static void ignore(void *context, struct store_change *change) {
    ++*(int *)context;
    store_change_clear(change);
}

/* Publishes the next JWKs again; how many. */
static int publish_next(struct store_fixture *fixture, int limit, bool *left) {
    int count = 0;
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_republish_next(fixture->store, limit, ignore, &count, left, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    return count;
}

static void finish_republishing(struct store_fixture *fixture) {
    for (bool left = true; left;)
        publish_next(fixture, 1000, &left);
    assert_false(is_due(fixture));
}

static void create_some(struct store_fixture *fixture, int count) {
    for (int i = 0; i < count; i++) {
        char name[16];
        struct store_change change;
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_create(fixture, name, &change);
        store_change_clear(&change);
    }
}

static void what_begins_while_everything_is_deployed_again_starts_it_over(void **state) {
    struct store_fixture *fixture = *state;
    struct keying keying;
    bool left;
    make_keys("staging", &keying);
    finish_republishing(fixture);
    create_some(fixture, 5);
    administer(fixture, "a", NULL, store_add_environment);
    assert_true(is_due(fixture));
    assert_int_equal(publish_next(fixture, 2, &left), 2);
    assert_true(left);
    administer(fixture, "b", NULL, store_add_environment);
    assert_int_equal(publish_next(fixture, 100, &left), 5);
    assert_false(left);
    assert_false(is_due(fixture));
    administer(fixture, "staging", keying.public_keys.bytes, store_add_environment);
    assert_true(is_due(fixture));
    finish_republishing(fixture);
    administer(fixture, "staging", keying.public_keys.bytes, store_rekey_environment);
    assert_true(is_due(fixture));
    finish_republishing(fixture);
    administer(fixture, "staging", NULL, remove_it);
    assert_false(is_due(fixture)); /* those that stay have everything */
    free_keys(&keying);
}

static void positions_stay_true_when_environments_come(void **state) {
    struct store_fixture *fixture = *state;
    struct store_identity before, after;
    bool left;
    finish_republishing(fixture);
    create_some(fixture, 3);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_republish_begin(fixture->store, &error)); /* the topic was made again … */
    SUCCEEDS(store_commit(fixture->store, &error));
    publish_next(fixture, 100, &left);
    SUCCEEDS(store_read_identity(fixture->store, &before, &error));
    assert_true(before.republish_until > before.republish_from);
    administer(fixture, "a", NULL, store_add_environment);
    publish_next(fixture, 100, &left);
    SUCCEEDS(store_read_identity(fixture->store, &after, &error));
    assert_int_equal(after.republish_from, before.republish_from);
    assert_int_equal(after.republish_until, before.republish_until);
}

static void chunks_are_smaller_where_more_is_to_be_sealed(void **state) {
    struct store_fixture *fixture = *state;
    struct keying keying;
    bool left;
    make_keys("staging", &keying);
    create_some(fixture, 10);
    administer(fixture, "a", keying.public_keys.bytes, store_add_environment);
    administer(fixture, "b", keying.public_keys.bytes, store_add_environment);
    assert_int_equal(publish_next(fixture, 9, &left), 3);
    assert_int_equal(publish_next(fixture, 1, &left), 1);
    assert_true(left);
    free_keys(&keying);
}

/* ---- what is sealed ---- */

/* The member privateKey of an outgoing event; owned by the caller, NULL when there is none. */
static char *sealed_of(const struct store_change *change) {
    struct event event;
    SUCCEEDS(event_decode(change->outgoing->value, change->outgoing->value_length, &event, &error));
    char *sealed = memory_string(event.private_key);
    event_free(&event);
    return sealed;
}

/* Whether it opens with these keys to that JWK. */
static void expect_sealed(const struct store_change *change, const struct keying *keying, const char *jwk) {
    char *sealed = sealed_of(change);
    struct text opened = TEXT_EMPTY;
    assert_non_null(sealed);
    SUCCEEDS(jwe_open(keying->parsed.keys.encryption, keying->parsed.keys.encryption_count, sealed, strlen(sealed), change->jwk_id,
                      &opened, &error));
    assert_string_equal(opened.bytes, jwk);
    text_wipe(&opened);
    free(sealed);
}

static void the_private_half_is_sealed_once_for_as_long_as_nothing_changes(void **state) {
    struct store_fixture *fixture = *state;
    struct keying first, second;
    struct store_change created, renamed, resealed, renamed_again;
    make_keys("staging", &first);
    make_keys("staging", &second);
    administer(fixture, "staging", first.public_keys.bytes, store_add_environment);
    fixture_create(fixture, "one", &created);
    fixture_update(fixture, "one", "two", NULL, &renamed);
    expect_sealed(&created, &first, PRIVATE_KEY);
    char *sealed[4] = {sealed_of(&created), sealed_of(&renamed)};
    assert_string_equal(sealed[0], sealed[1]);
    administer(fixture, "staging", second.public_keys.bytes, store_rekey_environment);
    fixture_update(fixture, "two", "three", NULL, &resealed);
    fixture_update(fixture, "three", "four", NULL, &renamed_again);
    expect_sealed(&resealed, &second, PRIVATE_KEY);
    sealed[2] = sealed_of(&resealed);
    sealed[3] = sealed_of(&renamed_again);
    assert_string_not_equal(sealed[1], sealed[2]);
    assert_string_equal(sealed[2], sealed[3]);
    struct store_change *changes[] = {&created, &renamed, &resealed, &renamed_again};
    for (size_t i = 0; i < 4; i++) {
        free(sealed[i]);
        store_change_clear(changes[i]);
    }
    free_keys(&first);
    free_keys(&second);
}

static void rotate(struct store_fixture *fixture, const char *private_key, struct store_change *change) {
    const struct store_new_jwk jwk = {.type = private_key && strstr(private_key, "oct") ? "OCT" : "OKP",
                                      .source_type = "COPY_PASTE",
                                      .public_key = private_key && strstr(private_key, "oct") ? NULL : PUBLIC_KEY,
                                      .private_key = private_key};
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_rotate_jwk(fixture->store, &fixture->author, "one", &jwk, 0, change, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
}

static void another_key_leaves_nothing_of_the_one_before(void **state) {
    struct store_fixture *fixture = *state;
    struct keying keying;
    struct store_change change;
    make_keys("staging", &keying);
    administer(fixture, "staging", keying.public_keys.bytes, store_add_environment);
    fixture_create(fixture, "one", &change);
    store_change_clear(&change);
    rotate(fixture, OTHER_PRIVATE_KEY, &change);
    expect_sealed(&change, &keying, OTHER_PRIVATE_KEY);
    store_change_clear(&change);
    rotate(fixture, NULL, &change); /* public only */
    assert_null(sealed_of(&change));
    store_change_clear(&change);
    fixture_update(fixture, "one", "one", "text", &change);
    assert_null(sealed_of(&change));
    store_change_clear(&change);
    fixture_delete(fixture, "one", &change);
    assert_null(sealed_of(&change));
    store_change_clear(&change);
    free_keys(&keying);
}

/* An oct key whose text has that many bytes; owned by the caller. */
static char *large_key(size_t size) {
    struct text text = TEXT_EMPTY;
    text_add_string(&text, "{\"kty\":\"oct\",\"k\":\"");
    while (text.length < size - 2)
        text_add(&text, "A", 1);
    text_add_string(&text, "\"}");
    return text_take(&text);
}

static void a_key_that_is_too_large_to_be_sealed_is_refused_when_it_is_new_and_else_stays_here(void **state) {
    struct store_fixture *fixture = *state;
    struct keying keying;
    struct store_change change;
    char *large = large_key(JWE_PLAINTEXT_MAX + 1);
    struct store_new_jwk jwk = {.name = "large", .type = "OCT", .source_type = "COPY_PASTE", .private_key = large};
    make_keys("staging", &keying);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &jwk, &change, &error)); /* nobody to seal it for */
    SUCCEEDS(store_commit(fixture->store, &error));
    store_change_clear(&change);
    administer(fixture, "staging", keying.public_keys.bytes, store_add_environment);
    fixture_update(fixture, "large", "renamed", NULL, &change);
    assert_null(sealed_of(&change));
    store_change_clear(&change);
    struct error reason = {0};
    SUCCEEDS(store_begin(fixture->store, &error));
    assert_int_equal(store_create_jwk(fixture->store, &fixture->author, &jwk, &change, &reason), -1);
    assert_int_equal(reason.code, ERROR_INVALID);
    store_rollback(fixture->store);
    finish_republishing(fixture); /* one such key does not stop the others */
    free(large);
    free_keys(&keying);
}

static void a_secret_that_is_damaged_stays_deployed_as_it_was_and_does_not_stop_the_others(void **state) {
    struct store_fixture *fixture = *state;
    struct keying staging, third;
    struct store_change change;
    make_keys("staging", &staging);
    make_keys("third", &third);
    administer(fixture, "staging", staging.public_keys.bytes, store_add_environment);
    fixture_create(fixture, "one", &change);
    store_change_clear(&change);
    SUCCEEDS(store_execute(fixture->store,
                           "UPDATE jwk_material SET private_key = substr(private_key, 1, length(private_key) - 1)",
                           "damaging a secret", &error));
    administer(fixture, "third", third.public_keys.bytes, store_add_environment);
    fixture_create(fixture, "two", &change);
    store_change_clear(&change);
    finish_republishing(fixture);
    fixture_update(fixture, "one", "renamed", NULL, &change);
    expect_sealed(&change, &staging, PRIVATE_KEY);
    store_change_clear(&change);
    fixture_update(fixture, "two", "other", NULL, &change);
    expect_sealed(&change, &third, PRIVATE_KEY);
    store_change_clear(&change);
    free_keys(&staging);
    free_keys(&third);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_come_and_go_with_a_generation, open_store, close_store),
        cmocka_unit_test_setup_teardown(a_commit_that_leaves_the_environments_alone_leaves_their_list, open_store, close_store),
        cmocka_unit_test_setup_teardown(one_of_the_list_shares_its_keys, open_store, close_store),
        cmocka_unit_test_setup_teardown(there_are_no_more_environments_with_keys_than_a_jwe_has_recipients, open_store, close_store),
        cmocka_unit_test_setup_teardown(what_begins_while_everything_is_deployed_again_starts_it_over, open_store, close_store),
        cmocka_unit_test_setup_teardown(positions_stay_true_when_environments_come, open_store, close_store),
        cmocka_unit_test_setup_teardown(chunks_are_smaller_where_more_is_to_be_sealed, open_store, close_store),
        cmocka_unit_test_setup_teardown(the_private_half_is_sealed_once_for_as_long_as_nothing_changes, open_store, close_store),
        cmocka_unit_test_setup_teardown(another_key_leaves_nothing_of_the_one_before, open_store, close_store),
        cmocka_unit_test_setup_teardown(a_key_that_is_too_large_to_be_sealed_is_refused_when_it_is_new_and_else_stays_here, open_store,
                                        close_store),
        cmocka_unit_test_setup_teardown(a_secret_that_is_damaged_stays_deployed_as_it_was_and_does_not_stop_the_others, open_store,
                                        close_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
