/* Which replicas are there: incarnations, fencing, heartbeats that stop, positions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "api/replicas.h"
#include "common/clock.h"

#define WORKER_1 "01890000-0000-7000-8000-000000000001"
#define WORKER_2 "01890000-0000-7000-8000-000000000002"
#define JWK "01890000-0000-7000-8000-00000000000a"
#define OTHER_JWK "01890000-0000-7000-8000-00000000000b"

enum { INTERVAL = 3000, OFFLINE_AFTER = MISSED_HEARTBEATS * INTERVAL + HEARTBEAT_SLACK_MS };

static struct presence presence_of(enum presence_kind kind, const char *worker, int64_t incarnation, bool ready) {
    return (struct presence){.kind = kind, .environment = "production", .replica = "edge-1", .worker = worker, .incarnation = incarnation,
                             .epoch = 1, .ready = ready, .interval_ms = INTERVAL, .version = "1", .time = "2026-01-01T00:00:00.000Z"};
}

struct step {
    struct replica *replica;
    enum replica_change change;
};

static struct step apply_any(struct replica_table *table, struct presence presence, int64_t offset, int64_t written,
                             bool is_proven, int64_t now) {
    struct step step;
    struct error error = {0};
    if (replicas_apply(table, &presence, offset, written, is_proven, now, &step.replica, &step.change, &error))
        fail_msg("%s", error.message);
    return step;
}

static struct step apply_written(struct replica_table *table, struct presence presence, int64_t offset, int64_t written,
                                 int64_t now) {
    return apply_any(table, presence, offset, written, false, now);
}

static struct step apply(struct replica_table *table, struct presence presence, int64_t offset, int64_t now) {
    return apply_written(table, presence, offset, 0, now);
}

static int gone_count;
static void count_gone(void *context, struct replica *replica) {
    assert_false(replica_is_live(replica));
    assert_ptr_equal(context, &gone_count);
    gone_count++;
}

static void a_replica_is_live_once_it_is_ready(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct step step = apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, false), 5, 100);
    assert_int_equal(step.change, REPLICA_SAME);
    assert_true(step.replica->connected);
    assert_false(replica_is_live(step.replica));
    assert_int_equal(step.replica->incarnation, 5);
    step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 6, 200);
    assert_int_equal(step.change, REPLICA_ARRIVED);
    assert_ptr_equal(step.replica, replicas_find(&table, "production", "edge-1"));
    step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 7, 300);
    assert_int_equal(step.change, REPLICA_POSITION);
    assert_null(replicas_find(&table, "production", "edge-2"));
    assert_null(replicas_find(&table, "staging", "edge-1"));
    replicas_free(&table);
}

static void a_later_hello_fences_the_earlier_worker(void **state) {
    (void)state;
    struct replica_table table = {0};
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 0);
    struct step step = apply(&table, presence_of(PRESENCE_HELLO, WORKER_2, -1, true), 6, 0);
    assert_string_equal(step.replica->worker, WORKER_2);
    step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 7, 0);
    assert_int_equal(step.change, REPLICA_SAME);
    step = apply(&table, presence_of(PRESENCE_GOODBYE, WORKER_1, 5, false), 8, 0);
    assert_int_equal(step.change, REPLICA_SAME);
    assert_string_equal(step.replica->worker, WORKER_2);
    assert_int_equal(step.replica->incarnation, 6);
    assert_true(replica_is_live(step.replica));
    replicas_free(&table);
}

/* It will see that its hello did not count, and say another. */
static void one_whose_hello_did_not_count_is_not_heard_until_one_does(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct presence hello = presence_of(PRESENCE_HELLO, WORKER_2, -1, true);
    apply_any(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 0, true, 0);
    apply_any(&table, hello, 6, 0, true, 0); /* had not seen the one before */
    struct step step = apply_any(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_2, 6, true), 7, 0, true, 0);
    assert_int_equal(step.change, REPLICA_SAME);
    assert_string_equal(step.replica->worker, WORKER_1);
    hello.after = 8;
    apply_any(&table, hello, 8, 0, true, 0);
    assert_string_equal(step.replica->worker, WORKER_2);
    assert_int_equal(step.replica->incarnation, 8);
    replicas_free(&table);
}

