/* What was gathered on its way into the store: outcomes, late acks judged there, and the offset with them. */
#include "store_fixture.h"

#include "api/gathered.h"
#include "api/store_republish.h"
#include "common/clock.h"

#define WORKER "01890000-0000-7000-8000-000000000001"
#define OTHER_ID "01890000-0000-7000-8000-0000000000ee"
#define TOPIC "test.acks"

static const char *const environments[] = {"production", "staging"};

struct world {
    struct store_fixture fixture;
    struct writer *writer;
    struct gathered *gathered;
    struct replica_table replicas;
    int64_t offset;
};

static void open_world(struct world *world) {
    *world = (struct world){0};
    fixture_open(&world->fixture, 2, environments);
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    world->gathered = gathered_new(world->writer, TOPIC);
}

/* Stores what there is, and goes on with a new writer. */
static void store_all(struct world *world) {
    gathered_flush(world->gathered);
    writer_free(world->writer);
    assert_true(gathered_all_stored(world->gathered));
    gathered_free(world->gathered);
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    world->gathered = gathered_new(world->writer, TOPIC);
}

static void close_world(struct world *world) {
    writer_free(world->writer);
    gathered_free(world->gathered);
    replicas_free(&world->replicas);
    fixture_close(&world->fixture);
}

/* A live replica that has applied everything up to sequence. */
static struct replica *replica_at(struct world *world, const char *environment, const char *name, int64_t sequence) {
    struct position positions[4];
    for (int i = 0; i < 4; i++)
        positions[i] = (struct position){.partition = i, .sequence = sequence};
    const struct presence presence = {.kind = PRESENCE_HELLO, .environment = environment, .replica = name, .worker = WORKER, .epoch = 1,
                                      .ready = true, .interval_ms = 1000, .positions = positions, .position_count = 4};
    struct replica *replica;
    enum replica_change change;
    SUCCEEDS(replicas_apply(&world->replicas, &presence, world->offset++, 0, false, clock_monotonic_ms(), &replica, &change, &error));
    return replica;
}

static struct replica *live_replica(struct world *world, const char *environment, const char *name) {
    return replica_at(world, environment, name, 0);
}

static void nobody_asks(void *context, struct replica *replica) {
    (void)context, (void)replica;
}

/* Its heartbeats stop, and nobody else's. */
static void go_offline(struct world *world, struct replica *replica) {
    replica->seen_at = INT64_MIN / 2;
    (void)replicas_expire(&world->replicas, clock_monotonic_ms(), nobody_asks, NULL);
    assert_false(replica->connected);
}

/* message: NULL for a success. */
static void add_late(struct world *world, const struct store_change *change, const struct replica *replica, const char *message) {
    const struct ack ack = {.deployment_id = change->deployment_id, .event_id = OTHER_ID, .event_hash = change->event_hash,
                            .environment = replica->environment->name, .replica = replica->name, .worker = WORKER, .jwk_id = change->jwk_id,
                            .epoch = change->epoch, .version = change->version, .sequence = change->sequence,
                            .status = message ? ACK_FAILED : ACK_APPLIED, .message = message};
    gathered_add_late(world->gathered, &ack, replica);
}

static void expect_success_like(const struct world *world, const struct store_change *change, const char *pattern) {
    expect_result_like(world->fixture.store, change->deployment_id, "production", RESULT_SUCCEEDED, pattern);
}

