/* Lines of the audit trail: what is written is read again as it was, and told so that it can do no harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/audit_line.h"

#define HASH "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg"

static const struct audit_entry change = {.type = AUDIT_CHANGE, .time = 1769860800000, .actor = "alice", .project = "my-project", .jwk = "my-jwk",
                                          .jwk_id = "j", .operation = "update", .changed = "name,description", .epoch = 1, .version = 2,
                                          .deployment_id = "d", .event_id = "e", .event_hash = HASH};
static const struct audit_entry outcome = {.type = AUDIT_OUTCOME, .time = 1769860800000, .deployment_id = "d", .environment = "production",
                                           .settled = true, .message = "Deployment failed on replica edge-1: no room"};
static const struct audit_entry refusal = {.type = AUDIT_REFUSAL, .time = 1769860800000, .status = 403, .actor = "alice", .address = "::1",
                                           .method = "PUT", .path = "/x", .count = 3};
static const struct audit_entry more = {.type = AUDIT_REFUSAL, .time = 1769860800000, .count = 12345};
static const struct audit_entry command = {.type = AUDIT_ADMINISTRATION, .time = 1769860800000, .actor = "root", .user_id = 0, .login = "bob",
                                           .command = "project add", .object = "my-project", .detail = "x"};
static const struct audit_entry issue = {.type = AUDIT_ADMINISTRATION, .time = 1769860800000, .actor = "alice", .user_id = -1,
                                         .address = "10.0.0.1", .command = "token issue", .object = "t"};
static const struct audit_entry start = {.type = AUDIT_START, .time = 1769860800000, .actor = "jwk", .user_id = 7, .program_version = "1", .epoch = 2};
static const struct audit_entry stop = {.type = AUDIT_STOP, .time = 1769860800000, .actor = "jwk", .user_id = 7};

/* Checks how an entry is written, and how it is told after it was read. */
static void reads(const struct audit_entry *entry, const char *wanted, const char *told) {
    struct text text = TEXT_EMPTY, sentence = TEXT_EMPTY;
    struct audit_line line;
    struct error error = {0};
    audit_line_write(&text, 17, HASH, entry);
    assert_string_equal(text.bytes, wanted);
    assert_int_equal(audit_line_sequence(text.bytes), 17);
    assert_true(audit_line_follows(text.bytes, HASH));
    if (audit_line_read(text.bytes, text.length, &line, &error))
        fail_msg("%s", error.message);
    assert_int_equal(line.sequence, 17);
    assert_string_equal(line.previous, HASH);
    assert_int_equal(line.entry.type, entry->type);
    assert_int_equal(line.entry.time, entry->time);
    audit_line_tell(&line, &sentence);
    assert_string_equal(sentence.bytes, told);
    audit_line_free(&line);
    text_free(&text);
    text_free(&sentence);
}

#define PLACE "{\"sequence\":17,\"previous\":\"" HASH "\",\"time\":\"2026-01-31T12:00:00.000Z\",\"type\":"

static void each_type_reads_as_it_was_written(void **state) {
    (void)state;
    reads(&change,
          PLACE "\"change\",\"actor\":\"alice\",\"project\":\"my-project\",\"jwk\":\"my-jwk\",\"jwkId\":\"j\",\"operation\":\"update\","
                "\"changed\":\"name,description\",\"epoch\":1,\"version\":2,\"deploymentId\":\"d\",\"eventId\":\"e\",\"eventHash\":\"" HASH "\"}",
          "17 2026-01-31T12:00:00.000Z change         alice updated my-jwk of my-project (name,description), version 2, deployment d");
    reads(&outcome,
          PLACE "\"outcome\",\"deploymentId\":\"d\",\"environment\":\"production\",\"settled\":true,\"success\":false,"
                "\"message\":\"Deployment failed on replica edge-1: no room\"}",
          "17 2026-01-31T12:00:00.000Z outcome        production: failed: Deployment failed on replica edge-1: no room, deployment d");
    reads(&refusal, PLACE "\"refusal\",\"status\":403,\"actor\":\"alice\",\"address\":\"::1\",\"method\":\"PUT\",\"path\":\"/x\",\"count\":3}",
          "17 2026-01-31T12:00:00.000Z refusal        403 PUT /x from ::1 by alice, 3 times");
    reads(&more, PLACE "\"refusal\",\"status\":null,\"actor\":null,\"address\":null,\"method\":null,\"path\":null,\"count\":12345}",
          "17 2026-01-31T12:00:00.000Z refusal        12345 more calls of different sorts were refused");
    reads(&command,
          PLACE "\"administration\",\"actor\":\"root\",\"userId\":0,\"login\":\"bob\",\"address\":null,\"command\":\"project add\","
                "\"object\":\"my-project\",\"detail\":\"x\"}",
          "17 2026-01-31T12:00:00.000Z administration root (user id 0, logged in as bob): project add my-project (x)");
    reads(&issue,
          PLACE "\"administration\",\"actor\":\"alice\",\"userId\":null,\"login\":null,\"address\":\"10.0.0.1\",\"command\":\"token issue\","
                "\"object\":\"t\",\"detail\":null}",
          "17 2026-01-31T12:00:00.000Z administration alice (from 10.0.0.1): token issue t");
    reads(&start, PLACE "\"start\",\"actor\":\"jwk\",\"userId\":7,\"login\":null,\"version\":\"1\",\"epoch\":2}",
          "17 2026-01-31T12:00:00.000Z start          jwk-api 1, started by jwk (user id 7)");
    reads(&stop, PLACE "\"stop\",\"actor\":\"jwk\",\"userId\":7,\"login\":null}",
          "17 2026-01-31T12:00:00.000Z stop           jwk-api of jwk (user id 7)");
}