static struct presence numbered(struct presence presence, int64_t number) {
    presence.number = number;
    return presence;
}

static void what_a_worker_has_said_before_changes_nothing_when_it_comes_again(void **state) {
    (void)state;
    struct replica_table table = {0};
    const struct presence not_ready = numbered(presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, false), 2),
                          ready = numbered(presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 3);
    apply(&table, numbered(presence_of(PRESENCE_HELLO, WORKER_1, -1, false), 1), 5, 0);
    apply(&table, not_ready, 6, 0);
    assert_int_equal(apply(&table, ready, 7, 0).change, REPLICA_ARRIVED);
    assert_int_equal(apply(&table, not_ready, 8, 1).change, REPLICA_SAME);
    struct step step = apply(&table, ready, 9, OFFLINE_AFTER);
    assert_int_equal(step.change, REPLICA_SAME);
    assert_int_equal(step.replica->seen_at, 0);
    assert_int_equal(apply(&table, numbered(presence_of(PRESENCE_GOODBYE, WORKER_1, 5, false), 4), 10, 2).change, REPLICA_GONE);
    step = apply(&table, ready, 11, 3);
    assert_false(step.replica->connected);
    /* A number counts for its worker alone, and one that says hello again goes on. */
    apply(&table, numbered(presence_of(PRESENCE_HELLO, WORKER_2, -1, true), 1), 12, 4);
    step = apply(&table, numbered(presence_of(PRESENCE_HEARTBEAT, WORKER_2, 12, true), 2), 13, 5);
    assert_int_equal(step.change, REPLICA_POSITION);
    replicas_reset(&table, 6);
    apply(&table, numbered(presence_of(PRESENCE_HELLO, WORKER_2, -1, true), 3), 0, 7);
    step = apply(&table, numbered(presence_of(PRESENCE_HEARTBEAT, WORKER_2, 0, true), 4), 1, 8);
    assert_int_equal(step.change, REPLICA_POSITION);
    replicas_free(&table);
}

static void a_worker_that_numbers_nothing_is_heard_each_time(void **state) {
    (void)state;
    struct replica_table table = {0};
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 0);
    for (int64_t offset = 6; offset < 9; offset++) {
        struct step step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), offset, offset);
        assert_int_equal(step.replica->seen_at, offset);
    }
    replicas_free(&table);
}

/* Compaction may have removed the hello. */
static void a_heartbeat_alone_makes_a_replica_known(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct step step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 900, 0);
    assert_int_equal(step.change, REPLICA_ARRIVED);
    assert_int_equal(step.replica->incarnation, 5);
    replicas_free(&table);
}

static void a_restart_that_is_not_ready_is_gone_until_it_is(void **state) {
    (void)state;
    struct replica_table table = {0};
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 0);
    struct step step = apply(&table, presence_of(PRESENCE_HELLO, WORKER_2, -1, false), 6, 1000);
    assert_int_equal(step.change, REPLICA_GONE);
    assert_int_equal(step.replica->environment->left_at, 1000);
    step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_2, 6, true), 7, 2000);
    assert_int_equal(step.change, REPLICA_ARRIVED);
    replicas_free(&table);
}

static void a_goodbye_is_gone_and_not_offline(void **state) {
    (void)state;
    struct replica_table table = {0};
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 0);
    struct step step = apply(&table, presence_of(PRESENCE_GOODBYE, WORKER_1, 5, false), 6, 1000);
    assert_int_equal(step.change, REPLICA_GONE);
    assert_true(step.replica->left);
    assert_int_equal(step.replica->environment->left_at, 1000);
    gone_count = 0;
    assert_true(replicas_expire(&table, 1000000, count_gone, &gone_count) == INT64_MAX);
    assert_int_equal(gone_count, 0);
    replicas_free(&table);
}

