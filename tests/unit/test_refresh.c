/* When a document is fetched again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/refresh.h"

enum { MINUTE = 60000, HOUR = 3600000 };
static const struct api_sources sources = {
    .refresh_minimum_ms = 5 * MINUTE, .refresh_maximum_ms = 24L * HOUR, .refresh_default_ms = HOUR};
static const int64_t now = 1700000000000;

/* Many draws: all within a tenth of the middle, and spread over most of that. */
#define SPREAD(call, middle)                                                  \
    do {                                                                      \
        int64_t least = INT64_MAX, most = 0, want = (middle);                 \
        for (int i = 0; i < 2000; i++) {                                      \
            int64_t pause = (call) - now;                                     \
            least = pause < least ? pause : least;                            \
            most = pause > most ? pause : most;                               \
        }                                                                     \
        assert_true(least >= want - want / 10 && most <= want + want / 10);   \
        assert_true(least < want - want / 12 && most > want + want / 12);     \
    } while (0)

static void cache_control_is_honoured_within_bounds(void **state) {
    (void)state;
    SPREAD(refresh_due(&sources, now, 600), 10L * MINUTE);
    SPREAD(refresh_due(&sources, now, 0), 5L * MINUTE);
    SPREAD(refresh_due(&sources, now, 1), 5L * MINUTE);
    SPREAD(refresh_due(&sources, now, INT32_MAX), 24L * HOUR);
}

static void silence_is_the_default(void **state) {
    (void)state;
    SPREAD(refresh_due(&sources, now, -1), (int64_t)HOUR);
    struct api_sources narrow = {.refresh_minimum_ms = 2L * HOUR, .refresh_maximum_ms = 3L * HOUR, .refresh_default_ms = HOUR};
    SPREAD(refresh_due(&narrow, now, -1), 2L * HOUR);
}

static void failures_are_tried_again_more_and_more_rarely(void **state) {
    (void)state;
    SPREAD(refresh_retry_due(&sources, now, 1), 5L * MINUTE);
    SPREAD(refresh_retry_due(&sources, now, 2), 10L * MINUTE);
    SPREAD(refresh_retry_due(&sources, now, 5), 80L * MINUTE);
    SPREAD(refresh_retry_due(&sources, now, 9), 1280L * MINUTE);
    SPREAD(refresh_retry_due(&sources, now, 1000000), 1280L * MINUTE);
    struct api_sources narrow = {.refresh_minimum_ms = 5L * MINUTE, .refresh_maximum_ms = HOUR, .refresh_default_ms = HOUR};
    SPREAD(refresh_retry_due(&narrow, now, 9), (int64_t)HOUR);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cache_control_is_honoured_within_bounds),
        cmocka_unit_test(silence_is_the_default),
        cmocka_unit_test(failures_are_tried_again_more_and_more_rarely),
    };
    return cmocka_run_group_tests_name("refresh", tests, NULL, NULL);
}
