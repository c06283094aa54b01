/* Publishing everything again, and making a store that was put back from a backup the truth again. */
#ifndef API_STORE_REPUBLISH_H
#define API_STORE_REPUBLISH_H

#include "store.h"

/* Ends a sentence on a store that is behind what is in Kafka: store_adopt() orders before what it has seen, and another process
 * that goes on publishes behind that. */
#define ADOPT_ADVICE "see that no other jwk-api runs with this installation, and run: jwk-api adopt"

/* Notes that every JWK is to be published again, from the first, and every deletion that an environment has not confirmed. */
int store_republish_begin(struct store *store, struct error *error) MUST_CHECK;
/* Whether something is left to be published again: 1, 0, or -1 with an error. */
int store_republish_is_due(struct store *store, struct error *error) MUST_CHECK;
/* Records a deployment of the next of them, at most limit; visit takes what each record holds. *left: there are more. Inside a
 * transaction. */
int store_republish_next(struct store *store, int limit, void (*visit)(void *context, struct store_change *change),
                         void *context, bool *left, struct error *error) MUST_CHECK;

/* For each partition of the events topic, the sequence of the last event that is known to have been published to it; 0: none.
 * It is there, or a later one of the same JWK, since compaction leaves a JWK its last event; after a tombstone there may be
 * none. Reads all JWKs: about 0.3 s for a million. */
int store_read_published_ends(struct store *store, int64_t *ends, int partitions, struct error *error) MUST_CHECK;

/* Puts the store ahead of what its topic ends with: a new epoch, a sequence behind all that were given, and everything to be
 * published again. */
int store_adopt(struct store *store, int64_t topic_epoch, int64_t topic_sequence, struct error *error) MUST_CHECK;
/* Whether the store has that JWK, and it is not deleted: 1, 0, or -1 with an error. */
int store_has_jwk(struct store *store, const char *jwk_id, struct error *error) MUST_CHECK;
/* Records the deletion of a JWK that replicas have and the store has not, as its last event tells of it. The store may know it
 * as deleted: then an older backup was put back in between, and it is deleted once more. */
int store_delete_unknown(struct store *store, const struct event *event, int partition, struct error *error) MUST_CHECK;

#endif
