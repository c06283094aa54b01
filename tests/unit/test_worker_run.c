/* A whole worker against librdkafka's mock cluster: what it acks, announces, serves, reads again and sweeps. */
#include "worker_fixture.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/cloudevent.h"
#include "worker/worker.h"

enum { PATIENCE_MS = 30000 }; /* the longest wait for what must come */

/* ---- the cluster, as the API sees it ---- */

static rd_kafka_t *producer;
static rd_kafka_mock_cluster_t *cluster;
static const char *brokers;
static const struct kafka_topics topics = {.events = "jwk.events", .acks = "jwk.acks", .workers = "jwk.workers"};

static void start_cluster(void) {
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", text, sizeof text), RD_KAFKA_CONF_OK);
    assert_int_equal(rd_kafka_conf_set(conf, "linger.ms", "0", text, sizeof text), RD_KAFKA_CONF_OK);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(producer);
    cluster = rd_kafka_handle_mock_cluster(producer);
    brokers = rd_kafka_mock_cluster_bootstraps(cluster);
    rd_kafka_mock_topic_create(cluster, topics.events, 2, 1);
    rd_kafka_mock_topic_create(cluster, topics.acks, 1, 1);
    rd_kafka_mock_topic_create(cluster, topics.workers, 1, 1);
}

static void produce(const char *topic, int32_t partition, const char *key, const char *value, size_t length,
                    const struct cloudevent *attributes) {
    rd_kafka_resp_err_t result = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE((void *)(uintptr_t)value, length),
        RD_KAFKA_V_HEADERS(attributes ? cloudevent_headers(attributes) : rd_kafka_headers_new(1)), RD_KAFKA_V_END);
    assert_int_equal(result, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(producer, PATIENCE_MS), RD_KAFKA_RESP_ERR_NO_ERROR);
}

