/* The audit trail in the store: one unbroken chain, whatever is rolled back, whoever writes, and where the topic ends. */
#include "store_fixture.h"

#include "api/audit_verify.h"
#include "api/store_audit.h"
#include "api/store_sql.h"

static const char *const environments[] = {"production"};

static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 1, environments);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

static int tell(struct store *store, const char *object) {
    struct error error = {0};
    return store_audit_command(store, "test", object, NULL, &error);
}

/* ---- what waits ---- */

struct waiting {
    struct text lines;
    int rows;
    size_t largest;
};

static bool take_row(void *context, int64_t sequence, const char *lines, size_t length) {
    struct waiting *waiting = context;
    const char *last = strrchr(lines, '\n');
    assert_int_equal(sequence, audit_line_sequence(last ? last + 1 : lines));
    assert_int_equal(length, strlen(lines));
    text_add_format(&waiting->lines, "%s\n", lines);
    waiting->largest = length > waiting->largest ? length : waiting->largest;
    waiting->rows++;
    return true;
}

/* All lines that wait, each with a line end, after checking their chain from the known line on; the caller frees them. */
static struct waiting read_chain(struct store *store, const struct audit_known *known) {
    struct waiting waiting = {.lines = TEXT_EMPTY};
    struct audit_head head;
    struct audit_known last;
    SUCCEEDS(store_audit_each(store, 0, take_row, &waiting, &error));
    SUCCEEDS(store_audit_head(store, &head, &error));
    struct audit_verifier *verifier = audit_verifier_new(NULL, known);
    const struct audit_place place = {.offset = -1};
    for (const char *at = waiting.lines.bytes, *next; at && *at; at = next + 1) {
        struct error error = {0};
        struct audit_line line;
        next = strchr(at, '\n');
        if (audit_verifier_take(verifier, at, (size_t)(next - at), &place, &line, &error) != AUDIT_NEW)
            fail_msg("%s", error.message);
        audit_line_free(&line);
    }
    audit_verifier_last(verifier, &last);
    if (last.sequence) {
        assert_int_equal(last.sequence, head.sequence);
        assert_string_equal(last.hash, head.hash);
    }
    audit_verifier_free(verifier);
    return waiting;
}

/* Checks that these objects, ended by NULL, and no others are told, in order. */
static void told(struct store *store, const char *const *objects) {
    struct waiting waiting = read_chain(store, NULL);
    const char *at = waiting.lines.bytes ? waiting.lines.bytes : "";
    for (size_t i = 0; objects[i]; i++) {
        char object[64];
        snprintf(object, sizeof object, "\"object\":\"%s\"", objects[i]);
        const char *end = strchr(at, '\n'), *found = strstr(at, object);
        if (!found || found > end)
            fail_msg("%s is not next in %s", objects[i], at);
        at = end + 1;
    }
    assert_string_equal(at, "");
    text_free(&waiting.lines);
}

static void tells(struct store *store, const char *object) {
    SUCCEEDS(store_begin(store, &error));
    assert_int_equal(tell(store, object), 0);
    SUCCEEDS(store_commit(store, &error));
}

/* ---- transactions ---- */

static void a_transaction_is_one_row(void **state) {
    struct store_fixture *fixture = *state;
    SUCCEEDS(store_begin(fixture->store, &error));
    for (int i = 0; i < 100; i++)
        assert_int_equal(tell(fixture->store, "x"), 0);
    SUCCEEDS(store_commit(fixture->store, &error));
    struct waiting waiting = read_chain(fixture->store, NULL);
    assert_int_equal(waiting.rows, 1);
    text_free(&waiting.lines);
}

static void a_transaction_without_lines_writes_none(void **state) {
    struct store_fixture *fixture = *state;
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    told(fixture->store, (const char *[]){NULL});
}

