/* What the files of the gatherer share: its thread (gatherer.c), what the records say (gatherer_records.c), and which
 * partitions they are read from (gatherer_topics.c). */
#ifndef API_GATHERER_INTERNAL_H
#define API_GATHERER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "common/log_limit.h"
#include "enrolled.h"
#include "gathered.h"
#include "gatherer.h"
#include "settle.h"

enum { GATHERED_TOPICS = 2 }; /* acks and workers */

struct gatherer {
    struct gatherer_options options;
    rd_kafka_t *consumer;
    rd_kafka_queue_t *queue;
    int records_event, inbox_event; /* eventfds: librdkafka has records; the inbox has something */
    struct gathered *gathered;
    struct settler *settler;
    pthread_t thread, topics_thread;
    bool started;
    rd_kafka_topic_partition_list_t *assigned; /* with the offset that each partition is to be read from next */
    int workers_partitions, workers_caught_up; /* of those, how many were read to their end once */

    /* of the thread */
    struct replica_table replicas;
    struct deployment *deployments; /* by sequence */
    struct heap deadlines;
    struct enrolling *enrolling;
    struct log_limit acks_limit, presence_limit; /* of what anybody can write to the topics */
    int64_t refused_before;                      /* presence of before this start that was refused while it was read back */
    int64_t next_expiry, last_round;
    int64_t next_refused_retry; /* INT64_MAX while no partition is refused */

    atomic_bool is_overtaken; /* set by the thread */

    pthread_mutex_t replicas_lock; /* held by the thread while it changes what others read, and by whoever copies or counts */

    struct store_environments *looked; /* of the writer's thread: what the last look has found; NULL: none */
    bool is_other;                     /* … which is not what the look before has found */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t caught_up_changed, stopping_changed; /* on CLOCK_MONOTONIC */
    struct store_environments *environments; /* to be taken over; NULL: no change */
    struct deployment *inbox[2];             /* head and tail, linked through hh.next */
    bool stopping, caught_up;
    int partitions[GATHERED_TOPICS]; /* that the last look at the topics has found … */
    bool partitions_changed;         /* … to be taken over */
    const char *give_up_reason;  /* static; NULL while deployments are waited for */
    struct sequence_floor floor; /* to be taken over … */
    bool republished;            /* … when this is set */
};

/* Has the thread look into its inbox. Thread-safe. */
void gatherer_wake(struct gatherer *gatherer);
/* Hands over the outcomes that are new, and ends the wait when nothing is open. The deployment may be gone afterwards. */
void gatherer_update(struct gatherer *gatherer, struct deployment *deployment);
void gatherer_for_all(struct gatherer *gatherer, struct replica *replica,
                      void (*notify)(struct deployment *deployment, struct replica *replica));
/* The store may get a result of the environment that only a position will settle: a pending one, or a failed one whose replica
 * was killed before it could tell that the failure has passed. */
void gatherer_note_unsettled(struct replica_environment *environment);

/* Takes a record into account, or refuses it. */
void gatherer_on_ack(struct gatherer *gatherer, const rd_kafka_message_t *record);
void gatherer_on_presence(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now);
void gatherer_register_records(void); /* their metrics */

/* Begins with the partitions that there are: those of the workers topic from their beginning, those of the acks from the stored
 * offsets once the replicas are known. */
int gatherer_assign(struct gatherer *gatherer, struct store *store, struct error *error) MUST_CHECK;
/* The thread that looks every few seconds whether topics are missing, or have more partitions. */
void *gatherer_topics_main(void *context);
/* Reads the partitions that are new, from their beginning; as many are there now of each topic. */
void gatherer_add_partitions(struct gatherer *gatherer, const int partitions[GATHERED_TOPICS]);
/* Something was read of a partition: it may be read. */
void gatherer_note_read(rd_kafka_topic_partition_t *entry);
/* After a record of the workers topic: it may have been the last one for now. */
void gatherer_look_for_end(struct gatherer *gatherer, const rd_kafka_message_t *record);
/* Begins anew with the partitions that may not be read: librdkafka tells of a refusal once, and of what is read again only when
 * there is a record. */
void gatherer_retry_refused(struct gatherer *gatherer, int64_t now);
/* What the consumer tells in the place of a record: an end of a partition, an offset that is not there any more, trouble. */
void gatherer_on_consumer_error(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now);

#endif
