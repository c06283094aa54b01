/* Requests with an Idempotency-Key that recorded a change, and what was answered to each. */
#ifndef API_STORE_IDEMPOTENCY_H
#define API_STORE_IDEMPOTENCY_H

#include "store.h"

struct store_request {
    const char *user, *key;
    unsigned char hash[32]; /* of what was asked for */
};

struct store_remembered {
    unsigned char hash[32];
    int64_t first, last;   /* sequences of the deployments that it recorded; 0: none */
    unsigned status;       /* of the answer; 0 while there is none */
    char *location, *body; /* owned; NULL when there is none */
};
void store_remembered_clear(struct store_remembered *remembered);

/* Whether the user has used that key and it has not expired. */
int store_find_request(struct store *store, const struct store_request *request, int64_t now, bool *found,
                       struct store_remembered *remembered, struct error *error) MUST_CHECK;
/* In the transaction that records the change: remembers the request until expires_at, and forgets a few that have expired.
 * ERROR_UNAVAILABLE when the key is in use. */
int store_remember_request(struct store *store, const struct store_request *request, int64_t first, int64_t last, int64_t now,
                           int64_t expires_at, struct error *error) MUST_CHECK;
int store_remember_answer(struct store *store, const struct store_request *request, unsigned status, const char *location,
                          const char *body, struct error *error) MUST_CHECK;

#endif