static void what_comes_from_outside_steers_no_terminal(void **state) {
    (void)state;
    struct audit_entry entry = outcome;
    struct text text = TEXT_EMPTY, sentence = TEXT_EMPTY;
    struct audit_line line;
    struct error error;
    entry.message = "\x1b[2J\n\x7f\xc2\x9b" "1m \xc3\xa4";
    audit_line_write(&text, 1, "", &entry);
    assert_null(strchr(text.bytes, '\n'));
    assert_int_equal(audit_line_read(text.bytes, text.length, &line, &error), 0);
    assert_string_equal(line.entry.message, entry.message);
    audit_line_tell(&line, &sentence);
    assert_non_null(strstr(sentence.bytes, "failed: ?[2J????1m \xc3\xa4, deployment d"));
    for (const char *at = sentence.bytes; *at; at++)
        assert_true((unsigned char)*at >= ' ' && *at != 0x7f);
    audit_line_free(&line);
    text_free(&text);
    text_free(&sentence);
}

static void a_moved_line_is_the_same_but_for_its_place(void **state) {
    (void)state;
    struct text first = TEXT_EMPTY, moved = TEXT_EMPTY, wanted = TEXT_EMPTY;
    audit_line_write(&first, 1, "", &change);
    audit_line_move(&moved, first.bytes, first.length, 1000, HASH);
    audit_line_write(&wanted, 1000, HASH, &change);
    assert_string_equal(moved.bytes, wanted.bytes);
    assert_true(audit_line_follows(first.bytes, ""));
    assert_false(audit_line_follows(moved.bytes, ""));
    text_reset(&first);
    audit_line_move(&first, moved.bytes, moved.length, 2, "x");
    text_reset(&wanted);
    audit_line_write(&wanted, 2, "x", &change);
    assert_string_equal(first.bytes, wanted.bytes);
    text_free(&first);
    text_free(&moved);
    text_free(&wanted);
}

static void what_is_signed_reads_as_it_was_written(void **state) {
    (void)state;
    struct text text = TEXT_EMPTY;
    struct error error;
    int64_t sequence;
    char hash[SHA256_TEXT_SIZE];
    audit_signed_write(&text, 9007199254740991, HASH);
    assert_string_equal(text.bytes, "{\"sequence\":9007199254740991,\"hash\":\"" HASH "\"}");
    assert_int_equal(audit_signed_read(text.bytes, text.length, &sequence, hash, &error), 0);
    assert_int_equal(sequence, 9007199254740991);
    assert_string_equal(hash, HASH);
    static const char *const wrong[] = {"{}", "{\"sequence\":0,\"hash\":\"" HASH "\"}", "{\"sequence\":1,\"hash\":\"short\"}", "[]", "1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(audit_signed_read(wrong[i], strlen(wrong[i]), &sequence, hash, &error), -1);
    text_free(&text);
}

static void each_type_has_its_name(void **state) {
    (void)state;
    enum audit_type found;
    for (enum audit_type type = AUDIT_CHANGE; type < AUDIT_OTHER; type++) {
        assert_int_equal(audit_type_parse(audit_type_name(type), &found), 0);
        assert_int_equal(found, type);
    }
    assert_int_equal(audit_type_parse("other", &found), -1);
    assert_int_equal(audit_type_parse("", &found), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_reads_as_it_was_written),
        cmocka_unit_test(what_comes_from_outside_steers_no_terminal),
        cmocka_unit_test(a_moved_line_is_the_same_but_for_its_place),
        cmocka_unit_test(what_is_signed_reads_as_it_was_written),
        cmocka_unit_test(each_type_has_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
