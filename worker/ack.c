/* Encoding and producing acks. */
#include "worker/ack.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/identifier.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "worker/metrics.h"

enum { RETRY_MS = 1000 }; /* between attempts to send what the broker refuses */

#define ACK_SCHEMA "urn:jwk-api:schema:jwk-ack:1"

/* The record's opaque pointer carries the tag: kind above the number. Acks are told from presence by the kind's bits. */
_Static_assert(sizeof(void *) == 8, "the tag of a record needs 64 bits");
enum { NUMBER_BITS = 56, ACK_MARK = 0x40 };

/* An ack that the broker refused. */
struct refused {
    char *key, *value;
    size_t key_length, value_length;
    rd_kafka_headers_t *headers;
    void *tag;
    struct refused *prev, *next;
};

/* An ack that is collected: key and value lie in the sender's text. */
struct collected {
    size_t key_at, key_length, value_at, value_length;
    rd_kafka_headers_t *headers;
    void *tag;
};

struct ack_sender {
    struct ack_options options;
    rd_kafka_topic_t *topic;
    char source[64];
    int64_t incarnation;
    struct text texts; /* of what is collected; reused */
    struct collected collected[SIGNATURE_BATCH_MAX];
    unsigned char leaves[SIGNATURE_BATCH_MAX][32];
    size_t count;
    size_t in_flight;    /* handed to the producer, without a report yet */
    int64_t progress_at; /* monotonic ms of the last report, or of the first in flight */
    int64_t time_ms; /* of the text below */
    char time[CLOCK_TEXT_SIZE];
    struct refused *refused;
    size_t refused_count;
    bool failing;     /* nothing was delivered since a refusal: acks are sent one at a time until one is */
    bool probing;     /* the one in flight is the first of the refused */
    int64_t retry_at; /* monotonic ms */
};

struct ack_sender *ack_sender_new(const struct ack_options *options, struct error *error) {
    struct ack_sender *sender = memory_new(sizeof *sender);
    sender->options = *options;
    sender->topic = rd_kafka_topic_new(options->producer, options->topic, NULL);
    if (!sender->topic) {
        error_set(error, ERROR_INVALID, "topic %s: %s", options->topic, rd_kafka_err2str(rd_kafka_last_error()));
        free(sender);
        return NULL;
    }
    snprintf(sender->source, sizeof sender->source, "urn:jwk-worker:%s", options->worker);
    return sender;
}

static void refused_free(struct refused *refused) {
    if (refused->headers)
        rd_kafka_headers_destroy(refused->headers);
    free(refused->key);
    free(refused->value);
    free(refused);
}

void ack_sender_free(struct ack_sender *sender) {
    if (!sender)
        return;
    struct refused *refused, *next;
    DL_FOREACH_SAFE(sender->refused, refused, next) {
        refused_free(refused);
    }
    for (size_t i = 0; i < sender->count; i++)
        rd_kafka_headers_destroy(sender->collected[i].headers);
    rd_kafka_topic_destroy(sender->topic);
    text_free(&sender->texts);
    free(sender);
}

void ack_sender_set_incarnation(struct ack_sender *sender, int64_t incarnation) {
    sender->incarnation = incarnation;
}

static void *tag_of(enum ack_kind kind, uint64_t number) {
    return (void *)(uintptr_t)((uint64_t)(ACK_MARK | kind) << NUMBER_BITS | number);
}

_Bool ack_owns(const rd_kafka_message_t *record) {
    return ((uintptr_t)record->_private >> NUMBER_BITS & ACK_MARK) != 0;
}

/* Copies key and value; takes the headers. first: before those that wait already. */
static void keep_refused(struct ack_sender *sender, bool first, const char *key, size_t key_length, const char *value,
                         size_t value_length, rd_kafka_headers_t *headers, void *tag) {
    struct refused *refused = memory_new(sizeof *refused);
    *refused = (struct refused){.key = memory_bytes(key, key_length),
                                .value = memory_bytes(value, value_length),
                                .key_length = key_length,
                                .value_length = value_length,
                                .headers = headers,
                                .tag = tag};
    if (first)
        DL_PREPEND(sender->refused, refused);
    else
        DL_APPEND(sender->refused, refused);
    sender->refused_count++;
}

/* Copies key and value; takes the headers when it succeeds. */
static rd_kafka_resp_err_t produce(struct ack_sender *sender, const char *key, size_t key_length, const char *value,
                                   size_t value_length, rd_kafka_headers_t *headers, void *tag) {
    rd_kafka_resp_err_t result = rd_kafka_producev(
        sender->options.producer, RD_KAFKA_V_RKT(sender->topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(key, key_length), RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value_length), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(tag), RD_KAFKA_V_END);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR)
        return result;
    if (sender->in_flight++ == 0)
        sender->progress_at = clock_monotonic_ms();
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Signs and sends what was collected. */
static void send_collected(struct ack_sender *sender) {
    struct signed_batch *batch = NULL;
    if (sender->options.signer)
        batch = signature_sign(sender->options.signer, (const unsigned char(*)[32])sender->leaves, sender->count);
    for (size_t i = 0; batch && i < sender->count; i++)
        signature_add_headers(batch, i, sender->collected[i].headers);
    signed_batch_free(batch);
    /* One right behind the other: the first wakes librdkafka, which makes one request of what it finds then. */
    for (size_t i = 0; i < sender->count; i++) {
        struct collected *ack = &sender->collected[i];
        const char *key = sender->texts.bytes + ack->key_at, *value = sender->texts.bytes + ack->value_at;
        /* Behind those that wait, which keep their order: a failure must not be told after the success that followed it. */
        if (sender->refused || sender->probing ||
            produce(sender, key, ack->key_length, value, ack->value_length, ack->headers, ack->tag))
            keep_refused(sender, false, key, ack->key_length, value, ack->value_length, ack->headers, ack->tag);
    }
    sender->count = 0;
    text_reset(&sender->texts);
}

