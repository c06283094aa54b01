/* Effects outside of the state, and their retries. Every wait here is for the thing itself. */
#include "worker_fixture.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "worker/effect.h"
#include "worker/retry.h"

enum { HOUR_S = 3600 };

/* The clocks as the program sees them. What waits a minute by a monotonic clock that is behind the kernel's by most of one waits
 * for the rest. */
static atomic_int wall_ahead_s, monotonic_behind_s;

int clock_gettime(clockid_t which, struct timespec *time) {
    long status = syscall(SYS_clock_gettime, which, time);
    if (which == CLOCK_REALTIME)
        time->tv_sec += atomic_load(&wall_ahead_s);
    if (which == CLOCK_MONOTONIC)
        time->tv_sec -= atomic_load(&monotonic_behind_s);
    return (int)status;
}

static struct worker_fixture *fixture;
static struct effects *effects;
static char *hook;
static int wake;
static bool started;
static struct effect_result *held; /* taken and not asked for yet */

static int set_up(void **state) {
    signal(SIGPIPE, SIG_IGN);
    if (fixture_set_up(state))
        return -1;
    fixture = *state;
    hook = memory_format("%s/hook", fixture->directory);
    wake = eventfd(0, EFD_CLOEXEC);
    effects = NULL;
    started = false;
    held = NULL;
    atomic_store(&wall_ahead_s, 0);
    atomic_store(&monotonic_behind_s, 0);
    return 0;
}

static int tear_down(void **state) {
    if (started)
        effects_stop(effects);
    effects_free(effects);
    while (held) {
        struct effect_result *next = held->next;
        effect_result_free(held);
        held = next;
    }
    close(wake);
    free(hook);
    return fixture_tear_down(state);
}

static void write_hook(const char *body) {
    char *temporary = memory_format("%s.new", hook);
    FILE *file = fopen(temporary, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\ncd '%s'\n%s\n", fixture->directory, body);
    fclose(file);
    assert_int_equal(chmod(temporary, 0700), 0);
    assert_int_equal(rename(temporary, hook), 0);
    free(temporary);
}

static void make_effects(struct export *export, bool with_hook) {
    struct effect_options options = {.environment = "production",
                                     .replica = "edge-1",
                                     .hook = with_hook ? hook : NULL,
                                     .hook_timeout_ms = 60000,
                                     .retry_initial_ms = 1,
                                     .retry_maximum_ms = 20,
                                     .export = export,
                                     .readers = fixture->readers,
                                     .wake = wake};
    effects = effects_new(&options);
}

static void start(void) {
    struct error error;
    assert_int_equal(effects_start(effects, &error), 0);
    started = true;
}

static struct effect_change *change_of(const char *id, int64_t version) {
    struct effect_change pattern = {.operation = EVENT_UPDATE,
                                    .jwk_id = id,
                                    .deployment_id = JWK_C,
                                    .event_id = JWK_C,
                                    .event_hash = "hash",
                                    .project_name = "MyProject",
                                    .name = "one",
                                    .public_key = PUBLIC_A,
                                    .epoch = 1,
                                    .version = version,
                                    .sequence = version,
                                    .acked = true};
    return effect_change_new(&pattern);
}

/* Waits for the next result and frees it after copying its message. */
static enum effect_outcome await(int64_t version, char message[ACK_MESSAGE_MAX + 1]) {
    while (!held) {
        uint64_t ignored;
        assert_int_equal(read(wake, &ignored, sizeof ignored), sizeof ignored);
        held = effects_take_results(effects);
    }
    struct effect_result *result = held;
    held = result->next;
    enum effect_outcome outcome = result->outcome;
    assert_int_equal(result->change->version, version);
    if (message)
        snprintf(message, ACK_MESSAGE_MAX + 1, "%s", result->message);
    effect_result_free(result);
    return outcome;
}

static void a_hook_that_succeeds_is_done(void **state) {
    (void)state;
    write_hook("exit 0");
    make_effects(NULL, true);
    start();
    effects_submit_take(effects, change_of(JWK_A, 1));
    assert_int_equal(await(1, NULL), EFFECT_DONE);
    assert_int_equal(effects_room(effects), EFFECT_QUEUE_MAX);
}

static void a_failure_is_told_at_once_and_its_later_success_too(void **state) {
    (void)state;
    char message[ACK_MESSAGE_MAX + 1];
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    write_hook("[ -e repaired ] || { echo 'not yet' >&2; exit 1; }");
    make_effects(NULL, true);
    start();
    effects_submit_take(effects, change_of(JWK_A, 1));
    assert_int_equal(await(1, message), EFFECT_FAILED);
    assert_string_equal(message, "not yet; it is tried again");
    char *file = memory_format("%s/repaired", fixture->directory);
    fclose(fopen(file, "w"));
    free(file);
    assert_int_equal(await(1, NULL), EFFECT_RECOVERED);
}

static void a_long_failure_is_told_with_what_comes_next(void **state) {
    (void)state;
    char message[ACK_MESSAGE_MAX + 1];
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    write_hook("printf 'no%01000d' 0 >&2; exit 1");
    make_effects(NULL, true);
    start();
    effects_submit_take(effects, change_of(JWK_A, 1));
    assert_int_equal(await(1, message), EFFECT_FAILED);
    assert_int_equal(strlen(message), ACK_MESSAGE_MAX);
    assert_string_equal(strchr(message, ';'), "; it is tried again");
}

static void a_newer_version_takes_the_place_of_the_one_that_fails(void **state) {
    (void)state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 2));
    write_hook("[ $JWK_VERSION = 2 ]");
    make_effects(NULL, true);
    start();
    effects_submit_take(effects, change_of(JWK_A, 1));
    effects_submit_take(effects, change_of(JWK_A, 2));
    assert_int_equal(await(1, NULL), EFFECT_FAILED);
    /* The retry of version 1 may come first: the state holds version 2, so that it is not run. */
    enum effect_outcome outcome;
    while (!held) {
        uint64_t ignored;
        assert_int_equal(read(wake, &ignored, sizeof ignored), sizeof ignored);
        held = effects_take_results(effects);
    }
    outcome = held->outcome;
    if (outcome == EFFECT_SUPERSEDED)
        assert_int_equal(await(1, NULL), EFFECT_SUPERSEDED);
    assert_int_equal(await(2, NULL), EFFECT_DONE);
}

