/* The audit trail from the store to its topic: in order, a record at a time, each signed.
 *
 * Its thread reads what commits have added, from the outbox alone, so that what commands have written goes out in its place. A
 * record holds the lines of all transactions of the last moment: so the trail costs updates neither a wait nor a signature
 * each. */
#ifndef API_AUDIT_PUBLISHER_H
#define API_AUDIT_PUBLISHER_H

#include "publisher.h"
#include "refusals.h"
#include "signing.h"
#include "store_audit.h"
#include "writer.h"

struct audit_publisher;

struct audit_publisher_options {
    const char *topic;
    struct signing *signing;
    void (*restore)(void *context); /* makes the topic when it is missing, after a record was not delivered; may be NULL */
    void *context;
    struct refusals *refusals; /* which this thread hands to the writer in time */
};

/* reader: a STORE_READ connection of its own, taken. */
struct audit_publisher *audit_publisher_new(const struct audit_publisher_options *options, struct store *reader,
                                            struct error *error) MUST_CHECK;
/* Both must live until after the stop. */
void audit_publisher_start(struct audit_publisher *audit, struct writer *writer, struct publisher *publisher);
/* Makes the thread look into the outbox soon. Thread-safe, also before the start. */
void audit_publisher_look(void *audit);
/* The topic lacks lines that were sent: told in the log and by a metric. Thread-safe. */
void audit_publisher_note_loss(const char *topic, const char *reason);
/* Tells in the trail that the service stops, waits up to timeout_ms for what is on its way, and ends the thread. What is not
 * delivered then is in the outbox. Before publisher_stop(). */
void audit_publisher_stop(struct audit_publisher *audit, int timeout_ms);
/* Frees it; only after the writer has ended and the publisher has stopped, which still refer to it. NULL is allowed. */
void audit_publisher_free(struct audit_publisher *audit);

#endif
