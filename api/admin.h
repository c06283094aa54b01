/* What the files of administration share. */
#ifndef API_ADMIN_H
#define API_ADMIN_H

#include "common/jwk.h"
#include "settings.h"
#include "store.h"

/* Prints the error; returns 1, the exit status. */
int admin_fail(const struct error *error);
/* Runs one change in a transaction of its own, or one read; returns the exit status. A change tells itself in the audit trail,
 * and the API that serves is told that there was one. mode: STORE_MAKE for what may be an installation's first command, else
 * STORE_WRITE. */
int admin_with_store(const struct settings *settings, enum store_mode mode,
                     int (*work)(struct store *store, void *context, struct error *error), void *context);
/* The roles, user and projects that the options name. command begins the sentence about what is missing. */
int admin_read_holder(const struct settings *settings, const char *command, struct store_new_token *holder,
                      struct error *error) MUST_CHECK;
/* Tells in the audit trail that a token or client of that id was made for the holder. */
int admin_audit_holder(struct store *store, const char *command, const char *uid, const struct store_new_token *holder,
                       struct error *error) MUST_CHECK;
/* Visits each key of the file that --api-keys names, a JWK Set of the API's public keys; a visit that fails ends it. */
typedef int admin_key_visitor(void *context, const struct jwk *key, struct error *error);
int admin_each_api_key(const char *path, admin_key_visitor *visit, void *context, struct error *error) MUST_CHECK;
/* Prints one line about a token or a client. */
void admin_print_holder(void *context, const struct store_token_item *item);

#endif
