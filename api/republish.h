/* Publishes every JWK again, some at a time, while serving: after the events topic was made again, after an older store was
 * adopted, when an environment or its keys came, and when another key signs.
 *
 * How far it is stands in the store, so a restart goes on. Results settle as acks and positions come in; nobody waits. */
#ifndef API_REPUBLISH_H
#define API_REPUBLISH_H

#include "gatherer.h"
#include "publisher.h"
#include "writer.h"

struct republisher;

struct republisher *republisher_new(struct writer *writer, struct publisher *publisher, struct gatherer *gatherer);
/* Goes on with what an earlier process left; begins anew with all JWKs when `all`. Thread-safe. */
void republisher_start(struct republisher *republisher, bool all);
/* Goes on with what administration wants published again (notify.h); context is the republisher. */
int republisher_look(void *context, struct store *store, struct error *error) MUST_CHECK;
void republisher_act(void *context);
/* Ends with the chunk that is under way, whatever is left: before the writer ends, which else would go on to the last JWK. NULL is
 * allowed. */
void republisher_stop(struct republisher *republisher);
void republisher_free(struct republisher *republisher); /* after the writer has ended; NULL is allowed */

#endif
