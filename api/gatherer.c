/* The thread that gathers acks. */
#include "gatherer_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/metrics.h"

enum {
    BATCH = 1000,            /* records taken from librdkafka at a time … */
    BATCHES_MAX = 16,        /* … and so many times before deadlines are looked at, however many come */
    ROUND_MS = 10000,        /* the longest wait for anything */
    PAUSE_NOTICED_MS = 2000, /* a longer gap between two rounds means that this process stood still */
    UNWELL_LOOK_MS = 1000,   /* while Kafka does not do all it should, the longest time between two looks … */
    UNWELL_TIMEOUT_MS = 100, /* … which take no longer, since deadlines pass meanwhile */
};

static struct metric waiting = {
    .name = "jwk_api_deployments_waiting", .help = "Deployments whose acks are waited for.", .type = METRIC_GAUGE};
static struct metric timeouts = {.name = "jwk_api_deployment_timeouts_total",
                                 .help = "Deployments whose wait ended before every ack was in.",
                                 .type = METRIC_COUNTER};
static struct metric *const all_metrics[] = {&waiting, &timeouts};

void gatherer_wake(struct gatherer *gatherer) {
    uint64_t one = 1;
    if (write(gatherer->inbox_event, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("event can not be signalled", "reason", strerror(errno));
}

static void clear_event(int event) {
    uint64_t count;
    if (read(event, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("event can not be read", "reason", strerror(errno));
}

/* ---- deployments ---- */

void gatherer_note_unsettled(struct replica_environment *environment) {
    environment->unsettled = true;
    environment->unsettled_stamp++;
}

void gatherer_update(struct gatherer *gatherer, struct deployment *deployment) {
    for (size_t i = 0; i < deployment->change.environments->count; i++) {
        struct environment_outcome *outcome = &deployment->outcomes[i];
        if (!outcome->settled || outcome->stored)
            continue;
        outcome->stored = true;
        gathered_add_outcome(gatherer->gathered, deployment, i);
        if (outcome->state != RESULT_SUCCEEDED && outcome->environment)
            gatherer_note_unsettled(outcome->environment);
    }
    if (deployment->unsettled > 0)
        return;
    HASH_DEL(gatherer->deployments, deployment);
    heap_remove(&gatherer->deadlines, &deployment->deadline);
    metric_set(&waiting, (int64_t)HASH_COUNT(gatherer->deployments));
    gathered_flush(gatherer->gathered); /* on its way before the answer: who asks for the deployment next finds this outcome */
    deployment->settled(deployment);
    deployment_free(deployment);
}

static void forget_enrolled(void *context, const char *environment) {
    struct gatherer *gatherer = context;
    pthread_mutex_lock(&gatherer->replicas_lock);
    replicas_forget_enrolled(&gatherer->replicas, environment);
    pthread_mutex_unlock(&gatherer->replicas_lock);
}

static void take_inbox(struct gatherer *gatherer, int64_t now) {
    pthread_mutex_lock(&gatherer->lock);
    struct deployment *next = gatherer->inbox[0];
    gatherer->inbox[0] = gatherer->inbox[1] = NULL;
    const char *reason = gatherer->give_up_reason;
    bool republished = gatherer->republished;
    struct store_environments *environments = gatherer->environments;
    bool partitions_changed = gatherer->partitions_changed;
    int partitions[GATHERED_TOPICS];
    memcpy(partitions, gatherer->partitions, sizeof partitions);
    gatherer->environments = NULL;
    gatherer->republished = gatherer->partitions_changed = false;
    if (republished)
        replicas_set_floor(&gatherer->replicas, &gatherer->floor);
    pthread_mutex_unlock(&gatherer->lock);
    if (environments)
        enrolling_set(gatherer->enrolling, environments, forget_enrolled, gatherer);
    if (partitions_changed)
        gatherer_add_partitions(gatherer, partitions);
    for (struct replica_environment *each = gatherer->replicas.environments; republished && each; each = each->hh.next) {
        each->unsettled = true;
        each->unsettled_stamp++;
    }
    while (next) {
        struct deployment *deployment = next;
        next = deployment->hh.next;
        HASH_ADD(hh, gatherer->deployments, change.sequence, sizeof deployment->change.sequence, deployment);
        heap_push(&gatherer->deadlines, &deployment->deadline);
        pthread_mutex_lock(&gatherer->replicas_lock); /* it may add an environment */
        deployment_begin(deployment, &gatherer->replicas, now, gatherer->options.grace_ms);
        pthread_mutex_unlock(&gatherer->replicas_lock);
        if (reason)
            deployment_give_up(deployment, reason);
        gatherer_update(gatherer, deployment);
    }
    metric_set(&waiting, (int64_t)HASH_COUNT(gatherer->deployments));
    if (reason) {
        struct deployment *deployment, *following;
        HASH_ITER (hh, gatherer->deployments, deployment, following) {
            deployment_give_up(deployment, reason);
            gatherer_update(gatherer, deployment);
        }
    }
}

/* Ends the waits whose deadline has passed. */
static void pass_deadlines(struct gatherer *gatherer, int64_t now) {
    struct heap_entry *top;
    while ((top = heap_top(&gatherer->deadlines)) && top->due <= now) {
        struct deployment *deployment = (struct deployment *)((char *)top - offsetof(struct deployment, deadline));
        deployment_give_up(deployment, NULL);
        metric_add(&timeouts, 1);
        log_info("deployment wait ended", "deployment", deployment->change.deployment_id, "after_ms",
                 LOG_NUMBER(deployment->wait_ms));
        gatherer_update(gatherer, deployment);
    }
}

void gatherer_for_all(struct gatherer *gatherer, struct replica *replica,
                      void (*notify)(struct deployment *deployment, struct replica *replica)) {
    struct deployment *deployment, *following;
    HASH_ITER (hh, gatherer->deployments, deployment, following) {
        notify(deployment, replica);
        gatherer_update(gatherer, deployment);
    }
}

/* ---- records ---- */

static void on_gone(void *context, struct replica *replica) {
    gatherer_for_all(context, replica, deployment_replica_gone);
}

static void expire(struct gatherer *gatherer, int64_t now) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    gatherer->next_expiry = replicas_expire(&gatherer->replicas, now, on_gone, gatherer);
    pthread_mutex_unlock(&gatherer->replicas_lock);
}

static void on_record(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now) {
    if (record->err) {
        gatherer_on_consumer_error(gatherer, record, now);
        return;
    }
    const char *topic = rd_kafka_topic_name(record->rkt);
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(gatherer->assigned, topic, record->partition);
    if (!entry)
        return;
    entry->offset = record->offset + 1;
    gatherer_note_read(entry);
    if (strcmp(topic, gatherer->options.topics->acks) == 0) {
        gatherer_on_ack(gatherer, record);
        gathered_set_offset(gatherer->gathered, record->partition, record->offset + 1);
    } else {
        gatherer_on_presence(gatherer, record, now);
        gatherer_look_for_end(gatherer, record);
    }
}

/* Takes what librdkafka has; returns whether that was all. A deployment is in the inbox before its event is sent, so looking
 * there after each fetch and before its records means that no ack comes too early. */
static bool consume(struct gatherer *gatherer, rd_kafka_message_t **records, int64_t now) {
    for (int batch = 0; batch < BATCHES_MAX; batch++) {
        ssize_t count = rd_kafka_consume_batch_queue(gatherer->queue, 0, records, BATCH);
        take_inbox(gatherer, now);
        for (ssize_t i = 0; i < count; i++) {
            on_record(gatherer, records[i], now);
            rd_kafka_message_destroy(records[i]);
        }
        gathered_flush(gatherer->gathered);
        if (count <= 0)
            return true;
    }
    return false;
}

static int read_identity(struct gatherer *gatherer, struct store *store, struct error *error) {
    struct store_identity identity;
    if (store_read_identity(store, &identity, error))
        return -1;
    const struct sequence_floor floor = {.from = identity.republish_from, .until = identity.republish_until};
    replicas_set_floor(&gatherer->replicas, &floor);
    gatherer->replicas.epoch = identity.epoch;
    return 0;
}

static int read_environments(struct gatherer *gatherer, struct store *store, struct error *error) {
    struct store_environments *environments;
    if (store_environments(store, &environments, error))
        return -1;
    enrolling_set(gatherer->enrolling, environments, forget_enrolled, gatherer);
    return 0;
}

/* ---- the thread ---- */

static void excuse_replicas(struct gatherer *gatherer, int64_t pause_ms) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    replicas_excuse(&gatherer->replicas, pause_ms);
    pthread_mutex_unlock(&gatherer->replicas_lock);
}

/* Milliseconds until something is due, for poll(). */
static int time_left(const struct gatherer *gatherer, int64_t now) {
    int64_t due = now + ROUND_MS;
    if (gatherer->next_expiry < due)
        due = gatherer->next_expiry;
    struct heap_entry *top = heap_top(&gatherer->deadlines);
    if (top && top->due < due)
        due = top->due;
    if (gatherer->next_refused_retry < due)
        due = gatherer->next_refused_retry;
    if (!kafka_health_is_good() && now + UNWELL_LOOK_MS < due)
        due = now + UNWELL_LOOK_MS;
    return due <= now ? 0 : (int)(due - now);
}

static void *gatherer_main(void *context) {
    struct gatherer *gatherer = context;
    rd_kafka_message_t **records = memory_new(BATCH * sizeof *records);
    struct pollfd events[] = {{.fd = gatherer->records_event, .events = POLLIN},
                              {.fd = gatherer->inbox_event, .events = POLLIN}};
    pthread_setname_np(pthread_self(), "gatherer");
    gatherer->last_round = clock_monotonic_ms();
    for (bool stopping = false, all_taken = true; !stopping;) {
        int timeout = all_taken ? time_left(gatherer, clock_monotonic_ms()) : 0;
        poll(events, 2, timeout);
        int64_t now = clock_monotonic_ms(), pause = now - gatherer->last_round - timeout;
        gatherer->last_round = now;
        if (pause > PAUSE_NOTICED_MS)
            excuse_replicas(gatherer, pause);
        if (events[0].revents)
            clear_event(gatherer->records_event);
        if (events[1].revents)
            clear_event(gatherer->inbox_event);
        all_taken = consume(gatherer, records, now);
        if (gatherer->next_expiry <= now)
            expire(gatherer, now);
        pass_deadlines(gatherer, now);
        if (gatherer->next_refused_retry <= now)
            gatherer_retry_refused(gatherer, now);
        kafka_health_check(gatherer->consumer, UNWELL_TIMEOUT_MS);
        settler_take_finished(gatherer->settler, &gatherer->replicas);
        gathered_flush(gatherer->gathered);
        pthread_mutex_lock(&gatherer->lock);
        stopping = gatherer->stopping && !gatherer->inbox[0] && !gatherer->deployments;
        pthread_mutex_unlock(&gatherer->lock);
    }
    free(records);
    return NULL;
}

struct gatherer *gatherer_new(const struct gatherer_options *options, struct store *store, struct writer *writer,
                              struct error *error) {
    struct gatherer *gatherer = memory_new(sizeof *gatherer);
    gatherer->options = *options;
    gatherer->next_expiry = gatherer->next_refused_retry = INT64_MAX;
    pthread_mutex_init(&gatherer->lock, NULL);
    pthread_mutex_init(&gatherer->replicas_lock, NULL);
    clock_condition_init(&gatherer->caught_up_changed);
    clock_condition_init(&gatherer->stopping_changed);
    gatherer->records_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gatherer->inbox_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gatherer->gathered = gathered_new(writer, options->topics->acks);
    gatherer->settler = settler_new(writer, gatherer->inbox_event);
    gatherer->assigned = rd_kafka_topic_partition_list_new(8);
    gatherer->enrolling = enrolling_new();
    for (size_t i = 0; i < sizeof all_metrics / sizeof *all_metrics; i++)
        metrics_register(all_metrics[i]);
    gatherer_register_records();
    gatherer->consumer = kafka_consumer_new(options->kafka, "jwk-api", gatherer, error);
    if (gatherer->consumer)
        kafka_health_watch(gatherer->consumer);
    if (!gatherer->consumer || read_identity(gatherer, store, error) || read_environments(gatherer, store, error) ||
        gatherer_assign(gatherer, store, error)) {
        gatherer_free(gatherer);
        return NULL;
    }
    gatherer->queue = rd_kafka_queue_get_consumer(gatherer->consumer);
    rd_kafka_queue_io_event_enable(gatherer->queue, gatherer->records_event, &(uint64_t){1}, sizeof(uint64_t));
    return gatherer;
}

void gatherer_start(struct gatherer *gatherer) {
    gatherer_wake(gatherer); /* for what came before the events were enabled */
    if (pthread_create(&gatherer->thread, NULL, gatherer_main, gatherer) != 0 ||
        pthread_create(&gatherer->topics_thread, NULL, gatherer_topics_main, gatherer) != 0)
        abort(); /* no threads at start: nothing can work */
    gatherer->started = true;
}

void gatherer_await_replicas(struct gatherer *gatherer, int timeout_ms) {
    struct timespec until = clock_moment(clock_monotonic_ms() + timeout_ms);
    pthread_mutex_lock(&gatherer->lock);
    while (!gatherer->caught_up && pthread_cond_timedwait(&gatherer->caught_up_changed, &gatherer->lock, &until) != ETIMEDOUT) {
    }
    if (!gatherer->caught_up)
        log_warning("replicas are not known yet", "topic", gatherer->options.topics->workers);
    pthread_mutex_unlock(&gatherer->lock);
}

void gatherer_expect(struct gatherer *gatherer, struct deployment *deployment) {
    deployment->hh.next = NULL;
    pthread_mutex_lock(&gatherer->lock);
    if (gatherer->inbox[0])
        gatherer->inbox[1]->hh.next = deployment;
    else
        gatherer->inbox[0] = deployment;
    gatherer->inbox[1] = deployment;
    pthread_mutex_unlock(&gatherer->lock);
}

void gatherer_take_expected(struct gatherer *gatherer) {
    pthread_mutex_lock(&gatherer->lock);
    bool is_empty = !gatherer->inbox[0];
    pthread_mutex_unlock(&gatherer->lock);
    if (!is_empty)
        gatherer_wake(gatherer);
}

bool gatherer_all_stored(struct gatherer *gatherer) {
    return gathered_all_stored(gatherer->gathered);
}

bool gatherer_is_overtaken(const struct gatherer *gatherer) {
    return atomic_load(&gatherer->is_overtaken);
}

struct replica *gatherer_copy_replicas(struct gatherer *gatherer, size_t *count) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    struct replica *copy = replicas_copy(&gatherer->replicas, count);
    pthread_mutex_unlock(&gatherer->replicas_lock);
    return copy;
}

struct replica_counts gatherer_count_replicas(struct gatherer *gatherer, const char *environment) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    struct replica_counts counts = replicas_count(&gatherer->replicas, environment, clock_monotonic_ms());
    pthread_mutex_unlock(&gatherer->replicas_lock);
    return counts;
}

