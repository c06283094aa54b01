/* What follows a transaction: each event is acked at once, or once its file and hook are done; then the position may pass it.
 *
 * Used by the thread that applies. */
#ifndef WORKER_SETTLE_H
#define WORKER_SETTLE_H

#include <stddef.h>

#include "common/error.h"
#include "worker/ack.h"
#include "worker/apply.h"
#include "worker/consume.h"
#include "worker/effect.h"
#include "worker/progress.h"
#include "worker/state.h"

struct settler;

struct settler_options {
    struct state *state;
    struct progress *progress;
    struct ack_sender *acks;
    struct effects *effects; /* NULL: neither hook, nor files, nor anything to be opened */
    bool has_hook, has_files;
};
struct settler *settler_new(const struct settler_options *options);
void settler_free(struct settler *settler); /* NULL is allowed */

/* An applied batch; places says of each record's partition what consumer_place() did. At most effects_room() records. */
void settle_batch(struct settler *settler, const struct apply_record *records, const struct consumer_place *places,
                  size_t count);
/* A batch that cannot be stored now: each of its events that is live is told to have failed, which a later ack corrects. */
void settle_failed_batch(struct settler *settler, const struct apply_record *records, const struct consumer_place *places,
                         size_t count, const char *message);
/* A JWK that a sweep removes: its file and hook are due, but no ack. Two steps, since it is known before the commit. */
void settle_swept(struct settler *settler, const struct state_jwk *jwk);
void settle_sweep_end(struct settler *settler, bool committed);
/* Takes the results of files and hooks: stores what fails, then acks. -1 when the state fails; the results are kept for the
 * next call. */
int settle_results(struct settler *settler, struct error *error) MUST_CHECK;
/* Without hook and export nothing fails any more: what failed under an earlier configuration is acked as applied. */
int settle_recover_all(struct settler *settler, struct error *error) MUST_CHECK;
/* An ack was delivered. -1 when the state fails. */
int settle_delivered(struct settler *settler, enum ack_kind kind, uint64_t number, struct error *error) MUST_CHECK;

#endif
