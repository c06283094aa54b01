/* The keyring: what it seals opens in its place alone, and it finds the keys that it lacks. */
#include "store_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "common/clock.h"

/* Lines of master keys, and their ids. */
#define FIRST_LINE  MASTER_KEY_LINE
#define SECOND_LINE "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8\n"
#define THIRD_LINE  "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8\n"
#define FIRST_ID    "YYiv1eYn"
#define SECOND_ID   "3aM_ypJA"

#define COLUMN "jwk_material.private_key"
#define ROW    "0191b2d4-6f5e-7c3a-8b2d-1234567890ab"
#define SECRET "{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}"

struct keyring {
    struct store_fixture files; /* directory, master key file and keyring; no store */
    struct data_key key;        /* the first, in the ring */
};

static void add_key(struct sealing *sealing, uint32_t id, struct data_key *key) {
    SUCCEEDS(sealing_make(sealing, id, key, &error));
    SUCCEEDS(sealing_add(sealing, key, &error));
}

static int set_up(void **state) {
    struct keyring *keyring = memory_new(sizeof *keyring);
    directory_make(keyring->files.directory);
    fixture_make_sealing(&keyring->files, FIRST_LINE);
    add_key(keyring->files.sealing, 1, &keyring->key);
    *state = keyring;
    return 0;
}

static int tear_down(void **state) {
    struct keyring *keyring = *state;
    fixture_remove(&keyring->files);
    free(keyring);
    return 0;
}

/* Another keyring of the same file, as it is now; without data keys. */
static struct sealing *other_sealing(const struct keyring *keyring) {
    struct error error = {0};
    struct sealing *sealing = sealing_new(&(struct master_key_source){.file = keyring->files.master_key_file}, &error);
    if (!sealing)
        fail_msg("%s", error.message);
    return sealing;
}

static void write_master_keys(const struct keyring *keyring, const char *lines) {
    fixture_write_file(keyring->files.master_key_file, lines);
}

static void expect_master_key(struct sealing *sealing, const char *expected) {
    char id[MASTER_KEY_ID_SIZE];
    sealing_master_key(sealing, id);
    assert_string_equal(id, expected);
}

static struct text seal(struct sealing *sealing, uint32_t key, const void *bytes, size_t size) {
    struct text sealed = TEXT_EMPTY;
    SUCCEEDS(sealing_seal(sealing, key, COLUMN, ROW, bytes, size, &sealed, &error));
    return sealed;
}

static void expect_opens(struct sealing *sealing, const struct text *sealed, const void *bytes, size_t size) {
    struct text opened = TEXT_EMPTY;
    SUCCEEDS(sealing_open(sealing, COLUMN, ROW, sealed->bytes, sealed->length, &opened, &error));
    assert_int_equal(opened.length, size);
    assert_memory_equal(opened.bytes, bytes, size);
    text_wipe(&opened);
}

/* Nothing at all of it comes out. */
static void expect_stays_shut(struct sealing *sealing, const char *column, const char *row, const void *value, size_t size) {
    struct text opened = TEXT_EMPTY;
    FAILS(sealing_open(sealing, column, row, value, size, &opened, &error), ERROR_INTERNAL,
          "A secret of the store does not open");
    assert_int_equal(opened.length, 0);
    text_wipe(&opened);
}

/* ---- values ---- */

static void what_is_sealed_opens_and_shows_nothing(void **state) {
    struct keyring *keyring = *state;
    struct sealing *sealing = keyring->files.sealing;
    struct text sealed = seal(sealing, 1, SECRET, strlen(SECRET)), again = seal(sealing, 1, SECRET, strlen(SECRET));
    static const unsigned char head[] = {SEALED_MARK, 0, 0, 0, 1};
    assert_int_equal(sealed.length, strlen(SECRET) + SEALED_OVERHEAD);
    assert_memory_equal(sealed.bytes, head, sizeof head);
    assert_null(memmem(sealed.bytes, sealed.length, "secret", 6));
    assert_null(memmem(sealed.bytes, sealed.length, "kty", 3));
    /* Of one secret no two are alike: each has its own nonce. */
    assert_memory_not_equal(sealed.bytes + 5, again.bytes + 5, 12);
    assert_memory_not_equal(sealed.bytes + SEALED_HEAD_BYTES, again.bytes + SEALED_HEAD_BYTES, strlen(SECRET));
    expect_opens(sealing, &sealed, SECRET, strlen(SECRET));
    expect_opens(sealing, &again, SECRET, strlen(SECRET));
    text_wipe(&sealed);
    text_wipe(&again);
}