static void what_failed_before_a_restart_is_tried_again(void **state) {
    (void)state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    write_hook("[ \"$JWK_NAME\" = one ] && [ \"$JWK_PROJECT\" = MyProject ] && [ \"$(cat)\" = '" PUBLIC_A "' ]");
    make_effects(NULL, true);
    struct effect_change *resumed = change_of(JWK_A, 1);
    resumed->project_name = resumed->name = resumed->public_key = NULL;
    effects_resume_take(effects, resumed);
    start();
    assert_int_equal(await(1, NULL), EFFECT_RECOVERED);
}

static void what_the_state_holds_no_more_is_not_tried_again(void **state) {
    (void)state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 7));
    write_hook("exit 0");
    make_effects(NULL, true);
    effects_resume_take(effects, change_of(JWK_A, 6)); /* a newer version came */
    start();
    assert_int_equal(await(6, NULL), EFFECT_SUPERSEDED);
    effects_stop(effects);
    effects_free(effects);
    make_effects(NULL, true);
    effects_resume_take(effects, change_of(JWK_B, 5)); /* a tombstone came */
    start();
    assert_int_equal(await(5, NULL), EFFECT_SUPERSEDED);
}

static void a_hanging_hook_fills_the_queue_and_ends_with_a_stop(void **state) {
    (void)state;
    write_hook("touch running; while [ ! -e released ]; do sleep 0.01; done");
    make_effects(NULL, true);
    start();
    for (int i = 0; i < EFFECT_QUEUE_MAX; i++)
        effects_submit_take(effects, change_of(JWK_A, i + 1));
    assert_int_equal(effects_room(effects), 0);
    char *file = memory_format("%s/released", fixture->directory);
    fclose(fopen(file, "w"));
    free(file);
    assert_int_equal(await(1, NULL), EFFECT_DONE);
    effects_stop(effects);
    started = false;
}

static void files_are_written_before_the_hook_runs(void **state) {
    (void)state;
    struct error error;
    char *path = memory_format("%s/export", fixture->directory);
    struct export *export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    write_hook("[ \"$(cat export/MyProject.json)\" = '{\"keys\":[" PUBLIC_A "]}' ]");
    make_effects(export, true);
    start();
    effects_submit_take(effects, change_of(JWK_A, 1));
    effects_submit_take(effects, change_of(JWK_A, 2));
    assert_int_equal(await(1, NULL), EFFECT_DONE);
    assert_int_equal(await(2, NULL), EFFECT_DONE);
    effects_stop(effects);
    started = false;
    export_close(export);
    free(path);
}

