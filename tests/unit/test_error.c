/* A message is valid UTF-8 whatever it is made of: it goes into a JSON answer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/error.h"
#include "common/json.h"

static struct error error;

static void test_message_is_what_was_formatted(void **state) {
    (void)state;
    assert_int_equal(error_set(&error, ERROR_NOT_FOUND, "Grüße %d %s", 7, "鍵 🔑"), -1);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_string_equal(error.message, "Grüße 7 鍵 🔑");
    assert_int_equal(error_set(NULL, ERROR_INVALID, "nobody asks"), -1);
}

static void test_prefix_goes_before_it(void **state) {
    (void)state;
    error_set(&error, ERROR_INVALID, "it is empty");
    assert_int_equal(error_prefix(&error, "member %s", "kid"), -1);
    assert_string_equal(error.message, "member kid: it is empty");
    assert_int_equal(error.code, ERROR_INVALID);
}

static void test_a_character_cut_within_becomes_a_question_mark(void **state) {
    (void)state;
    error_set(&error, ERROR_INVALID, "[%.2s][%.3s]", "aé", "🔑");
    assert_string_equal(error.message, "[a?][???]");
}

static void test_octets_that_are_no_character_become_question_marks(void **state) {
    static const struct {
        const char *given, *wanted;
    } cases[] = {
        {"\x80", "?"},      /* a second octet alone */
        {"\xc0\xaf", "??"}, /* an overlong form */
        {"\xe0\x80\xaf", "???"},
        {"\xed\xa0\x80", "???"},      /* a surrogate */
        {"\xf4\x90\x80\x80", "????"}, /* beyond U+10FFFF */
        {"\xff", "?"},
        {"\xc3(", "?("},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char wanted[32] = "<";
        strcat(strcat(wanted, cases[i].wanted), ">");
        error_set(&error, ERROR_INVALID, "<%s>", cases[i].given);
        assert_string_equal(error.message, wanted);
        error_set(&error, ERROR_INVALID, ">");
        error_prefix(&error, "<%s", cases[i].given);
        assert_true(json_utf8_is_valid(error.message, strlen(error.message)));
    }
}

static void test_a_message_is_one_line(void **state) {
    (void)state;
    error_set(&error, ERROR_INVALID, "[%s]", "a\r\nb\tc\x1b\x7fé");
    assert_string_equal(error.message, "[a??b?c??é]");
    error_prefix(&error, "x\n");
    assert_string_equal(error.message, "x?: [a??b?c??é]");
}

/* With every length of what stands before, so that the cut falls on each octet of a character. */
static void test_a_long_message_is_cut_at_an_edge(void **state) {
    char text[2000];
    (void)state;
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        text[shift] = '\0';
        while (strlen(text) < sizeof text - 8)
            strcat(text, "🔑");
        error_set(&error, ERROR_INVALID, "%s", text);
        size_t length = strlen(error.message);
        assert_true(length < sizeof error.message && length > sizeof error.message - 5);
        assert_memory_equal(error.message, text, length);
        assert_true(json_utf8_is_valid(error.message, length));
        error_prefix(&error, "%s", text);
        assert_true(json_utf8_is_valid(error.message, strlen(error.message)));
        error_set(&error, ERROR_INVALID, "%s", text);
        error_prefix(&error, "x");
        assert_true(json_utf8_is_valid(error.message, strlen(error.message)));
        assert_memory_equal(error.message, "x: a", shift > 0 ? 4 : 3);
    }
}

static void test_what_passes_by_itself_is_told_from_what_does_not(void **state) {
    (void)state;
    assert_int_equal(error_code_of(ENOSPC), ERROR_UNAVAILABLE);
    assert_int_equal(error_code_of(EROFS), ERROR_UNAVAILABLE);
    assert_int_equal(error_code_of(EMFILE), ERROR_UNAVAILABLE);
    assert_int_equal(error_code_of(ENOENT), ERROR_INVALID);
    assert_int_equal(error_code_of(EACCES), ERROR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_is_what_was_formatted),
        cmocka_unit_test(test_prefix_goes_before_it),
        cmocka_unit_test(test_a_character_cut_within_becomes_a_question_mark),
        cmocka_unit_test(test_octets_that_are_no_character_become_question_marks),
        cmocka_unit_test(test_a_message_is_one_line),
        cmocka_unit_test(test_a_long_message_is_cut_at_an_edge),
        cmocka_unit_test(test_what_passes_by_itself_is_told_from_what_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
