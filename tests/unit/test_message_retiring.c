/* The replaced keys that an event carries: they come back as they were, and what does not fit is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/memory.h"
#include "common/message.h"

#define UUID "01890000-0000-7000-8000-000000000001"
#define KEY "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"kid\":\"k\"}"

static struct event event_with(const struct event_retiring *retiring, size_t count) {
    return (struct event){.operation = EVENT_UPDATE,
                          .deployment_id = UUID,
                          .epoch = 1,
                          .version = 2,
                          .sequence = 3,
                          .project_id = UUID,
                          .project_name = "project",
                          .jwk_id = UUID,
                          .name = "one",
                          .type = "OKP",
                          .public_key = KEY,
                          .retiring = retiring,
                          .retiring_count = count,
                          .actor = "alice",
                          .time = "2026-01-31T12:00:00.000Z"};
}

static void replaced_keys_come_back_as_they_were(void **state) {
    (void)state;
    struct event_retiring retiring[RETIRING_COUNT_MAX];
    char keys[RETIRING_COUNT_MAX][64];
    for (size_t i = 0; i < RETIRING_COUNT_MAX; i++) {
        snprintf(keys[i], sizeof keys[i], "{\"kty\":\"OKP\",\"kid\":\"%zu\"}", i);
        retiring[i] = (struct event_retiring){.public_key = keys[i], .until = 1000 + (int64_t)i};
    }
    for (size_t count = 0; count <= RETIRING_COUNT_MAX; count++) {
        struct event event = event_with(retiring, count), decoded;
        struct text value = TEXT_EMPTY;
        struct error error = {0};
        event_encode(&event, &value);
        assert_non_null(strstr(value.bytes, count ? "\"retiring\":[{" : "\"retiring\":[]"));
        if (event_decode(value.bytes, value.length, &decoded, &error))
            fail_msg("%s", error.message);
        assert_int_equal(decoded.retiring_count, count);
        for (size_t i = 0; i < count; i++) {
            assert_string_equal(decoded.retiring[i].public_key, keys[i]);
            assert_int_equal(decoded.retiring[i].until, 1000 + i);
        }
        event_free(&decoded);
        text_free(&value);
    }
}

/* An event with this in the place of its list. */
static int decode_with(const char *list) {
    struct event event = event_with(NULL, 0), decoded;
    struct text value = TEXT_EMPTY;
    struct error error;
    event_encode(&event, &value);
    static const char none[] = ",\"retiring\":[]";
    char *at = strstr(value.bytes, none);
    assert_non_null(at);
    char *changed = memory_format("%.*s%s%s", (int)(at - value.bytes), value.bytes, list, at + sizeof none - 1);
    int status = event_decode(changed, strlen(changed), &decoded, &error);
    if (status == 0)
        event_free(&decoded);
    else
        assert_int_equal(error.code, ERROR_INVALID);
    free(changed);
    text_free(&value);
    return status;
}

static void lists_that_do_not_fit_are_refused(void **state) {
    (void)state;
    assert_int_equal(decode_with(",\"retiring\":[{\"publicKey\":" KEY ",\"until\":1,\"new\":1}]"), 0);
    static const char *const bad[] = {
        "", /* absent */
        ",\"retiring\":null",
        ",\"retiring\":{}",
        ",\"retiring\":[null]",
        ",\"retiring\":[" KEY "]",
        ",\"retiring\":[{\"publicKey\":" KEY "}]",
        ",\"retiring\":[{\"publicKey\":null,\"until\":1}]",
        ",\"retiring\":[{\"publicKey\":\"key\",\"until\":1}]",
        ",\"retiring\":[{\"publicKey\":" KEY ",\"until\":0}]",
        ",\"retiring\":[{\"publicKey\":" KEY ",\"until\":1.5}]",
        ",\"retiring\":[{\"publicKey\":" KEY ",\"until\":\"2026-01-31T12:00:00.000Z\"}]",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(decode_with(bad[i]), -1);
    struct text many = TEXT_EMPTY;
    text_add_string(&many, ",\"retiring\":[");
    for (int i = 0; i < RETIRING_COUNT_MAX + 1; i++)
        text_add_format(&many, "%s{\"publicKey\":" KEY ",\"until\":1}", i ? "," : "");
    text_add_string(&many, "]");
    assert_int_equal(decode_with(many.bytes), -1);
    text_free(&many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaced_keys_come_back_as_they_were),
        cmocka_unit_test(lists_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests_name("replaced keys in events", tests, NULL, NULL);
}
