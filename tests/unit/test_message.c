/* The messages of the three topics: what is written is read back, and what does not fit is refused whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "common/message.h"

#define UUID_1 "01890000-0000-7000-8000-000000000001"
#define UUID_2 "01890000-0000-7000-8000-000000000002"
#define UUID_3 "01890000-0000-7000-8000-000000000003"
#define HASH "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
#define TIME "2026-01-31T12:00:00.000Z"
#define KEY "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

static struct event event_sample(void) {
    return (struct event){.operation = EVENT_UPDATE, .deployment_id = UUID_1, .epoch = 2, .version = 3, .sequence = 4,
                          .project_id = UUID_2, .project_name = "my \"project\"", .jwk_id = UUID_3, .name = "schlüssel",
                          .description = "line\nbreak", .type = "OKP", .kid = "k", .public_key = KEY, .actor = "alice", .time = TIME};
}

static struct ack ack_sample(void) {
    return (struct ack){.deployment_id = UUID_1, .event_id = "an id", .event_hash = HASH, .environment = "production", .replica = "edge-1",
                        .worker = UUID_2, .incarnation = 5, .jwk_id = UUID_3, .epoch = 2, .version = 3, .sequence = 4,
                        .status = ACK_FAILED, .message = "no room", .time = TIME};
}

static const struct position positions[] = {{.partition = 0, .offset = 10, .sequence = 4}, {.partition = 3, .offset = 0, .sequence = 0}};
static const char *const failing[] = {UUID_1, UUID_3};

static struct presence presence_sample(void) {
    return (struct presence){.kind = PRESENCE_HEARTBEAT, .environment = "production", .replica = "edge-1", .worker = UUID_2,
                             .incarnation = 5, .epoch = 2, .ready = true, .keys = 7, .interval_ms = 3000, .url = "http://127.0.0.1:1",
                             .version = "1.0", .positions = positions, .position_count = 2, .failing = failing, .failing_count = 2,
                             .failing_truncated = true, .number = 9, .time = TIME};
}

static void same(const char *one, const char *other) {
    if (one && other)
        assert_string_equal(one, other);
    else
        assert_ptr_equal(one, other);
}

/* ---- round trips ---- */

static void expect_event_comes_back(const struct event *event) {
    struct text value = TEXT_EMPTY, again = TEXT_EMPTY;
    struct event decoded;
    struct error error = {0};
    event_encode(event, &value);
    if (event_decode(value.bytes, value.length, &decoded, &error))
        fail_msg("%s: %s", error.message, value.bytes);
    assert_int_equal(decoded.operation, event->operation);
    same(decoded.deployment_id, event->deployment_id);
    assert_int_equal(decoded.epoch, event->epoch);
    assert_int_equal(decoded.version, event->version);
    assert_int_equal(decoded.sequence, event->sequence);
    same(decoded.project_id, event->project_id);
    same(decoded.project_name, event->project_name);
    same(decoded.jwk_id, event->jwk_id);
    same(decoded.name, event->name);
    same(decoded.description, event->description);
    same(decoded.type, event->type);
    same(decoded.kid, event->kid);
    same(decoded.public_key, event->public_key);
    same(decoded.actor, event->actor);
    same(decoded.time, event->time);
    event_encode(&decoded, &again);
    assert_string_equal(again.bytes, value.bytes);
    event_free(&decoded);
    event_free(&decoded); /* a second time does nothing */
    text_free(&value);
    text_free(&again);
}

static void events_come_back_as_they_were(void **state) {
    (void)state;
    struct event event = event_sample();
    expect_event_comes_back(&event);
    event.description = event.kid = event.public_key = NULL;
    event.operation = EVENT_DELETE;
    expect_event_comes_back(&event);
    event.description = "";
    event.operation = EVENT_REDEPLOY;
    event.sequence = ((int64_t)1 << 53) - 1;
    expect_event_comes_back(&event);
}

