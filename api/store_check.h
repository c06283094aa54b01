/* The whole check of a store. */
#ifndef API_STORE_CHECK_H
#define API_STORE_CHECK_H

#include "store.h"

struct store_check_counts {
    int64_t jwks, deployments, outbox, secrets, audit_lines; /* looked at */
};
/* Checks everything in one snapshot, also while another process serves: the database's structure and foreign keys, JWKs against their
 * material and deployments, the outbox against deployments, the chain of evidence that waits here, and, when the connection has a
 * keyring, that every secret opens. report is called with a sentence for each finding. -1 when the check could not be made. */
int store_check(struct store *store, void (*report)(void *context, const char *finding), void *context,
                struct store_check_counts *counts, struct error *error) MUST_CHECK;

/* Copies the store, as it is at one moment and also while another process serves, into a new file for its owner alone, and checks
 * the copy. Secrets stay sealed. ERROR_CONFLICT when there is such a file. */
int store_backup(struct store *store, const char *path, struct error *error) MUST_CHECK;

#endif
