/* The thread that gathers acks. */
#include "gatherer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/log_limit.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "enrolled.h"
#include "gathered.h"
#include "settle.h"

enum {
    BATCH = 1000,            /* records taken from librdkafka at a time … */
    BATCHES_MAX = 16,        /* … and so many times before deadlines are looked at, however many come */
    PAUSE_NOTICED_MS = 2000, /* a longer gap between two rounds means that this process stood still */
    PARTITIONS_CHECK_MS = 30000,
    METADATA_TIMEOUT_MS = 1000,
    REFUSED_RETRY_MS = 5000, /* a partition that may not be read is tried again */
    UNWELL_LOOK_MS = 1000,   /* while Kafka does not do all it should, the longest time between two looks … */
    UNWELL_TIMEOUT_MS = 100, /* … which take no longer, since deadlines pass meanwhile */
};

static struct metric acks_applied = {.name = "jwk_api_acks_total",
                                     .labels = "status=\"applied\"",
                                     .help = "Acks gathered, by what they say.",
                                     .type = METRIC_COUNTER};
static struct metric acks_failed = {.name = "jwk_api_acks_total", .labels = "status=\"failed\"", .type = METRIC_COUNTER};
static struct metric acks_stale = {.name = "jwk_api_acks_total", .labels = "status=\"stale\"", .type = METRIC_COUNTER};
static struct metric acks_malformed = {.name = "jwk_api_acks_total", .labels = "status=\"malformed\"", .type = METRIC_COUNTER};
static struct metric acks_refused = {.name = "jwk_api_acks_total", .labels = "status=\"refused\"", .type = METRIC_COUNTER};
static struct metric presence_refused = {.name = "jwk_api_presence_refused_total",
                                         .help =
                                             "Records of the workers topic that do not prove that their environment sent them.",
                                         .type = METRIC_COUNTER};
static struct metric presence_malformed = {.name = "jwk_api_presence_malformed_total",
                                           .help = "Records of the workers topic that could not be read.",
                                           .type = METRIC_COUNTER};
static struct metric waiting = {
    .name = "jwk_api_deployments_waiting", .help = "Deployments whose acks are waited for.", .type = METRIC_GAUGE};
static struct metric timeouts = {.name = "jwk_api_deployment_timeouts_total",
                                 .help = "Deployments whose wait ended before every ack was in.",
                                 .type = METRIC_COUNTER};
static struct metric *const all_metrics[] = {&acks_applied,       &acks_failed,  &acks_stale,
                                             &acks_malformed,     &acks_refused, &presence_refused,
                                             &presence_malformed, &waiting,      &timeouts};

struct gatherer {
    struct gatherer_options options;
    rd_kafka_t *consumer;
    rd_kafka_queue_t *queue;
    int records_event, inbox_event; /* eventfds: librdkafka has records; the inbox has something */
    struct gathered *gathered;
    struct settler *settler;
    pthread_t thread;
    bool started;
    rd_kafka_topic_partition_list_t *assigned; /* with the offset that each partition is to be read from next */
    rd_kafka_topic_partition_list_t *ends;     /* of the workers topic at the start: behind the last record of each partition */
    int workers_partitions, workers_caught_up; /* of those, how many were read to their end once */

    /* of the thread */
    struct replica_table replicas;
    struct deployment *deployments; /* by sequence */
    struct heap deadlines;
    struct enrolling *enrolling;
    struct log_limit acks_limit, presence_limit; /* of what anybody can write to the topics */
    int64_t next_expiry, last_round, next_partitions_check;
    int64_t next_refused_retry; /* INT64_MAX while no partition is refused */

    pthread_mutex_t replicas_lock; /* held by the thread while it changes what replicas_copy() reads, and by whoever copies */

    struct store_environments *looked; /* of the writer's thread: what the last look has found; NULL: none */
    bool is_other;                     /* … which is not what the look before has found */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t caught_up_changed;
    struct store_environments *environments; /* to be taken over; NULL: no change */
    struct deployment *inbox[2];             /* head and tail, linked through hh.next */
    bool stopping, caught_up;
    const char *give_up_reason;  /* static; NULL while deployments are waited for */
    struct sequence_floor floor; /* to be taken over … */
    bool republished;            /* … when this is set */
};

