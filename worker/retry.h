/* Which JWKs are to be tried again, and when: a heap by due time with a table by JWK id, so that a newer version replaces what
 * waits.
 *
 * Delays double from the initial one to the maximum. Used by one thread. */
#ifndef WORKER_RETRY_H
#define WORKER_RETRY_H

#include <stddef.h>
#include <stdint.h>

struct retry_queue;
struct effect_change;

struct retry_queue *retry_queue_new(int64_t initial_ms, int64_t maximum_ms);
void retry_queue_free(struct retry_queue *queue); /* and what it holds */

/* Queues a change (taken) to be tried at now plus its delay, in place of any other of the same JWK. */
void retry_queue_add_take(struct retry_queue *queue, struct effect_change *change, int64_t now_ms);
/* Makes all of them due now, with the initial delay behind the next failure. */
void retry_queue_hurry(struct retry_queue *queue, int64_t now_ms);
/* When the next one is due, monotonic ms; INT64_MAX when the queue is empty. */
int64_t retry_queue_due(const struct retry_queue *queue);
/* Takes out the one that is due first, for the caller to own; NULL when none is due. */
struct effect_change *retry_queue_pop(struct retry_queue *queue, int64_t now_ms);
/* Forgets the JWK; returns whether it waited. */
_Bool retry_queue_cancel(struct retry_queue *queue, const char *jwk_id);
size_t retry_queue_count(const struct retry_queue *queue);

#endif
