/* Where each partition begins, and how far it is. */
#include "worker/consume.h"

#include <stdlib.h>
#include <string.h>

#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"

enum { WATERMARK_TIMEOUT_MS = 10000 };
enum { AT_ONCE = 0 }; /* sweep_after: not by the clock, which may be turned back */
enum { LOST = 0 };    /* sweep_offset of a partition that the topic has no more; of every other it is behind a record */

struct events_partition {
    struct state_position stored; /* generation and sweep; its position is that of the last start */
    struct position known;        /* an earlier place: events before it are no younger than its sequence, in the same topic */
    int64_t was_read;             /* records before this offset are not taken: they were, settled or not */
    bool looking;                 /* … and the first that comes is held against … */
    struct position looked_at;    /* … what was known when it was asked for */
    bool looking_aside;           /* the same, while the client aside reads it */
    int64_t catch_up;             /* the high watermark when it was begun: records before it are not acked one by one */
    bool begun;
    bool reading_again;
    bool refused; /* it may not be read at present */
    bool gone;    /* to be begun from the start with the next refresh: the broker does not know it any more, or it could not be */
};

struct consumer {
    struct consumer_options options;
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    struct events_partition *partitions; /* by number */
    size_t count;                        /* how many the topic has, or the state knows of */
    size_t topic_count;                  /* how many the topic has */
    int64_t last_contact;                /* wall ms */
    bool workers_watched;
    int64_t workers_offset;              /* from where on they are */
    bool workers_refused;                /* that topic may not be read at present */
    bool refused;                        /* a partition was refused and nothing was read since */
    rd_kafka_t *aside;                   /* a client for what must not hold up the one that reads */
    rd_kafka_queue_t *aside_queue;       /* of what it reads */
    char *group;                         /* where positions are shown, by that client */
    rd_kafka_queue_t *showing;           /* for the answer of the group's coordinator … */
    bool is_showing;                     /* … which is waited for */
    int64_t shown_sum;                   /* of the offsets that the group was told last */
};

/* A client with a property of its own, as name=value. What the operator passes comes later and wins. */
static rd_kafka_t *client_new(const struct consumer_options *options, char *property, void *opaque, struct error *error) {
    struct kafka_settings settings = *options->kafka;
    const struct option_list *theirs = settings.properties;
    size_t count = theirs ? theirs->count : 0;
    char **items = memory_new((count + 1) * sizeof *items);
    items[0] = property;
    for (size_t i = 0; i < count; i++)
        items[i + 1] = theirs->items[i];
    struct option_list properties = {.items = items, .count = count + 1};
    settings.properties = &properties;
    rd_kafka_t *client = kafka_consumer_new(&settings, options->group, opaque, error);
    free(items);
    return client;
}

static rd_kafka_queue_t *queue_of(rd_kafka_t *client, int wake) {
    static const uint64_t one = 1;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(client);
    rd_kafka_queue_io_event_enable(queue, wake, &one, sizeof one);
    return queue;
}

static void queue_close(rd_kafka_queue_t *queue) {
    rd_kafka_queue_io_event_enable(queue, -1, NULL, 0);
    rd_kafka_queue_destroy(queue);
}

struct consumer *consumer_open(const struct consumer_options *options, struct error *error) {
    /* Fetches far ahead: librdkafka 2.0 stops fetching for a whole second once its queue is full, so that no more than the
     * queue's size a second can be read. With 16 MB a new replica read 22,000 keys a second, with 64 MB it is our own work that
     * bounds it. Once caught up the queue is all but empty. */
    char far_ahead[] = "queued.max.messages.kbytes=65536";
    /* One record is wanted at a time. */
    char little[] = "fetch.message.max.bytes=1024";
    struct consumer *consumer = memory_new(sizeof *consumer);
    consumer->options = *options;
    consumer->client = client_new(options, far_ahead, consumer, error);
    if (!consumer->client) {
        free(consumer);
        return NULL;
    }
    consumer->aside = client_new(options, little, NULL, error);
    if (!consumer->aside) {
        kafka_client_free(consumer->client);
        free(consumer);
        return NULL;
    }
    kafka_health_watch(consumer->client);
    consumer->queue = queue_of(consumer->client, options->wake);
    consumer->aside_queue = queue_of(consumer->aside, options->wake);
    consumer->group = memory_string(options->group);
    consumer->options.group = NULL; /* the caller's */
    consumer->showing = rd_kafka_queue_new(consumer->aside);
    return consumer;
}

