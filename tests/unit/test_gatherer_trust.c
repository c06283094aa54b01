/* Whose word counts at the gatherer: in an environment with keys only what an enrolled replica has signed. */
#include "kafka_fixture.h"
#include "store_fixture.h"

#include <semaphore.h>

#include "api/gatherer.h"
#include "common/clock.h"
#include "common/credentials.h"
#include "common/message.h"
#include "common/metrics.h"
#include "common/signature.h"

#define WORKER_1 "01890000-0000-7000-8000-000000000001"
#define WORKER_2 "01890000-0000-7000-8000-000000000002"
#define TIME "2026-01-01T00:00:00.000Z"

static const char *const environments[] = {"development"};

struct keying {
    struct text credentials, public_keys;
    struct signer *signer; /* of the environment */
};

struct world {
    struct kafka_fixture kafka;
    struct store_fixture fixture;
    struct writer *writer;
    struct gatherer *gatherer;
    struct keying production, staging;
};

static void make_keys(const char *environment, struct keying *keying) {
    struct signer *api = signer_generate();
    char *api_keys = memory_format("{\"keys\":[%s]}", signer_public_key(api));
    struct credentials credentials;
    *keying = (struct keying){0};
    credentials_generate(environment, api_keys, &keying->credentials, &keying->public_keys);
    SUCCEEDS(credentials_parse(keying->credentials.bytes, keying->credentials.length, &credentials, &error));
    struct error reason;
    keying->signer = signer_new(credentials.keys.signature[0], &reason);
    assert_non_null(keying->signer);
    credentials_clear(&credentials);
    free(api_keys);
    signer_free(api);
}

static void free_keys(struct keying *keying) {
    signer_free(keying->signer);
    text_wipe(&keying->credentials);
    text_free(&keying->public_keys);
}

static int open_world(void **state) {
    struct world *world = memory_new(sizeof *world);
    kafka_open(&world->kafka);
    fixture_open(&world->fixture, 1, environments);
    make_keys("production", &world->production);
    make_keys("staging", &world->staging);
    struct store *store = fixture_connect(&world->fixture, STORE_WRITE);
    SUCCEEDS(store_begin(store, &error));
    SUCCEEDS(store_add_environment(store, "production", world->production.public_keys.bytes, &error));
    SUCCEEDS(store_add_environment(store, "staging", world->staging.public_keys.bytes, &error));
    SUCCEEDS(store_commit(store, &error));
    store_close(store);
    struct error reason = {0};
    const struct gatherer_options options = {.kafka = &world->kafka.settings, .topics = &world->kafka.topics, .grace_ms = 30000};
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    world->gatherer = gatherer_new(&options, world->fixture.store, world->writer, &reason);
    if (!world->gatherer)
        fail_msg("%s", reason.message);
    gatherer_start(world->gatherer);
    gatherer_await_replicas(world->gatherer, KAFKA_WAIT_MS);
    *state = world;
    return 0;
}

static int close_world(void **state) {
    struct world *world = *state;
    gatherer_stop(world->gatherer);
    writer_free(world->writer);
    gatherer_free(world->gatherer);
    fixture_close(&world->fixture);
    kafka_close(&world->kafka);
    free_keys(&world->production);
    free_keys(&world->staging);
    free(world);
    return 0;
}

/* ---- workers ---- */

struct worker {
    const char *environment, *id;
    struct signer *replica, *enroller; /* NULL: signs nothing */
    const char *shown_key;             /* in place of the replica's own */
    int64_t incarnation, after;
    int64_t epoch; /* 0: that of the store */
};

