/* posix_spawn(3), and what a program must not get from us. */
#include "common/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memory.h"

#define OWN_PREFIX "JWK_"

enum { STREAMS = 3 };

static size_t count_of(const char *const *variables) {
    size_t count = 0;
    while (variables && variables[count])
        count++;
    return count;
}

/* The strings stay whose they are; the array is the caller's. */
static char **environment_new(const char *const *variables) {
    size_t inherited = count_of((const char *const *)environ), added = count_of(variables), used = 0;
    char **environment = memory_new((inherited + added + 1) * sizeof *environment);
    for (size_t i = 0; i < inherited; i++)
        if (strncmp(environ[i], OWN_PREFIX, sizeof OWN_PREFIX - 1) != 0)
            environment[used++] = environ[i];
    for (size_t i = 0; i < added; i++)
        environment[used++] = (char *)variables[i];
    return environment;
}

/* Copies of the streams above the standard descriptors: in a process that was started with one of those closed, a stream may be
 * one of them, and would be overwritten before its turn. One that is closed itself is none. 0 or errno. */
static int copy_streams(const struct spawn_streams *streams, int copies[STREAMS]) {
    const int given[STREAMS] = {streams->input, streams->output, streams->messages};
    for (int i = 0; i < STREAMS; i++)
        if (given[i] >= 0 && (copies[i] = fcntl(given[i], F_DUPFD_CLOEXEC, STREAMS)) < 0 && errno != EBADF)
            return errno;
    return 0;
}

static int describe_streams(posix_spawn_file_actions_t *actions, const int copies[STREAMS]) {
    int code = 0;
    for (int i = 0; i < STREAMS && code == 0; i++)
        code = copies[i] >= 0
                   ? posix_spawn_file_actions_adddup2(actions, copies[i], i)
                   : posix_spawn_file_actions_addopen(actions, i, "/dev/null", i == STDIN_FILENO ? O_RDONLY : O_WRONLY, 0);
    /* Not everything that a library opens is closed by exec. */
    return code ? code : posix_spawn_file_actions_addclosefrom_np(actions, STREAMS);
}

static int describe_process(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int code = posix_spawnattr_setsigmask(attributes, &none);
    code = code ? code : posix_spawnattr_setsigdefault(attributes, &all);
    code = code ? code : posix_spawnattr_setpgroup(attributes, 0);
    return code ? code
                : posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

/* 0 or an error's number. */
static int spawn(const char *program, char *const *environment, const int copies[STREAMS], pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *arguments[] = {(char *)program, NULL};
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int code = describe_streams(&actions, copies);
    code = code ? code : describe_process(&attributes);
    code = code ? code : posix_spawn(pid, program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return code;
}

/* Whether the failure is of this process or the machine, and not of the program that was named. */
static bool is_shortage(int code) {
    return code == EAGAIN || code == ENOMEM || code == EMFILE || code == ENFILE;
}

int spawn_start(const char *what, const char *program, const char *const *variables, const struct spawn_streams *streams,
                struct spawned *spawned, struct error *error) {
    int copies[STREAMS] = {-1, -1, -1};
    char **environment = environment_new(variables);
    *spawned = (struct spawned){.pid = -1, .process = -1};
    int code = copy_streams(streams, copies);
    code = code ? code : spawn(program, environment, copies, &spawned->pid);
    for (int i = 0; i < STREAMS; i++)
        if (copies[i] >= 0)
            close(copies[i]);
    free(environment);
    if (code != 0) {
        spawned->pid = -1;
        return error_set(error, is_shortage(code) ? ERROR_UNAVAILABLE : ERROR_INVALID, "starting the %s %s: %s", what, program,
                         strerror(code));
    }
    spawned->process = pidfd_open(spawned->pid, 0);
    if (spawned->process < 0) {
        error_set(error, ERROR_UNAVAILABLE, "watching the %s %s: %s", what, program, strerror(errno));
        spawn_end(spawned, true);
        return -1;
    }
    return 0;
}

int spawn_end(struct spawned *spawned, bool with_force) {
    int status = 0;
    if (with_force) {
        kill(-spawned->pid, SIGKILL);
        kill(spawned->pid, SIGKILL); /* it may have left its group */
    }
    while (waitpid(spawned->pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (spawned->process >= 0)
        close(spawned->process);
    *spawned = (struct spawned){.pid = -1, .process = -1};
    return status;
}
