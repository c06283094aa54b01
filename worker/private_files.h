/* Keeps each whole JWK, its private half included, as a file DIRECTORY/{project}/{name}.jwk, for gateways that sign or decrypt.
 *
 * The directory is the worker's and its readers' alone (0700, files 0600). Names are encoded as those of exported sets are. A
 * file is replaced atomically, and removed when its JWK was deleted, renamed, or has no private half any more; while the private
 * half of a JWK can not be opened, the file of before stays. Used by one thread. */
#ifndef WORKER_PRIVATE_FILES_H
#define WORKER_PRIVATE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/text.h"
#include "worker/state_reader.h"
#include "worker/trust.h"

struct private_files;

/* Makes the directory when it is missing; refuses one that others may read. readers and trust must outlive it. */
struct private_files *private_files_open(const char *directory, struct state_reader_pool *readers, struct trust *trust,
                                         struct error *error) MUST_CHECK;
void private_files_close(struct private_files *files); /* NULL is allowed */

/* A JWK that was opened already, so that it need not be again. */
struct private_opened {
    int64_t epoch, version;
    const struct text *private_key;
};
/* Brings the file of a JWK that has changed in line with the state, and that of its name before. opened may be NULL. */
int private_files_update(struct private_files *files, const char *jwk_id, const char *project_name, const char *name,
                         const struct private_opened *opened, struct error *error) MUST_CHECK;

/* All files, in steps between which changes can be updated. begin takes the list from the state; each step does a few of it and
 * sets *done behind the last, when what is no JWK's any more was removed too. A private half that can not be opened is counted
 * and logged, and does not end it; another failure does. */
int private_files_begin_all(struct private_files *files, struct error *error) MUST_CHECK;
int private_files_step(struct private_files *files, bool *done, struct error *error) MUST_CHECK;
/* Whether a round is to be gone on with: an update begins one too, when a project got another name. */
bool private_files_is_unfinished(const struct private_files *files);
/* Of the last round: private halves that could not be opened. */
size_t private_files_unopened(const struct private_files *files);

#endif
