/* What is served, read from the worker's state by connections of their own, so that readers never wait for the writer.
 *
 * A reader is used by one thread at a time; the pool hands them out. */
#ifndef WORKER_STATE_READER_H
#define WORKER_STATE_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/text.h"
#include "worker/state.h"

struct state_reader;
struct state_reader_pool;

/* A pool of readers of one state, which must outlive it. Thread-safe. */
struct state_reader_pool *state_reader_pool_new(const struct state *state);
void state_reader_pool_free(struct state_reader_pool *pool); /* every reader was given back; NULL is allowed */
/* Takes a reader, opening one when none is free. NULL when the file cannot be read. */
struct state_reader *state_reader_take(struct state_reader_pool *pool, struct error *error) MUST_CHECK;
void state_reader_give(struct state_reader_pool *pool, struct state_reader *reader);

/* Appends the JWK Set of a project as it is at now (seconds since 1970): the public JWKs that have not expired, in the order of
 * their ids, which is that of their creation, each followed by the keys that it replaced and that still overlap with it. *known
 * false (and nothing appended) when this replica never saw a JWK of that project; a project whose JWKs were all deleted has an
 * empty set. *expires: when the set changes by itself, the earliest exp or end of an overlap; INT64_MAX for never. */
int state_reader_key_set(struct state_reader *reader, const char *project_name, int64_t now, struct text *out, bool *known,
                         int64_t *expires, struct error *error) MUST_CHECK;
/* Appends the JSON list of a project's JWKs: name, id, type, kid, epoch and version of each, ordered by name, then id. */
int state_reader_list(struct state_reader *reader, const char *project_name, struct text *out, bool *known,
                      struct error *error) MUST_CHECK;
/* Appends the public JWK of that name. Where two JWKs have the name (one is about to be renamed by an event on another
 * partition) the later one is meant. *found false when there is none, and when it has no public half or has expired. */
int state_reader_find(struct state_reader *reader, const char *project_name, const char *name, int64_t now, struct text *out,
                      bool *found, struct error *error) MUST_CHECK;
/* Finds a JWK by id and calls visit with it; not called when there is none. */
int state_reader_visit(struct state_reader *reader, const char *jwk_id,
                       void (*visit)(void *context, const struct state_jwk *jwk), void *context,
                       struct error *error) MUST_CHECK;
/* Calls visit with the JWK of that name, as state_reader_find() means it, its sealed private half included. */
int state_reader_find_private(struct state_reader *reader, const char *project_name, const char *name,
                              void (*visit)(void *context, const struct state_jwk *jwk), void *context,
                              struct error *error) MUST_CHECK;
/* Calls visit for each JWK with a private half; the halves themselves are not told. */
int state_reader_each_private(struct state_reader *reader, void (*visit)(void *context, const struct state_jwk *jwk),
                              void *context, struct error *error) MUST_CHECK;
/* Calls visit for the name of each known project. */
int state_reader_each_project(struct state_reader *reader, void (*visit)(void *context, const char *project_name),
                              void *context, struct error *error) MUST_CHECK;

#endif
