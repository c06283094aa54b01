/* What was gathered and is on its way into the store: results, late acks and the offset up to which they were read, in one
 * transaction.
 *
 * The gatherer's thread adds; a deferred job of the writer stores. An ack whose deployment nobody waits for any more (a
 * restart, a deadline, a hook that succeeded in the end) is judged against the store there. */
#ifndef API_GATHERED_H
#define API_GATHERED_H

#include "deployment.h"
#include "writer.h"

enum {
    GATHERED_MAX = 20000
}; /* items that wait for the store before the gatherer stops reading: bounds memory on a slow disk */

struct gathered;

struct gathered *gathered_new(struct writer *writer, const char *acks_topic);
/* Adds the outcome of one environment. */
void gathered_add_outcome(struct gathered *gathered, const struct deployment *deployment, size_t index);
/* Adds an ack that fits no waiting deployment; replica is its sender, of the current incarnation. */
void gathered_add_late(struct gathered *gathered, const struct ack *ack, const struct replica *replica);
/* All acks before next_offset of that partition are accounted for by what was added so far. */
void gathered_set_offset(struct gathered *gathered, int32_t partition, int64_t next_offset);
/* Whether all that was added is in the store. Thread-safe. */
bool gathered_all_stored(struct gathered *gathered);
/* Hands what there is to the writer; waits while GATHERED_MAX is exceeded. */
void gathered_flush(struct gathered *gathered);
void gathered_free(struct gathered *gathered); /* after the writer has ended */

#endif
