/* What messages carry so that they can be trusted: sealed private halves, replica keys and enrolments, and which hello counts. */
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
#define KEY "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}"
#define JWE "{\"protected\":\"e30\",\"recipients\":[{\"header\":{\"kid\":\"k\"},\"encrypted_key\":\"AA\"}],\"tag\":\"AA\"}"
#define TIME "2026-01-31T12:00:00.000Z"

static struct event event_sample(const char *private_key) {
    return (struct event){.operation = EVENT_UPDATE, .deployment_id = UUID, .epoch = 1, .version = 2, .sequence = 3,
                          .project_id = UUID, .project_name = "project", .jwk_id = UUID, .name = "one", .type = "OKP",
                          .public_key = KEY, .private_key = private_key, .actor = "alice", .time = TIME};
}

static struct presence presence_sample(void) {
    return (struct presence){.kind = PRESENCE_HELLO, .environment = "production", .replica = "edge-1", .worker = UUID,
                             .incarnation = -1, .interval_ms = 3000, .version = "1.0", .replica_key = KEY,
                             .enrolment = "e30.e30.AA", .after = 7, .time = TIME};
}

static void a_sealed_private_half_comes_back_as_it_was(void **state) {
    (void)state;
    const struct event sealed = event_sample(JWE), none = event_sample(NULL);
    struct event decoded;
    struct text value = TEXT_EMPTY;
    struct error error = {0};
    event_encode(&sealed, &value);
    if (event_decode(value.bytes, value.length, &decoded, &error))
        fail_msg("%s", error.message);
    assert_string_equal(decoded.private_key, JWE);
    assert_string_equal(decoded.public_key, KEY);
    event_free(&decoded);
    text_reset(&value);
    event_encode(&none, &value);
    assert_null(strstr(value.bytes, "privateKey"));
    assert_int_equal(event_decode(value.bytes, value.length, &decoded, &error), 0);
    assert_null(decoded.private_key);
    event_free(&decoded);
    text_free(&value);
}

/* The text with its first `from` replaced; owned by the caller. */
static char *with(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("%s is not in %s", from, text);
    return memory_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void a_private_half_that_is_no_object_is_refused(void **state) {
    (void)state;
    const struct event event = event_sample(JWE);
    struct event decoded;
    struct text value = TEXT_EMPTY;
    struct error error = {0};
    event_encode(&event, &value);
    char *bad = with(value.bytes, "\"privateKey\":{", "\"privateKey\":\"\",\"x\":{");
    assert_int_equal(event_decode(bad, strlen(bad), &decoded, &error), -1);
    assert_string_equal(error.message, "privateKey is neither an object nor null");
    free(bad);
    text_free(&value);
}

static void what_enrols_a_replica_comes_back_as_it_was(void **state) {
    (void)state;
    struct presence presence = presence_sample(), decoded;
    struct text value = TEXT_EMPTY;
    struct error error = {0};
    presence_encode(&presence, &value);
    if (presence_decode(value.bytes, value.length, PRESENCE_HELLO, &decoded, &error))
        fail_msg("%s", error.message);
    assert_string_equal(decoded.replica_key, KEY);
    assert_string_equal(decoded.enrolment, "e30.e30.AA");
    assert_int_equal(decoded.after, 7);
    presence_free(&decoded);
    text_reset(&value);
    presence.replica_key = presence.enrolment = NULL;
    presence.after = 0;
    presence_encode(&presence, &value);
    assert_null(strstr(value.bytes, "replicaKey"));
    assert_null(strstr(value.bytes, "enrolment"));
    assert_null(strstr(value.bytes, "after"));
    assert_int_equal(presence_decode(value.bytes, value.length, PRESENCE_HELLO, &decoded, &error), 0);
    assert_null(decoded.replica_key);
    assert_null(decoded.enrolment);
    assert_int_equal(decoded.after, 0);
    presence_free(&decoded);
    text_free(&value);
}

static void presence_with_half_an_enrolment_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"\"enrolment\":\"e30.e30.AA\",", ""},
        {"\"replicaKey\":" KEY ",", ""},
        {"\"enrolment\":\"e30.e30.AA\"", "\"enrolment\":{}"},
        {"\"replicaKey\":{", "\"replicaKey\":\"\",\"x\":{"},
        {"\"after\":7", "\"after\":-1"},
        {"\"after\":7", "\"after\":\"7\""},
    };
    const struct presence presence = presence_sample();
    struct presence decoded;
    struct text value = TEXT_EMPTY;
    struct error error = {0};
    presence_encode(&presence, &value);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *bad = with(value.bytes, cases[i].from, cases[i].to);
        if (presence_decode(bad, strlen(bad), PRESENCE_HELLO, &decoded, &error) == 0)
            fail_msg("taken: %s", bad);
        free(bad);
    }
    char *long_enrolment = memory_new(ENROLMENT_MAX + 3);
    memset(long_enrolment, 'x', ENROLMENT_MAX + 2);
    long_enrolment[ENROLMENT_MAX + 1] = '\0';
    struct presence large = presence_sample();
    large.enrolment = long_enrolment;
    text_reset(&value);
    presence_encode(&large, &value);
    assert_int_equal(presence_decode(value.bytes, value.length, PRESENCE_HELLO, &decoded, &error), -1);
    assert_string_equal(error.message, "replicaKey or enrolment is too long");
    free(long_enrolment);
    text_free(&value);
}