/* Writes one record, signed by the signer when there is one; its offset. */
static int64_t write_record(struct world *world, const char *topic, const char *type, const struct text *value, struct signer *signer) {
    int64_t offset = -2;
    unsigned char leaf[1][32];
    const struct cloudevent attributes = {.id = "01890000-0000-7000-8000-0000000000ff", .source = "urn:test", .type = type};
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    if (signer) {
        signature_leaf("key", &attributes, value->bytes, value->length, leaf[0]);
        struct signed_batch *batch = signature_sign(signer, (const unsigned char(*)[32])leaf, 1);
        signature_add_headers(batch, 0, headers);
        signed_batch_free(batch);
    }
    rd_kafka_resp_err_t result = rd_kafka_producev(
        world->kafka.producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY("key", 3),
        RD_KAFKA_V_VALUE(value->bytes, value->length), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(&offset), RD_KAFKA_V_END);
    assert_int_equal(result, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(world->kafka.producer, KAFKA_WAIT_MS), 0);
    assert_true(offset >= 0);
    return offset;
}

static int64_t tell(struct world *world, const struct worker *worker, enum presence_kind kind) {
    struct text value = TEXT_EMPTY, payload = TEXT_EMPTY;
    char *enrolment = NULL;
    struct presence presence = {.kind = kind, .environment = worker->environment, .replica = "edge-1", .worker = worker->id,
                                .incarnation = kind == PRESENCE_HELLO ? -1 : worker->incarnation, .ready = true,
                                .epoch = worker->epoch ? worker->epoch : 1, .interval_ms = 60000, .version = "1", .time = TIME,
                                .after = kind == PRESENCE_HELLO ? worker->after : 0};
    if (worker->replica) {
        presence.replica_key = worker->shown_key ? worker->shown_key : signer_public_key(worker->replica);
        const struct enrolment enrolled = {.environment = presence.environment, .replica = presence.replica, .worker = presence.worker,
                                           .jwk = presence.replica_key};
        enrolment_encode(&enrolled, &payload);
        presence.enrolment = enrolment = signature_sign_text(worker->enroller, payload.bytes, payload.length);
    }
    presence_encode(&presence, &value);
    int64_t offset = write_record(world, world->kafka.topics.workers, presence_kind_type(kind), &value, worker->replica);
    free(enrolment);
    text_free(&payload);
    text_free(&value);
    return offset;
}

/* ---- deployments ---- */

struct waiting {
    struct store_change change; /* a copy, of what is borrowed nothing */
    sem_t settled;
    enum result_state production;
};

static void on_settled(struct deployment *deployment) {
    struct waiting *waiting = deployment->context;
    for (size_t i = 0; i < deployment->change.environments->count; i++)
        if (strcmp(deployment->change.environments->items[i].name, "production") == 0)
            waiting->production = deployment->outcomes[i].state;
    sem_post(&waiting->settled);
}

/* Records a JWK that is deployed to production alone. */
static void expect(struct world *world, const char *name, struct waiting *waiting) {
    struct store_change change;
    fixture_create(&world->fixture, name, &change);
    struct store_environments *production = store_environments_one(change.environments, "production");
    store_environments_release(change.environments);
    change.environments = production;
    waiting->change = change;
    sem_init(&waiting->settled, 0, 0);
    store_outgoing_free(change.outgoing);
    change.outgoing = NULL;
    gatherer_expect(world->gatherer, deployment_new(&change, EVENT_CREATE, 120000, on_settled, waiting));
    gatherer_take_expected(world->gatherer);
}

static void ack(struct world *world, const struct worker *worker, const struct waiting *waiting, struct signer *signer) {
    const struct store_change *change = &waiting->change;
    const struct ack ack = {.deployment_id = change->deployment_id, .event_id = "x", .event_hash = change->event_hash,
                            .environment = worker->environment, .replica = "edge-1", .worker = worker->id,
                            .incarnation = worker->incarnation, .jwk_id = change->jwk_id, .epoch = change->epoch,
                            .version = change->version, .sequence = change->sequence, .status = ACK_APPLIED, .time = TIME};
    struct text value = TEXT_EMPTY;
    ack_encode(&ack, &value);
    write_record(world, world->kafka.topics.acks, ACK_TYPE, &value, signer);
    text_free(&value);
}

static void await(struct waiting *waiting, enum result_state state) {
    while (sem_wait(&waiting->settled)) {
    }
    assert_int_equal(waiting->production, state);
    sem_destroy(&waiting->settled);
}

