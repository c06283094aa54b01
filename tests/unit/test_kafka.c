/* librdkafka as it is set up everywhere: the operator's properties, their errors, the embedded broker, topics. */
#include "kafka_fixture.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/memory.h"

static void expect_refused(const char *pair, const char *message) {
    char *items[] = {memory_string(pair)};
    const struct option_list properties = {.items = items, .count = 1};
    const struct kafka_settings settings = {.brokers = "127.0.0.1:1", .topic_prefix = "t", .properties = &properties, .client_id = "test"};
    struct kafka_settings copy = settings;
    struct error error = {0};
    assert_null(kafka_producer_new(&settings, KAFKA_ONCE, NULL, NULL, &error));
    assert_string_equal(error.message, message);
    assert_int_equal(error.code, ERROR_INVALID);
    assert_null(kafka_consumer_new(&settings, "group", NULL, &error));
    assert_string_equal(error.message, message);
    /* Told at once, before any broker is looked for. */
    assert_int_equal(kafka_connect(&copy, -1, NULL, &error), -1);
    assert_string_equal(error.message, message);
    free(items[0]);
}

static void properties_that_are_none_are_told_by_name(void **state) {
    (void)state;
    expect_refused("socket.timeout.ms", "-X takes name=value (a librdkafka property)");
    expect_refused("=5", "-X takes name=value (a librdkafka property)");
    expect_refused("", "-X takes name=value (a librdkafka property)");
    expect_refused("sockt.timeout.ms=5", "-X sockt.timeout.ms: librdkafka has no property of this name");
    expect_refused("socket.timeout.ms=soon", "-X socket.timeout.ms: librdkafka does not take this value");
}

/* A password in the wrong place must not be repeated. */
static void no_message_holds_a_value(void **state) {
    (void)state;
    expect_refused("security.protocol=hunter2", "-X security.protocol: librdkafka does not take this value");
    expect_refused("acks=1", "-X acks: this property is fixed, since the promises of an answer rest on it");
    expect_refused("max.in.flight=5", "-X max.in.flight: this property is fixed, since the promises of an answer rest on it");
    expect_refused("sasl.passwrd=hunter2", "-X sasl.passwrd: librdkafka has no property of this name");
}

static void a_combination_that_librdkafka_refuses_is_told(void **state) {
    (void)state;
    char *items[] = {memory_string("retries=0")};
    const struct option_list properties = {.items = items, .count = 1};
    const struct kafka_settings settings = {.brokers = "127.0.0.1:1", .topic_prefix = "t", .properties = &properties, .client_id = "test"};
    struct error error = {0};
    assert_null(kafka_producer_new(&settings, KAFKA_ONCE, NULL, NULL, &error));
    assert_memory_equal(error.message, "Kafka client: ", 14);
    assert_non_null(strstr(error.message, "retries"));
    free(items[0]);
}

static const char *value_of(rd_kafka_t *client, const char *name, char value[64]) {
    size_t size = 64;
    assert_int_equal(rd_kafka_conf_get(rd_kafka_conf((rd_kafka_t *)client), name, value, &size), RD_KAFKA_CONF_OK);
    return value;
}

static void the_operators_properties_win(void **state) {
    (void)state;
    char *items[] = {memory_string("reconnect.backoff.max.ms=7000"), memory_string("client.id=mine=and=more")};
    const struct option_list properties = {.items = items, .count = 2};
    struct kafka_settings settings = {.brokers = "127.0.0.1:1", .topic_prefix = "t", .client_id = "test"};
    struct error error = {0};
    char value[64];
    rd_kafka_t *client = kafka_producer_new(&settings, KAFKA_ONCE, NULL, NULL, &error);
    assert_non_null(client);
    assert_string_equal(value_of(client, "reconnect.backoff.max.ms", value), "1000");
    assert_string_equal(value_of(client, "enable.idempotence", value), "true");
    rd_kafka_destroy(client);
    settings.properties = &properties;
    client = kafka_producer_new(&settings, KAFKA_ONCE, NULL, NULL, &error);
    assert_non_null(client);
    assert_string_equal(value_of(client, "reconnect.backoff.max.ms", value), "7000");
    assert_string_equal(value_of(client, "client.id", value), "mine=and=more");
    rd_kafka_destroy(client);
    for (size_t i = 0; i < 2; i++)
        free(items[i]);
}

static void a_list_without_a_broker_is_refused(void **state) {
    (void)state;
    static const char *const lists[] = {"", " ", ",", " ,\t,\n"};
    struct error error = {0};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct kafka_settings settings = {.brokers = lists[i], .topic_prefix = "t", .client_id = "test"};
        assert_int_equal(kafka_check(&settings, &error), -1);
        assert_string_equal(error.message, "no Kafka broker is named: --brokers takes HOST:PORT,...");
        assert_int_equal(error.code, ERROR_INVALID);
        assert_int_equal(kafka_connect(&settings, -1, NULL, &error), -1);
    }
    /* The operator's properties count here too. */
    char *items[] = {memory_string("metadata.broker.list=127.0.0.1:1")};
    const struct option_list properties = {.items = items, .count = 1};
    const struct kafka_settings settings = {.brokers = "", .topic_prefix = "t", .properties = &properties, .client_id = "test"};
    assert_int_equal(kafka_check(&settings, &error), 0);
    free(items[0]);
}

static void topics_are_named_after_the_prefix(void **state) {
    (void)state;
    struct kafka_topics topics;
    kafka_topics_name("a.b", &topics);
    assert_string_equal(topics.events, "a.b.events");
    assert_string_equal(topics.acks, "a.b.acks");
    assert_string_equal(topics.workers, "a.b.workers");
}

