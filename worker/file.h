/* Files that are replaced, never changed: written beside, fsynced, renamed, directory fsynced, so that a reader sees the old one
 * or the new one, and a loss of power neither half of both. Thread-safe. */
#ifndef WORKER_FILE_H
#define WORKER_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The name of a file for a project or a JWK: its own, percent-encoded, with the suffix; "sha256-…" of it when that would be
 * longer than a file name may be. Freed by the caller. */
char *file_name(const char *name, const char *suffix) __attribute__((warn_unused_result));
/* Whether the regular file of that name in the directory holds exactly these bytes. */
bool file_holds(int directory, const char *name, const void *bytes, size_t length);
/* Replaces the file of that name in the directory; what is not finished lies in `temporary`, a directory of the same file
 * system. -1 with errno. */
int file_replace(int temporary, int directory, const char *name, mode_t mode, const void *bytes,
                 size_t length) __attribute__((warn_unused_result));
/* Removes from a directory (by descriptor and path) what a process that was killed left unfinished. */
void file_remove_temporary(int directory, const char *path);

#endif
