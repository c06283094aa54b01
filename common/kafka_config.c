/* The operator's properties of librdkafka. */
#include "kafka_config.h"

#include <openssl/crypto.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "secret_file.h"

/* Whether a property is ours alone: without it what was promised for an answer would not hold. */
static bool is_fixed(const char *name) {
    static const char *const fixed[] = {"acks",
                                        "request.required.acks",
                                        "enable.idempotence",
                                        "max.in.flight",
                                        "max.in.flight.requests.per.connection",
                                        "message.timeout.ms",
                                        "delivery.timeout.ms",
                                        "auto.offset.reset",
                                        "enable.partition.eof"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (strcmp(fixed[i], name) == 0)
            return true;
    return false;
}

/* Sets "name=value". where stands before the name in messages. */
static int set_pair(rd_kafka_conf_t *conf, const char *pair, const char *where, struct error *error) {
    const char *equals = strchr(pair, '=');
    char *name = memory_bytes(pair, (size_t)(equals - pair)), ignored[512];
    rd_kafka_conf_res_t result =
        is_fixed(name) ? RD_KAFKA_CONF_INVALID : rd_kafka_conf_set(conf, name, equals + 1, ignored, sizeof ignored);
    OPENSSL_cleanse(ignored, sizeof ignored); /* librdkafka's message may repeat the value */
    if (is_fixed(name))
        error_set(error, ERROR_INVALID, "%s%s: this property is fixed, since the promises of an answer rest on it", where,
                  name);
    else if (result == RD_KAFKA_CONF_UNKNOWN)
        error_set(error, ERROR_INVALID, "%s%s: librdkafka has no property of this name", where, name);
    else if (result == RD_KAFKA_CONF_INVALID)
        error_set(error, ERROR_INVALID, "%s%s: librdkafka does not take this value", where, name);
    free(name);
    return result == RD_KAFKA_CONF_OK ? 0 : -1;
}

int kafka_config_apply(rd_kafka_conf_t *conf, const struct option_list *properties, struct error *error) {
    for (size_t i = 0; properties && i < properties->count; i++) {
        const char *pair = properties->items[i], *equals = strchr(pair, '=');
        if (!equals || equals == pair)
            return error_set(error, ERROR_INVALID, "-X takes name=value (a librdkafka property)");
        if (set_pair(conf, pair, "-X ", error))
            return -1;
    }
    return 0;
}

/* ---- the file ---- */

static bool is_white(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Takes white space from both ends, and from around the first '='; returns where the text begins. */
static char *tidy(char *line) {
    while (is_white(*line))
        line++;
    size_t length = strlen(line);
    while (length > 0 && is_white(line[length - 1]))
        line[--length] = '\0';
    char *equals = strchr(line, '='), *before = equals, *behind = equals;
    if (!equals || *line == '#')
        return line;
    while (before > line && is_white(before[-1]))
        before--;
    do
        behind++;
    while (is_white(*behind));
    *before = '=';
    memmove(before + 1, behind, strlen(behind) + 1);
    return line;
}

/* Takes a line into the list, once a configuration for trial has taken it. */
static int take_line(struct option_list *list, rd_kafka_conf_t *trial, const char *path, unsigned number, char *line,
                     struct error *error) {
    const char *pair = tidy(line), *equals = strchr(pair, '=');
    if (*pair == '\0' || *pair == '#')
        return 0;
    if (!equals || equals == pair)
        return error_set(error, ERROR_INVALID, "%s:%u: a line is name=value (a librdkafka property)", path, number);
    char *where = memory_format("%s:%u: ", path, number);
    int status = set_pair(trial, pair, where, error);
    free(where);
    if (status)
        return -1;
    list->items = memory_resize(list->items, (list->count + 1) * sizeof *list->items);
    list->items[list->count++] = memory_string(pair);
    return 0;
}

static void list_wipe(struct option_list *list) {
    for (size_t i = 0; i < list->count; i++)
        memory_wipe_string(list->items[i]);
    free(list->items);
}

/* Takes each line of text, which it changes. */
static int take_lines(const char *path, char *text, struct option_list *list, struct error *error) {
    rd_kafka_conf_t *trial = rd_kafka_conf_new();
    int status = 0;
    for (unsigned number = 1; status == 0 && text; number++) {
        char *line = strsep(&text, "\n");
        status = take_line(list, trial, path, number, line, error);
    }
    rd_kafka_conf_destroy(trial);
    return status;
}

static int read_file(const char *path, struct option_list *list, struct error *error) {
    struct text content = TEXT_EMPTY;
    int status = secret_file_read("Kafka properties file", path, &content, error);
    if (status == 0 && memchr(content.bytes, '\0', content.length))
        status = error_set(error, ERROR_INVALID, "The Kafka properties file %s holds the character NUL", path);
    else if (status == 0)
        status = take_lines(path, content.bytes, list, error);
    if (content.bytes)
        OPENSSL_cleanse(content.bytes, content.length);
    text_free(&content);
    return status;
}

int kafka_config_read(const char *path, struct option_list *properties, struct error *error) {
    struct option_list list = {0};
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    char *credential = !path && directory ? memory_format("%s/kafka", directory) : NULL;
    if (credential && access(credential, F_OK) == 0)
        path = credential;
    int status = path ? read_file(path, &list, error) : 0;
    free(credential);
    if (status) {
        list_wipe(&list);
        return -1;
    }
    list.items = memory_resize(list.items, (list.count + properties->count + 1) * sizeof *list.items);
    for (size_t i = 0; i < properties->count; i++)
        list.items[list.count++] = properties->items[i];
    free(properties->items);
    *properties = list;
    return 0;
}
