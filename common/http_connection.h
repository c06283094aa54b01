/* The connections of one HTTP server: how long each may take for what it is at, how many an address may have, and TLS. Only the
 * files of the HTTP plumbing include this. */
#ifndef COMMON_HTTP_CONNECTION_H
#define COMMON_HTTP_CONNECTION_H

#include "http.h"
#include "rate.h"
#include "tls.h"

struct http_connections;
struct http_connection; /* one; lives from its acceptance to its end */

/* What a connection is at. */
enum http_phase {
    HTTP_PHASE_FIRST,  /* handshake and headers of the first request */
    HTTP_PHASE_BODY,   /* the body is coming */
    HTTP_PHASE_WORK,   /* we are at it: no limit */
    HTTP_PHASE_ANSWER, /* the answer is going */
    HTTP_PHASE_NEXT,   /* waits for the next request and its headers */
};

/* Takes over tls, which may be NULL. */
struct http_connections *http_connections_new(const struct http_server_options *options, struct tls *tls);
void http_connections_free(struct http_connections *connections);
struct tls *http_connections_tls(const struct http_connections *connections);

/* An MHD_AcceptPolicyCallback and an MHD_NotifyConnectionCallback; context is the struct http_connections. */
enum MHD_Result http_connections_admit(void *context, const struct sockaddr *address, socklen_t size);
void http_connections_notify(void *context, struct MHD_Connection *connection, void **slot,
                             enum MHD_ConnectionNotificationCode what);

struct http_connection *http_connection_of(struct MHD_Connection *connection);
/* The connection goes on to that phase. False when it was cut meanwhile: whatever has come of a request is to be dropped. In
 * the connection's thread. */
bool http_connection_enter(struct http_connection *connection, enum http_phase phase);
/* Counts and tells that a connection is cut for a body that goes on and on. */
void http_connection_note_cut_body(void);
/* Takes a request out of its address's bucket; false with the microseconds until there is one again. */
bool http_connection_take_request(struct http_connection *connection, int64_t *wait_us);
/* By what rates and counts tell addresses apart: an IPv4 address, or the first 64 bits of an IPv6 one, which is the least that
 * one customer has (RFC 6177). */
void http_address_key(const struct sockaddr *address, unsigned char key[RATE_KEY_SIZE]);
const unsigned char *http_connection_address(const struct http_connection *connection);

#endif
