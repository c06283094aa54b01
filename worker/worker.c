/* The loop: takes what is there, applies it, settles it, and looks at the clock in between. One thread, and everything it waits
 * for wakes one descriptor. */
#include "worker/worker.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/kafka_health.h"
#include "common/log.h"
#include "common/memory.h"
#include "worker/metrics.h"
#include "worker/worker_internal.h"

enum {
    TOPIC_WAIT_MS = 1000, /* between looks for topics that are missing */
    WAIT_FOR_METADATA_MS = 5000,
    REFRESH_MS = 10000, /* between looks for added partitions, and whether the topic is the same */
    REFRESH_TIMEOUT_MS = 1000,
    UNWELL_TIMEOUT_MS = 100, /* how long a look takes whether a lost broker is back */
    STALLED_MS = 5000,       /* a heartbeat that is not confirmed for so long is told to operators */
    FLUSH_TIMEOUT_MS = 5000, /* the longest that a stop waits for its last acks */
};

void worker_end_with(struct worker *worker, enum worker_end end, const struct error *failure) {
    if (worker->ended)
        return;
    worker->ended = true;
    worker->end = end;
    worker->failure = *failure;
}

void worker_note_state_failure(struct worker *worker, const struct error *problem) {
    if (problem->code == ERROR_INTERNAL) {
        worker_end_with(worker, WORKER_FAILED, problem);
        return;
    }
    log_error("the state can not be written; trying again", "reason", problem->message);
    worker->retry_at = clock_monotonic_ms() + RETRY_MS;
}

struct apply_target worker_apply_target(const struct worker *worker) {
    return (struct apply_target){.state = worker->options.state,
                                 .cache = worker->options.cache,
                                 .arena = &worker->batch->arenas[0],
                                 .progress = worker->progress,
                                 .contact_ms = consumer_last_contact(worker->consumer),
                                 .judged_by = trust_keys(worker->options.trust)};
}

/* Waits on the one descriptor that everything wakes. */
static void wait_until(const struct worker *worker, int64_t until) {
    struct pollfd polled = {.fd = worker->options.wake, .events = POLLIN};
    int64_t left = until - clock_monotonic_ms();
    uint64_t ignored;
    if (left > 0 && poll(&polled, 1, left > INT32_MAX ? INT32_MAX : (int)left) <= 0)
        return;
    ssize_t length = read(worker->options.wake, &ignored, sizeof ignored);
    (void)length;
}

/* ---- the clock ---- */

/* A replica that has read everything and believes none of it has been given the wrong keys: verifiers must not be sent to it.
 */
static bool believes_nothing(const struct worker *worker) {
    return state_keys(worker->options.state) == 0 && state_refused_by(worker->options.state)[0] != '\0';
}

static void update_readiness(struct worker *worker) {
    struct effects *effects = worker->options.effects;
    worker_note_begun(worker);
    if (!worker->caught_up && consumer_is_caught_up(worker->consumer)) {
        worker->caught_up = true;
        if (believes_nothing(worker))
            log_error("not ready: every event was refused; are these the keys of the API?", "apiKeys",
                      trust_keys(worker->options.trust));
        if (effects)
            effects_note_caught_up(effects);
    }
    bool ready = worker->caught_up && worker_files_are_complete(worker) && !believes_nothing(worker);
    worker->was_ready = worker->was_ready || ready;
    /* Before its hello is known nobody would wait for its acks: verifiers are sent to it only from then on. They stay while it
     * says another (its files were read again), however long Kafka does not take that. */
    bool was_open = atomic_load(&worker->options.status->ready);
    bool is_open = ready && (was_open || announcer_is_announced(worker->announcer));
    if (is_open == was_open)
        return;
    atomic_store(&worker->options.status->ready, is_open);
    metric_set(&metric_ready, is_open);
    log_info(is_open ? "ready" : "not ready", "keys", LOG_NUMBER(state_keys(worker->options.state)));
    if (announcer_is_announced(worker->announcer))
        worker_announce(worker, PRESENCE_HEARTBEAT);
}

static void store_positions(struct worker *worker) {
    struct apply_target target = worker_apply_target(worker);
    struct error problem;
    if (apply_positions(&target, &problem))
        worker_note_state_failure(worker, &problem);
    worker->store_at = clock_monotonic_ms() + STORE_IDLE_MS;
}

