/* An HTTP/1.1 answer, read as its bytes come in: as much of the protocol as a load generator for servers that send a
 * Content-Length needs (RFC 9112). A chunked answer is an error that is told, never a wrong count. */
#ifndef TESTS_BENCH_RESPONSE_H
#define TESTS_BENCH_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How much of the head and the start of the body is kept, to be looked at; the rest of a body is counted only. */
enum { RESPONSE_KEPT_BYTES = 4096 };

enum response_state { RESPONSE_INCOMPLETE, RESPONSE_COMPLETE, RESPONSE_INVALID };

struct response {
    char kept[RESPONSE_KEPT_BYTES];
    size_t kept_length;
    size_t body_start; /* in kept; 0 until the head is complete */
    uint64_t body_length, body_seen;
    unsigned status;
    bool closes; /* Connection: close */
};

/* Makes response ready for the next answer on its connection. */
void response_reset(struct response *response);

/* Takes bytes that were received; head_request: the answer has no body whatever its head says. Bytes behind a complete answer
 * are invalid: nothing is pipelined. */
enum response_state response_feed(struct response *response, const char *bytes, size_t length, bool head_request);

/* The kept part of the body; length is set. */
const char *response_body(const struct response *response, size_t *length);

#endif
