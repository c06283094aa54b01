/* Where each partition begins, and what makes it begin again. */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"
#include "worker/consume_internal.h"

enum { LOST = 0 }; /* sweep_offset of a partition that the topic has no more; of every other it is behind a record */

static int store_position(struct consumer *consumer, const struct state_position *position, struct error *error) {
    struct state *state = consumer->options.state;
    if (state_begin(state, error) == 0 && state_store_position(state, position, error) == 0 && state_commit(state, error) == 0)
        return 0;
    state_rollback(state);
    return -1;
}

int64_t consumer_sweep_later(const struct consumer *consumer) {
    return -1 - consumer->options.sweep_delay_ms;
}

/* Through which event all had their hooks, when the partition is begun from its start. */
static int64_t done_sequence(const struct consumer *consumer, int32_t number) {
    const struct events_partition *partition = &consumer->partitions[number];
    struct position acked = partition->stored.position;
    if (partition->begun)
        (void)progress_find(consumer->options.progress, number, NULL, &acked);
    return acked.sequence > partition->stored.done_sequence ? acked.sequence : partition->stored.done_sequence;
}

int consumer_start_over(struct consumer *consumer, int32_t number, int64_t low, int64_t high, int64_t sweep_after,
                        const char *reason, struct error *error) {
    struct events_partition *partition = &consumer->partitions[number];
    struct state_position position = {
        .position = {.partition = number, .offset = low, .sequence = 0},
        .generation = partition->stored.generation + 1,
        /* An empty topic says nothing about what there is. */
        .sweep_offset = high > low ? high : low + 1,
        .sweep_after = sweep_after,
        .done_sequence = done_sequence(consumer, number),
    };
    if (store_position(consumer, &position, error) ||
        consumer_read_from(consumer, consumer->options.topics->events, number, low, partition->begun, error))
        return -1;
    log_warning("reading the partition from its start", "topic", consumer->options.topics->events, "partition",
                LOG_NUMBER(number), "reason", reason, "from", LOG_NUMBER(low), "to", LOG_NUMBER(high));
    consumer_stop_looking(consumer, number);
    *partition =
        (struct events_partition){.stored = position, .was_read = low, .catch_up = high, .begun = true, .reading_again = true};
    progress_start(consumer->options.progress, &position.position);
    return 0;
}

/* Begins a partition where the state left off, if that is possible. */
static int begin(struct consumer *consumer, int32_t number, bool known, bool other_cluster, bool stale, struct error *error) {
    struct events_partition *partition = &consumer->partitions[number];
    const char *topic = consumer->options.topics->events;
    int64_t low, high, offset = partition->stored.position.offset, later = consumer_sweep_later(consumer);
    if (consumer_query_watermarks(consumer, topic, number, &low, &high, error))
        return -1;
    if (known && partition->stored.sweep_offset == LOST)
        return consumer_start_over(consumer, number, low, high, later, "the topic had fewer partitions", error);
    if (known && other_cluster)
        return consumer_start_over(consumer, number, low, high, later, "the state is of another Kafka cluster", error);
    if (known && offset > high)
        return consumer_start_over(consumer, number, low, high, later, "its end is before the stored offset", error);
    if (known && offset < low && offset > 0)
        return consumer_start_over(consumer, number, low, high, AT_ONCE, "its start is behind the stored offset", error);
    if (known && stale)
        return consumer_start_over(consumer, number, low, high, AT_ONCE, "the state is older than deletes are kept", error);
    if (!known) {
        partition->stored =
            (struct state_position){.position = {.partition = number, .offset = low}, .generation = 1, .sweep_offset = -1};
        if (store_position(consumer, &partition->stored, error))
            return -1;
    } else if (offset < low) {
        partition->stored.position.offset = low;
    }
    offset = partition->stored.position.offset;
    if (consumer_read_from(consumer, topic, number, offset > low ? offset - 1 : offset, false, error))
        return -1;
    partition->known = partition->looked_at = partition->stored.position;
    partition->was_read = offset;
    partition->look = offset > low ? LOOK_FIRST : LOOK_NONE;
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
                                            .sweep_after = consumer_sweep_later(consumer),
                                            .done_sequence = done_sequence(consumer, (int32_t)i)};
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
    char *cluster = rd_kafka_clusterid(consumer->client, BROKER_TIMEOUT_MS);
    bool other_cluster = cluster && state_cluster(state)[0] && strcmp(cluster, state_cluster(state)) != 0,
         stale = is_stale(consumer, now_ms);
    int status = -1;
    if (consumer_find_events(consumer, consumer->client, BROKER_TIMEOUT_MS, &consumer->topic_count, error) ||
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
        int64_t offset = partition->look == LOOK_FIRST ? partition->looked_at.offset - 1 : partition->was_read;
        if (partition->refused && consumer_read_from(consumer, topics->events, (int32_t)i, offset, true, error))
            return -1;
    }
    if (!consumer->workers_refused || !consumer->workers_watched)
        return 0;
    consumer->workers_offset = workers_position(consumer);
    return consumer_read_from(consumer, topics->workers, PRESENCE_PARTITION, consumer->workers_offset, true, error);
}

