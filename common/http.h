/* HTTP plumbing on libmicrohttpd, shared by both programs: a server of epoll threads, requests with whole bodies, answers now
 * or later from any thread.
 *
 * A deferred request costs no thread: its connection is suspended until http_respond() resumes it. */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

#include "error.h"

struct http_server;
struct http_request;

struct http_server_options {
    const char *listen;        /* "127.0.0.1:8080", "[::1]:8080", "*:8080"; port 0 picks a free one */
    const char *name;          /* of the threads, at most 10 characters */
    unsigned threads;          /* epoll threads */
    unsigned connection_limit; /* of all threads together; suspended ones count */
    size_t connection_memory;  /* bytes for a request's line and headers; more is answered 431 */
    unsigned idle_timeout;     /* seconds without a byte until a connection that is not suspended is closed */
    void *context;             /* given to the two below */
    /* Called when the headers are in, before any body. It may answer at once with http_respond() (what follows of the body is
     * then read and dropped within bounds), and it says how large a body it takes with http_request_limit_body() (default 0:
     * any body is answered 413 through on_error). */
    void (*on_headers)(void *context, struct http_request *request);
    /* Called once the whole body is in; must call http_respond() or http_request_defer(). Not called when on_headers answered.
     */
    void (*on_request)(void *context, struct http_request *request);
    /* Makes the answer for an error that the plumbing finds: 413 body too large, 400 body cut short or not parsable as HTTP. */
    struct MHD_Response *(*on_error)(void *context, unsigned status);
    /* Called with the status of each answer, from the thread that gives it; may be NULL. */
    void (*on_answer)(void *context, unsigned status);
    /* Called when a request is over, its answer sent or its client gone: frees what http_request_set_data() attached. */
    void (*on_completed)(void *context, struct http_request *request);
};

/* Starts the threads. NULL with an error that names the address when it cannot be bound. */
struct http_server *http_server_start(const struct http_server_options *options, struct error *error) MUST_CHECK;
/* The port really bound, host byte order. */
unsigned http_server_port(const struct http_server *server);
/* Stops accepting connections; those that exist go on. */
void http_server_quiesce(struct http_server *server);
/* Requests that have begun and are not over yet. Thread-safe. */
unsigned http_server_active(struct http_server *server);
/* Waits until no request is active or timeout_ms have passed; returns whether none is. */
bool http_server_wait_idle(struct http_server *server, int timeout_ms);
/* Closes all connections and ends the threads. Every deferred request must have been answered before. */
void http_server_stop(struct http_server *server);

const char *http_request_method(const struct http_request *request);
/* The path exactly as it stood in the request line, not percent-decoded, without the query; begins with '/'. */
const char *http_request_path(const struct http_request *request);
/* A header's value, or NULL. Names are compared without case. When a header is repeated, the first value. */
const char *http_request_header(const struct http_request *request, const char *name);
/* The values of all headers of that name joined with ", " (RFC 9110 section 5.3), a new string; NULL when there is none. */
char *http_request_header_list(const struct http_request *request, const char *name);
/* How many headers of that name there are. */
unsigned http_request_header_count(const struct http_request *request, const char *name);
/* A query parameter's value, percent-decoded ('+' is a space); NULL when absent, "" without a value. Owned by the request. */
const char *http_request_query(struct http_request *request, const char *name);
/* Calls visit for each query parameter name (decoded); stops when it returns false. */
void http_request_each_query(struct http_request *request, bool (*visit)(void *context, const char *name), void *context);
/* The body; NULL and 0 when there was none. Valid until the request is over or http_request_drop_body(). */
const char *http_request_body(const struct http_request *request, size_t *length);
/* Wipes and frees the body early: while ten thousand requests wait, none needs its body. */
void http_request_drop_body(struct http_request *request);
void http_request_limit_body(struct http_request *request, size_t bytes);
/* The peer's address as text ("127.0.0.1"), without port. */
void http_request_peer(const struct http_request *request, char out[64]);

/* Whatever the handler wants to keep with the request. */
void http_request_set_data(struct http_request *request, void *data);
void *http_request_data(const struct http_request *request);

/* Suspends the connection; only from on_request, and http_respond() must follow later, from any thread. */
void http_request_defer(struct http_request *request);
/* Answers. Takes one reference of response (MHD_destroy_response). Exactly once per request. On a deferred request it may be
 * called from any thread, and neither request nor its data may be touched after it. */
void http_respond(struct http_request *request, unsigned status, struct MHD_Response *response);
/* The same with a response that stays the caller's, who keeps it until on_completed: one that was prepared answers many
 * requests. Not on a deferred request. */
void http_respond_shared(struct http_request *request, unsigned status, struct MHD_Response *response);

/* A response with a body of length bytes that it takes over and frees (body may be NULL when length is 0), with
 * Content-Type (NULL: none) and Cache-Control: no-store. */
struct MHD_Response *http_response_take(const char *content_type, char *body, size_t length);
/* A response whose body is made while it is sent, in blocks of up to block_size bytes: read() and free() are those of
 * MHD_create_response_from_callback(). With the same headers as above. */
struct MHD_Response *http_response_stream(const char *content_type, size_t block_size, MHD_ContentReaderCallback read,
                                          void *context, MHD_ContentReaderFreeCallback free);
/* Adds a header. A value that is not allowed in a header (CR, LF) is refused with a log line. */
void http_response_header(struct MHD_Response *response, const char *name, const char *value);

/* Percent-decodes one path segment of length bytes, once. Returns a new string and its length, or NULL when a % is not followed
 * by two hex digits or the result holds a NUL. */
char *http_decode_segment(const char *segment, size_t length);
/* Percent-encodes all but RFC 3986's unreserved characters; a new string. */
char *http_encode_segment(const char *text);

#endif
