/* Running a program of the operator's: no shell, no arguments, and nothing of ours but what it is given.
 *
 * What it inherits: the environment without our own settings (JWK_…, which may hold secrets), working directory, user, umask
 * and resource limits. What it does not: descriptors beyond the standard ones (databases, sockets, locks), blocked and ignored
 * signals, our process group. Thread-safe. */
#ifndef COMMON_SPAWN_H
#define COMMON_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

/* What the program's standard descriptors are copies of; -1: /dev/null. The caller keeps them, and closes its own. */
struct spawn_streams {
    int input, output, messages;
};

/* A program that runs, or has ended and was not asked yet. */
struct spawned {
    pid_t pid;   /* its process group too */
    int process; /* a pidfd: readable once it has ended */
};

/* Starts program, by its path. variables ("NAME=value", NULL at the end; NULL: none) come behind what it inherits of the
 * environment. what names the program in the sentences of an error ("hook"): ERROR_INVALID when it can not be run,
 * ERROR_UNAVAILABLE when this process can not run anything now. Each program that was started is ended by spawn_end(). */
int spawn_start(const char *what, const char *program, const char *const *variables, const struct spawn_streams *streams,
                struct spawned *spawned, struct error *error) MUST_CHECK;
/* Waits for the end of the program, and with force makes it, and all that is still in its process group, end first. Returns the
 * status as waitpid(2) tells it; *spawned is empty afterwards. */
int spawn_end(struct spawned *spawned, bool with_force);

#endif
