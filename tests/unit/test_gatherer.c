/* The gatherer against a Kafka of its own: which acks count, when a wait ends, what is stored, and what positions settle. */
#include "kafka_fixture.h"
#include "store_fixture.h"

#include <semaphore.h>

#include "api/gatherer.h"
#include "common/message.h"

#define WORKER_1 "01890000-0000-7000-8000-000000000001"
#define WORKER_2 "01890000-0000-7000-8000-000000000002"
#define OTHER_ID "01890000-0000-7000-8000-0000000000ee"
#define LIVED "2026-01-01T00:00:00.000Z"

static const char *const environments[] = {"production", "staging"};

enum { LONG_MS = 120000, /* a deadline that no test reaches */ GRACE_MS = 30000 };

struct world {
    struct kafka_fixture kafka;
    struct store_fixture fixture;
    struct writer *writer;
    struct gatherer *gatherer;
    int64_t epoch; /* that replicas tell */
    void (*restore)(void *context); /* makes missing topics; NULL: nobody does */
    void *restore_context;
};

static void start(struct world *world) {
    struct error error = {0};
    const struct gatherer_options options = {.kafka = &world->kafka.settings, .topics = &world->kafka.topics, .grace_ms = GRACE_MS,
                                             .restore = world->restore, .context = world->restore_context};
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    world->gatherer = gatherer_new(&options, world->fixture.store, world->writer, &error);
    if (!world->gatherer)
        fail_msg("%s", error.message);
    gatherer_start(world->gatherer);
    gatherer_await_replicas(world->gatherer, KAFKA_WAIT_MS);
}

static void stop(struct world *world) {
    gatherer_stop(world->gatherer);
    writer_free(world->writer);
    gatherer_free(world->gatherer);
}

static void open_world(struct world *world, size_t environment_count) {
    kafka_open(&world->kafka);
    fixture_open(&world->fixture, environment_count, environments);
    world->epoch = 1;
    world->restore = NULL;
}

static void close_world(struct world *world) {
    fixture_close(&world->fixture);
    kafka_close(&world->kafka);
}

/* ---- replicas ---- */

struct worker {
    const char *environment, *name, *id;
    int64_t incarnation; /* once its hello is delivered */
};

/* One record of the workers topic; sequence of partition 0 to 3, 0: nothing applied yet. */
static int64_t tell(struct world *world, const struct worker *worker, enum presence_kind kind, bool ready, int64_t sequence) {
    struct position positions[KAFKA_EVENT_PARTITIONS];
    for (int i = 0; i < KAFKA_EVENT_PARTITIONS; i++)
        positions[i] = (struct position){.partition = i, .offset = sequence, .sequence = sequence};
    const struct presence presence = {.kind = kind, .environment = worker->environment, .replica = worker->name, .worker = worker->id,
                                      .incarnation = kind == PRESENCE_HELLO ? -1 : worker->incarnation,
                                      .epoch = world->epoch, .ready = ready,
                                      .interval_ms = 60000, .version = "1", .positions = positions,
                                      .position_count = KAFKA_EVENT_PARTITIONS, .time = LIVED};
    struct text value = TEXT_EMPTY;
    presence_encode(&presence, &value);
    int64_t offset = kafka_write(&world->kafka, world->kafka.topics.workers, worker->name, presence_kind_type(kind), value.bytes);
    text_free(&value);
    return offset;
}

static void hello(struct world *world, struct worker *worker) {
    worker->incarnation = tell(world, worker, PRESENCE_HELLO, true, 0);
}

/* ---- deployments ---- */

struct waiting {
    char deployment_id[UUID_SIZE], jwk_id[UUID_SIZE], event_hash[SHA256_TEXT_SIZE];
    int64_t sequence, epoch, version;
    struct deployment *deployment;
    sem_t settled;
    int calls;
    size_t count;
    enum result_state states[2];
    char messages[2][256];
};

static void on_settled(struct deployment *deployment) {
    struct waiting *waiting = deployment->context;
    waiting->calls++;
    waiting->count = deployment->change.environments->count;
    for (size_t i = 0; i < waiting->count && i < 2; i++) {
        waiting->states[i] = deployment->outcomes[i].state;
        snprintf(waiting->messages[i], sizeof waiting->messages[i], "%s", deployment->outcomes[i].message ? deployment->outcomes[i].message : "");
    }
    sem_post(&waiting->settled);
}