static void outcomes_and_offset_are_stored_together(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    int64_t next;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    char id[UUID_SIZE];
    memcpy(id, change.deployment_id, UUID_SIZE);
    struct deployment *deployment = deployment_new(&change, EVENT_CREATE, 10000, NULL, NULL);
    deployment->outcomes[0] = (struct environment_outcome){.settled = true, .state = RESULT_SUCCEEDED};
    deployment->outcomes[1] = (struct environment_outcome){.settled = true, .state = RESULT_PENDING, .message = memory_string("Timed out")};
    gathered_add_outcome(world.gathered, deployment, 0);
    gathered_add_outcome(world.gathered, deployment, 1);
    gathered_set_offset(world.gathered, 0, 7);
    gathered_set_offset(world.gathered, 3, 8);
    gathered_set_offset(world.gathered, 0, 9);
    gathered_set_offset(world.gathered, -1, 5);
    gathered_set_offset(world.gathered, 100000, 5);
    assert_false(gathered_all_stored(world.gathered));
    deployment_free(deployment);
    store_all(&world);
    expect_result(world.fixture.store, id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(world.fixture.store, id, "staging", RESULT_PENDING, "Timed out");
    SUCCEEDS(store_get_offset(world.fixture.store, TOPIC, 0, &next, &error));
    assert_int_equal(next, 9);
    SUCCEEDS(store_get_offset(world.fixture.store, TOPIC, 3, &next, &error));
    assert_int_equal(next, 8);
    close_world(&world);
}

static void late_acks_add_up_until_every_live_replica_has_applied(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    const struct replica *one = live_replica(&world, "production", "edge-1"), *two = live_replica(&world, "production", "edge-2");
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_PENDING, NULL);
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_PENDING, NULL);
    add_late(&world, &change, two, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(world.fixture.store, change.deployment_id, "staging", RESULT_PENDING, NULL);
    store_change_clear(&change);
    close_world(&world);
}

static void a_late_failure_is_told_until_it_has_passed(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    const struct replica *one = live_replica(&world, "production", "edge-1"), *two = live_replica(&world, "production", "edge-2");
    add_late(&world, &change, one, "no \"room\"");
    add_late(&world, &change, two, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_FAILED, "Deployment failed on replica edge-1: no \"room\"");
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&change);
    close_world(&world);
}

static void a_late_failure_of_a_delete_is_one_of_the_undeployment(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    store_change_clear(&change);
    fixture_delete(&world.fixture, "my-jwk", &change);
    add_late(&world, &change, live_replica(&world, "production", "edge-1"), "no room");
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_FAILED, "Undeployment failed on replica edge-1: no room");
    store_change_clear(&change);
    close_world(&world);
}

/* What the others did is forgotten after a success: their positions will tell. The sentence of the failure does not stay. */
static void late_failures_are_counted_as_in_an_answer(void **state) {
    (void)state;
    static const char *const sentences[] = {"Deployment failed on replica edge-1: no room", "Deployment failed on replica edge-1 (and 1 more): no room",
                                            "Deployment failed on replica edge-1 (and 2 more): no room"};
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    for (int i = 0; i < 3; i++) {
        char name[] = {'e', 'd', 'g', 'e', '-', (char)('1' + i), '\0'};
        add_late(&world, &change, live_replica(&world, "production", name), i == 0 ? "no room" : "broken");
        store_all(&world);
        expect_result(world.fixture.store, change.deployment_id, "production", RESULT_FAILED, sentences[i]);
    }
    add_late(&world, &change, replicas_find(&world.replicas, "production", "edge-1"), NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_FAILED,
                  "Deployment failed on replica edge-2 (and 1 more): broken");
    store_change_clear(&change);
    close_world(&world);
}

static void a_failure_after_a_success_that_passes_leaves_it_pending(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    const struct replica *one = live_replica(&world, "production", "edge-1"), *two = live_replica(&world, "production", "edge-2");
    add_late(&world, &change, one, NULL);
    add_late(&world, &change, two, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    add_late(&world, &change, one, NULL); /* a duplicate */
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    add_late(&world, &change, one, "gone");
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_FAILED, "Deployment failed on replica edge-1: gone");
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_PENDING, NULL);
    store_change_clear(&change);
    close_world(&world);
}

