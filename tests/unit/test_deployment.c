/* The deployment that somebody waits for: whom it waits for, when it is settled, and the sentences, letter by letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <regex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/deployment.h"
#include "common/clock.h"
#include "common/memory.h"

#define JWK "01890000-0000-7000-8000-00000000000a"
#define WORKER "01890000-0000-7000-8000-000000000001"
#define TIME_PATTERN "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{3}Z"

enum { GRACE = 30000, SEQUENCE = 7, PARTITION = 2 };

struct world {
    struct replica_table replicas;
    struct deployment *deployment;
    int64_t offset; /* of the next record of the workers topic */
};

/* A deployment to the environments named; count may be 0. */
static void begin(struct world *world, enum event_operation operation, size_t count, const char *const *names) {
    struct store_environments *environments = memory_new(sizeof *environments + count * sizeof environments->items[0]);
    atomic_init(&environments->references, 1);
    environments->count = count;
    for (size_t i = 0; i < count; i++) {
        environments->items[i].id = (int64_t)i + 1;
        snprintf(environments->items[i].name, sizeof environments->items[i].name, "%s", names[i]);
    }
    struct store_change change = {.sequence = SEQUENCE, .epoch = 1, .version = 3, .partition = PARTITION, .jwk_id = JWK,
                                  .environments = environments};
    world->deployment = deployment_new(&change, operation, 10000, NULL, NULL);
    assert_null(change.environments);
    deployment_begin(world->deployment, &world->replicas, clock_monotonic_ms(), GRACE);
}

static void end(struct world *world) {
    if (world->deployment)
        deployment_free(world->deployment);
    replicas_free(&world->replicas);
    *world = (struct world){0};
}

/* One record about a replica, as the gatherer takes it. sequence 0: it tells no position. */
static struct replica *tell(struct world *world, enum presence_kind kind, const char *environment, const char *name, bool ready,
                            int64_t sequence) {
    const struct position position = {.partition = PARTITION, .offset = 1, .sequence = sequence};
    struct replica *replica = replicas_find(&world->replicas, environment, name);
    struct presence presence = {.kind = kind, .environment = environment, .replica = name, .worker = WORKER,
                                .incarnation = replica ? replica->incarnation : 0, .epoch = 1, .ready = ready, .interval_ms = 1000,
                                .positions = &position, .position_count = sequence > 0};
    enum replica_change change;
    struct error error;
    assert_int_equal(replicas_apply(&world->replicas, &presence, ++world->offset, 0, false, clock_monotonic_ms(), &replica, &change, &error), 0);
    if (world->deployment && change == REPLICA_ARRIVED)
        deployment_replica_arrived(world->deployment, replica);
    else if (world->deployment && change == REPLICA_POSITION)
        deployment_replica_position(world->deployment, replica);
    else if (world->deployment && change == REPLICA_GONE)
        deployment_replica_gone(world->deployment, replica);
    return replica;
}

static struct replica *hello(struct world *world, const char *environment, const char *name) {
    return tell(world, PRESENCE_HELLO, environment, name, true, 0);
}

static void lose(void *context, struct replica *replica) {
    struct world *world = context;
    if (world->deployment)
        deployment_replica_gone(world->deployment, replica);
}

/* Its heartbeats stop, and nobody else's. */
static void go_offline(struct world *world, struct replica *replica) {
    replica->seen_at = INT64_MIN / 2;
    replicas_expire(&world->replicas, clock_monotonic_ms(), lose, world);
    assert_false(replica->connected);
}

static const struct environment_outcome *outcome(const struct world *world, size_t index) {
    return &world->deployment->outcomes[index];
}

static void expect_settled(const struct world *world, enum result_state state, const char *message) {
    assert_true(outcome(world, 0)->settled);
    assert_int_equal(outcome(world, 0)->state, state);
    if (message) {
        assert_non_null(outcome(world, 0)->message);
        assert_string_equal(outcome(world, 0)->message, message);
    } else {
        assert_null(outcome(world, 0)->message);
    }
    assert_int_equal(world->deployment->unsettled, 0);
}

static void expect_match(const char *message, const char *pattern) {
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, message, 0, NULL, 0) != 0)
        fail_msg("\"%s\" is not like \"%s\"", message, pattern);
    regfree(&regex);
}

#define PRODUCTION 1, (const char *const[]){"production"}

static void without_environments_nothing_is_waited_for(void **state) {
    (void)state;
    struct world world = {0};
    begin(&world, EVENT_UPDATE, 0, NULL);
    assert_int_equal(world.deployment->unsettled, 0);
    deployment_give_up(world.deployment, NULL);
    end(&world);
}

