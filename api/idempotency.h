/* The Idempotency-Key header: a change that is asked for again is answered again, and not done again.
 *
 * A key belongs to the user who sent it and to one request (method, path and body). It is remembered in the transaction that
 * records the change, and the answer soon after. A refused request records nothing and is not remembered: the same key may be
 * used again. While the first request is on its way its repetition is answered 409 with Retry-After; the same key on another
 * request is answered 422. Source: draft-ietf-httpapi-idempotency-key-header-07. */
#ifndef API_IDEMPOTENCY_H
#define API_IDEMPOTENCY_H

#include "call.h"

enum { IDEMPOTENCY_KEY_MAX = 255 };

struct idempotency;

struct idempotency *idempotency_new(struct writer *writer, int64_t lifetime_ms);
void idempotency_free(struct idempotency *idempotency); /* after the writer has ended; NULL is allowed */

/* Looks at a change before its body is read. 0: the call goes on (without a key, or as the first with it); -1: it is answered.
 */
int idempotency_begin(struct call *call);
/* In the writer's transaction, once all is recorded: first..last are the sequences of the deployments, 0 and 0 for none.
 * Nothing for a call without a key. */
int idempotency_record(struct call *call, struct store *store, int64_t first, int64_t last, struct error *error) MUST_CHECK;
/* Keeps the answer to a recorded change; just before it is given, from any thread. location may be NULL. */
void idempotency_answered(struct call *call, unsigned status, const char *body, const char *location);
/* The call is over. */
void idempotency_end(struct call *call);

#endif