static void what_is_rolled_back_takes_its_lines_with_it(void **state) {
    struct store_fixture *fixture = *state;
    tells(fixture->store, "one");
    SUCCEEDS(store_begin(fixture->store, &error));
    assert_int_equal(tell(fixture->store, "lost"), 0);
    store_rollback(fixture->store);
    tells(fixture->store, "two");
    told(fixture->store, (const char *[]){"one", "two", NULL});
}

static void a_savepoint_that_is_rolled_back_takes_its_own_lines_alone(void **state) {
    struct store_fixture *fixture = *state;
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_savepoint(fixture->store, &error)); /* the first of the transaction: the chain's end was not read before */
    assert_int_equal(tell(fixture->store, "lost"), 0);
    assert_int_equal(store_rollback_savepoint(fixture->store), 0);
    assert_int_equal(tell(fixture->store, "one"), 0);
    SUCCEEDS(store_savepoint(fixture->store, &error));
    assert_int_equal(tell(fixture->store, "lost"), 0);
    assert_int_equal(tell(fixture->store, "lost"), 0);
    assert_int_equal(store_rollback_savepoint(fixture->store), 0);
    SUCCEEDS(store_savepoint(fixture->store, &error));
    assert_int_equal(tell(fixture->store, "two"), 0);
    SUCCEEDS(store_release(fixture->store, &error));
    assert_int_equal(tell(fixture->store, "three"), 0);
    SUCCEEDS(store_commit(fixture->store, &error));
    told(fixture->store, (const char *[]){"one", "two", "three", NULL});
}

static void two_connections_write_one_chain(void **state) {
    struct store_fixture *fixture = *state;
    struct store *other = fixture_connect(fixture, STORE_WRITE);
    tells(fixture->store, "one");
    tells(other, "two");
    tells(fixture->store, "three");
    assert_int_equal(tell(other, "four"), 0); /* outside of a transaction: in one of its own */
    store_close(other);
    told(fixture->store, (const char *[]){"one", "two", "three", "four", NULL});
}

static void count_call(void *context) {
    ++*(int *)context;
}

static void whoever_watches_is_told_of_commits_with_lines_alone(void **state) {
    struct store_fixture *fixture = *state;
    int calls = 0;
    store_audit_watch(fixture->store, count_call, &calls);
    tells(fixture->store, "one");
    assert_int_equal(calls, 1);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    SUCCEEDS(store_begin(fixture->store, &error));
    assert_int_equal(tell(fixture->store, "lost"), 0);
    store_rollback(fixture->store);
    assert_int_equal(calls, 1);
}

static void what_is_more_than_a_record_is_several_rows(void **state) {
    struct store_fixture *fixture = *state;
    char object[1000];
    memset(object, 'x', sizeof object - 1);
    object[sizeof object - 1] = '\0';
    SUCCEEDS(store_begin(fixture->store, &error));
    for (int i = 0; i < 1400; i++)
        assert_int_equal(tell(fixture->store, object), 0);
    SUCCEEDS(store_commit(fixture->store, &error));
    struct waiting waiting = read_chain(fixture->store, NULL);
    assert_in_range(waiting.rows, 3, 5);
    assert_in_range(waiting.largest, 1, AUDIT_RECORD_MAX);
    text_free(&waiting.lines);
}

static int64_t count_waiting(struct store *store) {
    int64_t lines = -1;
    SUCCEEDS(store_audit_waiting(store, &lines, &error));
    return lines;
}

static void lines_that_wait_are_counted(void **state) {
    struct store_fixture *fixture = *state;
    assert_int_equal(count_waiting(fixture->store), 0);
    SUCCEEDS(store_begin(fixture->store, &error));
    for (int i = 0; i < 3; i++)
        assert_int_equal(tell(fixture->store, "x"), 0);
    SUCCEEDS(store_commit(fixture->store, &error));
    tells(fixture->store, "y");
    assert_int_equal(count_waiting(fixture->store), 4);
    SUCCEEDS(store_audit_remove(fixture->store, 3, &error));
    assert_int_equal(count_waiting(fixture->store), 1);
    SUCCEEDS(store_audit_remove(fixture->store, 4, &error));
    assert_int_equal(count_waiting(fixture->store), 0);
}

