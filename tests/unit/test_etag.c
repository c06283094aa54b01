/* Entity tags and preconditions (RFC 9110 sections 8.8.3 and 13.1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "api/etag.h"

#define UID "0199b3c4-5a10-7c3e-8f21-000000000002"
static const struct store_jwk jwk = {.uid = UID, .name = "my-jwk", .epoch = 2, .version = 7};

static void a_tag_is_quoted_and_tells_states_apart(void **state) {
    (void)state;
    char one[ETAG_SIZE], other[ETAG_SIZE];
    etag_write(&jwk, 0, one);
    assert_string_equal(one, "\"2-7-" UID "\"");
    struct store_jwk next = jwk;
    next.version = INT64_MAX;
    next.epoch = INT64_MAX;
    etag_write(&next, INT64_MAX, other);
    assert_string_equal(other, "\"9223372036854775807-9223372036854775807-" UID ".9223372036854775807\"");
}

static void lists_name_what_they_hold(void **state) {
    (void)state;
    static const struct {
        const char *list, *etag;
        bool if_match, if_none_match;
    } rows[] = {
        {"\"a\"", "\"a\"", true, true},
        {"\"b\"", "\"a\"", false, false},
        {"\"aa\"", "\"a\"", false, false},
        {"\"a\"", "\"aa\"", false, false},
        {"*", "\"a\"", true, true},
        {" \t* ", "\"a\"", true, true},
        {"*, \"b\"", "\"a\"", false, false},
        {"\"b\", \"a\"", "\"a\"", true, true},
        {"\"b\",\"a\",\"c\"", "\"a\"", true, true},
        {", ,\t\"a\" ,", "\"a\"", true, true},
        {"W/\"a\"", "\"a\"", false, true},
        {"w/\"a\"", "\"a\"", false, false},
        {"W/\"a\", \"a\"", "\"a\"", true, true},
        {"\"b, a\"", "\"a\"", false, false},
        {"a", "\"a\"", false, false},
        {"\"a", "\"a\"", false, false},
        {"\"b\" \"a\"", "\"a\"", false, false},
        {"\"b\"x,\"a\"", "\"a\"", false, false},
        {"", "\"a\"", false, false},
        {",", "\"a\"", false, false},
        {"\"a.1\"", "\"a.2\"", true, false},
        {"\"a.1\"", "\"a\"", true, false},
        {"\"a\"", "\"a.1\"", true, false},
        {"\"a.1\"", "\"a.1\"", true, true},
        {"\"ab.1\"", "\"a.1\"", false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        print_message("%s in %s\n", rows[i].etag, rows[i].list);
        assert_int_equal(etag_list_names(rows[i].list, rows[i].etag, ETAG_STATE), rows[i].if_match);
        assert_int_equal(etag_list_names(rows[i].list, rows[i].etag, ETAG_WEAK), rows[i].if_none_match);
    }
}

static void a_change_is_checked_against_both_headers(void **state) {
    (void)state;
    static char fresh[] = "\"2-7-" UID ".5\"", stale[] = "\"2-6-" UID "\"", any[] = "*";
    static const struct {
        struct etag_conditions conditions;
        bool holds;
    } rows[] = {
        {{NULL, NULL}, true}, {{fresh, NULL}, true},  {{stale, NULL}, false}, {{any, NULL}, true},
        {{NULL, stale}, true}, {{NULL, any}, false}, {{fresh, stale}, true}, {{fresh, any}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error error = {0};
        assert_int_equal(etag_check(&rows[i].conditions, &jwk, &error), rows[i].holds ? 0 : -1);
        assert_int_equal(error.code, rows[i].holds ? ERROR_NONE : ERROR_PRECONDITION);
        assert_true(rows[i].holds || strstr(error.message, "my-jwk"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_is_quoted_and_tells_states_apart),
        cmocka_unit_test(lists_name_what_they_hold),
        cmocka_unit_test(a_change_is_checked_against_both_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