static void publish_in_epoch(int64_t epoch, const char *jwk_id, const char *name, int64_t version, int64_t sequence,
                             int32_t partition) {
    struct event event = {.operation = version == 1 ? EVENT_CREATE : EVENT_UPDATE,
                          .deployment_id = JWK_C,
                          .epoch = epoch,
                          .version = version,
                          .sequence = sequence,
                          .project_id = PROJECT_ID,
                          .project_name = "MyProject",
                          .jwk_id = jwk_id,
                          .name = name,
                          .type = "OKP",
                          .kid = "a",
                          .public_key = strcmp(jwk_id, JWK_A) == 0 ? PUBLIC_A : PUBLIC_B,
                          .actor = "alice",
                          .time = "2026-01-01T00:00:00.000Z"};
    struct text value = TEXT_EMPTY;
    char id[UUID_SIZE];
    uuid_new(id);
    event_encode(&event, &value);
    struct cloudevent attributes = {.id = id,
                                    .source = "urn:test",
                                    .type = event_operation_type(event.operation),
                                    .subject = jwk_id,
                                    .time = event.time,
                                    .dataschema = "urn:test",
                                    .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"};
    produce(topics.events, partition, jwk_id, value.bytes, value.length, &attributes);
    text_free(&value);
}

static void publish(const char *jwk_id, const char *name, int64_t version, int64_t sequence, int32_t partition) {
    publish_in_epoch(1, jwk_id, name, version, sequence, partition);
}

/* Reads a topic of one partition from its start. */
static rd_kafka_t *reader_new(const char *topic) {
    struct error error;
    struct kafka_settings settings = {.brokers = brokers, .topic_prefix = "jwk", .client_id = "test", .embedded = true};
    rd_kafka_t *reader = kafka_consumer_new(&settings, "test", NULL, &error);
    assert_non_null(reader);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 0;
    assert_int_equal(rd_kafka_assign(reader, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    return reader;
}

static rd_kafka_message_t *next_record(rd_kafka_t *reader) {
    int64_t deadline = clock_monotonic_ms() + PATIENCE_MS;
    while (clock_monotonic_ms() < deadline) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(reader, 100);
        if (record && !record->err)
            return record;
        if (record)
            rd_kafka_message_destroy(record);
    }
    fail_msg("no record came");
    return NULL;
}

static void reader_free(rd_kafka_t *reader) {
    kafka_client_free(reader);
}

/* ---- one worker ---- */

struct running {
    struct worker_fixture *fixture;
    struct worker_options options;
    struct key_set_cache *cache;
    struct serve_status status;
    atomic_bool stop;
    int wake;
    pthread_t thread;
    enum worker_end end;
    struct error error;
    rd_kafka_t *acks, *workers; /* what the API reads */
    char *hook;
    struct export *export; /* NULL: no files */
};

static void *run(void *context) {
    struct running *running = context;
    running->end = worker_run(&running->options, &running->error);
    return NULL;
}

static void start_worker(struct running *running, const char *hook_body) {
    struct worker_fixture *fixture = running->fixture;
    struct key_set_options cache = {.readers = fixture->readers, .memory = 1 << 20, .max_age = 300, .wall_ms = clock_wall_ms};
    running->cache = key_set_cache_new(&cache);
    running->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    atomic_store(&running->stop, false);
    struct effects *effects = NULL;
    if (hook_body) {
        running->hook = memory_format("%s/hook", fixture->directory);
        FILE *file = fopen(running->hook, "w");
        assert_non_null(file);
        fprintf(file, "#!/bin/sh\ncd '%s'\n%s\n", fixture->directory, hook_body);
        fclose(file);
        assert_int_equal(chmod(running->hook, 0700), 0);
        struct effect_options effect_options = {.environment = "production",
                                                .replica = "edge-1",
                                                .hook = running->hook,
                                                .hook_timeout_ms = PATIENCE_MS,
                                                .retry_initial_ms = 10,
                                                .retry_maximum_ms = 50,
                                                .readers = fixture->readers,
                                                .wake = running->wake};
        effects = effects_new(&effect_options);
    } else if (running->export) {
        struct effect_options effect_options = {.export = running->export, .readers = fixture->readers, .wake = running->wake};
        effects = effects_new(&effect_options);
    }
    running->options = (struct worker_options){.environment = "production",
                                               .replica = "edge-1",
                                               .version = "test",
                                               .kafka = {.brokers = brokers, .topic_prefix = "jwk", .client_id = "worker"},
                                               .heartbeat_interval_ms = 100,
                                               .tombstone_delay_ms = running->options.tombstone_delay_ms,
                                               .sweep_delay_ms = running->options.sweep_delay_ms,
                                               .state = fixture->state,
                                               .cache = running->cache,
                                               .effects = effects,
                                               .has_hook = hook_body != NULL,
                                               .has_files = running->export != NULL,
                                               .status = &running->status,
                                               .wake = running->wake,
                                               .stop = &running->stop};
    assert_int_equal(pthread_create(&running->thread, NULL, run, running), 0);
}

static void join_worker(struct running *running) {
    pthread_join(running->thread, NULL);
    effects_free(running->options.effects);
    key_set_cache_free(running->cache);
    close(running->wake);
    free(running->hook);
    running->hook = NULL;
}

static void stop_worker(struct running *running) {
    uint64_t one = 1;
    atomic_store(&running->stop, true);
    assert_int_equal(write(running->wake, &one, sizeof one), sizeof one);
    join_worker(running);
    if (running->end != WORKER_STOPPED)
        fail_msg("%s", running->error.message);
}

/* Waits for the next presence of that kind; with ready, for one that says so. The caller frees it with presence_free(). */
static int64_t await_presence(struct running *running, enum presence_kind kind, bool ready, struct presence *presence) {
    for (;;) {
        rd_kafka_message_t *record = next_record(running->workers);
        struct cloudevent_storage storage;
        struct cloudevent attributes;
        struct error error;
        assert_int_equal(cloudevent_read(record, &storage, &attributes, &error), 0);
        int64_t offset = record->offset;
        bool is_kind = strcmp(attributes.type, presence_kind_type(kind)) == 0;
        assert_int_equal(presence_decode(record->payload, record->len, kind, presence, &error), 0);
        rd_kafka_message_destroy(record);
        if (is_kind && (!ready || presence->ready))
            return offset;
        presence_free(presence);
    }
}

static void await_ready(struct running *running) {
    struct presence presence;
    await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
    presence_free(&presence);
}

/* The next ack, which must be of that JWK and version. */
static void assert_ack(struct running *running, const char *jwk_id, int64_t version, enum ack_status status,
                       const char *message) {
    rd_kafka_message_t *record = next_record(running->acks);
    struct error error;
    struct ack ack;
    assert_int_equal(ack_decode(record->payload, record->len, &ack, &error), 0);
    assert_string_equal(ack.jwk_id, jwk_id);
    assert_int_equal(ack.version, version);
    assert_int_equal(ack.status, status);
    if (message)
        assert_string_equal(ack.message, message);
    else
        assert_null(ack.message);
    ack_free(&ack);
    rd_kafka_message_destroy(record);
}

static int set_up(void **state) {
    signal(SIGPIPE, SIG_IGN);
    if (fixture_set_up(state))
        return -1;
    struct running *running = memory_new(sizeof *running);
    running->fixture = *state;
    running->options.tombstone_delay_ms = 30LL * 86400000;
    running->options.sweep_delay_ms = 86400000;
    *state = running;
    start_cluster();
    running->acks = reader_new(topics.acks);
    running->workers = reader_new(topics.workers);
    return 0;
}

static int tear_down(void **state) {
    struct running *running = *state;
    reader_free(running->acks);
    reader_free(running->workers);
    kafka_client_free(producer);
    *state = running->fixture;
    free(running);
    return fixture_tear_down(state);
}

/* ---- what must hold ---- */

static void it_catches_up_without_acks_and_acks_each_event_from_then_on(void **state) {
    struct running *running = *state;
    struct presence presence;
    publish(JWK_A, "one", 1, 1, 0);
    publish(JWK_B, "two", 1, 2, 1);
    publish(JWK_B, "two", 2, 3, 1);
    start_worker(running, NULL);
    int64_t incarnation = await_presence(running, PRESENCE_HELLO, false, &presence);
    assert_false(presence.ready);
    assert_int_equal(presence.incarnation, -1);
    presence_free(&presence);
    await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
    assert_int_equal(presence.incarnation, incarnation);
    assert_int_equal(presence.keys, 2);
    assert_int_equal(presence.epoch, 1);
    assert_int_equal(presence.position_count, 2);
    assert_int_equal(presence.positions[0].offset, 1);
    assert_int_equal(presence.positions[1].offset, 2);
    assert_int_equal(presence.positions[1].sequence, 3);
    presence_free(&presence);
    assert_true(atomic_load(&running->status.ready));
    publish(JWK_A, "one", 2, 4, 0);
    assert_ack(running, JWK_A, 2, ACK_APPLIED, NULL); /* the first ack ever: none before */
    /* Equal and older ones change nothing and are acked again. */
    publish(JWK_A, "other", 2, 4, 0);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 2, ACK_APPLIED, NULL);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    stop_worker(running);
    await_presence(running, PRESENCE_GOODBYE, false, &presence);
    assert_int_equal(presence.positions[0].offset, 4);
    presence_free(&presence);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "," PUBLIC_B "]}");
    /* What was acked is not read again. */
    struct state_position *positions;
    size_t count;
    struct error error;
    assert_int_equal(state_load_positions(running->fixture->state, &positions, &count, &error), 0);
    assert_int_equal(count, 2);
    assert_int_equal(positions[0].position.offset, 4);
    assert_int_equal(positions[1].position.offset, 2);
    free(positions);
}