static void a_late_success_names_who_is_offline_and_lacks_it(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    const struct replica *one = live_replica(&world, "production", "edge-1"), *two = live_replica(&world, "production", "edge-2");
    add_late(&world, &change, one, NULL);
    go_offline(&world, live_replica(&world, "production", "edge-3"));
    add_late(&world, &change, two, NULL);
    store_all(&world);
    expect_success_like(&world, &change, "^Deployed successfully to 2 of 3 replicas; edge-3 has been offline since " TIME_PATTERN
                                         " and catches up when it connects$");
    expect_result(world.fixture.store, change.deployment_id, "staging", RESULT_PENDING, NULL);
    store_change_clear(&change);
    fixture_delete(&world.fixture, "my-jwk", &change);
    add_late(&world, &change, one, NULL);
    add_late(&world, &change, two, NULL);
    store_all(&world);
    expect_success_like(&world, &change, "^Undeployed successfully from 2 of 3 replicas; edge-3 has been offline since " TIME_PATTERN
                                         " and catches up when it connects$");
    store_change_clear(&change);
    close_world(&world);
}

static void one_that_is_offline_and_has_acked_or_told_that_it_has_it_is_counted_as_having_it(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    struct replica *one = live_replica(&world, "production", "edge-1"), *two = live_replica(&world, "production", "edge-2");
    struct replica *three = replica_at(&world, "production", "edge-3", change.sequence);
    add_late(&world, &change, two, NULL);
    store_all(&world); /* its ack is remembered in the store */
    go_offline(&world, two);
    go_offline(&world, three);
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&change);
    fixture_update(&world.fixture, "my-jwk", NULL, "text", &change);
    go_offline(&world, replica_at(&world, "production", "edge-3", change.sequence));
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_success_like(&world, &change, "^Deployed successfully to 2 of 3 replicas; edge-2 has been offline since ");
    store_change_clear(&change);
    close_world(&world);
}

static void what_is_published_again_is_lacked_by_one_that_went_offline_before(void **state) {
    (void)state;
    struct world world;
    struct store_change first, second;
    open_world(&world);
    fixture_create(&world.fixture, "first", &first);
    fixture_create(&world.fixture, "second", &second);
    go_offline(&world, replica_at(&world, "production", "edge-2", second.sequence));
    const struct replica *one = live_replica(&world, "production", "edge-1");
    add_late(&world, &first, one, NULL);
    replicas_set_floor(&world.replicas, &(struct sequence_floor){.from = second.sequence, .until = second.sequence + 2});
    add_late(&world, &second, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, first.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_success_like(&world, &second, "^Deployed successfully to 1 of 2 replicas; edge-2 has been offline since ");
    store_change_clear(&first);
    store_change_clear(&second);
    close_world(&world);
}

static void one_that_left_or_is_away_for_long_is_not_spoken_of_late_either(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    struct replica *one = live_replica(&world, "production", "edge-1"), *old = live_replica(&world, "production", "edge-2");
    struct replica *left = live_replica(&world, "production", "edge-3");
    old->offline_at -= REPLICA_FORGET_MS + 1000;
    go_offline(&world, old);
    go_offline(&world, left);
    left->left = true;
    add_late(&world, &change, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&change);
    close_world(&world);
}

/* Whoever has acked the later version needs the earlier one no more, and one that had only the earlier one has that. */
static void earlier_versions_that_a_late_success_settles_name_who_is_offline_too(void **state) {
    (void)state;
    struct world world;
    struct store_change first, second;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &first);
    fixture_update(&world.fixture, "my-jwk", NULL, "text", &second);
    struct replica *one = live_replica(&world, "production", "edge-1"), *two = live_replica(&world, "production", "edge-2");
    struct replica *three = live_replica(&world, "production", "edge-3");
    go_offline(&world, live_replica(&world, "production", "edge-4"));
    add_late(&world, &first, three, NULL);
    go_offline(&world, three);
    add_late(&world, &second, two, NULL);
    go_offline(&world, two);
    add_late(&world, &second, one, NULL);
    store_all(&world);
    expect_success_like(&world, &first, "^Deployed successfully to 3 of 4 replicas; edge-4 has been offline since ");
    expect_success_like(&world, &second, "^Deployed successfully to 2 of 4 replicas; edge-[34] has been offline since ");
    store_change_clear(&first);
    store_change_clear(&second);
    close_world(&world);
}

