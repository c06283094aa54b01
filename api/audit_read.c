/* Reading an audit trail. */
#include "audit_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"

enum {
    POLL_MS = 1000,
    SILENCE_MS = 30000, /* without any answer of the broker until the reading is given up, unless it follows */
    CONNECT_MS = 15000,
};

/* Reads a line without its end into a buffer of AUDIT_LINE_MAX + 1 bytes, which a longer one fills; -1 at the end of the file.
 */
static int read_line(FILE *file, char *line) {
    int length = 0, c;
    while ((c = getc_unlocked(file)) != EOF && c != '\n' && length <= AUDIT_LINE_MAX)
        line[length++] = (char)c;
    return c == EOF && length == 0 ? -1 : length;
}

int audit_read_file(FILE *file, const struct audit_reading *reading, struct error *error) {
    char *line = memory_new(AUDIT_LINE_MAX + 1);
    int length, status = 0;
    struct audit_place place = {.offset = -1};
    while (status == 0 && (length = read_line(file, line)) >= 0) {
        place.line++;
        if (length > 0 && line[length - 1] == '\r')
            length--;
        if (length > 0)
            status = reading->line(reading->context, line, (size_t)length, &place, error);
    }
    if (status == 0 && ferror(file))
        status = error_set(error, ERROR_INVALID, "reading failed: %s", strerror(errno));
    free(line);
    return status == 0 ? reading->end(reading->context, error) : -1;
}

static int read_record(const rd_kafka_message_t *record, const struct audit_reading *reading, struct error *error) {
    const char *at = record->payload, *end = at ? at + record->len : NULL;
    struct audit_place place = {.offset = record->offset};
    if (!at)
        return reading->line(reading->context, "", 0, &place, error); /* no record of ours is empty */
    while (at < end) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        next = next ? next : end;
        place.line++;
        if (next > at && reading->line(reading->context, at, (size_t)(next - at), &place, error))
            return -1;
        at = next + 1;
    }
    return 0;
}

static int assign_from_start(rd_kafka_t *consumer, const char *topic, struct error *error) {
    struct kafka_topic_spec spec = {.name = topic};
    if (kafka_find_topics(consumer, &spec, 1, CONNECT_MS, error))
        return -1;
    if (spec.partitions_found == 0)
        return error_set(error, ERROR_NOT_FOUND, "there is no topic %s", topic);
    if (spec.partitions_found > 1)
        return error_set(error, ERROR_INVALID, "topic %s has %d partitions: a trail has one, so that it has one order", topic,
                         spec.partitions_found);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    return 0;
}

/* Whether the topic is not what it was when the reading began. */
static bool is_gone(rd_kafka_resp_err_t result) {
    return result == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || result == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE ||
           result == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || result == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

int audit_read_topic(const struct kafka_settings *settings, const char *topic, bool follow, const struct audit_reading *reading,
                     struct error *error) {
    rd_kafka_t *consumer = kafka_consumer_new(settings, "jwk-audit", NULL, error);
    if (!consumer)
        return -1;
    int64_t low, high = 0; /* of what is there now: under load an end never comes by itself */
    int status = assign_from_start(consumer, topic, error);
    if (status == 0)
        status = kafka_watermarks(consumer, topic, 0, &low, &high, error);
    bool done = false, caught_up = false;
    int64_t heard = clock_monotonic_ms();
    while (status == 0 && !done) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, POLL_MS);
        if (!record) {
            if (!follow && clock_monotonic_ms() - heard > SILENCE_MS)
                status = error_set(error, ERROR_UNAVAILABLE, "the broker does not answer: the end of topic %s is not reached",
                                   topic);
            continue;
        }
        heard = clock_monotonic_ms();
        bool is_end = record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (!record->err) {
            status = read_record(record, reading, error);
            is_end = !caught_up && record->offset + 1 >= high;
        } else if (is_gone(record->err)) {
            status = error_set(error, ERROR_INVALID, "topic %s can not be read on: it was cut, or made again (%s)", topic,
                               rd_kafka_message_errstr(record));
        } else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            status = kafka_refusal_set(consumer, KAFKA_READ, topic, error);
        } else if (!is_end && record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) { /* no group is needed */
            log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
        }
        if (status == 0 && is_end) {
            status = reading->end(reading->context, error);
            caught_up = true;
            done = !follow;
        }
        rd_kafka_message_destroy(record);
    }
    kafka_client_free(consumer);
    return status;
}
