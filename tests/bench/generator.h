/* The engine of the load generator: one thread, one epoll set, up to some ten thousand keep-alive connections.
 *
 * Closed loop: each connection sends its next request when the last answer is in. Open loop: requests are due at a constant
 * rate whatever the server does, and the latency of each counts from the moment it was due, not from when a connection became
 * free: a server that stalls cannot hide the requests that it kept from being sent (coordinated omission). */
#ifndef TESTS_BENCH_GENERATOR_H
#define TESTS_BENCH_GENERATOR_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"

enum { GENERATOR_HEADERS_MAX = 16, GENERATOR_SAMPLE_BYTES = 512, GENERATOR_ERROR_BYTES = 256 };

struct load_plan {
    const char *address; /* IPv4 literal or name */
    const char *port;
    const char *method;
    /* Patterns: %p is replaced by the number of the project, %k by that of the key in it, %n by that of the request. */
    const char *path, *body; /* body NULL: none */
    const char *headers[GENERATOR_HEADERS_MAX];
    unsigned header_count;
    unsigned projects, keys; /* requests visit every pair of them before any twice */
    bool sequential;         /* in order: project 0 to the last, then with the next key; else scattered evenly */
    unsigned connections;
    double rate;       /* requests per second; 0: closed loop */
    uint64_t first;    /* number of the first request */
    uint64_t requests; /* stop after so many; 0: no limit */
    double duration_s, warm_up_s, timeout_s;
    unsigned expected_status; /* 0: any of 2xx */
    const char *expected_text; /* NULL, or what each body has to contain within its first 4 KB */
    bool announce;             /* say on stderr when all connections have a request under way */
};

struct load_result {
    struct histogram latency; /* of the measured part */
    uint64_t statuses[600];   /* answers by status, warm-up included */
    uint64_t measured;        /* answers within it */
    uint64_t sent, answered, unexpected, transport_errors, timeouts, reconnects, received_bytes;
    uint64_t unsent;  /* open loop: due, but no connection became free in time; what they waited is in latency */
    double seconds;   /* of the measured part */
    unsigned unexpected_status; /* of the first unexpected answer, with the start of its body */
    char sample[GENERATOR_SAMPLE_BYTES];
};

/* Runs the plan; *stop true (set by a signal handler) ends the load early. Returns 0, or -1 with a sentence in error when the
 * server cannot be reached. */
int generator_run(const struct load_plan *plan, const volatile sig_atomic_t *stop, struct load_result *result,
                  char error[GENERATOR_ERROR_BYTES]) __attribute__((warn_unused_result));

#endif
