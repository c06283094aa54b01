/* Which addresses can not be listened on for good, and which later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <netdb.h>
#include <unistd.h>

#include "common/listen.h"

static int failure; /* of looking up a name */

/* In place of the C library's. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    (void)host, (void)service, (void)hints;
    *found = NULL;
    return failure;
}

static enum error_code code_of(const char *address) {
    struct error error = {.code = ERROR_NONE};
    unsigned port;
    assert_int_equal(listen_open(address, &port, &error), -1);
    assert_non_null(strstr(error.message, address));
    return error.code;
}

static void a_name_that_can_not_be_looked_up_now_may_be_found_later(void **state) {
    (void)state;
    const int passing[] = {EAI_AGAIN, EAI_MEMORY, EAI_SYSTEM}, lasting[] = {EAI_NONAME, EAI_FAIL, EAI_SERVICE};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        failure = passing[i];
        assert_int_equal(code_of("edge-1.internal:8081"), ERROR_UNAVAILABLE);
    }
    for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++) {
        failure = lasting[i];
        assert_int_equal(code_of("edge-1.internal:8081"), ERROR_INVALID);
    }
}

static void what_is_no_address_stays_none(void **state) {
    (void)state;
    failure = EAI_AGAIN;
    assert_int_equal(code_of("nonsense"), ERROR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_can_not_be_looked_up_now_may_be_found_later),
        cmocka_unit_test(what_is_no_address_stays_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