static void wake(int event) {
    uint64_t one = 1;
    if (write(event, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("event can not be signalled", "reason", strerror(errno));
}

static void clear_event(int event) {
    uint64_t count;
    if (read(event, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("event can not be read", "reason", strerror(errno));
}

/* ---- deployments ---- */

/* The store may get a result of the environment that only a position will settle: a pending one, or a failed one whose replica
 * was killed before it could tell that the failure has passed. */
static void note_unsettled(struct replica_environment *environment) {
    environment->unsettled = true;
    environment->unsettled_stamp++;
}

/* Hands over the outcomes that are new, and ends the wait when nothing is open. The deployment may be gone afterwards. */
static void update(struct gatherer *gatherer, struct deployment *deployment) {
    for (size_t i = 0; i < deployment->change.environments->count; i++) {
        struct environment_outcome *outcome = &deployment->outcomes[i];
        if (!outcome->settled || outcome->stored)
            continue;
        outcome->stored = true;
        gathered_add_outcome(gatherer->gathered, deployment, i);
        if (outcome->state != RESULT_SUCCEEDED && outcome->environment)
            note_unsettled(outcome->environment);
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
    gatherer->environments = NULL;
    gatherer->republished = false;
    if (republished)
        gatherer->replicas.floor = gatherer->floor;
    pthread_mutex_unlock(&gatherer->lock);
    if (environments)
        enrolling_set(gatherer->enrolling, environments, forget_enrolled, gatherer);
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
        update(gatherer, deployment);
    }
    metric_set(&waiting, (int64_t)HASH_COUNT(gatherer->deployments));
    if (reason) {
        struct deployment *deployment, *following;
        HASH_ITER (hh, gatherer->deployments, deployment, following) {
            deployment_give_up(deployment, reason);
            update(gatherer, deployment);
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
        update(gatherer, deployment);
    }
}

static void for_all(struct gatherer *gatherer, struct replica *replica,
                    void (*notify)(struct deployment *deployment, struct replica *replica)) {
    struct deployment *deployment, *following;
    HASH_ITER (hh, gatherer->deployments, deployment, following) {
        notify(deployment, replica);
        update(gatherer, deployment);
    }
}

/* ---- records ---- */

/* Tells of a record that is of no use; anybody who can write to the topic can cause such lines. */
static void tell_bad(struct log_limit *limit, const char *event, const rd_kafka_message_t *record, const char *environment,
                     const char *replica, const char *reason) {
    int64_t suppressed;
    if (log_limit_allows(limit, clock_monotonic_ms(), &suppressed))
        log_warning(event, "topic", rd_kafka_topic_name(record->rkt), "partition", LOG_NUMBER(record->partition), "offset",
                    LOG_NUMBER(record->offset), "environment", environment, "replica", replica, "reason", reason, "suppressed",
                    suppressed ? LOG_NUMBER(suppressed) : NULL);
}

/* Judges the signature of an ack of the present worker of a replica. */
static int check_ack(struct gatherer *gatherer, const rd_kafka_message_t *record, const struct replica *replica,
                     struct error *error) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    if (enrolling_demand(gatherer->enrolling, replica->environment->name) == DEMAND_NOTHING)
        return 0;
    if (!replica->enrolled)
        return error_set(error, ERROR_DENIED, "its worker is not enrolled with the present keys of the environment");
    return cloudevent_read(record, &storage, &attributes, error) ||
                   enrolled_check(replica->enrolled, record, &attributes, clock_wall_ms() / 1000, error)
               ? -1
               : 0;
}

static void note_ack(struct gatherer *gatherer, const struct ack *ack, struct replica *replica) {
    struct deployment *deployment;
    HASH_FIND(hh, gatherer->deployments, &ack->sequence, sizeof ack->sequence, deployment);
    const struct store_change *change = deployment ? &deployment->change : NULL;
    if (!change) {
        gathered_add_late(gatherer->gathered, ack, replica);
        note_unsettled(
            replica->environment); /* a failure that has passed leaves it pending until each replica's success is known */
    } else if (strcmp(change->deployment_id, ack->deployment_id) == 0 && strcmp(change->jwk_id, ack->jwk_id) == 0 &&
               change->epoch == ack->epoch && change->version == ack->version &&
               strcmp(change->event_hash, ack->event_hash) == 0) {
        deployment_note(deployment, replica, ack->status == ACK_APPLIED ? EXPECT_APPLIED : EXPECT_FAILED, ack->message);
        update(gatherer, deployment);
    } else {
        metric_add(&acks_stale, 1);
        log_warning("ack does not fit its deployment", "deployment", ack->deployment_id, "environment", ack->environment,
                    "replica", ack->replica);
    }
}

static void on_ack(struct gatherer *gatherer, const rd_kafka_message_t *record) {
    struct ack ack;
    struct error error;
    if (ack_decode(record->payload, record->len, &ack, &error)) {
        metric_add(&acks_malformed, 1);
        tell_bad(&gatherer->acks_limit, "ack can not be read", record, NULL, NULL, error.message);
        return;
    }
    struct replica *replica = replicas_find(&gatherer->replicas, ack.environment, ack.replica);
    if (!replica || replica->incarnation != ack.incarnation || strcmp(replica->worker, ack.worker) != 0) {
        /* Of an earlier incarnation, or ahead of its hello: the positions of the current one tell what is applied. */
        metric_add(&acks_stale, 1);
        log_debug("ack is not of the current incarnation", "deployment", ack.deployment_id, "environment", ack.environment,
                  "replica", ack.replica);
    } else if (check_ack(gatherer, record, replica, &error)) {
        metric_add(&acks_refused, 1);
        tell_bad(&gatherer->acks_limit, "ack is refused", record, ack.environment, ack.replica, error.message);
    } else {
        metric_add(ack.status == ACK_APPLIED ? &acks_applied : &acks_failed, 1);
        note_ack(gatherer, &ack, replica);
    }
    ack_free(&ack);
}

static int read_presence(const rd_kafka_message_t *record, const struct cloudevent *attributes, struct presence *presence,
                         struct error *error) {
    for (enum presence_kind kind = PRESENCE_HELLO; kind <= PRESENCE_GOODBYE; kind++)
        if (strcmp(attributes->type, presence_kind_type(kind)) == 0)
            return presence_decode(record->payload, record->len, kind, presence, error);
    return error_set(error, ERROR_INVALID, "ce_type is unknown");
}

/* Judges a presence by what its environment demands. *enrolled gets the start of a worker that it enrols, unless that is known
 * already. */
static int check_presence(struct gatherer *gatherer, const rd_kafka_message_t *record, const struct cloudevent *attributes,
                          const struct presence *presence, enum enrolling_demand demand, struct enrolled **enrolled,
                          struct error *error) {
    *enrolled = NULL;
    if (demand == DEMAND_UNKNOWN)
        return error_set(error, ERROR_DENIED, "there is no such environment");
    if (demand == DEMAND_NOTHING)
        return 0;
    int64_t now = clock_wall_ms() / 1000;
    const struct replica *replica = replicas_find(&gatherer->replicas, presence->environment, presence->replica);
    struct enrolled *known = replica ? replica->enrolled : NULL;
    if (known && enrolled_is(known, presence))
        return enrolled_check(known, record, attributes, now, error);
    struct enrolled *fresh = enrolling_enrol(gatherer->enrolling, presence, now, error);
    if (fresh && enrolled_check(fresh, record, attributes, now, error) == 0) {
        *enrolled = fresh;
        return 0;
    }
    enrolled_free(fresh);
    return -1;
}

/* Takes a presence into account; takes enrolled. */
static int apply_presence(struct gatherer *gatherer, const struct presence *presence, int64_t offset, bool is_proven,
                          struct enrolled *enrolled, int64_t now, struct replica **replica, enum replica_change *change,
                          struct error *error) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    int status = replicas_apply(&gatherer->replicas, presence, offset, is_proven, now, replica, change, error);
    /* What a fenced worker still says is sound, but it is not the present one. */
    if (status == 0 && enrolled && replica_is_of(*replica, presence, offset)) {
        enrolled_free((*replica)->enrolled);
        (*replica)->enrolled = enrolled;
        enrolled = NULL;
    }
    pthread_mutex_unlock(&gatherer->replicas_lock);
    enrolled_free(enrolled);
    return status;
}

static void note_presence(struct gatherer *gatherer, struct replica *replica, enum replica_change change, int64_t now) {
    gatherer->next_expiry = now; /* looked at after this batch */
    if (change == REPLICA_ARRIVED)
        for_all(gatherer, replica, deployment_replica_arrived);
    else if (change == REPLICA_POSITION)
        for_all(gatherer, replica, deployment_replica_position);
    else if (change == REPLICA_GONE)
        for_all(gatherer, replica, deployment_replica_gone);
    if (change == REPLICA_ARRIVED || change == REPLICA_POSITION)
        settler_consider(gatherer->settler, replica->environment, gathered_all_stored(gatherer->gathered));
}

static void on_presence(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now) {
    if (!record->payload)
        return; /* a tombstone: somebody tidied up */
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct presence presence;
    struct error error;
    struct replica *replica;
    struct enrolled *enrolled;
    enum replica_change change;
    if (cloudevent_read(record, &storage, &attributes, &error) || read_presence(record, &attributes, &presence, &error)) {
        metric_add(&presence_malformed, 1);
        tell_bad(&gatherer->presence_limit, "presence can not be read", record, NULL, NULL, error.message);
        return;
    }
    enum enrolling_demand demand = enrolling_demand(gatherer->enrolling, presence.environment);
    if (check_presence(gatherer, record, &attributes, &presence, demand, &enrolled, &error)) {
        metric_add(&presence_refused, 1);
        tell_bad(&gatherer->presence_limit, "presence is refused", record, presence.environment, presence.replica,
                 error.message);
    } else if (apply_presence(gatherer, &presence, record->offset, demand == DEMAND_PROOF, enrolled, now, &replica, &change,
                              &error)) {
        tell_bad(&gatherer->presence_limit, "presence is ignored", record, presence.environment, presence.replica,
                 error.message);
    } else {
        note_presence(gatherer, replica, change, now);
    }
    presence_free(&presence);
}

static void on_gone(void *context, struct replica *replica) {
    for_all(context, replica, deployment_replica_gone);
}

static void expire(struct gatherer *gatherer, int64_t now) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    gatherer->next_expiry = replicas_expire(&gatherer->replicas, now, on_gone, gatherer);
    pthread_mutex_unlock(&gatherer->replicas_lock);
}

static void reset_replicas(struct gatherer *gatherer, int64_t now) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    replicas_reset(&gatherer->replicas, now);
    pthread_mutex_unlock(&gatherer->replicas_lock);
}

/* Reads a partition from where it is to be read from next. One at a time and never all of them again: librdkafka (2.0.2) aborts
 * when it is told to stop a partition whose last start is still under way, which a second change of the whole assignment does
 * to the others. */
static int read_partition(struct gatherer *gatherer, const rd_kafka_topic_partition_t *entry, bool being_read,
                          struct error *error) {
    rd_kafka_topic_partition_list_t *one = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, entry->topic, entry->partition)->offset = entry->offset;
    rd_kafka_error_t *failure = being_read ? rd_kafka_incremental_unassign(gatherer->consumer, one) : NULL;
    if (!failure)
        failure = rd_kafka_incremental_assign(gatherer->consumer, one);
    rd_kafka_topic_partition_list_destroy(one);
    int status = 0;
    if (failure)
        status = error_set(error, ERROR_UNAVAILABLE, "reading topic %s partition %d: %s", entry->topic, (int)entry->partition,
                           rd_kafka_error_string(failure));
    rd_kafka_error_destroy(failure);
    return status;
}

