/* The private half of a JWK as its events carry it: a JWE for every environment with keys.
 *
 * It is kept beside the material until the environments' keys change, so that a rename or a redeployment costs no cryptography.
 * Between the files store*.c, inside a change. */
#ifndef API_STORE_ENVELOPE_H
#define API_STORE_ENVELOPE_H

#include "store.h"

/* Makes and keeps the envelope of material that was just stored, and appends it: nothing when private_key is NULL or when no
 * environment has keys. environments: the whole list. ERROR_INVALID when the key is too large to be sealed. */
int store_envelope_make(struct store *store, const struct store_environments *environments, int64_t jwk_id, const char *jwk_uid,
                        const char *private_key, struct text *envelope, struct error *error) MUST_CHECK;
/* Fills an empty text with the envelope of material that has not changed; makes it again when the environments' keys have. One
 * that is too large to be sealed has none. One whose secret is damaged has the envelope for the keys before: whoever has it
 * keeps it, and nothing else waits for it. The log tells of both. */
int store_envelope_find(struct store *store, const struct store_environments *environments, int64_t jwk_id, const char *jwk_uid,
                        struct text *envelope, struct error *error) MUST_CHECK;

#endif