void consumer_close(struct consumer *consumer) {
    if (!consumer)
        return;
    kafka_health_forget(consumer->client);
    queue_close(consumer->queue);
    queue_close(consumer->aside_queue);
    rd_kafka_queue_destroy(consumer->showing);
    kafka_client_free(consumer->aside);
    kafka_client_free(consumer->client);
    free(consumer->partitions);
    free(consumer->group);
    free(consumer);
}

/* ---- topics ---- */

static int find_events(const struct consumer *consumer, rd_kafka_t *client, int timeout_ms, size_t *count,
                       struct error *error) {
    struct kafka_topic_spec spec = {.name = consumer->options.topics->events, .partitions_max = POSITION_COUNT_MAX};
    if (kafka_find_topics(client, &spec, 1, timeout_ms, error))
        return -1;
    *count = (size_t)spec.partitions_found;
    return 0;
}

/* Asked by the client aside: a broker answers what comes behind a fetch only once that has ended, which is after half a second
 * where no event comes, and meanwhile those of other brokers would wait here. What is new the other client has to know as well. */
static int find_events_again(const struct consumer *consumer, int timeout_ms, size_t *count, struct error *error) {
    if (find_events(consumer, consumer->aside, timeout_ms, count, error))
        return -1;
    return *count == consumer->topic_count ? 0 : find_events(consumer, consumer->client, timeout_ms, count, error);
}

int consumer_find_topics(struct consumer *consumer, int timeout_ms, const char **missing, struct error *error) {
    const struct kafka_topics *topics = consumer->options.topics;
    struct kafka_topic_spec specs[] = {{.name = topics->events}, {.name = topics->acks}, {.name = topics->workers}};
    *missing = NULL;
    if (kafka_find_topics(consumer->client, specs, 3, timeout_ms, error))
        return -1;
    for (size_t i = 0; i < 3 && !*missing; i++)
        if (specs[i].partitions_found == 0)
            *missing = specs[i].name;
    return 0;
}

/* ---- beginning a partition ---- */

/* Calls an assignment function with one partition. */
static int change_assignment(rd_kafka_t *client, const char *topic, int32_t partition, int64_t offset,
                             rd_kafka_error_t *(*change)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *),
                             struct error *error) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    rd_kafka_error_t *failure = change(client, list);
    rd_kafka_topic_partition_list_destroy(list);
    int status = 0;
    if (failure)
        status = error_set(error, ERROR_UNAVAILABLE, "reading topic %s partition %d from offset %lld: %s", topic,
                           (int)partition, (long long)offset, rd_kafka_error_string(failure));
    rd_kafka_error_destroy(failure);
    return status;
}

static int read_from(struct consumer *consumer, const char *topic, int32_t partition, int64_t offset, bool assigned,
                     struct error *error) {
    if (assigned && change_assignment(consumer->client, topic, partition, offset, rd_kafka_incremental_unassign, error))
        return -1;
    return change_assignment(consumer->client, topic, partition, offset, rd_kafka_incremental_assign, error);
}

/* Ends a look by the client aside, if there is one. */
static void stop_looking(struct consumer *consumer, int32_t number) {
    struct events_partition *partition = &consumer->partitions[number];
    struct error error;
    if (partition->looking_aside && change_assignment(consumer->aside, consumer->options.topics->events, number, 0,
                                                      rd_kafka_incremental_unassign, &error))
        log_debug("a look goes on", "reason", error.message);
    partition->looking_aside = false;
}

static int query_watermarks(struct consumer *consumer, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                            struct error *error) {
    rd_kafka_resp_err_t result =
        rd_kafka_query_watermark_offsets(consumer->client, topic, partition, low, high, WATERMARK_TIMEOUT_MS);
    return result ? error_set(error, ERROR_UNAVAILABLE, "asking for the offsets of topic %s partition %d: %s", topic,
                              (int)partition, rd_kafka_err2str(result))
                  : 0;
}