static bool is_of_workers(const struct gatherer *gatherer, const rd_kafka_topic_partition_t *entry) {
    return strcmp(entry->topic, gatherer->options.topics->workers) == 0;
}

/* Begins to read the partitions of one of the two topics. The acks come in once the replicas are known: before that, those that
 * came while no API ran could not be told from the acks of earlier incarnations. */
static int read_topic(struct gatherer *gatherer, bool workers, struct error *error) {
    for (int i = 0; i < gatherer->assigned->cnt; i++)
        if (is_of_workers(gatherer, &gatherer->assigned->elems[i]) == workers &&
            read_partition(gatherer, &gatherer->assigned->elems[i], false, error))
            return -1;
    return 0;
}

/* Reads a partition from its beginning: what was to be read is not there any more. */
static void restart_partition(struct gatherer *gatherer, const char *topic, int32_t partition, int64_t now) {
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(gatherer->assigned, topic, partition);
    log_warning("topic was truncated or made again: reading it from its beginning", "topic", topic, "partition",
                LOG_NUMBER(partition));
    if (strcmp(topic, gatherer->options.topics->workers) == 0)
        reset_replicas(gatherer, now);
    struct error error;
    if (!entry)
        return;
    entry->offset = RD_KAFKA_OFFSET_BEGINNING;
    if (read_partition(gatherer, entry, true, &error))
        log_error("partition can not be read again", "reason", error.message);
}

