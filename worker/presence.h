/* That this worker is there, told in jwk.workers: hello, heartbeats, goodbye; and whether a later start of the same replica is.
 *
 * The offset of the hello is the incarnation of this start. A later hello for the same environment and replica by another
 * worker means a copied state directory or a cloned machine: the earlier one, this one, must stop. A hello counts only when it
 * knew the one before (presence_hello_counts()), so that no copy of an old one cuts a replica off, and when the worker has
 * credentials only one that a key of its environment vouches for. Used by one thread. */
#ifndef WORKER_PRESENCE_H
#define WORKER_PRESENCE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/message.h"
#include "common/signature.h"
#include "worker/trust.h"

struct announcer;

struct announcer_options {
    rd_kafka_t *producer;
    const char *topic, *environment, *replica, *worker;
    const char *url;       /* where it serves, or NULL */
    const char *version;   /* of the program */
    int64_t interval_ms;   /* of heartbeats */
    struct signer *signer; /* the replica key; NULL: nothing is signed */
    struct trust *trust;   /* NULL with it */
};
struct announcer *announcer_new(const struct announcer_options *options, struct error *error) MUST_CHECK;
void announcer_free(struct announcer *announcer); /* before the producer is destroyed; NULL is allowed */

/* What changes from one to the next. Borrowed. */
struct announcement {
    int64_t epoch, keys;
    bool ready;
    const struct position *positions;
    size_t position_count;
    const char *const *failing;
    size_t failing_count;
    bool failing_truncated;
    int64_t after; /* of a hello: announcer_seen(), or the end of the topic now when that is 0 */
};
/* Takes an enrolment of the replica key, told from now on. */
void announcer_enrol_take(struct announcer *announcer, char *enrolment);
/* Produces one. A hello takes effect when announcer_delivered() says so. */
int announcer_say(struct announcer *announcer, enum presence_kind kind, const struct announcement *announcement,
                  struct error *error) MUST_CHECK;

enum announcer_event {
    ANNOUNCER_NOTHING,
    ANNOUNCER_HELLO_DELIVERED, /* the incarnation is known from now on */
    ANNOUNCER_HEARTBEAT_DELIVERED,
    ANNOUNCER_HELLO_NEEDED, /* the topic was made again, or the broker refused: say hello (again) */
};
/* To be called for each delivery report of a presence record. */
enum announcer_event announcer_delivered(struct announcer *announcer, const rd_kafka_message_t *record);

bool announcer_is_announced(const struct announcer *announcer); /* the last hello was delivered */
bool announcer_is_busy(const struct announcer *announcer);      /* something said was not delivered yet */
int64_t announcer_incarnation(const struct announcer *announcer);
/* Behind the last record that announcer_examine() has looked at, or the own hello, which a hello that is said again tells to have
 * known: one who says to know more would overtake a worker that has started as this replica since. 0: none. */
int64_t announcer_seen(const struct announcer *announcer);
/* The topic was made again: what was seen of it is no more, and nobody there knows this worker. */
void announcer_forget(struct announcer *announcer);
/* Where to read the topic from after a hello was delivered: what that did not know. */
int64_t announcer_unknown_from(const struct announcer *announcer);

enum announcer_finding {
    ANNOUNCER_FOUND_NOTHING,
    ANNOUNCER_FENCED,     /* another worker has started as this replica since */
    ANNOUNCER_OVERLOOKED, /* the own hello counts for nothing, or for another incarnation: say it again */
};
/* Looks at one record of jwk.workers; other_worker gets the one that fences. */
enum announcer_finding announcer_examine(struct announcer *announcer, const rd_kafka_message_t *record,
                                         char other_worker[UUID_SIZE]) MUST_CHECK;

#endif