static void delivered_rows_go_and_the_chain_goes_on(void **state) {
    struct store_fixture *fixture = *state;
    struct audit_head head;
    tells(fixture->store, "one");
    tells(fixture->store, "two");
    SUCCEEDS(store_audit_head(fixture->store, &head, &error));
    assert_int_equal(head.sequence, 2);
    SUCCEEDS(store_audit_remove(fixture->store, 1, &error));
    SUCCEEDS(store_audit_remove(fixture->store, 2, &error));
    told(fixture->store, (const char *[]){NULL});
    tells(fixture->store, "three");
    struct audit_known known = {.sequence = 2};
    memcpy(known.hash, head.hash, sizeof known.hash);
    struct waiting waiting = read_chain(fixture->store, &known);
    assert_int_equal(audit_line_sequence(waiting.lines.bytes), 3);
    text_free(&waiting.lines);
}

/* ---- what changes tell ---- */

static void a_change_tells_its_event_and_a_result_its_outcome(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    struct waiting waiting = read_chain(fixture->store, NULL);
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "\"type\":\"change\",\"actor\":\"alice\",\"project\":\"" PROJECT "\",\"jwk\":\"my-jwk\",\"jwkId\":\"%s\",\"operation\":\"create\","
             "\"changed\":null,\"epoch\":1,\"version\":1,\"deploymentId\":\"%s\",\"eventId\":\"%s\",\"eventHash\":\"%s\"}\n",
             change.jwk_id, change.deployment_id, change.outgoing->event_id, change.event_hash);
    assert_non_null(strstr(waiting.lines.bytes, wanted));
    text_free(&waiting.lines);
    SUCCEEDS(store_audit_remove(fixture->store, INT64_MAX, &error));
    struct store_outcome outcome = {.sequence = change.sequence, .environment_id = change.environments->items[0].id,
                                    .deployment_id = change.deployment_id, .environment_name = "production", .state = RESULT_PENDING,
                                    .message = "Timed out"};
    SUCCEEDS(store_set_result(fixture->store, &outcome, &error));
    outcome.state = RESULT_SUCCEEDED;
    outcome.message = NULL;
    outcome.settled_at = 5;
    SUCCEEDS(store_set_result(fixture->store, &outcome, &error));
    outcome.state = RESULT_PENDING; /* takes back nothing, so there is nothing to tell */
    SUCCEEDS(store_set_result(fixture->store, &outcome, &error));
    waiting = (struct waiting){.lines = TEXT_EMPTY};
    SUCCEEDS(store_audit_each(fixture->store, 0, take_row, &waiting, &error));
    snprintf(wanted, sizeof wanted,
             "\"deploymentId\":\"%s\",\"environment\":\"production\",\"settled\":false,\"success\":false,\"message\":\"Timed out\"}\n",
             change.deployment_id);
    assert_non_null(strstr(waiting.lines.bytes, wanted));
    snprintf(wanted, sizeof wanted,
             "\"deploymentId\":\"%s\",\"environment\":\"production\",\"settled\":true,\"success\":true,\"message\":null}\n",
             change.deployment_id);
    assert_non_null(strstr(waiting.lines.bytes, wanted));
    assert_int_equal(waiting.rows, 2);
    text_free(&waiting.lines);
    store_change_clear(&change);
}

/* ---- the topic's end ---- */

static enum audit_standing standing(struct store *store, int64_t sequence, const char *hash) {
    struct audit_head end = {.sequence = sequence};
    enum audit_standing result;
    strcpy(end.hash, hash);
    SUCCEEDS(store_audit_compare(store, &end, &result, &error));
    return result;
}

