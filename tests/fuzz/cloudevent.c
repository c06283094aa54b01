/* The headers of a record, one a line as "name: value" ("\0" in a value is a NUL). The record comes back from librdkafka as a
 * worker gets it: a producer without brokers is told to drop it, and hands it over with its headers. */
#include "fuzz.h"

#include "common/cloudevent.h"

static struct cloudevent_storage storage;
static int status;
static struct error refusal;

static void check_attributes(const struct cloudevent *attributes) {
    const char *required[] = {attributes->id, attributes->source, attributes->type};
    for (size_t i = 0; i < 3; i++)
        REQUIRE(required[i] && *required[i]);
    REQUIRE(!attributes->traceparent || traceparent_is_valid(attributes->traceparent));
    /* What was read can be written. */
    rd_kafka_headers_t *headers = cloudevent_headers(attributes);
    const void *value;
    size_t length;
    REQUIRE(rd_kafka_header_get(headers, 0, "ce_id", &value, &length) == 0);
    REQUIRE(length == strlen(attributes->id) && memcmp(value, attributes->id, length) == 0);
    rd_kafka_headers_destroy(headers);
}

static void take_record(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    (void)client, (void)opaque;
    struct cloudevent attributes;
    status = cloudevent_read(record, &storage, &attributes, &refusal);
    if (status == 0)
        check_attributes(&attributes);
}

static rd_kafka_t *producer(void) {
    static rd_kafka_t *client;
    if (!client) {
        char text[256];
        rd_kafka_conf_t *conf = rd_kafka_conf_new();
        rd_kafka_conf_set_dr_msg_cb(conf, take_record);
        client = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
        REQUIRE(client != NULL);
    }
    return client;
}

/* Adds one line to the headers; a name without value has none. */
static void add_line(rd_kafka_headers_t *headers, char *line) {
    char *value = strstr(line, ": ");
    if (value) {
        *value = '\0';
        value += 2;
    }
    size_t length = 0;
    for (char *from = value; from && *from; from++, length++) {
        bool nul = from[0] == '\\' && from[1] == '0';
        value[length] = nul ? '\0' : *from;
        from += nul;
    }
    rd_kafka_header_add(headers, line, -1, value, value ? (ssize_t)length : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    while (size) {
        char *line = take_line(&bytes, &size);
        if (*line)
            add_line(headers, line);
        free(line);
    }
    status = 1;
    refusal = (struct error){0};
    REQUIRE(rd_kafka_producev(producer(), RD_KAFKA_V_TOPIC("fuzz"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_HEADERS(headers),
                              RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR_NO_ERROR);
    REQUIRE(rd_kafka_purge(producer(), RD_KAFKA_PURGE_F_QUEUE) == RD_KAFKA_RESP_ERR_NO_ERROR);
    while (status == 1)
        rd_kafka_poll(producer(), 1000);
    if (status)
        require_refusal(&refusal);
    return 0;
}
