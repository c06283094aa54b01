/* The audit trail from the store to its topic: whole and signed, whoever wrote it, whatever happened to broker and process. */
#include "kafka_reports.h"
#include "store_fixture.h"

#include "api/audit_publisher.h"
#include "api/audit_verify.h"
#include "api/store_sql.h"
#include "common/clock.h"
#include "common/metrics.h"

static const char *const environments[] = {"production"};

enum { LINES = 300, STOP_MS = 10000 };

struct world {
    struct kafka_fixture kafka;
    struct store_fixture fixture;
    struct verifier *keys;
    struct refusals *refusals;
    struct signing *signing;
    struct writer *writer;
    struct publisher *publisher;
    struct audit_publisher *audit;
};

static void open_world(struct world *world) {
    kafka_open(&world->kafka);
    fixture_open(&world->fixture, 1, environments);
    world->keys = verifier_new();
}

static void close_world(struct world *world) {
    verifier_free(world->keys);
    fixture_close(&world->fixture);
    kafka_close(&world->kafka);
}

static atomic_int restored;
static void note_restored(void *context) {
    (void)context;
    atomic_fetch_add(&restored, 1);
}

/* Each start has a key of its own, as if another had been activated meanwhile. */
static void start(struct world *world) {
    struct error error = {0};
    struct signer *signer = signer_generate();
    struct jwk *key = jwk_from_text(signer_public_key(signer), strlen(signer_public_key(signer)), NULL, &error);
    assert_int_equal(verifier_trust(world->keys, key, INT64_MAX, &error), 0);
    jwk_free(key);
    world->signing = signing_new(signer);
    world->refusals = refusals_new();
    const struct audit_publisher_options options = {
        .topic = world->kafka.topics.audit, .signing = world->signing, .refusals = world->refusals, .restore = note_restored};
    struct store *store = fixture_connect(&world->fixture, STORE_WRITE);
    world->audit = audit_publisher_new(&options, fixture_connect(&world->fixture, STORE_READ), &error);
    assert_non_null(world->audit);
    store_audit_watch(store, audit_publisher_look, world->audit);
    world->writer = writer_new(store);
    world->publisher = publisher_new(&world->kafka.settings, world->kafka.topics.events, fixture_connect(&world->fixture, STORE_READ),
                                     world->writer, world->signing, &error);
    assert_non_null(world->publisher);
    publisher_add_topic(world->publisher, world->kafka.topics.audit);
    publisher_start(world->publisher);
    audit_publisher_start(world->audit, world->writer, world->publisher);
}

static void stop(struct world *world, int timeout_ms) {
    audit_publisher_stop(world->audit, timeout_ms);
    publisher_stop(world->publisher, timeout_ms);
    writer_free(world->writer);
    publisher_free(world->publisher);
    audit_publisher_free(world->audit);
    refusals_free(world->refusals);
    signing_free(world->signing);
}

/* As a command does: with a connection of its own, a transaction each. */
static void tell(struct world *world, int count) {
    for (int i = 0; i < count; i++)
        SUCCEEDS(store_audit_command(world->fixture.store, "test", "x", NULL, &error));
}

static bool count_row(void *context, int64_t sequence, const char *lines, size_t length) {
    (void)sequence, (void)lines, (void)length;
    ++*(int *)context;
    return true;
}

static int waiting_rows(struct world *world) {
    int rows = 0;
    SUCCEEDS(store_audit_each(world->fixture.store, 0, count_row, &rows, &error));
    return rows;
}

static void await_no_rows(struct world *world) {
    for (int64_t until = clock_monotonic_ms() + KAFKA_WAIT_MS; waiting_rows(world) > 0;) {
        assert_true(clock_monotonic_ms() < until);
        usleep(10000); /* between two looks */
    }
}

struct reading {
    struct audit_verifier *verifier;
    int records, repeated;
    char types[4096]; /* first letter of each entry's */
};

