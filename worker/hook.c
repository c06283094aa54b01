/* Running a program and listening to it without ever waiting longer than agreed. */
#include "worker/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/spawn.h"

enum {
    VARIABLES_MAX = 8,  /* what it is told in its environment */
    STDERR_KEPT = 4096, /* bytes of the end of standard error; the last line is looked for in them */
};

/* One running program and our ends of its pipes; -1 for what is closed. */
struct run {
    struct spawned spawned;
    int input;    /* we write its standard input */
    int messages; /* we read its standard error */
    const char *input_next;
    size_t input_left;
    char kept[STDERR_KEPT];
    size_t kept_length;
};

static void close_descriptor(int *descriptor) {
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

/* ---- starting ---- */

/* What the program is told of the change. */
static void variables_make(const struct hook_change *change, char *variables[VARIABLES_MAX + 1]) {
    size_t used = 0;
    variables[used++] = memory_format("JWK_OPERATION=%s", change->operation);
    variables[used++] = memory_format("JWK_PROJECT=%s", change->project);
    variables[used++] = memory_format("JWK_NAME=%s", change->name);
    variables[used++] = memory_format("JWK_ID=%s", change->id);
    variables[used++] = memory_format("JWK_VERSION=%lld", (long long)change->version);
    variables[used++] = memory_format("JWK_ENVIRONMENT=%s", change->environment);
    variables[used++] = memory_format("JWK_REPLICA=%s", change->replica);
    if (change->kid)
        variables[used++] = memory_format("JWK_KID=%s", change->kid);
    variables[used] = NULL;
}

static int start(struct run *run, const char *program, const struct hook_change *change, struct error *error) {
    int input[2] = {-1, -1}, messages[2] = {-1, -1}, status = -1;
    char *variables[VARIABLES_MAX + 1];
    variables_make(change, variables);
    /* Our ends do not block, so that a program that neither reads nor ends cannot hold us beyond its time. */
    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(messages, O_CLOEXEC) != 0 || fcntl(input[1], F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(messages[0], F_SETFL, O_NONBLOCK) != 0) {
        error_set(error, ERROR_UNAVAILABLE, "starting the hook: %s", strerror(errno));
        goto out;
    }
    const struct spawn_streams streams = {.input = input[0], .output = -1, .messages = messages[1]};
    if (spawn_start("hook", program, (const char *const *)variables, &streams, &run->spawned, error))
        goto out;
    run->input = input[1];
    run->messages = messages[0];
    input[1] = messages[0] = -1;
    status = 0;
out:
    close_descriptor(&input[0]);
    close_descriptor(&input[1]);
    close_descriptor(&messages[0]);
    close_descriptor(&messages[1]);
    for (size_t i = 0; variables[i]; i++)
        free(variables[i]);
    return status;
}

/* ---- while it runs ---- */

/* Keeps the end of what the program says. */
static void keep(struct run *run, const char *bytes, size_t length) {
    if (length > STDERR_KEPT) {
        bytes += length - STDERR_KEPT;
        length = STDERR_KEPT;
    }
    size_t over = run->kept_length + length > STDERR_KEPT ? run->kept_length + length - STDERR_KEPT : 0;
    memmove(run->kept, run->kept + over, run->kept_length - over);
    run->kept_length -= over;
    memcpy(run->kept + run->kept_length, bytes, length);
    run->kept_length += length;
}

/* Reads what is there, at most budget bytes: a descendant of the program may write for ever. */
static void read_messages(struct run *run, size_t budget) {
    char buffer[4096];
    while (budget > 0) {
        ssize_t length = read(run->messages, buffer, sizeof buffer);
        if (length > 0) {
            keep(run, buffer, (size_t)length);
            budget -= budget < (size_t)length ? budget : (size_t)length;
        } else if (length < 0 && errno == EINTR) {
            continue;
        } else {
            if (length == 0 || errno != EAGAIN)
                close_descriptor(&run->messages);
            return;
        }
    }
}

static void write_input(struct run *run) {
    while (run->input_left > 0) {
        ssize_t length = write(run->input, run->input_next, run->input_left);
        if (length >= 0) {
            run->input_next += length;
            run->input_left -= (size_t)length;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR) {
            break; /* EPIPE: the program does not want it, which is its right */
        }
    }
    close_descriptor(&run->input);
}

/* Serves the pipes until the program has ended; false when the time is over. */
static bool serve(struct run *run, int64_t deadline) {
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0)
            return false;
        struct pollfd polled[] = {{.fd = run->spawned.process, .events = POLLIN},
                                  {.fd = run->messages, .events = POLLIN},
                                  {.fd = run->input, .events = POLLOUT}};
        if (poll(polled, 3, left > INT32_MAX ? INT32_MAX : (int)left) < 0 && errno != EINTR)
            return false;
        if (polled[1].revents)
            read_messages(run, 65536);
        if (polled[2].revents)
            write_input(run);
        if (polled[0].revents)
            return true;
    }
}

/* ---- its outcome ---- */

void hook_clean_message(const char *text, size_t length, char *out, size_t size) {
    size_t used = 0, limit = size - 1 < ACK_MESSAGE_MAX ? size - 1 : ACK_MESSAGE_MAX;
    for (size_t i = 0; i < length;) {
        unsigned char c = (unsigned char)text[i];
        size_t bytes = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        bool valid = bytes <= length - i && json_utf8_is_valid(text + i, bytes);
        bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && valid && (unsigned char)text[i + 1] < 0xa0);
        if (!valid)
            bytes = 1;
        if (control) {
            i += bytes;
            continue;
        }
        if (used + bytes > limit)
            break;
        if (valid)
            memcpy(out + used, text + i, bytes);
        else
            out[used] = '?';
        used += bytes;
        i += bytes;
    }
    while (used > 0 && out[used - 1] == ' ')
        used--;
    out[used] = '\0';
}

/* The last line that is not empty. */
static void last_line(const struct run *run, char *out, size_t size) {
    size_t end = run->kept_length;
    out[0] = '\0';
    while (end > 0 && out[0] == '\0') {
        size_t begin = end;
        while (begin > 0 && run->kept[begin - 1] != '\n')
            begin--;
        hook_clean_message(run->kept + begin, end - begin, out, size);
        end = begin > 0 ? begin - 1 : 0;
    }
}

static int judge(const struct run *run, int status, struct error *error) {
    char line[ACK_MESSAGE_MAX + 1];
    last_line(run, line, sizeof line);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (line[0])
        return error_set(error, ERROR_UNAVAILABLE, "%s", line);
    if (WIFEXITED(status))
        return error_set(error, ERROR_UNAVAILABLE, "the hook ended with exit status %d", WEXITSTATUS(status));
    return error_set(error, ERROR_UNAVAILABLE, "the hook was ended by signal %d", WTERMSIG(status));
}

int hook_run(const char *program, long timeout_ms, const struct hook_change *change, struct error *error) {
    struct run run = {.input = -1, .messages = -1, .input_next = change->jwk};
    if (change->jwk)
        run.input_left = strlen(change->jwk);
    if (start(&run, program, change, error))
        return -1;
    if (run.input_left == 0)
        close_descriptor(&run.input);
    bool ended = serve(&run, clock_monotonic_ms() + timeout_ms);
    int status = spawn_end(&run.spawned, !ended);
    if (run.messages >= 0)
        read_messages(&run, 65536);
    close_descriptor(&run.input);
    close_descriptor(&run.messages);
    if (!ended)
        return error_set(error, ERROR_UNAVAILABLE, "the hook did not end within %ld ms and was killed", timeout_ms);
    return judge(&run, status, error);
}
