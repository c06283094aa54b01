/* Reading jwk.events: all partitions by assign(), from the stored positions, no group; and jwk.workers beside it.
 *
 * It decides where each partition begins: where the state left off; or at the start, with a sweep behind, when the state cannot
 * go on from there: it is older than deletes are kept, its offsets are out of range, or they are of another cluster. Used by
 * one thread. */
#ifndef WORKER_CONSUME_H
#define WORKER_CONSUME_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/kafka.h"
#include "worker/progress.h"
#include "worker/state.h"

struct consumer;

struct consumer_options {
    const struct kafka_settings *kafka;
    const struct kafka_topics *topics;
    const char *group; /* where positions are shown to Kafka's tools; nothing is read back from it */
    struct state *state;
    struct progress *progress;
    int64_t tombstone_delay_ms; /* of the API: how long a delete stays readable */
    int64_t sweep_delay_ms;     /* how long the API gets to publish everything into a topic that was made again */
    int wake;                   /* an eventfd that is written when there is something to consume */
};
struct consumer *consumer_open(const struct consumer_options *options, struct error *error) MUST_CHECK;
void consumer_close(struct consumer *consumer); /* NULL is allowed */

/* Looks for the topics. *missing names one that is not there (then nothing else is to be done but to look again). */
int consumer_find_topics(struct consumer *consumer, int timeout_ms, const char **missing, struct error *error) MUST_CHECK;
/* Begins all partitions. */
int consumer_start(struct consumer *consumer, int64_t now_ms, struct error *error) MUST_CHECK;
/* Begins partitions that were added since, and again those whose topic was gone, that could not be begun again before, or that
 * may not be read. */
int consumer_refresh(struct consumer *consumer, int timeout_ms, struct error *error) MUST_CHECK;
/* When the broker was lost, looks for it for up to timeout_ms. */
void consumer_check_connection(struct consumer *consumer, int timeout_ms);
/* The end of jwk.workers now, which has one partition: the offset of what comes next. */
int consumer_workers_end(struct consumer *consumer, int64_t *end, struct error *error) MUST_CHECK;
/* Reads jwk.workers from an offset on. */
int consumer_watch_workers(struct consumer *consumer, int64_t offset, struct error *error) MUST_CHECK;

/* Takes what there is, at most capacity records, without waiting; each is destroyed by the caller with
 * rd_kafka_message_destroy(). Among them are records of jwk.workers (consumer_is_of_workers()) and errors, which go to
 * consumer_handle_error(). */
size_t consumer_take(struct consumer *consumer, rd_kafka_message_t **records, size_t capacity);
bool consumer_is_of_workers(const struct consumer *consumer, const rd_kafka_message_t *record);

/* Has a record that was read long ago read again, in each partition that is caught up: it tells whether the topic is the same. */
int consumer_look_back(struct consumer *consumer, struct error *error) MUST_CHECK;
/* Whether a record of jwk.events lies before the place where its partition is: it is not to be taken. Any other one is, and the
 * place is behind it from then on. */
bool consumer_was_read(const struct consumer *consumer, const rd_kafka_message_t *record);
/* Whether it is the one that was asked for by looking back. */
bool consumer_is_looking(const struct consumer *consumer, const rd_kafka_message_t *record);
/* Ends the look. Begins everything from the start when an event of this sequence (look_back_sequence()) can not lie at that
 * place; *again tells whether that is so, also when it fails: then consumer_refresh() does it. */
int consumer_hold_against(struct consumer *consumer, const rd_kafka_message_t *record, int64_t sequence, bool *again,
                          struct error *error) MUST_CHECK;

enum consumer_error {
    CONSUMER_FINE,
    CONSUMER_WORKERS_LOST, /* jwk.workers was made again: say hello again */
};
/* Handles a record with an error: an offset out of range, a topic that is gone. -1 when the state fails. */
int consumer_handle_error(struct consumer *consumer, const rd_kafka_message_t *record, enum consumer_error *what,
                          struct error *error) MUST_CHECK;

/* What is to be known of a record's partition. */
struct consumer_place {
    int64_t generation;
    bool live;          /* behind what there was at the start: it is acked */
    bool reading_again; /* begun from the start though the state has its keys … */
    int64_t done_sequence; /* … of which those to this sequence had had their hooks */
};
/* False for a partition that was not begun, and for a record from before it was begun again: to be dropped. */
bool consumer_place(const struct consumer *consumer, int32_t partition, int64_t offset, struct consumer_place *place);

/* Whether all that was there at the start is settled, and what that reading showed to be gone is swept. */
bool consumer_is_caught_up(const struct consumer *consumer);
/* Records that are not settled yet, by what the broker told last. */
int64_t consumer_lag(const struct consumer *consumer);
/* Begins everything from the start when the topic was out of touch for longer than deletes stay readable. *again tells whether
 * it was. While it may not be read it is out of touch, whatever the caller has heard of the broker. */
int consumer_check_contact(struct consumer *consumer, int64_t now_ms, bool *again, struct error *error) MUST_CHECK;
/* When the topic was last in touch, as consumer_start() or consumer_check_contact() was told; wall ms. What is stored without a
 * word of the broker, such as at the end, must not make the state younger than that. */
int64_t consumer_last_contact(const struct consumer *consumer);
/* Begins everything from the start: events of before are to be judged anew. What a reading does not show is swept behind it. */
int consumer_read_again(struct consumer *consumer, const char *reason, struct error *error) MUST_CHECK;
/* Commits positions to the consumer group of this replica's name, so that Kafka's own tools show its lag. Nothing reads them
 * back: the state has its own. Does not wait. */
void consumer_show_positions(struct consumer *consumer, const struct position *positions, size_t count);
/* *due: a position whose sweep is due, or NULL; after the sweep, consumer_swept(). -1 when the state fails. */
int consumer_due_sweep(struct consumer *consumer, int64_t now_ms, const struct state_position **due,
                       struct error *error) MUST_CHECK;
void consumer_swept(struct consumer *consumer, int32_t partition);

#endif