#define OTHER "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void the_topics_end_is_held_against_the_store(void **state) {
    struct store_fixture *fixture = *state;
    struct store *store = fixture->store;
    struct audit_head heads[7] = {0};
    assert_int_equal(standing(store, 0, ""), AUDIT_FITS);
    assert_int_equal(standing(store, 1, OTHER), AUDIT_AHEAD);
    for (int i = 1; i <= 6; i++) {
        tells(store, "x");
        SUCCEEDS(store_audit_head(store, &heads[i], &error));
    }
    assert_int_equal(standing(store, 0, ""), AUDIT_FITS); /* nothing was sent yet */
    SUCCEEDS(store_audit_remove(store, 3, &error));
    assert_int_equal(standing(store, 0, ""), AUDIT_LOST);
    assert_int_equal(standing(store, 2, heads[2].hash), AUDIT_LOST);
    assert_int_equal(standing(store, 3, heads[3].hash), AUDIT_FITS);
    assert_int_equal(standing(store, 3, OTHER), AUDIT_AHEAD);
    for (int i = 4; i <= 6; i++) { /* sent, and the mark is missing */
        assert_int_equal(standing(store, i, heads[i].hash), AUDIT_FITS);
        assert_int_equal(standing(store, i, OTHER), AUDIT_AHEAD);
    }
    assert_int_equal(standing(store, 7, OTHER), AUDIT_AHEAD);
    SUCCEEDS(store_audit_remove(store, 6, &error));
    assert_int_equal(standing(store, 6, heads[6].hash), AUDIT_FITS);
    assert_int_equal(standing(store, 6, OTHER), AUDIT_AHEAD);
    assert_int_equal(standing(store, 5, heads[5].hash), AUDIT_LOST);
}

static void a_store_that_was_put_back_goes_on_behind_the_topics_end(void **state) {
    struct store_fixture *fixture = *state;
    const struct audit_head end = {.sequence = 1000, .hash = OTHER};
    struct audit_known known = {.sequence = 1000, .hash = OTHER};
    tells(fixture->store, "one");
    tells(fixture->store, "two");
    SUCCEEDS(store_audit_remove(fixture->store, 1, &error));
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_audit_follow(fixture->store, &end, &error));
    assert_int_equal(tell(fixture->store, "three"), 0);
    SUCCEEDS(store_commit(fixture->store, &error));
    tells(fixture->store, "four");
    struct waiting waiting = read_chain(fixture->store, &known);
    assert_int_equal(audit_line_sequence(waiting.lines.bytes), 1001);
    assert_non_null(strstr(waiting.lines.bytes, "\"object\":\"two\""));
    assert_non_null(strstr(waiting.lines.bytes, "{\"sequence\":1003,"));
    assert_null(strstr(waiting.lines.bytes, "\"object\":\"one\""));
    assert_int_equal(standing(fixture->store, 1000, OTHER), AUDIT_FITS);
    text_free(&waiting.lines);
}

static void a_store_without_anything_waiting_goes_on_behind_the_topics_end_too(void **state) {
    struct store_fixture *fixture = *state;
    const struct audit_head end = {.sequence = 1000, .hash = OTHER};
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_audit_follow(fixture->store, &end, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(standing(fixture->store, 1000, OTHER), AUDIT_FITS);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        test(a_transaction_is_one_row),
        test(a_transaction_without_lines_writes_none),
        test(what_is_rolled_back_takes_its_lines_with_it),
        test(a_savepoint_that_is_rolled_back_takes_its_own_lines_alone),
        test(two_connections_write_one_chain),
        test(whoever_watches_is_told_of_commits_with_lines_alone),
        test(what_is_more_than_a_record_is_several_rows),
        test(lines_that_wait_are_counted),
        test(delivered_rows_go_and_the_chain_goes_on),
        test(a_change_tells_its_event_and_a_result_its_outcome),
        test(the_topics_end_is_held_against_the_store),
        test(a_store_that_was_put_back_goes_on_behind_the_topics_end),
        test(a_store_without_anything_waiting_goes_on_behind_the_topics_end_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
