/* What a topic that was made again looks like to who writes to it: offsets that were given before. The mock cluster can not delete a
 * topic, so the reports of deliveries are changed on their way to the code under test. */
#ifndef TESTS_UNIT_KAFKA_REPORTS_H
#define TESTS_UNIT_KAFKA_REPORTS_H

#include <dlfcn.h>
#include <stdatomic.h>

#include "kafka_fixture.h"

/* The offset that each delivery is told to have; -1: its own. */
static atomic_llong kafka_told_offset = -1;
static void (*kafka_reported)(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque);

static void kafka_report(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque) {
    long long offset = atomic_load(&kafka_told_offset);
    if (offset >= 0 && !record->err) {
        rd_kafka_message_t told = *record;
        told.offset = offset;
        kafka_reported(client, &told, opaque);
    } else {
        kafka_reported(client, record, opaque);
    }
}

/* Stands in the place of librdkafka's in this program, for all clients but the fixture's own. */
void rd_kafka_conf_set_dr_msg_cb(rd_kafka_conf_t *conf, void (*report)(rd_kafka_t *, const rd_kafka_message_t *, void *)) {
    void (*real)(rd_kafka_conf_t *, void (*)(rd_kafka_t *, const rd_kafka_message_t *, void *));
    *(void **)&real = dlsym(RTLD_NEXT, "rd_kafka_conf_set_dr_msg_cb");
    if (report != kafka_note_offset)
        kafka_reported = report;
    real(conf, report == kafka_note_offset ? report : kafka_report);
}

#endif
