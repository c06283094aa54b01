/* CloudEvents attributes as record headers, there and back, over a Kafka of the test's own. */
#include "kafka_fixture.h"

#include <stdlib.h>

#include "common/memory.h"

#define TRACEPARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static struct kafka_fixture kafka;
static rd_kafka_t *reader;

static int set_up(void **state) {
    (void)state;
    kafka_open(&kafka);
    reader = kafka_reader(&kafka, kafka.topics.acks, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    kafka_client_free(reader);
    kafka_close(&kafka);
    return 0;
}

/* Writes a record with these headers (taken; may be NULL) and reads it. */
static rd_kafka_message_t *pass(rd_kafka_headers_t *headers) {
    rd_kafka_resp_err_t result =
        headers ? rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.acks), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE("{}", 2),
                                    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)
                : rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.acks), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_VALUE("{}", 2),
                                    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(result, RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_flush(kafka.producer, KAFKA_WAIT_MS), 0);
    return kafka_read(reader);
}

static struct cloudevent sample(void) {
    return (struct cloudevent){.id = "an id", .source = "urn:jwk-api:x", .type = "jwk.updated.v1", .subject = "projects/p/jwks/schlüssel",
                               .time = "2026-01-31T12:00:00.000Z", .dataschema = "urn:schema", .traceparent = TRACEPARENT};
}

static void attributes_come_back_as_they_were(void **state) {
    (void)state;
    struct cloudevent_storage storage;
    struct cloudevent attributes = sample(), back;
    struct error error = {0};
    rd_kafka_message_t *record = pass(cloudevent_headers(&attributes));
    if (cloudevent_read(record, &storage, &back, &error))
        fail_msg("%s", error.message);
    assert_string_equal(back.id, attributes.id);
    assert_string_equal(back.source, attributes.source);
    assert_string_equal(back.type, attributes.type);
    assert_string_equal(back.subject, attributes.subject);
    assert_string_equal(back.time, attributes.time);
    assert_string_equal(back.dataschema, attributes.dataschema);
    assert_string_equal(back.traceparent, attributes.traceparent);
    rd_kafka_message_destroy(record);
}

/* Kafka protocol binding for CloudEvents 1.0.2, section 3.2. */
static void headers_are_those_of_the_binary_content_mode(void **state) {
    (void)state;
    static const char *const wanted[][2] = {{"ce_specversion", "1.0"}, {"ce_id", "an id"}, {"ce_source", "urn:jwk-api:x"},
                                            {"ce_type", "jwk.updated.v1"}, {"ce_subject", "projects/p/jwks/schlüssel"},
                                            {"ce_time", "2026-01-31T12:00:00.000Z"}, {"ce_dataschema", "urn:schema"},
                                            {"content-type", "application/json"}, {"traceparent", TRACEPARENT}};
    const struct cloudevent attributes = sample();
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    assert_int_equal(rd_kafka_header_cnt(headers), 9);
    for (size_t i = 0; i < 9; i++) {
        const void *value;
        size_t length;
        assert_int_equal(rd_kafka_header_get(headers, 0, wanted[i][0], &value, &length), 0);
        assert_int_equal(length, strlen(wanted[i][1]));
        assert_memory_equal(value, wanted[i][1], length);
    }
    rd_kafka_headers_destroy(headers);
}

static void what_is_optional_may_be_missing(void **state) {
    (void)state;
    struct cloudevent_storage storage;
    struct cloudevent attributes = {.id = "i", .source = "s", .type = "t"}, back;
    struct error error = {0};
    rd_kafka_message_t *record = pass(cloudevent_headers(&attributes));
    assert_int_equal(cloudevent_read(record, &storage, &back, &error), 0);
    assert_null(back.subject);
    assert_null(back.time);
    assert_null(back.dataschema);
    assert_null(back.traceparent);
    rd_kafka_message_destroy(record);
}

static void what_is_required_must_be_there_and_sound(void **state) {
    (void)state;
    static const struct {
        const char *name, *value;
        ssize_t length;
        const char *message;
    } cases[] = {
        {"ce_specversion", NULL, 0, "header ce_specversion is missing"},
        {"ce_id", NULL, 0, "header ce_id is missing"},
        {"ce_source", NULL, 0, "header ce_source is missing"},
        {"ce_type", NULL, 0, "header ce_type is missing"},
        {"ce_specversion", "0.3", 3, "header ce_specversion is not 1.0"},
        {"ce_id", "", 0, "header ce_id is empty, too long or holds a NUL"},
        {"ce_type", "a\0b", 3, "header ce_type is empty, too long or holds a NUL"},
        {"ce_type", "0123456789012345678901234567890123456789012345678901234567890123", 64,
         "header ce_type is empty, too long or holds a NUL"},
        {"ce_subject", "a\0b", 3, "header ce_subject is empty, too long or holds a NUL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cloudevent_storage storage;
        const struct cloudevent attributes = sample();
        struct cloudevent back;
        struct error error = {0};
        rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
        assert_int_equal(rd_kafka_header_remove(headers, cases[i].name), 0);
        if (cases[i].value)
            assert_int_equal(rd_kafka_header_add(headers, cases[i].name, -1, cases[i].value, cases[i].length), 0);
        rd_kafka_message_t *record = pass(headers);
        assert_int_equal(cloudevent_read(record, &storage, &back, &error), -1);
        assert_string_equal(error.message, cases[i].message);
        assert_int_equal(error.code, ERROR_INVALID);
        rd_kafka_message_destroy(record);
    }
}

static void a_record_without_headers_is_refused(void **state) {
    (void)state;
    struct cloudevent_storage storage;
    struct cloudevent back;
    struct error error = {0};
    rd_kafka_message_t *record = pass(NULL);
    assert_int_equal(cloudevent_read(record, &storage, &back, &error), -1);
    assert_string_equal(error.message, "header ce_specversion is missing");
    rd_kafka_message_destroy(record);
}

static void a_traceparent_that_is_none_spoils_nothing(void **state) {
    (void)state;
    static const char *const wrong[] = {"x", "00-00000000000000000000000000000000-b7ad6b7169203331-01", TRACEPARENT "-and-much-more-than-fits"};
    for (size_t i = 0; i < 3; i++) {
        struct cloudevent_storage storage;
        struct cloudevent attributes = sample(), back;
        struct error error = {0};
        attributes.traceparent = wrong[i];
        rd_kafka_message_t *record = pass(cloudevent_headers(&attributes));
        assert_int_equal(cloudevent_read(record, &storage, &back, &error), 0);
        assert_null(back.traceparent);
        rd_kafka_message_destroy(record);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attributes_come_back_as_they_were),
        cmocka_unit_test(headers_are_those_of_the_binary_content_mode),
        cmocka_unit_test(what_is_optional_may_be_missing),
        cmocka_unit_test(what_is_required_must_be_there_and_sound),
        cmocka_unit_test(a_record_without_headers_is_refused),
        cmocka_unit_test(a_traceparent_that_is_none_spoils_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