static void a_late_success_settles_the_earlier_versions(void **state) {
    (void)state;
    struct world world;
    struct store_change first, second;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &first);
    fixture_update(&world.fixture, "my-jwk", NULL, "text", &second);
    add_late(&world, &second, live_replica(&world, "production", "edge-1"), NULL);
    store_all(&world);
    expect_result(world.fixture.store, first.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(world.fixture.store, second.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&first);
    store_change_clear(&second);
    close_world(&world);
}

static void adopt(const struct world *world) {
    struct store *store = world->fixture.store;
    SUCCEEDS(store_begin(store, &error));
    SUCCEEDS(store_adopt(store, 1, 1, &error));
    SUCCEEDS(store_commit(store, &error));
}

static void a_failure_of_before_the_store_was_adopted_changes_nothing(void **state) {
    (void)state;
    struct world world;
    struct store_change done, open, after;
    open_world(&world);
    const struct replica *one = live_replica(&world, "production", "edge-1");
    fixture_create(&world.fixture, "done", &done);
    fixture_create(&world.fixture, "open", &open);
    add_late(&world, &done, one, NULL);
    store_all(&world);
    adopt(&world);
    add_late(&world, &done, one, "another jwk-api has taken over");
    add_late(&world, &open, one, "another jwk-api has taken over");
    store_all(&world);
    expect_result(world.fixture.store, done.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(world.fixture.store, open.deployment_id, "production", RESULT_PENDING, NULL);
    /* What is published after that settles it. */
    fixture_update(&world.fixture, "open", NULL, "text", &after);
    assert_true(after.epoch > open.epoch);
    add_late(&world, &after, one, NULL);
    store_all(&world);
    expect_result(world.fixture.store, open.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    add_late(&world, &after, one, "broken");
    store_all(&world);
    expect_result(world.fixture.store, after.deployment_id, "production", RESULT_FAILED, "Deployment failed on replica edge-1: broken");
    store_change_clear(&done);
    store_change_clear(&open);
    store_change_clear(&after);
    close_world(&world);
}

static void late_acks_that_do_not_fit_change_nothing(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    const struct replica *one = live_replica(&world, "production", "edge-1");
    for (int kind = 0; kind < 6; kind++) {
        struct store_change wrong = change;
        if (kind == 0)
            wrong.event_hash[0] = wrong.event_hash[0] == 'A' ? 'B' : 'A';
        else if (kind == 1)
            wrong.version++;
        else if (kind == 2)
            wrong.epoch++;
        else if (kind == 3)
            strcpy(wrong.jwk_id, OTHER_ID);
        else if (kind == 4)
            strcpy(wrong.deployment_id, OTHER_ID);
        add_late(&world, &wrong, kind == 5 ? live_replica(&world, "elsewhere", "edge-1") : one, NULL);
    }
    store_all(&world);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_PENDING, NULL);
    store_change_clear(&change);
    close_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outcomes_and_offset_are_stored_together),
        cmocka_unit_test(late_acks_add_up_until_every_live_replica_has_applied),
        cmocka_unit_test(a_late_failure_is_told_until_it_has_passed),
        cmocka_unit_test(a_late_failure_of_a_delete_is_one_of_the_undeployment),
        cmocka_unit_test(late_failures_are_counted_as_in_an_answer),
        cmocka_unit_test(a_failure_after_a_success_that_passes_leaves_it_pending),
        cmocka_unit_test(a_late_success_names_who_is_offline_and_lacks_it),
        cmocka_unit_test(one_that_is_offline_and_has_acked_or_told_that_it_has_it_is_counted_as_having_it),
        cmocka_unit_test(what_is_published_again_is_lacked_by_one_that_went_offline_before),
        cmocka_unit_test(one_that_left_or_is_away_for_long_is_not_spoken_of_late_either),
        cmocka_unit_test(earlier_versions_that_a_late_success_settles_name_who_is_offline_too),
        cmocka_unit_test(a_late_success_settles_the_earlier_versions),
        cmocka_unit_test(a_failure_of_before_the_store_was_adopted_changes_nothing),
        cmocka_unit_test(late_acks_that_do_not_fit_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