static void heartbeats_that_stop_make_it_offline_once(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct step step = apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 1000);
    gone_count = 0;
    assert_int_equal(replicas_expire(&table, 1000 + OFFLINE_AFTER - 1, count_gone, &gone_count), 1000 + OFFLINE_AFTER);
    assert_int_equal(gone_count, 0);
    assert_true(replicas_expire(&table, 1000 + OFFLINE_AFTER, count_gone, &gone_count) == INT64_MAX);
    assert_int_equal(gone_count, 1);
    assert_false(step.replica->left);
    assert_true(step.replica->offline_wall > 0);
    replicas_expire(&table, 1000 + 2 * OFFLINE_AFTER, count_gone, &gone_count);
    assert_int_equal(gone_count, 1);
    step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 8, 50000);
    assert_int_equal(step.change, REPLICA_ARRIVED);
    replicas_free(&table);
}

/* As after a restart of this process, which reads what was written long ago. */
static void it_is_offline_since_its_last_record_was_written(void **state) {
    (void)state;
    enum { NOW = 5000, HOUR = 3600000 };
    int64_t last = clock_wall_ms() - 30 * (int64_t)HOUR;
    struct replica_table table = {0};
    apply_written(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, last - HOUR, NOW);
    struct step step = apply_written(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 5, true), 6, last, NOW);
    apply_written(&table, presence_of(PRESENCE_GOODBYE, WORKER_2, 3, true), 7, last + HOUR, NOW); /* of an earlier incarnation */
    /* Until its heartbeats are missed here it is waited for. */
    assert_true(replica_is_live(step.replica));
    gone_count = 0;
    assert_int_equal(replicas_expire(&table, NOW + OFFLINE_AFTER - 1, count_gone, &gone_count), NOW + OFFLINE_AFTER);
    assert_int_equal(gone_count, 0);
    replicas_expire(&table, NOW + OFFLINE_AFTER, count_gone, &gone_count);
    assert_int_equal(gone_count, 1);
    assert_int_equal(step.replica->offline_wall, last);
    assert_true(NOW - step.replica->offline_at > REPLICA_FORGET_MS);
    assert_true(NOW - step.replica->offline_at < 2 * (int64_t)REPLICA_FORGET_MS);
    assert_int_equal(step.replica->environment->left_at, NOW + OFFLINE_AFTER);
    replicas_free(&table);
}

static void of_one_that_is_heard_of_now_no_clock_says_that_it_was_away(void **state) {
    (void)state;
    enum { NOW = 5000 };
    struct replica_table table = {.caught_up = true};
    int64_t long_ago = clock_wall_ms() - 2 * (int64_t)REPLICA_FORGET_MS;
    struct step step = apply_written(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, long_ago, NOW);
    assert_int_equal(step.replica->offline_at, NOW);
    replicas_free(&table);
}

static void one_known_by_what_does_not_count_is_offline_since_then(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct step step = apply_written(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 500, true), 0, 7, 100); /* of an earlier topic */
    assert_false(step.replica->connected);
    assert_int_equal(step.replica->offline_wall, 7);
    replicas_free(&table);
}

static void a_record_of_the_future_or_of_no_time_is_of_now(void **state) {
    (void)state;
    const int64_t times[] = {INT64_MAX, clock_wall_ms() + REPLICA_FORGET_MS, 0, -1, INT64_MIN};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        struct replica_table table = {0};
        int64_t before = clock_wall_ms();
        struct step step = apply_written(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, times[i], 1000);
        replicas_expire(&table, 1000 + OFFLINE_AFTER, count_gone, &gone_count);
        assert_false(step.replica->connected);
        assert_in_range(step.replica->offline_wall, before, clock_wall_ms());
        assert_int_equal(step.replica->offline_at, 1000);
        replicas_free(&table);
    }
}

static void nobody_is_offline_because_this_process_stood_still(void **state) {
    (void)state;
    struct replica_table table = {0};
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 1000);
    replicas_excuse(&table, 60000);
    gone_count = 0;
    assert_int_equal(replicas_expire(&table, 61000, count_gone, &gone_count), 61000 + OFFLINE_AFTER);
    assert_int_equal(gone_count, 0);
    replicas_free(&table);
}