static void secrets_of_all_sizes_open(void **state) {
    struct keyring *keyring = *state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 255, 4096, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *bytes = memory_new(sizes[i] + 1);
        for (size_t j = 0; j < sizes[i]; j++)
            bytes[j] = (unsigned char)(j * 7 + i);
        struct text sealed = seal(keyring->files.sealing, 1, bytes, sizes[i]);
        assert_int_equal(sealing_key_of(sealed.bytes, sealed.length), 1);
        expect_opens(keyring->files.sealing, &sealed, bytes, sizes[i]);
        text_wipe(&sealed);
        free(bytes);
    }
}

static void sealing_and_opening_append(void **state) {
    struct keyring *keyring = *state;
    struct text sealed = TEXT_EMPTY, opened = TEXT_EMPTY;
    text_add_string(&sealed, "before");
    SUCCEEDS(sealing_seal(keyring->files.sealing, 1, COLUMN, ROW, SECRET, strlen(SECRET), &sealed, &error));
    assert_memory_equal(sealed.bytes, "before\1", 7);
    text_add_string(&opened, "it is ");
    SUCCEEDS(sealing_open(keyring->files.sealing, COLUMN, ROW, sealed.bytes + 6, sealed.length - 6, &opened, &error));
    assert_string_equal(opened.bytes, "it is " SECRET);
    text_wipe(&sealed);
    text_wipe(&opened);
}

static void a_value_that_was_moved_stays_shut(void **state) {
    struct keyring *keyring = *state;
    struct text sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    static const struct {
        const char *column, *row;
    } places[] = {
        {"signing_key.private_key", ROW},
        {COLUMN, "0191b2d4-6f5e-7c3a-8b2d-1234567890ac"},
        {COLUMN, ""},
        {COLUMN, ROW "/1"},
        {COLUMN ":", ROW},
        {"jwk_material.private_ke", "y:" ROW},
    };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        expect_stays_shut(keyring->files.sealing, places[i].column, places[i].row, sealed.bytes, sealed.length);
    expect_opens(keyring->files.sealing, &sealed, SECRET, strlen(SECRET));
    text_wipe(&sealed);
}

static void a_value_with_one_bit_changed_anywhere_stays_shut(void **state) {
    struct keyring *keyring = *state;
    struct data_key second;
    add_key(keyring->files.sealing, 3, &second); /* so that a changed id may name a key that is there */
    struct text sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    for (size_t i = 0; i < sealed.length; i++)
        for (int bit = 0; bit < 8; bit++) {
            sealed.bytes[i] = (char)(sealed.bytes[i] ^ 1 << bit);
            expect_stays_shut(keyring->files.sealing, COLUMN, ROW, sealed.bytes, sealed.length);
            sealed.bytes[i] = (char)(sealed.bytes[i] ^ 1 << bit);
        }
    expect_opens(keyring->files.sealing, &sealed, SECRET, strlen(SECRET));
    text_wipe(&sealed);
}

static void a_value_that_was_cut_or_has_grown_stays_shut(void **state) {
    struct keyring *keyring = *state;
    struct text sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    for (size_t length = 0; length < sealed.length; length++) {
        char *part = memory_bytes(sealed.bytes, length); /* a block of its own: reading behind it is seen */
        expect_stays_shut(keyring->files.sealing, COLUMN, ROW, part, length);
        free(part);
    }
    text_add(&sealed, "", 1);
    expect_stays_shut(keyring->files.sealing, COLUMN, ROW, sealed.bytes, sealed.length);
    expect_stays_shut(keyring->files.sealing, COLUMN, ROW, NULL, 0);
    text_wipe(&sealed);
}

static void clear_text_is_told_from_what_is_sealed(void **state) {
    (void)state;
    unsigned char sealed[SEALED_OVERHEAD] = {SEALED_MARK, 0x01, 0x82, 0x03, 0x84};
    assert_int_equal(sealing_key_of(sealed, sizeof sealed), 0x01820384);
    assert_int_equal(sealing_key_of(sealed, sizeof sealed - 1), 0);
    assert_int_equal(sealing_key_of(NULL, 0), 0);
    sealed[0] = '{';
    assert_int_equal(sealing_key_of(sealed, sizeof sealed), 0);
    sealed[0] = 2;
    assert_int_equal(sealing_key_of(sealed, sizeof sealed), 0);
}