/* Lets go of the partitions that a topic that was made again has no more. */
static int let_go(struct consumer *consumer, size_t count, struct error *error) {
    const char *topic = consumer->options.topics->events;
    for (size_t i = count; i < consumer->topic_count; i++) {
        struct events_partition *partition = &consumer->partitions[i];
        if (partition->begun && consumer_assign(consumer->client, topic, (int32_t)i, 0, rd_kafka_incremental_unassign, error))
            return -1;
        consumer_stop_looking(consumer, (int32_t)i);
        *partition = (struct events_partition){.stored = partition->stored};
        /* Heartbeats must not tell that what comes there one day has been read. */
        progress_start(consumer->options.progress, &(struct position){.partition = (int32_t)i});
    }
    log_warning("topic was made again with fewer partitions", "topic", topic, "before", LOG_NUMBER(consumer->topic_count),
                "now", LOG_NUMBER(count));
    consumer->topic_count = count;
    return sweep_lost_partitions(consumer, error);
}

/* Asked by the client aside: a broker answers what comes behind a fetch only once that has ended, which is after half a second
 * where no event comes, and meanwhile those of other brokers would wait here. What is new the other client has to know, too. */
static int find_events_again(const struct consumer *consumer, int timeout_ms, size_t *count, struct error *error) {
    if (consumer_find_events(consumer, consumer->aside, timeout_ms, count, error))
        return -1;
    return *count == consumer->topic_count ? 0 : consumer_find_events(consumer, consumer->client, timeout_ms, count, error);
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
            if (consumer_query_watermarks(consumer, consumer->options.topics->events, (int32_t)i, &low, &high, error) ||
                consumer_start_over(consumer, (int32_t)i, low, high, consumer_sweep_later(consumer), "the topic was gone",
                                    error))
                return -1;
        }
    }
    return consumer->refused ? read_refused(consumer, error) : 0;
}

int consumer_read_all_again(struct consumer *consumer, int64_t sweep_after, const char *reason, struct error *error) {
    int64_t *low = memory_new(consumer->topic_count * sizeof *low), *high = memory_new(consumer->topic_count * sizeof *high);
    int status = 0;
    /* All are asked before any is begun again: what is tried again after a failure would begin the others each time. */
    for (size_t i = 0; i < consumer->topic_count && status == 0; i++)
        if (consumer->partitions[i].begun)
            status =
                consumer_query_watermarks(consumer, consumer->options.topics->events, (int32_t)i, &low[i], &high[i], error);
    for (size_t i = 0; i < consumer->topic_count && status == 0; i++)
        if (consumer->partitions[i].begun)
            status = consumer_start_over(consumer, (int32_t)i, low[i], high[i], sweep_after, reason, error);
    free(low);
    free(high);
    return status;
}

int consumer_read_again(struct consumer *consumer, const char *reason, struct error *error) {
    return consumer_read_all_again(consumer, AT_ONCE, reason, error);
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

/* ---- sweeps ---- */

/* Whether there is something in the topic that was made again. */
static bool has_begun(const struct consumer *consumer) {
    for (size_t i = 0; i < consumer->topic_count; i++)
        if (consumer_settled_offset(consumer, i) > 0)
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
                        ? consumer->partitions[i].begun && consumer_settled_offset(consumer, i) >= position->sweep_offset
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