void gatherer_note_republished(struct gatherer *gatherer, struct sequence_floor floor) {
    pthread_mutex_lock(&gatherer->lock);
    gatherer->floor = floor;
    gatherer->republished = true;
    pthread_mutex_unlock(&gatherer->lock);
    gatherer_wake(gatherer);
}

int gatherer_look(void *context, struct store *store, struct error *error) {
    struct gatherer *gatherer = context;
    struct store_environments *environments;
    if (store_environments(store, &environments, error))
        return -1;
    gatherer->is_other = environments != gatherer->looked;
    store_environments_release(gatherer->looked);
    gatherer->looked = environments;
    return 0;
}

void gatherer_act(void *context) {
    struct gatherer *gatherer = context;
    if (!gatherer->is_other)
        return;
    pthread_mutex_lock(&gatherer->lock);
    struct store_environments *before = gatherer->environments;
    gatherer->environments = store_environments_share(gatherer->looked);
    pthread_mutex_unlock(&gatherer->lock);
    store_environments_release(before);
    gatherer_wake(gatherer);
}

void gatherer_give_up(struct gatherer *gatherer, const char *reason) {
    pthread_mutex_lock(&gatherer->lock);
    gatherer->give_up_reason = reason;
    pthread_mutex_unlock(&gatherer->lock);
    gatherer_wake(gatherer);
}

