/* A file of librdkafka's properties. Each pair that is read has a name and is taken again as -X would be; a refusal names the
 * line and holds no value, which may be a password in the wrong place. */
#define take_line take_line_of_file    /* fuzz.h has another */
#include "../../common/kafka_config.c" /* for take_lines(), which is nobody else's */
#undef take_line

#include "fuzz.h"

/* These make librdkafka load a library or read a file: an operator's to say, not a fuzzer's. */
static bool is_allowed(const char *text) {
    return !strstr(text, "plugin") && !strstr(text, "ssl.");
}

/* The value at the end of the text, when it stands nowhere else in it and is long enough to be known again; else NULL. */
static char *last_value(const char *text) {
    const char *equals = strrchr(text, '='), *value = equals ? equals + 1 : "";
    while (is_white(*value))
        value++;
    return strlen(value) > 20 && strstr(text, value) == value ? memory_string(value) : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct option_list list = {0};
    char *text = take_rest(bytes, size);
    if (memchr(bytes ? bytes : (const uint8_t *)"", '\0', size) || !is_allowed(text)) {
        free(text);
        return 0; /* refused before */
    }
    char *value = last_value(text);
    if (take_lines("x", text, &list, &error)) {
        REQUIRE(error.code == ERROR_INVALID && strncmp(error.message, "x:", 2) == 0);
        REQUIRE(!value || !strstr(error.message, value));
    } else {
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        for (size_t i = 0; i < list.count; i++)
            REQUIRE(strchr(list.items[i], '=') > list.items[i]);
        REQUIRE(kafka_config_apply(conf, &list, &error) == 0);
        rd_kafka_conf_destroy(conf);
    }
    list_wipe(&list);
    free(value);
    free(text);
    return 0;
}
