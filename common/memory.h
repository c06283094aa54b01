/* Allocation with one policy: a process that is out of memory says so in one line and exits with status 71.
 *
 * Every invariant holds across a kill, so a clear exit is safe, and no caller has a failure path that is never tried.
 * memory_init() has the same hold for cJSON, OpenSSL and SQLite. SQLite by itself goes on and gives NULL for a text that it could
 * not copy (sqlite.org/c3ref/column_blob.html): an event that is read so from the outbox would be sent as a tombstone. OpenSSL
 * fails as it does for input that is wrong: a sound key would be told to be none, and what is sealed to be damaged. */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

#include <stddef.h>

/* Has cJSON and OpenSSL allocate by this module, and SQLite exit as it does. Before any thread starts and SQLite is used. */
void memory_init(void);

/* Gives memory back to the kernel that was freed three seconds ago and not used since. To be called by one thread of a program,
 * every few seconds; more often does nothing. */
void memory_give_back(void);

/* A zeroed block of size bytes; the caller owns it and frees it with free(). Never NULL. Thread-safe. */
void *memory_new(size_t size) __attribute__((malloc, returns_nonnull, warn_unused_result));
/* As realloc(), never NULL. The new part is not zeroed. */
void *memory_resize(void *block, size_t size) __attribute__((returns_nonnull, warn_unused_result));
/* Copies of a string, and of size bytes with a NUL behind; NULL in, NULL out. Freed with free(). */
char *memory_string(const char *text) __attribute__((warn_unused_result));
char *memory_bytes(const void *bytes, size_t size) __attribute__((warn_unused_result));
/* A formatted string, freed with free(). */
char *memory_format(const char *format, ...) __attribute__((format(printf, 1, 2), returns_nonnull, warn_unused_result));
/* Wipes a NUL-terminated secret and frees it; NULL is allowed. */
void memory_wipe_string(char *secret);

/* The function that allocates, replaceable so that a test can make it fail at a chosen call. */
extern void *(*memory_allocate)(void *block, size_t size);

#endif
