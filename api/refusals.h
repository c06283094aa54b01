/* Calls that were refused, on their way into the audit trail: gathered in memory and written at most once a second, a few lines
 * at a time, each with how many it stands for. So whoever calls in vain, however often, costs next to nothing. What the last
 * second gathered is lost when the process is killed. */
#ifndef API_REFUSALS_H
#define API_REFUSALS_H

#include <stdint.h>

#include "writer.h"

struct call;
struct refusals;

struct refusals *refusals_new(void);
/* Only after the writer has ended. NULL is allowed. */
void refusals_free(struct refusals *refusals);
/* wake is called, from any thread, when the first one is gathered: refusals_submit() is to be called soon. Once, before calls
 * are taken. */
void refusals_attach(struct refusals *refusals, struct writer *writer, void (*wake)(void *context), void *context);
/* Notes that the call is refused with that status (401, 403, 429), before it is answered. Thread-safe. */
void refusals_note(struct refusals *refusals, const struct call *call, unsigned status);
/* Hands what is gathered to the writer when its time has come (now_ms: monotonic); returns when to call again, INT64_MAX when
 * there is nothing. Called by one thread. */
int64_t refusals_submit(struct refusals *refusals, int64_t now_ms);
/* Writes what is gathered, for the last time: within a job of the writer. */
int refusals_write_rest(struct refusals *refusals, struct store *store, struct error *error) MUST_CHECK;

#endif
