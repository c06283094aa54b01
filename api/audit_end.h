/* How the audit topic ends, held against the store: before anything is added to the trail.
 *
 * A store that was put back from a backup would go on in the middle of a chain that is longer already. A topic that was made
 * again lacks what was sent; the chain goes on behind it, and auditors are told. */
#ifndef API_AUDIT_END_H
#define API_AUDIT_END_H

#include "common/kafka.h"
#include "store_audit.h"

/* ERROR_CONFLICT with a sentence that says what to do when the topic is ahead of the store. Tells when it lacks lines. */
int audit_end_check(const struct kafka_settings *settings, const char *topic, struct store *store,
                    struct error *error) MUST_CHECK;
/* For adopting a store: where the topic is ahead of it, or has other lines, the trail goes on behind the topic's end. Inside a
 * transaction that has added no line yet. has_all_keys: whatever other keys have signed is not the API's; else ERROR_CONFLICT
 * where the topic ends with that. One that is not there, as after the loss of a cluster, has nothing to go on behind. */
int audit_end_follow(const struct kafka_settings *settings, const char *topic, struct store *store, bool has_all_keys,
                     struct error *error) MUST_CHECK;

#endif
