/* Starting the log as the settings say. */
#ifndef API_LOGGING_H
#define API_LOGGING_H

#include "settings.h"

int logging_start(const struct settings *settings, struct error *error) MUST_CHECK;

#endif