static size_t served_length(struct running *running) {
    struct error error;
    const struct key_set *set;
    assert_int_equal(key_set_get(running->cache, "MyProject", &set, &error), 0);
    size_t length = set ? set->length : 0;
    if (set)
        key_set_release(running->cache, set);
    return length;
}

static void what_is_acked_is_served(void **state) {
    struct running *running = *state;
    start_worker(running, NULL);
    await_ready(running);
    for (unsigned i = 1; i <= 20; i++) {
        char id[UUID_SIZE], name[16];
        snprintf(id, sizeof id, "01890000-0000-7000-8000-%012u", i);
        snprintf(name, sizeof name, "n%u", i);
        size_t before = served_length(running); /* in the cache from here on */
        publish(id, name, 1, i, 0);
        assert_ack(running, id, 1, ACK_APPLIED, NULL);
        assert_true(served_length(running) > before);
    }
    stop_worker(running);
}

static void a_restart_goes_on_where_it_was(void **state) {
    struct running *running = *state;
    start_worker(running, NULL);
    await_ready(running);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    stop_worker(running);
    publish(JWK_A, "one", 2, 2, 0); /* while it is away: settled by its position */
    start_worker(running, NULL);
    struct presence presence;
    do {
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        bool caught_up = presence.positions[0].sequence == 2;
        presence_free(&presence);
        if (caught_up)
            break;
    } while (true);
    publish(JWK_A, "one", 3, 3, 0);
    assert_ack(running, JWK_A, 3, ACK_APPLIED, NULL);
    stop_worker(running);
}