/* A heartbeat was delivered: this replica is in touch with the topic. */
static void note_contact(struct worker *worker) {
    int64_t now = clock_wall_ms(), since = now - state_last_contact(worker->options.state);
    struct error problem;
    bool again;
    worker->contact = false;
    if (consumer_check_contact(worker->consumer, now, &again, &problem)) {
        worker_note_state_failure(worker, &problem);
        return;
    }
    if (!again && (since > worker->options.tombstone_delay_ms / 100 || since < 0))
        store_positions(worker);
}

static void refresh(struct worker *worker) {
    struct error problem;
    if (consumer_refresh(worker->consumer, REFRESH_TIMEOUT_MS, &problem))
        log_debug("looking for added partitions failed", "reason", problem.message);
    if (consumer_look_back(worker->consumer, &problem)) /* behind: its fetches would hold the answer above up */
        log_debug("looking back failed", "reason", problem.message);
    worker->refresh_at = clock_monotonic_ms() + (kafka_health_is_good() ? REFRESH_MS : UNWELL_REFRESH_MS);
}

/* A producer of its own for acks and presence, whose reports wake the loop. */
static int open_producer(struct worker *worker, struct error *error) {
    static const uint64_t one = 1;
    worker->producer = kafka_producer_new(&worker->options.kafka, KAFKA_AT_LEAST_ONCE, worker, worker_on_delivered, error);
    if (!worker->producer)
        return -1;
    worker->reports = rd_kafka_queue_get_main(worker->producer);
    rd_kafka_queue_io_event_enable(worker->reports, worker->options.wake, &one, sizeof one);
    kafka_health_watch(worker->producer);
    return 0;
}

static void close_producer(struct worker *worker) {
    kafka_health_forget(worker->producer);
    rd_kafka_queue_io_event_enable(worker->reports, -1, NULL, 0);
    rd_kafka_queue_destroy(worker->reports);
    kafka_client_free(worker->producer);
}

/* What is due by time. Returns when to look again. */
static int64_t tick(struct worker *worker) {
    int64_t now = clock_monotonic_ms();
    if (now >= worker->heartbeat_at) {
        memory_give_back();
        kafka_health_check(worker->producer, UNWELL_TIMEOUT_MS);
        consumer_check_connection(worker->consumer, UNWELL_TIMEOUT_MS);
        kafka_health_stalled(announcer_is_busy(worker->announcer) && now - worker->said_at >= STALLED_MS);
        int64_t lag = consumer_lag(worker->consumer);
        metric_set(&metric_lag, lag);
        if (worker->options.trust && state_refused_by(worker->options.state)[0])
            (void)trust_look(worker->options.trust); /* keys that were handed in after the events that they would have taken */
        if (worker->hello_needed) {
            worker->hello_needed = false;
            worker_announce(worker, PRESENCE_HELLO);
        } else if (announcer_is_busy(worker->announcer)) {
            /* The broker does not take the one before: no use in queueing more. */
            worker->heartbeat_at = now + worker->options.heartbeat_interval_ms;
        } else {
            worker_announce(worker, PRESENCE_HEARTBEAT);
        }
    }
    if (now >= worker->refresh_at)
        refresh(worker);
    bool dirty = progress_is_dirty(worker->progress);
    if (dirty && now >= worker->store_at && now >= worker->retry_at)
        store_positions(worker);
    bool retrying = worker->batch->refused || ack_resend(worker->acks) > 0;
    int64_t next = worker->heartbeat_at < worker->refresh_at ? worker->heartbeat_at : worker->refresh_at;
    if (ack_is_waiting(worker->acks) && now + ACK_WAITING_MS < next)
        next = now + ACK_WAITING_MS;
    if (dirty && worker->store_at < next)
        next = worker->store_at > worker->retry_at ? worker->store_at : worker->retry_at;
    if (retrying && now + RETRY_MS < next)
        next = now + RETRY_MS;
    return next;
}

static void settle(struct worker *worker) {
    struct error problem;
    if (announcer_is_announced(worker->announcer) && clock_monotonic_ms() >= worker->retry_at &&
        settle_results(worker->settler, &problem))
        worker_note_state_failure(worker, &problem);
}

/* ---- trust ---- */

static void enrol(struct worker *worker) {
    const struct worker_options *options = &worker->options;
    if (options->trust)
        announcer_enrol_take(worker->announcer,
                             trust_enrol(options->trust, options->replica, worker->id, signer_public_key(worker->signer)));
}