static void the_embedded_broker_is_recognised_and_has_its_topics(void **state) {
    (void)state;
    struct kafka_fixture kafka;
    struct error error = {0};
    char value[64];
    kafka_open(&kafka);
    struct kafka_settings settings = kafka.settings;
    settings.embedded = false;
    if (kafka_connect(&settings, KAFKA_WAIT_MS, NULL, &error))
        fail_msg("%s", error.message);
    assert_true(settings.embedded);
    struct kafka_topic_spec specs[] = {{.name = kafka.topics.events, .partitions = 9}, {.name = kafka.topics.acks, .partitions = 9}};
    if (kafka_create_topics(&settings, specs, 2, 1, &error))
        fail_msg("%s", error.message);
    assert_int_equal(specs[0].partitions_found, KAFKA_EVENT_PARTITIONS);
    assert_int_equal(specs[1].partitions_found, 1);
    rd_kafka_t *consumer = kafka_consumer_new(&settings, "group", NULL, &error);
    assert_non_null(consumer);
    assert_string_equal(value_of(consumer, "fetch.wait.max.ms", value), "5");
    assert_string_equal(value_of(consumer, "enable.auto.commit", value), "false");
    kafka_client_free(consumer);
    kafka_close(&kafka);
}

static void a_topic_with_more_partitions_than_it_may_have_is_refused(void **state) {
    (void)state;
    struct kafka_fixture kafka;
    struct error error = {0};
    char expected[512];
    kafka_open(&kafka);
    struct kafka_topic_spec spec = {.name = kafka.topics.events, .partitions = 1, .partitions_max = KAFKA_EVENT_PARTITIONS};
    if (kafka_create_topics(&kafka.settings, &spec, 1, 1, &error))
        fail_msg("%s", error.message);
    spec.partitions_max--;
    assert_int_equal(kafka_create_topics(&kafka.settings, &spec, 1, 1, &error), -1);
    assert_int_equal(error.code, ERROR_INVALID);
    snprintf(expected, sizeof expected,
             "topic %s has %d partitions, and may have %d: delete it, and start jwk-api, which makes it again and publishes "
             "every JWK", spec.name, KAFKA_EVENT_PARTITIONS, KAFKA_EVENT_PARTITIONS - 1);
    assert_string_equal(error.message, expected);
    kafka_close(&kafka);
}

static void a_wait_for_a_broker_ends_with_its_address_when_it_is_told_to_stop(void **state) {
    (void)state;
    const atomic_bool stop = true;
    struct kafka_settings settings = {.brokers = "127.0.0.1:1", .topic_prefix = "t", .client_id = "test"};
    struct error error = {0};
    assert_int_equal(kafka_connect(&settings, -1, &stop, &error), -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_memory_equal(error.message, "no Kafka broker answers at 127.0.0.1:1: ", 40);
    assert_int_equal(kafka_connect(&settings, 0, NULL, &error), -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
}

/* How many threads of this process speak to brokers, and how many of them are under that policy. */
static void count_broker_threads(int policy, int *threads, int *under_policy) {
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    *threads = *under_policy = 0;
    for (const struct dirent *task; (task = readdir(tasks));) {
        char *path = memory_format("/proc/self/task/%s/comm", task->d_name), name[32] = "";
        FILE *file = fopen(path, "r");
        free(path);
        if (!file)
            continue;
        bool is_broker = fgets(name, sizeof name, file) && strncmp(name, "rdk:broker", 10) == 0;
        fclose(file);
        *threads += is_broker;
        *under_policy += is_broker && sched_getscheduler(atoi(task->d_name)) == policy;
    }
    closedir(tasks);
}

/* Else it would send the first record of a batch alone. */
static void a_thread_that_speaks_to_a_broker_does_not_take_the_processor_by_waking(void **state) {
    (void)state;
    const struct kafka_settings settings = {.brokers = "127.0.0.1:1", .topic_prefix = "t", .client_id = "test"};
    struct error error = {0};
    rd_kafka_t *producer = kafka_producer_new(&settings, KAFKA_ONCE, NULL, NULL, &error);
    rd_kafka_t *consumer = kafka_consumer_new(&settings, "group", NULL, &error);
    assert_non_null(producer);
    assert_non_null(consumer);
    int threads = 0, under_policy = 0;
    for (int looks = 0; looks < 500 && (under_policy < 2 || under_policy < threads); looks++) {
        poll(NULL, 0, 10); /* a thread names itself before it chooses its policy */
        count_broker_threads(SCHED_BATCH, &threads, &under_policy);
    }
    assert_true(threads >= 2);
    assert_int_equal(under_policy, threads);
    kafka_client_free(consumer);
    kafka_client_free(producer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(properties_that_are_none_are_told_by_name),
        cmocka_unit_test(no_message_holds_a_value),
        cmocka_unit_test(a_combination_that_librdkafka_refuses_is_told),
        cmocka_unit_test(the_operators_properties_win),
        cmocka_unit_test(a_list_without_a_broker_is_refused),
        cmocka_unit_test(topics_are_named_after_the_prefix),
        cmocka_unit_test(a_thread_that_speaks_to_a_broker_does_not_take_the_processor_by_waking),
        cmocka_unit_test(the_embedded_broker_is_recognised_and_has_its_topics),
        cmocka_unit_test(a_topic_with_more_partitions_than_it_may_have_is_refused),
        cmocka_unit_test(a_wait_for_a_broker_ends_with_its_address_when_it_is_told_to_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
