/* librdkafka, set up the same way everywhere: settings, logging, topics, clients.
 *
 * What it does not wrap (produce, consume, queues) is called directly: librdkafka's own names are the field's terms. */
#ifndef COMMON_KAFKA_H
#define COMMON_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "options.h"

struct kafka_settings {
    const char *brokers;                  /* bootstrap.servers */
    const char *topic_prefix;             /* "jwk" */
    const struct option_list *properties; /* -X name=value: passed to librdkafka, over our own choices */
    const char *client_id;
    bool embedded; /* filled by kafka_connect(): the broker is the embedded development broker */
};

/* The topics of one installation: prefix.events, prefix.acks, prefix.workers, prefix.audit. */
struct kafka_topics {
    char events[256], acks[256], workers[256], audit[256];
};
void kafka_topics_name(const char *prefix, struct kafka_topics *topics);

/* Whether clients can be made of the settings, as far as that is known without a broker. ERROR_INVALID names the option. */
int kafka_check(const struct kafka_settings *settings, struct error *error) MUST_CHECK;

/* Waits until a broker answers or timeout_ms have passed (-1: for ever; *stop true ends it early), tells the embedded broker
 * from a real one, and checks every -X property. ERROR_UNAVAILABLE names the address. ERROR_DENIED: every attempt for two
 * seconds was refused for a wrong password, an untrusted certificate or the like, which waiting does not mend. */
int kafka_connect(struct kafka_settings *settings, int timeout_ms, const atomic_bool *stop, struct error *error) MUST_CHECK;

struct kafka_topic_spec {
    const char *name;
    int partitions;         /* used when the topic is created */
    int partitions_max;     /* a topic that has more is refused; 0: it may have any number */
    const char *config[16]; /* name, value, …, NULL */
    int partitions_found;   /* filled: what the broker has; 0 when the topic is missing */
    bool created;            /* filled by kafka_create_topics(): it was missing */
};
/* Creates those topics that are missing (on the embedded broker: makes them appear) and fills partitions_found.
 * A missing permission is an error that names topic and operation. */
int kafka_create_topics(const struct kafka_settings *settings, struct kafka_topic_spec *specs, size_t count, int replication,
                        struct error *error) MUST_CHECK;
/* Fills partitions_found only. 0 also when some are missing. ERROR_INVALID when one has more partitions than it may. */
int kafka_find_topics(rd_kafka_t *client, struct kafka_topic_spec *specs, size_t count, int timeout_ms,
                      struct error *error) MUST_CHECK;

/* What the broker has for a setting of a topic, such as cleanup.policy: a new string. NULL with an error when it does not tell:
 * it takes the permission DescribeConfigs, and the embedded broker has no settings. */
char *kafka_topic_setting(const struct kafka_settings *settings, const char *topic, const char *name,
                          struct error *error) MUST_CHECK;

/* Whether the broker says that it has no such topic; asks it. A consumer is not told that what it reads was deleted. */
bool kafka_topic_is_gone(rd_kafka_t *client, const char *topic);
/* The first offset of a partition and the one behind its last record. Waits for a leader: a partition that was just made has
 * none for a moment. ERROR_NOT_FOUND when the broker does not know the topic. */
int kafka_watermarks(rd_kafka_t *client, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                     struct error *error) MUST_CHECK;

/* What a producer promises, besides order and acks=all. */
enum kafka_promise {
    KAFKA_ONCE,          /* a record is written once (the idempotent producer) */
    KAFKA_AT_LEAST_ONCE, /* once more where an answer was lost; it sends one request at a time */
};

/* A client of its own for one purpose. opaque is given to callbacks; delivered may be NULL.
 * Producer: no delivery time-out, linger.ms 0. Consumer: for assign(), no group management, no auto commit, partition EOF events
 * on, auto.offset.reset=error so that a truncated topic is noticed. */
rd_kafka_t *kafka_producer_new(const struct kafka_settings *settings, enum kafka_promise promise, void *opaque,
                               void (*delivered)(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque),
                               struct error *error) MUST_CHECK;
rd_kafka_t *kafka_consumer_new(const struct kafka_settings *settings, const char *group, void *opaque,
                               struct error *error) MUST_CHECK;
/* Ends a producer or closes and ends a consumer; NULL is allowed. librdkafka (2.0.2) sometimes does not come back from that: while
 * a topic that a consumer was reading is deleted and not made again, seldom with a producer whose records were refused. After 5 s
 * the client is left behind. */
void kafka_client_free(rd_kafka_t *client);

#endif
