/* The keys that rotations of a JWK have replaced and that are served beside its present one for a time.
 *
 * Between the files store*.c, but for store_each_retiring(). The column jwk.retiring_until tells a JWK that has none, so that
 * its changes look nothing up. */
#ifndef API_STORE_RETIRING_H
#define API_STORE_RETIRING_H

#include "store.h"

/* Calls visit for each key that a JWK has replaced and that is still served at now (wall ms), what was replaced last first. kid
 * may be NULL and is borrowed; until: wall ms. */
int store_each_retiring(struct store *store, const struct store_jwk *jwk, int64_t now,
                        void (*visit)(void *context, const char *kid, int64_t until), void *context,
                        struct error *error) MUST_CHECK;

struct store_retiring { /* strings are owned */
    size_t count;
    struct event_retiring items[RETIRING_COUNT_MAX]; /* what was replaced last first */
    char *public_keys[RETIRING_COUNT_MAX], *kids[RETIRING_COUNT_MAX];
};

/* In a change of a JWK: drops what is over at now (wall ms) and reads the rest; nothing at all with retiring_until 0. Cleared
 * with store_retiring_clear() when it succeeded. */
int store_retiring_take(struct store *store, int64_t jwk_id, int64_t retiring_until, int64_t now,
                        struct store_retiring *retiring, struct error *error) MUST_CHECK;
/* Adds the present key of a JWK, served until then (wall ms, whole seconds), in front of the others, of which there are fewer
 * than RETIRING_COUNT_MAX. version: of the JWK with the rotation. */
int store_retiring_add(struct store *store, const struct store_jwk *jwk, int64_t version, int64_t until,
                       struct store_retiring *retiring, struct error *error) MUST_CHECK;
/* Drops those of that kid: a source has brought a key with it again, and two of one kid can not be told apart. With NULL it
 * drops none. */
int store_retiring_drop_kid(struct store *store, int64_t jwk_id, const char *kid, struct store_retiring *retiring,
                            struct error *error) MUST_CHECK;
/* Ends all of them, with the JWK. */
int store_retiring_end(struct store *store, int64_t jwk_id, struct error *error) MUST_CHECK;
void store_retiring_clear(struct store_retiring *retiring);

#endif