static void await_beats(struct running *running, int count) {
    for (int beat = 0; beat < count; beat++)
        await_ready(running);
}

/* What is shown to Kafka's tools may never be confirmed. */
static void a_coordinator_that_owes_an_answer_keeps_no_partition_from_being_read(void **state) {
    enum { OFFSET_COMMIT = 8, BEATS_UNTIL_IT_LOOKS_BACK = 110 }; /* the request's number in Kafka's protocol; of 100 ms */
    struct running *running = *state;
    size_t left = 1;
    start_worker(running, NULL);
    await_ready(running);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    stop_worker(running);
    rd_kafka_mock_broker_push_request_error_rtts(cluster, 1, OFFSET_COMMIT, 1, RD_KAFKA_RESP_ERR_NO_ERROR, 2 * PATIENCE_MS);
    start_worker(running, NULL);
    for (int beat = 0; left > 0 && beat < BEATS_UNTIL_IT_LOOKS_BACK; beat++) {
        await_ready(running);
        assert_int_equal(rd_kafka_mock_broker_error_stack_cnt(cluster, 1, OFFSET_COMMIT, &left), RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    assert_int_equal(left, 0);
    await_beats(running, BEATS_UNTIL_IT_LOOKS_BACK); /* and reads the partition from another place */
    publish(JWK_A, "one", 2, 2, 0);
    assert_ack(running, JWK_A, 2, ACK_APPLIED, NULL);
    stop_worker(running);
}

static void what_is_not_an_event_is_passed_over(void **state) {
    struct running *running = *state;
    start_worker(running, NULL);
    await_ready(running);
    struct cloudevent attributes = {.id = JWK_A,
                                    .source = "urn:test",
                                    .type = EVENT_TYPE_CREATED,
                                    .time = "2026-01-01T00:00:00.000Z",
                                    .dataschema = "urn:test"};
    produce(topics.events, 0, "key", "nonsense", 8, NULL);
    produce(topics.events, 0, JWK_A, "{\"operation\":\"create\"}", 22, &attributes);
    produce(topics.events, 0, "no UUID", NULL, 0, NULL);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    stop_worker(running);
    struct state_position *positions;
    size_t count;
    struct error error;
    assert_int_equal(state_load_positions(running->fixture->state, &positions, &count, &error), 0);
    assert_int_equal(positions[0].position.offset, 4);
    free(positions);
}

static void say_hello_as_another(const char *environment, const char *replica, const char *worker) {
    struct presence hello = {.kind = PRESENCE_HELLO,
                             .environment = environment,
                             .replica = replica,
                             .worker = worker,
                             .incarnation = -1,
                             .interval_ms = 3000,
                             .version = "test",
                             .time = "2026-01-01T00:00:00.000Z"};
    struct text value = TEXT_EMPTY;
    presence_encode(&hello, &value);
    struct cloudevent attributes = {
        .id = worker, .source = "urn:test", .type = PRESENCE_TYPE_HELLO, .time = hello.time, .dataschema = "urn:test"};
    produce(topics.workers, 0, "production/edge-1", value.bytes, value.length, &attributes);
    text_free(&value);
}

static void a_later_start_of_the_same_replica_fences_this_one(void **state) {
    struct running *running = *state;
    start_worker(running, NULL);
    await_ready(running);
    say_hello_as_another("production", "edge-2", JWK_A);
    say_hello_as_another("staging", "edge-1", JWK_A);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL); /* others do not matter */
    say_hello_as_another("production", "edge-1", JWK_B);
    join_worker(running);
    assert_int_equal(running->end, WORKER_FENCED);
    assert_non_null(strstr(running->error.message, JWK_B));
    assert_true(atomic_load(&running->status.fenced));
}

static void a_failing_hook_is_told_then_named_then_corrected(void **state) {
    struct running *running = *state;
    struct presence presence;
    start_worker(running, "[ -e repaired ] || { echo 'gateway down' >&2; exit 1; }");
    await_ready(running);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 1, ACK_FAILED, "gateway down; it is tried again");
    do {
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        bool named = presence.failing_count == 1 && strcmp(presence.failing[0], JWK_A) == 0;
        presence_free(&presence);
        if (named)
            break;
    } while (true);
    /* It is served all the same, and the failure outlives a restart. */
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    stop_worker(running);
    assert_int_equal(state_failing_count(running->fixture->state), 1);
    char *file = memory_format("%s/repaired", running->fixture->directory);
    fclose(fopen(file, "w"));
    free(file);
    start_worker(running, "[ -e repaired ]");
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    do {
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        bool cleared = presence.failing_count == 0 && presence.positions[0].offset == 1;
        presence_free(&presence);
        if (cleared)
            break;
    } while (true);
    stop_worker(running);
    assert_int_equal(state_failing_count(running->fixture->state), 0);
}