static void acks_come_back_as_they_were(void **state) {
    (void)state;
    for (enum ack_status status = ACK_APPLIED; status <= ACK_FAILED; status++) {
        struct ack ack = ack_sample(), decoded;
        struct text value = TEXT_EMPTY;
        struct error error = {0};
        ack.status = status;
        if (status == ACK_APPLIED)
            ack.message = NULL;
        ack_encode(&ack, &value);
        if (ack_decode(value.bytes, value.length, &decoded, &error))
            fail_msg("%s", error.message);
        same(decoded.deployment_id, ack.deployment_id);
        same(decoded.event_id, ack.event_id);
        same(decoded.event_hash, ack.event_hash);
        same(decoded.environment, ack.environment);
        same(decoded.replica, ack.replica);
        same(decoded.worker, ack.worker);
        assert_int_equal(decoded.incarnation, ack.incarnation);
        same(decoded.jwk_id, ack.jwk_id);
        assert_int_equal(decoded.epoch, ack.epoch);
        assert_int_equal(decoded.version, ack.version);
        assert_int_equal(decoded.sequence, ack.sequence);
        assert_int_equal(decoded.status, status);
        same(decoded.message, ack.message);
        same(decoded.time, ack.time);
        ack_free(&decoded);
        text_free(&value);
    }
}

static void presences_come_back_as_they_were(void **state) {
    (void)state;
    for (enum presence_kind kind = PRESENCE_HELLO; kind <= PRESENCE_GOODBYE; kind++) {
        struct presence presence = presence_sample(), decoded;
        struct text value = TEXT_EMPTY;
        struct error error = {0};
        presence.incarnation = kind == PRESENCE_HELLO ? -1 : 5;
        if (kind == PRESENCE_GOODBYE) {
            presence.position_count = presence.failing_count = 0;
            presence.url = NULL;
            presence.ready = presence.failing_truncated = false;
        }
        presence_encode(&presence, &value);
        if (presence_decode(value.bytes, value.length, kind, &decoded, &error))
            fail_msg("%s", error.message);
        assert_int_equal(decoded.kind, kind);
        same(decoded.environment, presence.environment);
        same(decoded.replica, presence.replica);
        same(decoded.worker, presence.worker);
        assert_int_equal(decoded.incarnation, presence.incarnation);
        assert_int_equal(decoded.epoch, presence.epoch);
        assert_int_equal(decoded.ready, presence.ready);
        assert_int_equal(decoded.keys, presence.keys);
        assert_int_equal(decoded.interval_ms, presence.interval_ms);
        same(decoded.url, presence.url);
        same(decoded.version, presence.version);
        assert_int_equal(decoded.position_count, presence.position_count);
        for (size_t i = 0; i < decoded.position_count; i++) {
            assert_int_equal(decoded.positions[i].partition, positions[i].partition);
            assert_int_equal(decoded.positions[i].offset, positions[i].offset);
            assert_int_equal(decoded.positions[i].sequence, positions[i].sequence);
        }
        assert_int_equal(decoded.failing_count, presence.failing_count);
        for (size_t i = 0; i < decoded.failing_count; i++)
            same(decoded.failing[i], failing[i]);
        assert_int_equal(decoded.failing_truncated, presence.failing_truncated);
        assert_int_equal(decoded.number, presence.number);
        same(decoded.time, presence.time);
        presence_free(&decoded);
        text_free(&value);
    }
}

/* ---- strictness ---- */

typedef int decoder(const char *value, size_t length, struct error *error);

static int decode_event(const char *value, size_t length, struct error *error) {
    struct event event;
    int status = event_decode(value, length, &event, error);
    event_free(&event); /* allowed after a failure as well */
    return status;
}

static int decode_ack(const char *value, size_t length, struct error *error) {
    struct ack ack;
    int status = ack_decode(value, length, &ack, error);
    ack_free(&ack);
    return status;
}

static int decode_presence(const char *value, size_t length, struct error *error) {
    struct presence presence;
    int status = presence_decode(value, length, PRESENCE_HEARTBEAT, &presence, error);
    presence_free(&presence);
    return status;
}