static void the_environment_is_left_when_its_last_replica_goes(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct presence other = presence_of(PRESENCE_HELLO, WORKER_2, -1, true);
    other.replica = "edge-2";
    struct replica_environment *environment = replicas_environment(&table, "production");
    assert_true(environment->left_at == INT64_MIN);
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 5, 0);
    apply(&table, other, 6, 0);
    apply(&table, presence_of(PRESENCE_GOODBYE, WORKER_1, 5, false), 7, 1000);
    assert_true(environment->left_at == INT64_MIN);
    other.kind = PRESENCE_GOODBYE;
    other.incarnation = 6;
    apply(&table, other, 8, 2000);
    assert_int_equal(environment->left_at, 2000);
    replicas_free(&table);
}

/* The workers of the earlier topic say hello again when they see that it is another one. Their offsets begin at 0 there, so that an
 * incarnation of the earlier topic must not fence them. */
static void workers_of_a_topic_made_again_are_heard(void **state) {
    (void)state;
    struct replica_table table = {0};
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 500, 0);
    replicas_reset(&table, 100);
    struct step step = apply(&table, presence_of(PRESENCE_HEARTBEAT, WORKER_1, 500, true), 0, 200);
    assert_int_equal(step.change, REPLICA_SAME);
    assert_int_equal(step.replica->incarnation, -1);
    step = apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 1, 300);
    assert_int_equal(step.replica->incarnation, 1);
    assert_true(replica_is_live(step.replica));
    replicas_free(&table);
}

static void positions_tell_what_is_applied(void **state) {
    (void)state;
    struct replica_table table = {0};
    const struct position positions[] = {{.partition = 0, .offset = 10, .sequence = 7}, {.partition = 3, .offset = 2, .sequence = 9}};
    struct presence presence = presence_of(PRESENCE_HELLO, WORKER_1, -1, true);
    presence.positions = positions;
    presence.position_count = 2;
    presence.epoch = 2;
    const struct replica *replica = apply(&table, presence, 5, 0).replica;
    bool failing = true;
    assert_true(replica_covers(replica, 2, 0, 7, JWK, &failing));
    assert_false(failing);
    assert_true(replica_covers(replica, 1, 3, 9, JWK, &failing));
    assert_false(replica_covers(replica, 2, 0, 8, JWK, &failing));
    assert_false(replica_covers(replica, 2, 1, 1, JWK, &failing));
    assert_false(replica_covers(replica, 3, 0, 7, JWK, &failing));
    /* Fewer and then none again. */
    presence.kind = PRESENCE_HEARTBEAT;
    presence.incarnation = 5;
    presence.position_count = 1;
    apply(&table, presence, 6, 0);
    assert_false(replica_covers(replica, 2, 3, 9, JWK, &failing));
    presence.position_count = 0;
    apply(&table, presence, 7, 0);
    assert_false(replica_covers(replica, 2, 0, 1, JWK, &failing));
    replicas_free(&table);
}

/* Of what the topic may have lost only a position behind its being published again tells. */
static void a_position_tells_nothing_of_what_is_to_be_published_again(void **state) {
    (void)state;
    struct replica_table table = {.floor = {.from = 7, .until = 20}};
    bool failing;
    struct position position = {.partition = 0, .offset = 50, .sequence = 19};
    struct presence presence = presence_of(PRESENCE_HELLO, WORKER_1, -1, true);
    presence.positions = &position;
    presence.position_count = 1;
    const struct replica *replica = apply(&table, presence, 0, 0).replica;
    assert_true(replica_covers(replica, 1, 0, 8, JWK, &failing));
    assert_false(replica_covers(replica, 1, 0, 7, JWK, &failing));
    presence.kind = PRESENCE_HEARTBEAT;
    presence.incarnation = 0;
    position.sequence = 20;
    apply(&table, presence, 1, 0);
    assert_true(replica_covers(replica, 1, 0, 7, JWK, &failing));
    replicas_free(&table);
}

