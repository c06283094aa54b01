/* What was gathered on its way into the store: outcomes, late acks judged there, and the offset with them. */
#include "store_fixture.h"

#include "api/gathered.h"

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

static struct replica *live_replica(struct world *world, const char *environment, const char *name) {
    const struct presence presence = {.kind = PRESENCE_HELLO, .environment = environment, .replica = name, .worker = WORKER, .ready = true,
                                      .interval_ms = 1000};
    struct replica *replica;
    enum replica_change change;
    SUCCEEDS(replicas_apply(&world->replicas, &presence, world->offset++, 0, false, 0, &replica, &change, &error));
    return replica;
}

/* message: NULL for a success. */
static void add_late(struct world *world, const struct store_change *change, const struct replica *replica, const char *message) {
    const struct ack ack = {.deployment_id = change->deployment_id, .event_id = OTHER_ID, .event_hash = change->event_hash,
                            .environment = replica->environment->name, .replica = replica->name, .worker = WORKER, .jwk_id = change->jwk_id,
                            .epoch = change->epoch, .version = change->version, .sequence = change->sequence,
                            .status = message ? ACK_FAILED : ACK_APPLIED, .message = message};
    gathered_add_late(world->gathered, &ack, replica);
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
        cmocka_unit_test(a_failure_after_a_success_that_passes_leaves_it_pending),
        cmocka_unit_test(a_late_success_settles_the_earlier_versions),
        cmocka_unit_test(late_acks_that_do_not_fit_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
