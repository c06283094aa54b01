/* Writes each project's JWK Set as a file {project}.json, for servers that only know files.
 *
 * The name is the project's, percent-encoded; "sha256-…" of it when that would be longer than a file name may be. A file is
 * replaced atomically (written beside, fsynced, renamed, directory fsynced), so that a reader sees the old set or the new one.
 * The directory is the worker's alone. Used by one thread. */
#ifndef WORKER_EXPORT_H
#define WORKER_EXPORT_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "worker/state_reader.h"

struct export;

/* Makes the directory (0755) when it is missing, and removes temporary files that a killed worker left. */
struct export *export_open(const char *directory, struct state_reader_pool *readers, struct error *error) MUST_CHECK;
void export_close(struct export *export); /* NULL is allowed */

/* Writes the set of one project as it is at now (seconds since 1970), unless the file holds exactly that already. A set that
 * contains a key that expires or is replaced is to be written again at *expires, which is lowered when this one is earlier. */
int export_project(struct export *export, const char *project_name, int64_t now, int64_t *expires,
                   struct error *error) MUST_CHECK;
/* The same for all projects, and removes the sets of projects that the state does not know. Returns the first error, but tries
 * all. */
int export_all(struct export *export, int64_t now, int64_t *expires, struct error *error) MUST_CHECK;

#endif
