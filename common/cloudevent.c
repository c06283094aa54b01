/* CloudEvents attributes to and from record headers. */
#include "cloudevent.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void add(rd_kafka_headers_t *headers, const char *name, const char *value) {
    if (value && rd_kafka_header_add(headers, name, -1, value, -1) != RD_KAFKA_RESP_ERR_NO_ERROR)
        abort(); /* fails only for a read-only list */
}

rd_kafka_headers_t *cloudevent_headers(const struct cloudevent *attributes) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(10);
    add(headers, "ce_specversion", "1.0");
    add(headers, "ce_id", attributes->id);
    add(headers, "ce_source", attributes->source);
    add(headers, "ce_type", attributes->type);
    add(headers, "ce_subject", attributes->subject);
    add(headers, "ce_time", attributes->time);
    add(headers, "ce_dataschema", attributes->dataschema);
    add(headers, "content-type", attributes->content_type ? attributes->content_type : "application/json");
    add(headers, "traceparent", attributes->traceparent);
    return headers;
}

/* Copies the header into out; an absent one is an error only when required, and leaves "". */
static int copy(const rd_kafka_headers_t *headers, const char *name, bool required, char *out, size_t size,
                struct error *error) {
    const void *value;
    size_t length;
    out[0] = '\0';
    if (!headers || rd_kafka_header_get_last(headers, name, &value, &length) != RD_KAFKA_RESP_ERR_NO_ERROR || !value) {
        if (!required)
            return 0;
        return error_set(error, ERROR_INVALID, "header %s is missing", name);
    }
    if (length == 0 || length >= size || memchr(value, '\0', length))
        return error_set(error, ERROR_INVALID, "header %s is empty, too long or holds a NUL", name);
    memcpy(out, value, length);
    out[length] = '\0';
    return 0;
}

int cloudevent_read(const rd_kafka_message_t *record, struct cloudevent_storage *storage, struct cloudevent *attributes,
                    struct error *error) {
    rd_kafka_headers_t *headers = NULL; /* owned by the record */
    if (rd_kafka_message_headers(record, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        headers = NULL;
    char specversion[8];
    if (copy(headers, "ce_specversion", true, specversion, sizeof specversion, error) ||
        copy(headers, "ce_id", true, storage->id, sizeof storage->id, error) ||
        copy(headers, "ce_source", true, storage->source, sizeof storage->source, error) ||
        copy(headers, "ce_type", true, storage->type, sizeof storage->type, error) ||
        copy(headers, "ce_subject", false, storage->subject, sizeof storage->subject, error) ||
        copy(headers, "ce_time", false, storage->time, sizeof storage->time, error) ||
        copy(headers, "ce_dataschema", false, storage->dataschema, sizeof storage->dataschema, error))
        return -1;
    if (strcmp(specversion, "1.0") != 0)
        return error_set(error, ERROR_INVALID, "header ce_specversion is not 1.0");
    /* A traceparent that is not one is dropped, as its specification asks, and spoils nothing. */
    if (copy(headers, "traceparent", false, storage->traceparent, sizeof storage->traceparent, NULL) ||
        !traceparent_is_valid(storage->traceparent))
        storage->traceparent[0] = '\0';
    *attributes = (struct cloudevent){
        .id = storage->id,
        .source = storage->source,
        .type = storage->type,
        .subject = storage->subject[0] ? storage->subject : NULL,
        .time = storage->time[0] ? storage->time : NULL,
        .dataschema = storage->dataschema[0] ? storage->dataschema : NULL,
        .traceparent = storage->traceparent[0] ? storage->traceparent : NULL,
    };
    return 0;
}