/* What was refused by other keys than those that are believed now is judged anew. */
static void judge_anew(struct worker *worker) {
    struct state *state = worker->options.state;
    const char *by = state_refused_by(state);
    struct error problem;
    if (!by[0] || strcmp(by, trust_keys(worker->options.trust)) == 0) {
        worker->judging = false;
        return;
    }
    if (consumer_read_again(worker->consumer, "events were refused, and other keys are believed now", &problem) ||
        state_begin(state, &problem)) {
        worker_note_state_failure(worker, &problem);
        return;
    }
    if (state_store_refused_by(state, "", &problem) || state_commit(state, &problem)) {
        state_rollback(state);
        worker_note_state_failure(worker, &problem);
        return;
    }
    worker->judging = false;
}

static void look_at_trust(struct worker *worker) {
    struct trust *trust = worker->options.trust;
    struct error problem;
    if (trust && atomic_exchange(worker->options.reload, false) && trust_reload(trust, &problem))
        log_error("credentials can not be read; keeping those of before", "reason", problem.message);
    if (trust_generation(trust) != worker->trusted) {
        worker->trusted = trust_generation(trust);
        worker->judging = true;
        /* The API may have waited for this enrolment: from a hello on it believes what is signed. */
        enrol(worker);
        worker->hello_needed = true;
        worker->heartbeat_at = clock_monotonic_ms();
        if (worker->options.effects)
            effects_try_again(worker->options.effects);
    }
    if (worker->judging && clock_monotonic_ms() >= worker->retry_at)
        judge_anew(worker);
}

static void loop(struct worker *worker) {
    worker->judging = true;
    while (!worker->ended && !atomic_load(worker->options.stop)) {
        look_at_trust(worker);
        int64_t next = tick(worker);
        rd_kafka_poll(worker->producer, 0);
        settle(worker);
        ack_flush(worker->acks);
        size_t taken = worker_take(worker);
        worker_apply(worker);
        ack_flush(worker->acks);
        worker_sweep(worker);
        if (worker->contact)
            note_contact(worker);
        update_readiness(worker);
        if (taken == 0)
            wait_until(worker, next);
    }
}

/* ---- start and stop ---- */

/* Makes the producer know its topics: else the first message of each waits for librdkafka's next look at them, up to a second.
 */
static void learn_topics(struct worker *worker) {
    struct kafka_topic_spec specs[] = {{.name = worker->topics.workers}, {.name = worker->topics.acks}};
    struct error ignored;
    if (kafka_find_topics(worker->producer, specs, 2, WAIT_FOR_METADATA_MS, &ignored))
        log_debug("topics not learnt yet", "reason", ignored.message);
}

static int wait_for_topics(struct worker *worker, struct error *error) {
    const char *told = NULL, *missing = NULL;
    while (!atomic_load(worker->options.stop)) {
        struct error problem;
        if (consumer_find_topics(worker->consumer, WAIT_FOR_METADATA_MS, &missing, &problem)) {
            if (problem.code != ERROR_UNAVAILABLE)
                return *error = problem, -1;
            missing = "metadata";
        } else if (!missing) {
            learn_topics(worker);
            return 0;
        }
        if (!told || strcmp(told, missing) != 0)
            log_info("waiting for a topic, which jwk-api makes", "topic", missing);
        told = missing;
        wait_until(worker, clock_monotonic_ms() + TOPIC_WAIT_MS);
    }
    return 0;
}

static int start_consumer(struct worker *worker, struct error *error) {
    while (!atomic_load(worker->options.stop)) {
        struct error problem;
        if (consumer_start(worker->consumer, clock_wall_ms(), &problem) == 0)
            return 0;
        if (problem.code != ERROR_UNAVAILABLE)
            return *error = problem, -1;
        log_warning("can not begin to read; trying again", "reason", problem.message);
        wait_until(worker, clock_monotonic_ms() + RETRY_MS);
    }
    return 0;
}

/* What the last process could not finish outside of the state. */
static void resume_failing(void *context, const struct state_failing *failing) {
    struct effect_change pattern = {
        .operation = failing->operation,
        .jwk_id = failing->jwk_id,
        .deployment_id = failing->deployment_id,
        .event_id = failing->event_id,
        .event_hash = failing->event_hash,
        .traceparent = failing->traceparent,
        .epoch = failing->epoch,
        .version = failing->version,
        .sequence = failing->sequence,
    };
    effects_resume_take(context, effect_change_new(&pattern));
}

