/* Acks as they go out: collected, signed together, and sent again as they were. */
#include "kafka_fixture.h"

#include <poll.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/identifier.h"
#include "common/memory.h"
#include "worker/ack.h"
#include "worker/metrics.h"

#define DEPLOYMENT "01890000-0000-7000-8000-00000000000a"
#define EVENT      "01890000-0000-7000-8000-00000000000b"
#define JWK        "01890000-0000-7000-8000-00000000000c"
#define WORKER     "01890000-0000-7000-8000-00000000000d"
#define HASH       "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
#define NOW        1800000000

static struct kafka_fixture kafka;
static rd_kafka_t *reader, *producer;
static struct ack_sender *sender;
static struct signer *signer;
static struct verifier *verifier;
static size_t delivered, refused;

static void on_delivered(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    uint64_t number;
    (void)client, (void)opaque;
    assert_true(ack_owns(record));
    refused += record->err != RD_KAFKA_RESP_ERR_NO_ERROR;
    delivered += ack_delivered(sender, record, &number) == ACK_KIND_EVENT;
}

static void make_sender(struct signer *with) {
    struct error error;
    struct ack_options options = {.producer = producer, .topic = kafka.topics.acks, .environment = "production",
                                  .replica = "edge-1", .worker = WORKER, .signer = with};
    sender = ack_sender_new(&options, &error);
    assert_non_null(sender);
    ack_sender_set_incarnation(sender, 7);
}

static int set_up(void **state) {
    (void)state;
    struct error error;
    kafka_open(&kafka);
    producer = kafka_producer_new(&kafka.settings, KAFKA_AT_LEAST_ONCE, NULL, on_delivered, &error);
    assert_non_null(producer);
    reader = kafka_reader(&kafka, kafka.topics.acks, 1);
    signer = signer_generate();
    verifier = verifier_new();
    struct jwk *key = jwk_from_text(signer_public_key(signer), strlen(signer_public_key(signer)), NULL, &error);
    assert_int_equal(verifier_trust(verifier, key, INT64_MAX, &error), 0);
    jwk_free(key);
    delivered = refused = 0;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    rd_kafka_flush(producer, KAFKA_WAIT_MS);
    ack_sender_free(sender);
    kafka_client_free(producer);
    kafka_client_free(reader);
    kafka_close(&kafka);
    signer_free(signer);
    verifier_free(verifier);
    return 0;
}

static void send_ack(int64_t version) {
    struct ack_subject subject = {.deployment_id = DEPLOYMENT, .event_id = EVENT, .event_hash = HASH, .jwk_id = JWK,
                                  .epoch = 1, .version = version, .sequence = version};
    ack_send(sender, &subject, ACK_APPLIED, NULL, ACK_KIND_EVENT, (uint64_t)version);
}

static const char *header(const rd_kafka_message_t *record, const char *name) {
    rd_kafka_headers_t *headers;
    const void *value;
    size_t length;
    if (rd_kafka_message_headers(record, &headers) || rd_kafka_header_get_last(headers, name, &value, &length))
        return NULL;
    return value;
}

/* The next ack must be of that version; returns its signature, or NULL, and what the verdict on it is. */
static char *receive(int64_t version, enum signature_verdict *verdict) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct error error;
    struct ack ack;
    rd_kafka_message_t *record = kafka_read(reader);
    assert_int_equal(cloudevent_read(record, &storage, &attributes, &error), 0);
    assert_int_equal(record->key_len, strlen(DEPLOYMENT));
    assert_memory_equal(record->key, DEPLOYMENT, record->key_len);
    assert_int_equal(ack_decode(record->payload, record->len, &ack, &error), 0);
    assert_int_equal(ack.version, version);
    assert_int_equal(ack.incarnation, 7);
    ack_free(&ack);
    *verdict = verifier_check(verifier, record, &attributes, NOW, NULL, &error);
    char *signature = memory_string(header(record, "ce_signature"));
    rd_kafka_message_destroy(record);
    return signature;
}

static void acks_of_one_flush_share_one_signature(void **state) {
    (void)state;
    enum signature_verdict verdict;
    make_sender(signer);
    for (int64_t version = 1; version <= 5; version++)
        send_ack(version);
    ack_flush(sender);
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    send_ack(6);
    ack_flush(sender);
    ack_flush(sender); /* nothing is collected: nothing happens */
    char *first = receive(1, &verdict);
    assert_int_equal(verdict, SIGNATURE_VALID);
    for (int64_t version = 2; version <= 5; version++) {
        char *other = receive(version, &verdict);
        assert_int_equal(verdict, SIGNATURE_VALID);
        assert_string_equal(other, first);
        free(other);
    }
    char *next = receive(6, &verdict);
    assert_int_equal(verdict, SIGNATURE_VALID);
    assert_string_not_equal(next, first);
    free(first);
    free(next);
}