/* Waits until partition 0 is past that offset; nothing fails meanwhile. */
static void await_passed(struct running *running, int64_t offset, int64_t sequence) {
    struct position position;
    do {
        struct presence presence;
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        position = presence.positions[0];
        assert_int_equal(presence.failing_count, 0);
        presence_free(&presence);
    } while (position.offset < offset);
    assert_int_equal(position.sequence, sequence);
}

static void what_is_of_an_earlier_epoch_fails_and_is_not_tried_again(void **state) {
    struct running *running = *state;
    start_worker(running, "echo run >>runs");
    await_ready(running);
    publish_in_epoch(3, JWK_A, "one", 1, 10, 0);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    publish_in_epoch(2, JWK_A, "one", 2, 500, 0);
    assert_ack(running, JWK_A, 2, ACK_FAILED,
               "this replica follows a store that was adopted later (epoch 3, the change is of epoch 2): another jwk-api has taken "
               "over");
    await_passed(running, 2, 10); /* past it, but no further in what its store has counted */
    stop_worker(running);
    publish_in_epoch(2, JWK_A, "one", 3, 501, 0);
    start_worker(running, "echo run >>runs");
    await_passed(running, 3, 10);
    stop_worker(running);
    assert_int_equal(state_failing_count(running->fixture->state), 0);
    char *file = memory_format("%s/runs", running->fixture->directory);
    struct stat runs;
    assert_int_equal(stat(file, &runs), 0);
    assert_int_equal(runs.st_size, strlen("run\n"));
    free(file);
}

/* What its store has counted is not taken for another topic's either. */
static void what_another_store_has_counted_tells_nothing(void **state) {
    struct running *running = *state;
    start_worker(running, NULL);
    await_ready(running);
    publish_in_epoch(3, JWK_A, "one", 1, 10, 0);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    publish_in_epoch(2, JWK_B, "unknown to the store of epoch 3", 1, 500, 0);
    assert_ack(running, JWK_B, 1, ACK_APPLIED, NULL);
    await_passed(running, 2, 10);
    stop_worker(running);
    start_worker(running, NULL);
    await_ready(running);
    publish_in_epoch(3, JWK_A, "one", 2, 11, 0);
    assert_ack(running, JWK_A, 2, ACK_APPLIED, NULL); /* behind the look at what was read before */
    assert_int_equal(fixture_count(running->fixture, "SELECT max(generation) FROM position"), 1);
    stop_worker(running);
}

static void a_failure_ends_with_the_hook_that_failed(void **state) {
    struct running *running = *state;
    start_worker(running, "exit 1");
    await_ready(running);
    publish(JWK_A, "one", 1, 1, 0);
    assert_ack(running, JWK_A, 1, ACK_FAILED, "the hook ended with exit status 1; it is tried again");
    stop_worker(running);
    start_worker(running, NULL);
    assert_ack(running, JWK_A, 1, ACK_APPLIED, NULL);
    await_ready(running);
    stop_worker(running);
    assert_int_equal(state_failing_count(running->fixture->state), 0);
}