static void what_is_of_a_store_that_was_adopted_later_covers_nothing(void **state) {
    (void)state;
    struct replica_table table = {.epoch = 2};
    bool failing;
    struct position position = {.partition = 0, .offset = 50, .sequence = 7};
    struct presence presence = presence_of(PRESENCE_HELLO, WORKER_1, -1, true);
    presence.positions = &position;
    presence.position_count = 1;
    presence.epoch = 2;
    const struct replica *replica = apply(&table, presence, 0, 0).replica;
    assert_false(replica->is_ahead);
    assert_true(replica_covers(replica, 2, 0, 7, JWK, &failing));
    presence.kind = PRESENCE_HEARTBEAT;
    presence.incarnation = 0;
    presence.epoch = 3;
    apply(&table, presence, 1, 0);
    assert_true(replica->is_ahead);
    assert_false(replica_covers(replica, 2, 0, 7, JWK, &failing));
    assert_false(replica_covers(replica, 1, 0, 1, JWK, &failing));
    replicas_free(&table);
}

static void a_failing_hook_is_told_and_not_guessed(void **state) {
    (void)state;
    struct replica_table table = {0};
    const struct position position = {.partition = 0, .offset = 10, .sequence = 7};
    const char *const failing_ids[] = {JWK};
    struct presence presence = presence_of(PRESENCE_HELLO, WORKER_1, -1, true);
    presence.positions = &position;
    presence.position_count = 1;
    presence.failing = failing_ids;
    presence.failing_count = 1;
    const struct replica *replica = apply(&table, presence, 5, 0).replica;
    bool failing;
    assert_true(replica_covers(replica, 1, 0, 7, JWK, &failing));
    assert_true(failing);
    assert_true(replica_covers(replica, 1, 0, 7, OTHER_JWK, &failing));
    assert_false(failing);
    presence.kind = PRESENCE_HEARTBEAT;
    presence.incarnation = 5;
    presence.failing_truncated = true;
    apply(&table, presence, 6, 0);
    assert_true(replica_covers(replica, 1, 0, 7, JWK, &failing));
    assert_true(failing);
    assert_false(replica_covers(replica, 1, 0, 7, OTHER_JWK, &failing));
    assert_false(failing);
    replicas_free(&table);
}

static void they_are_counted_by_what_they_are(void **state) {
    (void)state;
    enum { NOW = 1000 };
    struct replica_table table = {0};
    struct {
        const char *environment, *replica;
        bool ready, leaves;
    } const all[] = {{"production", "ready-1", true, false},    {"production", "ready-2", true, false},
                     {"production", "left", true, true},        {"production", "behind", false, false},
                     {"staging", "of another one", true, false}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct presence presence = presence_of(PRESENCE_HELLO, WORKER_1, -1, all[i].ready);
        presence.environment = all[i].environment;
        presence.replica = all[i].replica;
        apply(&table, presence, 5, NOW);
        presence.kind = PRESENCE_GOODBYE;
        presence.incarnation = 5;
        if (all[i].leaves)
            apply(&table, presence, 6, NOW);
    }
    struct replica_counts counts = replicas_count(&table, "production", NOW);
    assert_true(counts.ready == 2 && counts.catching_up == 1 && counts.offline == 0);
    apply(&table, presence_of(PRESENCE_HELLO, WORKER_1, -1, true), 7, NOW + OFFLINE_AFTER); /* edge-1 */
    replicas_expire(&table, NOW + OFFLINE_AFTER, count_gone, &gone_count);
    counts = replicas_count(&table, "production", NOW + OFFLINE_AFTER);
    assert_true(counts.ready == 1 && counts.catching_up == 0 && counts.offline == 3);
    counts = replicas_count(&table, "production", NOW + OFFLINE_AFTER + (int64_t)REPLICA_FORGET_MS);
    assert_true(counts.ready == 1 && counts.offline == 0);
    counts = replicas_count(&table, "unknown", NOW);
    assert_true(counts.ready == 0 && counts.catching_up == 0 && counts.offline == 0);
    replicas_free(&table);
}

