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

struct topic_change { /* what orders the changes of one store; zeros: none */
    int64_t epoch, sequence;
};

struct topic_end {
    struct topic_change last;    /* the latest that a key of this store has signed, found towards the partitions' ends */
    struct topic_change claimed; /* the latest in this store's name that may be of a key which it does not have */
    bool reached;                /* the last event that the store knows to be in a partition was found there, or a later one */
    char source[256];            /* ce_source of an event of another installation, where none of ours was found; "" for none */
    int partitions;
    bool *empty;  /* by partition: it holds no record at all; owned */
    bool lacking; /* a partition has not the last event that the store knows to be there, nor a later one */
    bool in_doubt; /* filled by topic_end_check() */
};

/* Whether a store can have got so far since the backup that identity is of; number: a sequence or a JWK's version. What is not
 * plausible is no event of ours: it would only use up what the numbers can count. */
bool topic_end_is_plausible(const struct store_identity *identity, int64_t epoch, int64_t number);

/* Reads each partition of topic from its end back to the last event that the store knows to be there, or a later one, with a
 * signature of a key of the store; without one the whole partition. Others may have written to the topic: what they say of
 * themselves must not keep the API from its start, nor hide how far the topic goes. (A copy of that very event at the end still
 * hides what is between the two.) */
int topic_end_read(const struct kafka_settings *settings, const char *topic, struct store *store,
                   const struct store_identity *identity, struct topic_end *end, struct error *error) MUST_CHECK;
void topic_end_free(struct topic_end *end);
/* ERROR_CONFLICT with a sentence that says what to do when the topic is ahead of the store, or is another installation's. Logs
 * what could be either that or a forgery, and says that the end is in doubt: TOPIC_END_DOUBT is for whoever asks later. */
#define TOPIC_END_DOUBT                                                                                                      \
    "events under a key that the store does not have go further than the store: the log of the start says what to do"
int topic_end_check(struct topic_end *end, const struct store_identity *identity, const char *topic,
                    struct error *error) MUST_CHECK;

#endif
