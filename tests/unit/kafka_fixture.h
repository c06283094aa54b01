/* A Kafka of the test's own: librdkafka's mock cluster in this process, with the four topics, and what writes to and reads from them. */
#ifndef TESTS_UNIT_KAFKA_FIXTURE_H
#define TESTS_UNIT_KAFKA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "common/cloudevent.h"
#include "common/kafka.h"

enum { KAFKA_EVENT_PARTITIONS = 4, KAFKA_WAIT_MS = 60000 /* the longest wait for a record before the test is given up */ };

struct kafka_fixture {
    rd_kafka_t *host;
    rd_kafka_mock_cluster_t *cluster;
    rd_kafka_t *producer;
    struct kafka_settings settings;
    struct kafka_topics topics;
};

static inline void kafka_note_offset(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    (void)client, (void)opaque;
    if (record->_private)
        *(int64_t *)record->_private = record->err ? -1 : record->offset;
}

static inline void kafka_open(struct kafka_fixture *kafka) {
    char text[256];
    struct error error = {0};
    *kafka = (struct kafka_fixture){0};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "client.id", "broker", text, sizeof text);
    kafka->host = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(kafka->host);
    kafka->cluster = rd_kafka_mock_cluster_new(kafka->host, 1);
    assert_non_null(kafka->cluster);
    kafka_topics_name("test", &kafka->topics);
    assert_int_equal(rd_kafka_mock_topic_create(kafka->cluster, kafka->topics.events, KAFKA_EVENT_PARTITIONS, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(kafka->cluster, kafka->topics.acks, 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(kafka->cluster, kafka->topics.workers, 1, 1), 0);
    assert_int_equal(rd_kafka_mock_topic_create(kafka->cluster, kafka->topics.audit, 1, 1), 0);
    kafka->settings = (struct kafka_settings){.brokers = rd_kafka_mock_cluster_bootstraps(kafka->cluster), .topic_prefix = "test",
                                              .client_id = "test", .embedded = true};
    kafka->producer = kafka_producer_new(&kafka->settings, KAFKA_ONCE, NULL, kafka_note_offset, &error);
    assert_non_null(kafka->producer);
}

static inline void kafka_close(struct kafka_fixture *kafka) {
    kafka_client_free(kafka->producer);
    rd_kafka_mock_cluster_destroy(kafka->cluster);
    rd_kafka_destroy(kafka->host);
}

/* Writes one record to partition 0 and returns its offset once it is delivered. */
static inline int64_t kafka_write(struct kafka_fixture *kafka, const char *topic, const char *key, const char *type, const char *value) {
    int64_t offset = -2;
    const struct cloudevent attributes = {.id = "01890000-0000-7000-8000-0000000000ff", .source = "urn:test", .type = type};
    rd_kafka_resp_err_t result =
        rd_kafka_producev(kafka->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY(key, strlen(key)),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value ? strlen(value) : 0), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_HEADERS(cloudevent_headers(&attributes)), RD_KAFKA_V_OPAQUE(&offset), RD_KAFKA_V_END);
    assert_int_equal(result, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(kafka->producer, KAFKA_WAIT_MS), 0);
    assert_true(offset >= 0);
    return offset;
}

/* A consumer of all partitions of a topic from their beginning; kafka_client_free() ends it. */
static inline rd_kafka_t *kafka_reader(const struct kafka_fixture *kafka, const char *topic, int partitions) {
    struct error error = {0};
    rd_kafka_t *consumer = kafka_consumer_new(&kafka->settings, "reader", NULL, &error);
    assert_non_null(consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(rd_kafka_assign(consumer, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
    return consumer;
}

/* The next record; ends of partitions are passed over. The caller destroys it. */
static inline rd_kafka_message_t *kafka_read(rd_kafka_t *consumer) {
    for (;;) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, KAFKA_WAIT_MS);
        if (!record)
            fail_msg("no record came");
        if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return record;
        if (record->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
            fail_msg("%s", rd_kafka_message_errstr(record));
        rd_kafka_message_destroy(record);
    }
}

#endif
