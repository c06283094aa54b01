/* From the outbox to Kafka. */
#include "publisher.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "delivered.h"

enum {
    IN_FLIGHT_MAX = 10000, /* events inside librdkafka: bounds memory when the broker is slow or gone (about 20 MB) */
    BACKLOG_CHUNK = 500,   /* rows read from the outbox at a time */
    POLL_MS = 1000,        /* the longest wait for a delivery report before the thread looks at its stop flag */
    OUTGOING_BATCH_MAX = SIGNATURE_BATCH_MAX, /* events of one signature */
    RESTART_MS = 1000, /* between two producers: an error that comes back at once must not become a busy loop */
    WAITING_MS = 100,  /* with events in flight and none delivered for so long, others do not wait for them: of two partitions one
                        * may be away */
    STALLED_MS = 5000, /* with events in flight and none delivered for so long, operators are told */
};

static struct metric published = {
    .name = "jwk_api_events_published_total", .help = "Events delivered to Kafka.", .type = METRIC_COUNTER};
static struct metric in_flight_gauge = {
    .name = "jwk_api_events_in_flight", .help = "Events handed to Kafka and not yet delivered.", .type = METRIC_GAUGE};

/* Events that go out under one signature. */
struct outgoing_batch {
    struct store_outgoing *events[OUTGOING_BATCH_MAX]; /* owned */
    unsigned char leaves[OUTGOING_BATCH_MAX][32];
    rd_kafka_headers_t *headers[OUTGOING_BATCH_MAX]; /* of send_gathered() alone */
    size_t count;
};

struct publisher {
    const struct kafka_settings *settings;
    rd_kafka_t *producer;
    rd_kafka_queue_t *wake; /* the producer's main queue: yielding it wakes the thread from its poll */
    const char *topic, *other_topic; /* the latter: of another outbox; NULL: there is none */
    char *source; /* ce_source */
    struct store *reader;
    struct delivered *delivered;
    struct signing *signing;
    struct outgoing_batch *committed; /* of the writer's thread: since its last commit */
    struct outgoing_batch *stored;    /* of the publisher's thread: a chunk of the outbox */
    pthread_t thread;
    bool started;
    atomic_bool stopping;
    void (*restore)(void *context), (*made_again)(void *context); /* about the topic itself; may be NULL */
    void *context;
    pthread_mutex_t lock; /* guards all below */
    int64_t last_sent;    /* highest outbox id handed to the producer */
    bool backlogged;      /* rows above last_sent are in the outbox and belong to the thread */
    int in_flight;
    struct outgoing_batch *waiting; /* goes out once nothing is in flight or nothing moves; empty when backlogged */
    bool broken;             /* an event was not delivered: the thread makes a new producer */
    bool resending;          /* … which has to send again what is in the outbox, once that is free of what is delivered */
    bool failing;            /* nothing was delivered since: events are sent one at a time until one is */
    int64_t progress_at;     /* monotonic ms of the last delivery, or of the first event in flight */
    int64_t restart_at;      /* monotonic ms before which no other producer is made */
    int64_t last_offsets[POSITION_COUNT_MAX]; /* by partition: behind the last event delivered by this process; 0: none */
    bool is_other_topic;                      /* the topic was made again */
    struct guest *guest;                      /* owned, as long as its record is on its way; NULL: none is */
};

/* ---- what became of a record ---- */

/* Offsets only grow, so one that was given before is of another topic of the same name. The lock is held. */
static void check_offset(struct publisher *publisher, const rd_kafka_message_t *record) {
    if (record->offset < 0 || record->partition < 0 || record->partition >= POSITION_COUNT_MAX)
        return;
    int64_t *last = &publisher->last_offsets[record->partition];
    if (record->offset < *last) /* an offset is kept plus one: 0 is none yet */
        publisher->is_other_topic = true;
    *last = record->offset + 1;
}

/* Whom a record of another outbox belongs to, and which producer has it. */
struct guest {
    rd_kafka_t *producer;
    void (*delivered)(void *context, const rd_kafka_message_t *record);
    void *context;
};

/* Tells operators when a record failed for lack of a permission. Returns whether the producer is of no use any more; then text
 * says why. */