static int store_position(struct consumer *consumer, const struct state_position *position, struct error *error) {
    struct state *state = consumer->options.state;
    if (state_begin(state, error) == 0 && state_store_position(state, position, error) == 0 && state_commit(state, error) == 0)
        return 0;
    state_rollback(state);
    return -1;
}

/* When the topic was made again, it fills only once the API notices: the delay is to begin when there is something in it. */
static int64_t sweep_later(const struct consumer *consumer) {
    return -1 - consumer->options.sweep_delay_ms;
}

/* Begins a partition from its start, though the state has keys of it. sweep_after as in struct state_position. */
static int start_over(struct consumer *consumer, int32_t number, int64_t low, int64_t high, int64_t sweep_after,
                      const char *reason, struct error *error) {
    struct events_partition *partition = &consumer->partitions[number];
    struct state_position position = {
        .position = {.partition = number, .offset = low, .sequence = 0},
        .generation = partition->stored.generation + 1,
        /* An empty topic says nothing about what there is. */
        .sweep_offset = high > low ? high : low + 1,
        .sweep_after = sweep_after,
    };
    if (store_position(consumer, &position, error) ||
        read_from(consumer, consumer->options.topics->events, number, low, partition->begun, error))
        return -1;
    log_warning("reading the partition from its start", "topic", consumer->options.topics->events, "partition",
                LOG_NUMBER(number), "reason", reason, "from", LOG_NUMBER(low), "to", LOG_NUMBER(high));
    stop_looking(consumer, number);
    *partition = (struct events_partition){
        .stored = position, .was_read = low, .catch_up = high, .begun = true, .reading_again = true};
    progress_start(consumer->options.progress, &position.position);
    return 0;
}

/* Begins a partition where the state left off, if that is possible. */
static int begin(struct consumer *consumer, int32_t number, bool known, bool other_cluster, bool stale, struct error *error) {
    struct events_partition *partition = &consumer->partitions[number];
    const char *topic = consumer->options.topics->events;
    int64_t low, high, offset = partition->stored.position.offset;
    if (query_watermarks(consumer, topic, number, &low, &high, error))
        return -1;
    if (known && partition->stored.sweep_offset == LOST)
        return start_over(consumer, number, low, high, sweep_later(consumer), "the topic had fewer partitions", error);
    if (known && other_cluster)
        return start_over(consumer, number, low, high, sweep_later(consumer), "the state is of another Kafka cluster", error);
    if (known && offset > high)
        return start_over(consumer, number, low, high, sweep_later(consumer), "its end is before the stored offset", error);
    if (known && offset < low && offset > 0)
        return start_over(consumer, number, low, high, AT_ONCE, "its start is behind the stored offset", error);
    if (known && stale)
        return start_over(consumer, number, low, high, AT_ONCE, "the state is older than deletes are kept", error);
    if (!known) {
        partition->stored =
            (struct state_position){.position = {.partition = number, .offset = low}, .generation = 1, .sweep_offset = -1};
        if (store_position(consumer, &partition->stored, error))
            return -1;
    } else if (offset < low) {
        partition->stored.position.offset = low;
    }
    offset = partition->stored.position.offset;
    if (read_from(consumer, topic, number, offset > low ? offset - 1 : offset, false, error))
        return -1;
    partition->known = partition->looked_at = partition->stored.position;
    partition->was_read = offset;
    partition->looking = offset > low;
    partition->catch_up = high;
    partition->begun = true;
    partition->reading_again = partition->stored.sweep_offset >= 0;
    progress_start(consumer->options.progress, &partition->stored.position);
    return 0;
}

static void make_room(struct consumer *consumer, size_t count) {
    if (count <= consumer->count)
        return;
    consumer->partitions = memory_resize(consumer->partitions, count * sizeof *consumer->partitions);
    memset(consumer->partitions + consumer->count, 0, (count - consumer->count) * sizeof *consumer->partitions);
    consumer->count = count;
}

/* Whether the state was out of touch for so long that a delete may have come and gone. */
static bool is_stale(const struct consumer *consumer, int64_t now_ms) {
    int64_t last = state_last_contact(consumer->options.state);
    return last > 0 && now_ms - last > consumer->options.tombstone_delay_ms / 2;
}