static void what_there_is_no_key_or_no_place_for_is_not_sealed(void **state) {
    struct keyring *keyring = *state;
    struct text sealed = TEXT_EMPTY;
    char row[512];
    memset(row, 'r', sizeof row - 1);
    row[sizeof row - 1] = '\0';
    FAILS(sealing_seal(keyring->files.sealing, 2, COLUMN, ROW, SECRET, strlen(SECRET), &sealed, &error), ERROR_INTERNAL,
          "A secret can not be sealed");
    FAILS(sealing_seal(keyring->files.sealing, 0, COLUMN, ROW, SECRET, strlen(SECRET), &sealed, &error), ERROR_INTERNAL,
          "A secret can not be sealed");
    /* A place that was cut short would be that of other rows too. */
    FAILS(sealing_seal(keyring->files.sealing, 1, COLUMN, row, SECRET, strlen(SECRET), &sealed, &error), ERROR_INTERNAL,
          "A secret can not be sealed");
    assert_int_equal(sealed.length, 0);
    text_free(&sealed);
    sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    expect_stays_shut(keyring->files.sealing, COLUMN, row, sealed.bytes, sealed.length);
    text_wipe(&sealed);
}

static void the_longest_place_of_the_store_fits(void **state) {
    struct keyring *keyring = *state;
    struct text sealed = TEXT_EMPTY, opened = TEXT_EMPTY;
    static const char row[] = ROW "/9223372036854775807";
    SUCCEEDS(sealing_seal(keyring->files.sealing, 1, "source_material.private_material", row, SECRET, strlen(SECRET), &sealed,
                          &error));
    SUCCEEDS(sealing_open(keyring->files.sealing, "source_material.private_material", row, sealed.bytes, sealed.length, &opened,
                          &error));
    assert_string_equal(opened.bytes, SECRET);
    text_wipe(&opened);
    text_wipe(&sealed);
}

/* ---- data keys ---- */

static void the_ring_finds_keys_in_whatever_order_they_came(void **state) {
    struct keyring *keyring = *state;
    struct sealing *sealing = keyring->files.sealing, *other;
    static const uint32_t ids[] = {40, 7, 0xffffffff, 9, 2, 41, 8, 0x80000000, 3};
    enum { COUNT = sizeof ids / sizeof *ids };
    struct data_key keys[COUNT];
    struct text sealed[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        assert_false(sealing_has(sealing, ids[i]));
        SUCCEEDS(sealing_make(sealing, ids[i], &keys[i], &error));
        assert_false(sealing_has(sealing, ids[i])); /* not before it is added */
        SUCCEEDS(sealing_add(sealing, &keys[i], &error));
        for (size_t j = 0; j <= i; j++)
            assert_true(sealing_has(sealing, ids[j]));
        sealed[i] = seal(sealing, ids[i], SECRET, strlen(SECRET));
        assert_int_equal(sealing_key_of(sealed[i].bytes, sealed[i].length), ids[i]);
    }
    other = other_sealing(keyring);
    for (size_t i = COUNT; i-- > 0;) {
        expect_stays_shut(other, COLUMN, ROW, sealed[i].bytes, sealed[i].length); /* unknown so far */
        SUCCEEDS(sealing_add(other, &keys[i], &error));
        SUCCEEDS(sealing_add(other, &keys[i], &error)); /* once more changes nothing */
        expect_opens(other, &sealed[i], SECRET, strlen(SECRET));
        expect_opens(sealing, &sealed[i], SECRET, strlen(SECRET));
        text_wipe(&sealed[i]);
    }
    assert_false(sealing_has(other, 1));
    assert_false(sealing_has(other, 0));
    sealing_free(other);
}

static void a_data_key_shows_nothing_and_is_another_each_time(void **state) {
    struct keyring *keyring = *state;
    struct data_key again;
    SUCCEEDS(sealing_make(keyring->files.sealing, 1, &again, &error));
    assert_string_equal(again.master_key, FIRST_ID);
    assert_memory_not_equal(again.sealed, keyring->key.sealed, 12);
    assert_memory_not_equal(again.sealed + 12, keyring->key.sealed + 12, DATA_KEY_BYTES);
    /* What one has sealed the other of the same number does not open. */
    struct sealing *other = other_sealing(keyring);
    SUCCEEDS(sealing_add(other, &again, &error));
    struct text sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    expect_stays_shut(other, COLUMN, ROW, sealed.bytes, sealed.length);
    text_wipe(&sealed);
    sealing_free(other);
}

