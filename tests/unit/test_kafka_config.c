/* The file of Kafka properties: what stands in it, who may read it, and that no message repeats a value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/kafka_config.h"
#include "common/memory.h"

static char directory[64];

static int make_directory(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_kafka_config-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state) {
    (void)state;
    char *path = memory_format("%s/kafka", directory);
    unlink(path);
    free(path);
    return rmdir(directory);
}

/* Writes the file and returns its path, which the caller frees. */
static char *write_file(const char *text, size_t length, mode_t mode) {
    char *path = memory_format("%s/kafka", directory);
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
    return path;
}

static void list_free(struct option_list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct option_list){0};
}

static void a_file_comes_before_what_the_command_line_says(void **state) {
    (void)state;
    static const char text[] = "# a comment\n\n  sasl.username = api \r\nsasl.password= a=b #c \nsecurity.protocol=ssl\n#x=y\nclient.rack=";
    char *path = write_file(text, sizeof text - 1, 0600);
    struct option_list list = {.items = memory_new(sizeof(char *)), .count = 1};
    struct error error = {0};
    list.items[0] = memory_string("security.protocol=sasl_ssl");
    if (kafka_config_read(path, &list, &error))
        fail_msg("%s", error.message);
    assert_int_equal(list.count, 5);
    assert_string_equal(list.items[0], "sasl.username=api");
    assert_string_equal(list.items[1], "sasl.password=a=b #c");
    assert_string_equal(list.items[2], "security.protocol=ssl");
    assert_string_equal(list.items[3], "client.rack=");
    assert_string_equal(list.items[4], "security.protocol=sasl_ssl");
    char value[64];
    size_t size = sizeof value;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(kafka_config_apply(conf, &list, &error), 0);
    assert_int_equal(rd_kafka_conf_get(conf, "security.protocol", value, &size), RD_KAFKA_CONF_OK);
    assert_string_equal(value, "sasl_ssl");
    rd_kafka_conf_destroy(conf);
    list_free(&list);
    free(path);
}

static void expect_refused(const char *text, size_t length, mode_t mode, const char *message) {
    char *path = write_file(text, length, mode), *expected = memory_format("%s%s", path, message);
    struct option_list list = {0};
    struct error error = {0};
    assert_int_equal(kafka_config_read(path, &list, &error), -1);
    if (!strstr(error.message, expected))
        fail_msg("\"%s\" is not in \"%s\"", expected, error.message);
    assert_null(strstr(error.message, "hunter2"));
    assert_int_equal(list.count, 0);
    free(expected);
    free(path);
}

static void what_is_wrong_is_told_by_its_line_and_never_by_its_value(void **state) {
    (void)state;
#define REFUSED(text, message) expect_refused(text, sizeof text - 1, 0600, message)
    REFUSED("sasl.username=a\nhunter2\n", ":2: a line is name=value (a librdkafka property)");
    REFUSED("=hunter2\n", ":1: a line is name=value (a librdkafka property)");
    REFUSED("sasl.passwrd=hunter2\n", ":1: sasl.passwrd: librdkafka has no property of this name");
    REFUSED("security.protocol=hunter2\n", ":1: security.protocol: librdkafka does not take this value");
    REFUSED("\nacks=1\n", ":2: acks: this property is fixed, since the promises of an answer rest on it");
    REFUSED("sasl.password=hunter2\0more\n", " holds the character NUL");
#undef REFUSED
}

static void a_file_that_others_may_read_is_refused(void **state) {
    (void)state;
    static const mode_t modes[] = {0640, 0620, 0604, 0602, 0644};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        expect_refused("sasl.password=hunter2\n", 22, modes[i], " is open to other users");
}

static void a_credential_of_the_service_manager_is_found(void **state) {
    (void)state;
    struct option_list list = {0};
    struct error error = {0};
    free(write_file("sasl.username=api\n", 18, 0400));
    assert_int_equal(kafka_config_read(NULL, &list, &error), 0);
    assert_int_equal(list.count, 0);
    list_free(&list);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", directory, 1), 0);
    if (kafka_config_read(NULL, &list, &error))
        fail_msg("%s", error.message);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0], "sasl.username=api");
    list_free(&list);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", "/nowhere", 1), 0);
    assert_int_equal(kafka_config_read(NULL, &list, &error), 0);
    assert_int_equal(list.count, 0);
    list_free(&list);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

static void a_file_that_is_none_is_told(void **state) {
    (void)state;
    struct option_list list = {0};
    struct error error = {0};
    assert_int_equal(kafka_config_read("/nowhere/kafka", &list, &error), -1);
    assert_string_equal(error.message, "The Kafka properties file /nowhere/kafka can not be opened: No such file or directory");
    assert_int_equal(kafka_config_read(directory, &list, &error), -1);
    assert_non_null(strstr(error.message, "is not a regular file"));
    assert_int_equal(kafka_config_read("/dev/zero", &list, &error), -1);
    assert_non_null(strstr(error.message, "is not a regular file"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_before_what_the_command_line_says),
        cmocka_unit_test(what_is_wrong_is_told_by_its_line_and_never_by_its_value),
        cmocka_unit_test(a_file_that_others_may_read_is_refused),
        cmocka_unit_test(a_credential_of_the_service_manager_is_found),
        cmocka_unit_test(a_file_that_is_none_is_told),
    };
    unsetenv("CREDENTIALS_DIRECTORY");
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
