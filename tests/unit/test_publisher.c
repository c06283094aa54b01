/* From the outbox to Kafka: order, marks, a broker that is away, refused events, a stop and the next start. */
#include "kafka_reports.h"
#include "store_fixture.h"

#include <semaphore.h>

#include "api/publisher.h"
#include "api/store_sql.h"
#include "common/identifier.h"
#include "common/message.h"

static const char *const environments[] = {"production"};

enum { MORE_THAN_IN_FLIGHT = 10500, UPDATES = 300 };

struct world {
    struct kafka_fixture kafka;
    struct store_fixture fixture;
    struct writer *writer;
    struct signing *signing;
    char *signing_key; /* its public half */
    struct publisher *publisher;
};

/* As start(), but the thread stands still until publisher_start(). */
static void prepare(struct world *world) {
    struct error error = {0};
    world->writer = writer_new(fixture_connect(&world->fixture, STORE_WRITE));
    struct signer *signer = signer_generate();
    free(world->signing_key);
    world->signing_key = memory_string(signer_public_key(signer));
    world->signing = signing_new(signer);
    world->publisher = publisher_new(&world->kafka.settings, world->kafka.topics.events, fixture_connect(&world->fixture, STORE_READ),
                                     world->writer, world->signing, &error);
    if (!world->publisher)
        fail_msg("%s", error.message);
}

static void start(struct world *world) {
    prepare(world);
    publisher_start(world->publisher);
}

static void stop(struct world *world, int timeout_ms) {
    publisher_stop(world->publisher, timeout_ms);
    writer_free(world->writer);
    publisher_free(world->publisher);
    signing_free(world->signing);
}

static void open_world(struct world *world) {
    *world = (struct world){0};
    kafka_open(&world->kafka);
    fixture_open(&world->fixture, 1, environments);
}

static void close_world(struct world *world) {
    fixture_close(&world->fixture);
    kafka_close(&world->kafka);
    free(world->signing_key);
}

/* ---- what the outbox holds ---- */

struct look {
    struct job job;
    int64_t rows;
    sem_t finished;
};

static void count_row(void *context, struct store_outgoing *outgoing) {
    ++*(int64_t *)context;
    store_outgoing_free(outgoing);
}

static int64_t outbox_rows(struct store *store) {
    int64_t rows = 0;
    SUCCEEDS(store_each_outgoing(store, 0, 1000000, count_row, &rows, &error));
    return rows;
}

static int run_look(struct job *job, struct store *store, struct error *error) {
    struct look *look = (struct look *)job;
    look->rows = 0;
    return store_each_outgoing(store, 0, 1000000, count_row, &look->rows, error);
}

static void done_look(struct job *job, int status, const struct error *error) {
    (void)status, (void)error;
    sem_post(&((struct look *)job)->finished);
}

/* Waits until everything is marked: each look is a deferred job, which comes behind the marks that are on their way. */
static void await_empty_outbox(struct world *world) {
    struct look look = {.job = {.run = run_look, .done = done_look}, .rows = -1};
    sem_init(&look.finished, 0, 0);
    for (int i = 0; i < KAFKA_WAIT_MS / WRITER_DEFER_MS && look.rows != 0; i++) {
        assert_int_equal(writer_defer(world->writer, &look.job), 0);
        sem_wait(&look.finished);
    }
    sem_destroy(&look.finished);
    assert_int_equal(look.rows, 0);
}

/* ---- what Kafka holds ---- */

/* Fails unless this process's key has signed the record. */
static void expect_signed(struct world *world, struct verifier *verifier, const rd_kafka_message_t *record) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    char kid[SHA256_TEXT_SIZE], active[SHA256_TEXT_SIZE];
    struct error reason = {0};
    SUCCEEDS(cloudevent_read(record, &storage, &attributes, &error));
    if (verifier_check(verifier, record, &attributes, 1, kid, &reason) != SIGNATURE_VALID)
        fail_msg("%s", reason.message);
    signing_kid(world->signing, active);
    assert_string_equal(kid, active);
}

