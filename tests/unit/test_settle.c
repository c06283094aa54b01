/* Settling by positions: when a job runs, over whom it takes the least, and when an environment counts as settled. */
#include "store_fixture.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "api/settle.h"
#include "common/clock.h"

#define WORKER "01890000-0000-7000-8000-000000000001"

static const char *const environments[] = {"production"};

struct world {
    struct store_fixture fixture;
    struct writer *writer;
    struct settler *settler;
    struct replica_table replicas;
    struct replica_environment *environment;
    int event;
    int64_t offset;
};

static void open_world(struct world *world) {
    *world = (struct world){.event = eventfd(0, EFD_CLOEXEC)};
    fixture_open(&world->fixture, 1, environments);
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    world->settler = settler_new(world->writer, world->event);
    world->environment = replicas_environment(&world->replicas, "production");
}

static void close_world(struct world *world) {
    writer_free(world->writer);
    settler_free(world->settler);
    replicas_free(&world->replicas);
    close(world->event);
    fixture_close(&world->fixture);
}

enum { PARTITIONS = 4 };

/* A replica that has applied all up to sequence in the first partitions; failing: a JWK whose hook fails there, or NULL. */
static void tell_of(struct world *world, const char *name, bool ready, int64_t sequence, int partitions, const char *failing,
                    bool truncated) {
    struct position positions[PARTITIONS];
    for (int i = 0; i < partitions; i++)
        positions[i] = (struct position){.partition = i, .sequence = sequence};
    const struct presence presence = {.kind = PRESENCE_HELLO, .environment = "production", .replica = name, .worker = WORKER, .epoch = 1,
                                      .ready = ready, .interval_ms = 1000, .positions = positions,
                                      .position_count = (size_t)partitions,
                                      .failing = &failing, .failing_count = failing != NULL, .failing_truncated = truncated};
    struct replica *replica;
    enum replica_change change;
    SUCCEEDS(replicas_apply(&world->replicas, &presence, world->offset++, 0, false, clock_monotonic_ms(), &replica, &change, &error));
}

static void tell(struct world *world, const char *name, bool ready, int64_t sequence, const char *failing, bool truncated) {
    tell_of(world, name, ready, sequence, PARTITIONS, failing, truncated);
}

static void nobody_asks(void *context, struct replica *replica) {
    (void)context, (void)replica;
}

/* Its heartbeats stop, and nobody else's. */
static void go_offline(struct world *world, const char *name) {
    replicas_find(&world->replicas, "production", name)->seen_at = INT64_MIN / 2;
    (void)replicas_expire(&world->replicas, clock_monotonic_ms(), nobody_asks, NULL);
}

/* Runs one job, which must start, to its end. */
static void settle(struct world *world, bool all_stored) {
    uint64_t count;
    assert_false(world->environment->settling);
    settler_consider(world->settler, world->environment, all_stored);
    assert_true(world->environment->settling);
    settler_consider(world->settler, world->environment, all_stored); /* one at a time */
    assert_int_equal(read(world->event, &count, sizeof count), sizeof count);
    assert_int_equal(count, 1);
    settler_take_finished(world->settler, &world->replicas);
    assert_false(world->environment->settling);
}

static void the_slowest_live_replica_counts(void **state) {
    (void)state;
    struct world world;
    struct store_change first, second;
    open_world(&world);
    fixture_create(&world.fixture, "first", &first);
    fixture_create(&world.fixture, "second", &second);
    tell(&world, "edge-0", true, second.sequence, NULL, false);
    tell(&world, "edge-2", true, first.sequence, NULL, false);
    tell(&world, "edge-1", true, second.sequence, NULL, false);
    tell(&world, "edge-3", false, 0, NULL, false); /* still reads: not live */
    settle(&world, true);
    expect_result(world.fixture.store, first.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(world.fixture.store, second.deployment_id, "production", RESULT_PENDING, NULL);
    assert_true(world.environment->unsettled);
    tell(&world, "edge-2", true, second.sequence, NULL, false);
    settle(&world, true);
    expect_result(world.fixture.store, second.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    assert_false(world.environment->unsettled);
    settler_consider(world.settler, world.environment, true);
    assert_false(world.environment->settling); /* nothing to do any more */
    store_change_clear(&first);
    store_change_clear(&second);
    close_world(&world);
}

static void one_that_does_not_tell_of_a_partition_has_nothing_of_it(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    tell_of(&world, "edge-1", true, change.sequence, 0, NULL, false);
    tell(&world, "edge-2", true, change.sequence, NULL, false);
    settle(&world, true);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_PENDING, NULL);
    tell(&world, "edge-1", true, change.sequence, NULL, false);
    settle(&world, true);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&change);
    close_world(&world);
}