/* A counter of the process. */
static long counter(const char *name) {
    struct text text = TEXT_EMPTY;
    metrics_write(&text);
    const char *at = strstr(text.bytes, name);
    assert_non_null(at);
    long value = strtol(at + strlen(name), NULL, 10);
    text_free(&text);
    return value;
}

#define REFUSED_ACKS "\njwk_api_acks_total{status=\"refused\"} "

static void await_counter(const char *name, long value) {
    while (counter(name) < value)
        usleep(1000); /* between two looks */
    assert_int_equal(counter(name), value);
}

/* The replica of an environment as the gatherer knows it; false: it knows none. */
static bool knows(struct world *world, const char *environment, const char *worker) {
    size_t count;
    struct replica *replicas = gatherer_copy_replicas(world->gatherer, &count);
    bool found = false;
    for (size_t i = 0; i < count; i++)
        found = found || (strcmp(replicas[i].environment->name, environment) == 0 && strcmp(replicas[i].worker, worker) == 0 &&
                          replica_is_live(&replicas[i]));
    replicas_copy_free(replicas, count);
    return found;
}

/* Waits until everything that was written until now is taken in: a worker of the environment without keys is the mark. */
static void pass(struct world *world) {
    static int number;
    char id[UUID_SIZE];
    snprintf(id, sizeof id, "01890000-0000-7000-8000-%012d", ++number + 1000);
    const struct worker mark = {.environment = "development", .id = id};
    tell(world, &mark, PRESENCE_HELLO);
    while (!knows(world, "development", id))
        usleep(1000); /* between two looks */
}

static struct worker worker_of(const char *environment, const char *id, struct signer *enroller) {
    return (struct worker){.environment = environment, .id = id, .replica = signer_generate(), .enroller = enroller};
}

/* ---- cases ---- */

static void a_replica_that_its_environment_enrols_settles_what_it_signs(void **state) {
    struct world *world = *state;
    struct worker worker = worker_of("production", WORKER_1, world->production.signer);
    struct waiting first, second;
    worker.incarnation = tell(world, &worker, PRESENCE_HELLO);
    pass(world);
    assert_true(knows(world, "production", WORKER_1));
    expect(world, "one", &first);
    expect(world, "two", &second);
    struct signer *stranger = signer_generate();
    long refused = counter(REFUSED_ACKS);
    ack(world, &worker, &first, NULL);                     /* unsigned */
    ack(world, &worker, &first, stranger);                 /* forged */
    ack(world, &worker, &first, world->production.signer); /* vouching is not acknowledging */
    ack(world, &worker, &second, worker.replica);
    await(&second, RESULT_SUCCEEDED);
    await_counter(REFUSED_ACKS, refused + 3);
    assert_int_equal(sem_trywait(&first.settled), -1); /* those before have changed nothing */
    ack(world, &worker, &first, worker.replica);
    await(&first, RESULT_SUCCEEDED);
    struct worker unproven = {.environment = "development", .id = WORKER_2, .epoch = 2};
    tell(world, &unproven, PRESENCE_HELLO);
    pass(world);
    assert_false(gatherer_is_overtaken(world->gatherer)); /* anybody can say so, and others have keys to prove it with */
    worker.epoch = 2; /* this one is believed that it follows another store */
    tell(world, &worker, PRESENCE_HEARTBEAT);
    pass(world);
    assert_true(gatherer_is_overtaken(world->gatherer));
    signer_free(stranger);
    signer_free(worker.replica);
}