static void their_number_is_bounded(void **state) {
    (void)state;
    struct replica_table table = {0};
    struct presence presence = presence_of(PRESENCE_HELLO, WORKER_1, -1, true);
    struct replica *replica;
    enum replica_change change;
    struct error error = {0};
    char name[32];
    presence.environment = name;
    for (int i = 0; i < ENVIRONMENTS_MAX; i++) {
        snprintf(name, sizeof name, "environment-%d", i);
        assert_int_equal(replicas_apply(&table, &presence, i, 0, false, 0, &replica, &change, &error), 0);
    }
    snprintf(name, sizeof name, "one-more");
    assert_int_equal(replicas_apply(&table, &presence, 5000, 0, false, 0, &replica, &change, &error), -1);
    assert_string_equal(error.message, "more than 1000 environments in the topic");
    assert_null(replicas_environment(&table, "one-more"));
    assert_non_null(replicas_environment(&table, "environment-7"));
    presence.environment = "environment-0";
    presence.replica = name;
    for (int i = (int)table.replica_count; i < UNPROVEN_MAX; i++) {
        snprintf(name, sizeof name, "replica-%d", i);
        assert_int_equal(replicas_apply(&table, &presence, i, 0, false, 0, &replica, &change, &error), 0);
    }
    snprintf(name, sizeof name, "one-more");
    assert_int_equal(replicas_apply(&table, &presence, 50000, 0, false, 0, &replica, &change, &error), -1);
    assert_string_equal(error.message, "more than 5000 replicas of environments without keys in the topic");
    for (int i = (int)table.replica_count; i < REPLICAS_MAX; i++) { /* what nobody has proved leaves room for what is */
        snprintf(name, sizeof name, "replica-%d", i);
        assert_int_equal(replicas_apply(&table, &presence, i, 0, true, 0, &replica, &change, &error), 0);
    }
    snprintf(name, sizeof name, "one-more");
    assert_int_equal(replicas_apply(&table, &presence, 50000, 0, true, 0, &replica, &change, &error), -1);
    assert_string_equal(error.message, "more than 10000 replicas in the topic");
    replicas_free(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_is_live_once_it_is_ready),
        cmocka_unit_test(a_later_hello_fences_the_earlier_worker),
        cmocka_unit_test(one_whose_hello_did_not_count_is_not_heard_until_one_does),
        cmocka_unit_test(what_a_worker_has_said_before_changes_nothing_when_it_comes_again),
        cmocka_unit_test(a_worker_that_numbers_nothing_is_heard_each_time),
        cmocka_unit_test(a_heartbeat_alone_makes_a_replica_known),
        cmocka_unit_test(a_restart_that_is_not_ready_is_gone_until_it_is),
        cmocka_unit_test(a_goodbye_is_gone_and_not_offline),
        cmocka_unit_test(heartbeats_that_stop_make_it_offline_once),
        cmocka_unit_test(it_is_offline_since_its_last_record_was_written),
        cmocka_unit_test(of_one_that_is_heard_of_now_no_clock_says_that_it_was_away),
        cmocka_unit_test(one_known_by_what_does_not_count_is_offline_since_then),
        cmocka_unit_test(a_record_of_the_future_or_of_no_time_is_of_now),
        cmocka_unit_test(nobody_is_offline_because_this_process_stood_still),
        cmocka_unit_test(the_environment_is_left_when_its_last_replica_goes),
        cmocka_unit_test(workers_of_a_topic_made_again_are_heard),
        cmocka_unit_test(positions_tell_what_is_applied),
        cmocka_unit_test(a_position_tells_nothing_of_what_is_to_be_published_again),
        cmocka_unit_test(what_is_of_a_store_that_was_adopted_later_covers_nothing),
        cmocka_unit_test(a_failing_hook_is_told_and_not_guessed),
        cmocka_unit_test(they_are_counted_by_what_they_are),
        cmocka_unit_test(their_number_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