static void set_pending(struct world *world, const struct store_change *change, const char *replicas) {
    const struct store_outcome outcome = {.sequence = change->sequence, .environment_id = change->environments->items[0].id,
                                          .deployment_id = change->deployment_id, .environment_name = "production",
                                          .state = RESULT_PENDING, .message = "Timed out", .replicas = replicas};
    SUCCEEDS(store_set_result(world->fixture.store, &outcome, &error));
}

static void a_success_by_positions_names_who_is_offline_and_lacks_it(void **state) {
    (void)state;
    struct world world;
    struct store_change first, second, deleted;
    open_world(&world);
    fixture_create(&world.fixture, "first", &first);
    fixture_create(&world.fixture, "second", &second);
    fixture_delete(&world.fixture, "second", &deleted);
    set_pending(&world, &second, "{\"edge-1\":\"\",\"edge-3\":\"\",\"edge-5\":\"\"}"); /* edge-5 is gone, and had it */
    tell(&world, "edge-3", true, 0, NULL, false);
    go_offline(&world, "edge-3");
    tell(&world, "edge-4", true, first.sequence, NULL, false);
    go_offline(&world, "edge-4");
    tell(&world, "edge-1", true, deleted.sequence, NULL, false);
    tell(&world, "edge-2", true, deleted.sequence, NULL, false);
    settle(&world, true);
    expect_result_like(world.fixture.store, first.deployment_id, "production", RESULT_SUCCEEDED,
                       "^Deployed successfully to 3 of 4 replicas; edge-3 has been offline since " TIME_PATTERN
                       " and catches up when it connects$");
    expect_result_like(world.fixture.store, second.deployment_id, "production", RESULT_SUCCEEDED,
                       "^Deployed successfully to 4 of 5 replicas; edge-4 has been offline since ");
    expect_result_like(world.fixture.store, deleted.deployment_id, "production", RESULT_SUCCEEDED,
                       "^Undeployed successfully from 2 of 4 replicas; edge-[34] has been offline since " TIME_PATTERN
                       " and catches up when it connects$");
    store_change_clear(&first);
    store_change_clear(&second);
    store_change_clear(&deleted);
    close_world(&world);
}

/* It has what is published, and its hook has failed ever since: whoever reads there gets the older state. */
static void one_that_is_offline_with_a_failing_hook_lacks_it(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    tell(&world, "edge-2", true, change.sequence, change.jwk_id, false);
    go_offline(&world, "edge-2");
    tell(&world, "edge-1", true, change.sequence, NULL, false);
    settle(&world, true);
    expect_result_like(world.fixture.store, change.deployment_id, "production", RESULT_SUCCEEDED,
                       "^Deployed successfully to 1 of 2 replicas; edge-2 has been offline since ");
    store_change_clear(&change);
    close_world(&world);
}

/* Whether the roster that one job had is that of the next. */
static void who_comes_back_is_not_offline_any_more(void **state) {
    (void)state;
    struct world world;
    struct store_change first, second;
    open_world(&world);
    fixture_create(&world.fixture, "first", &first);
    fixture_create(&world.fixture, "second", &second);
    tell(&world, "edge-1", true, first.sequence, NULL, false);
    tell(&world, "edge-2", true, 0, NULL, false);
    go_offline(&world, "edge-2");
    settle(&world, true);
    expect_result_like(world.fixture.store, first.deployment_id, "production", RESULT_SUCCEEDED, "^Deployed successfully to 1 of 2 ");
    tell(&world, "edge-1", true, second.sequence, NULL, false);
    tell(&world, "edge-2", true, second.sequence, NULL, false);
    settle(&world, true);
    expect_result(world.fixture.store, second.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&first);
    store_change_clear(&second);
    close_world(&world);
}