static void a_file_that_cannot_be_written_fails_and_recovers(void **state) {
    (void)state;
    struct error error;
    char *path = memory_format("%s/export", fixture->directory), *blocking = memory_format("%s/MyProject.json/x", path);
    struct export *export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    /* A directory that is not empty cannot be replaced by a file. */
    char *command = memory_format("mkdir -p '%s'", blocking);
    assert_int_equal(system(command), 0);
    free(command);
    make_effects(export, false);
    start();
    effects_submit_take(effects, change_of(JWK_A, 1));
    char message[ACK_MESSAGE_MAX + 1];
    assert_int_equal(await(1, message), EFFECT_FAILED);
    assert_non_null(strstr(message, "MyProject.json"));
    command = memory_format("rm -r '%s/MyProject.json'", path);
    assert_int_equal(system(command), 0);
    free(command);
    assert_int_equal(await(1, NULL), EFFECT_RECOVERED);
    effects_stop(effects);
    started = false;
    export_close(export);
    free(blocking);
    free(path);
}

static void await_exported(void) {
    while (!effects_is_exported(effects)) {
        uint64_t ignored;
        assert_int_equal(read(wake, &ignored, sizeof ignored), sizeof ignored);
    }
}

static void all_files_are_written_when_asked(void **state) {
    (void)state;
    struct error error;
    char *path = memory_format("%s/export", fixture->directory);
    struct export *export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    make_effects(export, false);
    start();
    assert_false(effects_is_exported(effects));
    effects_note_caught_up(effects);
    await_exported();
    char *file = memory_format("%s/MyProject.json", path);
    assert_int_equal(access(file, R_OK), 0);
    assert_int_equal(unlink(file), 0);
    effects_note_caught_up(effects); /* once more, behind what was read again */
    await_exported();
    assert_int_equal(access(file, R_OK), 0);
    effects_stop(effects);
    started = false;
    export_close(export);
    free(file);
    free(path);
}

/* Waits until a file holds that text. */
static void await_file(const char *path, const char *text) {
    char content[256];
    for (int tries = 0; tries < 1000; tries++) {
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        content[fread(content, 1, sizeof content - 1, file)] = '\0';
        fclose(file);
        if (strcmp(content, text) == 0)
            return;
        poll(NULL, 0, 10);
    }
    fail_msg("%s holds %s", path, content);
}

static void files_that_a_clock_ahead_took_keys_from_get_them_back_though_nothing_changes(void **state) {
    (void)state;
    struct error error;
    char *path = memory_format("%s/export", fixture->directory), *file = memory_format("%s/MyProject.json", path);
    struct export *export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.expires = time(NULL) + HOUR_S;
    fixture_put(fixture, jwk);
    atomic_store(&wall_ahead_s, 2 * HOUR_S);
    atomic_store(&monotonic_behind_s, 59);
    make_effects(export, false);
    start();
    effects_note_caught_up(effects);
    await_exported();
    await_file(file, "{\"keys\":[]}");
    atomic_store(&wall_ahead_s, 0);
    await_file(file, "{\"keys\":[" PUBLIC_A "]}");
    effects_stop(effects);
    started = false;
    export_close(export);
    free(file);
    free(path);
}

/* Nobody waits for what a sweep removes; the file would show it for ever. */
static void the_file_of_a_project_that_was_swept_is_written_once_it_can_be(void **state) {
    (void)state;
    struct error error;
    char *path = memory_format("%s/export", fixture->directory), *file = memory_format("%s/MyProject.json", path);
    struct export *export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    fixture_put(fixture, jwk);
    atomic_store(&monotonic_behind_s, 4);
    make_effects(export, false);
    start();
    effects_note_caught_up(effects);
    await_exported();
    await_file(file, "{\"keys\":[" PUBLIC_A "]}");
    jwk.version = 2;
    jwk.deleted = true;
    fixture_put(fixture, jwk);
    /* A directory that is not empty can not be replaced by a file. */
    char *command = memory_format("mv '%s' '%s.old' && mkdir -p '%s/x'", file, file, file);
    assert_int_equal(system(command), 0);
    free(command);
    struct effect_change *change = change_of(JWK_A, 1);
    change->operation = EVENT_DELETE;
    change->deployment_id = NULL;
    effects_submit_take(effects, change);
    assert_int_equal(await(1, NULL), EFFECT_FAILED);
    command = memory_format("rm -r '%s' && mv '%s.old' '%s'", file, file, file);
    assert_int_equal(system(command), 0);
    free(command);
    await_file(file, "{\"keys\":[]}");
    effects_stop(effects);
    started = false;
    export_close(export);
    free(file);
    free(path);
}

/* ---- the retry queue ---- */

