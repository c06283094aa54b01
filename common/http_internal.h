/* What the files of the HTTP plumbing share; nothing else includes this. */
#ifndef COMMON_HTTP_INTERNAL_H
#define COMMON_HTTP_INTERNAL_H

#include "http.h"
#include "http_connection.h"

struct http_parameter {
    char *name, *value; /* percent-decoded */
    struct http_parameter *next;
};

/* One request. Ten thousand of them may wait at once, hence small: what libmicrohttpd keeps anyway is pointed to. */
struct http_request {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct http_connection *peer;
    const char *method, *path; /* in the connection's memory, which lives as long as the request */
    void *data;

    char *body; /* NULL before the first byte and after it was dropped */
    size_t body_length, body_capacity, body_limit;
    size_t declared_length; /* Content-Length; 0 when there is none */
    size_t drained;         /* bytes of the body that were read and thrown away */

    struct http_parameter *parameters; /* of the query, once asked for */
    bool parameters_read;

    bool dispatched;       /* on_request was called */
    bool deferred;         /* written by the connection's thread before the request is handed to another one */
    _Atomic bool resumed;  /* on_request is to be called again; set from any thread when deferred */
    bool queued;           /* libmicrohttpd has the answer */
    _Atomic bool answered; /* response and status are valid; set with release order, from any thread when deferred */
    unsigned status;
    struct MHD_Response *response; /* one reference, until it is queued; the caller's when shared */
    bool shared;
};

/* What belongs on every answer, set before the first is made: strict: TLS; constant: pairs of name and value, ended by NULL. */
void http_response_set_policy(bool strict, const char *const *constant);
const struct http_cors *http_server_cors(const struct http_server *server);
/* Wipes and frees the body, and frees the parameters. */
void http_request_clear(struct http_request *request);
/* Appends to the body. The caller has checked the limit. */
void http_request_store(struct http_request *request, const char *bytes, size_t length);
/* The path of a request target (RFC 9112 section 3.2): origin-form as it is, absolute-form without scheme and authority; NULL
 * when it is neither. */
const char *http_path_of_target(const char *target);

#endif
