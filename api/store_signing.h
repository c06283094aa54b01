/* The keys that events are signed with, in the store: their private halves sealed. A part of store.h's promises.
 *
 * One is active. A next one may wait, so that it is known to the workers before anything is signed with it; those whose place
 * another has taken are accepted for a time, and have no private half any more. */
#ifndef API_STORE_SIGNING_H
#define API_STORE_SIGNING_H

#include "common/signature.h"
#include "store.h"

enum {
    SIGNING_KEYS_WAITING_MAX = 4
}; /* next ones at a time: with the active one and retired ones they are what workers hold */

/* Makes the first key when there is none yet. Inside a transaction; needs the sealing (store_sealing.h) only then. */
int store_ensure_signing_key(struct store *store, struct error *error) MUST_CHECK;
/* Makes a key for later; kid gets its name. Inside a transaction. ERROR_CONFLICT when SIGNING_KEYS_WAITING_MAX wait already,
 * or as many are accepted as a worker takes. */
int store_add_signing_key(struct store *store, char kid[SHA256_TEXT_SIZE], struct error *error) MUST_CHECK;
/* The next key of that kid takes the place of the active one, which is accepted for so long; everything is published again,
 * since old events stay in the topic. Inside a transaction. ERROR_NOT_FOUND, or ERROR_CONFLICT for one that is or was active.
 */
int store_activate_signing_key(struct store *store, const char *kid, int64_t accept_old_for_ms, struct error *error) MUST_CHECK;

/* Takes over the public half of a key that a store has signed with which was put back from a backup of before it: for what is
 * judged by the keys of old. It is accepted no longer. One that is known already stays as it is. Inside a transaction. */
int store_import_signing_key(struct store *store, const struct jwk *key, struct error *error) MUST_CHECK;

/* The signer of the active key; the caller frees it. *signer is NULL when the active key is the one of that kid (NULL: any
 * other will do). ERROR_NOT_FOUND when there is none. */
int store_load_other_signer(struct store *store, const char *kid, struct signer **signer, struct error *error) MUST_CHECK;

enum signing_key_state { SIGNING_KEY_NEXT, SIGNING_KEY_ACTIVE, SIGNING_KEY_RETIRED };
struct store_signing_key {        /* strings are borrowed */
    const char *kid, *public_key; /* JSON */
    enum signing_key_state state;
    int64_t created_at, activated_at, accepted_until; /* wall ms; 0: not (yet) */
};
int store_each_signing_key(struct store *store, void (*visit)(void *context, const struct store_signing_key *key),
                           void *context, struct error *error) MUST_CHECK;
/* Appends a JWK Set of the public keys: those that are believed at now (wall ms), an old one with "exp"; all that there ever
 * were when `all`. */
int store_export_signing_keys(struct store *store, bool all, int64_t now, struct text *out, struct error *error) MUST_CHECK;

#endif