/* The text with its first `from` replaced; owned by the caller. */
static char *with(const char *text, const char *from, const char *to) {
    const char *at = strstr(text, from);
    if (!at)
        fail_msg("%s is not in %s", from, text);
    return memory_format("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

struct change {
    const char *from, *to;
};

static void expect_each_refused(decoder *decode, const char *good, const struct change *changes, size_t count) {
    struct error error = {0};
    if (decode(good, strlen(good), &error))
        fail_msg("%s", error.message);
    for (size_t i = 0; i < count; i++) {
        char *bad = with(good, changes[i].from, changes[i].to);
        error = (struct error){0};
        if (decode(bad, strlen(bad), &error) == 0)
            fail_msg("taken: %s", bad);
        assert_int_equal(error.code, ERROR_INVALID);
        assert_true(error.message[0] != '\0');
        free(bad);
    }
    /* Cut anywhere it is refused. */
    for (size_t length = 0; length < strlen(good); length++)
        assert_int_equal(decode(good, length, &error), -1);
    assert_int_equal(decode(NULL, 0, &error), -1);
    assert_string_equal(error.message, "message has no value");
    assert_int_equal(decode("[]", 2, &error), -1);
    assert_string_equal(error.message, "message is not a JSON object");
    char *more = with(good, "{", "{\"ofANewerSender\":{\"x\":[1]},");
    assert_int_equal(decode(more, strlen(more), &error), 0);
    free(more);
}

static void events_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const struct change changes[] = {
        {"\"update\"", "\"upsert\""}, {"\"operation\":\"update\",", ""}, {UUID_1, "01890000-0000-7000-8000-00000000000G"},
        {UUID_3, "x"}, {"\"epoch\":2", "\"epoch\":0"}, {"\"epoch\":2", "\"epoch\":\"2\""}, {"\"version\":3", "\"version\":0"},
        {"\"version\":3", "\"version\":3.5"}, {"\"sequence\":4", "\"sequence\":-4"}, {"\"sequence\":4", "\"sequence\":9007199254740993"},
        {"\"project\":{", "\"project\":[],\"x\":{"}, {"\"schl\xc3\xbcssel\"", "\"a/b\""}, {"\"schl\xc3\xbcssel\"", "\"\""},
        {"\"schl\xc3\xbcssel\"", "\"schl\xfcssel\""}, {"\"type\":\"OKP\"", "\"type\":null"}, {"\"kid\":\"k\"", "\"kid\":7"},
        {"\"description\":\"line\\nbreak\"", "\"description\":{}"}, {"\"publicKey\":{", "\"publicKey\":\"\",\"x\":{"},
        {"\"publicKey\":{", "\"x\":{"}, {"\"actor\":\"alice\"", "\"actor\":1"}, {"\"time\":\"" TIME "\"", "\"time\":null"},
        {"\"version\":3", "\"version\":3,\"version\":4"}, {"\"time\"", "\"time\":\"x\",\"time\""},
    };
    struct text value = TEXT_EMPTY;
    const struct event event = event_sample();
    event_encode(&event, &value);
    expect_each_refused(decode_event, value.bytes, changes, sizeof changes / sizeof *changes);
    text_free(&value);
}

static void acks_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const struct change changes[] = {
        {"\"failed\"", "\"done\""}, {"\"status\":\"failed\",", ""}, {"\"production\"", "\"..\""}, {"\"edge-1\"", "\"a\\u0007b\""},
        {UUID_2, "01890000-0000-7000-8000-00000000000A"}, {"\"incarnation\":5", "\"incarnation\":-1"},
        {"\"incarnation\":5", "\"incarnation\":true"}, {"\"eventHash\"", "\"hash\""}, {"\"eventId\":\"an id\"", "\"eventId\":null"},
        {"\"message\":\"no room\"", "\"message\":[]"}, {"\"version\":3", "\"version\":null"},
    };
    struct text value = TEXT_EMPTY;
    struct ack ack = ack_sample();
    ack_encode(&ack, &value);
    expect_each_refused(decode_ack, value.bytes, changes, sizeof changes / sizeof *changes);
    text_free(&value);
    char message[ACK_MESSAGE_MAX + 2];
    memset(message, 'x', sizeof message);
    message[ACK_MESSAGE_MAX] = '\0';
    ack.message = message;
    ack_encode(&ack, &value);
    struct error error;
    assert_int_equal(decode_ack(value.bytes, value.length, &error), 0);
    text_reset(&value);
    message[ACK_MESSAGE_MAX] = 'x';
    message[ACK_MESSAGE_MAX + 1] = '\0';
    ack_encode(&ack, &value);
    assert_int_equal(decode_ack(value.bytes, value.length, &error), -1);
    assert_string_equal(error.message, "message is longer than 500 bytes");
    text_free(&value);
}

