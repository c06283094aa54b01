/* What the files of the consumer share: what it reads (consume.c), and where each partition begins (consume_begin.c). */
#ifndef WORKER_CONSUME_INTERNAL_H
#define WORKER_CONSUME_INTERNAL_H

#include "worker/consume.h"

enum { BROKER_TIMEOUT_MS = 10000 }; /* for an answer about offsets, topics and the cluster */
enum { AT_ONCE = 0 };               /* sweep_after: not by the clock, which may be turned back */

/* Looking back: an old record is read again, and held against what was known when it was asked for. */
enum look {
    LOOK_NONE,
    LOOK_FIRST, /* where the partition was begun: the first record that comes */
    LOOK_ASIDE, /* the client aside reads it */
};

struct events_partition {
    struct state_position stored; /* generation and sweep; its position is that of the last start */
    struct position known;        /* an earlier place: events before it are no younger than its sequence, in the same topic */
    int64_t was_read;             /* records before this offset are not taken: they were, settled or not */
    enum look look;
    struct position looked_at; /* what the record that is looked for is held against */
    int64_t catch_up;          /* the high watermark when it was begun: records before it are not acked one by one */
    bool begun;
    bool reading_again;
    bool refused; /* it may not be read at present */
    bool gone;    /* not known to the broker any more, or not to be begun: begun from the start with the next refresh */
};

struct consumer {
    struct consumer_options options;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    struct events_partition *partitions; /* by number */
    size_t count;                        /* how many the topic has, or the state knows of */
    size_t topic_count;                  /* how many the topic has */
    int64_t last_contact;                /* wall ms */
    bool workers_watched;
    int64_t workers_offset;        /* from where on they are */
    bool workers_refused;          /* that topic may not be read at present */
    bool refused;                  /* a partition was refused and nothing was read since */
    rd_kafka_t *aside;             /* a client for what must not hold up the one that reads */
    rd_kafka_queue_t *aside_queue; /* of what it reads */
    char *group;                   /* where positions are shown, by that client */
    rd_kafka_queue_t *showing;     /* for the answer of the group's coordinator … */
    bool is_showing;               /* … which is waited for */
    int64_t shown_sum;             /* of the offsets that the group was told last */
};

/* ---- consume.c ---- */

/* How many partitions jwk.events has; 0: there is no such topic. */
int consumer_find_events(const struct consumer *consumer, rd_kafka_t *client, int timeout_ms, size_t *count,
                         struct error *error) MUST_CHECK;
int consumer_query_watermarks(struct consumer *consumer, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                              struct error *error) MUST_CHECK;
/* Calls an assignment function with one partition. */
int consumer_assign(rd_kafka_t *client, const char *topic, int32_t partition, int64_t offset,
                    rd_kafka_error_t *(*change)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *),
                    struct error *error) MUST_CHECK;
/* Reads a partition from that offset on. assigned: it is read already, from elsewhere. */
int consumer_read_from(struct consumer *consumer, const char *topic, int32_t partition, int64_t offset, bool assigned,
                       struct error *error) MUST_CHECK;
/* Ends a look, if there is one. */
void consumer_stop_looking(struct consumer *consumer, int32_t number);
/* Behind the last event of the partition that is settled; -1 when it was not begun. */
int64_t consumer_settled_offset(const struct consumer *consumer, size_t number);

/* ---- consume_begin.c ---- */

/* When to sweep (sweep_after of struct state_position) what is not found in a topic that was made again: it fills only once the
 * API notices, so the delay is to begin when there is something in it. */
int64_t consumer_sweep_later(const struct consumer *consumer);
/* Begins a partition from its start (low, with its end high), though the state has keys of it. */
int consumer_start_over(struct consumer *consumer, int32_t number, int64_t low, int64_t high, int64_t sweep_after,
                        const char *reason, struct error *error) MUST_CHECK;
/* Begins all partitions from their start. */
int consumer_read_all_again(struct consumer *consumer, int64_t sweep_after, const char *reason, struct error *error) MUST_CHECK;

#endif
