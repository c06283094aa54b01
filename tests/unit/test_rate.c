/* Rates, with a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "common/rate.h"

enum { SECOND = 1000000 };
static const int64_t START = 1000 * (int64_t)SECOND;

/* The key of a number. */
static const unsigned char *key(unsigned number) {
    static unsigned char bytes[RATE_KEY_SIZE];
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes + 4, &number, sizeof number);
    return bytes;
}

static struct rate rate_of(const char *text) {
    struct rate rate;
    struct error error;
    if (rate_parse(text, &rate, &error) != 0)
        fail_msg("%s", error.message);
    return rate;
}

static void rates_are_read_with_and_without_a_burst(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t interval_us, burst;
    } right[] = {
        {"0", 0, 1},
        {"100/s", 10000, 100},
        {"1/s", SECOND, 1},
        {"30/m", 2 * SECOND, 1},
        {"600/m", 100000, 10},
        {"3600/h", SECOND, 1},
        {"10/s:200", 100000, 200},
        {"1/h:5", 3600 * (int64_t)SECOND, 5},
        {"1000000/s", 1, SECOND},
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct rate rate = rate_of(right[i].text);
        assert_int_equal(rate.interval_us, right[i].interval_us);
        assert_int_equal(rate.burst, right[i].burst);
    }
}

static void what_is_no_rate_is_refused_and_shown(void **state) {
    (void)state;
    static const char *const wrong[] = {"",
                                        "100",
                                        "100/d",
                                        "/s",
                                        "0/s",
                                        "-1/s",
                                        "1000001/s",
                                        "1/s:0",
                                        "1/s:",
                                        "1/s:1x",
                                        "1/sec",
                                        "1.5/s",
                                        " 1/s",
                                        "1/s ",
                                        "00",
                                        "1 / s",
                                        "99999999999999999999/s",
                                        "1/s:1000001"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct rate rate;
        struct error error;
        if (rate_parse(wrong[i], &rate, &error) == 0)
            fail_msg("\"%s\" was taken", wrong[i]);
        assert_int_equal(error.code, ERROR_INVALID);
        assert_non_null(strstr(error.message, wrong[i]));
    }
}

static void a_burst_passes_and_then_the_steady_rate(void **state) {
    (void)state;
    struct rate rate = rate_of("10/s:3");
    struct rate_table *table = rate_table_new(&rate, 8);
    int64_t wait;
    for (int i = 0; i < 3; i++)
        assert_true(rate_table_take(table, key(1), START, &wait));
    assert_false(rate_table_take(table, key(1), START, &wait));
    assert_int_equal(wait, SECOND / 10);
    /* Asking in vain costs nothing. */
    assert_false(rate_table_take(table, key(1), START + wait - 1, &wait));
    assert_int_equal(wait, 1);
    assert_true(rate_table_take(table, key(1), START + SECOND / 10, &wait));
    assert_int_equal(wait, 0);
    assert_false(rate_table_take(table, key(1), START + SECOND / 10, &wait));
    /* After a pause the bucket is full and no fuller. */
    for (int i = 0; i < 3; i++)
        assert_true(rate_table_take(table, key(1), START + 100 * (int64_t)SECOND, &wait));
    assert_false(rate_table_take(table, key(1), START + 100 * (int64_t)SECOND, &wait));
    rate_table_free(table);
}

static void keys_do_not_disturb_each_other_and_looking_takes_nothing(void **state) {
    (void)state;
    struct rate rate = rate_of("1/s");
    struct rate_table *table = rate_table_new(&rate, 1024);
    int64_t wait;
    assert_true(rate_table_take(table, key(1), START, &wait));
    assert_false(rate_table_allows(table, key(1), START, &wait));
    assert_int_equal(wait, SECOND);
    for (int i = 0; i < 3; i++)
        assert_true(rate_table_allows(table, key(2), START, &wait));
    assert_false(rate_table_knows(table, key(2)));
    assert_true(rate_table_take(table, key(2), START, &wait));
    assert_true(rate_table_knows(table, key(2)));
    rate_table_free(table);
}

static void no_limit_lets_all_pass_and_remembers(void **state) {
    (void)state;
    struct rate rate = rate_of("0");
    struct rate_table *table = rate_table_new(&rate, 8);
    int64_t wait;
    for (int i = 0; i < 1000; i++)
        assert_true(rate_table_take(table, key(1), START, &wait));
    assert_true(rate_table_knows(table, key(1)));
    rate_table_free(table);
}

static void no_limit_lets_those_pass_who_read_the_clock_earlier_than_the_one_before(void **state) {
    (void)state;
    struct rate rate = rate_of("0");
    struct rate_table *table = rate_table_new(&rate, 8);
    int64_t wait = 1;
    assert_true(rate_table_take(table, key(1), START, &wait));
    assert_true(rate_table_take(table, key(1), START - 1, &wait));
    assert_true(rate_table_allows(table, key(1), START - SECOND, &wait));
    assert_int_equal(wait, 0);
    rate_table_free(table);
}

static void a_full_table_forgets_those_who_lose_least(void **state) {
    (void)state;
    struct rate rate = rate_of("1/s:10");
    struct rate_table *table = rate_table_new(&rate, 8); /* one set */
    int64_t wait;
    for (int i = 0; i < 10; i++)
        assert_true(rate_table_take(table, key(0), START, &wait));
    /* Thousands come once each: the one who has used all up stays known, and nothing grows. */
    for (unsigned i = 1; i < 5000; i++)
        assert_true(rate_table_take(table, key(i), START, &wait));
    assert_false(rate_table_take(table, key(0), START, &wait));
    unsigned known = 0;
    for (unsigned i = 0; i < 5000; i++)
        known += rate_table_knows(table, key(i));
    assert_int_equal(known, 8);
    rate_table_free(table);
}

static void keys_are_spread_over_the_table(void **state) {
    (void)state;
    struct rate rate = rate_of("1/s");
    struct rate_table *table = rate_table_new(&rate, 8192);
    int64_t wait;
    unsigned known = 0;
    for (unsigned i = 0; i < 4096; i++)
        assert_true(rate_table_take(table, key(i), START, &wait));
    for (unsigned i = 0; i < 4096; i++)
        known += rate_table_knows(table, key(i));
    /* Sets that run over although the table is half empty are few. */
    assert_true(known > 3900);
    rate_table_free(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_read_with_and_without_a_burst),
        cmocka_unit_test(what_is_no_rate_is_refused_and_shown),
        cmocka_unit_test(a_burst_passes_and_then_the_steady_rate),
        cmocka_unit_test(keys_do_not_disturb_each_other_and_looking_takes_nothing),
        cmocka_unit_test(no_limit_lets_all_pass_and_remembers),
        cmocka_unit_test(no_limit_lets_those_pass_who_read_the_clock_earlier_than_the_one_before),
        cmocka_unit_test(a_full_table_forgets_those_who_lose_least),
        cmocka_unit_test(keys_are_spread_over_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
