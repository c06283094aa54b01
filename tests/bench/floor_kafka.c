/* What the bare floor asks of Kafka. */
#include "floor_kafka.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 50 /* how soon a thread that reads notices the end */ };

static _Atomic bool delivery_failed;

bool delivery_has_failed(void) {
    return atomic_load_explicit(&delivery_failed, memory_order_relaxed);
}

_Noreturn void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("floor: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

void *allocate(size_t count, size_t size) {
    void *block = calloc(count, size);
    if (!block)
        fail("out of memory");
    return block;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char reason[512];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) != RD_KAFKA_CONF_OK)
        fail("%s=%s: %s", name, value, reason);
}

static void delivered(rd_kafka_t *client, const rd_kafka_message_t *message, void *opaque) {
    (void)client;
    (void)opaque;
    if (message->err && !atomic_exchange(&delivery_failed, true))
        fprintf(stderr, "floor: delivery failed: %s\n", rd_kafka_err2str(message->err));
}

rd_kafka_t *client_new(const struct settings *settings, rd_kafka_type_t type) {
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", settings->brokers);
    set(conf, "socket.nagle.disable", "true");
    if (type == RD_KAFKA_PRODUCER) {
        set(conf, "enable.idempotence", "true");
        set(conf, "acks", "all");
        set(conf, "linger.ms", "0");
        set(conf, "delivery.report.only.error", "true");
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    } else {
        set(conf, "group.id", "floor");
        set(conf, "enable.auto.commit", "false");
        set(conf, "enable.auto.offset.store", "false");
    }
    for (unsigned i = 0; i < settings->property_count; i++) {
        char *name = strdup(settings->properties[i]), *value = name ? strchr(name, '=') : NULL;
        if (!value)
            fail("-X takes name=value");
        *value = '\0';
        set(conf, name, value + 1);
        free(name);
    }
    char reason[512];
    rd_kafka_t *client = rd_kafka_new(type, conf, reason, sizeof reason);
    if (!client)
        fail("Kafka client: %s", reason);
    return client;
}

rd_kafka_topic_t *topic_new(rd_kafka_t *client, const char *name) {
    rd_kafka_topic_t *topic = rd_kafka_topic_new(client, name, NULL);
    if (!topic)
        fail("topic %s: %s", name, rd_kafka_err2str(rd_kafka_last_error()));
    return topic;
}

int partitions_of(rd_kafka_t *client, const char *name) {
    rd_kafka_topic_t *topic = topic_new(client, name);
    int partitions = 0;
    /* A broker tells of a topic that was just made a moment later. */
    for (int waited = 0; partitions == 0; waited += POLL_MS) {
        const struct rd_kafka_metadata *metadata;
        rd_kafka_resp_err_t result = rd_kafka_metadata(client, 0, topic, &metadata, ADMIN_TIMEOUT_MS);
        if (result || waited > ADMIN_TIMEOUT_MS)
            fail("topic %s: %s", name, result ? rd_kafka_err2str(result) : "it does not appear");
        if (metadata->topic_cnt == 1)
            partitions = metadata->topics[0].partition_cnt;
        rd_kafka_metadata_destroy(metadata);
        if (partitions == 0)
            rd_kafka_poll(client, POLL_MS);
    }
    rd_kafka_topic_destroy(topic);
    return partitions;
}

void topics_create(rd_kafka_t *client, const struct settings *settings, const char *events, const char *acks) {
    char reason[512];
    int partitions = (int)settings->partitions;
    rd_kafka_NewTopic_t *topics[2] = {rd_kafka_NewTopic_new(events, partitions, 1, reason, sizeof reason),
                                      rd_kafka_NewTopic_new(acks, 1, 1, reason, sizeof reason)};
    if (!topics[0] || !topics[1])
        fail("new topic: %s", reason);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_operation_timeout(options, ADMIN_TIMEOUT_MS, reason, sizeof reason);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_CreateTopics(client, topics, 2, options, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS);
    rd_kafka_resp_err_t result = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (result && result != RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
        fail("creating topics at %s: %s", settings->brokers, rd_kafka_err2str(result));
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_NewTopic_destroy_array(topics, 2);
}

void topics_delete(rd_kafka_t *client, const char *events, const char *acks) {
    rd_kafka_DeleteTopic_t *topics[2] = {rd_kafka_DeleteTopic_new(events), rd_kafka_DeleteTopic_new(acks)};
    rd_kafka_queue_t *queue = rd_kafka_queue_new(client);
    rd_kafka_DeleteTopics(client, topics, 2, NULL, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_DeleteTopic_destroy_array(topics, 2);
}

rd_kafka_t *reader_new(const struct settings *settings, const char *topic, rd_kafka_queue_t **queue) {
    rd_kafka_t *client = client_new(settings, RD_KAFKA_CONSUMER);
    int partitions = partitions_of(client, topic);
    rd_kafka_poll_set_consumer(client);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int32_t partition = 0; partition < partitions; partition++)
        rd_kafka_topic_partition_list_add(list, topic, partition)->offset = 0;
    rd_kafka_resp_err_t result = rd_kafka_assign(client, list);
    if (result)
        fail("assign %s: %s", topic, rd_kafka_err2str(result));
    rd_kafka_topic_partition_list_destroy(list);
    *queue = rd_kafka_queue_get_consumer(client);
    return client;
}

void reader_close(rd_kafka_t *client, rd_kafka_queue_t *queue) {
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(client);
    rd_kafka_destroy(client);
}

size_t reader_take(rd_kafka_queue_t *queue, rd_kafka_message_t *messages[BATCH]) {
    /* consume_batch with a time-out would wait until the batch is full. */
    messages[0] = rd_kafka_consume_queue(queue, POLL_MS);
    if (!messages[0])
        return 0;
    ssize_t more = rd_kafka_consume_batch_queue(queue, 0, messages + 1, BATCH - 1);
    return more > 0 ? (size_t)more + 1 : 1;
}

bool record_read(const rd_kafka_message_t *message, const char *topic, struct record *record) {
    if (message->err) {
        fprintf(stderr, "floor: consuming %s: %s\n", topic, rd_kafka_message_errstr(message));
        return false;
    }
    memcpy(record, message->payload, sizeof *record);
    return true;
}

void record_produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, int32_t partition, void *payload, size_t size) {
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, payload, size, NULL, 0, NULL) == -1) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            fail("produce to %s: %s", rd_kafka_topic_name(topic), rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(producer, 1);
    }
}