/* A topic that was made again with fewer partitions: what the state has of the others is to be found on these, or is gone. */
static int sweep_lost_partitions(struct consumer *consumer, struct error *error) {
    for (size_t i = consumer->topic_count; i < consumer->count; i++) {
        struct state_position *position = &consumer->partitions[i].stored;
        if (position->sweep_offset == LOST || position->generation == 0)
            continue;
        *position = (struct state_position){.position.partition = (int32_t)i,
                                            .generation = position->generation + 1,
                                            .sweep_offset = LOST,
                                            .sweep_after = sweep_later(consumer)};
        if (store_position(consumer, position, error))
            return -1;
    }
    return 0;
}

/* From now on the positions are of this cluster, and the state is in touch. */
static int store_contact(struct consumer *consumer, const char *cluster, int64_t now_ms, struct error *error) {
    struct state *state = consumer->options.state;
    bool new_cluster = cluster && strcmp(cluster, state_cluster(state)) != 0;
    if (state_begin(state, error) == 0 && (!new_cluster || state_store_cluster(state, cluster, error) == 0) &&
        state_store_contact(state, now_ms, error) == 0 && state_commit(state, error) == 0)
        return 0;
    state_rollback(state);
    return -1;
}

int consumer_start(struct consumer *consumer, int64_t now_ms, struct error *error) {
    struct state *state = consumer->options.state;
    struct state_position *positions = NULL;
    size_t known_count = 0;
    char *cluster = rd_kafka_clusterid(consumer->client, WATERMARK_TIMEOUT_MS);
    bool other_cluster = cluster && state_cluster(state)[0] && strcmp(cluster, state_cluster(state)) != 0,
         stale = is_stale(consumer, now_ms);
    int status = -1;
    if (find_events(consumer, consumer->client, WATERMARK_TIMEOUT_MS, &consumer->topic_count, error) ||
        state_load_positions(state, &positions, &known_count, error))
        goto out;
    make_room(consumer, consumer->topic_count);
    bool *known = memory_new(POSITION_COUNT_MAX * sizeof *known);
    for (size_t i = 0; i < known_count; i++) {
        size_t number = (size_t)positions[i].position.partition;
        if (number >= POSITION_COUNT_MAX)
            continue;
        make_room(consumer, number + 1);
        known[number] = true;
        if (!consumer->partitions[number].begun)
            consumer->partitions[number].stored = positions[i];
    }
    status = 0;
    for (size_t i = 0; status == 0 && i < consumer->topic_count; i++)
        if (!consumer->partitions[i].begun) /* by an attempt before that failed halfway */
            status = begin(consumer, (int32_t)i, known[i], other_cluster, stale, error);
    free(known);
    if (status == 0)
        status = sweep_lost_partitions(consumer, error);
    if (status == 0)
        status = store_contact(consumer, cluster, now_ms, error);
    consumer->last_contact = state_last_contact(state);
out:
    free(positions);
    rd_kafka_mem_free(consumer->client, cluster);
    return status;
}

/* Where the application is in jwk.workers: librdkafka knows it once something was read since it was begun. */
static int64_t workers_position(const struct consumer *consumer) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, consumer->options.topics->workers, PRESENCE_PARTITION);
    rd_kafka_resp_err_t result = rd_kafka_position(consumer->client, list);
    int64_t offset = result || list->elems[0].offset < 0 ? consumer->workers_offset : list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return offset;
}

/* librdkafka tells of a refusal once, and of what is read again only when there is a record: so the partition is begun anew at
 * the same place, which tells its end. */
static int read_refused(struct consumer *consumer, struct error *error) {
    const struct kafka_topics *topics = consumer->options.topics;
    for (size_t i = 0; i < consumer->topic_count; i++) {
        const struct events_partition *partition = &consumer->partitions[i];
        int64_t offset = partition->looking ? partition->looked_at.offset - 1 : partition->was_read;
        if (partition->refused && read_from(consumer, topics->events, (int32_t)i, offset, true, error))
            return -1;
    }
    if (!consumer->workers_refused || !consumer->workers_watched)
        return 0;
    consumer->workers_offset = workers_position(consumer);
    return read_from(consumer, topics->workers, PRESENCE_PARTITION, consumer->workers_offset, true, error);
}

