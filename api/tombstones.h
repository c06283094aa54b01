/* Tombstones: some time after a JWK was deleted its record may leave the events topic for good. */
#ifndef API_TOMBSTONES_H
#define API_TOMBSTONES_H

#include "publisher.h"
#include "writer.h"

struct tombstones;

/* Starts a thread that looks once an hour, and at once, for JWKs deleted longer than delay_ms ago. */
struct tombstones *tombstones_new(struct writer *writer, struct publisher *publisher, int64_t delay_ms);
/* Ends the thread; before the writer ends. A job that the store does not take now (a full disk) is not waited for. NULL is
 * allowed. */
void tombstones_stop(struct tombstones *tombstones);
/* Frees it; only after the writer has ended, whose last jobs still refer to it. NULL is allowed. */
void tombstones_free(struct tombstones *tombstones);

#endif
