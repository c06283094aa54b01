/* Looking back: what a record that was read before tells, and that everything begins again when it is another topic's, or the
 * state has not heard of it for too long. */
#include "kafka_fixture.h"
#include "worker_fixture.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/credentials.h"
#include "common/message.h"
#include "common/signature.h"
#include "worker/consume.h"
#include "worker/look_back.h"

enum { DAY_MS = 86400000, EPOCH = 3 /* of the state */ };

static struct worker_fixture *fixture;
static struct kafka_fixture kafka;
static struct progress *progress;
static struct consumer *consumer;
static int wake;

static int set_up(void **state) {
    if (fixture_set_up(state))
        return -1;
    fixture = *state;
    kafka_open(&kafka);
    progress = progress_new();
    wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return wake < 0 ? -1 : 0;
}

static int tear_down(void **state) {
    consumer_close(consumer);
    consumer = NULL;
    progress_free(progress);
    kafka_close(&kafka);
    close(wake);
    return fixture_tear_down(state);
}

/* ---- what a record tells ---- */

static void encode(struct text *value, int64_t epoch, int64_t sequence) {
    const struct event event = {.operation = EVENT_CREATE,
                                .deployment_id = JWK_C,
                                .epoch = epoch,
                                .version = 1,
                                .sequence = sequence,
                                .project_id = PROJECT_ID,
                                .project_name = "MyProject",
                                .jwk_id = JWK_A,
                                .name = "one",
                                .type = "OKP",
                                .kid = "a",
                                .public_key = PUBLIC_A,
                                .actor = "alice",
                                .time = "2026-01-01T00:00:00.000Z"};
    event_encode(&event, value);
}

/* Writes a record, signed when there is a signer, and returns what looking back at it tells. */
static int64_t sequence_of(struct trust *trust, rd_kafka_t *reader, struct signer *signer, const char *value) {
    const struct cloudevent attributes = {.id = JWK_B, .source = "urn:test", .type = "jwk.created.v1", .subject = JWK_A};
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    if (signer) {
        unsigned char leaf[1][32];
        signature_leaf(JWK_A, &attributes, value, value ? strlen(value) : 0, leaf[0]);
        struct signed_batch *batch = signature_sign(signer, (const unsigned char(*)[32])leaf, 1);
        signature_add_headers(batch, 0, headers);
        signed_batch_free(batch);
    }
    assert_int_equal(rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.events), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(JWK_A, strlen(JWK_A)),
                                       RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value ? strlen(value) : 0),
                                       RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(kafka.producer, KAFKA_WAIT_MS), 0);
    rd_kafka_message_t *record = kafka_read(reader);
    int64_t sequence = look_back_sequence(trust, record, EPOCH);
    rd_kafka_message_destroy(record);
    return sequence;
}

