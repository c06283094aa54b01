/* Records on their way from the consumer into one transaction of the state.
 *
 * They stay here, in the order in which they were read, until the state has taken them: a disk that is full loses none. */
#ifndef WORKER_BATCH_H
#define WORKER_BATCH_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

#include "worker/apply.h"
#include "worker/consume.h"
#include "worker/trust.h"

enum { BATCH_MAX = 5000 }; /* while catching up nobody waits for an ack, so that many events share one fsync */

struct batch {
    struct apply_record records[BATCH_MAX];
    struct consumer_place places[BATCH_MAX];
    rd_kafka_message_t *messages[BATCH_MAX]; /* the records point into them */
    struct arena arenas[TRUST_CHECKERS_MAX]; /* what was decoded, by each thread of batch_read() */
    size_t count;
    bool refused; /* by the state: it waits for the next attempt */
};

/* Adds a record of jwk.events; takes the message. There must be room. */
void batch_add_take(struct batch *batch, const struct consumer *consumer, rd_kafka_message_t *message);
/* Adds the end of a partition, which stands in line behind the records before it: it may lie behind the last of them, since
 * compaction leaves gaps. */
void batch_add_end_take(struct batch *batch, const struct consumer *consumer, rd_kafka_message_t *message);
/* Judges and decodes what was added, many records on several cores: while a replica catches up, most of its time would go into
 * that. */
void batch_read(struct batch *batch, struct trust *trust);
/* Whether there is more in it than ends of partitions. */
bool batch_has_work(const struct batch *batch);
/* Drops records of partitions that were begun again since they were taken: they are read again. */
void batch_drop_outdated(struct batch *batch, const struct consumer *consumer);
void batch_clear(struct batch *batch);
void batch_free(struct batch *batch); /* NULL is allowed */

#endif
