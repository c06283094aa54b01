/* One run of a hook, with real small programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/json.h"
#include "common/memory.h"
#include "worker/hook.h"

enum { LONG_MS = 60000 };

static char directory[64], script[96];

static int set_up(void **state) {
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(directory, sizeof directory, "/tmp/test-worker-hook-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(script, sizeof script, "%s/hook", directory);
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
    fprintf(file, "#!/bin/sh\ncd '%s'\n%s\n", directory, body);
    fclose(file);
    assert_int_equal(chmod(script, 0700), 0);
}

static const struct hook_change change = {.environment = "production",
                                          .replica = "edge-1",
                                          .operation = "update",
                                          .project = "My Project; rm -rf /",
                                          .name = "a$(id)b",
                                          .id = "01890000-0000-7000-8000-00000000000a",
                                          .version = 7,
                                          .kid = "k1",
                                          .jwk = "{\"kty\":\"OKP\"}"};

static int run(const char *body, long timeout_ms, struct error *error) {
    write_script(body);
    error->message[0] = '\0';
    return hook_run(script, timeout_ms, &change, error);
}

static void assert_fails(const char *body, const char *message) {
    struct error error;
    assert_int_equal(run(body, LONG_MS, &error), -1);
    assert_string_equal(error.message, message);
}

static char *read_file(const char *name) {
    char path[128], *text = memory_new(4096);
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    (void)!fread(text, 1, 4095, file);
    fclose(file);
    return text;
}

static void it_gets_the_change_by_environment_and_input(void **state) {
    (void)state;
    struct error error;
    setenv("JWK_WORKER_KAFKA_PROPERTY", "sasl.password=secret", 1);
    assert_int_equal(run("env | grep ^JWK_ | sort >env; cat >input", LONG_MS, &error), 0);
    unsetenv("JWK_WORKER_KAFKA_PROPERTY");
    char *environment = read_file("env"), *input = read_file("input");
    assert_string_equal(environment,
                        "JWK_ENVIRONMENT=production\nJWK_ID=01890000-0000-7000-8000-00000000000a\nJWK_KID=k1\n"
                        "JWK_NAME=a$(id)b\nJWK_OPERATION=update\nJWK_PROJECT=My Project; rm -rf /\nJWK_REPLICA=edge-1\n"
                        "JWK_VERSION=7\n");
    assert_string_equal(input, "{\"kty\":\"OKP\"}");
    free(environment);
    free(input);
}

static void the_last_line_of_standard_error_is_the_message(void **state) {
    (void)state;
    assert_fails("echo out; echo first >&2; echo 'the gateway is down' >&2; echo >&2; exit 3", "the gateway is down");
}

static void without_a_line_the_status_is_the_message(void **state) {
    (void)state;
    assert_fails("exit 3", "the hook ended with exit status 3");
    assert_fails("kill -9 $$", "the hook was ended by signal 9");
}

static void success_with_warnings_is_success(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(run("echo careful >&2; exit 0", LONG_MS, &error), 0);
}

static void a_message_is_one_clean_line_of_bounded_length(void **state) {
    (void)state;
    assert_fails("printf 'a\\033[31mb\\tc\\302\\205d\\377e\\303\\251' >&2; exit 1", "a[31mbcd?e\303\251");
    struct error error;
    assert_int_equal(run("i=0; while [ $i -lt 400 ]; do printf '\\303\\251' >&2; i=$((i+1)); done; exit 1", LONG_MS, &error),
                     -1);
    assert_true(strlen(error.message) <= ACK_MESSAGE_MAX);
    assert_true(strlen(error.message) >= ACK_MESSAGE_MAX - 1);
    assert_true(json_utf8_is_valid(error.message, strlen(error.message)));
}

static void much_output_neither_blocks_nor_hides_the_last_line(void **state) {
    (void)state;
    assert_fails("head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; head -c 300000 /dev/zero; echo 'the end' >&2; exit 1",
                 "the end");
}

static void input_that_is_not_read_does_no_harm(void **state) {
    (void)state;
    struct error error;
    char *large = memory_new(1000001);
    memset(large, 'x', 1000000);
    struct hook_change with_large = change;
    with_large.jwk = large;
    write_script("exec <&-; exit 0");
    assert_int_equal(hook_run(script, LONG_MS, &with_large, &error), 0);
    free(large);
}

static void a_deleted_jwk_has_no_input(void **state) {
    (void)state;
    struct error error;
    struct hook_change deleted = change;
    deleted.jwk = NULL;
    deleted.kid = NULL;
    write_script("[ -z \"$(cat)\" ] && [ -z \"${JWK_KID+x}\" ]");
    assert_int_equal(hook_run(script, LONG_MS, &deleted, &error), 0);
}

static void a_hanging_hook_is_killed_with_its_children(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(run("sleep 1000 & echo $! >child; echo $$ >parent; sleep 1000", 300, &error), -1);
    assert_string_equal(error.message, "the hook did not end within 300 ms and was killed");
    const char *const files[] = {"child", "parent"};
    for (size_t i = 0; i < 2; i++) {
        char *text = read_file(files[i]);
        pid_t pid = (pid_t)atol(text);
        free(text);
        assert_true(pid > 1);
        int process = pidfd_open(pid, 0);
        if (process < 0) {
            assert_int_equal(errno, ESRCH);
            continue;
        }
        struct pollfd ended = {.fd = process, .events = POLLIN};
        assert_int_equal(poll(&ended, 1, LONG_MS), 1);
        close(process);
    }
}

static void a_child_that_keeps_standard_error_open_holds_nothing_up(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(run("sleep 1000 & echo $! >child; exit 0", LONG_MS, &error), 0);
    char *text = read_file("child");
    kill((pid_t)atol(text), SIGKILL);
    free(text);
}

static void a_program_that_is_not_there_fails_by_name(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(hook_run("/nowhere/hook", LONG_MS, &change, &error), -1);
    assert_non_null(strstr(error.message, "/nowhere/hook"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_gets_the_change_by_environment_and_input),   TEST(the_last_line_of_standard_error_is_the_message),
        TEST(without_a_line_the_status_is_the_message),      TEST(success_with_warnings_is_success),
        TEST(a_message_is_one_clean_line_of_bounded_length), TEST(much_output_neither_blocks_nor_hides_the_last_line),
        TEST(input_that_is_not_read_does_no_harm),           TEST(a_deleted_jwk_has_no_input),
        TEST(a_hanging_hook_is_killed_with_its_children),    TEST(a_child_that_keeps_standard_error_open_holds_nothing_up),
        TEST(a_program_that_is_not_there_fails_by_name),
    };
    return cmocka_run_group_tests_name("worker hook", tests, NULL, NULL);
}
