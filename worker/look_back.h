/* Whether the topic is still the one that was read: a look at a record that was read before. */
#ifndef WORKER_LOOK_BACK_H
#define WORKER_LOOK_BACK_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

#include "worker/trust.h"

/* The sequence of the event in a record of jwk.events, as far as trust believes it now; 0 for anything else, and for an event of
 * an earlier epoch than this one. */
int64_t look_back_sequence(struct trust *trust, const rd_kafka_message_t *record, int64_t epoch) MUST_CHECK;

#endif