/* Records a JWK; nobody waits for its deployment. */
static void record(struct world *world, const char *name, struct waiting *waiting, struct store_change *change) {
    *waiting = (struct waiting){0};
    fixture_create(&world->fixture, name, change);
    memcpy(waiting->deployment_id, change->deployment_id, UUID_SIZE);
    memcpy(waiting->jwk_id, change->jwk_id, UUID_SIZE);
    memcpy(waiting->event_hash, change->event_hash, SHA256_TEXT_SIZE);
    waiting->sequence = change->sequence;
    waiting->epoch = change->epoch;
    waiting->version = change->version;
    sem_init(&waiting->settled, 0, 0);
}

static void record_only(struct world *world, const char *name, struct waiting *waiting) {
    struct store_change change;
    record(world, name, waiting, &change);
    store_change_clear(&change);
}

static void expect_for(struct world *world, const char *name, int64_t wait_ms, struct waiting *waiting) {
    struct store_change change;
    record(world, name, waiting, &change);
    store_outgoing_free(change.outgoing);
    change.outgoing = NULL;
    gatherer_expect(world->gatherer, deployment_new(&change, EVENT_CREATE, wait_ms, on_settled, waiting));
    gatherer_take_expected(world->gatherer);
}

static void await_settled(struct waiting *waiting) {
    while (sem_wait(&waiting->settled) != 0) {
    }
    assert_int_equal(waiting->calls, 1);
}

static struct ack ack_of(const struct waiting *waiting, const struct worker *worker) {
    return (struct ack){.deployment_id = waiting->deployment_id, .event_id = OTHER_ID, .event_hash = waiting->event_hash,
                        .environment = worker->environment, .replica = worker->name, .worker = worker->id,
                        .incarnation = worker->incarnation, .jwk_id = waiting->jwk_id, .epoch = waiting->epoch,
                        .version = waiting->version, .sequence = waiting->sequence, .status = ACK_APPLIED, .time = LIVED};
}

static int64_t send_ack(struct world *world, const struct ack *ack) {
    struct text value = TEXT_EMPTY;
    ack_encode(ack, &value);
    int64_t offset = kafka_write(&world->kafka, world->kafka.topics.acks, ack->deployment_id, ACK_TYPE, value.bytes);
    text_free(&value);
    return offset;
}

static int64_t acknowledge(struct world *world, const struct waiting *waiting, const struct worker *worker) {
    const struct ack ack = ack_of(waiting, worker);
    return send_ack(world, &ack);
}

/* A look at what is stored: a deferred job behind those that are on their way. */
struct look {
    struct job job;
    const struct waiting *waiting;
    const char *environment;
    enum result_state state;
    sem_t finished;
};

static void take_state(void *context, const struct store_deployment *deployment) {
    struct look *look = context;
    for (size_t i = 0; i < deployment->result_count; i++)
        if (strcmp(deployment->results[i].environment_name, look->environment) == 0)
            look->state = deployment->results[i].state;
}

static int run_look(struct job *job, struct store *store, struct error *error) {
    struct look *look = (struct look *)job;
    return store_find_deployment(store, look->waiting->deployment_id, take_state, look, error);
}

static void done_look(struct job *job, int status, const struct error *error) {
    (void)status, (void)error;
    sem_post(&((struct look *)job)->finished);
}

static bool is_stored(struct world *world, const struct waiting *waiting, const char *environment, enum result_state wanted) {
    struct look look = {.job = {.run = run_look, .done = done_look}, .waiting = waiting, .environment = environment};
    sem_init(&look.finished, 0, 0);
    assert_int_equal(writer_defer(world->writer, &look.job), 0);
    sem_wait(&look.finished);
    sem_destroy(&look.finished);
    return look.state == wanted;
}

static void await_stored(struct world *world, const struct waiting *waiting, const char *environment, enum result_state wanted) {
    for (int i = 0; i < KAFKA_WAIT_MS / WRITER_DEFER_MS; i++)
        if (is_stored(world, waiting, environment, wanted))
            return;
    fail_msg("the result does not become %d", wanted);
}

