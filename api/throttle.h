/* Who calls too often: rates per token, and of failed authentications per address. Thread-safe. */
#ifndef API_THROTTLE_H
#define API_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/http.h"
#include "common/rate.h"

struct throttle;

struct throttle *throttle_new(const struct rate *tokens, const struct rate *failures);
void throttle_free(struct throttle *throttle);

/* Whether credentials from this request's address are to be looked at. An address that has failed too often is refused before
 * any look-up, so that guessing costs us the same whatever is guessed; but a token that has worked before goes on: it may share
 * the address with whoever guesses. hash (of a token) may be NULL. False with the microseconds until it may try again. */
bool throttle_admits(struct throttle *throttle, const struct http_request *request, const unsigned char hash[32],
                     int64_t *wait_us);
/* Credentials from this request's address were wrong. */
void throttle_failed(struct throttle *throttle, const struct http_request *request);
/* A call with a valid token: takes one out of its bucket. False with the microseconds until there is one again. */
bool throttle_take(struct throttle *throttle, const unsigned char hash[32], int64_t *wait_us);

#endif
