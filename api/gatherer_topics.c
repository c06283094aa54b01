/* Which partitions the gatherer reads, from where on, and what to do when they may not be read. */
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "gatherer_internal.h"

enum {
    LOOK_MS = 10000, /* from one look at the topics to the next */
    METADATA_TIMEOUT_MS = 1000,
    REFUSED_RETRY_MS = 5000, /* a partition that may not be read is tried again */
};

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

void gatherer_note_read(rd_kafka_topic_partition_t *entry) {
    entry->err = RD_KAFKA_RESP_ERR_NO_ERROR;
    kafka_health_granted(KAFKA_READ, entry->topic);
}

void gatherer_retry_refused(struct gatherer *gatherer, int64_t now) {
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
        gatherer_note_read(entry);
    if (!entry || entry->opaque || strcmp(topic, gatherer->options.topics->workers) != 0)
        return;
    entry->opaque = gatherer; /* says only that it was here */
    if (++gatherer->workers_caught_up != gatherer->workers_partitions)
        return;
    gatherer->replicas.caught_up = true;
    if (gatherer->refused_before > 0)
        log_info("presence of before this start does not count: nothing proves now that its environment sent it", "records",
                 LOG_NUMBER(gatherer->refused_before));
    pthread_mutex_lock(&gatherer->lock);
    gatherer->caught_up = true;
    pthread_cond_broadcast(&gatherer->caught_up_changed);
    pthread_mutex_unlock(&gatherer->lock);
    struct error error;
    if (read_topic(gatherer, false, &error))
        log_error("acks can not be read", "reason", error.message);
}

/* librdkafka tells an end once a fetch comes back empty, which none does while heartbeats come more often than fetches wait. */
void gatherer_look_for_end(struct gatherer *gatherer, const rd_kafka_message_t *record) {
    int64_t low, high;
    const char *topic = rd_kafka_topic_name(record->rkt);
    if (gatherer->caught_up || rd_kafka_get_watermark_offsets(gatherer->consumer, topic, record->partition, &low, &high))
        return;
    if (high > 0 && record->offset + 1 >= high)
        on_end(gatherer, topic, record->partition);
}

void gatherer_on_consumer_error(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now) {
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

/* ---- partitions that come later ---- */

void gatherer_add_partitions(struct gatherer *gatherer, const int partitions[GATHERED_TOPICS]) {
    const char *topics[GATHERED_TOPICS] = {gatherer->options.topics->acks, gatherer->options.topics->workers};
    struct error error;
    for (size_t i = 0; i < GATHERED_TOPICS; i++)
        for (int32_t partition = 0; partition < partitions[i]; partition++) {
            if (rd_kafka_topic_partition_list_find(gatherer->assigned, topics[i], partition))
                continue;
            rd_kafka_topic_partition_t *entry = rd_kafka_topic_partition_list_add(gatherer->assigned, topics[i], partition);
            entry->offset = RD_KAFKA_OFFSET_BEGINNING;
            log_info("partition found", "topic", topics[i], "partition", LOG_NUMBER(partition));
            if (!gatherer->caught_up && is_of_workers(gatherer, entry))
                gatherer->workers_partitions++; /* it was away at the start */
            if ((gatherer->caught_up || is_of_workers(gatherer, entry)) && read_partition(gatherer, entry, false, &error))
                log_error("partition can not be read", "reason", error.message);
        }
}

static void look(struct gatherer *gatherer) {
    const struct kafka_topics *topics = gatherer->options.topics;
    struct kafka_topic_spec specs[] = {
        {.name = topics->acks}, {.name = topics->workers}, {.name = topics->events}, {.name = topics->audit}};
    enum { ALL = sizeof specs / sizeof *specs };
    struct error error;
    if (kafka_find_topics(gatherer->consumer, specs, ALL, METADATA_TIMEOUT_MS, &error))
        return; /* the broker is away; looked at again later */
    /* Whoever writes to a topic notices that it is gone, too, but only when there is something to write. */
    bool missing = false;
    for (size_t i = 0; i < ALL; i++)
        missing = missing || specs[i].partitions_found == 0;
    if (missing && gatherer->options.restore)
        gatherer->options.restore(gatherer->options.context);
    pthread_mutex_lock(&gatherer->lock);
    for (size_t i = 0; i < GATHERED_TOPICS; i++)
        if (gatherer->partitions[i] != specs[i].partitions_found) {
            gatherer->partitions[i] = specs[i].partitions_found;
            gatherer->partitions_changed = true;
        }
    bool changed = gatherer->partitions_changed;
    pthread_mutex_unlock(&gatherer->lock);
    if (changed)
        gatherer_wake(gatherer);
}

/* Not the thread that gathers: a broker answers what comes behind a fetch only once that has ended, which is after half a second
 * where no ack comes. Asked there, an update that came meanwhile was answered up to a second late. */
void *gatherer_topics_main(void *context) {
    struct gatherer *gatherer = context;
    pthread_setname_np(pthread_self(), "topics");
    int64_t due = clock_monotonic_ms() + LOOK_MS;
    pthread_mutex_lock(&gatherer->lock);
    while (!gatherer->stopping) {
        struct timespec when = clock_moment(due);
        if (pthread_cond_timedwait(&gatherer->stopping_changed, &gatherer->lock, &when) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&gatherer->lock);
        look(gatherer);
        due = clock_monotonic_ms() + LOOK_MS;
        pthread_mutex_lock(&gatherer->lock);
    }
    pthread_mutex_unlock(&gatherer->lock);
    return NULL;
}

/* ---- the start ---- */

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

int gatherer_assign(struct gatherer *gatherer, struct store *store, struct error *error) {
    struct kafka_topic_spec specs[GATHERED_TOPICS] = {{.name = gatherer->options.topics->acks},
                                                      {.name = gatherer->options.topics->workers}};
    if (kafka_find_topics(gatherer->consumer, specs, GATHERED_TOPICS, 15000, error))
        return -1;
    for (size_t i = 0; i < GATHERED_TOPICS; i++)
        gatherer->partitions[i] = specs[i].partitions_found;
    for (int32_t partition = 0; partition < specs[0].partitions_found; partition++) {
        int64_t offset;
        if (first_offset(gatherer, store, specs[0].name, partition, &offset, error))
            return -1;
        rd_kafka_topic_partition_list_add(gatherer->assigned, specs[0].name, partition)->offset = offset;
    }
    for (int32_t partition = 0; partition < specs[1].partitions_found; partition++)
        rd_kafka_topic_partition_list_add(gatherer->assigned, specs[1].name, partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
    gatherer->workers_partitions = specs[1].partitions_found;
    return read_topic(gatherer, true, error);
}
