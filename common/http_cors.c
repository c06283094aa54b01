/* Where every origin is allowed, each answer says so and prepared answers stay shared. Otherwise an answer names the origin
 * that asked, if it is allowed, and says that it depends on it. Credentials of the browser's own (cookies) are never allowed:
 * there are none here. */
#include "http_cors.h"

#include <string.h>

#define PREFLIGHT_AGE "600" /* seconds that a browser may keep the answer to a preflight; some allow no more */
#define EXPOSED       "ETag, Location, Preference-Applied, Idempotency-Replayed, Retry-After, WWW-Authenticate"

static bool is_any(const struct http_cors *cors) {
    return cors->count == 1 && strcmp(cors->origins[0], "*") == 0;
}

static bool is_origin(const char *text) {
    size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (scheme == 0 || strncmp(text + scheme, "://", 3) != 0)
        return false;
    const char *host = text + scheme + 3;
    /* Lower case, as browsers write it; no path, no user, no pattern. */
    return *host != '\0' && strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._:[]") == strlen(host);
}

int http_cors_check(const struct http_cors *cors, struct error *error) {
    for (size_t i = 0; i < cors->count; i++) {
        if (strcmp(cors->origins[i], "*") == 0 ? cors->count == 1 : is_origin(cors->origins[i]))
            continue;
        return error_set(
            error, ERROR_INVALID,
            "--cors-origin \"%s\": an origin is https://HOST or https://HOST:PORT, in lower case; or there is one, *",
            cors->origins[i]);
    }
    return 0;
}

void http_cors_constant(const struct http_cors *cors, const char *out[HTTP_CORS_CONSTANT_SIZE]) {
    size_t count = 0;
    if (cors->count > 0) {
        out[count++] = is_any(cors) ? MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_ORIGIN : MHD_HTTP_HEADER_VARY;
        out[count++] = is_any(cors) ? "*" : "Origin";
        out[count++] = MHD_HTTP_HEADER_ACCESS_CONTROL_EXPOSE_HEADERS;
        out[count++] = EXPOSED;
    }
    out[count] = NULL;
}

static bool is_allowed(const struct http_cors *cors, const char *origin) {
    for (size_t i = 0; i < cors->count; i++)
        if (strcmp(cors->origins[i], origin) == 0)
            return true;
    return false;
}

const char *http_cors_origin(const struct http_cors *cors, const struct http_request *request) {
    if (cors->count == 0 || is_any(cors))
        return NULL;
    const char *origin = http_request_header(request, MHD_HTTP_HEADER_ORIGIN);
    return origin != NULL && is_allowed(cors, origin) ? origin : NULL;
}

bool http_cors_preflight(const struct http_cors *cors, struct http_request *request) {
    if (cors->count == 0 || strcmp(http_request_method(request), MHD_HTTP_METHOD_OPTIONS) != 0 ||
        http_request_header(request, MHD_HTTP_HEADER_ACCESS_CONTROL_REQUEST_METHOD) == NULL)
        return false;
    const char *origin = http_request_header(request, MHD_HTTP_HEADER_ORIGIN);
    if (origin == NULL || !(is_any(cors) || is_allowed(cors, origin)))
        return false;
    struct MHD_Response *response = http_response_take(NULL, NULL, 0);
    http_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_METHODS, cors->methods);
    http_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_ALLOW_HEADERS, cors->headers);
    http_response_header(response, MHD_HTTP_HEADER_ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    http_respond(request, MHD_HTTP_NO_CONTENT, response);
    return true;
}