static void nobody_else_becomes_a_replica(void **state) {
    struct world *world = *state;
    struct worker unsigned_one = {.environment = "production", .id = WORKER_1};
    struct worker foreign = worker_of("production", WORKER_1, world->staging.signer);
    struct worker thief = worker_of("production", WORKER_1, world->production.signer), *const all[] = {&unsigned_one, &foreign, &thief};
    struct signer *victim = signer_generate();
    struct worker unknown = worker_of("elsewhere", WORKER_1, world->production.signer);
    thief.shown_key = signer_public_key(victim);
    unsigned_one.epoch = foreign.epoch = thief.epoch = unknown.epoch = 2;
    for (size_t i = 0; i < 3; i++) {
        tell(world, all[i], PRESENCE_HELLO);
        tell(world, all[i], PRESENCE_HEARTBEAT);
    }
    tell(world, &unknown, PRESENCE_HELLO);
    pass(world);
    assert_false(knows(world, "production", WORKER_1));
    assert_false(knows(world, "elsewhere", WORKER_1));
    assert_false(gatherer_is_overtaken(world->gatherer));
    signer_free(victim);
    signer_free(foreign.replica);
    signer_free(thief.replica);
    signer_free(unknown.replica);
}

static void a_hello_counts_only_when_it_knew_the_present_one(void **state) {
    struct world *world = *state;
    struct worker first = worker_of("production", WORKER_1, world->production.signer);
    struct worker second = worker_of("production", WORKER_2, world->production.signer);
    struct waiting waiting;
    first.incarnation = tell(world, &first, PRESENCE_HELLO);
    second.after = first.incarnation; /* written before the first's was there */
    second.incarnation = tell(world, &second, PRESENCE_HELLO);
    tell(world, &second, PRESENCE_HEARTBEAT);
    pass(world);
    assert_true(knows(world, "production", WORKER_1));
    second.after = first.incarnation + 1;
    second.incarnation = tell(world, &second, PRESENCE_HELLO);
    pass(world);
    assert_true(knows(world, "production", WORKER_2));
    tell(world, &first, PRESENCE_HELLO); /* a copy of what was true once */
    tell(world, &first, PRESENCE_HEARTBEAT);
    pass(world);
    assert_true(knows(world, "production", WORKER_2));
    expect(world, "one", &waiting); /* nor does its key take the place of the present one's */
    ack(world, &second, &waiting, second.replica);
    await(&waiting, RESULT_SUCCEEDED);
    signer_free(first.replica);
    signer_free(second.replica);
}

static void other_keys_of_the_environment_end_all_enrolments(void **state) {
    struct world *world = *state;
    struct worker worker = worker_of("production", WORKER_1, world->production.signer);
    struct waiting waiting;
    struct keying fresh;
    make_keys("production", &fresh);
    worker.incarnation = tell(world, &worker, PRESENCE_HELLO);
    pass(world);
    expect(world, "one", &waiting);
    struct store *store = fixture_connect(&world->fixture, STORE_WRITE);
    SUCCEEDS(store_begin(store, &error));
    SUCCEEDS(store_rekey_environment(store, "production", fresh.public_keys.bytes, &error));
    SUCCEEDS(store_commit(store, &error));
    store_close(store);
    SUCCEEDS(gatherer_look(world->gatherer, world->fixture.store, &error));
    gatherer_act(world->gatherer);
    pass(world);
    long refused = counter(REFUSED_ACKS);
    ack(world, &worker, &waiting, worker.replica);
    await_counter(REFUSED_ACKS, refused + 1);
    tell(world, &worker, PRESENCE_HEARTBEAT);
    worker.enroller = fresh.signer; /* it is given the new credentials, and goes on */
    tell(world, &worker, PRESENCE_HEARTBEAT);
    pass(world);
    assert_int_equal(sem_trywait(&waiting.settled), -1);
    ack(world, &worker, &waiting, worker.replica);
    await(&waiting, RESULT_SUCCEEDED);
    signer_free(worker.replica);
    free_keys(&fresh);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_replica_that_its_environment_enrols_settles_what_it_signs, open_world, close_world),
        cmocka_unit_test_setup_teardown(nobody_else_becomes_a_replica, open_world, close_world),
        cmocka_unit_test_setup_teardown(a_hello_counts_only_when_it_knew_the_present_one, open_world, close_world),
        cmocka_unit_test_setup_teardown(other_keys_of_the_environment_end_all_enrolments, open_world, close_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
