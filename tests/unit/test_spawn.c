/* What a program of the operator's gets from us, and what it does not, with real small programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/spawn.h"

enum { PATIENCE_MS = 60000 };

static char directory[64], script[96];

static int set_up(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test-spawn-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(script, sizeof script, "%s/program", directory);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static void write_script(const char *body) {
    FILE *file = fopen(script, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", body);
    fclose(file);
    assert_int_equal(chmod(script, 0700), 0);
}

/* Reads to the end; the caller frees the text. */
static char *read_whole(int descriptor) {
    char *text = memory_new(65536);
    size_t length = 0;
    for (ssize_t got; length < 65535 && (got = read(descriptor, text + length, 65535 - length)) != 0;)
        if (got > 0)
            length += (size_t)got;
    return text;
}

/* Runs the script, which must succeed; what it prints is freed by the caller. */
static char *output_of(const char *body, const char *const *variables) {
    int output[2];
    struct spawned spawned;
    struct error error;
    write_script(body);
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    const struct spawn_streams streams = {.input = -1, .output = output[1], .messages = STDERR_FILENO};
    assert_int_equal(spawn_start("program", script, variables, &streams, &spawned, &error), 0);
    close(output[1]);
    char *text = read_whole(output[0]);
    close(output[0]);
    assert_int_equal(spawn_end(&spawned, false), 0);
    return text;
}

static void each_stream_is_where_it_belongs(void **state) {
    (void)state;
    int input[2], output[2], messages[2];
    struct spawned spawned;
    struct error error;
    write_script("cat; echo trouble >&2");
    assert_int_equal(pipe2(input, O_CLOEXEC) | pipe2(output, O_CLOEXEC) | pipe2(messages, O_CLOEXEC), 0);
    const struct spawn_streams streams = {.input = input[0], .output = output[1], .messages = messages[1]};
    assert_int_equal(spawn_start("program", script, NULL, &streams, &spawned, &error), 0);
    close(input[0]);
    close(output[1]);
    close(messages[1]);
    assert_int_equal(write(input[1], "hello", 5), 5);
    close(input[1]);
    char *said = read_whole(output[0]), *complained = read_whole(messages[0]);
    assert_string_equal(said, "hello");
    assert_string_equal(complained, "trouble\n");
    assert_int_equal(spawn_end(&spawned, false), 0);
    assert_int_equal(spawned.process, -1);
    close(output[0]);
    close(messages[0]);
    free(said);
    free(complained);
}

static void what_is_not_given_is_nothing(void **state) {
    (void)state;
    struct spawned spawned;
    struct error error;
    const struct spawn_streams streams = {.input = -1, .output = -1, .messages = -1};
    write_script("for i in 0 1 2; do [ \"$(readlink /proc/$$/fd/$i)\" = /dev/null ] || exit 1; done; [ -z \"$(cat)\" ]");
    assert_int_equal(spawn_start("program", script, NULL, &streams, &spawned, &error), 0);
    assert_int_equal(spawn_end(&spawned, false), 0);
}

/* Runs the script while each standard descriptor is a copy of that one (-1: closed). Nothing is asserted in between: the test
 * has no output of its own then. */
static int run_with(const int standard[3], const struct spawn_streams *streams) {
    struct spawned spawned;
    struct error error;
    int kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        if (standard[i] >= 0)
            dup2(standard[i], i);
        else
            close(i);
    }
    int result = spawn_start("program", script, NULL, streams, &spawned, &error);
    if (result == 0)
        result = spawn_end(&spawned, false);
    for (int i = 0; i < 3; i++) {
        dup2(kept[i], i);
        close(kept[i]);
    }
    return result;
}

/* A daemon may be started with its standard descriptors closed: then its pipes have their numbers. */
static void streams_that_have_the_numbers_of_standard_descriptors_are_not_confused(void **state) {
    (void)state;
    int input[2], output[2];
    write_script("cat; echo said; echo trouble >&2");
    assert_int_equal(pipe2(input, O_CLOEXEC) | pipe2(output, O_CLOEXEC), 0);
    assert_int_equal(write(input[1], "hello ", 6), 6);
    close(input[1]);
    /* Each is where another one belongs; and the number that is free belongs to /dev/null. */
    const struct spawn_streams crossed = {.input = 2, .output = 0, .messages = 1};
    assert_int_equal(run_with((int[]){output[1], output[1], input[0]}, &crossed), 0);
    const struct spawn_streams beside = {.input = -1, .output = 1, .messages = 2};
    assert_int_equal(run_with((int[]){-1, output[1], output[1]}, &beside), 0);
    close(input[0]);
    close(output[1]);
    char *said = read_whole(output[0]);
    assert_string_equal(said, "hello said\ntrouble\nsaid\ntrouble\n");
    close(output[0]);
    free(said);
}

