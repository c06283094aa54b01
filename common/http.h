/* HTTP plumbing on libmicrohttpd, shared by both programs: a server of epoll threads, requests with whole bodies, answers now
 * or later from any thread.
 *
 * A deferred request costs no thread: its connection is suspended until http_respond() or http_request_resume(). */
#ifndef COMMON_HTTP_H
#define COMMON_HTTP_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "rate.h"
#include "tls.h"

struct http_server;
struct http_request;

/* Which pages of other origins browsers let read the answers; all zero: none. What is pointed to must outlive the server. */
struct http_cors {
    char *const *origins; /* "https://console.example.com"; "*" alone is any */
    size_t count;
    const char *methods, *headers; /* that such pages may use: "GET, HEAD", "Authorization, Content-Type" */
};

struct http_server_options {
    const char *listen;        /* "127.0.0.1:8080", "[::1]:8080", "*:8080"; port 0 picks a free one */
    const char *name;          /* of the threads, at most 10 characters */
    unsigned threads;          /* epoll threads */
    unsigned connection_limit; /* of all threads together; suspended ones count */
    size_t connection_memory;  /* bytes for a request's line and headers; the library answers more with 431 or 414 */
    unsigned idle_timeout;     /* seconds without a byte until a connection that is not suspended is closed */
    /* How long what a connection is at may take as a whole, however few bytes trickle in; 0: unlimited. A connection that takes
     * longer is closed; one whose request is being worked on, or deferred, never is. */
    int64_t header_timeout_ms; /* from the acceptance until the first request's headers are in, TLS handshake included; for a
                                * next request, from the end of the idle time-out */
    int64_t body_timeout_ms, answer_timeout_ms;
    unsigned connections_per_address; /* of one IPv4 address or IPv6 /64; 0: unlimited */
    struct rate address_rate;         /* of requests of one such address; more are answered 429 */
    const struct tls_files *tls;      /* NULL: without TLS */
    struct http_cors cors;
    void *context; /* given to those below */
    /* Called when the headers are in, before any body. It may answer at once with http_respond() (what follows of the body is
     * then read and dropped within bounds), and it says how large a body it takes with http_request_limit_body() (default 0:
     * any body is answered 413 through on_error). */
    void (*on_headers)(void *context, struct http_request *request);
    /* Called once the whole body is in; must call http_respond() or http_request_defer(). Not called when on_headers answered.
     */
    void (*on_request)(void *context, struct http_request *request);
    /* Makes the answer for an error that the plumbing finds: 413 body too large, 400 body cut short or not parsable as HTTP,
     * 429 too many requests (with Retry-After, which the plumbing adds). */
    struct MHD_Response *(*on_error)(void *context, const struct http_request *request, unsigned status);
    /* Called with the status of each answer, from the thread that gives it; may be NULL. */
    void (*on_answer)(void *context, unsigned status);
    /* Called when a request is over, its answer sent or its client gone: frees what http_request_set_data() attached. */
    void (*on_completed)(void *context, struct http_request *request);
};

/* Starts the threads. NULL with an error that names the address when it cannot be bound, or the file that TLS cannot use. TLS
 * and CORS decide on headers of all answers of this process: of several servers, the last one's. */
struct http_server *http_server_start(const struct http_server_options *options, struct error *error) MUST_CHECK;
/* The port really bound, host byte order. */
unsigned http_server_port(const struct http_server *server);
/* Loads certificate, key and CA again, for connections from now on. Logs what came of it. Thread-safe. */
void http_server_reload(struct http_server *server);
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
/* Copies the value of a parameter ("boundary", "charset") of a header value that ends at end (RFC 9110 section 5.6.6): without
 * its quotes; nothing between two ';' is none. 1 found, 0 absent, -1 malformed or too long for out. */
int http_header_parameter(const char *value, const char *end, const char *name, char *out, size_t out_size);
/* The body; NULL and 0 when there was none. Valid until the request is over or http_request_drop_body(). */
const char *http_request_body(const struct http_request *request, size_t *length);
/* Wipes and frees the body early: while ten thousand requests wait, none needs its body. */
void http_request_drop_body(struct http_request *request);
void http_request_limit_body(struct http_request *request, size_t bytes);
size_t http_request_body_limit(const struct http_request *request);
/* The peer's address as text ("127.0.0.1"), without port. */
enum { HTTP_PEER_SIZE = 64 };
void http_request_peer(const struct http_request *request, char out[HTTP_PEER_SIZE]);
/* The same of any address; "unknown" for NULL. */
void http_address_text(const struct sockaddr *address, char out[HTTP_PEER_SIZE]);
/* The peer as a key for rates: its IPv4 address or IPv6 /64. As long as the request. */
const unsigned char *http_request_address(const struct http_request *request);
/* Whether the answer must name the origin of the page that asks, which a shared one cannot. */
bool http_request_is_cross_origin(const struct http_request *request);

/* Whatever the handler wants to keep with the request. */
void http_request_set_data(struct http_request *request, void *data);
void *http_request_data(const struct http_request *request);

/* Suspends the connection; only from on_request, and http_respond() or http_request_resume() must follow later, from any
 * thread. */
void http_request_defer(struct http_request *request);
/* Goes on with a deferred request in the thread of its connection: on_request is called for it again. From any thread, which
 * may touch neither request nor its data after it. */
void http_request_resume(struct http_request *request);
/* Answers. Takes one reference of response (MHD_destroy_response). Exactly once per request. On a deferred request it may be
 * called from any thread, and neither request nor its data may be touched after it. */
void http_respond(struct http_request *request, unsigned status, struct MHD_Response *response);
/* The same with a response that stays the caller's, who keeps it until on_completed: one that was prepared answers many
 * requests. Not on a deferred request. */
void http_respond_shared(struct http_request *request, unsigned status, struct MHD_Response *response);

/* The headers that every answer has: nothing here is to be guessed at, embedded, run or followed by a browser. With TLS that it
 * is to be used from now on (RFC 6797), and what CORS needs. For responses that are not made by the functions below. */
void http_response_secure(struct MHD_Response *response);
/* A response with a body of length bytes that it takes over and frees (body may be NULL when length is 0), with
 * Content-Type (NULL: none), Cache-Control: no-store and the headers above. */
struct MHD_Response *http_response_take(const char *content_type, char *body, size_t length);
/* A response with a body that stays the caller's, who keeps it until on_completed; with the headers of every answer and no
 * other. */
struct MHD_Response *http_response_view(const char *body, size_t length);
/* A response to that request whose body is made while it is sent, in blocks of up to block_size bytes: read() and free() are
 * those of MHD_create_response_from_callback(). With the same headers as above. One to HEAD ends the connection. */
struct MHD_Response *http_response_stream(const struct http_request *request, const char *content_type, size_t block_size,
                                          MHD_ContentReaderCallback read, void *context, MHD_ContentReaderFreeCallback free);
/* Adds a header. A value that is not allowed in a header (CR, LF) is refused with a log line. */
void http_response_header(struct MHD_Response *response, const char *name, const char *value);
/* Adds Retry-After: the wait in whole seconds, rounded up, at least 1 (RFC 9110 section 10.2.3). */
void http_response_retry_after(struct MHD_Response *response, int64_t wait_us);

/* Percent-decodes one path segment of length bytes, once. Returns a new string and its length, or NULL when a % is not followed
 * by two hex digits or the result holds a NUL. */
char *http_decode_segment(const char *segment, size_t length);
/* Percent-encodes all but RFC 3986's unreserved characters; a new string. */
char *http_encode_segment(const char *text);

#endif