static void an_enrolment_comes_back_as_it_was(void **state) {
    (void)state;
    const struct enrolment enrolment = {.environment = "production", .replica = "edge-1", .worker = UUID, .jwk = KEY};
    struct enrolment decoded;
    struct text value = TEXT_EMPTY;
    struct error error = {0};
    enrolment_encode(&enrolment, &value);
    if (enrolment_decode(value.bytes, value.length, &decoded, &error))
        fail_msg("%s", error.message);
    assert_string_equal(decoded.environment, "production");
    assert_string_equal(decoded.replica, "edge-1");
    assert_string_equal(decoded.worker, UUID);
    assert_string_equal(decoded.jwk, KEY);
    enrolment_free(&decoded);
    for (size_t length = 0; length < value.length; length++)
        assert_int_equal(enrolment_decode(value.bytes, length, &decoded, &error), -1);
    char *bad = with(value.bytes, "\"jwk\":{", "\"key\":{");
    assert_int_equal(enrolment_decode(bad, strlen(bad), &decoded, &error), -1);
    free(bad);
    text_free(&value);
}

static void a_hello_counts_only_when_it_knew_the_present_one(void **state) {
    (void)state;
    static const struct {
        int64_t after, offset, present;
        bool demanded, counts;
    } cases[] = {
        {0, 0, -1, true, true},    /* the first record of the topic */
        {0, 9, -1, true, true},    /* the topic was empty when it was written, others came first */
        {5, 5, 4, true, true},     /* directly behind the present one */
        {5, 9, 4, true, true},     /* others' records lie in between */
        {5, 9, 5, true, false},    /* the present one was written after it looked: a race that it lost */
        {5, 9, 7, true, false},    /* a copy of a hello that counted once */
        {5, 4, 1, true, false},    /* it can not have seen what comes behind it: it is of an earlier topic */
        {0, 9, 4, true, false},    /* it does not tell */
        {0, 9, 4, false, true},    /* … which is enough where workers are not enrolled */
        {0, 4, 4, false, false},   /* … though not twice */
        {5, 9, 5, false, false},   /* who tells is held to it */
        {5, 9, 4, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct presence hello = presence_sample();
        hello.after = cases[i].after;
        if (presence_hello_counts(&hello, cases[i].offset, cases[i].present, cases[i].demanded) != cases[i].counts)
            fail_msg("case %zu", i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sealed_private_half_comes_back_as_it_was),
        cmocka_unit_test(a_private_half_that_is_no_object_is_refused),
        cmocka_unit_test(what_enrols_a_replica_comes_back_as_it_was),
        cmocka_unit_test(presence_with_half_an_enrolment_is_refused),
        cmocka_unit_test(an_enrolment_comes_back_as_it_was),
        cmocka_unit_test(a_hello_counts_only_when_it_knew_the_present_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
