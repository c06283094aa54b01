/* Identifiers: form, order and uniqueness of UUIDs, known digests, trace context. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "common/identifier.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void a_uuid_has_version_7_and_the_variant(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        char uuid[UUID_SIZE];
        uuid_new(uuid);
        assert_true(uuid_is_valid(uuid));
        assert_int_equal(uuid[14], '7');
        assert_non_null(strchr("89ab", uuid[19]));
    }
}

enum { UUIDS = 20000, THREADS = 4 };

static void *make_uuids(void *argument) {
    char(*uuids)[UUID_SIZE] = argument;
    for (int i = 0; i < UUIDS; i++)
        uuid_new(uuids[i]);
    return NULL;
}

static int compare(const void *left, const void *right) {
    return strcmp(left, right);
}

static void uuids_of_several_threads_are_all_different(void **state) {
    (void)state;
    char(*uuids)[UUID_SIZE] = malloc((size_t)UUIDS * THREADS * UUID_SIZE);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_uuids, uuids + i * UUIDS), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    qsort(uuids, UUIDS * THREADS, UUID_SIZE, compare);
    for (int i = 1; i < UUIDS * THREADS; i++)
        assert_string_not_equal(uuids[i - 1], uuids[i]);
    free(uuids);
}

static void only_the_canonical_form_is_a_uuid(void **state) {
    (void)state;
    assert_true(uuid_is_valid("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"));
    static const char *const texts[] = {"", "017f22e2", "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
                                        "017f22e279b07cc398c4dc0c0c07398f",
                                        "017f22e2-79b0-7cc3-98c4-dc0c0c07398", "017f22e2-79b0-7cc3-98c4-dc0c0c07398f0",
                                        "{17f22e2-79b0-7cc3-98c4-dc0c0c07398}", "017f22e2-79b0-7cc3-98c4_dc0c0c07398f",
                                        "g17f22e2-79b0-7cc3-98c4-dc0c0c07398f"};
    for (size_t i = 0; i < COUNT(texts); i++)
        assert_false(uuid_is_valid(texts[i]));
}

static void sha256_gives_the_known_digests(void **state) {
    (void)state;
    char text[SHA256_TEXT_SIZE];
    sha256_text("abc", 3, text);
    assert_string_equal(text, "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    sha256_text("", 0, text);
    assert_string_equal(text, "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    unsigned char digest[32];
    sha256_bytes("abc", 3, digest);
    static const unsigned char abc[4] = {0xba, 0x78, 0x16, 0xbf};
    assert_memory_equal(digest, abc, sizeof abc);
}

static void random_bytes_fill_all_and_differ(void **state) {
    (void)state;
    unsigned char first[300] = {0}, second[300] = {0};
    random_bytes(first, sizeof first);
    random_bytes(second, sizeof second);
    assert_memory_not_equal(first, second, sizeof first);
    /* That 32 bytes are all zero has a chance of 2^-256. */
    static const unsigned char zero[32];
    assert_memory_not_equal(first + sizeof first - sizeof zero, zero, sizeof zero);
}

static void a_trace_goes_on_with_a_new_parent(void **state) {
    (void)state;
    char made[TRACEPARENT_SIZE];
    traceparent_new(PARENT, made);
    assert_true(traceparent_is_valid(made));
    assert_int_equal(strncmp(made, PARENT, 36), 0);
    assert_int_not_equal(strncmp(made + 36, PARENT + 36, 16), 0);
    assert_string_equal(made + 52, "-01");
    traceparent_new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe", made);
    assert_string_equal(made + 52, "-00");
    traceparent_new("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings", made);
    assert_int_equal(strncmp(made, PARENT, 36), 0);
}

static void without_a_valid_parent_a_trace_begins(void **state) {
    (void)state;
    static const char *const parents[] = {
        NULL,
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
    };
    for (size_t i = 0; i < COUNT(parents); i++) {
        char made[TRACEPARENT_SIZE], again[TRACEPARENT_SIZE];
        traceparent_new(parents[i], made);
        traceparent_new(parents[i], again);
        assert_true(traceparent_is_valid(made));
        assert_string_equal(made + 52, "-00");
        assert_int_not_equal(strncmp(made + 3, "4bf92f3577b34da6", 16), 0);
        assert_int_not_equal(strncmp(made + 3, again + 3, 32), 0);
        if (parents[i])
            assert_false(traceparent_is_valid(parents[i]));
    }
    assert_true(traceparent_is_valid(PARENT));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uuid_has_version_7_and_the_variant),
        cmocka_unit_test(uuids_of_several_threads_are_all_different),
        cmocka_unit_test(only_the_canonical_form_is_a_uuid),
        cmocka_unit_test(sha256_gives_the_known_digests),
        cmocka_unit_test(random_bytes_fill_all_and_differ),
        cmocka_unit_test(a_trace_goes_on_with_a_new_parent),
        cmocka_unit_test(without_a_valid_parent_a_trace_begins),
    };
    return cmocka_run_group_tests_name("identifier", tests, NULL, NULL);
}
