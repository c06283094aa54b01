/* What the bare floor asks of Kafka, with the product's settings of librdkafka: an idempotent producer that waits for all
 * replicas and for no company, a consumer that reads by assign(). Every failure ends the program with a sentence. */
#ifndef TESTS_BENCH_FLOOR_KAFKA_H
#define TESTS_BENCH_FLOOR_KAFKA_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BATCH = 1024, PROPERTIES_MAX = 32, ADMIN_TIMEOUT_MS = 15000 };

struct settings {
    const char *brokers, *directory, *topic_prefix;
    const char *properties[PROPERTIES_MAX]; /* name=value */
    unsigned property_count, in_flight, consumers, partitions;
    double duration_s, warm_up_s;
    bool commit; /* each consumer, before it acks */
    bool json;
};

/* The head of an event and of an ack; the rest is padding. */
struct record {
    uint32_t slot;
    uint32_t consumer;
    uint64_t generation;
};

/* Prints "floor: …" and exits with status 2. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Zeroed memory, never NULL. */
void *allocate(size_t count, size_t size);

rd_kafka_t *client_new(const struct settings *settings, rd_kafka_type_t type);
rd_kafka_topic_t *topic_new(rd_kafka_t *client, const char *name);
int partitions_of(rd_kafka_t *client, const char *name);

/* Makes and removes the two topics of a run. On the development broker, which knows no CreateTopics, a topic appears when
 * partitions_of() asks for it. */
void topics_create(rd_kafka_t *client, const struct settings *settings, const char *events, const char *acks);
void topics_delete(rd_kafka_t *client, const char *events, const char *acks);

/* Reads a topic that was just made from its start, all partitions, without a group. */
rd_kafka_t *reader_new(const struct settings *settings, const char *topic, rd_kafka_queue_t **queue);
void reader_close(rd_kafka_t *client, rd_kafka_queue_t *queue);
/* What is there, at least one unless POLL_MS pass; the caller destroys the messages. */
size_t reader_take(rd_kafka_queue_t *queue, rd_kafka_message_t *messages[BATCH]);

/* Reads the head of a message; false when it is an error, which is printed. */
bool record_read(const rd_kafka_message_t *message, const char *topic, struct record *record);
/* Copies payload; waits while the producer's queue is full. */
void record_produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, int32_t partition, void *payload, size_t size);

/* Whether an event or ack could not be delivered. */
bool delivery_has_failed(void);

#endif
