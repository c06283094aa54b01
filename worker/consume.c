/* What is read of the topics, and how far that is. */
#include "worker/consume.h"

#include <stdlib.h>
#include <string.h>

#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"
#include "worker/consume_internal.h"

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

int consumer_find_events(const struct consumer *consumer, rd_kafka_t *client, int timeout_ms, size_t *count,
                         struct error *error) {
    struct kafka_topic_spec spec = {.name = consumer->options.topics->events, .partitions_max = POSITION_COUNT_MAX};
    if (kafka_find_topics(client, &spec, 1, timeout_ms, error))
        return -1;
    *count = (size_t)spec.partitions_found;
    return 0;
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

/* ---- partitions ---- */

int consumer_assign(rd_kafka_t *client, const char *topic, int32_t partition, int64_t offset,
                    rd_kafka_error_t *(*change)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *), struct error *error) {
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

int consumer_read_from(struct consumer *consumer, const char *topic, int32_t partition, int64_t offset, bool assigned,
                       struct error *error) {
    if (assigned && consumer_assign(consumer->client, topic, partition, offset, rd_kafka_incremental_unassign, error))
        return -1;
    return consumer_assign(consumer->client, topic, partition, offset, rd_kafka_incremental_assign, error);
}

void consumer_stop_looking(struct consumer *consumer, int32_t number) {
    struct events_partition *partition = &consumer->partitions[number];
    struct error error;
    if (partition->look == LOOK_ASIDE &&
        consumer_assign(consumer->aside, consumer->options.topics->events, number, 0, rd_kafka_incremental_unassign, &error))
        log_debug("a look goes on", "reason", error.message);
    partition->look = LOOK_NONE;
}

int consumer_query_watermarks(struct consumer *consumer, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                              struct error *error) {
    rd_kafka_resp_err_t result =
        rd_kafka_query_watermark_offsets(consumer->client, topic, partition, low, high, BROKER_TIMEOUT_MS);
    return result ? error_set(error, ERROR_UNAVAILABLE, "asking for the offsets of topic %s partition %d: %s", topic,
                              (int)partition, rd_kafka_err2str(result))
                  : 0;
}

void consumer_check_connection(struct consumer *consumer, int timeout_ms) {
    kafka_health_check(consumer->client, timeout_ms);
}

int consumer_workers_end(struct consumer *consumer, int64_t *end, struct error *error) {
    int64_t low;
    return consumer_query_watermarks(consumer, consumer->options.topics->workers, PRESENCE_PARTITION, &low, end, error);
}

int consumer_watch_workers(struct consumer *consumer, int64_t offset, struct error *error) {
    const char *topic = consumer->options.topics->workers;
    if (consumer->workers_watched &&
        consumer_assign(consumer->client, topic, PRESENCE_PARTITION, offset, rd_kafka_incremental_unassign, error))
        return -1;
    consumer->workers_watched = false;
    if (consumer_assign(consumer->client, topic, PRESENCE_PARTITION, offset, rd_kafka_incremental_assign, error))
        return -1;
    consumer->workers_watched = true;
    consumer->workers_offset = offset;
    return 0;
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
        if (partition && partition->look == LOOK_ASIDE) {
            if (!record->err && record->offset < partition->looked_at.offset)
                return record;
            consumer_stop_looking(consumer, record->partition);
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
        if (consumer_query_watermarks(consumer, topic, record->partition, &low, &high, error))
            return 0;
        return consumer_start_over(consumer, record->partition, low, high, consumer_sweep_later(consumer),
                                   "its offset is out of range", error);
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
                                     .reading_again = partition->reading_again && offset < partition->catch_up,
                                     .done_sequence = partition->stored.done_sequence};
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
        if (!partition->begun || partition->gone || partition->refused || partition->look != LOOK_NONE ||
            !progress_find(consumer->options.progress, (int32_t)i, &settled, NULL) || settled.offset < partition->catch_up ||
            rd_kafka_get_watermark_offsets(consumer->client, topic, (int32_t)i, &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        partition->known = settled;
        if (known.offset <= (low > 0 ? low : 0))
            continue; /* there is nothing before it */
        partition->looked_at = known;
        if (consumer_assign(consumer->aside, topic, (int32_t)i, known.offset - 1, rd_kafka_incremental_assign, error))
            return -1;
        partition->look = LOOK_ASIDE;
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
    if (partition->look == LOOK_FIRST)
        partition->look = LOOK_NONE; /* compaction has left nothing before that place */
    return false;
}

bool consumer_is_looking(const struct consumer *consumer, const rd_kafka_message_t *record) {
    return consumer->partitions[record->partition].look != LOOK_NONE;
}

int consumer_hold_against(struct consumer *consumer, const rd_kafka_message_t *record, int64_t sequence, bool *again,
                          struct error *error) {
    struct events_partition *partition = &consumer->partitions[record->partition];
    bool was_aside = partition->look == LOOK_ASIDE;
    consumer_stop_looking(consumer, record->partition);
    *again = record->offset < partition->looked_at.offset && sequence > partition->looked_at.sequence;
    for (size_t i = 0; *again && i < consumer->topic_count; i++)
        consumer->partitions[i].gone = true; /* until it is begun again */
    if (*again)
        return consumer_read_all_again(consumer, consumer_sweep_later(consumer),
                                       "the topic was made again, and has grown past this", error);
    if (was_aside || record->offset == partition->was_read - 1)
        return 0;
    return consumer_read_from(consumer, consumer->options.topics->events, record->partition, partition->was_read, true, error);
}

/* ---- how far ---- */

int64_t consumer_settled_offset(const struct consumer *consumer, size_t number) {
    struct position settled;
    return progress_find(consumer->options.progress, (int32_t)number, &settled, NULL) ? settled.offset : -1;
}

bool consumer_is_caught_up(const struct consumer *consumer) {
    for (size_t i = 0; i < consumer->topic_count; i++) {
        const struct events_partition *partition = &consumer->partitions[i];
        const struct state_position *stored = &partition->stored;
        int64_t settled = consumer_settled_offset(consumer, i);
        bool is_unswept = stored->sweep_offset >= 0 && stored->sweep_after == AT_ONCE && settled >= stored->sweep_offset;
        if (!partition->begun || settled < partition->catch_up || is_unswept)
            return false;
    }
    return consumer->topic_count > 0;
}

int64_t consumer_lag(const struct consumer *consumer) {
    int64_t lag = 0;
    for (size_t i = 0; i < consumer->topic_count; i++) {
        int64_t low, high, offset = consumer_settled_offset(consumer, i);
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