/* The same while both replicas go on with their heartbeats, as they do. */
static void beat_until_stored(struct world *world, const struct worker *one, int64_t one_sequence, const struct worker *two,
                              int64_t two_sequence, const struct waiting *waiting) {
    for (int i = 0; i < KAFKA_WAIT_MS / WRITER_DEFER_MS; i++) {
        tell(world, one, PRESENCE_HEARTBEAT, true, one_sequence);
        tell(world, two, PRESENCE_HEARTBEAT, true, two_sequence);
        if (is_stored(world, waiting, "production", RESULT_SUCCEEDED))
            return;
    }
    fail_msg("the result is not settled");
}

/* ---- tests ---- */

static void a_deployment_is_settled_by_the_last_ack_and_stored(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0}, two = {"production", "edge-2", WORKER_2, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    hello(&world, &two);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    acknowledge(&world, &waiting, &one);
    acknowledge(&world, &waiting, &one);
    int64_t offset = acknowledge(&world, &waiting, &two), next;
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_SUCCEEDED);
    assert_string_equal(waiting.messages[0], "");
    stop(&world);
    expect_result(world.fixture.store, waiting.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    SUCCEEDS(store_get_offset(world.fixture.store, world.kafka.topics.acks, 0, &next, &error));
    assert_int_equal(next, offset + 1);
    close_world(&world);
}

static void a_failure_is_answered_and_stored_with_its_message(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    struct ack ack = ack_of(&waiting, &one);
    ack.status = ACK_FAILED;
    ack.message = "no room";
    send_ack(&world, &ack);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_FAILED);
    stop(&world);
    expect_result(world.fixture.store, waiting.deployment_id, "production", RESULT_FAILED, "Deployment failed on replica edge-1: no room");
    close_world(&world);
}

/* Each of these differs in one thing from the ack that counts. */
static void acks_that_are_not_for_this_are_ignored(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting waiting;
    open_world(&world, 1);
    struct worker earlier = one;
    hello(&world, &earlier);
    hello(&world, &one);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    enum { KINDS = 10 };
    for (int kind = 0; kind < KINDS; kind++) {
        struct ack ack = ack_of(&waiting, &one);
        ack.status = ACK_FAILED; /* so that one that counts would be seen */
        ack.message = "this must not count";
        switch (kind) {
        case 0: ack.incarnation = earlier.incarnation; break;
        case 1: ack.incarnation++; break;
        case 2: ack.worker = WORKER_2; break;
        case 3: ack.event_hash = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"; break;
        case 4: ack.version++; break;
        case 5: ack.epoch++; break;
        case 6: ack.jwk_id = OTHER_ID; break;
        case 7: ack.deployment_id = OTHER_ID; break;
        case 8: ack.replica = "edge-9"; break;
        case 9: ack.environment = "elsewhere"; break;
        }
        send_ack(&world, &ack);
    }
    kafka_write(&world.kafka, world.kafka.topics.acks, "key", ACK_TYPE, "{\"deploymentId\":");
    kafka_write(&world.kafka, world.kafka.topics.acks, "key", ACK_TYPE, "[]");
    kafka_write(&world.kafka, world.kafka.topics.acks, "key", ACK_TYPE, NULL);
    kafka_write(&world.kafka, world.kafka.topics.workers, "key", "jwk.worker.unknown.v1", "{}");
    kafka_write(&world.kafka, world.kafka.topics.workers, "key", PRESENCE_TYPE_HEARTBEAT, "{}");
    acknowledge(&world, &waiting, &one);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_SUCCEEDED);
    stop(&world);
    expect_result(world.fixture.store, waiting.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    close_world(&world);
}

static void the_deadline_ends_the_wait_and_a_late_ack_corrects_the_store(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0}, two = {"production", "edge-2", WORKER_2, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    hello(&world, &two);
    start(&world);
    expect_for(&world, "my-jwk", 1, &waiting);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_PENDING);
    assert_non_null(strstr(waiting.messages[0], "Timed out after 0.001 s waiting for replicas edge-"));
    acknowledge(&world, &waiting, &one);
    acknowledge(&world, &waiting, &two);
    await_stored(&world, &waiting, "production", RESULT_SUCCEEDED);
    stop(&world);
    expect_result(world.fixture.store, waiting.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    close_world(&world);
}