/* Lets go of the partitions that a topic that was made again has no more. */
static int let_go(struct consumer *consumer, size_t count, struct error *error) {
    const char *topic = consumer->options.topics->events;
    for (size_t i = count; i < consumer->topic_count; i++) {
        struct events_partition *partition = &consumer->partitions[i];
        if (partition->begun &&
            change_assignment(consumer->client, topic, (int32_t)i, 0, rd_kafka_incremental_unassign, error))
            return -1;
        stop_looking(consumer, (int32_t)i);
        *partition = (struct events_partition){.stored = partition->stored};
        /* Heartbeats must not tell that what comes there one day has been read. */
        progress_start(consumer->options.progress, &(struct position){.partition = (int32_t)i});
    }
    log_warning("topic was made again with fewer partitions", "topic", topic, "before", LOG_NUMBER(consumer->topic_count),
                "now", LOG_NUMBER(count));
    consumer->topic_count = count;
    return sweep_lost_partitions(consumer, error);
}

int consumer_refresh(struct consumer *consumer, int timeout_ms, struct error *error) {
    size_t count;
    if (find_events_again(consumer, timeout_ms, &count, error))
        return -1;
    if (count > 0 && count < consumer->topic_count && let_go(consumer, count, error)) /* 0: it is being made again */
        return -1;
    make_room(consumer, count);
    if (count > consumer->topic_count)
        consumer->topic_count = count;
    for (size_t i = 0; i < count; i++) {
        struct events_partition *partition = &consumer->partitions[i];
        int64_t low, high;
        if (!partition->begun) {
            if (begin(consumer, (int32_t)i, partition->stored.generation > 0, false, false, error))
                return -1;
            log_info("reading an added partition", "topic", consumer->options.topics->events, "partition", LOG_NUMBER(i));
        } else if (partition->gone) {
            if (query_watermarks(consumer, consumer->options.topics->events, (int32_t)i, &low, &high, error) ||
                start_over(consumer, (int32_t)i, low, high, sweep_later(consumer), "the topic was gone", error))
                return -1;
        }
    }
    return consumer->refused ? read_refused(consumer, error) : 0;
}

void consumer_check_connection(struct consumer *consumer, int timeout_ms) {
    kafka_health_check(consumer->client, timeout_ms);
}

int consumer_workers_end(struct consumer *consumer, int64_t *end, struct error *error) {
    int64_t low;
    return query_watermarks(consumer, consumer->options.topics->workers, PRESENCE_PARTITION, &low, end, error);
}

int consumer_watch_workers(struct consumer *consumer, int64_t offset, struct error *error) {
    const char *topic = consumer->options.topics->workers;
    if (consumer->workers_watched &&
        change_assignment(consumer->client, topic, PRESENCE_PARTITION, offset, rd_kafka_incremental_unassign, error))
        return -1;
    consumer->workers_watched = false;
    if (change_assignment(consumer->client, topic, PRESENCE_PARTITION, offset, rd_kafka_incremental_assign, error))
        return -1;
    consumer->workers_watched = true;
    consumer->workers_offset = offset;
    return 0;
}

static int read_all_again(struct consumer *consumer, int64_t sweep_after, const char *reason, struct error *error) {
    int64_t *low = memory_new(consumer->topic_count * sizeof *low), *high = memory_new(consumer->topic_count * sizeof *high);
    int status = 0;
    /* All are asked before any is begun again: what is tried again after a failure would begin the others each time. */
    for (size_t i = 0; i < consumer->topic_count && status == 0; i++)
        if (consumer->partitions[i].begun)
            status = query_watermarks(consumer, consumer->options.topics->events, (int32_t)i, &low[i], &high[i], error);
    for (size_t i = 0; i < consumer->topic_count && status == 0; i++)
        if (consumer->partitions[i].begun)
            status = start_over(consumer, (int32_t)i, low[i], high[i], sweep_after, reason, error);
    free(low);
    free(high);
    return status;
}

