/* Fetching a JWK or JWK Set from a URL that a client named: as careful as a server that fetches on others' behalf must be.
 *
 * https unless configured otherwise, on redirects too; at most 5 redirects. The address is judged where the socket is opened,
 * for every connection of the fetch, so that neither a name that resolves differently the second time (DNS rebinding) nor a
 * redirect reaches an inner network. No proxy, .netrc, cookie or credentials of the environment take part. The body is bounded
 * while it is read, the whole fetch by a deadline. */
#ifndef API_SOURCE_URL_H
#define API_SOURCE_URL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/source_address.h"
#include "common/error.h"
#include "common/jwk.h"

enum {
    SOURCE_URL_LENGTH_MAX = 2048,

    SOURCE_URL_CONNECT_TIMEOUT_MS = 5000, /* the contract's defaults */
    SOURCE_URL_READ_TIMEOUT_MS = 10000,
    SOURCE_URL_SIZE_LIMIT = 1048576,

    SOURCE_URL_TIMEOUT_MS_MAX = 60000, /* of each of the two: a fetch occupies a thread */
    SOURCE_URL_SIZE_LIMIT_MAX = 16 * 1048576,
};

/* What the configuration says; shared by all fetches, not changed by them. */
struct source_url_settings {
    bool allow_http;                /* http:// beside https:// */
    struct source_networks allowed; /* networks to connect to though they are not public */
    const char *ca_file;            /* PEM; NULL: the system's */
    const char *const *resolve;     /* NULL-terminated "host:port:address", asked before the DNS: for tests. NULL: none */
};

/* What one fetch asks for. */
struct source_url_request {
    const char *url;
    int64_t connect_timeout_ms; /* `urlOptionConnectTimeout`: of each connection, name resolution and TLS handshake included */
    int64_t read_timeout_ms;    /* `urlOptionReadTimeout`: all that comes after it, redirects included */
    int64_t size_limit;         /* `urlOptionSizeLimit`: bytes of the body */
    const char *etag;           /* of the answer before, to ask only for a newer one; NULL: none */
    const char *last_modified;  /* the same; NULL: none */
    const atomic_bool *cancel;  /* looked at about once a second; true ends the fetch. NULL: none */
};

#define SOURCE_URL_REQUEST_DEFAULT                                                                                             \
    ((struct source_url_request){.connect_timeout_ms = SOURCE_URL_CONNECT_TIMEOUT_MS,                                          \
                                 .read_timeout_ms = SOURCE_URL_READ_TIMEOUT_MS,                                                \
                                 .size_limit = SOURCE_URL_SIZE_LIMIT})

struct source_url_answer {
    bool not_modified;   /* 304: what was fetched before still holds; no body */
    char *body;          /* NUL-terminated; NULL with not_modified */
    size_t size;         /* bytes of the body, without the NUL */
    char *content_type;  /* NULL: none was said */
    char *etag;          /* NULL: none */
    char *last_modified; /* NULL: none */
    int64_t max_age;     /* seconds that the answer stays fresh (max-age less Age; 0 for no-store and no-cache); -1: not said */
};

#define SOURCE_URL_ANSWER_EMPTY ((struct source_url_answer){.max_age = -1})

/* Checks a URL and the three options without fetching: ERROR_INVALID with the sentence that a client gets. Thread-safe, as all
 * here. */
int source_url_check(const struct source_url_settings *settings, const struct source_url_request *request, struct error *error)
    MUST_CHECK;

/* Fetches on the caller's thread and blocks for connect and read timeout at most. ERROR_INVALID when the source or the URL is
 * at fault in a way that stays, ERROR_UNAVAILABLE when trying again may help (time-out, connection, status 408, 429, 5xx). The
 * messages do not tell the address that a name resolved to, nor the URL. The caller frees the answer with
 * source_url_answer_free(). */
int source_url_fetch(const struct source_url_settings *settings, const struct source_url_request *request,
                     struct source_url_answer *answer, struct error *error) MUST_CHECK;
void source_url_answer_free(struct source_url_answer *answer); /* wipes the body, which may be a private key */

/* Reads the answer's body as a JWK, or a JWK Set of which kid (NULL: the only one) picks one. */
struct jwk *source_url_jwk(const struct source_url_answer *answer, const char *kid, struct error *error) MUST_CHECK;

#endif
