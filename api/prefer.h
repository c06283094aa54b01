/* The Prefer header (RFC 7240): how long a caller wants to wait for a deployment. */
#ifndef API_PREFER_H
#define API_PREFER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/http.h"

struct preferences {
    int64_t wait_s; /* "wait=N", seconds; -1 when there is none or it is not a number up to PREFER_WAIT_MAX_S */
    bool respond_async;
};
enum { PREFER_WAIT_MAX_S = 86400 };

/* Reads the preferences it knows; others, and what it cannot read, are ignored as RFC 7240 asks. */
void prefer_read(const struct http_request *request, struct preferences *preferences);
/* The same for one header value, for tests. */
void prefer_parse(const char *value, struct preferences *preferences);

#endif
