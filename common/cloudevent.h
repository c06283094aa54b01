/* CloudEvents 1.0 in Kafka's binary content mode: the attributes of an event as headers of its record.
 *
 * Sources: CloudEvents 1.0.2; Kafka protocol binding for CloudEvents 1.0.2, section 3.2; the extension attribute traceparent is
 * that of W3C Trace Context. */
#ifndef COMMON_CLOUDEVENT_H
#define COMMON_CLOUDEVENT_H

#include <librdkafka/rdkafka.h>

#include "error.h"
#include "identifier.h"

/* CloudEvents attributes of one record. */
struct cloudevent {
    const char *id, *source, *type, *subject, *time, *dataschema; /* subject may be NULL */
    const char *traceparent;                                      /* NULL when there is none */
    const char *content_type; /* datacontenttype; NULL for application/json. Only for writing */
};

/* New headers for rd_kafka_producev(), owned by the caller until a produce call succeeds. */
rd_kafka_headers_t *cloudevent_headers(const struct cloudevent *attributes);
/* Reads the headers of a consumed record; the strings are copied into storage, which the caller owns.
 * ERROR_INVALID when a required one is missing, has a NUL or is longer than 1,024 bytes, or when specversion is not 1.0. */
struct cloudevent_storage {
    char id[128], source[256], type[64], subject[1024], time[64], dataschema[256], traceparent[TRACEPARENT_SIZE];
};
int cloudevent_read(const rd_kafka_message_t *record, struct cloudevent_storage *storage, struct cloudevent *attributes,
                    struct error *error) MUST_CHECK;

#endif
