/* How the audit topic ends. */
#include "audit_end.h"

#include <string.h>

#include "audit_publisher.h"
#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"

enum { TIMEOUT_MS = 15000, POLL_MS = 200 };

/* The last line of the record that is an entry. */
static int take_last(const rd_kafka_message_t *record, const char *topic, struct audit_head *end, struct error *error) {
    const char *bytes = record->payload, *line_end = bytes + record->len;
    struct error reason = {0};
    while (bytes && line_end > bytes) {
        const char *before = memrchr(bytes, '\n', (size_t)(line_end - bytes)), *begin = before ? before + 1 : bytes;
        size_t length = (size_t)(line_end - begin);
        struct audit_line line;
        line_end = before ? before : bytes;
        if (length == 0)
            continue;
        if (audit_line_read(begin, length, &line, &reason))
            break;
        bool is_entry = !line.jws;
        end->sequence = line.sequence;
        audit_line_free(&line);
        if (!is_entry)
            continue;
        sha256_text(begin, length, end->hash);
        return 0;
    }
    return error_set(error, ERROR_CONFLICT,
                     "topic %s ends with a record at offset %lld that is no part of an audit trail (%s): give this store a "
                     "--topic-prefix of its own, or find out who writes there",
                     topic, (long long)record->offset, reason.message[0] ? reason.message : "it has no entry");
}

static int read_record(rd_kafka_t *consumer, const char *topic, int64_t offset, struct audit_head *end, struct error *error) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = offset;
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    int64_t until = clock_monotonic_ms() + TIMEOUT_MS;
    while (clock_monotonic_ms() < until) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, POLL_MS);
        if (!record)
            continue;
        int status = 1;
        if (!record->err)
            status = take_last(record, topic, end, error);
        else if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            status = 0; /* what the end was of is gone */
        else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            status = kafka_refusal_set(consumer, KAFKA_READ, topic, error);
        else if (record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) /* no group is needed */
            log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
        rd_kafka_message_destroy(record);
        if (status <= 0)
            return status;
    }
    return error_set(error, ERROR_UNAVAILABLE, "reading the end of topic %s took too long", topic);
}

int audit_end_read(const struct kafka_settings *settings, const char *topic, struct audit_head *end, struct error *error) {
    *end = (struct audit_head){0};
    rd_kafka_t *consumer = kafka_consumer_new(settings, "jwk-api", NULL, error);
    if (!consumer)
        return -1;
    int64_t low, high;
    int status = kafka_watermarks(consumer, topic, 0, &low, &high, error);
    if (status == 0 && high > low)
        status = read_record(consumer, topic, high - 1, end, error);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return status;
}

int audit_end_check(const struct kafka_settings *settings, const char *topic, struct store *store, struct error *error) {
    struct audit_head end, head;
    enum audit_standing standing;
    if (audit_end_read(settings, topic, &end, error) || store_audit_compare(store, &end, &standing, error) ||
        store_audit_head(store, &head, error))
        return -1;
    if (standing == AUDIT_LOST)
        audit_publisher_note_loss(topic, end.sequence ? "it ends before what was sent" : "it is empty");
    if (standing == AUDIT_AHEAD)
        return error_set(error, ERROR_CONFLICT,
                         "topic %s ends with line %lld of an audit trail that this store does not know (its own ends with line "
                         "%lld): the store was put back from a backup. To go on behind the topic's end, run: jwk-api adopt",
                         topic, (long long)end.sequence, (long long)head.sequence);
    return 0;
}

int audit_end_follow(const struct kafka_settings *settings, const char *topic, struct store *store, struct error *error) {
    struct audit_head end;
    enum audit_standing standing;
    if (audit_end_read(settings, topic, &end, error) || store_audit_compare(store, &end, &standing, error))
        return -1;
    return standing == AUDIT_AHEAD ? store_audit_follow(store, &end, error) : 0;
}