static void retries_come_in_the_order_of_their_time_and_wait_ever_longer(void **state) {
    (void)state;
    struct retry_queue *queue = retry_queue_new(100, 350);
    retry_queue_add_take(queue, change_of(JWK_A, 1), 1000);
    retry_queue_add_take(queue, change_of(JWK_B, 1), 900);
    assert_int_equal(retry_queue_due(queue), 1000);
    assert_null(retry_queue_pop(queue, 999));
    struct effect_change *b = retry_queue_pop(queue, 1000), *a = retry_queue_pop(queue, 1100);
    assert_string_equal(b->jwk_id, JWK_B);
    assert_string_equal(a->jwk_id, JWK_A);
    static const int64_t delays[] = {200, 350, 350};
    for (size_t i = 0; i < 3; i++) {
        retry_queue_add_take(queue, a, 5000);
        assert_int_equal(retry_queue_due(queue), 5000 + delays[i]);
        a = retry_queue_pop(queue, 10000);
    }
    effect_change_free(a);
    effect_change_free(b);
    assert_int_equal(retry_queue_due(queue), INT64_MAX);
    retry_queue_free(queue);
}

/* As when new credentials have come: what failed for lack of them is not to wait as long as it has come to. */
static void what_is_hurried_is_due_at_once_and_waits_shortly_again(void **state) {
    (void)state;
    struct retry_queue *queue = retry_queue_new(100, 10000);
    retry_queue_add_take(queue, change_of(JWK_A, 1), 0);
    for (int i = 0; i < 5; i++)
        retry_queue_add_take(queue, retry_queue_pop(queue, 100000), 0);
    assert_int_equal(retry_queue_due(queue), 3200);
    retry_queue_hurry(queue, 1000);
    assert_int_equal(retry_queue_due(queue), 1000);
    retry_queue_add_take(queue, retry_queue_pop(queue, 1000), 1000);
    assert_int_equal(retry_queue_due(queue), 1100);
    retry_queue_free(queue);
}

static void a_jwk_waits_once_and_can_be_taken_out_of_the_middle(void **state) {
    (void)state;
    struct retry_queue *queue = retry_queue_new(1, 1);
    char ids[200][UUID_SIZE];
    unsigned seed = 3;
    for (unsigned i = 0; i < 200; i++) {
        snprintf(ids[i], UUID_SIZE, "01890000-0000-7000-8000-%012u", i % 1000);
        retry_queue_add_take(queue, change_of(ids[i], 1), rand_r(&seed) % 10000);
    }
    retry_queue_add_take(queue, change_of(ids[7], 2), 20000);
    assert_int_equal(retry_queue_count(queue), 200);
    for (unsigned i = 0; i < 200; i += 2)
        assert_true(retry_queue_cancel(queue, ids[i]));
    assert_false(retry_queue_cancel(queue, ids[0]));
    assert_int_equal(retry_queue_count(queue), 100);
    int64_t before = 0;
    while (retry_queue_count(queue) > 1) {
        int64_t due = retry_queue_due(queue);
        assert_true(due >= before);
        before = due;
        effect_change_free(retry_queue_pop(queue, due));
    }
    struct effect_change *last = retry_queue_pop(queue, INT64_MAX);
    assert_string_equal(last->jwk_id, ids[7]);
    assert_int_equal(last->version, 2);
    effect_change_free(last);
    retry_queue_free(queue);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_hook_that_succeeds_is_done),
        TEST(a_failure_is_told_at_once_and_its_later_success_too),
        TEST(a_long_failure_is_told_with_what_comes_next),
        TEST(a_newer_version_takes_the_place_of_the_one_that_fails),
        TEST(what_failed_before_a_restart_is_tried_again),
        TEST(what_the_state_holds_no_more_is_not_tried_again),
        TEST(a_hanging_hook_fills_the_queue_and_ends_with_a_stop),
        TEST(files_are_written_before_the_hook_runs),
        TEST(a_file_that_cannot_be_written_fails_and_recovers),
        TEST(all_files_are_written_when_asked),
        TEST(files_that_a_clock_ahead_took_keys_from_get_them_back_though_nothing_changes),
        TEST(the_file_of_a_project_that_was_swept_is_written_once_it_can_be),
        TEST(retries_come_in_the_order_of_their_time_and_wait_ever_longer),
        TEST(what_is_hurried_is_due_at_once_and_waits_shortly_again),
        TEST(a_jwk_waits_once_and_can_be_taken_out_of_the_middle),
    };
    return cmocka_run_group_tests_name("worker effects", tests, NULL, NULL);
}
