/* What the files of the worker share: its loop, start and stop (worker.c), what it does with records (worker_batch.c), and what
 * it says of itself (worker_presence.c). All of it is of the loop's one thread. */
#ifndef WORKER_WORKER_INTERNAL_H
#define WORKER_WORKER_INTERNAL_H

#include "common/identifier.h"
#include "worker/ack.h"
#include "worker/apply.h"
#include "worker/batch.h"
#include "worker/consume.h"
#include "worker/presence.h"
#include "worker/progress.h"
#include "worker/settle.h"
#include "worker/worker.h"

enum {
    RETRY_MS = 1000,          /* between attempts to store what the disk refused, and to send what the broker refused */
    STORE_IDLE_MS = 1000,     /* positions are stored this long after the last batch that could have carried them */
    UNWELL_REFRESH_MS = 5000, /* between looks for added partitions while Kafka does not do all it should */
};

struct worker {
    struct worker_options options;
    struct kafka_topics topics;
    char id[UUID_SIZE];    /* of this start */
    struct signer *signer; /* the replica key, which lives as long as this start; NULL without trust */
    uint64_t trusted;      /* the trust's generation that was looked at */
    bool judging;          /* what was refused is to be looked at */
    struct progress *progress;
    rd_kafka_t *producer;
    rd_kafka_queue_t *reports; /* the producer's */
    struct consumer *consumer;
    struct ack_sender *acks;
    struct announcer *announcer;
    struct settler *settler;
    struct batch *batch;
    bool caught_up;
    bool was_ready;    /* since this process began: from then on the API waits for it, also while it reads everything again */
    bool hello_needed; /* to be said at the next heartbeat's time */
    bool contact;      /* a heartbeat was delivered and not looked at */
    bool effects_started;
    /* Monotonic ms. */
    int64_t heartbeat_at, refresh_at, store_at, retry_at, said_at;
    enum worker_end end;
    bool ended;
    struct error failure;
};

/* ---- worker.c ---- */

/* Has the loop end, if nothing else has yet. */
void worker_end_with(struct worker *worker, enum worker_end end, const struct error *failure);
/* A failure of the state: damage ends the worker, anything else (a full disk) passes. */
void worker_note_state_failure(struct worker *worker, const struct error *problem);
struct apply_target worker_apply_target(const struct worker *worker);

/* ---- worker_batch.c ---- */

/* A partition was begun again, or is new: what it has by now is not acked one by one, and gets into the files when all is
 * caught up. To be called before anything of it is taken. */
void worker_note_begun(struct worker *worker);
/* Takes what there is; returns how many records that was, errors and presence included. */
size_t worker_take(struct worker *worker);
/* Applies and settles the batch, if there is one and the state takes it. */
void worker_apply(struct worker *worker);
/* Removes what partitions that were read again have shown to be gone. */
void worker_sweep(struct worker *worker);

/* ---- worker_presence.c ---- */

/* Says hello, a heartbeat or goodbye; what can not be said now is said later. */
void worker_announce(struct worker *worker, enum presence_kind kind);
/* Whether all that was read is in the files, too: what was not acked one by one gets there once all is caught up. */
bool worker_files_are_complete(const struct worker *worker);
/* Called by librdkafka from rd_kafka_poll(), hence in the loop's thread. */
void worker_on_delivered(rd_kafka_t *client, const rd_kafka_message_t *record, void *opaque);

#endif