void gatherer_stop(struct gatherer *gatherer) {
    pthread_mutex_lock(&gatherer->lock);
    gatherer->stopping = true;
    pthread_cond_signal(&gatherer->stopping_changed);
    pthread_mutex_unlock(&gatherer->lock);
    gatherer_wake(gatherer);
    if (gatherer->started) {
        pthread_join(gatherer->topics_thread, NULL);
        pthread_join(gatherer->thread, NULL);
    }
    gatherer->started = false;
}

void gatherer_free(struct gatherer *gatherer) {
    if (!gatherer)
        return;
    if (gatherer->queue) {
        rd_kafka_queue_io_event_enable(gatherer->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(gatherer->queue);
    }
    if (gatherer->consumer) {
        kafka_health_forget(gatherer->consumer);
        kafka_client_free(gatherer->consumer);
    }
    rd_kafka_topic_partition_list_destroy(gatherer->assigned);
    settler_free(gatherer->settler);
    gathered_free(gatherer->gathered);
    replicas_free(&gatherer->replicas);
    heap_free(&gatherer->deadlines);
    enrolling_free(gatherer->enrolling);
    store_environments_release(gatherer->looked);
    store_environments_release(gatherer->environments);
    close(gatherer->records_event);
    close(gatherer->inbox_event);
    pthread_cond_destroy(&gatherer->caught_up_changed);
    pthread_cond_destroy(&gatherer->stopping_changed);
    pthread_mutex_destroy(&gatherer->lock);
    pthread_mutex_destroy(&gatherer->replicas_lock);
    free(gatherer);
}