static void a_failure_that_passes_later_corrects_the_store(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    struct ack ack = ack_of(&waiting, &one);
    ack.status = ACK_FAILED;
    send_ack(&world, &ack);
    await_settled(&waiting);
    await_stored(&world, &waiting, "production", RESULT_FAILED);
    acknowledge(&world, &waiting, &one);
    await_stored(&world, &waiting, "production", RESULT_SUCCEEDED);
    stop(&world);
    close_world(&world);
}

/* Both have applied it, then one fails again (its gateway was restarted) and recovers. What the other did is not remembered by then. */
static void a_failure_after_the_success_that_passes_is_settled_by_the_positions(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0}, two = {"production", "edge-2", WORKER_2, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    hello(&world, &two);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    acknowledge(&world, &waiting, &one);
    acknowledge(&world, &waiting, &two);
    await_settled(&waiting);
    for (int i = 0; i < 5; i++) /* after these there is nothing left that a position could settle */
        beat_until_stored(&world, &one, waiting.sequence, &two, waiting.sequence, &waiting);
    struct ack ack = ack_of(&waiting, &one);
    ack.status = ACK_FAILED;
    ack.message = "gone for a moment";
    send_ack(&world, &ack);
    await_stored(&world, &waiting, "production", RESULT_FAILED);
    acknowledge(&world, &waiting, &one);
    await_stored(&world, &waiting, "production", RESULT_PENDING);
    expect_result(world.fixture.store, waiting.deployment_id, "production", RESULT_PENDING, NULL);
    beat_until_stored(&world, &one, waiting.sequence, &two, waiting.sequence, &waiting);
    stop(&world);
    close_world(&world);
}

static void positions_settle_what_no_ack_settled(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0}, two = {"production", "edge-2", WORKER_2, 0};
    struct waiting before, waiting;
    open_world(&world, 1);
    record_only(&world, "of-an-earlier-process", &before);
    hello(&world, &one);
    hello(&world, &two);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    beat_until_stored(&world, &one, waiting.sequence, &two, before.sequence, &before);
    await_stored(&world, &waiting, "production", RESULT_PENDING);
    assert_int_equal(waiting.calls, 0);
    tell(&world, &two, PRESENCE_HEARTBEAT, true, waiting.sequence);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_SUCCEEDED);
    await_stored(&world, &waiting, "production", RESULT_SUCCEEDED);
    stop(&world);
    close_world(&world);
}

static void one_that_follows_a_store_adopted_later_is_told_of_and_its_positions_settle_nothing(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0}, old = {"production", "edge-9", WORKER_2, 0};
    struct waiting waiting;
    open_world(&world, 1);
    world.epoch = 7; /* of before the start: an installation that is no more */
    tell(&world, &old, PRESENCE_HELLO, false, 0);
    world.epoch = 1;
    hello(&world, &one);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    assert_false(gatherer_is_overtaken(world.gatherer));
    world.epoch = 2;
    tell(&world, &one, PRESENCE_HEARTBEAT, true, waiting.sequence + 100);
    struct ack ack = ack_of(&waiting, &one);
    ack.status = ACK_FAILED;
    ack.message = "another jwk-api has taken over";
    send_ack(&world, &ack);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_FAILED);
    assert_string_equal(waiting.messages[0], "Deployment failed on replica edge-1: another jwk-api has taken over");
    for (int i = 0; i < KAFKA_WAIT_MS / WRITER_DEFER_MS && !gatherer_is_overtaken(world.gatherer); i++)
        (void)is_stored(&world, &waiting, "production", RESULT_FAILED); /* the two topics have no order */
    assert_true(gatherer_is_overtaken(world.gatherer));
    stop(&world);
    close_world(&world);
}

static void an_environment_with_nobody_is_settled_once_somebody_comes(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting waiting;
    open_world(&world, 2);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    await_settled(&waiting);
    assert_int_equal(waiting.count, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(waiting.states[i], RESULT_PENDING);
        assert_string_equal(waiting.messages[i], "No replica of this environment is connected; the change is deployed when one connects");
    }
    await_stored(&world, &waiting, "staging", RESULT_PENDING);
    one.incarnation = tell(&world, &one, PRESENCE_HELLO, true, waiting.sequence);
    await_stored(&world, &waiting, "production", RESULT_SUCCEEDED);
    await_stored(&world, &waiting, "staging", RESULT_PENDING);
    stop(&world);
    close_world(&world);
}

