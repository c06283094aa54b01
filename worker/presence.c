/* Saying hello, and hearing who else does. */
#include "worker/presence.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/identifier.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/log_limit.h"
#include "common/memory.h"
#include "worker/metrics.h"

#define PRESENCE_SCHEMA "urn:jwk-api:schema:jwk-presence:1"

struct announcer {
    struct announcer_options options;
    char *key;
    char source[64];
    struct text value;   /* reused */
    char *enrolment;     /* NULL: not enrolled */
    int64_t seen;        /* behind what was examined of the topic as it is now; 0: nothing */
    int64_t said_after;  /* of the last hello */
    int64_t previous;    /* the incarnation before that hello; -1: none */
    int64_t incarnation; /* -1: no hello was delivered in the topic as it is now */
    int64_t number;      /* of the last record that was said */
    bool announced;
    unsigned on_the_way; /* records whose delivery report is not in */
};

struct announcer *announcer_new(const struct announcer_options *options, struct error *error) {
    if (strlen(options->environment) + strlen(options->replica) + 1 > 2 * NAME_LENGTH_MAX + 1)
        return error_set(error, ERROR_INVALID, "environment and replica names are too long"), NULL;
    struct announcer *announcer = memory_new(sizeof *announcer);
    announcer->options = *options;
    announcer->key = memory_format("%s/%s", options->environment, options->replica);
    snprintf(announcer->source, sizeof announcer->source, "urn:jwk-worker:%s", options->worker);
    announcer->previous = announcer->incarnation = -1;
    return announcer;
}

void announcer_free(struct announcer *announcer) {
    if (!announcer)
        return;
    text_free(&announcer->value);
    free(announcer->enrolment);
    free(announcer->key);
    free(announcer);
}

void announcer_enrol_take(struct announcer *announcer, char *enrolment) {
    free(announcer->enrolment);
    announcer->enrolment = enrolment;
}

static void sign(struct announcer *announcer, const struct cloudevent *attributes, rd_kafka_headers_t *headers) {
    unsigned char leaf[1][32];
    signature_leaf(announcer->key, attributes, announcer->value.bytes, announcer->value.length, leaf[0]);
    struct signed_batch *batch = signature_sign(announcer->options.signer, (const unsigned char(*)[32])leaf, 1);
    signature_add_headers(batch, 0, headers);
    signed_batch_free(batch);
}