int consumer_read_again(struct consumer *consumer, const char *reason, struct error *error) {
    return read_all_again(consumer, AT_ONCE, reason, error);
}

/* Whether a partition may not be read at present: then deletes may come and go in it, whatever else the broker takes. */
static bool events_are_refused(const struct consumer *consumer) {
    for (size_t i = 0; i < consumer->topic_count; i++)
        if (consumer->partitions[i].refused)
            return true;
    return false;
}

int consumer_check_contact(struct consumer *consumer, int64_t now_ms, bool *again, struct error *error) {
    *again = false;
    if (events_are_refused(consumer))
        return 0;
    *again = is_stale(consumer, now_ms);
    if (*again && (consumer_read_again(consumer, "the state is older than deletes are kept", error) ||
                   store_contact(consumer, NULL, now_ms, error)))
        return -1;
    consumer->last_contact = now_ms;
    return 0;
}

int64_t consumer_last_contact(const struct consumer *consumer) {
    return consumer->last_contact;
}

/* ---- records ---- */

/* Something was read of a topic: it is permitted. */
static void note_read(struct consumer *consumer, rd_kafka_message_t *const *records, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!records[i]->rkt || (records[i]->err && records[i]->err != RD_KAFKA_RESP_ERR__PARTITION_EOF))
            continue;
        kafka_health_granted(KAFKA_READ, rd_kafka_topic_name(records[i]->rkt));
        if (consumer_is_of_workers(consumer, records[i]))
            consumer->workers_refused = false;
        else if ((size_t)records[i]->partition < consumer->count)
            consumer->partitions[records[i]->partition].refused = false;
    }
    consumer->refused = consumer->workers_refused;
    for (size_t i = 0; i < consumer->count; i++)
        consumer->refused = consumer->refused || consumer->partitions[i].refused;
}

bool consumer_is_of_workers(const struct consumer *consumer, const rd_kafka_message_t *record) {
    return record->rkt && strcmp(rd_kafka_topic_name(record->rkt), consumer->options.topics->workers) == 0;
}

static struct events_partition *find_partition(const struct consumer *consumer, int32_t number) {
    return number >= 0 && (size_t)number < consumer->count && consumer->partitions[number].begun ? &consumer->partitions[number]
                                                                                                 : NULL;
}

/* A record that was asked for by looking back; NULL when there is none. What else comes ends the look: compaction has left
 * nothing before that place, or the topic is not as it was, which the other client is told, too. */
static rd_kafka_message_t *take_aside(struct consumer *consumer) {
    rd_kafka_message_t *record;
    while (rd_kafka_consume_batch_queue(consumer->aside_queue, 0, &record, 1) == 1) {
        const struct events_partition *partition = record->rkt ? find_partition(consumer, record->partition) : NULL;
        if (partition && partition->looking_aside) {
            if (!record->err && record->offset < partition->looked_at.offset)
                return record;
            stop_looking(consumer, record->partition);
        }
        rd_kafka_message_destroy(record);
    }
    return NULL;
}

size_t consumer_take(struct consumer *consumer, rd_kafka_message_t **records, size_t capacity) {
    if ((records[0] = take_aside(consumer)))
        return 1;
    ssize_t count = rd_kafka_consume_batch_queue(consumer->queue, 0, records, capacity);
    if (consumer->refused && count > 0)
        note_read(consumer, records, (size_t)count);
    return count > 0 ? (size_t)count : 0;
}

