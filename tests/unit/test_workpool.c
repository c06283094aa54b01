/* The pool: everything that is taken runs once, the bound holds, and a stop is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "api/workpool.h"

struct task {
    struct work work;
    sem_t *started, *go; /* NULL: it does not wait */
    atomic_int *ran, *told_stopping;
};

static void run(struct work *work, bool stopping) {
    struct task *task = (struct task *)work;
    if (task->started)
        sem_post(task->started);
    if (task->go)
        sem_wait(task->go);
    atomic_fetch_add(task->ran, 1);
    atomic_fetch_add(task->told_stopping, stopping);
    free(task);
}

struct fixture {
    sem_t started, go;
    atomic_int ran, told_stopping;
};

static struct task *task_of(struct fixture *fixture, int64_t owner, bool waits) {
    struct task *task = calloc(1, sizeof *task);
    task->work.run = run;
    task->work.owner = owner;
    task->started = waits ? &fixture->started : NULL;
    task->go = waits ? &fixture->go : NULL;
    task->ran = &fixture->ran;
    task->told_stopping = &fixture->told_stopping;
    return task;
}

static struct task *task_new(struct fixture *fixture, bool waits) { return task_of(fixture, 0, waits); }

static void fixture_init(struct fixture *fixture) {
    *fixture = (struct fixture){0};
    sem_init(&fixture->started, 0, 0);
    sem_init(&fixture->go, 0, 0);
}

static void all_work_runs_once(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct workpool *pool = workpool_new("test", 4, 100000);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(workpool_submit(pool, &task_new(&fixture, false)->work), 0);
    workpool_free(pool);
    assert_int_equal(fixture.ran, 10000);
}

static void more_than_the_bound_is_refused_until_there_is_room(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct workpool *pool = workpool_new("test", 1, 2);
    assert_int_equal(workpool_submit(pool, &task_new(&fixture, true)->work), 0);
    sem_wait(&fixture.started); /* it is with the thread, the queue is empty */
    assert_int_equal(workpool_submit(pool, &task_new(&fixture, true)->work), 0);
    assert_int_equal(workpool_submit(pool, &task_new(&fixture, true)->work), 0);
    struct task *refused = task_new(&fixture, false);
    assert_int_equal(workpool_submit(pool, &refused->work), -1);
    sem_post(&fixture.go);
    sem_wait(&fixture.started); /* the next one is taken */
    assert_int_equal(workpool_submit(pool, &refused->work), 0);
    sem_post(&fixture.go);
    sem_post(&fixture.go);
    workpool_free(pool);
    assert_int_equal(fixture.ran, 4);
}

static void threads_work_at_the_same_time(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct workpool *pool = workpool_new("test", 3, 10);
    for (int i = 0; i < 3; i++)
        assert_int_equal(workpool_submit(pool, &task_new(&fixture, true)->work), 0);
    for (int i = 0; i < 3; i++)
        sem_wait(&fixture.started); /* all three are under way, though none has ended */
    assert_int_equal(fixture.ran, 0);
    for (int i = 0; i < 3; i++)
        sem_post(&fixture.go);
    workpool_free(pool);
    assert_int_equal(fixture.ran, 3);
}

static void one_owner_leaves_a_thread_to_the_others(void **state) {
    (void)state;
    struct fixture fixture, other;
    fixture_init(&fixture);
    fixture_init(&other);
    struct workpool *pool = workpool_new("test", 3, 100);
    for (int i = 0; i < 10; i++)
        assert_int_equal(workpool_submit(pool, &task_of(&fixture, 7, true)->work), 0);
    sem_wait(&fixture.started);
    sem_wait(&fixture.started); /* all that it may have, and none of it ends */
    assert_int_equal(workpool_submit(pool, &task_of(&other, 8, true)->work), 0);
    sem_wait(&other.started); /* never, behind all of the other's */
    assert_int_equal(sem_trywait(&fixture.started), -1);
    sem_post(&other.go);
    for (int i = 0; i < 10; i++)
        sem_post(&fixture.go);
    workpool_free(pool);
    assert_int_equal(fixture.ran, 10);
    assert_int_equal(other.ran, 1);
}

static void owners_take_turns(void **state) {
    (void)state;
    struct fixture first, second, third;
    fixture_init(&first);
    fixture_init(&second);
    fixture_init(&third);
    struct workpool *pool = workpool_new("test", 1, 100);
    assert_int_equal(workpool_submit(pool, &task_of(&first, 7, true)->work), 0);
    sem_wait(&first.started);
    for (int i = 0; i < 3; i++)
        assert_int_equal(workpool_submit(pool, &task_of(&second, 7, true)->work), 0);
    assert_int_equal(workpool_submit(pool, &task_of(&third, 8, true)->work), 0);
    sem_post(&first.go);
    sem_wait(&second.started); /* that was first; now it is the other's turn */
    sem_post(&second.go);
    sem_wait(&third.started);
    assert_int_equal(second.ran, 1);
    sem_post(&third.go);
    sem_post(&second.go);
    sem_post(&second.go);
    workpool_free(pool);
    assert_int_equal(first.ran + second.ran + third.ran, 5);
}

static void one_owner_leaves_places_to_wait_to_the_others(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct workpool *pool = workpool_new("test", 1, 8);
    assert_int_equal(workpool_submit(pool, &task_of(&fixture, 7, true)->work), 0);
    sem_wait(&fixture.started);
    for (int i = 0; i < 6; i++)
        assert_int_equal(workpool_submit(pool, &task_of(&fixture, 7, false)->work), 0);
    struct task *refused = task_of(&fixture, 7, false);
    assert_int_equal(workpool_submit(pool, &refused->work), -1);
    free(refused);
    assert_int_equal(workpool_submit(pool, &task_of(&fixture, 8, false)->work), 0);
    assert_int_equal(workpool_submit(pool, &task_of(&fixture, 9, false)->work), 0);
    struct task *too_many = task_of(&fixture, 10, false);
    assert_int_equal(workpool_submit(pool, &too_many->work), -1);
    free(too_many);
    sem_post(&fixture.go);
    workpool_free(pool);
    assert_int_equal(fixture.ran, 9);
}

static void a_stop_is_told_and_takes_nothing_more(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    struct workpool *pool = workpool_new("test", 1, 10);
    assert_false(atomic_load(workpool_stopping(pool)));
    assert_int_equal(workpool_submit(pool, &task_new(&fixture, true)->work), 0);
    sem_wait(&fixture.started);
    assert_int_equal(workpool_submit(pool, &task_new(&fixture, false)->work), 0);
    workpool_stop(pool);
    assert_true(atomic_load(workpool_stopping(pool)));
    struct task *late = task_new(&fixture, false);
    assert_int_equal(workpool_submit(pool, &late->work), -1);
    free(late);
    sem_post(&fixture.go);
    workpool_free(pool);
    assert_int_equal(fixture.ran, 2);
    assert_int_equal(fixture.told_stopping, 1); /* what waited; what had begun was told otherwise */
    workpool_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_work_runs_once),
        cmocka_unit_test(more_than_the_bound_is_refused_until_there_is_room),
        cmocka_unit_test(threads_work_at_the_same_time),
        cmocka_unit_test(one_owner_leaves_a_thread_to_the_others),
        cmocka_unit_test(owners_take_turns),
        cmocka_unit_test(one_owner_leaves_places_to_wait_to_the_others),
        cmocka_unit_test(a_stop_is_told_and_takes_nothing_more),
    };
    return cmocka_run_group_tests_name("workpool", tests, NULL, NULL);
}
