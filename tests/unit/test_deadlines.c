/* Deadlines that move, with a clock of the test's own; and the thread with a real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/deadlines.h"

enum { SHORTEST = 100, MANY = 300, START = 1000 };

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct deadline *last;
    unsigned count, tag;
} passed = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void note(void *context, struct deadline *deadline, unsigned tag) {
    assert_ptr_equal(context, &passed);
    pthread_mutex_lock(&passed.mutex);
    passed.last = deadline;
    passed.tag = tag;
    passed.count++;
    pthread_cond_signal(&passed.changed);
    pthread_mutex_unlock(&passed.mutex);
}

static int setup(void **state) {
    passed.count = 0;
    passed.last = NULL;
    *state = deadlines_new(SHORTEST, note, &passed);
    return 0;
}

static int teardown(void **state) {
    deadlines_free(*state);
    return 0;
}

static void a_deadline_passes_at_its_time_and_once(void **state) {
    struct deadlines *set = *state;
    struct deadline deadline = {0};
    assert_int_equal(deadlines_look(set, START), DEADLINE_NEVER);
    deadlines_add(set, &deadline, START + 100, 5, START);
    assert_int_equal(deadlines_look(set, START), START + 100);
    assert_int_equal(deadlines_look(set, START + 99), START + 100);
    assert_int_equal(passed.count, 0);
    assert_int_equal(deadlines_look(set, START + 100), DEADLINE_NEVER);
    assert_int_equal(passed.count, 1);
    assert_ptr_equal(passed.last, &deadline);
    assert_int_equal(passed.tag, 5);
    assert_false(deadline_move(&deadline, START + 500, 1));
    assert_int_equal(deadlines_look(set, START + 1000), DEADLINE_NEVER);
    assert_int_equal(passed.count, 1);
    deadlines_remove(set, &deadline);
}

static void a_moved_deadline_passes_at_its_new_time(void **state) {
    struct deadlines *set = *state;
    struct deadline deadline = {0};
    deadlines_add(set, &deadline, START + 100, 1, START);
    assert_true(deadline_move(&deadline, START + 250, 2));
    assert_int_equal(deadlines_look(set, START + 100), START + 200);
    assert_int_equal(deadlines_look(set, START + 200), START + 250);
    assert_int_equal(passed.count, 0);
    deadlines_look(set, START + 250);
    assert_int_equal(passed.count, 1);
    assert_int_equal(passed.tag, 2);
    deadlines_remove(set, &deadline);
}

static void what_is_suspended_never_passes_and_can_be_given_a_deadline_again(void **state) {
    struct deadlines *set = *state;
    struct deadline deadline = {0};
    deadlines_add(set, &deadline, START + 100, 1, START);
    assert_true(deadline_move(&deadline, DEADLINE_NEVER, 0));
    int64_t now = START;
    for (int i = 0; i < 50; i++)
        now = deadlines_look(set, now);
    assert_int_equal(passed.count, 0);
    /* As near as can be, right after a look: it is not missed. */
    assert_true(deadline_move(&deadline, now + SHORTEST, 3));
    while (passed.count == 0 && now < DEADLINE_NEVER)
        now = deadlines_look(set, now);
    assert_int_equal(passed.count, 1);
    assert_int_equal(passed.tag, 3);
    deadlines_remove(set, &deadline);
}

static void a_removed_deadline_does_not_pass(void **state) {
    struct deadlines *set = *state;
    struct deadline deadlines[3] = {0};
    for (int i = 0; i < 3; i++)
        deadlines_add(set, &deadlines[i], START + 100 + i, (unsigned)i, START);
    deadlines_remove(set, &deadlines[1]);
    deadlines_remove(set, &deadlines[1]);
    deadlines_look(set, START + 1000);
    assert_int_equal(passed.count, 2);
}

static void many_pass_each_at_its_own_time(void **state) {
    struct deadlines *set = *state;
    struct deadline *deadlines = calloc(MANY, sizeof *deadlines);
    for (int i = 0; i < MANY; i++)
        deadlines_add(set, &deadlines[i], START + SHORTEST + (i * 7919) % MANY, 0, START);
    for (int64_t now = START, next; passed.count < MANY; now = next) {
        next = deadlines_look(set, now);
        assert_int_equal(passed.count, now < START + SHORTEST ? 0 : now - START - SHORTEST + 1);
    }
    free(deadlines);
}

static void the_thread_lets_pass_what_is_due(void **state) {
    struct deadlines *set = *state;
    struct deadline later = {0}, sooner = {0};
    deadlines_start(set, "deadlines");
    int64_t now = clock_monotonic_ms();
    deadlines_add(set, &later, DEADLINE_NEVER, 0, now);
    /* Nearer than what the thread waits for. */
    deadlines_add(set, &sooner, now + 1, 4, now);
    pthread_mutex_lock(&passed.mutex);
    while (passed.count == 0)
        pthread_cond_wait(&passed.changed, &passed.mutex);
    pthread_mutex_unlock(&passed.mutex);
    assert_ptr_equal(passed.last, &sooner);
    assert_int_equal(passed.tag, 4);
    deadlines_remove(set, &sooner);
    deadlines_remove(set, &later);
}

int main(void) {
#define WITH_SET(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SET(a_deadline_passes_at_its_time_and_once),
        WITH_SET(a_moved_deadline_passes_at_its_new_time),
        WITH_SET(what_is_suspended_never_passes_and_can_be_given_a_deadline_again),
        WITH_SET(a_removed_deadline_does_not_pass),
        WITH_SET(many_pass_each_at_its_own_time),
        WITH_SET(the_thread_lets_pass_what_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
