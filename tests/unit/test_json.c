/* Strict JSON: what must be refused is, with a sentence that says why and where; all the rest is read as it stands. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Parses an exact copy without a NUL behind it, so that a sanitizer sees a read past the end. */
static cJSON *parse(const char *text, size_t length, struct error *error) {
    *error = (struct error){0};
    char *copy = malloc(length + (length == 0));
    memcpy(copy, text, length);
    cJSON *tree = json_parse(copy, length, error);
    free(copy);
    return tree;
}

static void assert_refused(const char *text, size_t length, const char *why) {
    struct error error;
    cJSON *tree = parse(text, length, &error);
    if (tree)
        fail_msg("%.60s was read", text);
    assert_int_equal(error.code, ERROR_INVALID);
    if (!strstr(error.message, why))
        fail_msg("%.60s was refused with: %s", text, error.message);
}

static void reads_what_rfc_8259_allows(void **state) {
    (void)state;
    static const char *const texts[] = {
        "null", "true", " false\r\n\t", "0", "-0", "-0.5", "1e2", "1E+2", "1e-2", "0.25", "9007199254740991",
        "-9007199254740991", "900719925474099.1e1", "0e999999", "0.0000000000000000000000000000000001", "1e-290", "0.00001e20",
        "90071992547409910e-1", "\"\"", "\"a\"", "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"", "\"\\ud83d\\ude00\"",
        "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"", "[]", "{}", "[ ]", "{ }", "[1,[2,{\"a\":[]}],\"x\"]",
        "{\"a\":1,\"A\":2,\"\":3}", "{\"a\":{\"a\":{\"a\":1}}}", "[{\"a\":1},{\"a\":1}]",
        "{ \"a\" : [ 1 , 2 ] , \"b\" : { } }",
        "\"a long string without anything special in it at all, to cross many words\"",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct error error;
        cJSON *tree = parse(texts[i], strlen(texts[i]), &error);
        if (!tree)
            fail_msg("%s was refused: %s", texts[i], error.message);
        cJSON_Delete(tree);
    }
}

static void resolves_escapes(void **state) {
    (void)state;
    struct error error;
    static const char text[] = "{\"\\u006bid\":\"\\u20ac\\ud83d\\ude00\\n\"}";
    cJSON *tree = parse(text, strlen(text), &error);
    const char *kid = NULL;
    assert_int_equal(json_get_string(tree, "kid", true, &kid, &error), 0);
    assert_string_equal(kid, "\xe2\x82\xac\xf0\x9f\x98\x80\n");
    cJSON_Delete(tree);
}

#define BYTES(text) text, sizeof text - 1

static void refuses_what_is_not_strict(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        const char *why;
    } cases[] = {
        {BYTES(""), "ends"},
        {BYTES("  "), "ends"},
        {BYTES("\xef\xbb\xbf{}"), "byte order mark"},
        {BYTES("{} x"), "behind its end"},
        {BYTES("{}\0"), "behind its end"},
        {BYTES("1 2"), "behind its end"},
        {BYTES("nul"), "value is expected"},
        {BYTES("nulL"), "value is expected"},
        {BYTES("NaN"), "value is expected"},
        {BYTES("Infinity"), "value is expected"},
        {BYTES("'a'"), "value is expected"},
        {BYTES("// x\n1"), "value is expected"},
        {BYTES("\v1"), "value is expected"},
        {BYTES("\xc2\xa0"), "value is expected"},
        {BYTES("\0"), "value is expected"},
        {BYTES("[1,]"), "value is expected"},
        {BYTES("[,1]"), "value is expected"},
        {BYTES("[1 2]"), "comma or ]"},
        {BYTES("[1}"), "comma or ]"},
        {BYTES("[1"), "not closed"},
        {BYTES("["), "ends"},
        {BYTES("{"), "name is expected"},
        {BYTES("{\"a\":1"), "not closed"},
        {BYTES("{\"a\":1]"), "comma or }"},
        {BYTES("{\"a\":1,}"), "name is expected"},
        {BYTES("{,}"), "name is expected"},
        {BYTES("{a:1}"), "name is expected"},
        {BYTES("{1:1}"), "name is expected"},
        {BYTES("{\"a\"}"), "colon"},
        {BYTES("{\"a\""), "colon"},
        {BYTES("{\"a\":}"), "value is expected"},
        {BYTES("{\"a\":"), "ends"},
        {BYTES("]"), "value is expected"},
        {BYTES("\""), "not closed"},
        {BYTES("\"abc"), "not closed"},
        {BYTES("\"abc\\"), "not closed"},
        {BYTES("\"\\"), "not closed"},
        {BYTES("\"\\x\""), "unknown escape"},
        {BYTES("\"\\\0\""), "unknown escape"},
        {BYTES("\"\\U0041\""), "unknown escape"},
        {BYTES("\"\\u004\""), "four hex digits"},
        {BYTES("\"\\u00g0\""), "four hex digits"},
        {BYTES("\"\\u"), "four hex digits"},
        {BYTES("\"\\u0000\""), "NUL"},
        {BYTES("\"a\0b\""), "NUL"},
        {BYTES("{\"a\\u0000b\":1}"), "NUL"},
        {BYTES("\"a\nb\""), "control character"},
        {BYTES("\"a\tb\""), "control character"},
        {BYTES("\"a\x1f\""), "control character"},
        {BYTES("\"12345678\x01\""), "control character"},
        {BYTES("\"123456789\x01" "23456789\""), "control character"},
        {BYTES("\"\\ud800\""), "lone surrogate"},
        {BYTES("\"\\udc00\""), "lone surrogate"},
        {BYTES("\"\\ud800x\""), "lone surrogate"},
        {BYTES("\"\\ud800\\u0041\""), "lone surrogate"},
        {BYTES("\"\\ud800\\ud800\""), "lone surrogate"},
        {BYTES("\"\\ud83d\\u"), "lone surrogate"},
        {BYTES("\"\x80\""), "UTF-8"},
        {BYTES("\"\xff\""), "UTF-8"},
        {BYTES("\"\xc0\xaf\""), "UTF-8"},
        {BYTES("\"\xc1\xbf\""), "UTF-8"},
        {BYTES("\"\xe0\x9f\xbf\""), "UTF-8"},
        {BYTES("\"\xed\xa0\x80\""), "UTF-8"},
        {BYTES("\"\xf0\x8f\xbf\xbf\""), "UTF-8"},
        {BYTES("\"\xf4\x90\x80\x80\""), "UTF-8"},
        {BYTES("\"\xf5\x80\x80\x80\""), "UTF-8"},
        {BYTES("\"\xe2\x82\""), "UTF-8"},
        {BYTES("\"\xe2\x82"), "UTF-8"},
        {BYTES("\"\xe2"), "UTF-8"},
        {BYTES("01"), "needless 0"},
        {BYTES("-01"), "needless 0"},
        {BYTES("-"), "no digits"},
        {BYTES("-x"), "no digits"},
        {BYTES("+1"), "value is expected"},
        {BYTES(".5"), "value is expected"},
        {BYTES("1."), "decimal point"},
        {BYTES("1.e1"), "decimal point"},
        {BYTES("1e"), "exponent"},
        {BYTES("1e+"), "exponent"},
        {BYTES("1ex"), "exponent"},
        {BYTES("0x10"), "behind its end"},
        {BYTES("9007199254740992"), "2^53"},
        {BYTES("-9007199254740992"), "2^53"},
        {BYTES("9007199254740991.5"), "2^53"},
        {BYTES("90071992547409920"), "2^53"},
        {BYTES("1e16"), "2^53"},
        {BYTES("1e999"), "2^53"},
        {BYTES("1e99999999999999999999"), "2^53"},
        {BYTES("0.00001e21"), "2^53"},
        {BYTES("1e-999"), "2^53"},
        {BYTES("0.1234567890123456789012345678901234567890123456789012345678901234"), "too many digits"},
        {BYTES("{\"a\":1,\"b\":2,\"a\":3}"), "\"a\" stands twice"},
        {BYTES("{\"kid\":1,\"\\u006bid\":2}"), "\"kid\" stands twice"},
        {BYTES("{\"\":1,\"\":2}"), "stands twice"},
        {BYTES("[[{\"x\":{\"d\":1,\"d\":1}}]]"), "\"d\" stands twice"},
        {BYTES("{\"a\\nb\":1,\"a\\nb\":1}"), "\"a?b\" stands twice"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_refused(cases[i].text, cases[i].length, cases[i].why);
}

static void says_the_line_and_column(void **state) {
    (void)state;
    assert_refused(BYTES("{\n \"a\": 01\n}"), "line 2, column 7");
    assert_refused(BYTES("x"), "line 1, column 1");
}

static void every_truncation_and_every_byte_is_survived(void **state) {
    (void)state;
    static const char text[] = "{\"a\":[1,-2.5e3,true,null,\"\\u20ac\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":false}}";
    size_t length = sizeof text - 1;
    for (size_t cut = 0; cut < length; cut++) {
        struct error error;
        assert_null(parse(text, cut, &error));
    }
    char changed[sizeof text];
    for (size_t at = 0; at < length; at++) {
        for (int byte = 0; byte < 256; byte++) {
            memcpy(changed, text, sizeof text);
            changed[at] = (char)byte;
            struct error error;
            cJSON *tree = parse(changed, length, &error);
            assert_true(tree || error.code == ERROR_INVALID);
            /* What was read can be written and is read again. */
            if (tree) {
                struct text written = TEXT_EMPTY;
                json_write(&written, NULL, tree);
                assert_true(written.length < json_written_bound(tree));
                cJSON *again = parse(written.bytes, written.length, &error);
                assert_true(cJSON_Compare(tree, again, true));
                cJSON_Delete(again);
                text_free(&written);
            }
            cJSON_Delete(tree);
        }
    }
}

static char *nested(int depth) {
    char *text = memory_new((size_t)depth * 2 + 1);
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    return text;
}

static void bounds_depth_and_entries(void **state) {
    (void)state;
    struct error error;
    char *text = nested(JSON_DEPTH_MAX);
    cJSON *tree = parse(text, strlen(text), &error);
    assert_non_null(tree);
    cJSON_Delete(tree);
    free(text);
    text = nested(JSON_DEPTH_MAX + 1);
    assert_refused(text, strlen(text), "too deep");
    free(text);

    for (int over = 0; over <= 1; over++) {
        text = memory_new((JSON_MEMBERS_MAX + 1) * 12 + 2);
        size_t length = 0;
        for (int i = 0; i < JSON_MEMBERS_MAX + over; i++)
            length += (size_t)sprintf(text + length, "%c\"m%d\":1", i ? ',' : '{', i);
        text[length++] = '}';
        if (over) {
            assert_refused(text, length, "too many entries");
        } else {
            tree = parse(text, length, &error);
            assert_non_null(tree);
            cJSON_Delete(tree);
            /* The first and the last of many are one name. */
            memcpy(strstr(text, "\"m4095\""), "\"\\u006d0\":1}", 13);
            assert_refused(text, strlen(text), "\"m0\" stands twice");
        }
        free(text);
    }
}

/* A few bytes of text make a tree of hundreds: arrays of zeros. */
static void bounds_the_values_of_a_whole_text(void **state) {
    (void)state;
    enum { ROWS = 31, COLUMNS = 4095, LAST = JSON_VALUES_MAX - 1 - ROWS * (1 + COLUMNS) - 1 };
    for (int over = 0; over <= 1; over++) {
        char *text = memory_new(2 * JSON_VALUES_MAX + 200);
        size_t length = 0;
        for (int row = 0; row <= ROWS; row++)
            for (int column = 0; column < (row < ROWS ? COLUMNS : LAST + over); column++)
                length += (size_t)sprintf(text + length, "%s0", column ? "," : row ? "],[" : "[[");
        length += (size_t)sprintf(text + length, "]]");
        if (over) {
            assert_refused(text, length, "too many values");
        } else {
            struct error error;
            cJSON *tree = parse(text, length, &error);
            assert_non_null(tree);
            cJSON_Delete(tree);
        }
        free(text);
    }
}

static void a_long_name_is_cut_at_a_character(void **state) {
    (void)state;
    struct error error;
    char text[400];
    for (int shift = 0; shift < 3; shift++) {
        int length = snprintf(text, sizeof text, "{\"%.*s", shift, "xxx");
        for (int i = 0; i < 50; i++)
            length += snprintf(text + length, sizeof text - (size_t)length, "\xe2\x82\xac");
        length += snprintf(text + length, sizeof text - (size_t)length, "\":1}");
        cJSON *tree = parse(text, (size_t)length, &error);
        assert_non_null(tree);
        static const char *const none[] = {NULL};
        assert_int_equal(json_refuse_unknown(tree, none, &error), -1);
        assert_true(json_utf8_is_valid(error.message, strlen(error.message)));
        assert_non_null(strstr(error.message, "\xe2\x82\xac...\""));
        cJSON_Delete(tree);
    }
}

static void utf8_is_judged(void **state) {
    (void)state;
    assert_true(json_utf8_is_valid(BYTES("a\xc3\xa9\xef\xbf\xbd\xf4\x8f\xbf\xbf")));
    assert_true(json_utf8_is_valid("", 0));
    assert_false(json_utf8_is_valid(BYTES("a\0b")));
    assert_false(json_utf8_is_valid(BYTES("\xed\xbf\xbf")));
    assert_false(json_utf8_is_valid(BYTES("a\xc3")));
}

static void typed_members_are_read_or_refused(void **state) {
    (void)state;
    struct error error;
    static const char text[] = "{\"s\":\"x\",\"i\":12,\"f\":1.5,\"b\":true,\"o\":{},\"a\":[],\"n\":null}";
    cJSON *tree = parse(text, sizeof text - 1, &error);
    const char *string = "kept";
    int64_t integer = -7;
    bool boolean = false;
    const cJSON *value = NULL;

    assert_int_equal(json_get_string(tree, "s", true, &string, &error), 0);
    assert_string_equal(string, "x");
    assert_int_equal(json_get_string(tree, "S", false, &string, &error), 0);
    assert_string_equal(string, "x");
    assert_int_equal(json_get_string(tree, "S", true, &string, &error), -1);
    assert_string_equal(error.message, "Member \"S\" is required");
    assert_int_equal(json_get_string(tree, "n", false, &string, &error), -1);
    assert_string_equal(error.message, "Member \"n\" must be a string");

    assert_int_equal(json_get_integer(tree, "i", true, 0, 12, &integer, &error), 0);
    assert_int_equal(integer, 12);
    assert_int_equal(json_get_integer(tree, "i", true, 13, 20, &integer, &error), -1);
    assert_string_equal(error.message, "Member \"i\" must be from 13 to 20");
    assert_int_equal(json_get_integer(tree, "f", true, 0, 12, &integer, &error), -1);
    assert_string_equal(error.message, "Member \"f\" must be an integer");
    assert_int_equal(json_get_integer(tree, "s", true, 0, 12, &integer, &error), -1);

    assert_int_equal(json_get_boolean(tree, "b", true, &boolean, &error), 0);
    assert_true(boolean);
    assert_int_equal(json_get_boolean(tree, "i", true, &boolean, &error), -1);
    assert_int_equal(json_get_object(tree, "o", true, &value, &error), 0);
    assert_true(cJSON_IsObject(value));
    assert_int_equal(json_get_object(tree, "a", true, &value, &error), -1);
    assert_int_equal(json_get_array(tree, "a", true, &value, &error), 0);
    assert_true(cJSON_IsArray(value));
    assert_int_equal(json_get_array(tree, "o", true, &value, &error), -1);
    assert_int_equal(json_get_array(tree, "missing", false, &value, &error), 0);

    static const char *const all[] = {"s", "i", "f", "b", "o", "a", "n", NULL}, *const some[] = {"s", "i", NULL};
    assert_int_equal(json_refuse_unknown(tree, all, &error), 0);
    assert_int_equal(json_refuse_unknown(tree, some, &error), -1);
    assert_string_equal(error.message, "Unknown member \"f\"");
    cJSON_Delete(tree);
}

static void *last_freed_head;

static void remember_and_free(void *block) {
    /* What a freed string holds at this moment is what would stay in memory. */
    if (block && strncmp(block, "secret", 6) == 0)
        last_freed_head = block;
    free(block);
}

/* What each text is written as. */
static void a_tree_is_written_exactly(void **state) {
    (void)state;
    static const struct {
        const char *text, *written;
    } cases[] = {
        {"9007199254740991", "9007199254740991"},
        {"-9007199254740991", "-9007199254740991"},
        {"1700000000123", "1700000000123"},
        {"0.1", "0.1"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"2251799813685249.5", "2251799813685249.5"},
        {"1e15", "1000000000000000"},
        {"1e-7", "1e-07"},
        {"-0", "-0"},
        {" [ 1 , [ ] , { } , true , false , null ] ", "[1,[],{},true,false,null]"},
        {"{\"\\u0061\\n\":{\"b\":[\"\\u20ac\\\"\\\\\\/\\u0001\"]},\"\":0}",
         "{\"a\\n\":{\"b\":[\"\xe2\x82\xac\\\"\\\\/\\u0001\"]},\"\":0}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error error;
        cJSON *tree = parse(cases[i].text, strlen(cases[i].text), &error);
        assert_non_null(tree);
        struct text text = TEXT_EMPTY;
        json_write(&text, NULL, tree);
        assert_string_equal(text.bytes, cases[i].written);
        assert_true(text.length < json_written_bound(tree));
        text_free(&text);
        cJSON_Delete(tree);
    }
}

static void wiping_leaves_no_string(void **state) {
    (void)state;
    struct error error;
    cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = remember_and_free};
    cJSON_InitHooks(&hooks);
    static const char text[] = "{\"a\":\"secret1\",\"b\":[\"secret2\",{\"c\":\"secret3\"}]}";
    cJSON_Delete(parse(text, sizeof text - 1, &error));
    assert_non_null(last_freed_head);
    last_freed_head = NULL;
    json_wipe(parse(text, sizeof text - 1, &error));
    assert_null(last_freed_head);
    /* A duplicate is found after parsing; what was parsed is wiped then too. */
    static const char twice[] = "{\"a\":\"secret1\",\"a\":\"secret2\"}";
    assert_null(parse(twice, sizeof twice - 1, &error));
    assert_null(last_freed_head);
    assert_null(strstr(error.message, "secret"));
    json_wipe(NULL);
    cJSON_InitHooks(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_what_rfc_8259_allows),
        cmocka_unit_test(resolves_escapes),
        cmocka_unit_test(refuses_what_is_not_strict),
        cmocka_unit_test(says_the_line_and_column),
        cmocka_unit_test(every_truncation_and_every_byte_is_survived),
        cmocka_unit_test(bounds_depth_and_entries),
        cmocka_unit_test(bounds_the_values_of_a_whole_text),
        cmocka_unit_test(a_long_name_is_cut_at_a_character),
        cmocka_unit_test(utf8_is_judged),
        cmocka_unit_test(typed_members_are_read_or_refused),
        cmocka_unit_test(a_tree_is_written_exactly),
        cmocka_unit_test(wiping_leaves_no_string),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