static void what_is_collected_while_acks_are_on_their_way_goes_out_together(void **state) {
    (void)state;
    enum signature_verdict verdict;
    make_sender(signer);
    int64_t begin = clock_monotonic_ms();
    send_ack(1);
    ack_flush(sender);
    for (int64_t version = 2; version <= 4; version++) {
        send_ack(version);
        ack_flush(sender);
    }
    if (clock_monotonic_ms() - begin >= ACK_WAITING_MS)
        skip(); /* this process stood still */
    assert_true(ack_is_waiting(sender)); /* for the first one's report, which is not taken */
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    ack_flush(sender);
    free(receive(1, &verdict));
    char *first = receive(2, &verdict);
    assert_int_equal(verdict, SIGNATURE_VALID);
    for (int64_t version = 3; version <= 4; version++) {
        char *other = receive(version, &verdict);
        assert_int_equal(verdict, SIGNATURE_VALID);
        assert_string_equal(other, first);
        free(other);
    }
    free(first);
}

/* Acks of several partitions: one of them may be away. */
static void what_does_not_move_is_not_waited_for(void **state) {
    (void)state;
    enum signature_verdict verdict;
    make_sender(signer);
    send_ack(1);
    ack_flush(sender);
    send_ack(2);
    assert_true(ack_is_waiting(sender));
    int64_t begin = clock_monotonic_ms();
    while (clock_monotonic_ms() - begin <= ACK_WAITING_MS) /* its report is not taken */
        poll(NULL, 0, 10);
    ack_flush(sender);
    assert_false(ack_is_waiting(sender));
    for (int64_t version = 1; version <= 2; version++)
        free(receive(version, &verdict));
}

/* So many fill a batch, which then goes out though others are on their way. */
static void a_full_batch_does_not_wait(void **state) {
    (void)state;
    make_sender(signer);
    send_ack(1);
    ack_flush(sender);
    for (int64_t version = 0; version <= SIGNATURE_BATCH_MAX; version++)
        send_ack(2 + version);
    assert_true(rd_kafka_outq_len(producer) > SIGNATURE_BATCH_MAX);
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    ack_flush(sender);
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    assert_int_equal(delivered, 2 + SIGNATURE_BATCH_MAX);
}

static void without_a_key_nothing_is_signed(void **state) {
    (void)state;
    enum signature_verdict verdict;
    make_sender(NULL);
    send_ack(1);
    ack_flush(sender);
    assert_null(receive(1, &verdict));
    assert_int_equal(verdict, SIGNATURE_MISSING);
}

/* A failure must not be told behind the success that followed it. */
static void refused_acks_are_sent_again_with_their_signature_in_their_order(void **state) {
    (void)state;
    enum signature_verdict verdict;
    const rd_kafka_resp_err_t no = RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS;
    make_sender(signer);
    /* Both acks, and the first of them once more; or, when they go out in two requests, both. */
    rd_kafka_mock_push_request_errors(kafka.cluster, 0 /* Produce */, 2, no, no);
    send_ack(1);
    send_ack(2);
    ack_flush(sender);
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    assert_int_equal(refused, 2);
    while (rd_kafka_outq_len(producer) == 0) { /* until the first is on its way again */
        (void)ack_resend(sender);
        poll(NULL, 0, 10);
    }
    send_ack(3);
    while (ack_is_waiting(sender)) { /* that report is not taken */
        ack_flush(sender);
        poll(NULL, 0, 10);
    }
    int64_t deadline = clock_monotonic_ms() + KAFKA_WAIT_MS;
    while (delivered < 3 && clock_monotonic_ms() < deadline) {
        (void)ack_resend(sender);
        rd_kafka_poll(producer, 100);
    }
    assert_int_equal(delivered, 3);
    for (int64_t version = 1; version <= 3; version++) {
        free(receive(version, &verdict));
        assert_int_equal(verdict, SIGNATURE_VALID);
    }
}

/* Also when the one that was refused has not been tried again yet. */
static void what_is_sent_while_another_is_refused_goes_out_behind_it(void **state) {
    (void)state;
    enum signature_verdict verdict;
    make_sender(signer);
    rd_kafka_mock_push_request_errors(kafka.cluster, 0 /* Produce */, 1, RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS);
    send_ack(1);
    ack_flush(sender);
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    assert_int_equal(refused, 1);
    send_ack(2);
    ack_flush(sender);
    assert_int_equal(rd_kafka_flush(producer, KAFKA_WAIT_MS), 0);
    assert_int_equal(delivered, 0);
    for (int64_t deadline = clock_monotonic_ms() + KAFKA_WAIT_MS; delivered < 2 && clock_monotonic_ms() < deadline;) {
        (void)ack_resend(sender);
        rd_kafka_poll(producer, 100);
    }
    for (int64_t version = 1; version <= 2; version++)
        free(receive(version, &verdict));
}

static void what_was_not_flushed_is_forgotten_at_the_end(void **state) {
    (void)state;
    make_sender(signer);
    send_ack(1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(acks_of_one_flush_share_one_signature),
        TEST(what_is_collected_while_acks_are_on_their_way_goes_out_together),
        TEST(what_does_not_move_is_not_waited_for),
        TEST(a_full_batch_does_not_wait),
        TEST(without_a_key_nothing_is_signed),
        TEST(refused_acks_are_sent_again_with_their_signature_in_their_order),
        TEST(what_is_sent_while_another_is_refused_goes_out_behind_it),
        TEST(what_was_not_flushed_is_forgotten_at_the_end),
    };
    return cmocka_run_group_tests_name("worker ack", tests, NULL, NULL);
}