/* ---- partitions that may not be read ---- */

/* Marked in the entry, until something is read from it. */
static void note_refused(struct gatherer *gatherer, const char *topic, int32_t partition, int64_t now) {
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(gatherer->assigned, topic, partition);
    kafka_health_refused(gatherer->consumer, KAFKA_READ, topic);
    if (!entry)
        return;
    entry->err = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    if (gatherer->next_refused_retry == INT64_MAX)
        gatherer->next_refused_retry = now + REFUSED_RETRY_MS;
}

static void note_read(rd_kafka_topic_partition_t *entry) {
    entry->err = RD_KAFKA_RESP_ERR_NO_ERROR;
    kafka_health_granted(KAFKA_READ, entry->topic);
}

/* librdkafka tells of a refusal once, and of what is read again only when there is a record: so the partition is begun anew,
 * which tells its end. */
static void retry_refused(struct gatherer *gatherer, int64_t now) {
    gatherer->next_refused_retry = INT64_MAX;
    for (int i = 0; i < gatherer->assigned->cnt; i++) {
        const rd_kafka_topic_partition_t *entry = &gatherer->assigned->elems[i];
        struct error error;
        if (!entry->err)
            continue;
        gatherer->next_refused_retry = now + REFUSED_RETRY_MS;
        if (read_partition(gatherer, entry, true, &error))
            log_error("partition can not be read again", "reason", error.message);
    }
}