static void take_value(struct reading *reading, const rd_kafka_message_t *record) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    SUCCEEDS(cloudevent_read(record, &storage, &attributes, &error));
    assert_string_equal(attributes.type, "jwk.audit.v1");
    assert_string_equal(attributes.dataschema, "urn:jwk-api:schema:jwk-audit:1");
    assert_int_equal(record->key_len, 0);
    enum audit_verdict verdict = AUDIT_BROKEN;
    struct audit_place place = {.offset = record->offset};
    const char *at = record->payload, *end = at + record->len;
    for (const char *next; at < end; at = next + 1) {
        struct audit_line line;
        struct error error;
        next = memchr(at, '\n', (size_t)(end - at));
        next = next ? next : end;
        place.line++;
        verdict = audit_verifier_take(reading->verifier, at, (size_t)(next - at), &place, &line, &error);
        if (verdict == AUDIT_BROKEN)
            fail_msg("%s", error.message);
        reading->repeated += verdict == AUDIT_REPEATED;
        if (verdict == AUDIT_NEW) {
            strncat(reading->types, line.type, 1);
            audit_line_free(&line);
        }
    }
    assert_int_equal(verdict, AUDIT_SIGNED);
    reading->records++;
}

/* Reads and judges the whole topic; the trail must reach that line. */
static struct reading read_trail(struct world *world, int64_t last_sequence) {
    struct reading reading = {.verifier = audit_verifier_new(world->keys, NULL)};
    struct audit_known last = {0};
    rd_kafka_t *reader = kafka_reader(&world->kafka, world->kafka.topics.audit, 1);
    for (bool at_end = false; !at_end;) {
        rd_kafka_message_t *record = rd_kafka_consumer_poll(reader, KAFKA_WAIT_MS);
        assert_non_null(record);
        at_end = record->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
        if (!record->err)
            take_value(&reading, record);
        rd_kafka_message_destroy(record);
    }
    kafka_client_free(reader);
    audit_verifier_last(reading.verifier, &last);
    SUCCEEDS(audit_verifier_end(reading.verifier, &error));
    assert_int_equal(last.sequence, last_sequence);
    audit_verifier_free(reading.verifier);
    return reading;
}

/* ---- tests ---- */

static void what_commands_wrote_before_the_start_goes_out_first_and_the_stop_last(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    tell(&world, 3);
    start(&world);
    tell(&world, 2);
    audit_publisher_look(world.audit);
    stop(&world, STOP_MS);
    struct reading reading = read_trail(&world, 6);
    assert_string_equal(reading.types, "aaaaas");
    assert_int_equal(waiting_rows(&world), 0);
    close_world(&world);
}

struct note {
    struct job job;
    bool fails;
};

static int run_note(struct job *job, struct store *store, struct error *error) {
    if (store_audit_command(store, "job", NULL, NULL, error))
        return -1;
    return ((struct note *)job)->fails ? error_set(error, ERROR_CONFLICT, "refused") : 0;
}

static void done_note(struct job *job, int status, const struct error *error) {
    (void)status, (void)error;
    free(job);
}

static void what_the_writer_commits_goes_out_and_what_it_takes_back_does_not(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    start(&world);
    for (int i = 0; i < LINES; i++) {
        struct note *note = memory_new(sizeof *note);
        *note = (struct note){.job = {.run = run_note, .done = done_note}, .fails = i % 3 == 0};
        assert_int_equal(writer_submit(world.writer, &note->job), 0);
    }
    stop(&world, STOP_MS);
    struct reading reading = read_trail(&world, LINES * 2 / 3 + 1);
    assert_in_range(reading.records, 1, LINES / 2); /* many transactions share one */
    assert_int_equal(reading.repeated, 0);
    assert_int_equal(waiting_rows(&world), 0);
    close_world(&world);
}

static void a_broker_that_was_away_gets_everything_in_order(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    start(&world);
    assert_int_equal(rd_kafka_mock_broker_set_down(world.kafka.cluster, 1), 0);
    tell(&world, LINES);
    audit_publisher_look(world.audit);
    assert_int_equal(waiting_rows(&world), LINES);
    assert_int_equal(rd_kafka_mock_broker_set_up(world.kafka.cluster, 1), 0);
    stop(&world, STOP_MS);
    read_trail(&world, LINES + 1);
    close_world(&world);
}

