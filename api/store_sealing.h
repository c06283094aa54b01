/* Sealing what is secret in the store: private halves, symmetric keys, passwords, and the keys that events are signed with. A
 * part of store.h's promises.
 *
 * The table data_key holds the keys that values are sealed under, themselves sealed under a master key; the latest is in use. A
 * transaction looks at which that is when it begins, so that a re-keying by another process is followed at once, and makes a new
 * one when it is a day old. Connections that only read learn of keys as they meet them. */
#ifndef API_STORE_SEALING_H
#define API_STORE_SEALING_H

#include "sealing.h"
#include "store.h"

/* From now on the connection seals and opens by this keyring, which must outlive it; without one it can do neither. Reads the
 * store's data keys into it: ERROR_INVALID, saying which master key is wanted, when one does not open. */
int store_use_sealing(struct store *store, struct sealing *sealing, struct error *error) MUST_CHECK;

/* Seals what a store of version 1 holds in clear text, in short transactions, and then removes its traces: every page is written
 * anew and the log emptied. Goes on where it was interrupted; traces that can not be removed now (no room, another process reads)
 * are left to the next call, with a warning. Nothing to do costs nothing. Outside a transaction, before anything reads secrets. */
int store_seal_clear_text(struct store *store, struct error *error) MUST_CHECK;

/* Makes a new data key under the first master key, seals every value that is sealed under an older one again, in short
 * transactions with pauses for a serving process's own, and deletes the older ones. May be interrupted and run again, and run
 * twice at once. Outside a transaction. *sealed: values that were. */
int store_rekey(struct store *store, int64_t *sealed, struct error *error) MUST_CHECK;

#endif