static void a_data_key_that_was_changed_or_renumbered_does_not_open(void **state) {
    struct keyring *keyring = *state;
    struct sealing *other = other_sealing(keyring);
    struct data_key key = keyring->key;
    for (size_t i = 0; i < sizeof key.sealed; i++) {
        key.sealed[i] ^= 1;
        FAILS(sealing_add(other, &key, &error), ERROR_INVALID,
              "The store's data key 1 does not open with the master key " FIRST_ID ": it is damaged; put back a backup");
        key.sealed[i] ^= 1;
    }
    assert_false(sealing_has(other, 1));
    key.id = 2;
    FAILS(sealing_add(other, &key, &error), ERROR_INVALID,
          "The store's data key 2 does not open with the master key " FIRST_ID ": it is damaged; put back a backup");
    key.id = 1;
    SUCCEEDS(sealing_add(other, &key, &error));
    sealing_free(other);
}

/* ---- master keys ---- */

static void expect_wanted(struct sealing *sealing, const struct keyring *keyring, const struct data_key *key) {
    char *sentence =
        memory_format("The store's keys are sealed under the master key %s, which is not in master key file %s: add its "
                      "line below the first, or put back the right one",
                      key->master_key, keyring->files.master_key_file);
    FAILS(sealing_add(sealing, key, &error), ERROR_INVALID, sentence);
    assert_false(sealing_has(sealing, key->id));
    free(sentence);
}

static void the_wrong_master_key_opens_nothing_and_the_right_one_is_named(void **state) {
    struct keyring *keyring = *state;
    write_master_keys(keyring, SECOND_LINE);
    struct sealing *other = other_sealing(keyring);
    expect_master_key(other, SECOND_ID);
    expect_wanted(other, keyring, &keyring->key);
    /* Nor does one that only bears its name. */
    struct data_key renamed = keyring->key;
    strcpy(renamed.master_key, SECOND_ID);
    FAILS(sealing_add(other, &renamed, &error), ERROR_INVALID,
          "The store's data key 1 does not open with the master key " SECOND_ID ": it is damaged; put back a backup");
    sealing_free(other);
}

static void the_first_master_key_seals_and_all_of_them_open(void **state) {
    struct keyring *keyring = *state;
    struct data_key second;
    write_master_keys(keyring, THIRD_LINE SECOND_LINE "# the oldest\n" FIRST_LINE);
    struct sealing *other = other_sealing(keyring);
    SUCCEEDS(sealing_add(other, &keyring->key, &error));
    SUCCEEDS(sealing_make(other, 2, &second, &error));
    assert_string_not_equal(second.master_key, FIRST_ID);
    assert_string_not_equal(second.master_key, SECOND_ID);
    struct text sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    expect_opens(other, &sealed, SECRET, strlen(SECRET));
    text_wipe(&sealed);
    sealing_free(other);
}