static void it_succeeds_when_every_live_replica_has_applied(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
    struct replica *elsewhere = hello(&world, "staging", "edge-1");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL); /* the same ack twice counts once */
    deployment_note(world.deployment, elsewhere, EXPECT_APPLIED, NULL);
    assert_false(outcome(&world, 0)->settled);
    deployment_note(world.deployment, two, EXPECT_APPLIED, NULL);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    deployment_note(world.deployment, two, EXPECT_FAILED, "too late to change the answer");
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void each_environment_is_settled_by_itself(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *production = hello(&world, "production", "edge-1"), *staging = hello(&world, "staging", "edge-1");
    begin(&world, EVENT_UPDATE, 2, (const char *const[]){"production", "staging"});
    deployment_note(world.deployment, staging, EXPECT_APPLIED, NULL);
    assert_false(outcome(&world, 0)->settled);
    assert_true(outcome(&world, 1)->settled);
    assert_int_equal(world.deployment->unsettled, 1);
    deployment_note(world.deployment, production, EXPECT_APPLIED, NULL);
    assert_int_equal(world.deployment->unsettled, 0);
    end(&world);
}

static void a_failure_names_its_replica(void **state) {
    (void)state;
    static const struct {
        enum event_operation operation;
        const char *message;
    } cases[] = {{EVENT_UPDATE, "Deployment failed on replica edge-1: gateway did not reload"},
                 {EVENT_DELETE, "Undeployment failed on replica edge-1: gateway did not reload"}};
    for (size_t i = 0; i < 2; i++) {
        struct world world = {0};
        struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
        begin(&world, cases[i].operation, PRODUCTION);
        deployment_note(world.deployment, one, EXPECT_FAILED, "gateway did not reload");
        assert_false(outcome(&world, 0)->settled);
        deployment_note(world.deployment, two, EXPECT_APPLIED, NULL);
        expect_settled(&world, RESULT_FAILED, cases[i].message);
        end(&world);
    }
}

static void several_failures_are_counted(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_FAILED, NULL);
    deployment_note(world.deployment, two, EXPECT_FAILED, NULL);
    expect_match(outcome(&world, 0)->message, "^Deployment failed on replica edge-[12] [(]and 1 more[)]: no reason given$");
    end(&world);
}

static void a_failure_that_passes_in_time_is_no_failure(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_FAILED, "not yet");
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    deployment_note(world.deployment, two, EXPECT_APPLIED, NULL);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void a_replica_that_goes_offline_is_not_waited_for(void **state) {
    (void)state;
    static const struct {
        enum event_operation operation;
        const char *pattern;
    } cases[] = {{EVENT_UPDATE, "^Deployed successfully to 2 of 3 replicas; edge-3 has been offline since " TIME_PATTERN
                                " and catches up when it connects$"},
                 {EVENT_DELETE, "^Undeployed successfully from 2 of 3 replicas; edge-3 has been offline since " TIME_PATTERN
                                " and catches up when it connects$"}};
    for (size_t i = 0; i < 2; i++) {
        struct world world = {0};
        struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
        struct replica *three = hello(&world, "production", "edge-3");
        begin(&world, cases[i].operation, PRODUCTION);
        deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
        deployment_note(world.deployment, two, EXPECT_APPLIED, NULL);
        assert_false(outcome(&world, 0)->settled);
        go_offline(&world, three);
        assert_true(outcome(&world, 0)->settled);
        assert_int_equal(outcome(&world, 0)->state, RESULT_SUCCEEDED);
        expect_match(outcome(&world, 0)->message, cases[i].pattern);
        end(&world);
    }
}

static void one_that_was_offline_before_is_told_of_as_well(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    go_offline(&world, hello(&world, "production", "edge-2"));
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    expect_match(outcome(&world, 0)->message, "^Deployed successfully to 1 of 2 replicas; edge-2 has been offline since ");
    end(&world);
}

