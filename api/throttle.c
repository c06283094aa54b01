/* Two tables of rates. A token is known by the first half of its SHA-256. */
#include "throttle.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/metrics.h"

/* Tokens and addresses that are remembered: 1.5 MB each when all are seen. */
enum { TOKENS = 65536, ADDRESSES = 65536 };

struct throttle {
    struct rate_table *tokens, *failures;
};

static struct metric limited[] = {
    {.name = "jwk_api_requests_limited_total",
     .labels = "by=\"token\"",
     .help = "Requests answered 429: a token over its rate, or an address with too many failed authentications."},
    {.name = "jwk_api_requests_limited_total", .labels = "by=\"failures\""},
};
static struct metric failed = {.name = "jwk_api_authentications_failed_total",
                               .help = "Tokens and client secrets that were wrong, expired or revoked."};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&limited[0]);
    metrics_register(&limited[1]);
    metrics_register(&failed);
}

struct throttle *throttle_new(const struct rate *tokens, const struct rate *failures) {
    struct throttle *throttle = memory_new(sizeof *throttle);
    throttle->tokens = rate_table_new(tokens, TOKENS);
    throttle->failures = rate_table_new(failures, ADDRESSES);
    return throttle;
}

void throttle_free(struct throttle *throttle) {
    if (!throttle)
        return;
    rate_table_free(throttle->tokens);
    rate_table_free(throttle->failures);
    free(throttle);
}

bool throttle_admits(struct throttle *throttle, const struct http_request *request, const unsigned char hash[32],
                     int64_t *wait_us) {
    if (rate_table_allows(throttle->failures, http_request_address(request), clock_monotonic_us(), wait_us) ||
        (hash && rate_table_knows(throttle->tokens, hash)))
        return true;
    metric_add(&limited[1], 1);
    return false;
}

void throttle_failed(struct throttle *throttle, const struct http_request *request) {
    int64_t wait_us;
    metric_add(&failed, 1);
    (void)rate_table_take(throttle->failures, http_request_address(request), clock_monotonic_us(), &wait_us);
}

bool throttle_take(struct throttle *throttle, const unsigned char hash[32], int64_t *wait_us) {
    bool allowed = rate_table_take(throttle->tokens, hash, clock_monotonic_us(), wait_us);
    if (!allowed)
        metric_add(&limited[0], 1);
    return allowed;
}
