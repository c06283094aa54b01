/* Times as text, there and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

static void known_times_are_formatted(void **state) {
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1769860800007, "2026-01-31T12:00:00.007Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[CLOCK_TEXT_SIZE];
        assert_ptr_equal(clock_format(cases[i].ms, text), text);
        assert_string_equal(text, cases[i].text);
    }
}

/* The C library is the judge; the step is odd so that all times of day come by. */
static void formatting_agrees_with_the_c_library_and_is_read_back(void **state) {
    (void)state;
    for (int64_t second = -62167219200; second <= 253402300799; second += 86400 * 11 + 12347) {
        struct tm tm;
        time_t at = (time_t)second;
        char text[CLOCK_TEXT_SIZE], expected[64];
        int64_t back;
        gmtime_r(&at, &tm);
        snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.123Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                 tm.tm_hour, tm.tm_min, tm.tm_sec);
        assert_string_equal(clock_format(second * 1000 + 123, text), expected);
        assert_int_equal(clock_parse(text, &back), 0);
        assert_int_equal(back, second * 1000 + 123);
    }
}

static void all_forms_are_read(void **state) {
    (void)state;
    static const char *const same[] = {
        "2026-01-31T12:00:00Z",      "2026-01-31t12:00:00z",      "2026-01-31 12:00:00Z",         "2026-01-31T12:00:00.0Z",
        "2026-01-31T13:30:00+01:30", "2026-01-31T07:00:00-05:00", "2026-01-31T13:00:00+0100",     "2026-01-31T13:00:00+01",
        "2026-02-01T11:59:00+23:59", "2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00.0009999Z", "2026-01-31T12:00:00,000Z",
        "2026-01-31T11:59:60Z",
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        int64_t ms = 0;
        if (clock_parse(same[i], &ms) != 0 || ms != 1769860800000)
            fail_msg("%s was read as %lld", same[i], (long long)ms);
    }
    int64_t ms;
    assert_int_equal(clock_parse("1970-01-01T00:00:00.25Z", &ms), 0);
    assert_int_equal(ms, 250);
    assert_int_equal(clock_parse("1969-12-31T23:59:59.999Z", &ms), 0);
    assert_int_equal(ms, -1);
}

static void anything_else_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "", "now", "2026-01-31", "2026-01-31T12:00Z", "2026-01-31T12:00:00", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00Zx",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-01-31T24:00:00Z", "2026-01-31T12:60:00Z", "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+01:60", "2026-01-31T12:00:00+1", "2026-01-31T12:00:00+01:",
        " 2026-01-31T12:00:00Z",
        "+026-01-31T12:00:00Z", "2026-01-31T12:00:00 Z", "26-01-31T12:00:00Z",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int64_t ms = 42;
        if (clock_parse(wrong[i], &ms) != -1)
            fail_msg("\"%s\" was taken", wrong[i]);
        assert_int_equal(ms, 42);
    }
}

static void clocks_agree_in_their_units(void **state) {
    (void)state;
    int64_t us = clock_monotonic_us(), ms = clock_monotonic_ms(), again = clock_monotonic_us();
    assert_true(us / 1000 <= ms && ms <= again / 1000);
    time_t before = time(NULL);
    assert_true(clock_wall_ms() / 1000 >= before - 1); /* time() is read from a coarser clock */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_times_are_formatted),
        cmocka_unit_test(formatting_agrees_with_the_c_library_and_is_read_back),
        cmocka_unit_test(all_forms_are_read),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(clocks_agree_in_their_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
