/* The keys that events are signed with, in the store: made when needed, followed by another, exported with their ends. */
#include "store_fixture.h"

#include "api/store_republish.h"
#include "api/store_signing.h"
#include "common/clock.h"
#include "common/credentials.h"

static const char *const environments[] = {"production"};

static int open_store(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 1, environments);
    *state = fixture;
    SUCCEEDS(store_begin(fixture->store, &error));
    return 0;
}

static int close_store(void **state) {
    struct store_fixture *fixture = *state;
    store_rollback(fixture->store);
    fixture_close(fixture);
    free(fixture);
    return 0;
}

static void active_kid(struct store *store, char kid[SHA256_TEXT_SIZE]) {
    struct signer *signer;
    SUCCEEDS(store_load_other_signer(store, NULL, &signer, &error));
    assert_non_null(signer);
    snprintf(kid, SHA256_TEXT_SIZE, "%s", signer_kid(signer));
    signer_free(signer);
}

static void the_first_key_is_made_once(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    struct signer *signer;
    char first[SHA256_TEXT_SIZE], again[SHA256_TEXT_SIZE];
    FAILS(store_load_other_signer(store, NULL, &signer, &error), ERROR_NOT_FOUND, "There is no signing key");
    SUCCEEDS(store_ensure_signing_key(store, &error));
    active_kid(store, first);
    SUCCEEDS(store_ensure_signing_key(store, &error));
    active_kid(store, again);
    assert_string_equal(first, again);
    SUCCEEDS(store_load_other_signer(store, first, &signer, &error));
    assert_null(signer); /* it is known already */
    SUCCEEDS(store_load_other_signer(store, "another", &signer, &error));
    assert_non_null(signer);
    signer_free(signer);
}

/* Parses the export, which must be what workers take, and returns how many keys it has. */
static size_t export(struct store *store, bool all, int64_t now, struct jwk *keys[CREDENTIAL_KEYS_MAX]) {
    struct text set = TEXT_EMPTY;
    size_t count;
    SUCCEEDS(store_export_signing_keys(store, all, now, &set, &error));
    SUCCEEDS(api_keys_parse(set.bytes, set.length, keys, &count, &error));
    text_free(&set);
    return count;
}

static void free_keys(struct jwk *keys[], size_t count) {
    for (size_t i = 0; i < count; i++)
        jwk_free(keys[i]);
}

static void the_next_key_takes_the_place_of_the_active_one(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    struct jwk *keys[CREDENTIAL_KEYS_MAX];
    char first[SHA256_TEXT_SIZE], second[SHA256_TEXT_SIZE], active[SHA256_TEXT_SIZE];
    SUCCEEDS(store_ensure_signing_key(store, &error));
    active_kid(store, first);
    SUCCEEDS(store_add_signing_key(store, second, &error));
    active_kid(store, active);
    assert_string_equal(active, first);
    size_t count = export(store, false, 0, keys);
    assert_int_equal(count, 2); /* both are to be known before anything is signed with the second */
    assert_int_equal(jwk_expires(keys[0]), INT64_MAX);
    free_keys(keys, count);

    SUCCEEDS(store_activate_signing_key(store, second, 3600 * 1000, &error));
    active_kid(store, active);
    assert_string_equal(active, second);
    struct error reason;
    assert_int_equal(store_republish_is_due(store, &reason), 1);
    count = export(store, false, 0, keys);
    assert_int_equal(count, 2);
    assert_string_equal(jwk_kid(keys[0]), first);
    assert_true(jwk_expires(keys[0]) < INT64_MAX);
    assert_int_equal(jwk_expires(keys[1]), INT64_MAX);
    int64_t end = jwk_expires(keys[0]) * 1000;
    free_keys(keys, count);
    count = export(store, false, end + 1000, keys);
    assert_int_equal(count, 1); /* its time is over … */
    assert_string_equal(jwk_kid(keys[0]), second);
    free_keys(keys, count);
    count = export(store, true, end + 1000, keys);
    assert_int_equal(count, 2); /* … but what it signed can still be judged */
    free_keys(keys, count);
}

static void only_a_key_that_waits_is_activated(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    char first[SHA256_TEXT_SIZE], second[SHA256_TEXT_SIZE], sentence[256];
    SUCCEEDS(store_ensure_signing_key(store, &error));
    active_kid(store, first);
    FAILS(store_activate_signing_key(store, "none", 0, &error), ERROR_NOT_FOUND, "Signing key (kid: none) is not found!");
    snprintf(sentence, sizeof sentence, "Signing key (kid: %s) is active already!", first);
    FAILS(store_activate_signing_key(store, first, 0, &error), ERROR_CONFLICT, sentence);
    SUCCEEDS(store_add_signing_key(store, second, &error));
    SUCCEEDS(store_activate_signing_key(store, second, 0, &error));
    snprintf(sentence, sizeof sentence, "Signing key (kid: %s) was replaced and has no private half any more! Add another one.",
             first);
    FAILS(store_activate_signing_key(store, first, 0, &error), ERROR_CONFLICT, sentence);
    for (int i = 0; i < SIGNING_KEYS_WAITING_MAX; i++)
        SUCCEEDS(store_add_signing_key(store, second, &error));
    FAILS(store_add_signing_key(store, second, &error), ERROR_CONFLICT, "4 signing keys wait to be activated already!");
}

static void no_more_keys_are_accepted_at_once_than_a_worker_takes(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    struct jwk *keys[CREDENTIAL_KEYS_MAX];
    char kid[SHA256_TEXT_SIZE];
    SUCCEEDS(store_ensure_signing_key(store, &error));
    SUCCEEDS(store_add_signing_key(store, kid, &error));
    SUCCEEDS(store_activate_signing_key(store, kid, 0, &error)); /* one that counts no more */
    for (int i = 1; i < CREDENTIAL_KEYS_MAX; i++) {
        SUCCEEDS(store_add_signing_key(store, kid, &error));
        SUCCEEDS(store_activate_signing_key(store, kid, 3600 * 1000, &error));
    }
    struct error error = {0};
    assert_int_equal(store_add_signing_key(store, kid, &error), -1);
    assert_int_equal(error.code, ERROR_CONFLICT);
    assert_non_null(strstr(error.message, "16 signing keys are accepted"));
    size_t count = export(store, false, clock_wall_ms(), keys);
    assert_int_equal(count, CREDENTIAL_KEYS_MAX);
    free_keys(keys, count);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_key_is_made_once, open_store, close_store),
        cmocka_unit_test_setup_teardown(the_next_key_takes_the_place_of_the_active_one, open_store, close_store),
        cmocka_unit_test_setup_teardown(only_a_key_that_waits_is_activated, open_store, close_store),
        cmocka_unit_test_setup_teardown(no_more_keys_are_accepted_at_once_than_a_worker_takes, open_store, close_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
