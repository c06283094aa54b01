/* Settling what no ack will settle: pending results of the store that the positions of an environment's live replicas cover.
 *
 * So an environment that was away catches up in the records as well, a lost ack loses nothing, and a restart needs no list in
 * memory. The gatherer's thread decides when; a deferred job of the writer does it, a bounded number of rows at a time. */
#ifndef API_SETTLE_H
#define API_SETTLE_H

#include "replicas.h"
#include "writer.h"

struct settler;

/* event is an eventfd that is signalled when a job has finished. */
struct settler *settler_new(struct writer *writer, int event);
/* Starts a job for the environment when the store may hold something that its positions settle and none is under way.
 * all_stored: every outcome gathered so far is in the store; while one is on its way the job settles what it can, and is not
 * the last. */
void settler_consider(struct settler *settler, struct replica_environment *environment, bool all_stored);
/* In the gatherer's thread: notes what the finished jobs found. */
void settler_take_finished(struct settler *settler, struct replica_table *replicas);
void settler_free(struct settler *settler); /* after the writer has ended */

#endif
