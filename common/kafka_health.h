/* What Kafka does not do for this process now: refused operations, lost connections. One place for all of its clients, told in
 * the log once when it begins and once when it is over, in metrics, and by /readyz.
 *
 * Nothing here gives up: whoever was refused tries again, and says when it was granted. Thread-safe. */
#ifndef COMMON_KAFKA_HEALTH_H
#define COMMON_KAFKA_HEALTH_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "text.h"

enum kafka_operation { KAFKA_DESCRIBE, KAFKA_CREATE, KAFKA_READ, KAFKA_WRITE };

/* Registers the metrics. Before threads start. */
void kafka_health_register(void);

/* "Kafka refuses user "api" to WRITE topic jwk.events: grant it with kafka-acls.sh --add …" */
int kafka_refusal_set(rd_kafka_t *client, enum kafka_operation operation, const char *topic, struct error *error);

/* Kafka has refused the operation on the topic, which is to be tried again. topic is copied. */
void kafka_health_refused(rd_kafka_t *client, enum kafka_operation operation, const char *topic);
/* It was done: costs nothing as long as nothing is refused. */
void kafka_health_granted(enum kafka_operation operation, const char *topic);

/* Whether this client has a broker counts from now on, until it is forgotten, which must be before it is destroyed. */
void kafka_health_watch(rd_kafka_t *client);
void kafka_health_forget(rd_kafka_t *client);
/* When the client has lost its brokers, asks for one for up to timeout_ms: librdkafka tells of the loss alone. */
void kafka_health_check(rd_kafka_t *client, int timeout_ms);
/* Records were handed over and none was confirmed for long (true), or that is over. */
void kafka_health_stalled(bool stalled);

/* The error callback of every client. */
void kafka_health_on_error(rd_kafka_t *client, int code, const char *reason, void *opaque);
/* What that told last of a watched client: whether it is a refusal (wrong password, untrusted certificate), which only an
 * operator can mend. reason may be NULL; it is "" when there is none. */
bool kafka_health_is_refused(rd_kafka_t *client, char *reason, size_t size);

/* Whether all is well. */
bool kafka_health_is_good(void);
/* Adds the member "problems", an array of sentences, to the JSON object that body ends with; nothing when all is well. other is
 * a problem of the caller's own, which comes first, or NULL. */
void kafka_health_write(struct text *body, const char *other);

#endif
