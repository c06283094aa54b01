/* What tells a damaged store at start, before anything relies on it. The whole check is store_check.h's. */
#ifndef API_STORE_DAMAGE_H
#define API_STORE_DAMAGE_H

#include "store.h"

/* Looks at the files without opening them as a database: a store that has become empty, and a write-ahead log that is damaged before
 * its end. SQLite takes the first for a new database, and ends its reading of the log where the damage begins, which would
 * silently take back what was answered. A log whose last transaction is incomplete is what a loss of power leaves: no damage.
 * ERROR_INVALID with a sentence that says what to do. */
int store_check_files(const char *directory, struct error *error) MUST_CHECK;
/* Checks an open store in a time that does not grow with it: a small one as a whole, of a large one pages from everywhere in each
 * table. ERROR_INVALID with such a sentence. */
int store_check_sample(struct store *store, struct error *error) MUST_CHECK;
/* Notes that the directory has a store, so that an empty file in its place is known for damage. Holds the lock of
 * store_lock_serving(). */
void store_note_existence(const char *directory);

#endif
