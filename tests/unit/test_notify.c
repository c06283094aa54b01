/* Commands tell the serving API of their commits: whoever is concerned looks, also when a byte was lost or a look fails. */
#include "store_fixture.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "api/notify.h"

static const char *const environments[] = {"production"};

static atomic_int committed; /* what commands have changed so far */

struct watcher {
    int looks, acts;
    atomic_int seen; /* of that, at the last look */
    bool fails;
    sem_t acted, looked;
};

static int look(void *context, struct store *store, struct error *error) {
    struct watcher *watcher = context;
    (void)store;
    watcher->looks++;
    atomic_store(&watcher->seen, atomic_load(&committed));
    sem_post(&watcher->looked);
    return watcher->fails ? error_set(error, ERROR_INTERNAL, "it can not be read") : 0;
}

static void act(void *context) {
    struct watcher *watcher = context;
    watcher->acts++;
    sem_post(&watcher->acted);
}

struct world {
    struct store_fixture fixture;
    struct writer *writer;
    struct notify *notify;
    struct watcher failing, watching;
};

static void socket_path(const struct world *world, char path[128]) {
    snprintf(path, 128, "%s/notify.sock", world->fixture.directory);
}

static int open_world(void **state) {
    struct world *world = memory_new(sizeof *world);
    struct error error = {0};
    fixture_open(&world->fixture, 1, environments);
    world->failing.fails = true;
    for (struct watcher *watcher = &world->failing; watcher <= &world->watching; watcher++) {
        sem_init(&watcher->acted, 0, 0);
        sem_init(&watcher->looked, 0, 0);
    }
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    const struct notify_subscriber subscribers[] = {{"what fails", look, act, &world->failing},
                                                    {"what is watched", look, act, &world->watching}};
    /* One that an earlier process has left. */
    char path[128];
    socket_path(world, path);
    FILE *left = fopen(path, "w");
    assert_non_null(left);
    fclose(left);
    world->notify = notify_new(world->fixture.directory, world->writer, subscribers, 2, &error);
    if (!world->notify)
        fail_msg("%s", error.message);
    *state = world;
    return 0;
}

static int close_world(void **state) {
    struct world *world = *state;
    char path[128];
    notify_stop(world->notify);
    writer_free(world->writer);
    notify_free(world->notify);
    socket_path(world, path);
    assert_int_equal(access(path, F_OK), -1); /* nothing is left behind */
    fixture_close(&world->fixture);
    free(world);
    return 0;
}

static void everybody_looks_at_the_start_and_whenever_something_was_committed(void **state) {
    struct world *world = *state;
    sem_wait(&world->watching.acted);
    for (int i = 0; i < 20; i++) {
        notify_send(world->fixture.directory);
        sem_wait(&world->watching.acted);
    }
    assert_true(world->watching.acts >= 21);
    assert_int_equal(world->failing.acts, 0); /* what can not be read is not acted upon … */
    assert_true(world->failing.looks >= 21);  /* … and looked at again each time */
}

static void no_commit_goes_unseen_however_fast_they_come(void **state) {
    struct world *world = *state;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20; /* less than the time after which everybody looks by themselves */
    for (int i = 0; i < 500; i++) {
        for (int burst = 0; burst <= i % 7; burst++) {
            atomic_fetch_add(&committed, 1);
            notify_send(world->fixture.directory);
        }
        while (atomic_load(&world->watching.seen) != atomic_load(&committed))
            assert_int_equal(sem_timedwait(&world->watching.looked, &until), 0);
    }
}

static void the_socket_is_for_its_owner_alone(void **state) {
    struct world *world = *state;
    struct stat status;
    char path[128];
    socket_path(world, path);
    assert_int_equal(stat(path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void telling_nobody_is_no_error(void **state) {
    (void)state;
    char directory[64];
    directory_make(directory);
    notify_send(directory);
    notify_send("/nonexistent");
    directory_remove(directory);
}

static void a_directory_with_a_long_name_will_do(void **state) {
    struct world *world = *state;
    char long_name[200], link[256];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    snprintf(link, sizeof link, "/tmp/%s", long_name);
    unlink(link);
    assert_int_equal(symlink(world->fixture.directory, link), 0);
    sem_wait(&world->watching.acted);
    notify_send(link);
    sem_wait(&world->watching.acted);
    unlink(link);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everybody_looks_at_the_start_and_whenever_something_was_committed, open_world, close_world),
        cmocka_unit_test_setup_teardown(no_commit_goes_unseen_however_fast_they_come, open_world, close_world),
        cmocka_unit_test_setup_teardown(the_socket_is_for_its_owner_alone, open_world, close_world),
        cmocka_unit_test(telling_nobody_is_no_error),
        cmocka_unit_test_setup_teardown(a_directory_with_a_long_name_will_do, open_world, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
