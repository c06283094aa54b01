/* The Prefer header, with the forms that RFC 7240 section 2 allows and those that it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/prefer.h"

static void preferences_are_read_as_rfc_7240_writes_them(void **state) {
    (void)state;
    static const struct {
        const char *value;
        int64_t wait_s;
        bool respond_async;
    } cases[] = {
        {"", -1, false},
        {" , ,", -1, false},
        {"wait=10", 10, false},
        {"wait=0", 0, false},
        {"WAIT = \"10\"", 10, false},
        {"wait\t=\t10 ", 10, false},
        {"respond-async", -1, true},
        {"Respond-Async, wait=10", 10, true},
        {"wait=10,respond-async", 10, true},
        {"respond-async; foo=\"bar\", wait=2;x", 2, true},
        {"handling=lenient, wait=100, respond-async", 100, true},
        {"wait=86400", 86400, false},
        /* The first one counts. */
        {"wait=1, wait=2", 1, false},
        {"wait=x, wait=2", 2, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct preferences preferences;
        prefer_parse(cases[i].value, &preferences);
        if (preferences.wait_s != cases[i].wait_s || preferences.respond_async != cases[i].respond_async)
            fail_msg("\"%s\" was read as wait %lld, respond-async %d", cases[i].value, (long long)preferences.wait_s,
                     preferences.respond_async);
    }
}

static void what_is_not_a_number_of_seconds_is_ignored(void **state) {
    (void)state;
    static const char *const values[] = {
        "wait", "wait=", "wait=\"\"", "wait=-1", "wait=1.5", "wait=1s", "wait=86401", "wait=99999999999999999999999999", "waiting=5",
        "wai=5", "wait 5", "wait=1 2", "xwait=5", "=5", "respond-asynchronously", "respond-async=1", "respond", "wait==5", "wait=0x10",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct preferences preferences;
        prefer_parse(values[i], &preferences);
        if (preferences.wait_s != -1 || preferences.respond_async)
            fail_msg("\"%s\" was read as wait %lld, respond-async %d", values[i], (long long)preferences.wait_s,
                     preferences.respond_async);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preferences_are_read_as_rfc_7240_writes_them),
        cmocka_unit_test(what_is_not_a_number_of_seconds_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
