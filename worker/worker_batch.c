/* From the records that are there to a batch that is applied and settled, and the sweep behind what was read again. */
#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "worker/look_back.h"
#include "worker/worker_internal.h"

enum {
    BATCH_LIVE = 1000, /* events of one transaction once caught up: bounds how long the first waits for its ack */
    /* Pages of 4 KB. Pages that change often are written once; once caught up, the next event waits for it, so less at a time.
     */
    CHECKPOINT_LIVE = 2000,
    CHECKPOINT_CATCHING_UP = 10000,
    PENDING_MAX = 20000, /* acks on the way before consuming pauses: bounds memory while the broker is slow */
};

/* Looks at one record of jwk.workers. */
static void watch(struct worker *worker, const rd_kafka_message_t *message) {
    char other[UUID_SIZE];
    struct error problem;
    switch (announcer_examine(worker->announcer, message, other)) {
    case ANNOUNCER_FOUND_NOTHING: return;
    case ANNOUNCER_OVERLOOKED:
        log_warning("own hello repeated or overtaken: announcing anew", "topic", worker->topics.workers, "offset",
                    LOG_NUMBER(message->offset));
        worker->hello_needed = true;
        worker->heartbeat_at = clock_monotonic_ms();
        return;
    case ANNOUNCER_FENCED: break;
    }
    atomic_store(&worker->options.status->fenced, true);
    error_set(&problem, ERROR_CONFLICT,
              "another worker (%s) has started as replica %s of environment %s; this one stops: two must not run with one "
              "identity (a copied "
              "state directory or a cloned machine?)",
              other, worker->options.replica, worker->options.environment);
    worker_end_with(worker, WORKER_FENCED, &problem);
}

static void handle_error(struct worker *worker, const rd_kafka_message_t *message) {
    struct error problem;
    enum consumer_error what;
    if (consumer_handle_error(worker->consumer, message, &what, &problem)) {
        log_warning("can not begin a partition again; trying later", "reason", problem.message);
        worker->refresh_at = clock_monotonic_ms() + RETRY_MS;
    }
    if (what == CONSUMER_WORKERS_LOST) {
        announcer_forget(worker->announcer);
        worker->hello_needed = true;
    }
    if (!kafka_health_is_good() && worker->refresh_at > clock_monotonic_ms() + UNWELL_REFRESH_MS)
        worker->refresh_at = clock_monotonic_ms() + UNWELL_REFRESH_MS;
}

/* A record that was read before: it only tells whether the topic is still the same. Returns true when it is not, and everything
 * begins again. */
static bool look_back_at(struct worker *worker, const rd_kafka_message_t *message) {
    struct error problem;
    bool again = false;
    int64_t sequence = look_back_sequence(worker->options.trust, message, state_epoch(worker->options.state));
    if (consumer_hold_against(worker->consumer, message, sequence, &again, &problem)) {
        log_warning("can not begin again; trying later", "reason", problem.message);
        worker->refresh_at = clock_monotonic_ms() + RETRY_MS;
    }
    return again;
}

/* How many records may be taken now. */
static size_t capacity(const struct worker *worker) {
    if (!announcer_is_announced(worker->announcer) || worker->hello_needed || worker->batch->count > 0)
        return 0;
    size_t pending = progress_pending(worker->progress), most = worker->caught_up ? BATCH_LIVE : BATCH_MAX;
    if (pending >= PENDING_MAX)
        return 0;
    if (most > PENDING_MAX - pending)
        most = PENDING_MAX - pending;
    if (worker->options.effects) {
        size_t room = effects_room(worker->options.effects);
        if (most > room)
            most = room;
    }
    return most;
}

void worker_note_begun(struct worker *worker) {
    worker->caught_up = worker->caught_up && consumer_is_caught_up(worker->consumer);
}

