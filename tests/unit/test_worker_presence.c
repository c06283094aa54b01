/* Which hello counts: of workers with credentials only those that their environment vouches for, and never a copy of an old one. */
#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/credentials.h"
#include "common/identifier.h"
#include "common/memory.h"
#include "worker/metrics.h"
#include "worker/presence.h"

#define WORKER_A "01890000-0000-7000-8000-00000000000a"
#define WORKER_B "01890000-0000-7000-8000-00000000000b"
#define NOW      1800000000

static struct kafka_fixture kafka;
static rd_kafka_t *reader;
static char directory[64];
static struct trust *trust;

/* One worker of the replica. */
struct one {
    struct announcer *announcer;
    struct signer *signer;
    rd_kafka_t *producer;
    enum announcer_event last;
    bool is_other_topic; /* its reports tell the offset that the first record of a topic has */
};

static void on_delivered(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    struct one *one = opaque;
    rd_kafka_message_t told = *record;
    (void)client;
    if (one->is_other_topic)
        told.offset = 0;
    one->last = announcer_delivered(one->announcer, &told);
}

static void one_open(struct one *one, const char *worker, bool enrolled) {
    struct error error;
    one->is_other_topic = false;
    one->producer = kafka_producer_new(&kafka.settings, KAFKA_AT_LEAST_ONCE, one, on_delivered, &error);
    one->signer = enrolled ? signer_generate() : NULL;
    struct announcer_options options = {.producer = one->producer, .topic = kafka.topics.workers, .environment = "production",
                                        .replica = "edge-1", .worker = worker, .version = "test", .interval_ms = 1000,
                                        .signer = one->signer, .trust = enrolled ? trust : NULL};
    one->announcer = announcer_new(&options, &error);
    assert_non_null(one->announcer);
    if (enrolled)
        announcer_enrol_take(one->announcer, trust_enrol(trust, "edge-1", worker, signer_public_key(one->signer)));
}

static void one_close(struct one *one) {
    rd_kafka_flush(one->producer, KAFKA_WAIT_MS);
    announcer_free(one->announcer);
    kafka_client_free(one->producer);
    signer_free(one->signer);
}

static void say(struct one *one, enum presence_kind kind, int64_t after) {
    struct error error;
    struct announcement announcement = {.epoch = 1, .keys = 1, .after = after};
    assert_int_equal(announcer_say(one->announcer, kind, &announcement, &error), 0);
    assert_int_equal(rd_kafka_flush(one->producer, KAFKA_WAIT_MS), 0);
}

/* Puts a copy of a record at the topic's end, and gives that. */
static rd_kafka_message_t *copied(const rd_kafka_message_t *record) {
    rd_kafka_headers_t *headers;
    assert_int_equal(rd_kafka_message_headers(record, &headers), 0);
    assert_int_equal(rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.workers), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(record->key, record->key_len),
                                       RD_KAFKA_V_VALUE(record->payload, record->len),
                                       RD_KAFKA_V_HEADERS(rd_kafka_headers_copy(headers)), RD_KAFKA_V_END),
                     0);
    assert_int_equal(rd_kafka_flush(kafka.producer, KAFKA_WAIT_MS), 0);
    return kafka_read(reader);
}

