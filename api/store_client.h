/* Clients: who may ask for tokens with a secret of its own. */
#ifndef API_STORE_CLIENT_H
#define API_STORE_CLIENT_H

#include "store.h"

/* Adds a client with a new uid, its client_id; expires_at is not used. */
int store_add_client(struct store *store, const struct store_new_token *client, const unsigned char secret_hash[32],
                     char uid[UUID_SIZE], struct error *error) MUST_CHECK;
/* Revokes it and every token that it was given. */
int store_revoke_client(struct store *store, const char *uid, struct error *error) MUST_CHECK;
int store_each_client(struct store *store, void (*visit)(void *context, const struct store_token_item *item), void *context,
                      struct error *error) MUST_CHECK;

/* The client of that uid and secret: ERROR_DENIED when there is none or it is revoked (the caller is not told which). */
int store_find_client(struct store *store, const char *uid, const unsigned char secret_hash[32], int64_t *id,
                      struct error *error) MUST_CHECK;
/* Gives the client a token with its own user, roles and projects, and forgets a few of the issued ones that have expired. The
 * audit trail tells it, with the address that asked. ERROR_DENIED when the client was revoked meanwhile. */
int store_issue_token(struct store *store, int64_t client_id, const unsigned char token_hash[32], const char *address,
                      int64_t now, int64_t expires_at, struct error *error) MUST_CHECK;

#endif