static void without_master_keys_there_is_no_keyring(void **state) {
    struct keyring *keyring = *state;
    struct error error = {0};
    assert_null(sealing_new(&(struct master_key_source){.file = "/nowhere/master-key"}, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    write_master_keys(keyring, "# none\n");
    assert_null(sealing_new(&(struct master_key_source){.file = keyring->files.master_key_file}, &error));
    assert_non_null(strstr(error.message, "holds no key"));
    sealing_free(NULL);
}

static void a_missing_master_key_is_looked_for_in_the_source_again(void **state) {
    struct keyring *keyring = *state;
    struct data_key second;
    write_master_keys(keyring, SECOND_LINE FIRST_LINE);
    struct sealing *other = other_sealing(keyring);
    add_key(other, 2, &second);
    assert_string_equal(second.master_key, SECOND_ID);
    expect_master_key(keyring->files.sealing, FIRST_ID); /* as it has read them */
    SUCCEEDS(sealing_add(keyring->files.sealing, &second, &error));
    expect_master_key(keyring->files.sealing, SECOND_ID);
    struct text sealed = seal(other, 2, SECRET, strlen(SECRET));
    expect_opens(keyring->files.sealing, &sealed, SECRET, strlen(SECRET));
    text_wipe(&sealed);
    sealing_free(other);
}

/* Waits by the clock that the pause is told by: there is nothing else to wait on. */
static void sleep_ms(int64_t ms) {
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

static void after_a_look_in_vain_there_is_a_pause(void **state) {
    struct keyring *keyring = *state;
    struct data_key second;
    struct error error = {0};
    write_master_keys(keyring, SECOND_LINE);
    struct sealing *other = other_sealing(keyring);
    add_key(other, 2, &second);
    write_master_keys(keyring, FIRST_LINE);
    int64_t before = clock_monotonic_ms();
    expect_wanted(keyring->files.sealing, keyring, &second);
    /* It is there now, and not looked at: neither is a program run for each call that misses a key. */
    write_master_keys(keyring, SECOND_LINE FIRST_LINE);
    int status = sealing_add(keyring->files.sealing, &second, &error);
    if (clock_monotonic_ms() - before < 1000) /* else this machine was so slow that the pause is over */
        assert_int_equal(status, -1);
    while (status != 0 && clock_monotonic_ms() - before < 60000) {
        sleep_ms(50);
        status = sealing_add(keyring->files.sealing, &second, &error);
    }
    assert_int_equal(status, 0);
    sealing_free(other);
}

static void reading_again_takes_what_is_first_then_and_a_failure_takes_nothing(void **state) {
    struct keyring *keyring = *state;
    struct sealing *sealing = keyring->files.sealing;
    struct data_key key;
    write_master_keys(keyring, SECOND_LINE FIRST_LINE);
    sealing_reread(sealing);
    expect_master_key(sealing, SECOND_ID);
    write_master_keys(keyring, "no key\n");
    sealing_reread(sealing);
    expect_master_key(sealing, SECOND_ID);
    unlink(keyring->files.master_key_file);
    sealing_reread(sealing);
    expect_master_key(sealing, SECOND_ID);
    add_key(sealing, 2, &key);
    assert_string_equal(key.master_key, SECOND_ID);
}

/* ---- many threads ---- */

enum { THREADS = 4, ROUNDS = 60 };

struct worker {
    struct sealing *sealing;
    uint32_t first; /* id of its keys: first, first + THREADS, … */
    const struct text *sealed;
    pthread_t thread;
    int failures;
};

/* Adds keys, which moves those of the others within the ring, while it seals, opens and reads master keys. */
static void *work(void *context) {
    struct worker *worker = context;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        uint32_t id = worker->first + i * THREADS;
        struct data_key key;
        struct error error;
        struct text sealed = TEXT_EMPTY, opened = TEXT_EMPTY, old = TEXT_EMPTY;
        char master_key[MASTER_KEY_ID_SIZE];
        if (i % 8 == 0)
            sealing_reread(worker->sealing);
        sealing_master_key(worker->sealing, master_key);
        if (sealing_make(worker->sealing, id, &key, &error) || sealing_add(worker->sealing, &key, &error) ||
            !sealing_has(worker->sealing, id) || strcmp(master_key, FIRST_ID) != 0 ||
            sealing_seal(worker->sealing, id, COLUMN, ROW, SECRET, strlen(SECRET), &sealed, &error) ||
            sealing_open(worker->sealing, COLUMN, ROW, sealed.bytes, sealed.length, &opened, &error) ||
            sealing_open(worker->sealing, COLUMN, ROW, worker->sealed->bytes, worker->sealed->length, &old, &error) ||
            strcmp(opened.bytes, SECRET) != 0 || strcmp(old.bytes, SECRET) != 0)
            worker->failures++;
        text_wipe(&sealed);
        text_wipe(&opened);
        text_wipe(&old);
    }
    return NULL;
}

static void one_keyring_serves_many_threads(void **state) {
    struct keyring *keyring = *state;
    struct text sealed = seal(keyring->files.sealing, 1, SECRET, strlen(SECRET));
    struct worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.sealing = keyring->files.sealing, .first = 2 + i, .sealed = &sealed};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].failures, 0);
    }
    for (uint32_t id = 1; id < 2 + THREADS * ROUNDS; id++)
        assert_true(sealing_has(keyring->files.sealing, id));
    text_wipe(&sealed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_sealed_opens_and_shows_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_of_all_sizes_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sealing_and_opening_append, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_that_was_moved_stays_shut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_with_one_bit_changed_anywhere_stays_shut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_that_was_cut_or_has_grown_stays_shut, set_up, tear_down),
        cmocka_unit_test(clear_text_is_told_from_what_is_sealed),
        cmocka_unit_test_setup_teardown(what_there_is_no_key_or_no_place_for_is_not_sealed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_longest_place_of_the_store_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_ring_finds_keys_in_whatever_order_they_came, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_data_key_shows_nothing_and_is_another_each_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_data_key_that_was_changed_or_renumbered_does_not_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_wrong_master_key_opens_nothing_and_the_right_one_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_master_key_seals_and_all_of_them_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_master_keys_there_is_no_keyring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_master_key_is_looked_for_in_the_source_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_look_in_vain_there_is_a_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_again_takes_what_is_first_then_and_a_failure_takes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_keyring_serves_many_threads, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
