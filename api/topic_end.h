/* How the events topic ends, held against the store: before anything is served.
 *
 * A store that was put back from a backup is behind its own topic: new changes would carry versions that replicas have seen,
 * and would be acknowledged as "nothing to do". A topic that was made again is behind the store: new replicas would find
 * nothing in it. */
#ifndef API_TOPIC_END_H
#define API_TOPIC_END_H

#include <stdbool.h>
#include <stdint.h>

#include "common/kafka.h"
#include "store.h"

struct topic_end {
    int64_t epoch, sequence; /* of the latest event that this store has signed, found towards the partitions' ends; 0: none */
    char source[256];        /* ce_source of an event of another installation, where none of ours was found; "" for none */
    int partitions;
    bool *empty; /* by partition: it holds no record at all; owned */
};

/* Reads each partition of topic from its end back to where there is an event that a key of the store has signed. Others may have
 * written to the topic: what they say of themselves must not keep the API from its start, nor hide how far the topic goes. */
int topic_end_read(const struct kafka_settings *settings, const char *topic, struct store *store,
                   const struct store_identity *identity, struct topic_end *end, struct error *error) MUST_CHECK;
void topic_end_free(struct topic_end *end);
/* ERROR_CONFLICT with a sentence that says what to do when the topic is ahead of the store, or is another installation's. */
int topic_end_check(const struct topic_end *end, const struct store_identity *identity, const char *topic,
                    struct error *error) MUST_CHECK;

#endif