static int start(struct worker *worker, struct error *error) {
    const struct worker_options *options = &worker->options;
    kafka_topics_name(options->kafka.topic_prefix, &worker->topics);
    uuid_new(worker->id);
    worker->signer = options->trust ? signer_generate() : NULL;
    worker->progress = progress_new();
    worker->batch = memory_new(sizeof *worker->batch);
    if (kafka_connect(&worker->options.kafka, -1, options->stop, error))
        return -1;
    if (open_producer(worker, error))
        return -1;
    char *group = memory_format("jwk-worker.%s.%s", options->environment, options->replica);
    struct consumer_options consumer = {.kafka = &worker->options.kafka,
                                        .topics = &worker->topics,
                                        .group = group,
                                        .state = options->state,
                                        .progress = worker->progress,
                                        .tombstone_delay_ms = options->tombstone_delay_ms,
                                        .sweep_delay_ms = options->sweep_delay_ms,
                                        .wake = options->wake};
    worker->consumer = consumer_open(&consumer, error);
    free(group);
    struct ack_options acks = {.producer = worker->producer,
                               .topic = worker->topics.acks,
                               .environment = options->environment,
                               .replica = options->replica,
                               .worker = worker->id,
                               .signer = worker->signer};
    struct announcer_options announcer = {.producer = worker->producer,
                                          .topic = worker->topics.workers,
                                          .environment = options->environment,
                                          .replica = options->replica,
                                          .worker = worker->id,
                                          .url = options->url,
                                          .version = options->version,
                                          .interval_ms = options->heartbeat_interval_ms,
                                          .signer = worker->signer,
                                          .trust = options->trust};
    if (!worker->consumer || wait_for_topics(worker, error) || !(worker->acks = ack_sender_new(&acks, error)) ||
        !(worker->announcer = announcer_new(&announcer, error)))
        return -1;
    enrol(worker);
    struct settler_options settler = {.state = options->state,
                                      .progress = worker->progress,
                                      .acks = worker->acks,
                                      .effects = options->effects,
                                      .has_hook = options->has_hook,
                                      .has_files = options->has_files};
    worker->settler = settler_new(&settler);
    if (options->effects) {
        if (state_each_failing(options->state, SIZE_MAX, resume_failing, options->effects, error) ||
            effects_start(options->effects, error))
            return -1;
        worker->effects_started = true;
    }
    metric_set(&metric_keys, state_keys(options->state));
    metric_set(&metric_failing, state_failing_count(options->state));
    return start_consumer(worker, error);
}

/* Finishes what was begun: the running hook, the acks, the positions; then says goodbye. */
static void finish(struct worker *worker) {
    if (worker->effects_started)
        effects_stop(worker->options.effects);
    if (worker->batch)
        batch_clear(worker->batch);
    if (!worker->announcer || !announcer_is_announced(worker->announcer) || worker->end == WORKER_FENCED)
        return;
    settle(worker);
    ack_flush(worker->acks);
    if (rd_kafka_flush(worker->producer, FLUSH_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ack_flush(worker->acks); /* what waited for those on their way */
        rd_kafka_flush(worker->producer, FLUSH_TIMEOUT_MS);
    }
    store_positions(worker);
    worker->was_ready = false;
    worker_announce(worker, PRESENCE_GOODBYE);
    if (rd_kafka_flush(worker->producer, FLUSH_TIMEOUT_MS))
        log_warning("stopping without a word: the broker does not answer", "pending",
                    LOG_NUMBER(progress_pending(worker->progress)));
}

static void clean_up(struct worker *worker) {
    consumer_close(worker->consumer);
    ack_sender_free(worker->acks);
    announcer_free(worker->announcer);
    settler_free(worker->settler);
    if (worker->producer)
        close_producer(worker);
    signer_free(worker->signer);
    progress_free(worker->progress);
    batch_free(worker->batch);
}

enum worker_end worker_run(const struct worker_options *options, struct error *error) {
    struct worker worker = {.options = *options, .end = WORKER_STOPPED, .hello_needed = true};
    if (start(&worker, error)) {
        if (!atomic_load(options->stop))
            worker_end_with(&worker, WORKER_FAILED, error);
    } else {
        int64_t now = clock_monotonic_ms();
        worker.refresh_at = now + REFRESH_MS;
        worker.store_at = now + STORE_IDLE_MS;
        loop(&worker);
    }
    atomic_store(&options->status->ready, false);
    finish(&worker);
    clean_up(&worker);
    *error = worker.failure;
    return worker.end;
}
