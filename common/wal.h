/* Whether SQLite's write-ahead log is what was written.
 *
 * SQLite ends its reading of a log where damage begins, which silently takes back the transactions behind it. */
#ifndef COMMON_WAL_H
#define COMMON_WAL_H

#include "error.h"

/* Looks at the log of a database that nobody has open: 1 when it is damaged before its end; 0 when it is sound or there is none,
 * also when its last transaction is incomplete, as a loss of power leaves it; -1 with errno when it can not be opened. Thread-safe. */
int wal_is_damaged(const char *path) MUST_CHECK;

#endif