static void what_was_not_delivered_at_a_stop_goes_out_at_the_next_start(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    start(&world);
    assert_int_equal(rd_kafka_mock_broker_set_down(world.kafka.cluster, 1), 0);
    tell(&world, LINES);
    stop(&world, 200);
    assert_int_equal(waiting_rows(&world), LINES + 1);
    assert_int_equal(rd_kafka_mock_broker_set_up(world.kafka.cluster, 1), 0);
    start(&world);
    stop(&world, STOP_MS);
    read_trail(&world, LINES + 2);
    close_world(&world);
}

/* The process died after the delivery and before the removal: the same lines go out again, in another cut. */
static void lines_sent_again_are_the_same(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    tell(&world, 20);
    assert_int_equal(sqlite3_exec(world.fixture.store->db, "CREATE TABLE kept AS SELECT * FROM audit_outbox", NULL, NULL, NULL), SQLITE_OK);
    start(&world);
    stop(&world, STOP_MS);
    assert_int_equal(sqlite3_exec(world.fixture.store->db, "INSERT INTO audit_outbox SELECT * FROM kept WHERE sequence > 5", NULL, NULL, NULL),
                     SQLITE_OK);
    tell(&world, 5);
    start(&world);
    stop(&world, STOP_MS);
    struct reading reading = read_trail(&world, 27);
    assert_int_equal(reading.repeated, 15);
    close_world(&world);
}

/* The broker refuses a record for good: it is sent again, and nothing goes out before it. */
static void a_record_that_is_refused_is_sent_again(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    start(&world);
    atomic_store(&restored, 0);
    rd_kafka_mock_push_request_errors(world.kafka.cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    tell(&world, 1);
    audit_publisher_look(world.audit);
    await_no_rows(&world);
    assert_true(atomic_load(&restored) > 0); /* its topic may be what was missing */
    stop(&world, STOP_MS);
    read_trail(&world, 2);
    close_world(&world);
}

static bool has_told_losses(int count) {
    struct text text = TEXT_EMPTY;
    char line[64];
    snprintf(line, sizeof line, "\njwk_api_audit_topic_losses_total %d\n", count);
    metrics_write(&text);
    bool has = strstr(text.bytes, line) != NULL;
    text_free(&text);
    return has;
}

/* Also when the topic has had one record alone. */
static void an_offset_that_was_given_before_is_told_as_a_loss(void **state) {
    (void)state;
    struct world world;
    open_world(&world);
    start(&world);
    tell(&world, 1);
    audit_publisher_look(world.audit);
    await_no_rows(&world);
    assert_true(has_told_losses(0));
    atomic_store(&kafka_told_offset, 0);
    tell(&world, 1);
    audit_publisher_look(world.audit);
    await_no_rows(&world);
    assert_true(has_told_losses(1));
    atomic_store(&kafka_told_offset, -1);
    stop(&world, STOP_MS);
    read_trail(&world, 3);
    close_world(&world);
}

static void more_than_a_record_holds_goes_out_as_several(void **state) {
    (void)state;
    struct world world;
    char object[2000];
    open_world(&world);
    memset(object, 'x', sizeof object - 1);
    object[sizeof object - 1] = '\0';
    for (int transaction = 0; transaction < 3; transaction++) {
        SUCCEEDS(store_begin(world.fixture.store, &error));
        for (int i = 0; i < 300; i++)
            SUCCEEDS(store_audit_command(world.fixture.store, "test", object, NULL, &error));
        SUCCEEDS(store_commit(world.fixture.store, &error));
    }
    start(&world);
    stop(&world, STOP_MS);
    struct reading reading = read_trail(&world, 901);
    assert_in_range(reading.records, 4, 7);
    close_world(&world);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_commands_wrote_before_the_start_goes_out_first_and_the_stop_last),
        cmocka_unit_test(what_the_writer_commits_goes_out_and_what_it_takes_back_does_not),
        cmocka_unit_test(a_broker_that_was_away_gets_everything_in_order),
        cmocka_unit_test(what_was_not_delivered_at_a_stop_goes_out_at_the_next_start),
        cmocka_unit_test(lines_sent_again_are_the_same),
        cmocka_unit_test(a_record_that_is_refused_is_sent_again),
        cmocka_unit_test(an_offset_that_was_given_before_is_told_as_a_loss),
        cmocka_unit_test(more_than_a_record_holds_goes_out_as_several),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
