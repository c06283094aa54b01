/* The events that a topic still has, to hold the changes of an audit trail against: about 150 bytes of memory for each. */
#ifndef API_AUDIT_EVENTS_H
#define API_AUDIT_EVENTS_H

#include "audit_line.h"
#include "common/kafka.h"

struct audit_events;

/* Reads the topic to its end; the caller frees the result. */
struct audit_events *audit_events_read(const struct kafka_settings *settings, const char *topic,
                                       struct error *error) MUST_CHECK;
void audit_events_free(struct audit_events *events); /* NULL is allowed */

/* Holds a change against its event: -1 when the event that the topic has is another than the one that was recorded. One that
 * the topic has no more (compaction) is only counted. */
int audit_events_check(struct audit_events *events, const struct audit_line *change, struct error *error) MUST_CHECK;
/* After the whole trail: -1 when the topic has an event from between the first and the last change of which the trail knows
 * nothing. */
int audit_events_end(const struct audit_events *events, struct error *error) MUST_CHECK;
/* Changes whose event was there and the same, and changes whose event is there no more. */
void audit_events_count(const struct audit_events *events, int64_t *same, int64_t *gone);

#endif