/* A partition was read to its end, which counts once for each of the workers topic. */
static void on_end(struct gatherer *gatherer, const char *topic, int32_t partition) {
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(gatherer->assigned, topic, partition);
    if (entry)
        note_read(entry);
    if (!entry || entry->opaque || strcmp(topic, gatherer->options.topics->workers) != 0)
        return;
    entry->opaque = gatherer; /* says only that it was here */
    if (++gatherer->workers_caught_up != gatherer->workers_partitions)
        return;
    pthread_mutex_lock(&gatherer->lock);
    gatherer->caught_up = true;
    pthread_cond_broadcast(&gatherer->caught_up_changed);
    pthread_mutex_unlock(&gatherer->lock);
    struct error error;
    if (read_topic(gatherer, false, &error))
        log_error("acks can not be read", "reason", error.message);
}

static void on_consumer_error(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now) {
    const char *topic = record->rkt ? rd_kafka_topic_name(record->rkt) : NULL;
    if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (topic)
            on_end(gatherer, topic, record->partition);
    } else if (topic &&
               (record->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || record->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)) {
        restart_partition(gatherer, topic, record->partition, now);
    } else if (topic && record->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        note_refused(gatherer, topic, record->partition, now);
    } else if (record->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
        /* The group is a name that librdkafka wants; nothing is done with it. */
        log_debug("group is not permitted, and not needed", "reason", rd_kafka_message_errstr(record));
    } else {
        log_warning("consuming failed", "topic", topic, "reason", rd_kafka_message_errstr(record));
    }
}