/* The header of a record; owned by the record. */
static const char *header_of(const rd_kafka_message_t *record, const char *name) {
    rd_kafka_headers_t *headers;
    const void *value;
    size_t length;
    assert_int_equal(rd_kafka_message_headers(record, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_header_get_last(headers, name, &value, &length), RD_KAFKA_RESP_ERR_NO_ERROR);
    return value;
}

static struct verifier *verifier_of(const char *public_key) {
    struct error reason;
    struct verifier *verifier = verifier_new();
    struct jwk *jwk = jwk_from_text(public_key, strlen(public_key), NULL, &reason);
    assert_non_null(jwk);
    SUCCEEDS(verifier_trust(verifier, jwk, INT64_MAX, &error));
    jwk_free(jwk);
    return verifier;
}

/* Reads all partitions to their ends, where the last event of the JWK must be of that version; returns how many events of it there
 * were. in_order: each version follows the one before it. The mock cluster forgets the oldest records of a long partition. */
static int read_through(struct world *world, const char *jwk_id, int64_t last_version, bool in_order) {
    rd_kafka_t *reader = kafka_reader(&world->kafka, world->kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    int64_t version = 0;
    int count = 0;
    bool ended[KAFKA_EVENT_PARTITIONS] = {false};
    for (int left = KAFKA_EVENT_PARTITIONS; left > 0;) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(reader, KAFKA_WAIT_MS);
        assert_non_null(record);
        if (record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && !ended[record->partition]) {
            ended[record->partition] = true;
            left--;
        } else if (record->err == RD_KAFKA_RESP_ERR_NO_ERROR && record->payload && record->key_len == strlen(jwk_id) &&
                   memcmp(record->key, jwk_id, record->key_len) == 0) {
            struct event event;
            SUCCEEDS(event_decode(record->payload, record->len, &event, &error));
            if (in_order && version > 0 && event.version != version + 1)
                fail_msg("version %lld follows %lld", (long long)event.version, (long long)version);
            version = event.version;
            count++;
            event_free(&event);
        }
        rd_kafka_message_destroy(record);
    }
    kafka_client_free(reader);
    assert_int_equal(version, last_version);
    return count;
}

/* Records a change and offers its event, as the writer does after its commit. */
static void publish(struct world *world, struct store_change *change) {
    struct store_outgoing *outgoing = change->outgoing;
    change->outgoing = NULL;
    publisher_send(world->publisher, outgoing);
    publisher_flush(world->publisher);
    store_change_clear(change);
}

static void create(struct world *world, const char *name, char jwk_id[UUID_SIZE]) {
    struct store_change change;
    fixture_create(&world->fixture, name, &change);
    memcpy(jwk_id, change.jwk_id, UUID_SIZE);
    publish(world, &change);
}

/* Many updates of one JWK in one transaction; offered when there is a publisher. */
static void update_many(struct world *world, const char *name, int count, bool offer) {
    struct store_change *changes = memory_new((size_t)count * sizeof *changes);
    SUCCEEDS(store_begin(world->fixture.store, &error));
    for (int i = 0; i < count; i++)
        SUCCEEDS(store_update_jwk(world->fixture.store, &world->fixture.author, name, NULL, "text", &changes[i], &error));
    SUCCEEDS(store_commit(world->fixture.store, &error));
    for (int i = 0; i < count; i++) {
        if (offer)
            publish(world, &changes[i]);
        else
            store_change_clear(&changes[i]);
    }
    free(changes);
}

static void run_sql(struct world *world, const char *sql) {
    assert_int_equal(sqlite3_exec(world->fixture.store->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* ---- tests ---- */

static void an_event_goes_out_as_it_was_recorded(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct store_identity identity;
    char hash[SHA256_TEXT_SIZE], event_id[UUID_SIZE], wanted_hash[SHA256_TEXT_SIZE], jwk_id[UUID_SIZE], source[64];
    open_world(&world);
    start(&world);
    world.fixture.author.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    fixture_create(&world.fixture, "my-jwk", &change);
    memcpy(event_id, change.outgoing->event_id, UUID_SIZE);
    memcpy(wanted_hash, change.event_hash, SHA256_TEXT_SIZE);
    memcpy(jwk_id, change.jwk_id, UUID_SIZE);
    int partition = change.partition;
    publish(&world, &change);
    rd_kafka_t *reader = kafka_reader(&world.kafka, world.kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    rd_kafka_message_t *record = kafka_read(reader);
    assert_int_equal(record->partition, partition);
    assert_int_equal(record->key_len, UUID_SIZE - 1);
    assert_memory_equal(record->key, jwk_id, UUID_SIZE - 1);
    sha256_text(record->payload, record->len, hash);
    assert_string_equal(hash, wanted_hash);
    SUCCEEDS(cloudevent_read(record, &storage, &attributes, &error));
    SUCCEEDS(store_read_identity(world.fixture.store, &identity, &error));
    snprintf(source, sizeof source, "urn:jwk-api:%s", identity.uid);
    assert_string_equal(attributes.id, event_id);
    assert_string_equal(attributes.source, source);
    assert_string_equal(attributes.type, EVENT_TYPE_CREATED);
    assert_string_equal(attributes.subject, "projects/my-project/jwks/my-jwk");
    assert_string_equal(attributes.dataschema, "urn:jwk-api:schema:jwk-event:1");
    assert_string_equal(attributes.traceparent, world.fixture.author.traceparent);
    assert_non_null(attributes.time);
    rd_kafka_message_destroy(record);
    kafka_client_free(reader);
    await_empty_outbox(&world);
    stop(&world, 5000);
    close_world(&world);
}

static void events_of_a_jwk_keep_their_order_and_are_marked(void **state) {
    (void)state;
    struct world world;
    char one[UUID_SIZE], two[UUID_SIZE];
    open_world(&world);
    start(&world);
    create(&world, "one", one);
    create(&world, "two", two);
    for (int i = 0; i < 3; i++) {
        update_many(&world, "one", UPDATES / 3, true);
        update_many(&world, "two", UPDATES / 3, true);
    }
    await_empty_outbox(&world);
    assert_int_equal(read_through(&world, one, UPDATES + 1, true), UPDATES + 1);
    assert_int_equal(read_through(&world, two, UPDATES + 1, true), UPDATES + 1);
    stop(&world, 5000);
    close_world(&world);
}

static void what_the_outbox_holds_at_the_start_is_sent_before_what_comes(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    memcpy(jwk_id, change.jwk_id, UUID_SIZE);
    store_change_clear(&change);
    update_many(&world, "my-jwk", UPDATES, false);
    start(&world);
    update_many(&world, "my-jwk", UPDATES, true);
    await_empty_outbox(&world);
    assert_int_equal(read_through(&world, jwk_id, 2 * UPDATES + 1, true), 2 * UPDATES + 1);
    stop(&world, 5000);
    close_world(&world);
}

static void what_is_offered_before_the_outbox_was_sent_overtakes_nothing(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    memcpy(jwk_id, change.jwk_id, UUID_SIZE);
    store_change_clear(&change);
    prepare(&world);
    update_many(&world, "my-jwk", 3, true);
    publisher_start(world.publisher);
    await_empty_outbox(&world);
    assert_int_equal(read_through(&world, jwk_id, 4, true), 4);
    stop(&world, 5000);
    close_world(&world);
}

/* The thread may find an event in the outbox before the writer offers it. */
static void what_was_found_in_the_outbox_is_not_sent_again_when_it_is_offered(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    memcpy(jwk_id, change.jwk_id, UUID_SIZE);
    start(&world);
    await_empty_outbox(&world);
    publish(&world, &change);
    update_many(&world, "my-jwk", 1, true);
    await_empty_outbox(&world);
    assert_int_equal(read_through(&world, jwk_id, 2, true), 2);
    stop(&world, 5000);
    close_world(&world);
}

/* More than may be in flight: the rest waits in the outbox, and nothing overtakes it. */
static void a_broker_that_is_away_for_long_gets_everything_in_order(void **state) {
    (void)state;
    struct world world;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    start(&world);
    create(&world, "my-jwk", jwk_id);
    await_empty_outbox(&world);
    assert_int_equal(rd_kafka_mock_broker_set_down(world.kafka.cluster, 1), 0);
    update_many(&world, "my-jwk", MORE_THAN_IN_FLIGHT, true);
    assert_int_equal(outbox_rows(world.fixture.store), MORE_THAN_IN_FLIGHT);
    assert_int_equal(rd_kafka_mock_broker_set_up(world.kafka.cluster, 1), 0);
    update_many(&world, "my-jwk", UPDATES, true);
    await_empty_outbox(&world);
    read_through(&world, jwk_id, MORE_THAN_IN_FLIGHT + UPDATES + 1, true);
    stop(&world, 5000);
    close_world(&world);
}

static void what_was_not_delivered_at_a_stop_is_sent_at_the_next_start(void **state) {
    (void)state;
    struct world world;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    start(&world);
    create(&world, "my-jwk", jwk_id);
    await_empty_outbox(&world);
    assert_int_equal(rd_kafka_mock_broker_set_down(world.kafka.cluster, 1), 0);
    update_many(&world, "my-jwk", UPDATES, true);
    stop(&world, 1);
    assert_int_equal(outbox_rows(world.fixture.store), UPDATES);
    assert_int_equal(rd_kafka_mock_broker_set_up(world.kafka.cluster, 1), 0);
    start(&world);
    await_empty_outbox(&world);
    read_through(&world, jwk_id, UPDATES + 1, false);
    stop(&world, 5000);
    close_world(&world);
}

/* The process died after the delivery and before the mark: the same events go out again, and the latest is the last. */
static void events_sent_again_end_with_the_latest(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    fixture_create(&world.fixture, "my-jwk", &change);
    memcpy(jwk_id, change.jwk_id, UUID_SIZE);
    store_change_clear(&change);
    update_many(&world, "my-jwk", UPDATES, false);
    run_sql(&world, "CREATE TABLE kept AS SELECT * FROM outbox");
    start(&world);
    await_empty_outbox(&world);
    stop(&world, 5000);
    run_sql(&world, "INSERT INTO outbox SELECT * FROM kept");
    start(&world);
    await_empty_outbox(&world);
    assert_int_equal(read_through(&world, jwk_id, UPDATES + 1, false), 2 * (UPDATES + 1));
    stop(&world, 5000);
    close_world(&world);
}

/* The broker refuses some batches for good: what is behind them may have been delivered, and still the latest is the last. */
static void after_a_refused_event_everything_goes_out_again_in_order(void **state) {
    (void)state;
    struct world world;
    char one[UUID_SIZE], two[UUID_SIZE];
    open_world(&world);
    start(&world);
    create(&world, "one", one);
    create(&world, "two", two);
    await_empty_outbox(&world);
    rd_kafka_mock_push_request_errors(world.kafka.cluster, 0 /* Produce */, 2, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    for (int i = 0; i < UPDATES; i++) {
        update_many(&world, "one", 1, true);
        update_many(&world, "two", 1, true);
    }
    await_empty_outbox(&world);
    read_through(&world, one, UPDATES + 1, false);
    read_through(&world, two, UPDATES + 1, false);
    stop(&world, 5000);
    close_world(&world);
}

/* Each event is a request of its own here, so that only the first of two is refused: the second is on the topic then, and would
 * leave the first to go out as the last one if it was marked. */
static void what_was_delivered_behind_a_refused_event_goes_out_again_behind_it(void **state) {
    (void)state;
    struct world world;
    char jwk_id[UUID_SIZE], property[] = "batch.num.messages=1", *properties[] = {property};
    const struct option_list one_a_request = {.items = properties, .count = 1};
    struct store_change changes[2];
    open_world(&world);
    world.kafka.settings.properties = &one_a_request;
    start(&world);
    create(&world, "my-jwk", jwk_id);
    await_empty_outbox(&world);
    rd_kafka_mock_push_request_errors(world.kafka.cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(world.kafka.cluster, 1, 300), 0); /* both go out before the answer */
    for (int i = 0; i < 2; i++) {
        fixture_update(&world.fixture, "my-jwk", NULL, "text", &changes[i]);
        publisher_send(world.publisher, changes[i].outgoing);
        changes[i].outgoing = NULL;
        store_change_clear(&changes[i]);
    }
    publisher_flush(world.publisher);
    await_empty_outbox(&world);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(world.kafka.cluster, 1, 0), 0);
    assert_in_range(read_through(&world, jwk_id, 3, false), 3, 4); /* 3: this process stood still, and the second waited */
    stop(&world, 5000);
    close_world(&world);
}

/* Stands in the place of librdkafka's in this program: while a thread of a client hangs no flush brings its reports. */
static atomic_bool is_hanging;
rd_kafka_resp_err_t rd_kafka_flush(rd_kafka_t *client, int timeout_ms) {
    rd_kafka_resp_err_t (*real)(rd_kafka_t *, int);
    *(void **)&real = dlsym(RTLD_NEXT, "rd_kafka_flush");
    return atomic_load(&is_hanging) ? RD_KAFKA_RESP_ERR__TIMED_OUT : real(client, timeout_ms);
}

struct told {
    sem_t told;
    rd_kafka_resp_err_t result;
};

static void tell(void *context, const rd_kafka_message_t *record) {
    struct told *told = context;
    told->result = record->err;
    sem_post(&told->told);
}

static void a_record_of_another_outbox_is_told_of_also_when_its_producer_hangs_at_its_end(void **state) {
    (void)state;
    struct world world;
    struct error error;
    struct told told = {0};
    char one[UUID_SIZE];
    const char *other;
    sem_init(&told.told, 0, 0);
    open_world(&world);
    other = world.kafka.topics.acks; /* any that is there */
    start(&world);
    create(&world, "one", one);
    await_empty_outbox(&world);
    assert_int_equal(rd_kafka_mock_partition_set_leader(world.kafka.cluster, other, 0, -1), 0);
    assert_int_equal(publisher_produce(world.publisher, other, memory_string("x"), 1, rd_kafka_headers_new(1), tell, &told, &error), 0);
    atomic_store(&is_hanging, true);
    rd_kafka_mock_push_request_errors(world.kafka.cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    update_many(&world, "one", 1, true);
    await_empty_outbox(&world);
    sem_wait(&told.told);
    assert_int_not_equal(told.result, RD_KAFKA_RESP_ERR_NO_ERROR);
    atomic_store(&is_hanging, false);
    stop(&world, 5000);
    close_world(&world);
    sem_destroy(&told.told);
}

static int add_tombstones(struct job *job, struct store *store, struct error *error) {
    struct look *look = (struct look *)job;
    int added;
    if (store_add_tombstones(store, INT64_MAX, 10, &added, error))
        return -1;
    look->rows = added;
    return 0;
}

static atomic_int made_again;
static void note_made_again(void *context) {
    (void)context;
    atomic_fetch_add(&made_again, 1);
}

/* Also when each topic has had one record alone: then all that has been published must be published again. */
static void an_offset_that_was_given_before_is_of_another_topic(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    prepare(&world);
    atomic_store(&made_again, 0);
    publisher_watch_topic(world.publisher, NULL, note_made_again, NULL);
    publisher_start(world.publisher);
    create(&world, "my-jwk", jwk_id);
    await_empty_outbox(&world);
    assert_int_equal(atomic_load(&made_again), 0);
    atomic_store(&kafka_told_offset, 0);
    fixture_update(&world.fixture, "my-jwk", NULL, "text", &change);
    publish(&world, &change);
    await_empty_outbox(&world);
    atomic_store(&kafka_told_offset, -1);
    stop(&world, 5000);
    assert_int_equal(atomic_load(&made_again), 1);
    close_world(&world);
}

static void a_tombstone_follows_the_delete(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char jwk_id[UUID_SIZE];
    struct look look = {.job = {.run = add_tombstones, .done = done_look}};
    open_world(&world);
    start(&world);
    create(&world, "my-jwk", jwk_id);
    fixture_delete(&world.fixture, "my-jwk", &change);
    publish(&world, &change);
    sem_init(&look.finished, 0, 0);
    assert_int_equal(writer_defer(world.writer, &look.job), 0);
    sem_wait(&look.finished);
    assert_int_equal(look.rows, 1);
    publisher_look(world.publisher);
    rd_kafka_t *reader = kafka_reader(&world.kafka, world.kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    for (int i = 0; i < 3; i++) {
        rd_kafka_message_t *record = kafka_read(reader);
        assert_memory_equal(record->key, jwk_id, UUID_SIZE - 1);
        if (i < 2)
            assert_non_null(record->payload);
        else
            assert_null(record->payload);
        rd_kafka_message_destroy(record);
    }
    kafka_client_free(reader);
    await_empty_outbox(&world);
    sem_destroy(&look.finished);
    stop(&world, 5000);
    close_world(&world);
}

/* ---- signatures ---- */

/* Reads count records, each of which must be signed by the present key; calls look for each. */
static void read_signed(struct world *world, int count, void (*look)(void *context, const rd_kafka_message_t *record), void *context) {
    rd_kafka_t *reader = kafka_reader(&world->kafka, world->kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    struct verifier *verifier = verifier_of(world->signing_key);
    for (int i = 0; i < count; i++) {
        rd_kafka_message_t *record = kafka_read(reader);
        expect_signed(world, verifier, record);
        look(context, record);
        rd_kafka_message_destroy(record);
    }
    verifier_free(verifier);
    kafka_client_free(reader);
}

struct shared {
    char signature[512];
    int equal, tombstones;
};

static void compare_signature(void *context, const rd_kafka_message_t *record) {
    struct shared *shared = context;
    if (!shared->signature[0])
        snprintf(shared->signature, sizeof shared->signature, "%s", header_of(record, "ce_signature"));
    shared->equal += strcmp(shared->signature, header_of(record, "ce_signature")) == 0;
    shared->tombstones += record->payload == NULL;
}

static void events_of_one_commit_share_one_signature(void **state) {
    (void)state;
    struct world world;
    struct shared shared = {.equal = 0};
    open_world(&world);
    start(&world);
    await_empty_outbox(&world); /* nothing is backlogged: what comes goes through the flush */
    for (int i = 0; i < 100; i++) {
        char name[16];
        struct store_change change;
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_create(&world.fixture, name, &change);
        publisher_send(world.publisher, change.outgoing);
        change.outgoing = NULL;
        store_change_clear(&change);
    }
    publisher_flush(world.publisher);
    read_signed(&world, 100, compare_signature, &shared);
    assert_int_equal(shared.equal, 100);
    stop(&world, 1000);
    close_world(&world);
}

static void what_is_committed_while_events_are_on_their_way_goes_out_together(void **state) {
    (void)state;
    struct world world;
    char jwk_id[UUID_SIZE];
    open_world(&world);
    start(&world);
    await_empty_outbox(&world);
    /* The first event stays on its way while the others come. */
    assert_int_equal(rd_kafka_mock_broker_set_rtt(world.kafka.cluster, 1, 1000), RD_KAFKA_RESP_ERR_NO_ERROR);
    create(&world, "one", jwk_id);
    create(&world, "two", jwk_id);
    create(&world, "three", jwk_id);
    assert_int_equal(rd_kafka_mock_broker_set_rtt(world.kafka.cluster, 1, 0), RD_KAFKA_RESP_ERR_NO_ERROR);
    await_empty_outbox(&world);
    rd_kafka_t *reader = kafka_reader(&world.kafka, world.kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    char signatures[3][512];
    for (int i = 0; i < 3; i++) {
        rd_kafka_message_t *record = kafka_read(reader);
        snprintf(signatures[i], sizeof signatures[i], "%s", header_of(record, "ce_signature"));
        rd_kafka_message_destroy(record);
    }
    kafka_client_free(reader);
    int equal = 0; /* records of different partitions come in any order */
    for (int i = 0; i < 3; i++)
        equal += strcmp(signatures[i], signatures[(i + 1) % 3]) == 0;
    assert_int_equal(equal, 1); /* two of the three */
    stop(&world, 1000);
    close_world(&world);
}

static void a_partition_that_is_away_does_not_hold_back_the_others(void **state) {
    (void)state;
    struct world world;
    struct store_change change;
    char name[16];
    int elsewhere = 0;
    open_world(&world);
    start(&world);
    await_empty_outbox(&world);
    rd_kafka_t *reader = kafka_reader(&world.kafka, world.kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    fixture_create(&world.fixture, "away", &change);
    int32_t away = change.outgoing->partition;
    assert_int_equal(rd_kafka_mock_partition_set_leader(world.kafka.cluster, world.kafka.topics.events, away, -1), 0);
    publish(&world, &change);
    for (int i = 0; i < 100 && elsewhere < 3; i++) {
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_create(&world.fixture, name, &change);
        elsewhere += change.outgoing->partition != away;
        publish(&world, &change);
    }
    for (int i = 0; i < elsewhere; i++) {
        rd_kafka_message_t *record = kafka_read(reader);
        assert_int_not_equal(record->partition, away);
        rd_kafka_message_destroy(record);
    }
    assert_int_equal(rd_kafka_mock_partition_set_leader(world.kafka.cluster, world.kafka.topics.events, away, 1), 0);
    await_empty_outbox(&world);
    kafka_client_free(reader);
    stop(&world, 1000);
    close_world(&world);
}

static void what_is_sent_already_is_left_out_of_a_signature(void **state) {
    (void)state;
    struct world world;
    struct shared shared = {.equal = 0};
    struct store_change first, second;
    open_world(&world);
    start(&world);
    await_empty_outbox(&world);
    fixture_create(&world.fixture, "one", &first);
    publisher_look(world.publisher); /* it goes out of the outbox before it is offered */
    read_signed(&world, 1, compare_signature, &shared);
    await_empty_outbox(&world);
    fixture_create(&world.fixture, "two", &second);
    publisher_send(world.publisher, first.outgoing);
    publisher_send(world.publisher, second.outgoing);
    first.outgoing = second.outgoing = NULL;
    publisher_flush(world.publisher);
    read_signed(&world, 2, compare_signature, &shared);
    assert_int_equal(shared.equal, 2); /* the first one twice, the second with another */
    store_change_clear(&first);
    store_change_clear(&second);
    stop(&world, 1000);
    close_world(&world);
}

static void a_stored_backlog_and_its_tombstones_are_signed_in_chunks(void **state) {
    (void)state;
    struct world world;
    struct shared shared = {.equal = 0};
    struct store_change change;
    int added;
    open_world(&world);
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_create(&world.fixture, name, &change);
        store_change_clear(&change);
    }
    fixture_delete(&world.fixture, "jwk-0", &change);
    store_change_clear(&change);
    SUCCEEDS(store_begin(world.fixture.store, &error));
    SUCCEEDS(store_add_tombstones(world.fixture.store, INT64_MAX, 10, &added, &error));
    SUCCEEDS(store_commit(world.fixture.store, &error));
    assert_int_equal(added, 1);
    start(&world);
    read_signed(&world, 22, compare_signature, &shared);
    assert_int_equal(shared.equal, 22);
    assert_int_equal(shared.tombstones, 1);
    stop(&world, 1000);
    close_world(&world);
}

static void count_signature(void *context, const rd_kafka_message_t *record) {
    (void)record;
    ++*(int *)context;
}

static void another_key_signs_from_the_next_flush_on(void **state) {
    (void)state;
    struct world world;
    char jwk_id[UUID_SIZE];
    int count = 0;
    open_world(&world);
    start(&world);
    await_empty_outbox(&world);
    struct signer *other = signer_generate();
    free(world.signing_key);
    world.signing_key = memory_string(signer_public_key(other));
    signing_replace(world.signing, other);
    create(&world, "one", jwk_id);
    read_signed(&world, 1, count_signature, &count);
    assert_int_equal(count, 1);
    stop(&world, 1000);
    close_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_one_commit_share_one_signature),
        cmocka_unit_test(what_is_committed_while_events_are_on_their_way_goes_out_together),
        cmocka_unit_test(a_partition_that_is_away_does_not_hold_back_the_others),
        cmocka_unit_test(what_is_sent_already_is_left_out_of_a_signature),
        cmocka_unit_test(a_stored_backlog_and_its_tombstones_are_signed_in_chunks),
        cmocka_unit_test(another_key_signs_from_the_next_flush_on),
        cmocka_unit_test(an_event_goes_out_as_it_was_recorded),
        cmocka_unit_test(events_of_a_jwk_keep_their_order_and_are_marked),
        cmocka_unit_test(what_the_outbox_holds_at_the_start_is_sent_before_what_comes),
        cmocka_unit_test(what_is_offered_before_the_outbox_was_sent_overtakes_nothing),
        cmocka_unit_test(what_was_found_in_the_outbox_is_not_sent_again_when_it_is_offered),
        cmocka_unit_test(a_broker_that_is_away_for_long_gets_everything_in_order),
        cmocka_unit_test(what_was_not_delivered_at_a_stop_is_sent_at_the_next_start),
        cmocka_unit_test(events_sent_again_end_with_the_latest),
        cmocka_unit_test(after_a_refused_event_everything_goes_out_again_in_order),
        cmocka_unit_test(what_was_delivered_behind_a_refused_event_goes_out_again_behind_it),
        cmocka_unit_test(a_record_of_another_outbox_is_told_of_also_when_its_producer_hangs_at_its_end),
        cmocka_unit_test(an_offset_that_was_given_before_is_of_another_topic),
        cmocka_unit_test(a_tombstone_follows_the_delete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
