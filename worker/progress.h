/* How far a replica is in each partition of jwk.events, while events are settled in any order.
 *
 * An event is *settled* once it is durably applied and its hook and export were tried, and *acked* once its ack was delivered.
 * Two positions follow per partition, each only over events without a gap: `settled` is told in heartbeats, `acked` is stored,
 * so that a worker that died between apply and ack reads those events again and acks again. Used by one thread. */
#ifndef WORKER_PROGRESS_H
#define WORKER_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/message.h"

struct progress;

struct progress *progress_new(void);
void progress_free(struct progress *progress); /* NULL is allowed */

/* Begins a partition at a position, or begins it anew there: what was noted of it before no longer counts. */
void progress_start(struct progress *progress, const struct position *position);

/* Notes the event before next_offset; returns a ticket (less than 2^56) for the two below. A partition's events come in order.
 */
uint64_t progress_add(struct progress *progress, int32_t partition, int64_t next_offset, int64_t sequence);
/* The event is settled. Tickets from before progress_start() are ignored. */
void progress_settle(struct progress *progress, uint64_t ticket);
/* Its ack was delivered, which implies that it is settled. */
void progress_ack(struct progress *progress, uint64_t ticket);
/* Everything before next_offset that was not noted needs neither. sequence 0: unknown. */
void progress_pass(struct progress *progress, int32_t partition, int64_t next_offset, int64_t sequence);

/* Events that were noted and are not passed by both positions. */
size_t progress_pending(const struct progress *progress);
/* Whether a partition's acked position has moved since progress_acked_changes(). */
bool progress_is_dirty(const struct progress *progress);
/* Writes at most capacity of the settled positions, ordered by partition; returns how many partitions there are. */
size_t progress_settled(const struct progress *progress, struct position *positions, size_t capacity);
/* Both positions of one partition; false when it was not started. Either may be NULL. */
bool progress_find(const struct progress *progress, int32_t partition, struct position *settled, struct position *acked);
/* Writes at most capacity of the acked positions that have moved since they were last written here; returns how many it wrote.
 */
size_t progress_acked_changes(struct progress *progress, struct position *positions, size_t capacity);
/* Counts every position as moved: the transaction that should have stored them failed. */
void progress_mark_dirty(struct progress *progress);

#endif
