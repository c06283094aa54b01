/* Rows of the outbox are cleared when their events were delivered: these and no others, one job at a time, and what comes meanwhile
 * by itself. */
#include "store_fixture.h"

#include <semaphore.h>

#include "api/delivered.h"

static const char *const environments[] = {"production"};

enum { EVENTS = 40 };

struct world {
    struct store_fixture fixture;
    struct writer *writer;
    struct delivered *delivered;
    int64_t first; /* id in the outbox; the others follow */
    sem_t cleared;
};

static void on_cleared(void *context) {
    struct world *world = context;
    sem_post(&world->cleared);
}

static void open_world(struct world *world) {
    struct store_change change;
    *world = (struct world){0};
    sem_init(&world->cleared, 0, 0);
    fixture_open(&world->fixture, 1, environments);
    fixture_create(&world->fixture, "my-jwk", &change);
    store_change_clear(&change);
    for (int i = 1; i < EVENTS; i++) {
        fixture_update(&world->fixture, "my-jwk", NULL, "text", &change);
        store_change_clear(&change);
    }
    world->first = fixture_number(&world->fixture, "SELECT min(id) FROM outbox");
    assert_int_equal(fixture_number(&world->fixture, "SELECT count(*) FROM outbox"), EVENTS);
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    world->delivered = delivered_new(world->writer, on_cleared, world);
}

static void end_writer(struct world *world) {
    writer_free(world->writer);
    world->writer = NULL;
}

static void close_world(struct world *world) {
    if (world->writer)
        end_writer(world);
    delivered_free(world->delivered);
    fixture_close(&world->fixture);
    sem_destroy(&world->cleared);
}

/* Places first..last of the events, each step-th. */
static void deliver(struct world *world, int first, int last, int step) {
    for (int i = first; i <= last; i += step)
        delivered_add(world->delivered, world->first + i);
}

/* The places whose rows are in the outbox yet. */
static void expect_left(struct world *world, const char *places) {
    struct text text = TEXT_EMPTY;
    for (int i = 0; i < EVENTS; i++) {
        char *sql = memory_format("SELECT count(*) FROM outbox WHERE id = %lld", (long long)(world->first + i));
        if (fixture_number(&world->fixture, sql) == 1)
            text_add_format(&text, "%s%d", text.length ? " " : "", i);
        free(sql);
    }
    assert_string_equal(text.length ? text.bytes : "", places);
    text_free(&text);
}

/* Keeps the writer from going on. */
struct gate {
    struct job job;
    sem_t entered, go;
};

static int run_gate(struct job *job, struct store *store, struct error *error) {
    (void)store, (void)error;
    struct gate *gate = (struct gate *)job;
    sem_post(&gate->entered);
    sem_wait(&gate->go);
    return 0;
}

static void done_gate(struct job *job, int status, const struct error *error) {
    (void)job, (void)error;
    assert_int_equal(status, 0);
}

static void what_was_delivered_is_cleared_and_nothing_else(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    assert_false(delivered_is_pending(world.delivered));
    deliver(&world, 0, 9, 1);
    deliver(&world, 12, 12, 1);
    deliver(&world, 14, EVENTS - 3, 1);
    assert_true(delivered_is_pending(world.delivered));
    delivered_clear(world.delivered);
    sem_wait(&world.cleared);
    assert_false(delivered_is_pending(world.delivered));
    expect_left(&world, "10 11 13 38 39");
    close_world(&world);
}

static void what_is_delivered_meanwhile_is_cleared_by_itself(void **state) {
    (void)state;
    struct world world;
    struct gate gate = {.job = {.run = run_gate, .done = done_gate}};
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.go, 0, 0);
    open_world(&world);
    assert_int_equal(writer_submit(world.writer, &gate.job), 0);
    sem_wait(&gate.entered);
    deliver(&world, 0, 5, 1);
    delivered_clear(world.delivered);
    /* Of partitions that are delivered by turns. */
    deliver(&world, 21, EVENTS - 1, 2);
    deliver(&world, 20, EVENTS - 2, 2);
    delivered_clear(world.delivered);
    assert_true(delivered_is_pending(world.delivered));
    sem_post(&gate.go);
    sem_wait(&world.cleared);
    sem_wait(&world.cleared);
    assert_false(delivered_is_pending(world.delivered));
    expect_left(&world, "6 7 8 9 10 11 12 13 14 15 16 17 18 19");
    close_world(&world);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.go);
}

static void what_was_handed_over_is_cleared_before_a_stop(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    deliver(&world, 0, EVENTS - 2, 1);
    delivered_clear(world.delivered);
    end_writer(&world);
    assert_false(delivered_is_pending(world.delivered));
    expect_left(&world, "39");
    close_world(&world);
}

static void what_was_not_handed_over_stays(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    deliver(&world, 0, EVENTS - 1, 1);
    end_writer(&world);
    assert_true(delivered_is_pending(world.delivered));
    assert_int_equal(fixture_number(&world.fixture, "SELECT count(*) FROM outbox"), EVENTS);
    close_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_delivered_is_cleared_and_nothing_else),
        cmocka_unit_test(what_is_delivered_meanwhile_is_cleared_by_itself),
        cmocka_unit_test(what_was_handed_over_is_cleared_before_a_stop),
        cmocka_unit_test(what_was_not_handed_over_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
