/* Who of an environment is live and who is offline, as of one moment; and the sentence of a success, which names one that is
 * offline.
 *
 * The gatherer's thread makes a roster; the writer's thread reads it when something succeeds that nobody waits for any more. */
#ifndef API_ROSTER_H
#define API_ROSTER_H

#include <cjson/cJSON.h>

#include "replicas.h"
#include "store.h"

/* Shared by counting: a thousand late acks between two heartbeats hold one. Not changed once it is made. */
struct roster {
    _Atomic int references;
    struct sequence_floor floor; /* of the copies */
    char **live;                 /* names, sorted */
    size_t live_count;
    struct replica *offline; /* copies */
    size_t offline_count;
};

/* The environment's present roster; the caller releases it. */
struct roster *roster_share(struct replica_environment *environment);
void roster_release(struct roster *roster); /* NULL is allowed. Thread-safe */

/* How many replicas have what succeeded, and how many lack it since they are offline. */
struct reach {
    size_t applied, lacking;
    const struct replica *example; /* one that lacks it */
};
/* Counts a replica whose ack is not counted: it matters when it is offline and neither left nor is away for long, and then its
 * last position may tell that it has it all the same. */
void reach_add(struct reach *reach, const struct replica *replica, const struct store_success *success);
/* A new string; NULL when nobody lacks it: the standard sentence is true. */
char *reach_message(const struct reach *reach, enum event_operation operation);

/* The same for a success of which the live replicas of the roster all have acked or told, and others may have acked: what
 * `acked` and the stored outcomes of the success have as applied ({"replica": ""}; acked: NULL for none). */
char *roster_message(const struct roster *roster, const struct store_success *success, const cJSON *acked);

#endif