static void an_event_that_is_believed_tells_its_sequence_and_nothing_else_does(void **state) {
    (void)state;
    struct error error = {.message = ""};
    struct signer *api = signer_generate(), *forger = signer_generate();
    struct text credentials = TEXT_EMPTY, public_keys = TEXT_EMPTY, event = TEXT_EMPTY;
    char *keys = memory_format("{\"keys\":[%s]}", signer_public_key(api));
    char *path = memory_format("%s/credentials", fixture->directory);
    credentials_generate("production", keys, &credentials, &public_keys);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    fputs(credentials.bytes, file);
    fclose(file);
    struct trust *trust = trust_open("production", path, NULL, &error);
    if (!trust)
        fail_msg("%s", error.message);
    rd_kafka_t *reader = kafka_reader(&kafka, kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    encode(&event, EPOCH, 42);
    assert_int_equal(sequence_of(trust, reader, api, event.bytes), 42);
    assert_int_equal(sequence_of(trust, reader, NULL, event.bytes), 0);
    assert_int_equal(sequence_of(trust, reader, forger, event.bytes), 0);
    assert_int_equal(sequence_of(trust, reader, api, "{}"), 0);
    assert_int_equal(sequence_of(trust, reader, api, NULL), 0); /* a tombstone */
    assert_int_equal(sequence_of(NULL, reader, NULL, event.bytes), 42);
    assert_int_equal(sequence_of(NULL, reader, NULL, "no JSON"), 0);
    text_reset(&event);
    encode(&event, EPOCH - 1, 42); /* of a store that another was adopted in the place of */
    assert_int_equal(sequence_of(trust, reader, api, event.bytes), 0);
    text_reset(&event);
    encode(&event, EPOCH + 1, 42);
    assert_int_equal(sequence_of(trust, reader, api, event.bytes), 42);
    kafka_client_free(reader);
    trust_close(trust);
    signer_free(api);
    signer_free(forger);
    text_wipe(&credentials);
    text_free(&public_keys);
    text_free(&event);
    free(keys);
    free(path);
}

/* ---- what comes of it ---- */

/* Writes records to partition 0. */
static void write_records(int count) {
    for (int i = 0; i < count; i++)
        kafka_write(&kafka, kafka.topics.events, JWK_A, "jwk.updated.v1", "{}");
}

static void store_position(int64_t offset, int64_t sequence) {
    struct error error;
    const struct state_position position = {
        .position = {.partition = 0, .offset = offset, .sequence = sequence}, .generation = 1, .sweep_offset = -1};
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_position(fixture->state, &position, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
}

static void start_consumer(void) {
    struct error error = {.message = ""};
    const struct consumer_options options = {.kafka = &kafka.settings,
                                             .topics = &kafka.topics,
                                             .group = "test",
                                             .state = fixture->state,
                                             .progress = progress,
                                             .tombstone_delay_ms = 30LL * DAY_MS,
                                             .sweep_delay_ms = DAY_MS,
                                             .wake = wake};
    consumer = consumer_open(&options, &error);
    if (!consumer || consumer_start(consumer, clock_wall_ms(), &error))
        fail_msg("%s", error.message);
}

/* Waits until there is something to take. */
static void await_wake(void) {
    uint64_t ignored;
    struct pollfd waiting = {.fd = wake, .events = POLLIN};
    if (poll(&waiting, 1, KAFKA_WAIT_MS) != 1)
        fail_msg("nothing came");
    assert_int_equal(read(wake, &ignored, sizeof ignored), sizeof ignored);
}

/* The next record of partition 0, which must be the one at that offset. The caller destroys it. */
static rd_kafka_message_t *take(int64_t offset) {
    rd_kafka_message_t *record;
    for (;;) {
        while (consumer_take(consumer, &record, 1) == 0)
            await_wake();
        if (!record->err)
            break;
        assert_int_equal(record->err, RD_KAFKA_RESP_ERR__PARTITION_EOF);
        rd_kafka_message_destroy(record);
    }
    assert_int_equal(record->offset, offset);
    return record;
}

/* Takes what is new at that offset, and settles it as an event of that sequence. */
static void settle(int64_t offset, int64_t sequence) {
    rd_kafka_message_t *record = take(offset);
    assert_false(consumer_was_read(consumer, record));
    uint64_t ticket = progress_add(progress, 0, offset + 1, sequence);
    progress_settle(progress, ticket);
    progress_ack(progress, ticket);
    rd_kafka_message_destroy(record);
}

/* Takes the record that was asked for, and tells of which sequence it is; returns whether everything begins again. */
static bool hold_against(int64_t offset, int64_t sequence) {
    struct error error = {.message = ""};
    bool again = false;
    rd_kafka_message_t *record = take(offset);
    assert_true(consumer_was_read(consumer, record));
    assert_true(consumer_is_looking(consumer, record));
    if (consumer_hold_against(consumer, record, sequence, &again, &error))
        fail_msg("%s", error.message);
    assert_false(consumer_is_looking(consumer, record));
    rd_kafka_message_destroy(record);
    return again;
}

static bool looks(void) {
    const rd_kafka_message_t of_partition_0 = {.partition = 0};
    return consumer_is_looking(consumer, &of_partition_0);
}

static void look_back(void) {
    struct error error = {.message = ""};
    if (consumer_look_back(consumer, &error))
        fail_msg("%s", error.message);
}

static void a_start_looks_at_the_record_before_its_place_and_goes_on(void **state) {
    (void)state;
    struct consumer_place place;
    write_records(3);
    store_position(2, 20);
    start_consumer();
    assert_false(hold_against(1, 20));
    settle(2, 21);
    assert_true(consumer_place(consumer, 0, 3, &place));
    assert_int_equal(place.generation, 1);
    assert_true(place.live);
    assert_false(place.reading_again);
}

static void a_younger_event_before_the_place_begins_everything_again_with_a_sweep(void **state) {
    (void)state;
    struct consumer_place place;
    struct state_position *positions;
    size_t count;
    struct error error;
    write_records(3);
    store_position(2, 20);
    start_consumer();
    assert_true(hold_against(1, 21));
    for (int64_t offset = 0; offset < 3; offset++)
        settle(offset, 30 + offset);
    assert_true(consumer_place(consumer, 0, 1, &place));
    assert_int_equal(place.generation, 2);
    assert_true(place.reading_again);
    assert_int_equal(state_load_positions(fixture->state, &positions, &count, &error), 0);
    assert_int_equal(count, KAFKA_EVENT_PARTITIONS);
    assert_int_equal(positions[0].generation, 2);
    assert_int_equal(positions[0].sweep_offset, 3);
    free(positions);
}

static void what_lies_behind_the_place_proves_nothing(void **state) {
    (void)state;
    write_records(3);
    store_position(2, 20);
    start_consumer();
    assert_true(looks());
    /* Compaction has taken what was before. */
    const rd_kafka_message_t next = {.partition = 0, .offset = 2}, elsewhere = {.partition = KAFKA_EVENT_PARTITIONS};
    assert_false(consumer_was_read(consumer, &next));
    assert_false(looks());
    assert_false(consumer_was_read(consumer, &elsewhere));
}

static void a_start_without_a_place_has_nothing_to_look_at(void **state) {
    (void)state;
    write_records(1);
    start_consumer();
    assert_false(looks());
    settle(0, 10);
}

static void a_running_replica_looks_back_at_where_it_was_the_last_time(void **state) {
    (void)state;
    write_records(3);
    start_consumer();
    for (int64_t offset = 0; offset < 3; offset++)
        settle(offset, 10 + offset);
    look_back();
    look_back(); /* one at a time */
    assert_false(hold_against(0, 10));
    write_records(1);
    settle(3, 13); /* nothing is read twice, nothing is left out */
    look_back();
    assert_false(hold_against(2, 12));
    for (int i = 0; i < 2; i++) {
        look_back();
        assert_false(hold_against(3, 13));
    }
    look_back();
    assert_true(hold_against(3, 14));
}

static void what_was_fetched_ahead_is_there_while_a_replica_looks_back(void **state) {
    (void)state;
    enum { QUIET_MS = 1000 };
    rd_kafka_message_t *record;
    bool is_event;
    write_records(2);
    start_consumer();
    settle(0, 10);
    settle(1, 11);
    look_back();
    assert_false(hold_against(0, 10));
    while (poll(&(struct pollfd){.fd = wake, .events = POLLIN}, 1, QUIET_MS) == 1) { /* ends of partitions */
        await_wake();
        while (consumer_take(consumer, &record, 1) == 1)
            rd_kafka_message_destroy(record);
    }
    write_records(1);
    await_wake();
    look_back();
    assert_true(looks());
    do { /* what the look has asked for may come first, or the end of a partition */
        if (consumer_take(consumer, &record, 1) == 0)
            fail_msg("what was fetched was thrown away");
        is_event = !record->err && record->offset == 2;
        rd_kafka_message_destroy(record);
    } while (!is_event);
}

/* As while a hook runs for long. */
static void what_was_taken_and_is_not_settled_is_not_taken_again_by_looks(void **state) {
    (void)state;
    enum { LOOKS = 3 };
    write_records(1);
    start_consumer();
    settle(0, 10);
    look_back();
    write_records(1);
    rd_kafka_message_t *slow = take(1);
    assert_false(consumer_was_read(consumer, slow));
    uint64_t ticket = progress_add(progress, 0, 2, 11);
    for (int i = 0; i < LOOKS; i++) {
        look_back();
        assert_false(hold_against(0, 10));
    }
    write_records(1);
    settle(2, 12);
    progress_ack(progress, ticket);
    rd_kafka_message_destroy(slow);
}

/* As an operator does who takes a permission away and gives it back later. */
static void refuse_for_a_while(const char *name) {
    enum { REFRESHES = 3 };
    struct error error = {.message = ""};
    enum consumer_error what;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka.producer, name, NULL);
    const rd_kafka_message_t refused = {.err = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, .rkt = topic, .partition = 0};
    assert_int_equal(consumer_handle_error(consumer, &refused, &what, &error), 0);
    rd_kafka_topic_destroy(topic);
    for (int i = 0; i < REFRESHES; i++)
        if (consumer_refresh(consumer, KAFKA_WAIT_MS, &error))
            fail_msg("%s", error.message);
}

static void topics_that_may_not_be_read_for_a_while_go_on_where_they_were(void **state) {
    (void)state;
    struct error error;
    write_records(3);
    start_consumer();
    for (int64_t offset = 0; offset < 3; offset++)
        settle(offset, 10 + offset);
    refuse_for_a_while(kafka.topics.events);
    write_records(1);
    settle(3, 13);
    assert_int_equal(consumer_watch_workers(consumer, 0, &error), 0);
    for (int64_t offset = 0; offset < 3; offset++) {
        if (offset == 2)
            refuse_for_a_while(kafka.topics.workers);
        kafka_write(&kafka, kafka.topics.workers, "production/edge-1", "jwk.worker.hello.v1", "{}");
        rd_kafka_message_t *record = take(offset);
        assert_true(consumer_is_of_workers(consumer, record));
        rd_kafka_message_destroy(record);
    }
}

static void a_topic_that_may_not_be_read_is_out_of_touch(void **state) {
    (void)state;
    struct error error = {.message = ""};
    bool again;
    write_records(1);
    start_consumer();
    settle(0, 10);
    int64_t last = consumer_last_contact(consumer);
    refuse_for_a_while(kafka.topics.events);
    assert_int_equal(consumer_check_contact(consumer, last + DAY_MS, &again, &error), 0);
    assert_false(again);
    assert_int_equal(consumer_last_contact(consumer), last);
    write_records(1);
    settle(1, 11); /* it may be read again */
    assert_int_equal(consumer_check_contact(consumer, last + 16LL * DAY_MS, &again, &error), 0);
    assert_true(again);
    assert_int_equal(consumer_last_contact(consumer), last + 16LL * DAY_MS);
}

static void an_old_state_has_caught_up_once_it_is_swept_and_no_clock_that_is_turned_back_puts_that_off(void **state) {
    (void)state;
    enum { LAST_CONTACT = 1000, TURNED_BACK = 1 }; /* ms; the consumer starts at the present time */
    const struct state_position *due;
    struct error error;
    write_records(1);
    store_position(1, 10);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_contact(fixture->state, LAST_CONTACT, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    start_consumer();
    assert_int_equal(consumer_due_sweep(consumer, TURNED_BACK, &due, &error), 0);
    assert_null(due);
    settle(0, 10);
    assert_false(consumer_is_caught_up(consumer));
    assert_int_equal(consumer_due_sweep(consumer, TURNED_BACK, &due, &error), 0);
    assert_non_null(due);
    assert_int_equal(due->position.partition, 0);
    consumer_swept(consumer, 0);
    assert_true(consumer_is_caught_up(consumer));
}

/* ---- when the state does not take it ---- */

/* As a full disk does. */
static void let_state_refuse(bool refuses) {
    sqlite3 *db;
    char *path = memory_format("%s/state.db", fixture->state_directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, refuses ? "CREATE TRIGGER full BEFORE UPDATE ON position BEGIN SELECT RAISE(ABORT, 'full'); END"
                                              : "DROP TRIGGER full", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(path);
}

/* The next look at the topic makes up for what failed: all partitions of those are of generation 2 then. */
static void assert_begun_again(int partitions) {
    struct error error = {.message = ""};
    struct consumer_place place;
    let_state_refuse(false);
    if (consumer_refresh(consumer, KAFKA_WAIT_MS, &error))
        fail_msg("%s", error.message);
    for (int32_t i = 0; i < KAFKA_EVENT_PARTITIONS; i++) {
        assert_true(consumer_place(consumer, i, 0, &place));
        assert_int_equal(place.generation, i < partitions ? 2 : 1);
    }
    settle(0, 30);
}

static void a_partition_out_of_range_begins_again_once_the_state_takes_it(void **state) {
    (void)state;
    struct error error;
    enum consumer_error what;
    write_records(1);
    start_consumer();
    settle(0, 10);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(kafka.producer, kafka.topics.events, NULL);
    const rd_kafka_message_t out_of_range = {.err = RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE, .rkt = topic, .partition = 0};
    let_state_refuse(true);
    assert_int_equal(consumer_handle_error(consumer, &out_of_range, &what, &error), -1);
    rd_kafka_topic_destroy(topic);
    assert_begun_again(1);
}

static void another_topic_begins_everything_again_once_the_state_takes_it(void **state) {
    (void)state;
    struct error error;
    bool again;
    write_records(3);
    store_position(2, 20);
    start_consumer();
    rd_kafka_message_t *record = take(1);
    assert_true(consumer_was_read(consumer, record));
    let_state_refuse(true);
    assert_int_equal(consumer_hold_against(consumer, record, 21, &again, &error), -1);
    rd_kafka_message_destroy(record);
    assert_begun_again(KAFKA_EVENT_PARTITIONS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(an_event_that_is_believed_tells_its_sequence_and_nothing_else_does),
        TEST(a_start_looks_at_the_record_before_its_place_and_goes_on),
        TEST(a_younger_event_before_the_place_begins_everything_again_with_a_sweep),
        TEST(what_lies_behind_the_place_proves_nothing),
        TEST(a_start_without_a_place_has_nothing_to_look_at),
        TEST(a_running_replica_looks_back_at_where_it_was_the_last_time),
        TEST(what_was_fetched_ahead_is_there_while_a_replica_looks_back),
        TEST(what_was_taken_and_is_not_settled_is_not_taken_again_by_looks),
        TEST(topics_that_may_not_be_read_for_a_while_go_on_where_they_were),
        TEST(a_topic_that_may_not_be_read_is_out_of_touch),
        TEST(an_old_state_has_caught_up_once_it_is_swept_and_no_clock_that_is_turned_back_puts_that_off),
        TEST(a_partition_out_of_range_begins_again_once_the_state_takes_it),
        TEST(another_topic_begins_everything_again_once_the_state_takes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
