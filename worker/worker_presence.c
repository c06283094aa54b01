/* What the worker says of itself, and what is known once that was delivered. */
#include <string.h>

#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "worker/worker_internal.h"

struct failing_list {
    char ids[FAILING_COUNT_MAX][UUID_SIZE];
    const char *pointers[FAILING_COUNT_MAX];
    size_t count;
};

/* Each once. */
static void collect_id(void *context, const char *jwk_id) {
    struct failing_list *list = context;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->ids[i], jwk_id) == 0)
            return;
    if (list->count == FAILING_COUNT_MAX)
        return;
    snprintf(list->ids[list->count], UUID_SIZE, "%s", jwk_id);
    list->pointers[list->count] = list->ids[list->count];
    list->count++;
}

static void collect_failing(void *context, const struct state_failing *failing) {
    collect_id(context, failing->jwk_id);
}

bool worker_files_are_complete(const struct worker *worker) {
    return !worker->options.has_files || (worker->caught_up && effects_is_exported(worker->options.effects));
}

void worker_announce(struct worker *worker, enum presence_kind kind) {
    struct state *state = worker->options.state;
    struct error problem;
    struct failing_list failing = {.count = 0};
    struct position positions[POSITION_COUNT_MAX];
    size_t count = progress_settled(worker->progress, positions, POSITION_COUNT_MAX);
    if (state_failing_count(state) > 0 && state_each_failing(state, FAILING_COUNT_MAX, collect_failing, &failing, &problem))
        worker_note_state_failure(worker, &problem);
    /* Until the files are complete it is not known which of what the positions tell is not in them. */
    bool truncated =
        state_failing_count(state) > (int64_t)failing.count || (worker->was_ready && !worker_files_are_complete(worker));
    /* Those whose last event was refused are told too, as far as there is room: anybody can forge many. */
    if (state_refused_count(state) > 0 && state_each_refused(state, FAILING_COUNT_MAX, collect_id, &failing, &problem))
        worker_note_state_failure(worker, &problem);
    int64_t after = announcer_seen(worker->announcer);
    if (kind == PRESENCE_HELLO && after == 0 && consumer_workers_end(worker->consumer, &after, &problem)) {
        log_warning("presence not sent", "reason", problem.message);
        worker->hello_needed = true;
        worker->heartbeat_at = clock_monotonic_ms() + RETRY_MS;
        return;
    }
    struct announcement announcement = {
        .epoch = state_epoch(state),
        .keys = state_keys(state),
        .ready = worker->was_ready,
        .positions = positions,
        .position_count = count,
        .failing = failing.pointers,
        .failing_count = failing.count,
        .failing_truncated = truncated,
        .after = after,
    };
    if (announcer_say(worker->announcer, kind, &announcement, &problem)) {
        log_write(kafka_health_is_good() ? LOG_LEVEL_WARNING : LOG_LEVEL_DEBUG, "presence not sent", "reason", problem.message,
                  NULL);
        worker->hello_needed = worker->hello_needed || kind == PRESENCE_HELLO;
    }
    consumer_show_positions(worker->consumer, positions, count);
    worker->said_at = clock_monotonic_ms();
    worker->heartbeat_at = worker->said_at + worker->options.heartbeat_interval_ms;
}

static void on_hello_delivered(struct worker *worker) {
    struct error problem;
    int64_t incarnation = announcer_incarnation(worker->announcer);
    ack_sender_set_incarnation(worker->acks, incarnation);
    log_info("announced", "environment", worker->options.environment, "replica", worker->options.replica, "worker", worker->id,
             "incarnation", LOG_NUMBER(incarnation));
    if (settle_recover_all(worker->settler, &problem))
        worker_note_state_failure(worker, &problem);
    if (consumer_watch_workers(worker->consumer, announcer_unknown_from(worker->announcer), &problem)) {
        log_warning("can not watch for other workers", "reason", problem.message);
        worker->hello_needed = true;
    }
}

void worker_on_delivered(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    struct worker *worker = opaque;
    struct error problem;
    (void)client;
    if (ack_owns(record)) {
        uint64_t number;
        enum ack_kind kind = ack_delivered(worker->acks, record, &number);
        if (settle_delivered(worker->settler, kind, number, &problem))
            worker_note_state_failure(worker, &problem);
        return;
    }
    switch (announcer_delivered(worker->announcer, record)) {
    case ANNOUNCER_HELLO_DELIVERED: on_hello_delivered(worker); break;
    case ANNOUNCER_HELLO_NEEDED:
        worker->hello_needed = true;
        worker->heartbeat_at = clock_monotonic_ms() + RETRY_MS;
        break;
    case ANNOUNCER_HEARTBEAT_DELIVERED: worker->contact = true; break;
    case ANNOUNCER_NOTHING: break;
    }
}