/* Puts JWK B into the state as if read from partition 0 up to an offset. */
static void pretend_history(struct running *running, int64_t offset, int64_t last_contact) {
    struct state *its_state = running->fixture->state;
    struct error error;
    struct state_jwk jwk = fixture_jwk(JWK_B, "gone", 1, 1);
    jwk.public_key = PUBLIC_B;
    fixture_put(running->fixture, jwk);
    struct state_position position = {.position = {.partition = 0, .offset = offset}, .generation = 1, .sweep_offset = -1};
    assert_int_equal(state_begin(its_state, &error), 0);
    assert_int_equal(state_store_position(its_state, &position, &error), 0);
    assert_int_equal(state_store_contact(its_state, last_contact, &error), 0);
    assert_int_equal(state_commit(its_state, &error), 0);
}

static void a_position_behind_the_end_starts_over_and_keeps_what_it_has_for_a_while(void **state) {
    struct running *running = *state;
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1000, clock_wall_ms());
    start_worker(running, NULL);
    await_ready(running);
    publish(JWK_A, "one", 2, 2, 0);
    assert_ack(running, JWK_A, 2, ACK_APPLIED, NULL);
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "," PUBLIC_B "]}");
}

static void await_swept(struct running *running) {
    struct presence presence;
    do {
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        bool swept = presence.keys == 1;
        presence_free(&presence);
        if (swept)
            break;
    } while (true);
}

static void after_that_while_it_is_swept(void **state) {
    struct running *running = *state;
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1000, clock_wall_ms());
    running->options.sweep_delay_ms = 0;
    start_worker(running, NULL);
    await_swept(running);
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
}

/* As when a topic was made again and the API has not filled it yet: it says nothing about what there is. */
static void an_empty_topic_sweeps_nothing(void **state) {
    struct running *running = *state;
    pretend_history(running, 1000, clock_wall_ms());
    running->options.sweep_delay_ms = 0;
    start_worker(running, NULL);
    for (int i = 0; i < 5; i++) {
        struct presence presence;
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        assert_int_equal(presence.keys, 1);
        presence_free(&presence);
    }
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_B "]}");
}

static void a_state_older_than_deletes_are_kept_reads_everything_and_sweeps(void **state) {
    struct running *running = *state;
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1, clock_wall_ms() - 16LL * 86400000);
    start_worker(running, NULL);
    await_swept(running);
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
}

/* Its offsets and sequences mean nothing here, however well they fit. */
static void a_state_of_another_cluster_reads_everything_and_sweeps(void **state) {
    struct running *running = *state;
    struct state *its_state = running->fixture->state;
    struct error error;
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1, clock_wall_ms());
    assert_int_equal(state_begin(its_state, &error), 0);
    assert_int_equal(state_store_cluster(its_state, "another", &error), 0);
    assert_int_equal(state_store_offset(its_state, &(struct position){.partition = 0, .offset = 1, .sequence = 10}, &error), 0);
    assert_int_equal(state_commit(its_state, &error), 0);
    running->options.sweep_delay_ms = 0;
    start_worker(running, NULL);
    for (int i = 0; i < 50 && fixture_count(running->fixture, "SELECT count(*) FROM jwk WHERE id = '" JWK_A "'") == 0; i++)
        await_ready(running);
    await_swept(running);
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    assert_string_not_equal(state_cluster(its_state), "another");
}

/* What was before it may have been a delete. The mock cluster keeps 5 MB of a partition. */
static void a_start_behind_the_stored_offset_reads_everything_and_sweeps(void **state) {
    struct running *running = *state;
    enum { LARGE = 900000, MANY = 8 };
    char *large = memory_new(LARGE);
    memset(large, 'x', LARGE);
    for (int i = 0; i < MANY; i++)
        produce(topics.events, 0, JWK_C, large, LARGE, NULL);
    free(large);
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1, clock_wall_ms());
    start_worker(running, NULL);
    await_swept(running);
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
}

