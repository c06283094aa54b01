/* A flood writes a bounded number of lines, and none of it goes untold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/log_limit.h"

static void a_flood_writes_few_lines_and_the_next_one_tells_the_rest(void **state) {
    (void)state;
    struct log_limit limit = {0};
    int64_t suppressed = -1;
    int written = 0;
    for (int i = 0; i < 1000; i++)
        written += log_limit_allows(&limit, 5000 + i, &suppressed);
    assert_int_equal(written, LOG_LIMIT_LINES);
    assert_int_equal(suppressed, 0);
    assert_false(log_limit_allows(&limit, 5000 + LOG_LIMIT_PERIOD_MS - 1, &suppressed));
    assert_true(log_limit_allows(&limit, 5000 + LOG_LIMIT_PERIOD_MS, &suppressed));
    assert_int_equal(suppressed, 1000 - LOG_LIMIT_LINES + 1);
    assert_true(log_limit_allows(&limit, 5001 + LOG_LIMIT_PERIOD_MS, &suppressed));
    assert_int_equal(suppressed, 0);
}

static void now_and_then_every_line_is_written(void **state) {
    (void)state;
    struct log_limit limit = {0};
    int64_t suppressed;
    for (int i = 0; i < 1000; i++) {
        assert_true(log_limit_allows(&limit, (int64_t)i * (LOG_LIMIT_PERIOD_MS / LOG_LIMIT_LINES), &suppressed));
        assert_int_equal(suppressed, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_writes_few_lines_and_the_next_one_tells_the_rest),
        cmocka_unit_test(now_and_then_every_line_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