size_t worker_take(struct worker *worker) {
    static rd_kafka_message_t *taken[BATCH_MAX]; /* of the loop's one thread */
    worker_note_begun(worker);
    size_t most = capacity(worker), count = most > 0 ? consumer_take(worker->consumer, taken, most) : 0;
    bool begun_again = false;
    for (size_t i = 0; i < count; i++) {
        if (begun_again && !consumer_is_of_workers(worker->consumer, taken[i])) {
            rd_kafka_message_destroy(taken[i]); /* of before: it is read again */
            continue;
        }
        if (!taken[i]->err && !consumer_is_of_workers(worker->consumer, taken[i])) {
            if (consumer_was_read(worker->consumer, taken[i])) {
                begun_again = consumer_is_looking(worker->consumer, taken[i]) && look_back_at(worker, taken[i]);
                rd_kafka_message_destroy(taken[i]);
                continue;
            }
            batch_add_take(worker->batch, worker->consumer, taken[i]);
            continue;
        }
        if (taken[i]->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && !consumer_is_of_workers(worker->consumer, taken[i])) {
            batch_add_end_take(worker->batch, worker->consumer, taken[i]);
            continue;
        }
        if (taken[i]->err)
            handle_error(worker, taken[i]);
        else
            watch(worker, taken[i]);
        rd_kafka_message_destroy(taken[i]);
        taken[i] = NULL;
    }
    if (count > 0) /* else the batch is empty, or waits for the state and has been read */
        batch_read(worker->batch, worker->options.trust);
    return count;
}

void worker_apply(struct worker *worker) {
    struct batch *batch = worker->batch;
    struct error problem;
    bool again;
    if (batch->count == 0 || (batch->refused && clock_monotonic_ms() < worker->retry_at))
        return;
    if (consumer_check_contact(worker->consumer, clock_wall_ms(), &again, &problem)) {
        worker_note_state_failure(worker, &problem);
        batch->refused = true;
        return;
    }
    batch_drop_outdated(batch, worker->consumer);
    struct apply_target target = worker_apply_target(worker);
    if (batch_has_work(batch) && apply_batch(&target, batch->records, batch->count, &problem)) {
        if (!batch->refused)
            settle_failed_batch(worker->settler, batch->records, batch->places, batch->count,
                                "the replica can not store the change; it is tried again");
        batch->refused = true;
        worker_note_state_failure(worker, &problem);
        return;
    }
    settle_batch(worker->settler, batch->records, batch->places, batch->count);
    worker->store_at = clock_monotonic_ms() + STORE_IDLE_MS;
    batch_clear(batch);
    state_checkpoint(worker->options.state, worker->caught_up ? CHECKPOINT_LIVE : CHECKPOINT_CATCHING_UP);
}

static void note_swept(void *context, const struct state_jwk *jwk) {
    settle_swept(context, jwk);
}

/* Sweeps a partition where that is due. False when there is none, or the state does not take it. */
static bool sweep_next(struct worker *worker) {
    const struct state_position *position;
    struct error problem;
    if (consumer_due_sweep(worker->consumer, clock_wall_ms(), &position, &problem)) {
        worker_note_state_failure(worker, &problem);
        return false;
    }
    if (!position)
        return false;
    struct apply_target target = worker_apply_target(worker);
    int64_t before = state_keys(worker->options.state);
    int status = apply_sweep(&target, position, note_swept, worker->settler, &problem);
    settle_sweep_end(worker->settler, status == 0);
    if (status) {
        worker_note_state_failure(worker, &problem);
        return false;
    }
    log_info("partition swept", "partition", LOG_NUMBER(position->position.partition), "removed",
             LOG_NUMBER(before - state_keys(worker->options.state)));
    consumer_swept(worker->consumer, position->position.partition);
    return true;
}

void worker_sweep(struct worker *worker) {
    if (worker->batch->count > 0 || clock_monotonic_ms() < worker->retry_at)
        return;
    while (sweep_next(worker)) {
    }
}