static int set_up(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test-worker-presence-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    struct text credentials = TEXT_EMPTY, ignored = TEXT_EMPTY;
    struct signer *api = signer_generate();
    struct error error;
    char *keys = memory_format("{\"keys\":[%s]}", signer_public_key(api)), *path = memory_format("%s/credentials", directory);
    credentials_generate("production", keys, &credentials, &ignored);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(credentials.bytes, file);
    fclose(file);
    assert_int_equal(chmod(path, 0600), 0);
    trust = trust_open("production", path, NULL, &error);
    assert_non_null(trust);
    signer_free(api);
    text_wipe(&credentials);
    text_free(&ignored);
    free(keys);
    free(path);
    kafka_open(&kafka);
    reader = kafka_reader(&kafka, kafka.topics.workers, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    kafka_client_free(reader);
    kafka_close(&kafka);
    trust_close(trust);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static void assert_finding(struct one *one, rd_kafka_message_t *record, enum announcer_finding expected) {
    char other[UUID_SIZE];
    assert_int_equal(announcer_examine(one->announcer, record, other), expected);
    if (expected == ANNOUNCER_FENCED)
        assert_string_equal(other, WORKER_B);
}

static void records_carry_enrolment_and_signature(void **state) {
    (void)state;
    struct one one;
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct presence presence;
    struct error error;
    one_open(&one, WORKER_A, true);
    say(&one, PRESENCE_HELLO, 0);
    say(&one, PRESENCE_HEARTBEAT, 0);
    say(&one, PRESENCE_GOODBYE, 0);
    for (int i = 0; i < 3; i++) {
        rd_kafka_message_t *record = kafka_read(reader);
        assert_int_equal(cloudevent_read(record, &storage, &attributes, &error), 0);
        assert_int_equal(presence_decode(record->payload, record->len, (enum presence_kind)i, &presence, &error), 0);
        assert_string_equal(presence.replica_key, signer_public_key(one.signer));
        assert_int_equal(trust_check_presence(trust, record, &attributes, &presence, NOW, &error), SIGNATURE_VALID);
        presence_free(&presence);
        rd_kafka_message_destroy(record);
    }
    one_close(&one);
}

static void a_later_hello_that_knew_this_one_fences_it(void **state) {
    (void)state;
    struct one one, other;
    one_open(&one, WORKER_A, true);
    one_open(&other, WORKER_B, true);
    say(&one, PRESENCE_HELLO, 0);
    assert_int_equal(one.last, ANNOUNCER_HELLO_DELIVERED);
    assert_int_equal(announcer_unknown_from(one.announcer), 0);
    say(&other, PRESENCE_HELLO, 1);
    rd_kafka_message_t *first = kafka_read(reader), *second = kafka_read(reader);
    assert_finding(&one, first, ANNOUNCER_FOUND_NOTHING);
    assert_finding(&one, second, ANNOUNCER_FENCED);
    assert_finding(&other, first, ANNOUNCER_OVERLOOKED);
    assert_finding(&other, second, ANNOUNCER_FOUND_NOTHING);
    rd_kafka_message_destroy(first);
    rd_kafka_message_destroy(second);
    one_close(&one);
    one_close(&other);
}

static void a_hello_that_lost_the_race_does_not_fence_and_is_said_again(void **state) {
    (void)state;
    struct one one, other;
    one_open(&one, WORKER_A, true);
    one_open(&other, WORKER_B, true);
    say(&one, PRESENCE_HELLO, 0);
    say(&other, PRESENCE_HELLO, 0); /* had not seen the one before */
    rd_kafka_message_t *first = kafka_read(reader), *second = kafka_read(reader);
    assert_finding(&one, second, ANNOUNCER_FOUND_NOTHING);
    assert_finding(&other, first, ANNOUNCER_OVERLOOKED);
    say(&other, PRESENCE_HELLO, 2);
    rd_kafka_message_t *third = kafka_read(reader);
    assert_finding(&one, third, ANNOUNCER_FENCED);
    rd_kafka_message_destroy(first);
    rd_kafka_message_destroy(second);
    rd_kafka_message_destroy(third);
    one_close(&one);
    one_close(&other);
}

/* It slept while the other started, and its files were read again before it read of that. */
static void one_that_says_hello_again_does_not_overtake_who_has_started_since(void **state) {
    (void)state;
    struct one one, other;
    one_open(&one, WORKER_A, true);
    one_open(&other, WORKER_B, true);
    say(&one, PRESENCE_HELLO, 0);
    rd_kafka_message_t *first = kafka_read(reader);
    assert_finding(&one, first, ANNOUNCER_FOUND_NOTHING);
    assert_int_equal(announcer_seen(one.announcer), 1);
    say(&other, PRESENCE_HELLO, 1);
    say(&one, PRESENCE_HELLO, announcer_seen(one.announcer));
    assert_int_equal(announcer_unknown_from(one.announcer), 1);
    rd_kafka_message_t *second = kafka_read(reader), *third = kafka_read(reader);
    assert_finding(&other, third, ANNOUNCER_FOUND_NOTHING);
    assert_finding(&one, second, ANNOUNCER_FENCED);
    rd_kafka_message_destroy(first);
    rd_kafka_message_destroy(second);
    rd_kafka_message_destroy(third);
    one_close(&one);
    one_close(&other);
}

static void a_hello_that_knew_more_than_there_is_is_said_again(void **state) {
    (void)state;
    struct one one;
    one_open(&one, WORKER_A, true);
    say(&one, PRESENCE_HELLO, 7);
    assert_int_equal(one.last, ANNOUNCER_HELLO_NEEDED);
    assert_false(announcer_is_announced(one.announcer));
    assert_int_equal(announcer_seen(one.announcer), 0);
    one_close(&one);
}

/* The topic was made again behind its first record, so that nobody finds the hello any more. */
static void a_heartbeat_at_the_place_of_the_hello_is_on_another_topic(void **state) {
    (void)state;
    struct one one;
    one_open(&one, WORKER_A, true);
    say(&one, PRESENCE_HELLO, 0);
    assert_int_equal(announcer_incarnation(one.announcer), 0);
    say(&one, PRESENCE_HEARTBEAT, 0);
    assert_int_equal(one.last, ANNOUNCER_HEARTBEAT_DELIVERED);
    one.is_other_topic = true;
    say(&one, PRESENCE_HEARTBEAT, 0);
    assert_int_equal(one.last, ANNOUNCER_HELLO_NEEDED);
    assert_false(announcer_is_announced(one.announcer));
    one_close(&one);
}

static void a_copy_of_an_old_hello_fences_nobody(void **state) {
    (void)state;
    struct one before, now;
    one_open(&before, WORKER_B, true);
    one_open(&now, WORKER_A, true);
    say(&before, PRESENCE_HELLO, 0);
    say(&now, PRESENCE_HELLO, 1);
    rd_kafka_message_t *old = kafka_read(reader), *own = kafka_read(reader), *old_again = copied(old), *own_again = copied(own);
    assert_finding(&now, old_again, ANNOUNCER_FOUND_NOTHING);
    assert_finding(&now, own_again, ANNOUNCER_FOUND_NOTHING);
    rd_kafka_message_destroy(old);
    rd_kafka_message_destroy(own);
    rd_kafka_message_destroy(old_again);
    rd_kafka_message_destroy(own_again);
    one_close(&before);
    one_close(&now);
}

static void a_hello_that_nobody_vouches_for_fences_only_where_nobody_is_enrolled(void **state) {
    (void)state;
    struct one enrolled, unsigned_one, stranger;
    one_open(&enrolled, WORKER_A, true);
    one_open(&unsigned_one, WORKER_A, false);
    one_open(&stranger, WORKER_B, false);
    say(&enrolled, PRESENCE_HELLO, 0);
    say(&unsigned_one, PRESENCE_HELLO, 1);
    say(&stranger, PRESENCE_HELLO, 2);
    int64_t before = metric_value(&metric_presence_refused);
    rd_kafka_message_destroy(kafka_read(reader));
    rd_kafka_message_destroy(kafka_read(reader));
    rd_kafka_message_t *record = kafka_read(reader);
    assert_finding(&enrolled, record, ANNOUNCER_FOUND_NOTHING);
    assert_int_equal(metric_value(&metric_presence_refused), before + 1);
    assert_finding(&unsigned_one, record, ANNOUNCER_FENCED);
    rd_kafka_message_destroy(record);
    one_close(&enrolled);
    one_close(&unsigned_one);
    one_close(&stranger);
}

/* The answer to the first was lost. */
static void a_hello_that_was_sent_twice_is_said_again(void **state) {
    (void)state;
    struct one one;
    one_open(&one, WORKER_A, true);
    say(&one, PRESENCE_HELLO, 0);
    say(&one, PRESENCE_HELLO, 0);
    assert_int_equal(announcer_incarnation(one.announcer), 1);
    assert_int_equal(announcer_unknown_from(one.announcer), 0);
    rd_kafka_message_t *first = kafka_read(reader), *second = kafka_read(reader);
    assert_finding(&one, first, ANNOUNCER_OVERLOOKED);
    assert_finding(&one, second, ANNOUNCER_FOUND_NOTHING);
    say(&one, PRESENCE_HELLO, 2);
    assert_finding(&one, first, ANNOUNCER_FOUND_NOTHING);
    assert_finding(&one, second, ANNOUNCER_FOUND_NOTHING);
    rd_kafka_message_destroy(first);
    rd_kafka_message_destroy(second);
    one_close(&one);
}

static void an_unsigned_worker_answers_a_copy_of_its_own_hello(void **state) {
    (void)state;
    struct one one;
    one_open(&one, WORKER_A, false);
    say(&one, PRESENCE_HELLO, 0);
    rd_kafka_message_t *own = kafka_read(reader), *again = copied(own);
    assert_finding(&one, own, ANNOUNCER_FOUND_NOTHING);
    assert_finding(&one, again, ANNOUNCER_OVERLOOKED);
    rd_kafka_message_destroy(own);
    rd_kafka_message_destroy(again);
    one_close(&one);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(records_carry_enrolment_and_signature),
        TEST(a_later_hello_that_knew_this_one_fences_it),
        TEST(a_hello_that_lost_the_race_does_not_fence_and_is_said_again),
        TEST(one_that_says_hello_again_does_not_overtake_who_has_started_since),
        TEST(a_hello_that_knew_more_than_there_is_is_said_again),
        TEST(a_heartbeat_at_the_place_of_the_hello_is_on_another_topic),
        TEST(a_copy_of_an_old_hello_fences_nobody),
        TEST(a_hello_that_nobody_vouches_for_fences_only_where_nobody_is_enrolled),
        TEST(a_hello_that_was_sent_twice_is_said_again),
        TEST(an_unsigned_worker_answers_a_copy_of_its_own_hello),
    };
    return cmocka_run_group_tests_name("worker presence", tests, NULL, NULL);
}