int announcer_say(struct announcer *announcer, enum presence_kind kind, const struct announcement *announcement,
                  struct error *error) {
    char time[CLOCK_TEXT_SIZE], id[UUID_SIZE];
    clock_format(clock_wall_ms(), time);
    uuid_new(id);
    struct presence presence = {
        .kind = kind,
        .environment = announcer->options.environment,
        .replica = announcer->options.replica,
        .worker = announcer->options.worker,
        .incarnation = kind == PRESENCE_HELLO ? -1 : announcer->incarnation,
        .epoch = announcement->epoch,
        .ready = announcement->ready,
        .keys = announcement->keys,
        .interval_ms = announcer->options.interval_ms,
        .url = announcer->options.url,
        .version = announcer->options.version,
        .positions = announcement->positions,
        .position_count = announcement->position_count,
        .failing = announcement->failing,
        .failing_count = announcement->failing_count,
        .failing_truncated = announcement->failing_truncated,
        .replica_key = announcer->enrolment ? signer_public_key(announcer->options.signer) : NULL,
        .enrolment = announcer->enrolment,
        .after = kind == PRESENCE_HELLO ? announcement->after : 0,
        .number = ++announcer->number,
        .time = time,
    };
    text_reset(&announcer->value);
    presence_encode(&presence, &announcer->value);
    struct cloudevent attributes = {.id = id,
                                    .source = announcer->source,
                                    .type = presence_kind_type(kind),
                                    .subject = announcer->key,
                                    .time = time,
                                    .dataschema = PRESENCE_SCHEMA};
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    if (announcer->options.signer)
        sign(announcer, &attributes, headers);
    if (kind == PRESENCE_HELLO) {
        announcer->announced = false;
        announcer->said_after = announcement->after;
        announcer->previous = announcer->incarnation;
    }
    rd_kafka_resp_err_t result =
        rd_kafka_producev(announcer->options.producer, RD_KAFKA_V_TOPIC(announcer->options.topic),
                          RD_KAFKA_V_PARTITION(PRESENCE_PARTITION),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(announcer->key, strlen(announcer->key)),
                          RD_KAFKA_V_VALUE(announcer->value.bytes, announcer->value.length), RD_KAFKA_V_HEADERS(headers),
                          RD_KAFKA_V_OPAQUE((void *)(uintptr_t)kind), RD_KAFKA_V_END);
    if (result) {
        rd_kafka_headers_destroy(headers);
        if (result == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            kafka_health_refused(announcer->options.producer, KAFKA_WRITE, announcer->options.topic);
        return error_set(error, ERROR_UNAVAILABLE, "telling %s that this worker is there: %s", announcer->options.topic,
                         rd_kafka_err2str(result));
    }
    announcer->on_the_way++;
    return 0;
}

void announcer_forget(struct announcer *announcer) {
    announcer->announced = false;
    announcer->seen = 0;
    announcer->incarnation = -1;
}

enum announcer_event announcer_delivered(struct announcer *announcer, const rd_kafka_message_t *record) {
    enum presence_kind kind = (enum presence_kind)(uintptr_t)record->_private;
    announcer->on_the_way--;
    if (record->err) {
        if (record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
            kafka_health_refused(announcer->options.producer, KAFKA_WRITE, announcer->options.topic);
        else if (record->err != RD_KAFKA_RESP_ERR__PURGE_QUEUE && record->err != RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
            log_warning("presence refused", "topic", announcer->options.topic, "reason", rd_kafka_err2str(record->err));
        return kind == PRESENCE_HELLO ? ANNOUNCER_HELLO_NEEDED : ANNOUNCER_NOTHING;
    }
    kafka_health_granted(KAFKA_WRITE, announcer->options.topic);
    /* Offsets only grow, so this topic is another one: than that of the hello, which nobody who reads it now will find, or than
     * the one that this hello knew. */
    if (kind == PRESENCE_HELLO ? record->offset < announcer->said_after
                               : announcer->announced && record->offset <= announcer->incarnation) {
        log_warning("topic was made again", "topic", announcer->options.topic);
        announcer_forget(announcer);
        return ANNOUNCER_HELLO_NEEDED;
    }
    if (kind == PRESENCE_HELLO) {
        announcer->incarnation = record->offset;
        announcer->announced = true;
        return ANNOUNCER_HELLO_DELIVERED;
    }
    return kind == PRESENCE_HEARTBEAT ? ANNOUNCER_HEARTBEAT_DELIVERED : ANNOUNCER_NOTHING;
}

bool announcer_is_announced(const struct announcer *announcer) {
    return announcer->announced;
}
bool announcer_is_busy(const struct announcer *announcer) {
    return announcer->on_the_way > 0;
}
int64_t announcer_incarnation(const struct announcer *announcer) {
    return announcer->incarnation;
}

int64_t announcer_seen(const struct announcer *announcer) {
    return announcer->incarnation >= announcer->seen ? announcer->incarnation + 1 : announcer->seen;
}
int64_t announcer_unknown_from(const struct announcer *announcer) {
    return announcer->said_after;
}

/* A hello of this replica by any worker, which the caller frees with presence_free(); false when the record is none. */
static bool read_hello(const struct announcer *announcer, const rd_kafka_message_t *record, struct presence *hello) {
    static struct log_limit limit; /* of the one thread that applies */
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct error problem;
    int64_t suppressed;
    /* Only a hello counts: the heartbeats of an earlier worker may still be on their way. */
    if (cloudevent_read(record, &storage, &attributes, &problem) || strcmp(attributes.type, PRESENCE_TYPE_HELLO) != 0)
        return false;
    if (presence_decode(record->payload, record->len, PRESENCE_HELLO, hello, &problem)) {
        if (log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
            log_warning("malformed presence skipped", "partition", LOG_NUMBER(record->partition), "offset",
                        LOG_NUMBER(record->offset), "reason", problem.message, LOG_SUPPRESSED(suppressed));
        return false;
    }
    bool is_ours = strcmp(hello->environment, announcer->options.environment) == 0 &&
                   strcmp(hello->replica, announcer->options.replica) == 0;
    enum signature_verdict verdict = SIGNATURE_VALID;
    if (is_ours)
        verdict = trust_check_presence(announcer->options.trust, record, &attributes, hello, clock_wall_ms() / 1000, &problem);
    if (verdict != SIGNATURE_VALID) {
        metric_add(&metric_presence_refused, 1);
        if (log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
            log_warning("hello refused", "offset", LOG_NUMBER(record->offset), "worker", hello->worker, "verdict",
                        signature_verdict_name(verdict), "reason", problem.message, LOG_SUPPRESSED(suppressed));
    }
    if (is_ours && verdict == SIGNATURE_VALID)
        return true;
    presence_free(hello);
    return false;
}

enum announcer_finding announcer_examine(struct announcer *announcer, const rd_kafka_message_t *record,
                                         char other_worker[UUID_SIZE]) {
    struct presence hello;
    enum announcer_finding finding = ANNOUNCER_FOUND_NOTHING;
    if (!announcer->announced)
        return ANNOUNCER_FOUND_NOTHING; /* it is read again once the hello is delivered */
    if (record->offset >= announcer->seen)
        announcer->seen = record->offset + 1;
    if (record->offset == announcer->incarnation || !read_hello(announcer, record, &hello))
        return ANNOUNCER_FOUND_NOTHING;
    bool is_own = strcmp(hello.worker, announcer->options.worker) == 0, demanded = announcer->options.trust != NULL;
    if (!is_own && announcer->previous >= 0 && record->offset < announcer->incarnation &&
        presence_hello_counts(&hello, record->offset, announcer->previous, demanded)) {
        /* It started since this one did, which has said hello again before it read of that: it slept, perhaps. */
        finding = ANNOUNCER_FENCED;
        memcpy(other_worker, hello.worker, UUID_SIZE);
    } else if (record->offset < announcer->incarnation) {
        /* It came between the look at the topic's end and the own hello, which did not know it: another worker's, or the own one,
         * which was sent again when the answer to it was lost. The first is the one that counts. */
        finding = is_own && record->offset < announcer->said_after ? ANNOUNCER_FOUND_NOTHING : ANNOUNCER_OVERLOOKED;
    } else if (presence_hello_counts(&hello, record->offset, announcer->incarnation, demanded)) {
        finding = is_own ? ANNOUNCER_OVERLOOKED : ANNOUNCER_FENCED;
        memcpy(other_worker, hello.worker, UUID_SIZE); /* a UUID, as decoding has checked */
    } else if (is_own && !demanded) {
        /* An API that does not look at what a hello knew takes the copy's offset for another incarnation. */
        finding = ANNOUNCER_OVERLOOKED;
    }
    presence_free(&hello);
    return finding;
}