static void a_younger_state_sweeps_nothing(void **state) {
    struct running *running = *state;
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1, clock_wall_ms() - 14LL * 86400000);
    start_worker(running, NULL);
    await_ready(running);
    publish(JWK_A, "one", 2, 2, 0);
    assert_ack(running, JWK_A, 2, ACK_APPLIED, NULL);
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "," PUBLIC_B "]}");
}

/* Else a reading from the start would have a gateway reloaded once for each key that there is. */
static void the_hook_is_not_run_again_for_what_is_read_again(void **state) {
    struct running *running = *state;
    struct state *its_state = running->fixture->state;
    struct error error;
    struct stat runs;
    publish(JWK_A, "one", 1, 1, 0);
    start_worker(running, "echo run >>runs");
    await_passed(running, 1, 1);
    stop_worker(running);
    assert_int_equal(state_begin(its_state, &error), 0);
    assert_int_equal(state_store_contact(its_state, clock_wall_ms() - 16LL * 86400000, &error), 0);
    assert_int_equal(state_commit(its_state, &error), 0);
    publish(JWK_B, "two", 1, 2, 0);
    start_worker(running, "echo run >>runs");
    await_passed(running, 2, 2);
    stop_worker(running);
    assert_int_equal(fixture_count(running->fixture, "SELECT max(generation) FROM position"), 2);
    char *file = memory_format("%s/runs", running->fixture->directory);
    assert_int_equal(stat(file, &runs), 0);
    assert_int_equal(runs.st_size, strlen("run\nrun\n"));
    free(file);
}

static void await_file(const char *path, const char *text) {
    char content[512] = "";
    int64_t deadline = clock_monotonic_ms() + PATIENCE_MS;
    while (clock_monotonic_ms() < deadline) {
        FILE *file = fopen(path, "r");
        if (file) {
            content[fread(content, 1, sizeof content - 1, file)] = '\0';
            fclose(file);
        }
        if (strcmp(content, text) == 0)
            return;
        poll(NULL, 0, 10);
    }
    fail_msg("%s holds %s", path, content);
}

/* It was waiting for others when the worker ended, or began to read again. */
static void a_hook_that_had_not_run_is_run_for_what_is_read_again(void **state) {
    struct running *running = *state;
    struct state *its_state = running->fixture->state;
    struct error error;
    struct state_jwk done = fixture_jwk(JWK_A, "one", 1, 1);
    char *runs = memory_format("%s/runs", running->fixture->directory);
    pretend_history(running, 1000, clock_wall_ms());
    fixture_put(running->fixture, done);
    assert_int_equal(state_begin(its_state, &error), 0);
    assert_int_equal(state_store_offset(its_state, &(struct position){.partition = 0, .offset = 1000, .sequence = 4}, &error), 0);
    assert_int_equal(state_commit(its_state, &error), 0);
    publish(JWK_A, "one", 1, 4, 0);
    publish(JWK_B, "gone", 1, 5, 0);
    start_worker(running, "echo $JWK_NAME >>runs; [ $JWK_NAME != gone ] || sleep 0.3");
    await_passed(running, 2, 5);
    await_file(runs, "gone\n");
    stop_worker(running);
    /* As long as the sweep is due, too, what comes is run once, also after a restart. */
    publish(JWK_A, "one", 2, 6, 0);
    start_worker(running, "echo $JWK_NAME >>runs");
    await_passed(running, 3, 6);
    stop_worker(running);
    assert_int_equal(fixture_count(running->fixture, "SELECT done_sequence FROM position WHERE partition = 0"), 4);
    await_file(runs, "gone\none\n");
    free(runs);
}

