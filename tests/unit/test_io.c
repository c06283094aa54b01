/* Writing whole, through a pipe that takes a part at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common/io.h"
#include "common/memory.h"

enum { SIZE = 1 << 20, PIECE = 4096 };

static void on_signal(int number) {
    (void)number;
}

struct writing {
    int descriptor;
    const char *bytes;
    int result;
};

static void *write_them(void *context) {
    struct writing *writing = context;
    writing->result = io_write_all(writing->descriptor, writing->bytes, SIZE);
    close(writing->descriptor);
    return NULL;
}

static void all_is_written_in_order_whatever_interrupts(void **state) {
    (void)state;
    int ends[2];
    pthread_t thread;
    char *bytes = memory_new(SIZE), *read_back = memory_new(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)(i % 251); /* no period that a page or a pipe has too */
    /* Without SA_RESTART a signal ends a write that waits: with what is written so far, or with EINTR. */
    const struct sigaction interrupt = {.sa_handler = on_signal};
    assert_int_equal(sigaction(SIGUSR1, &interrupt, NULL), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct writing writing = {.descriptor = ends[1], .bytes = bytes};
    assert_int_equal(pthread_create(&thread, NULL, write_them, &writing), 0);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], read_back + length, length + PIECE <= SIZE ? PIECE : SIZE - length)) > 0;) {
        length += (size_t)got;
        pthread_kill(thread, SIGUSR1); /* joined below: the thread's id is good to the end */
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(writing.result, 0);
    assert_int_equal(length, SIZE);
    assert_memory_equal(read_back, bytes, SIZE);
    close(ends[0]);
    free(bytes);
    free(read_back);
}

static void a_failure_is_told_with_its_reason(void **state) {
    (void)state;
    int ends[2];
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    assert_int_equal(io_write_all(ends[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    close(ends[1]);
}

static void nothing_is_written_at_once(void **state) {
    (void)state;
    assert_int_equal(io_write_all(-1, NULL, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_written_in_order_whatever_interrupts),
        cmocka_unit_test(a_failure_is_told_with_its_reason),
        cmocka_unit_test(nothing_is_written_at_once),
    };
    return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