static void a_replica_that_leaves_is_not_waited_for(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0}, two = {"production", "edge-2", WORKER_2, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    hello(&world, &two);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    acknowledge(&world, &waiting, &one);
    tell(&world, &two, PRESENCE_GOODBYE, false, 0);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_SUCCEEDED);
    stop(&world);
    close_world(&world);
}

static void without_environments_it_is_settled_at_once(void **state) {
    (void)state;
    struct world world;
    struct waiting waiting;
    open_world(&world, 0);
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    await_settled(&waiting);
    assert_int_equal(waiting.count, 0);
    stop(&world);
    close_world(&world);
}

static void giving_up_answers_those_that_wait_and_those_that_come(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting before, after;
    open_world(&world, 1);
    hello(&world, &one);
    start(&world);
    expect_for(&world, "before", LONG_MS, &before);
    gatherer_give_up(world.gatherer, "The API is stopping");
    await_settled(&before);
    expect_for(&world, "after", LONG_MS, &after);
    await_settled(&after);
    assert_string_equal(before.messages[0], "The API is stopping; the deployment goes on");
    assert_string_equal(after.messages[0], "The API is stopping; the deployment goes on");
    stop(&world);
    expect_result(world.fixture.store, after.deployment_id, "production", RESULT_PENDING, "The API is stopping; the deployment goes on");
    close_world(&world);
}

/* No ack is lost over a restart: those that came in between are read from the stored offset on, and those before are not read again. */
static void acks_that_came_while_the_process_was_down_are_gathered(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting first, second;
    open_world(&world, 1);
    hello(&world, &one);
    start(&world);
    expect_for(&world, "first", LONG_MS, &first);
    acknowledge(&world, &first, &one);
    await_settled(&first);
    stop(&world);
    record_only(&world, "second", &second);
    acknowledge(&world, &second, &one);
    start(&world);
    await_stored(&world, &second, "production", RESULT_SUCCEEDED);
    stop(&world);
    close_world(&world);
}

static void a_truncated_topic_is_read_from_its_beginning(void **state) {
    (void)state;
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    struct waiting waiting;
    open_world(&world, 1);
    hello(&world, &one);
    SUCCEEDS(store_set_offset(world.fixture.store, world.kafka.topics.acks, 0, 1000, &error));
    start(&world);
    expect_for(&world, "my-jwk", LONG_MS, &waiting);
    acknowledge(&world, &waiting, &one);
    await_settled(&waiting);
    assert_int_equal(waiting.states[0], RESULT_SUCCEEDED);
    stop(&world);
    close_world(&world);
}

/* ---- the look at the topics ---- */

struct restoring {
    sem_t begun, goes_on;
};

static void restore_slowly(void *context) {
    struct restoring *restoring = context;
    sem_post(&restoring->begun);
    sem_wait(&restoring->goes_on);
}

static void await(sem_t *semaphore, const char *what) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += KAFKA_WAIT_MS / 1000;
    if (sem_timedwait(semaphore, &until))
        fail_msg("%s", what);
}