static void on_record(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now) {
    if (record->err) {
        on_consumer_error(gatherer, record, now);
        return;
    }
    const char *topic = rd_kafka_topic_name(record->rkt);
    rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_find(gatherer->assigned, topic, record->partition);
    if (!entry)
        return;
    entry->offset = record->offset + 1;
    note_read(entry);
    if (strcmp(topic, gatherer->options.topics->acks) == 0) {
        on_ack(gatherer, record);
        gathered_set_offset(gatherer->gathered, record->partition, record->offset + 1);
    } else {
        on_presence(gatherer, record, now);
        /* With many workers a heartbeat is always on its way, and librdkafka tells of an end only where nothing comes. */
        const rd_kafka_topic_partition_t *end = rd_kafka_topic_partition_list_find(gatherer->ends, topic, record->partition);
        if (!entry->opaque && end && record->offset + 1 >= end->offset)
            on_end(gatherer, topic, record->partition);
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

/* ---- partitions ---- */

/* Assigns the partitions that are new, from their beginning. */
static void check_partitions(struct gatherer *gatherer, int64_t now) {
    gatherer->next_partitions_check = now + PARTITIONS_CHECK_MS;
    struct kafka_topic_spec specs[] = {{.name = gatherer->options.topics->acks}, {.name = gatherer->options.topics->workers}};
    struct error error;
    if (kafka_find_topics(gatherer->consumer, specs, 2, METADATA_TIMEOUT_MS, &error))
        return; /* the broker is away; looked at again later */
    for (size_t i = 0; i < 2; i++)
        for (int32_t partition = 0; partition < specs[i].partitions_found; partition++)
            if (!rd_kafka_topic_partition_list_find(gatherer->assigned, specs[i].name, partition)) {
                rd_kafka_topic_partition_t *entry =
                    rd_kafka_topic_partition_list_add(gatherer->assigned, specs[i].name, partition);
                entry->offset = RD_KAFKA_OFFSET_BEGINNING;
                log_info("partition found", "topic", specs[i].name, "partition", LOG_NUMBER(partition));
                if ((gatherer->caught_up || is_of_workers(gatherer, entry)) && read_partition(gatherer, entry, false, &error))
                    log_error("partition can not be read", "reason", error.message);
            }
}

/* The offset to begin with: the stored one, or for a store that has none the end, since no ack for it can be older. */
static int first_offset(struct gatherer *gatherer, struct store *store, const char *topic, int32_t partition, int64_t *offset,
                        struct error *error) {
    if (store_get_offset(store, topic, partition, offset, error))
        return -1;
    if (*offset >= 0)
        return 0;
    int64_t low, high;
    if (kafka_watermarks(gatherer->consumer, topic, partition, &low, &high, error))
        return -1;
    *offset = high;
    return store_set_offset(store, topic, partition, high, error);
}

static int read_floor(struct gatherer *gatherer, struct store *store, struct error *error) {
    struct store_identity identity;
    if (store_read_identity(store, &identity, error))
        return -1;
    gatherer->replicas.floor = (struct sequence_floor){.from = identity.republish_from, .until = identity.republish_until};
    return 0;
}

static int read_environments(struct gatherer *gatherer, struct store *store, struct error *error) {
    struct store_environments *environments;
    if (store_environments(store, &environments, error))
        return -1;
    enrolling_set(gatherer->enrolling, environments, forget_enrolled, gatherer);
    return 0;
}

static int assign(struct gatherer *gatherer, struct store *store, struct error *error) {
    struct kafka_topic_spec specs[] = {{.name = gatherer->options.topics->acks}, {.name = gatherer->options.topics->workers}};
    if (kafka_find_topics(gatherer->consumer, specs, 2, 15000, error))
        return -1;
    for (int32_t partition = 0; partition < specs[0].partitions_found; partition++) {
        int64_t offset;
        if (first_offset(gatherer, store, specs[0].name, partition, &offset, error))
            return -1;
        rd_kafka_topic_partition_list_add(gatherer->assigned, specs[0].name, partition)->offset = offset;
    }
    for (int32_t partition = 0; partition < specs[1].partitions_found; partition++) {
        int64_t low, high;
        if (kafka_watermarks(gatherer->consumer, specs[1].name, partition, &low, &high, error))
            return -1;
        rd_kafka_topic_partition_list_add(gatherer->assigned, specs[1].name, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_topic_partition_list_add(gatherer->ends, specs[1].name, partition)->offset = high;
    }
    gatherer->workers_partitions = specs[1].partitions_found;
    return read_topic(gatherer, true, error);
}

/* ---- the thread ---- */

static void excuse_replicas(struct gatherer *gatherer, int64_t pause_ms) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    replicas_excuse(&gatherer->replicas, pause_ms);
    pthread_mutex_unlock(&gatherer->replicas_lock);
}

/* Milliseconds until something is due, for poll(). */
static int time_left(const struct gatherer *gatherer, int64_t now) {
    int64_t due =
        gatherer->next_expiry < gatherer->next_partitions_check ? gatherer->next_expiry : gatherer->next_partitions_check;
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
            retry_refused(gatherer, now);
        kafka_health_check(gatherer->consumer, UNWELL_TIMEOUT_MS);
        /* A look at the metadata may take a moment: not while somebody waits. */
        if (gatherer->next_partitions_check <= now) {
            if (!gatherer->deployments)
                check_partitions(gatherer, now);
            else
                gatherer->next_partitions_check = now + 1000;
        }
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
    gatherer->next_partitions_check = clock_monotonic_ms() + PARTITIONS_CHECK_MS;
    pthread_mutex_init(&gatherer->lock, NULL);
    pthread_mutex_init(&gatherer->replicas_lock, NULL);
    pthread_cond_init(&gatherer->caught_up_changed, NULL);
    gatherer->records_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gatherer->inbox_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gatherer->gathered = gathered_new(writer, options->topics->acks);
    gatherer->settler = settler_new(writer, gatherer->inbox_event);
    gatherer->assigned = rd_kafka_topic_partition_list_new(8);
    gatherer->ends = rd_kafka_topic_partition_list_new(1);
    gatherer->enrolling = enrolling_new();
    for (size_t i = 0; i < sizeof all_metrics / sizeof *all_metrics; i++)
        metrics_register(all_metrics[i]);
    gatherer->consumer = kafka_consumer_new(options->kafka, "jwk-api", gatherer, error);
    if (gatherer->consumer)
        kafka_health_watch(gatherer->consumer);
    if (!gatherer->consumer || read_floor(gatherer, store, error) || read_environments(gatherer, store, error) ||
        assign(gatherer, store, error)) {
        gatherer_free(gatherer);
        return NULL;
    }
    gatherer->queue = rd_kafka_queue_get_consumer(gatherer->consumer);
    rd_kafka_queue_io_event_enable(gatherer->queue, gatherer->records_event, &(uint64_t){1}, sizeof(uint64_t));
    return gatherer;
}

void gatherer_start(struct gatherer *gatherer) {
    wake(gatherer->records_event); /* what came before the events were enabled */
    if (pthread_create(&gatherer->thread, NULL, gatherer_main, gatherer) != 0)
        abort(); /* no threads at start: nothing can work */
    gatherer->started = true;
}

void gatherer_await_replicas(struct gatherer *gatherer, int timeout_ms) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
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
    bool was_empty = !gatherer->inbox[0];
    if (was_empty)
        gatherer->inbox[0] = deployment;
    else
        gatherer->inbox[1]->hh.next = deployment;
    gatherer->inbox[1] = deployment;
    pthread_mutex_unlock(&gatherer->lock);
    if (was_empty)
        wake(gatherer->inbox_event);
}

struct replica *gatherer_copy_replicas(struct gatherer *gatherer, size_t *count) {
    pthread_mutex_lock(&gatherer->replicas_lock);
    struct replica *copy = replicas_copy(&gatherer->replicas, count);
    pthread_mutex_unlock(&gatherer->replicas_lock);
    return copy;
}

void gatherer_note_republished(struct gatherer *gatherer, struct sequence_floor floor) {
    pthread_mutex_lock(&gatherer->lock);
    gatherer->floor = floor;
    gatherer->republished = true;
    pthread_mutex_unlock(&gatherer->lock);
    wake(gatherer->inbox_event);
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
    wake(gatherer->inbox_event);
}

void gatherer_give_up(struct gatherer *gatherer, const char *reason) {
    pthread_mutex_lock(&gatherer->lock);
    gatherer->give_up_reason = reason;
    pthread_mutex_unlock(&gatherer->lock);
    wake(gatherer->inbox_event);
}

void gatherer_stop(struct gatherer *gatherer) {
    pthread_mutex_lock(&gatherer->lock);
    gatherer->stopping = true;
    pthread_mutex_unlock(&gatherer->lock);
    wake(gatherer->inbox_event);
    if (gatherer->started)
        pthread_join(gatherer->thread, NULL);
    gatherer->started = false;
}

void gatherer_free(struct gatherer *gatherer) {
    if (!gatherer)
        return;
    if (gatherer->queue)
        rd_kafka_queue_destroy(gatherer->queue);
    if (gatherer->consumer) {
        kafka_health_forget(gatherer->consumer);
        rd_kafka_consumer_close(gatherer->consumer);
        rd_kafka_destroy(gatherer->consumer);
    }
    rd_kafka_topic_partition_list_destroy(gatherer->assigned);
    rd_kafka_topic_partition_list_destroy(gatherer->ends);
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
    pthread_mutex_destroy(&gatherer->lock);
    pthread_mutex_destroy(&gatherer->replicas_lock);
    free(gatherer);
}
