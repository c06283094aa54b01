/* The operator's properties of librdkafka: -X name=value, and a file of them for what must not stand on a command line.
 *
 * No message and no log line holds a value: it may be a password in the wrong place. */
#ifndef COMMON_KAFKA_CONFIG_H
#define COMMON_KAFKA_CONFIG_H

#include <librdkafka/rdkafka.h>

#include "error.h"
#include "options.h"

/* Puts the properties of a file (lines of "name=value", comments that begin with #) in front of those that are there, which so
 * win over it. path NULL: the service manager's credential "kafka" ($CREDENTIALS_DIRECTORY/kafka), if there is one. A file that
 * others may read is refused. The list's owner frees and wipes what is put there. */
int kafka_config_read(const char *path, struct option_list *properties, struct error *error) MUST_CHECK;

/* Sets the properties; properties may be NULL. */
int kafka_config_apply(rd_kafka_conf_t *conf, const struct option_list *properties, struct error *error) MUST_CHECK;

#endif