void ack_send(struct ack_sender *sender, const struct ack_subject *subject, enum ack_status status, const char *message,
              enum ack_kind kind, uint64_t number) {
    int64_t now = clock_wall_ms();
    if (now != sender->time_ms) {
        /* Acks of one batch share it. */
        clock_format(now, sender->time);
        sender->time_ms = now;
    }
    struct ack ack = {
        .deployment_id = subject->deployment_id,
        .event_id = subject->event_id,
        .event_hash = subject->event_hash,
        .environment = sender->options.environment,
        .replica = sender->options.replica,
        .worker = sender->options.worker,
        .incarnation = sender->incarnation,
        .jwk_id = subject->jwk_id,
        .epoch = subject->epoch,
        .version = subject->version,
        .sequence = subject->sequence,
        .status = status,
        .message = message,
        .time = sender->time,
    };
    if (sender->count == SIGNATURE_BATCH_MAX)
        send_collected(sender);
    struct collected *collected = &sender->collected[sender->count];
    collected->key_at = sender->texts.length;
    collected->key_length = strlen(subject->deployment_id);
    text_add(&sender->texts, subject->deployment_id, collected->key_length);
    text_add_string(&sender->texts, "\n"); /* behind which JSON begins anew */
    collected->value_at = sender->texts.length;
    ack_encode(&ack, &sender->texts);
    collected->value_length = sender->texts.length - collected->value_at;
    char id[UUID_SIZE];
    uuid_new(id);
    struct cloudevent attributes = {.id = id,
                                    .source = sender->source,
                                    .type = ACK_TYPE,
                                    .subject = subject->jwk_id,
                                    .time = sender->time,
                                    .dataschema = ACK_SCHEMA,
                                    .traceparent = subject->traceparent};
    collected->headers = cloudevent_headers(&attributes);
    collected->tag = tag_of(kind, number);
    if (sender->options.signer)
        signature_leaf(subject->deployment_id, &attributes, sender->texts.bytes + collected->value_at, collected->value_length,
                       sender->leaves[sender->count]);
    sender->count++;
    metric_add(status == ACK_APPLIED ? &metric_acks_applied : &metric_acks_failed, 1);
}

void ack_flush(struct ack_sender *sender) {
    bool is_moving = sender->in_flight > 0 && clock_monotonic_ms() - sender->progress_at < ACK_WAITING_MS;
    if (sender->count > 0 && !is_moving)
        send_collected(sender);
}

bool ack_is_waiting(const struct ack_sender *sender) {
    return sender->count > 0;
}

enum ack_kind ack_delivered(struct ack_sender *sender, const rd_kafka_message_t *record, uint64_t *number) {
    uint64_t tag = (uintptr_t)record->_private;
    *number = tag & ((UINT64_C(1) << NUMBER_BITS) - 1);
    sender->in_flight--;
    sender->progress_at = clock_monotonic_ms();
    if (!record->err) {
        kafka_health_granted(KAFKA_WRITE, sender->options.topic);
        sender->failing = sender->probing = false;
        return (enum ack_kind)((tag >> NUMBER_BITS) & ~(uint64_t)ACK_MARK);
    }
    /* Also what the producer gives back that ends with this process: then the event is read and acked again at the next start.
     */
    bool purged = record->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || record->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
    if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        kafka_health_refused(sender->options.producer, KAFKA_WRITE, sender->options.topic);
    else if (!sender->failing && !purged)
        log_warning("ack refused; trying again", "topic", sender->options.topic, "reason", rd_kafka_err2str(record->err));
    sender->failing = true;
    sender->retry_at = clock_monotonic_ms() + RETRY_MS;
    rd_kafka_headers_t *headers = NULL, *copy = NULL;
    if (rd_kafka_message_headers(record, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
        copy = rd_kafka_headers_copy(headers);
    keep_refused(sender, sender->probing, record->key, record->key_len, record->payload, record->len,
                 copy ? copy : rd_kafka_headers_new(1), record->_private);
    sender->probing = false;
    return ACK_KIND_NONE;
}

size_t ack_resend(struct ack_sender *sender) {
    struct refused *refused, *next;
    bool one_alone = sender->failing;
    if (one_alone && (sender->in_flight > 0 || clock_monotonic_ms() < sender->retry_at))
        return sender->refused_count;
    DL_FOREACH_SAFE(sender->refused, refused, next) {
        if (produce(sender, refused->key, refused->key_length, refused->value, refused->value_length, refused->headers,
                    refused->tag))
            break;
        refused->headers = NULL;
        DL_DELETE(sender->refused, refused);
        sender->refused_count--;
        refused_free(refused);
        metric_add(&metric_acks_retried, 1);
        if (one_alone) {
            sender->probing = true;
            sender->retry_at = clock_monotonic_ms() + RETRY_MS;
            break;
        }
    }
    return sender->refused_count;
}