int consumer_handle_error(struct consumer *consumer, const rd_kafka_message_t *record, enum consumer_error *what,
                          struct error *error) {
    *what = CONSUMER_FINE;
    const char *topic = record->rkt ? rd_kafka_topic_name(record->rkt) : NULL;
    bool of_workers = consumer_is_of_workers(consumer, record);
    struct events_partition *partition = record->rkt && !of_workers ? find_partition(consumer, record->partition) : NULL;
    int64_t low, high;
    switch (record->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: return 0; /* of jwk.workers: that of an events partition is the loop's */
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (of_workers) {
            log_warning("topic was made again", "topic", topic);
            *what = CONSUMER_WORKERS_LOST;
        }
        if (!partition)
            return 0;
        partition->gone = true; /* until it is begun again */
        if (query_watermarks(consumer, topic, record->partition, &low, &high, error))
            return 0;
        return start_over(consumer, record->partition, low, high, sweep_later(consumer), "its offset is out of range", error);
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        log_warning("topic is gone", "topic", topic, "partition", LOG_NUMBER(record->partition), "reason",
                    rd_kafka_message_errstr(record));
        if (partition)
            partition->gone = true;
        return 0;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        if (topic)
            kafka_health_refused(consumer->client, KAFKA_READ, topic);
        if (partition)
            partition->refused = true;
        consumer->workers_refused = consumer->workers_refused || of_workers;
        consumer->refused = true;
        return 0;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        /* Nothing is read back from the group. */
        log_info("Kafka's tools will not show the lag of this replica: reading its group is not permitted", "group",
                 consumer->group);
        return 0;
    default: log_warning("reading failed", "topic", topic, "reason", rd_kafka_message_errstr(record)); return 0;
    }
}

bool consumer_place(const struct consumer *consumer, int32_t number, int64_t offset, struct consumer_place *place) {
    const struct events_partition *partition = find_partition(consumer, number);
    if (!partition)
        return false;
    *place = (struct consumer_place){.generation = partition->stored.generation,
                                     .live = offset >= partition->catch_up,
                                     .reading_again = partition->reading_again && offset < partition->catch_up};
    return true;
}

/* ---- looking back ---- */

/* By the client aside: the other one would throw away what it has fetched ahead, and could go on only once the fetch has ended
 * that is under way, so that an event which came right then was applied half a second late. */