static void it_gets_our_environment_without_our_settings_and_with_what_is_given(void **state) {
    (void)state;
    const char *const variables[] = {"JWK_NAME=a $(id) b", "OTHER=1", NULL};
    setenv("JWK_API_KAFKA_PROPERTY", "sasl.password=secret", 1);
    setenv("INHERITED_HERE", "yes", 1);
    char *with = output_of("env | grep -E '^(JWK_|OTHER|INHERITED)' | sort", variables);
    char *without = output_of("env | grep ^JWK_; exit 0", NULL);
    unsetenv("JWK_API_KAFKA_PROPERTY");
    unsetenv("INHERITED_HERE");
    assert_string_equal(with, "INHERITED_HERE=yes\nJWK_NAME=a $(id) b\nOTHER=1\n");
    assert_string_equal(without, "");
    free(with);
    free(without);
}

static void descriptors_are_not_inherited(void **state) {
    (void)state;
    int descriptor = dup(STDOUT_FILENO); /* without close-on-exec */
    assert_true(descriptor > 2);
    char *descriptors = output_of("exec ls /proc/self/fd", NULL); /* ls itself holds one on the directory */
    close(descriptor);
    assert_string_equal(descriptors, "0\n1\n2\n3\n");
    free(descriptors);
}

static void signals_are_at_their_defaults(void **state) {
    (void)state;
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    char *masks = output_of("exec grep -E '^Sig(Blk|Ign)' /proc/self/status", NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_DFL);
    const char *blocks = strstr(masks, "SigBlk:\t"), *ignores = strstr(masks, "SigIgn:\t");
    assert_non_null(blocks);
    assert_non_null(ignores);
    assert_int_equal(strtoull(blocks + 8, NULL, 16), 0);
    assert_int_equal(strtoull(ignores + 8, NULL, 16) & 0x7FFFFFFF, 0); /* behind them come the C library's own two */
    free(masks);
}

static void it_is_killed_with_all_of_its_group(void **state) {
    (void)state;
    int output[2];
    struct spawned spawned;
    struct error error;
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    const struct spawn_streams streams = {.input = -1, .output = output[1], .messages = -1};
    write_script("sleep 1000 & echo; sleep 1000");
    assert_int_equal(spawn_start("program", script, NULL, &streams, &spawned, &error), 0);
    close(output[1]);
    assert_int_equal(getpgid(spawned.pid), spawned.pid);
    assert_int_equal(read(output[0], &(char){0}, 1), 1); /* its own child runs */
    int status = spawn_end(&spawned, true);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* Its output ends when the last of the group is gone. */
    struct pollfd polled = {.fd = output[0], .events = POLLIN};
    assert_int_equal(poll(&polled, 1, PATIENCE_MS), 1);
    assert_int_equal(polled.revents & POLLIN, 0);
    close(output[0]);
}

static void its_end_can_be_waited_for_and_its_status_is_told(void **state) {
    (void)state;
    struct spawned spawned;
    struct error error;
    const struct spawn_streams streams = {.input = -1, .output = -1, .messages = -1};
    write_script("exit 3");
    assert_int_equal(spawn_start("program", script, NULL, &streams, &spawned, &error), 0);
    struct pollfd polled = {.fd = spawned.process, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, PATIENCE_MS), 1);
    int status = spawn_end(&spawned, false);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 3);
}

static void what_can_not_be_run_is_named(void **state) {
    (void)state;
    struct spawned spawned;
    struct error error;
    const struct spawn_streams streams = {.input = -1, .output = -1, .messages = -1};
    assert_int_equal(spawn_start("hook", "/nowhere/hook", NULL, &streams, &spawned, &error), -1);
    assert_int_equal(error.code, ERROR_INVALID);
    assert_string_equal(error.message, "starting the hook /nowhere/hook: No such file or directory");
    assert_int_equal(spawned.pid, -1);
}

static void a_process_without_descriptors_can_not_run_anything_now(void **state) {
    (void)state;
    struct spawned spawned;
    struct error error;
    struct rlimit before, none;
    const struct spawn_streams streams = {.input = -1, .output = STDERR_FILENO, .messages = -1};
    write_script("exit 0");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    int last = dup(STDERR_FILENO); /* the lowest free one */
    none.rlim_cur = (rlim_t)last + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int result = spawn_start("hook", script, NULL, &streams, &spawned, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    close(last);
    assert_int_equal(result, -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(each_stream_is_where_it_belongs),
        TEST(what_is_not_given_is_nothing),
        TEST(streams_that_have_the_numbers_of_standard_descriptors_are_not_confused),
        TEST(it_gets_our_environment_without_our_settings_and_with_what_is_given),
        TEST(descriptors_are_not_inherited),
        TEST(signals_are_at_their_defaults),
        TEST(it_is_killed_with_all_of_its_group),
        TEST(its_end_can_be_waited_for_and_its_status_is_told),
        TEST(what_can_not_be_run_is_named),
        TEST(a_process_without_descriptors_can_not_run_anything_now),
    };
    return cmocka_run_group_tests_name("spawn", tests, NULL, NULL);
}
