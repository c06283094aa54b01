/* What the operator says of Kafka and of where to listen: broker addresses in the first line, an address in the second,
 * properties in all others. */
#include "../../common/kafka.c" /* for conf_new(), which is nobody else's */

#include "../../common/listen.c" /* for split_address() */
#include "fuzz.h"

enum { PROPERTIES_MAX = 16 };

static void check_listen(char *address) {
    const char *host = NULL, *port = NULL;
    if (split_address(address, &host, &port) == 0) {
        REQUIRE(*host && *port);
        REQUIRE(strtol(port, NULL, 10) >= 0 && strtol(port, NULL, 10) <= 65535);
    }
}

/* These make librdkafka load a library of that name: an operator's to say, not a fuzzer's. */
static bool is_allowed(const char *property) {
    return strncmp(property, "plugin.library.paths", 20) != 0 && !strstr(property, "ssl.");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    char *brokers = take_line(&bytes, &size), *address = take_line(&bytes, &size), *items[PROPERTIES_MAX];
    struct option_list properties = {.items = items};
    check_listen(address);
    while (size && properties.count < PROPERTIES_MAX) {
        char *line = take_line(&bytes, &size);
        if (is_allowed(line))
            items[properties.count++] = line;
        else
            free(line);
    }
    const struct kafka_settings settings = {.brokers = brokers, .properties = &properties, .client_id = "fuzz"};
    rd_kafka_conf_t *conf = conf_new(&settings, NULL, &error);
    if (conf)
        rd_kafka_conf_destroy(conf);
    else
        REQUIRE(error.code == ERROR_INVALID && error.message[0]);
    for (size_t i = 0; i < properties.count; i++)
        free(items[i]);
    free(address);
    free(brokers);
    return 0;
}
