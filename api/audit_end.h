/* How the audit topic ends, held against the store: before anything is added to the trail.
 *
 * A store that was put back from a backup would go on in the middle of a chain that is longer already. A topic that was made
 * again lacks what was sent; the chain goes on behind it, and auditors are told. */
#ifndef API_AUDIT_END_H
#define API_AUDIT_END_H

#include "common/kafka.h"
#include "store_audit.h"

/* Reads how far the topic goes by what keys of the store have signed; sequence 0 when it is empty. Records of others are passed
 * over. */
int audit_end_read(const struct kafka_settings *settings, const char *topic, struct store *store, struct audit_head *end,
                   struct error *error) MUST_CHECK;
/* ERROR_CONFLICT with a sentence that says what to do when the topic is ahead of the store. Tells when it lacks lines. */
int audit_end_check(const struct kafka_settings *settings, const char *topic, struct store *store,
                    struct error *error) MUST_CHECK;
/* For adopting a store: where the topic is ahead of it, or has other lines, the trail goes on behind the topic's end. Inside a
 * transaction that has added no line yet. */
int audit_end_follow(const struct kafka_settings *settings, const char *topic, struct store *store,
                     struct error *error) MUST_CHECK;

#endif