int consumer_look_back(struct consumer *consumer, struct error *error) {
    const char *topic = consumer->options.topics->events;
    for (size_t i = 0; i < consumer->topic_count; i++) {
        struct events_partition *partition = &consumer->partitions[i];
        struct position settled, known = partition->known;
        int64_t low, high;
        if (!partition->begun || partition->gone || partition->refused || partition->looking || partition->looking_aside ||
            !progress_find(consumer->options.progress, (int32_t)i, &settled, NULL) || settled.offset < partition->catch_up ||
            rd_kafka_get_watermark_offsets(consumer->client, topic, (int32_t)i, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        partition->known = settled;
        if (known.offset <= (low > 0 ? low : 0))
            continue; /* there is nothing before it */
        partition->looked_at = known;
        if (change_assignment(consumer->aside, topic, (int32_t)i, known.offset - 1, rd_kafka_incremental_assign, error))
            return -1;
        partition->looking_aside = true;
    }
    return 0;
}

bool consumer_was_read(const struct consumer *consumer, const rd_kafka_message_t *record) {
    struct events_partition *partition = find_partition(consumer, record->partition);
    if (!partition || record->offset < partition->was_read)
        return partition;
    if (partition->known.offset == 0) /* until there was something: the topic may be made again before the first look back */
        (void)progress_find(consumer->options.progress, record->partition, &partition->known, NULL);
    partition->was_read = record->offset + 1;
    partition->looking = false; /* compaction has left nothing before that place */
    return false;
}

bool consumer_is_looking(const struct consumer *consumer, const rd_kafka_message_t *record) {
    const struct events_partition *partition = &consumer->partitions[record->partition];
    return partition->looking || partition->looking_aside;
}

int consumer_hold_against(struct consumer *consumer, const rd_kafka_message_t *record, int64_t sequence, bool *again,
                          struct error *error) {
    struct events_partition *partition = &consumer->partitions[record->partition];
    bool was_aside = partition->looking_aside;
    stop_looking(consumer, record->partition);
    partition->looking = false;
    *again = record->offset < partition->looked_at.offset && sequence > partition->looked_at.sequence;
    for (size_t i = 0; *again && i < consumer->topic_count; i++)
        consumer->partitions[i].gone = true; /* until it is begun again */
    if (*again)
        return read_all_again(consumer, sweep_later(consumer), "the topic was made again, and has grown past this", error);
    if (was_aside || record->offset == partition->was_read - 1)
        return 0;
    return read_from(consumer, consumer->options.topics->events, record->partition, partition->was_read, true, error);
}

/* ---- how far ---- */

static int64_t settled_offset(const struct consumer *consumer, size_t number) {
    struct position settled;
    return progress_find(consumer->options.progress, (int32_t)number, &settled, NULL) ? settled.offset : -1;
}

bool consumer_is_caught_up(const struct consumer *consumer) {
    for (size_t i = 0; i < consumer->topic_count; i++) {
        const struct events_partition *partition = &consumer->partitions[i];
        const struct state_position *stored = &partition->stored;
        int64_t settled = settled_offset(consumer, i);
        bool is_unswept = stored->sweep_offset >= 0 && stored->sweep_after == AT_ONCE && settled >= stored->sweep_offset;
        if (!partition->begun || settled < partition->catch_up || is_unswept)
            return false;
    }
    return consumer->topic_count > 0;
}

int64_t consumer_lag(const struct consumer *consumer) {
    int64_t lag = 0;
    for (size_t i = 0; i < consumer->topic_count; i++) {
        int64_t low, high, offset = settled_offset(consumer, i);
        if (offset < 0 || rd_kafka_get_watermark_offsets(consumer->client, consumer->options.topics->events, (int32_t)i, &low,
                                                         &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        if (high < consumer->partitions[i].catch_up)
            high = consumer->partitions[i].catch_up; /* nothing was fetched yet */
        if (high > offset)
            lag += high - offset;
    }
    return lag;
}

/* Whether there is something in the topic that was made again. */
static bool has_begun(const struct consumer *consumer) {
    for (size_t i = 0; i < consumer->topic_count; i++)
        if (settled_offset(consumer, i) > 0)
            return true;
    return false;
}

int consumer_due_sweep(struct consumer *consumer, int64_t now_ms, const struct state_position **due, struct error *error) {
    *due = NULL;
    for (size_t i = 0; i < consumer->count && !*due; i++) {
        struct state_position *position = &consumer->partitions[i].stored;
        if (position->sweep_offset < 0 || now_ms < position->sweep_after)
            continue;
        /* A partition that the topic has no more needs no reading. */
        bool read = i < consumer->topic_count
                        ? consumer->partitions[i].begun && settled_offset(consumer, i) >= position->sweep_offset
                        : has_begun(consumer);
        if (!read)
            continue;
        (void)progress_find(consumer->options.progress, (int32_t)i, NULL, &position->position);
        if (position->sweep_after >= 0) {
            *due = position;
            continue;
        }
        position->sweep_after = now_ms + (-1 - position->sweep_after);
        if (store_position(consumer, position, error))
            return -1;
    }
    return 0;
}

void consumer_swept(struct consumer *consumer, int32_t partition) {
    consumer->partitions[partition].stored.sweep_offset = -1;
}

/* Whether the coordinator owes no answer. */
static bool end_showing(struct consumer *consumer) {
    rd_kafka_event_t *event = consumer->is_showing ? rd_kafka_queue_poll(consumer->showing, 0) : NULL;
    if (!event)
        return !consumer->is_showing;
    consumer->is_showing = false;
    if (rd_kafka_event_error(event)) {
        log_debug("positions not shown", "reason", rd_kafka_event_error_string(event));
        consumer->shown_sum = 0; /* once more */
    }
    rd_kafka_event_destroy(event);
    return true;
}

/* By a client of its own: while a coordinator that is away owes the answer to a commit, up to a minute, librdkafka starts no
 * partition. */
void consumer_show_positions(struct consumer *consumer, const struct position *positions, size_t count) {
    if (!end_showing(consumer))
        return;
    int64_t sum = 0; /* offsets only grow, but where a topic is made again: then the sum changes too */
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_topic_partition_list_add(list, consumer->options.topics->events, positions[i].partition)->offset =
            positions[i].offset;
        sum += positions[i].offset;
    }
    if (count > 0 && sum != consumer->shown_sum) {
        consumer->is_showing =
            rd_kafka_commit_queue(consumer->aside, list, consumer->showing, NULL, NULL) == RD_KAFKA_RESP_ERR_NO_ERROR;
        consumer->shown_sum = sum;
    }
    rd_kafka_topic_partition_list_destroy(list);
}