static void one_that_goes_offline_after_its_ack_is_counted_once(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    go_offline(&world, one);
    deployment_note(world.deployment, two, EXPECT_APPLIED, NULL);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void one_that_goes_offline_after_it_told_that_it_has_it_is_counted_as_having_it(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    go_offline(&world, hello(&world, "production", "edge-3"));
    begin(&world, EVENT_UPDATE, PRODUCTION);
    go_offline(&world, tell(&world, PRESENCE_HELLO, "production", "edge-2", false, SEQUENCE)); /* it still reads others: not live */
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    expect_match(outcome(&world, 0)->message, "^Deployed successfully to 2 of 3 replicas; edge-3 has been offline since ");
    end(&world);
}

static void one_that_said_goodbye_or_is_away_for_long_is_not_spoken_of(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1"), *old = hello(&world, "production", "edge-2");
    hello(&world, "production", "edge-3");
    go_offline(&world, old);
    old->offline_at -= REPLICA_FORGET_MS + 1000;
    begin(&world, EVENT_UPDATE, PRODUCTION);
    tell(&world, PRESENCE_GOODBYE, "production", "edge-3", false, 0);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void an_environment_with_nobody_is_answered_at_once(void **state) {
    (void)state;
    static const struct {
        enum event_operation operation;
        const char *message;
    } cases[] = {{EVENT_UPDATE, "No replica of this environment is connected; the change is deployed when one connects"},
                 {EVENT_DELETE, "No replica of this environment is connected; the JWK is undeployed when one connects"}};
    for (size_t i = 0; i < 2; i++) {
        struct world world = {0};
        begin(&world, cases[i].operation, PRODUCTION);
        expect_settled(&world, RESULT_PENDING, cases[i].message);
        end(&world);
    }
}

static void an_environment_left_a_moment_ago_is_waited_for(void **state) {
    (void)state;
    struct world world = {0};
    hello(&world, "production", "edge-1");
    tell(&world, PRESENCE_GOODBYE, "production", "edge-1", false, 0);
    begin(&world, EVENT_UPDATE, PRODUCTION);
    assert_false(outcome(&world, 0)->settled);
    struct replica *again = hello(&world, "production", "edge-1");
    assert_false(outcome(&world, 0)->settled);
    deployment_note(world.deployment, again, EXPECT_APPLIED, NULL);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void an_environment_left_longer_than_the_grace_is_not_waited_for(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    tell(&world, PRESENCE_GOODBYE, "production", "edge-1", false, 0);
    one->environment->left_at -= GRACE + 1000;
    begin(&world, EVENT_UPDATE, PRODUCTION);
    assert_true(outcome(&world, 0)->settled);
    end(&world);
}

static void a_replica_that_still_reads_is_waited_for_where_nobody_else_is(void **state) {
    (void)state;
    struct world world = {0};
    tell(&world, PRESENCE_HELLO, "production", "edge-1", false, 0);
    begin(&world, EVENT_UPDATE, PRODUCTION);
    assert_false(outcome(&world, 0)->settled);
    tell(&world, PRESENCE_HEARTBEAT, "production", "edge-1", true, SEQUENCE);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void when_all_go_it_waits_for_whoever_comes(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    go_offline(&world, one);
    assert_false(outcome(&world, 0)->settled);
    struct replica *two = hello(&world, "production", "edge-2");
    deployment_note(world.deployment, two, EXPECT_APPLIED, NULL);
    expect_match(outcome(&world, 0)->message, "^Deployed successfully to 1 of 2 replicas; edge-1 has been offline since ");
    end(&world);
}

static void one_that_comes_back_is_waited_for_again(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1"), *two = hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    go_offline(&world, two);
    hello(&world, "production", "edge-2");
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    assert_false(outcome(&world, 0)->settled);
    tell(&world, PRESENCE_HEARTBEAT, "production", "edge-2", true, SEQUENCE - 1);
    assert_false(outcome(&world, 0)->settled);
    tell(&world, PRESENCE_HEARTBEAT, "production", "edge-2", true, SEQUENCE);
    expect_settled(&world, RESULT_SUCCEEDED, NULL);
    end(&world);
}

static void a_position_tells_of_a_failing_hook(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    one->failing = memory_new(sizeof *one->failing);
    snprintf(one->failing[0], UUID_SIZE, "%s", JWK);
    one->failing_count = 1;
    one->positions = memory_new(sizeof *one->positions);
    one->positions[0] = (struct position){.partition = PARTITION, .offset = 1, .sequence = SEQUENCE};
    one->position_count = 1;
    deployment_replica_position(world.deployment, one);
    expect_settled(&world, RESULT_FAILED,
                   "Deployment failed on replica edge-1: the change is stored but could not be applied; it is tried again");
    end(&world);
}

static void the_deadline_names_who_is_waited_for(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    deployment_give_up(world.deployment, NULL);
    expect_settled(&world, RESULT_PENDING, "Timed out after 10 s waiting for replica edge-2; the deployment goes on");
    end(&world);
}

static void the_deadline_tells_a_failure_rather_than_who_is_missing(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_note(world.deployment, one, EXPECT_FAILED, "no space");
    deployment_give_up(world.deployment, NULL);
    expect_settled(&world, RESULT_FAILED, "Deployment failed on replica edge-1: no space");
    end(&world);
}

static void the_deadline_names_five_and_counts_the_rest(void **state) {
    (void)state;
    struct world world = {0};
    char name[32];
    for (int i = 1; i <= 7; i++) {
        snprintf(name, sizeof name, "edge-%d", i);
        hello(&world, "production", name);
    }
    begin(&world, EVENT_DELETE, PRODUCTION);
    deployment_give_up(world.deployment, NULL);
    expect_match(outcome(&world, 0)->message,
                 "^Timed out after 10 s waiting for replicas (edge-[1-7], ){4}edge-[1-7] and 2 more; the undeployment goes on$");
    end(&world);
}

static void the_deadline_says_when_nobody_came(void **state) {
    (void)state;
    struct world world = {0};
    tell(&world, PRESENCE_HELLO, "production", "edge-1", false, 0);
    begin(&world, EVENT_UPDATE, PRODUCTION);
    deployment_give_up(world.deployment, NULL);
    expect_settled(&world, RESULT_PENDING, "Timed out after 10 s waiting for a replica to connect; the deployment goes on");
    end(&world);
}

static void giving_up_tells_the_reason_and_keeps_what_is_settled(void **state) {
    (void)state;
    struct world world = {0};
    hello(&world, "production", "edge-1");
    struct replica *staging = hello(&world, "staging", "edge-1");
    begin(&world, EVENT_DELETE, 2, (const char *const[]){"production", "staging"});
    deployment_note(world.deployment, staging, EXPECT_APPLIED, NULL);
    deployment_give_up(world.deployment, "The API is stopping");
    expect_settled(&world, RESULT_PENDING, "The API is stopping; the undeployment goes on");
    assert_int_equal(outcome(&world, 1)->state, RESULT_SUCCEEDED);
    end(&world);
}

static void what_each_replica_did_is_told_to_the_store(void **state) {
    (void)state;
    struct world world = {0};
    struct replica *one = hello(&world, "production", "edge-1");
    hello(&world, "production", "edge-2");
    begin(&world, EVENT_UPDATE, PRODUCTION);
    assert_null(deployment_replicas_json(outcome(&world, 0)));
    deployment_note(world.deployment, one, EXPECT_FAILED, "no \"room\"");
    char *json = deployment_replicas_json(outcome(&world, 0));
    assert_string_equal(json, "{\"edge-1\":\"no \\\"room\\\"\"}");
    free(json);
    deployment_note(world.deployment, one, EXPECT_APPLIED, NULL);
    json = deployment_replicas_json(outcome(&world, 0));
    assert_string_equal(json, "{\"edge-1\":\"\"}");
    free(json);
    end(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_environments_nothing_is_waited_for),
        cmocka_unit_test(it_succeeds_when_every_live_replica_has_applied),
        cmocka_unit_test(each_environment_is_settled_by_itself),
        cmocka_unit_test(a_failure_names_its_replica),
        cmocka_unit_test(several_failures_are_counted),
        cmocka_unit_test(a_failure_that_passes_in_time_is_no_failure),
        cmocka_unit_test(a_replica_that_goes_offline_is_not_waited_for),
        cmocka_unit_test(one_that_was_offline_before_is_told_of_as_well),
        cmocka_unit_test(one_that_goes_offline_after_its_ack_is_counted_once),
        cmocka_unit_test(one_that_goes_offline_after_it_told_that_it_has_it_is_counted_as_having_it),
        cmocka_unit_test(one_that_said_goodbye_or_is_away_for_long_is_not_spoken_of),
        cmocka_unit_test(an_environment_with_nobody_is_answered_at_once),
        cmocka_unit_test(an_environment_left_a_moment_ago_is_waited_for),
        cmocka_unit_test(an_environment_left_longer_than_the_grace_is_not_waited_for),
        cmocka_unit_test(a_replica_that_still_reads_is_waited_for_where_nobody_else_is),
        cmocka_unit_test(when_all_go_it_waits_for_whoever_comes),
        cmocka_unit_test(one_that_comes_back_is_waited_for_again),
        cmocka_unit_test(a_position_tells_of_a_failing_hook),
        cmocka_unit_test(the_deadline_names_who_is_waited_for),
        cmocka_unit_test(the_deadline_tells_a_failure_rather_than_who_is_missing),
        cmocka_unit_test(the_deadline_names_five_and_counts_the_rest),
        cmocka_unit_test(the_deadline_says_when_nobody_came),
        cmocka_unit_test(giving_up_tells_the_reason_and_keeps_what_is_settled),
        cmocka_unit_test(what_each_replica_did_is_told_to_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
