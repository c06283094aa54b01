/* Deadlines that move much more often than they pass: moving one is a single atomic exchange, without a lock or a system call.
 *
 * A thread of the set's own sleeps until the next deadline that it knows of; one that was moved on meanwhile is looked at again
 * then. For this it must be known how near a deadline can be set at least (`shortest`): none is set nearer than that, and each
 * is looked at so often. */
#ifndef COMMON_DEADLINES_H
#define COMMON_DEADLINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap.h"

/* What passes where no deadline is set. */
#define DEADLINE_NEVER (INT64_MAX >> 3)

/* Embedded in what it belongs to; zeroed before it is added. */
struct deadline {
    struct heap_entry look;  /* first: when the thread looks at it; guarded by the set's mutex */
    _Atomic int64_t due_tag; /* monotonic ms and a tag of 0 to 7 in the low bits; DEADLINE_PASSED */
};

struct deadlines;

/* Called by the set's thread for a deadline that has passed, with the tag it was set with. The set's mutex is held: what the
 * deadline belongs to cannot be removed meanwhile, and no function of the set may be called. */
typedef void (*deadline_passed)(void *context, struct deadline *deadline, unsigned tag);

/* A set without a thread, which deadlines_start() adds; shortest_ms is greater than 0. */
struct deadlines *deadlines_new(int64_t shortest_ms, deadline_passed passed, void *context);
/* Starts the thread, of that name (at most 15 characters). */
void deadlines_start(struct deadlines *set, const char *name);
/* Ends the thread and frees the set, which is empty by then. NULL is allowed. */
void deadlines_free(struct deadlines *set);

/* Adds and removes; thread-safe. After the removal the deadline does not pass any more. */
void deadlines_add(struct deadlines *set, struct deadline *deadline, int64_t due_ms, unsigned tag, int64_t now_ms);
void deadlines_remove(struct deadlines *set, struct deadline *deadline);
/* Moves a deadline, at least shortest_ms from now or to DEADLINE_NEVER. False when it has passed: it stays so. By one thread at
 * a time for each deadline. */
bool deadline_move(struct deadline *deadline, int64_t due_ms, unsigned tag);

/* What the thread does, for tests: lets pass what is due at now_ms and returns when to look again, or DEADLINE_NEVER. */
int64_t deadlines_look(struct deadlines *set, int64_t now_ms);

#endif
