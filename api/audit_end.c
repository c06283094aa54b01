/* How the audit topic ends. */
#include "audit_end.h"

#include <string.h>

#include "audit_publisher.h"
#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "signing.h"
#include "store_republish.h"

enum {
    TIMEOUT_MS = 15000, /* without any record */
    POLL_MS = 1000,     /* … and so long before the topic is looked for */
    CHUNK = 1000,       /* records that are read at a time, from the end towards the beginning, until one of ours is among them */
};

/* What is read of the end. */
struct reading {
    struct verifier *verifier;
    struct audit_head end;   /* by what keys of the store have signed; sequence 0 when there is nothing */
    int64_t offset;          /* of the last record that they have signed, */
    int64_t stranger_offset; /* … and of the last one that a key has which the store does not know; -1: none */
};

/* What the signature at the end of the record says, when it is of ours and goes further than what is known. Others may have
 * written to the topic: that is for auditors to find, and not to keep the API from its start. */
static void take_record(struct reading *reading, const rd_kafka_message_t *record) {
    const char *bytes = record->payload;
    size_t length = record->len;
    while (bytes && length > 0 && bytes[length - 1] == '\n')
        length--;
    const char *before = bytes && length > 0 ? memrchr(bytes, '\n', length) : NULL, *begin = before ? before + 1 : bytes;
    if (!bytes || length == 0)
        return;
    struct audit_line line;
    struct audit_head signed_end;
    struct text payload = TEXT_EMPTY;
    struct error ignored;
    if (audit_line_read(begin, length - (size_t)(begin - bytes), &line, &ignored))
        return;
    enum signature_verdict verdict =
        line.jws ? verifier_check_text(reading->verifier, line.jws, strlen(line.jws), 0, &payload, &ignored) : SIGNATURE_MISSING;
    if (verdict == SIGNATURE_UNKNOWN_KEY && record->offset > reading->stranger_offset)
        reading->stranger_offset = record->offset;
    if (verdict == SIGNATURE_VALID && record->offset > reading->offset)
        reading->offset = record->offset;
    if (verdict == SIGNATURE_VALID &&
        audit_signed_read(payload.bytes, payload.length, &signed_end.sequence, signed_end.hash, &ignored) == 0 &&
        signed_end.sequence > reading->end.sequence)
        reading->end = signed_end;
    text_free(&payload);
    audit_line_free(&line);
}

/* Reads the records from the offset first up to before last. */
static int read_records(rd_kafka_t *consumer, const char *topic, int64_t first, int64_t last, struct reading *reading,
                        struct error *error) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = first;
    rd_kafka_error_t *failure = rd_kafka_incremental_assign(consumer, list);
    int64_t until = clock_monotonic_ms() + TIMEOUT_MS;
    int status = 1;
    if (failure)
        status = error_set(error, ERROR_UNAVAILABLE, "reading topic %s: %s", topic, rd_kafka_error_string(failure));
    while (status > 0 && clock_monotonic_ms() < until) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(consumer, POLL_MS);
        if (!record && kafka_topic_is_gone(consumer, topic))
            status = error_set(error, ERROR_NOT_FOUND, "reading the end of topic %s: it was deleted", topic);
        if (!record)
            continue;
        if (!record->err) {
            if (record->offset < last)
                take_record(reading, record);
            if (record->offset >= last - 1)
                status = 0;
            until = clock_monotonic_ms() + TIMEOUT_MS;
        } else if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            status = 0; /* the last are gone */
        } else if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            status = kafka_refusal_set(consumer, KAFKA_READ, topic, error);
        } else if (record->err != RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) { /* no group is needed */
            log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
        }
        rd_kafka_message_destroy(record);
    }
    rd_kafka_error_destroy(failure);
    failure = rd_kafka_incremental_unassign(consumer, list);
    rd_kafka_error_destroy(failure);
    rd_kafka_topic_partition_list_destroy(list);
    return status > 0 ? error_set(error, ERROR_UNAVAILABLE, "reading the end of topic %s took too long", topic) : status;
}

/* Reads how far the topic goes. Records of others are passed over. */
static int read_end(const struct kafka_settings *settings, const char *topic, struct store *store, struct reading *reading,
                    struct error *error) {
    *reading = (struct reading){.offset = -1, .stranger_offset = -1};
    rd_kafka_t *consumer = kafka_consumer_new(settings, "jwk-api", NULL, error);
    if (!consumer)
        return -1;
    reading->verifier = verifier_new();
    int64_t low, high;
    int status =
        kafka_watermarks(consumer, topic, 0, &low, &high, error) || signing_trust_own(reading->verifier, store, error) ? -1 : 0;
    for (int64_t last = high; status == 0 && reading->end.sequence == 0 && last > low; last -= CHUNK)
        status = read_records(consumer, topic, last - low > CHUNK ? last - CHUNK : low, last, reading, error);
    if (status == 0 && high > low && reading->end.sequence == 0)
        log_error("the audit topic has records, and none that this store has signed: find out who writes there", "topic",
                  topic);
    verifier_free(reading->verifier);
    kafka_client_free(consumer);
    return status;
}

int audit_end_check(const struct kafka_settings *settings, const char *topic, struct store *store, struct error *error) {
    struct reading reading;
    struct audit_head head;
    enum audit_standing standing;
    if (read_end(settings, topic, store, &reading, error) || store_audit_compare(store, &reading.end, &standing, error) ||
        store_audit_head(store, &head, error))
        return -1;
    if (standing == AUDIT_LOST)
        audit_publisher_note_loss(topic, reading.end.sequence ? "it ends before what was sent" : "it is empty");
    if (standing == AUDIT_AHEAD)
        return error_set(error, ERROR_CONFLICT,
                         "topic %s ends with line %lld of an audit trail that this store does not know (its own ends with line "
                         "%lld): the store was put back from a backup, or another jwk-api serves this installation. To go on "
                         "behind the topic's end, " ADOPT_ADVICE,
                         topic, (long long)reading.end.sequence, (long long)head.sequence);
    return 0;
}

int audit_end_follow(const struct kafka_settings *settings, const char *topic, struct store *store, bool has_all_keys,
                     struct error *error) {
    struct reading reading;
    enum audit_standing standing;
    if (read_end(settings, topic, store, &reading, error)) {
        if (error->code != ERROR_NOT_FOUND)
            return -1;
        log_warning("the audit topic is not there: it counts as lost", "topic", topic, "hint",
                    "is --topic-prefix that of serve?");
        return 0;
    }
    if (store_audit_compare(store, &reading.end, &standing, error))
        return -1;
    /* To go on before its end would part the trail for ever. */
    if (reading.stranger_offset > reading.offset && !has_all_keys)
        return error_set(error, ERROR_CONFLICT,
                         "topic %s goes on under a key that this store does not have: it was put back from a backup of before "
                         "that key, or somebody else has written there (offset %lld). Give what 'jwk-api signing-key export "
                         "--all' told last: --api-keys FILE",
                         topic, (long long)reading.stranger_offset);
    return standing == AUDIT_AHEAD ? store_audit_follow(store, &reading.end, error) : 0;
}