static void acks_are_gathered_while_the_look_at_the_topics_takes_its_time(void **state) {
    (void)state;
    struct world world;
    struct waiting waiting;
    struct restoring restoring;
    struct worker worker = {.environment = "production", .name = "one", .id = WORKER_1};
    sem_init(&restoring.begun, 0, 0);
    sem_init(&restoring.goes_on, 0, 0);
    open_world(&world, 1);
    world.restore = restore_slowly;
    world.restore_context = &restoring;
    hello(&world, &worker);
    start(&world);
    rd_kafka_mock_topic_set_error(world.kafka.cluster, world.kafka.topics.audit, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    await(&restoring.begun, "nobody looks at the topics");
    expect_for(&world, "key-1", LONG_MS, &waiting);
    acknowledge(&world, &waiting, &worker);
    await(&waiting.settled, "the ack is not gathered");
    assert_int_equal(waiting.states[0], RESULT_SUCCEEDED);
    rd_kafka_mock_topic_set_error(world.kafka.cluster, world.kafka.topics.audit, RD_KAFKA_RESP_ERR_NO_ERROR);
    sem_post(&restoring.goes_on);
    stop(&world);
    close_world(&world);
    sem_destroy(&waiting.settled);
    sem_destroy(&restoring.begun);
    sem_destroy(&restoring.goes_on);
}

static void many_deployments_wait_at_once(void **state) {
    (void)state;
    enum { MANY = 500 };
    static struct waiting waiting[MANY];
    struct world world;
    struct worker one = {"production", "edge-1", WORKER_1, 0};
    char name[32];
    open_world(&world, 1);
    hello(&world, &one);
    start(&world);
    struct store_change *changes = memory_new(MANY * sizeof *changes);
    SUCCEEDS(store_begin(world.fixture.store, &error));
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "jwk-%d", i);
        const struct store_new_jwk jwk = fixture_new_jwk(name);
        SUCCEEDS(store_create_jwk(world.fixture.store, &world.fixture.author, &jwk, &changes[i], &error));
    }
    SUCCEEDS(store_commit(world.fixture.store, &error));
    for (int i = 0; i < MANY; i++) {
        struct waiting *wait = &waiting[i];
        memcpy(wait->deployment_id, changes[i].deployment_id, UUID_SIZE);
        memcpy(wait->jwk_id, changes[i].jwk_id, UUID_SIZE);
        memcpy(wait->event_hash, changes[i].event_hash, SHA256_TEXT_SIZE);
        wait->sequence = changes[i].sequence;
        wait->epoch = changes[i].epoch;
        wait->version = changes[i].version;
        sem_init(&wait->settled, 0, 0);
        store_outgoing_free(changes[i].outgoing);
        changes[i].outgoing = NULL;
        gatherer_expect(world.gatherer, deployment_new(&changes[i], EVENT_CREATE, i % 2 ? LONG_MS : 1, on_settled, wait));
        gatherer_take_expected(world.gatherer);
    }
    free(changes);
    for (int i = 1; i < MANY; i += 2) {
        const struct ack ack = ack_of(&waiting[i], &one);
        struct text value = TEXT_EMPTY;
        ack_encode(&ack, &value);
        rd_kafka_producev(world.kafka.producer, RD_KAFKA_V_TOPIC(world.kafka.topics.acks), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_VALUE(value.bytes, value.length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        text_free(&value);
    }
    assert_int_equal(rd_kafka_flush(world.kafka.producer, KAFKA_WAIT_MS), 0);
    for (int i = 0; i < MANY; i++) {
        await_settled(&waiting[i]);
        assert_int_equal(waiting[i].states[0], i % 2 ? RESULT_SUCCEEDED : RESULT_PENDING);
    }
    stop(&world);
    close_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deployment_is_settled_by_the_last_ack_and_stored),
        cmocka_unit_test(a_failure_is_answered_and_stored_with_its_message),
        cmocka_unit_test(acks_that_are_not_for_this_are_ignored),
        cmocka_unit_test(the_deadline_ends_the_wait_and_a_late_ack_corrects_the_store),
        cmocka_unit_test(a_failure_that_passes_later_corrects_the_store),
        cmocka_unit_test(a_failure_after_the_success_that_passes_is_settled_by_the_positions),
        cmocka_unit_test(positions_settle_what_no_ack_settled),
        cmocka_unit_test(one_that_follows_a_store_adopted_later_is_told_of_and_its_positions_settle_nothing),
        cmocka_unit_test(an_environment_with_nobody_is_settled_once_somebody_comes),
        cmocka_unit_test(a_replica_that_leaves_is_not_waited_for),
        cmocka_unit_test(without_environments_it_is_settled_at_once),
        cmocka_unit_test(giving_up_answers_those_that_wait_and_those_that_come),
        cmocka_unit_test(acks_that_came_while_the_process_was_down_are_gathered),
        cmocka_unit_test(a_truncated_topic_is_read_from_its_beginning),
        cmocka_unit_test(acks_are_gathered_while_the_look_at_the_topics_takes_its_time),
        cmocka_unit_test(many_deployments_wait_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