static void presences_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const struct change changes[] = {
        {"\"incarnation\":5", "\"incarnation\":-2"}, {"\"intervalMs\":3000", "\"intervalMs\":0"},
        {"\"intervalMs\":3000", "\"intervalMs\":86400001"}, {"\"ready\":true", "\"ready\":1"}, {"\"keys\":7", "\"keys\":-1"},
        {"\"positions\":[{", "\"positions\":{},\"x\":[{"}, {"\"positions\":[{", "\"positions\":[7,{"},
        {"\"partition\":3", "\"partition\":-3"}, {"\"partition\":3", "\"partition\":2147483648"}, {"\"offset\":10", "\"offset\":-1"},
        {"\"offset\":10,", ""}, {"\"failing\":[", "\"failing\":[\"x\","}, {"\"failing\":[", "\"failing\":[null,"},
        {"\"failingTruncated\":true", "\"failingTruncated\":\"true\""}, {"\"url\":\"http://127.0.0.1:1\"", "\"url\":1"},
    };
    struct text value = TEXT_EMPTY;
    const struct presence presence = presence_sample();
    presence_encode(&presence, &value);
    expect_each_refused(decode_presence, value.bytes, changes, sizeof changes / sizeof *changes);
    text_free(&value);
}

static void lists_are_bounded(void **state) {
    (void)state;
    static struct position many_positions[POSITION_COUNT_MAX + 1];
    static const char *many_failing[FAILING_COUNT_MAX + 1];
    struct error error;
    for (int32_t i = 0; i <= POSITION_COUNT_MAX; i++)
        many_positions[i].partition = i;
    for (size_t i = 0; i <= FAILING_COUNT_MAX; i++)
        many_failing[i] = UUID_1;
    for (size_t more = 0; more < 3; more++) {
        struct text value = TEXT_EMPTY;
        struct presence presence = presence_sample();
        presence.positions = many_positions;
        presence.position_count = POSITION_COUNT_MAX + (more == 1);
        presence.failing = many_failing;
        presence.failing_count = FAILING_COUNT_MAX + (more == 2);
        presence_encode(&presence, &value);
        assert_int_equal(decode_presence(value.bytes, value.length, &error), more ? -1 : 0);
        text_free(&value);
    }
}

static void a_value_that_is_too_large_is_refused_unread(void **state) {
    (void)state;
    char *large = memory_new(MESSAGE_SIZE_MAX + 1);
    struct error error;
    memset(large, ' ', MESSAGE_SIZE_MAX + 1);
    assert_int_equal(decode_ack(large, MESSAGE_SIZE_MAX + 1, &error), -1);
    assert_string_equal(error.message, "message is larger than 1048576 bytes");
    free(large);
}

/* ---- names ---- */

static void names_follow_one_rule(void **state) {
    (void)state;
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"", "JWK name can not be empty!"},
        {"a/b", "JWK name can not have '/'!"},
        {".", "JWK name can not be '.'!"},
        {"..", "JWK name can not be '..'!"},
        {"a\tb", "JWK name can not have control characters!"},
        {"a\x7f", "JWK name can not have control characters!"},
        {"a\xc2\x85", "JWK name can not have control characters!"},
        {"a\xc3", "JWK name is not valid UTF-8!"},
        {"\xed\xa0\x80", "JWK name is not valid UTF-8!"},
    };
    static const char *const good[] = {"a", "...", ".a", "my-jwk", "mein schlüssel", "鍵", "\xc2\xa0", "a%2Fb", "a\\b", "😀"};
    struct error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(name_check("JWK", cases[i].name, &error), -1);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(error.code, ERROR_INVALID);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (name_check("JWK", good[i], &error))
            fail_msg("%s: %s", good[i], error.message);
    char name[NAME_LENGTH_MAX + 2];
    memset(name, 'x', sizeof name);
    name[NAME_LENGTH_MAX] = '\0';
    assert_int_equal(name_check("JWK", name, &error), 0);
    name[NAME_LENGTH_MAX] = 'x';
    name[NAME_LENGTH_MAX + 1] = '\0';
    assert_int_equal(name_check("Project", name, &error), -1);
    assert_string_equal(error.message, "Project name can not be longer than 255 bytes!");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_back_as_they_were),
        cmocka_unit_test(acks_come_back_as_they_were),
        cmocka_unit_test(presences_come_back_as_they_were),
        cmocka_unit_test(events_that_do_not_fit_are_refused),
        cmocka_unit_test(acks_that_do_not_fit_are_refused),
        cmocka_unit_test(presences_that_do_not_fit_are_refused),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(a_value_that_is_too_large_is_refused_unread),
        cmocka_unit_test(names_follow_one_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
