/* Cross-origin requests of browsers (the CORS protocol of the Fetch standard): refused unless origins are configured. Only the
 * files of the HTTP plumbing include this. */
#ifndef COMMON_HTTP_CORS_H
#define COMMON_HTTP_CORS_H

#include "http.h"

/* Whether each origin is "*" or SCHEME://HOST[:PORT], as browsers send it. */
int http_cors_check(const struct http_cors *cors, struct error *error) MUST_CHECK;
/* Puts into out what belongs on every answer: pairs of name and value, ended by NULL. */
enum { HTTP_CORS_CONSTANT_SIZE = 5 };
void http_cors_constant(const struct http_cors *cors, const char *out[HTTP_CORS_CONSTANT_SIZE]);
/* Answers a preflight request of an allowed origin; false when the request is none. */
bool http_cors_preflight(const struct http_cors *cors, struct http_request *request);
/* The origin that an answer to this request is to name, or NULL. */
const char *http_cors_origin(const struct http_cors *cors, const struct http_request *request);

#endif