static void the_hook_is_run_for_each_that_is_swept(void **state) {
    struct running *running = *state;
    char *runs = memory_format("%s/runs", running->fixture->directory);
    publish(JWK_A, "one", 1, 1, 0);
    pretend_history(running, 1000, clock_wall_ms());
    fixture_put(running->fixture, fixture_jwk(JWK_C, "gone too", 1, 1));
    running->options.sweep_delay_ms = 0;
    start_worker(running, "[ $JWK_OPERATION != delete ] || echo $JWK_OPERATION >>runs");
    await_swept(running);
    await_file(runs, "delete\ndelete\n");
    stop_worker(running);
    assert_key_set(running->fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    free(runs);
}

/* The next heartbeat which tells that partition 0 was read up to there: whether what it tells may be counted on. */
static bool next_counts(struct running *running, int64_t offset) {
    for (;;) {
        struct presence presence;
        await_presence(running, PRESENCE_HEARTBEAT, true, &presence);
        bool is_there = presence.positions[0].offset == offset, counts = !presence.failing_truncated;
        presence_free(&presence);
        if (is_there)
            return counts;
    }
}

/* As when a topic is made again: what is in it when the partition begins again is not acked one by one. */
static void what_is_read_when_a_partition_begins_again_gets_into_the_files_before_it_counts(void **state) {
    struct running *running = *state;
    struct error error;
    char *path = memory_format("%s/export", running->fixture->directory), *file = memory_format("%s/MyProject.json", path),
         *blocking = memory_format("%s/x", file);
    rd_kafka_resp_err_t errors[12]; /* for the worker and for the test's own readers, which stop at the first */
    publish(JWK_A, "one", 1, 1, 0);
    running->export = export_open(path, running->fixture->readers, &error);
    assert_non_null(running->export);
    start_worker(running, NULL);
    await_ready(running);
    await_file(file, "{\"keys\":[" PUBLIC_A "]}");
    assert_true(next_counts(running, 1));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkdir(file, 0700), 0);
    assert_int_equal(mkdir(blocking, 0700), 0);
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        errors[i] = RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    rd_kafka_mock_push_request_errors_array(cluster, 1 /* Fetch */, sizeof errors / sizeof *errors, errors);
    publish(JWK_B, "two", 1, 2, 0);
    while (fixture_count(running->fixture, "SELECT count(*) FROM jwk") < 2)
        poll(NULL, 0, 10);
    reader_free(running->workers); /* it has stopped */
    running->workers = reader_new(topics.workers);
    for (int i = 0; i < 3; i++)
        assert_false(next_counts(running, 2));
    assert_false(atomic_load(&running->status.ready));
    assert_int_equal(rmdir(blocking), 0);
    assert_int_equal(rmdir(file), 0);
    while (!next_counts(running, 2)) {
    }
    await_file(file, "{\"keys\":[" PUBLIC_A "," PUBLIC_B "]}");
    assert_true(atomic_load(&running->status.ready));
    stop_worker(running);
    export_close(running->export);
    free(blocking);
    free(file);
    free(path);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_catches_up_without_acks_and_acks_each_event_from_then_on),
        TEST(what_is_acked_is_served),
        TEST(a_restart_goes_on_where_it_was),
        TEST(a_coordinator_that_owes_an_answer_keeps_no_partition_from_being_read),
        TEST(what_is_not_an_event_is_passed_over),
        TEST(a_later_start_of_the_same_replica_fences_this_one),
        TEST(a_failing_hook_is_told_then_named_then_corrected),
        TEST(what_is_of_an_earlier_epoch_fails_and_is_not_tried_again),
        TEST(what_another_store_has_counted_tells_nothing),
        TEST(a_failure_ends_with_the_hook_that_failed),
        TEST(a_position_behind_the_end_starts_over_and_keeps_what_it_has_for_a_while),
        TEST(what_is_read_when_a_partition_begins_again_gets_into_the_files_before_it_counts),
        TEST(after_that_while_it_is_swept),
        TEST(an_empty_topic_sweeps_nothing),
        TEST(a_state_older_than_deletes_are_kept_reads_everything_and_sweeps),
        TEST(a_state_of_another_cluster_reads_everything_and_sweeps),
        TEST(a_start_behind_the_stored_offset_reads_everything_and_sweeps),
        TEST(a_younger_state_sweeps_nothing),
        TEST(the_hook_is_not_run_again_for_what_is_read_again),
        TEST(a_hook_that_had_not_run_is_run_for_what_is_read_again),
        TEST(the_hook_is_run_for_each_that_is_swept),
    };
    return cmocka_run_group_tests_name("worker run", tests, NULL, NULL);
}