static void it_takes_as_many_transactions_as_it_needs(void **state) {
    (void)state;
    enum { MANY = 2500 };
    struct world world;
    struct store_change change;
    char last[UUID_SIZE];
    int64_t sequence = 0;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    store_change_clear(&change);
    SUCCEEDS(store_begin(world.fixture.store, &error));
    for (int i = 0; i < MANY; i++) {
        SUCCEEDS(store_update_jwk(world.fixture.store, &world.fixture.author, "my-jwk", NULL, "text", &change, &error));
        memcpy(last, change.deployment_id, UUID_SIZE);
        sequence = change.sequence;
        store_change_clear(&change);
    }
    SUCCEEDS(store_commit(world.fixture.store, &error));
    tell(&world, "edge-1", true, sequence, NULL, false);
    settle(&world, true);
    expect_result(world.fixture.store, last, "production", RESULT_SUCCEEDED, NULL);
    assert_false(world.environment->unsettled);
    close_world(&world);
}

static void a_failing_hook_keeps_its_jwk_pending(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    tell(&world, "edge-1", true, change.sequence, NULL, false);
    tell(&world, "edge-2", true, change.sequence, change.jwk_id, false);
    settle(&world, true);
    expect_result(world.fixture.store, change.deployment_id, "production", RESULT_PENDING, NULL);
    assert_true(world.environment->unsettled);
    store_change_clear(&change);
    close_world(&world);
}

static void nothing_is_settled_while_nobody_is_live_or_too_many_fail(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    settler_consider(world.settler, world.environment, true);
    assert_false(world.environment->settling);
    tell(&world, "edge-1", true, 100, NULL, true);
    settler_consider(world.settler, world.environment, true);
    assert_false(world.environment->settling);
    assert_true(world.environment->unsettled);
    close_world(&world);
}

static void nothing_is_settled_by_one_that_follows_another_store(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    tell(&world, "edge-1", true, 100, NULL, false);
    tell(&world, "edge-2", true, 100, NULL, false);
    replicas_find(&world.replicas, "production", "edge-1")->is_ahead = true;
    settler_consider(world.settler, world.environment, true);
    assert_false(world.environment->settling);
    assert_true(world.environment->unsettled);
    close_world(&world);
}

/* What came meanwhile, or is still on its way into the store, is not covered by a job that began before it. */
static void the_environment_stays_unsettled_while_an_outcome_is_on_its_way(void **state) {
    (void)state;
    struct world world;
    uint64_t count;
    open_world(&world);
    tell(&world, "edge-1", true, 100, NULL, false);
    settle(&world, false);
    assert_true(world.environment->unsettled);
    settler_consider(world.settler, world.environment, true);
    world.environment->unsettled_stamp++; /* noted while the job runs */
    assert_int_equal(read(world.event, &count, sizeof count), sizeof count);
    settler_take_finished(world.settler, &world.replicas);
    assert_true(world.environment->unsettled);
    settle(&world, true);
    assert_false(world.environment->unsettled);
    close_world(&world);
}

static void a_job_that_ends_after_the_gatherer_is_freed_with_the_settler(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    tell(&world, "edge-1", true, 100, NULL, false);
    settler_consider(world.settler, world.environment, true);
    close_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_slowest_live_replica_counts),
        cmocka_unit_test(one_that_does_not_tell_of_a_partition_has_nothing_of_it),
        cmocka_unit_test(a_success_by_positions_names_who_is_offline_and_lacks_it),
        cmocka_unit_test(one_that_is_offline_with_a_failing_hook_lacks_it),
        cmocka_unit_test(who_comes_back_is_not_offline_any_more),
        cmocka_unit_test(it_takes_as_many_transactions_as_it_needs),
        cmocka_unit_test(a_failing_hook_keeps_its_jwk_pending),
        cmocka_unit_test(nothing_is_settled_while_nobody_is_live_or_too_many_fail),
        cmocka_unit_test(nothing_is_settled_by_one_that_follows_another_store),
        cmocka_unit_test(the_environment_stays_unsettled_while_an_outcome_is_on_its_way),
        cmocka_unit_test(a_job_that_ends_after_the_gatherer_is_freed_with_the_settler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
