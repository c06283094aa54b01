/* Where auditors read a trail from: the topic, or a dump of it (the values of its records, one below the other). */
#ifndef API_AUDIT_READ_H
#define API_AUDIT_READ_H

#include <stdio.h>

#include "audit_verify.h"
#include "common/kafka.h"

struct audit_reading {
    /* Called with each line, without its line end, in order; empty ones are left out. -1 with an error ends the reading. */
    int (*line)(void *context, const char *bytes, size_t length, const struct audit_place *place, struct error *error);
    /* Called when all that was there at the beginning is read; with `follow`, also later when nothing is left to read. -1 ends
     * the reading. */
    int (*end)(void *context, struct error *error);
    void *context;
};

int audit_read_file(FILE *file, const struct audit_reading *reading, struct error *error) MUST_CHECK;
/* follow: goes on for ever. A topic that is made again meanwhile is an error. */
int audit_read_topic(const struct kafka_settings *settings, const char *topic, bool follow, const struct audit_reading *reading,
                     struct error *error) MUST_CHECK;

#endif