static bool judge(rd_kafka_t *producer, rd_kafka_resp_err_t reason, const char *topic, char text[512]) {
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(producer, text, 512);
    /* The latter is what an idempotent producer is told that may write to no topic at all. */
    if (reason == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || fatal == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
        kafka_health_refused(producer, KAFKA_WRITE, topic);
    return fatal != RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* A record of another outbox: was it delivered, or has the producer failed with it? The lock is held. */
static void judge_guest(struct publisher *publisher, rd_kafka_t *producer, rd_kafka_resp_err_t result, const char *topic) {
    char text[512];
    if (result == RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_health_granted(KAFKA_WRITE, topic);
    else if (judge(producer, result, topic, text) && producer == publisher->producer) /* no other one is there yet */
        publisher->broken = true;
}

/* The producer has failed with this event, which stays in the outbox: the thread makes another producer. The lock is held. */
static void break_off(struct publisher *publisher, rd_kafka_t *producer, rd_kafka_resp_err_t reason, int64_t id) {
    char text[512];
    bool fatal = judge(producer, reason, publisher->topic, text);
    if (!publisher->failing && !atomic_load(&publisher->stopping))
        log_error("event was not delivered; it stays in the outbox and is sent again", "topic", publisher->topic, "outbox",
                  LOG_NUMBER(id), "reason", fatal ? text : rd_kafka_err2str(reason));
    publisher->broken = publisher->failing = true;
}

/* ---- sending ---- */

static void leave_to_outbox(struct outgoing_batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        store_outgoing_free(batch->events[i]);
    batch->count = 0;
}

/* From here on the thread sends from the outbox. The lock is held. */
static void fall_back(struct publisher *publisher) {
    leave_to_outbox(publisher->waiting);
    publisher->backlogged = true;
    rd_kafka_queue_yield(publisher->wake);
}

/* How many events may be in flight. The lock is held. */
static int room(const struct publisher *publisher) {
    return publisher->failing ? 1 : IN_FLIGHT_MAX;
}

static struct cloudevent attributes_of(const struct publisher *publisher, const struct store_outgoing *outgoing,
                                       char time[CLOCK_TEXT_SIZE]) {
    return (struct cloudevent){
        .id = outgoing->event_id,
        .source = publisher->source,
        .type = outgoing->event_type,
        .subject = outgoing->subject,
        .time = clock_format(outgoing->time, time),
        .dataschema = "urn:jwk-api:schema:jwk-event:1",
        .traceparent = outgoing->traceparent[0] ? outgoing->traceparent : NULL,
    };
}

/* Of a record, which compaction's lag counts from: that of its event. But an event of the time when the clock was ahead is of the
 * future, and a broker refuses what is too far from now (message.timestamp.after.max.ms, an hour by default since Kafka 4.0):
 * nothing behind it would go out until then. ce_time still tells the time that was recorded. */
static int64_t timestamp_of(const struct store_outgoing *outgoing) {
    int64_t now = clock_wall_ms();
    return outgoing->time < now ? outgoing->time : now;
}

static rd_kafka_headers_t *headers_of(const struct publisher *publisher, const struct store_outgoing *outgoing,
                                      const struct signed_batch *signatures, size_t place) {
    char time[CLOCK_TEXT_SIZE];
    const struct cloudevent attributes = attributes_of(publisher, outgoing, time);
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    signature_add_headers(signatures, place, headers);
    return headers;
}

/* Hands an event to the producer; takes its value and the headers when successful. The lock is held. */
static bool produce(struct publisher *publisher, struct store_outgoing *outgoing, rd_kafka_headers_t *headers) {
    rd_kafka_resp_err_t result = rd_kafka_producev(
        publisher->producer, RD_KAFKA_V_TOPIC(publisher->topic), RD_KAFKA_V_PARTITION(outgoing->partition),
        RD_KAFKA_V_KEY(outgoing->key, strlen(outgoing->key)), RD_KAFKA_V_VALUE(outgoing->value, outgoing->value_length),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_TIMESTAMP(timestamp_of(outgoing)),
        RD_KAFKA_V_OPAQUE((void *)(intptr_t)outgoing->outbox_id), RD_KAFKA_V_END);
    if (result != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (result != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            break_off(publisher, publisher->producer, result, outgoing->outbox_id);
        return false;
    }
    if (publisher->in_flight == 0)
        publisher->progress_at = clock_monotonic_ms();
    outgoing->value = NULL; /* librdkafka frees it */
    publisher->last_sent = outgoing->outbox_id;
    publisher->in_flight++;
    return true;
}

/* Signs all that was gathered and hands it to the producer up to the first that it does not take; empties it. Returns whether
 * all went. The lock is held: it keeps the order between the two threads that send. */
static bool send_gathered(struct publisher *publisher, struct outgoing_batch *batch) {
    if (batch->count == 0)
        return true;
    struct signed_batch *signatures = signing_sign(publisher->signing, (const unsigned char(*)[32])batch->leaves, batch->count);
    for (size_t i = 0; i < batch->count; i++)
        batch->headers[i] = headers_of(publisher, batch->events[i], signatures, i);
    signed_batch_free(signatures);
    /* One right behind the other: the first wakes librdkafka, which makes one request of what it finds then. */
    size_t sent = 0;
    while (sent < batch->count && publisher->in_flight < room(publisher) &&
           produce(publisher, batch->events[sent], batch->headers[sent]))
        sent++;
    metric_set(&in_flight_gauge, publisher->in_flight);
    bool all = sent == batch->count;
    for (size_t i = sent; i < batch->count; i++)
        rd_kafka_headers_destroy(batch->headers[i]);
    for (size_t i = 0; i < batch->count; i++)
        store_outgoing_free(batch->events[i]);
    batch->count = 0;
    return all;
}

/* ---- deliveries ---- */

/* Called by rd_kafka_poll() in the publisher's thread. */
static void on_delivered(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    struct publisher *publisher = opaque;
    if (strcmp(rd_kafka_topic_name(record->rkt), publisher->topic) != 0) {
        struct guest *guest = record->_private;
        pthread_mutex_lock(&publisher->lock);
        judge_guest(publisher, client, record->err, rd_kafka_topic_name(record->rkt));
        publisher->guest = NULL;
        pthread_mutex_unlock(&publisher->lock);
        guest->delivered(guest->context, record);
        free(guest);
        return;
    }
    int64_t id = (int64_t)(intptr_t)record->_private;
    pthread_mutex_lock(&publisher->lock);
    publisher->in_flight--;
    metric_set(&in_flight_gauge, publisher->in_flight);
    publisher->progress_at = clock_monotonic_ms();
    if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        metric_add(&published, 1);
        kafka_health_granted(KAFKA_WRITE, publisher->topic);
        if (publisher->failing)
            log_info("events are delivered again", "topic", publisher->topic);
        publisher->failing = false;
        check_offset(publisher, record);
        /* Behind one that failed, what is delivered stays in the outbox: it may be of the same JWK, and must then be sent once
         * more after that one. */
        if (!publisher->broken)
            delivered_add(publisher->delivered, id);
    } else {
        /* Delivery never times out, so this is for good: a fatal error, a refused message, or the purge of a stop. The outbox
         * has it, and nothing may go out before it: the thread starts over. */
        break_off(publisher, client, record->err, id);
    }
    if (publisher->in_flight == 0 && !publisher->broken && !send_gathered(publisher, publisher->waiting))
        fall_back(publisher);
    pthread_mutex_unlock(&publisher->lock);
}

/* ---- gathering ---- */

/* Adds an event with its hash; takes it. There is room. */
static void gather(struct publisher *publisher, struct outgoing_batch *batch, struct store_outgoing *outgoing) {
    char time[CLOCK_TEXT_SIZE];
    const struct cloudevent attributes = attributes_of(publisher, outgoing, time);
    signature_leaf(outgoing->key, &attributes, outgoing->value, outgoing->value_length, batch->leaves[batch->count]);
    batch->events[batch->count++] = outgoing;
}

/* Drops the first events, which the publisher's thread has found in the outbox already. */
static void drop_sent(struct outgoing_batch *batch, int64_t last_sent) {
    size_t sent = 0;
    while (sent < batch->count && batch->events[sent]->outbox_id <= last_sent)
        store_outgoing_free(batch->events[sent++]);
    if (sent == 0)
        return;
    batch->count -= sent;
    memmove(batch->events, batch->events + sent, batch->count * sizeof *batch->events);
    memmove(batch->leaves, batch->leaves + sent, batch->count * sizeof *batch->leaves);
}

/* Whether what is in flight is worth waiting for. The lock is held. */
static bool is_moving(const struct publisher *publisher) {
    return publisher->in_flight > 0 && clock_monotonic_ms() - publisher->progress_at < WAITING_MS;
}

/* Moves a batch behind the one that waits, if there is room. */
static bool let_wait(struct outgoing_batch *waiting, struct outgoing_batch *batch) {
    if (waiting->count + batch->count > OUTGOING_BATCH_MAX)
        return false;
    memcpy(waiting->events + waiting->count, batch->events, batch->count * sizeof *batch->events);
    memcpy(waiting->leaves + waiting->count, batch->leaves, batch->count * sizeof *batch->leaves);
    waiting->count += batch->count;
    batch->count = 0;
    return true;
}

int publisher_produce(struct publisher *publisher, const char *topic, char *value, size_t length, rd_kafka_headers_t *headers,
                      void (*delivered)(void *context, const rd_kafka_message_t *record), void *context, struct error *error) {
    struct guest *guest = memory_new(sizeof *guest);
    pthread_mutex_lock(&publisher->lock); /* it may be made again at this moment */
    *guest = (struct guest){.producer = publisher->producer, .delivered = delivered, .context = context};
    rd_kafka_resp_err_t result = rd_kafka_producev(publisher->producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0),
                                                   RD_KAFKA_V_VALUE(value, length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE),
                                                   RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(guest), RD_KAFKA_V_END);
    if (result == RD_KAFKA_RESP_ERR_NO_ERROR)
        publisher->guest = guest;
    else
        judge_guest(publisher, publisher->producer, result, topic);
    pthread_mutex_unlock(&publisher->lock);
    if (result == RD_KAFKA_RESP_ERR_NO_ERROR)
        return 0;
    free(guest);
    return error_set(error, ERROR_UNAVAILABLE, "%s", rd_kafka_err2str(result));
}

void publisher_send(struct publisher *publisher, struct store_outgoing *outgoing) {
    if (publisher->committed->count == OUTGOING_BATCH_MAX)
        publisher_flush(publisher);
    gather(publisher, publisher->committed, outgoing);
}

void publisher_flush(struct publisher *publisher) {
    struct outgoing_batch *batch = publisher->committed;
    if (batch->count == 0)
        return;
    pthread_mutex_lock(&publisher->lock);
    drop_sent(batch, publisher->last_sent);
    bool is_taken = !publisher->backlogged && !publisher->broken &&
                    publisher->in_flight + (int)(publisher->waiting->count + batch->count) <= room(publisher) &&
                    let_wait(publisher->waiting, batch) &&
                    (is_moving(publisher) || send_gathered(publisher, publisher->waiting));
    if (!is_taken) {
        leave_to_outbox(batch);
        if (!publisher->backlogged)
            fall_back(publisher);
    }
    pthread_mutex_unlock(&publisher->lock);
}

void publisher_look(struct publisher *publisher) {
    pthread_mutex_lock(&publisher->lock);
    fall_back(publisher);
    pthread_mutex_unlock(&publisher->lock);
}

static void gather_stored(void *context, struct store_outgoing *outgoing) {
    struct publisher *publisher = context;
    gather(publisher, publisher->stored, outgoing);
}

/* Sends from the outbox as long as there is room. The lock is held, so that the writer cannot overtake. */
static void send_backlog(struct publisher *publisher) {
    struct error error;
    /* What is delivered and not yet cleared must not be sent again here, while a later event of its JWK may be cleared at any
     * moment: the older one would be the last. */
    if (publisher->resending && delivered_is_pending(publisher->delivered))
        return;
    publisher->resending = false;
    while (publisher->backlogged && !publisher->broken && publisher->in_flight < room(publisher)) {
        int status =
            store_each_outgoing(publisher->reader, publisher->last_sent, BACKLOG_CHUNK, gather_stored, publisher, &error);
        size_t seen = publisher->stored->count;
        bool all = send_gathered(publisher, publisher->stored);
        if (status) {
            log_error("outbox can not be read", "reason", error.message);
            return;
        }
        if (!all)
            return;
        /* Sent to its end. What the writer commits from here on comes through publisher_send(), and what of it was found here
         * is dropped there. */
        if (seen < BACKLOG_CHUNK)
            publisher->backlogged = false;
    }
}

/* Has the producer know a topic: else its first record waits for librdkafka's next look at it, up to a second. */
static void learn_topic(rd_kafka_t *producer, const char *topic) {
    struct kafka_topic_spec spec = {.name = topic};
    struct error ignored;
    if (kafka_find_topics(producer, &spec, 1, POLL_MS, &ignored))
        log_debug("topic not learnt yet", "topic", topic, "reason", ignored.message);
}

static rd_kafka_t *make_producer(struct publisher *publisher, struct error *error) {
    rd_kafka_t *producer = kafka_producer_new(publisher->settings, KAFKA_ONCE, publisher, on_delivered, error);
    if (!producer)
        return NULL;
    kafka_health_watch(producer);
    learn_topic(producer, publisher->topic);
    if (publisher->other_topic)
        learn_topic(producer, publisher->other_topic);
    return producer;
}

/* A producer has ended: what it had of another outbox, and has not reported, was not delivered. */
static void give_up_guest(struct publisher *publisher, const rd_kafka_t *ended) {
    pthread_mutex_lock(&publisher->lock);
    struct guest *guest = publisher->guest;
    bool is_lost = guest && guest->producer == ended;
    if (is_lost)
        publisher->guest = NULL;
    pthread_mutex_unlock(&publisher->lock);
    if (!is_lost)
        return;
    guest->delivered(guest->context, &(rd_kafka_message_t){.err = RD_KAFKA_RESP_ERR__PURGE_INFLIGHT});
    free(guest);
}

/* After a fatal error of the producer: a new one, which sends all that is in the outbox again from the first. The lock is held. */
static void start_over(struct publisher *publisher) {
    struct error error;
    publisher->restart_at = clock_monotonic_ms() + RESTART_MS;
    pthread_mutex_unlock(&publisher->lock);
    if (publisher->restore)
        publisher->restore(publisher->context);
    rd_kafka_t *fresh = make_producer(publisher, &error);
    if (fresh)
        kafka_health_forget(publisher->producer);
    pthread_mutex_lock(&publisher->lock);
    if (!fresh) {
        log_error("producer can not be made again", "reason", error.message);
        return;
    }
    rd_kafka_t *old = publisher->producer;
    rd_kafka_queue_destroy(publisher->wake);
    publisher->producer = fresh;
    publisher->wake = rd_kafka_queue_get_main(fresh);
    pthread_mutex_unlock(&publisher->lock);
    rd_kafka_purge(old, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(old, POLL_MS); /* serves the delivery reports of what was purged */
    kafka_client_free(old);
    give_up_guest(publisher, old); /* a thread of it hung, in a resolver for instance, until the flush had ended */
    pthread_mutex_lock(&publisher->lock);
    log_debug("producer made again after an event was not delivered", "topic", publisher->topic);
    publisher->in_flight = 0;
    metric_set(&in_flight_gauge, 0);
    publisher->last_sent = 0;
    fall_back(publisher);
    publisher->resending = true;
    publisher->broken = false;
}

static void *publisher_main(void *context) {
    struct publisher *publisher = context;
    pthread_setname_np(pthread_self(), "publisher");
    while (!atomic_load(&publisher->stopping)) {
        pthread_mutex_lock(&publisher->lock);
        if (publisher->broken && clock_monotonic_ms() >= publisher->restart_at)
            start_over(publisher);
        delivered_clear(publisher->delivered);
        if (publisher->backlogged)
            send_backlog(publisher);
        else if (!publisher->broken && !is_moving(publisher) && !send_gathered(publisher, publisher->waiting))
            fall_back(publisher);
        rd_kafka_t *producer = publisher->producer;
        int patience = publisher->in_flight > 0 ? WAITING_MS : POLL_MS;
        bool is_other_topic = publisher->is_other_topic;
        publisher->is_other_topic = false;
        bool stalled = publisher->in_flight > 0 && clock_monotonic_ms() - publisher->progress_at >= STALLED_MS;
        pthread_mutex_unlock(&publisher->lock);
        kafka_health_stalled(stalled);
        if (is_other_topic && publisher->made_again)
            publisher->made_again(publisher->context);
        rd_kafka_poll(producer, patience);
        kafka_health_check(producer, POLL_MS);
        memory_give_back();
    }
    return NULL;
}

/* ---- life ---- */

/* Rows were cleared, for which a new producer may be waiting. */
static void on_cleared(void *context) {
    struct publisher *publisher = context;
    pthread_mutex_lock(&publisher->lock);
    if (publisher->resending)
        rd_kafka_queue_yield(publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
}

struct publisher *publisher_new(const struct kafka_settings *settings, const char *topic, struct store *reader,
                                struct writer *writer, struct signing *signing, struct error *error) {
    struct publisher *publisher = memory_new(sizeof *publisher);
    struct store_identity identity;
    *publisher = (struct publisher){.settings = settings,
                                    .topic = topic,
                                    .reader = reader,
                                    .delivered = delivered_new(writer, on_cleared, publisher),
                                    .signing = signing,
                                    .committed = memory_new(sizeof *publisher->committed),
                                    .stored = memory_new(sizeof *publisher->stored),
                                    .waiting = memory_new(sizeof *publisher->waiting),
                                    .backlogged = true};
    pthread_mutex_init(&publisher->lock, NULL);
    publisher->producer = make_producer(publisher, error);
    if (!publisher->producer || store_read_identity(reader, &identity, error)) {
        publisher_free(publisher);
        return NULL;
    }
    publisher->wake = rd_kafka_queue_get_main(publisher->producer);
    publisher->source = memory_format("urn:jwk-api:%s", identity.uid);
    metrics_register(&published);
    metrics_register(&in_flight_gauge);
    return publisher;
}

void publisher_watch_topic(struct publisher *publisher, void (*restore)(void *context), void (*made_again)(void *context),
                           void *context) {
    publisher->restore = restore;
    publisher->made_again = made_again;
    publisher->context = context;
}

void publisher_add_topic(struct publisher *publisher, const char *topic) {
    publisher->other_topic = topic;
    learn_topic(publisher->producer, topic);
}

void publisher_start(struct publisher *publisher) {
    if (pthread_create(&publisher->thread, NULL, publisher_main, publisher) != 0)
        abort();
    publisher->started = true;
}

void publisher_stop(struct publisher *publisher, int timeout_ms) {
    atomic_store(&publisher->stopping, true);
    pthread_mutex_lock(&publisher->lock);
    rd_kafka_queue_yield(publisher->wake);
    pthread_mutex_unlock(&publisher->lock);
    if (publisher->started)
        pthread_join(publisher->thread, NULL);
    publisher->started = false;
    rd_kafka_flush(publisher->producer, timeout_ms);
    rd_kafka_purge(publisher->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(publisher->producer, 100); /* serves the reports of what was purged */
    delivered_clear(publisher->delivered);
}

void publisher_free(struct publisher *publisher) {
    if (!publisher)
        return;
    if (publisher->wake)
        rd_kafka_queue_destroy(publisher->wake);
    if (publisher->producer) {
        kafka_health_forget(publisher->producer);
        kafka_client_free(publisher->producer);
    }
    store_close(publisher->reader);
    leave_to_outbox(publisher->committed);
    leave_to_outbox(publisher->waiting);
    free(publisher->waiting);
    free(publisher->committed);
    free(publisher->stored);
    free(publisher->source);
    delivered_free(publisher->delivered);
    free(publisher->guest);
    pthread_mutex_destroy(&publisher->lock);
    free(publisher);
}
