/* One deployment that somebody waits for: what each environment owes, and when it is settled.
 *
 * Owned by the gatherer's thread from gatherer_expect() on. Acks are counted per replica; an environment is settled when none
 * of the replicas that were live during the wait still owes its ack. */
#ifndef API_DEPLOYMENT_H
#define API_DEPLOYMENT_H

#include "common/hash.h"
#include "common/heap.h"
#include "replicas.h"
#include "store.h"

enum expectation_state { EXPECT_WAITING, EXPECT_APPLIED, EXPECT_FAILED, EXPECT_GONE };

/* What one replica owes to one deployment. */
struct expectation {
    struct replica *replica;
    enum expectation_state state;
    char *message; /* of a failure; owned */
};

struct environment_outcome {
    struct replica_environment *environment; /* NULL when there was no room to track it */
    struct expectation *expectations;
    size_t count, waiting;
    bool settled, stored;
    enum result_state state; /* once settled; RESULT_PENDING for one that is given up on for this answer */
    char *message;           /* NULL: the standard sentence of success; owned */
};

struct deployment {
    struct store_change change; /* its outgoing event has gone to the publisher */
    enum event_operation operation;
    struct heap_entry deadline;                     /* monotonic ms */
    int64_t wait_ms;                                /* that the deadline allowed */
    size_t unsettled;                               /* outcomes */
    struct environment_outcome *outcomes;           /* as change.environments */
    void (*settled)(struct deployment *deployment); /* called once by the gatherer's thread; then it is freed */
    void *context;                                  /* for settled */
    UT_hash_handle hh;                              /* by change.sequence */
};

/* Takes the change (without its outgoing event). */
struct deployment *deployment_new(struct store_change *change, enum event_operation operation, int64_t wait_ms,
                                  void (*settled)(struct deployment *deployment), void *context);
void deployment_free(struct deployment *deployment);

/* Notes whom the deployment waits for, now that it begins; settles at once the environments where nobody is and nobody is
 * likely to come before the deadline. grace_ms: how long after its last replica left an environment is still waited for. */
void deployment_begin(struct deployment *deployment, struct replica_table *replicas, int64_t now, int64_t grace_ms);
/* Notes what a replica did. Ignored for an environment that is not part of it, or settled already. */
void deployment_note(struct deployment *deployment, struct replica *replica, enum expectation_state state, const char *message);
/* A replica became live, told its position, or went. */
void deployment_replica_arrived(struct deployment *deployment, struct replica *replica);
void deployment_replica_position(struct deployment *deployment, struct replica *replica);
void deployment_replica_gone(struct deployment *deployment, struct replica *replica);
/* Settles what is open with the sentence for a deadline that has passed, or for `reason` when it is given. */
void deployment_give_up(struct deployment *deployment, const char *reason);
/* The sentence of a failure, a new string: one replica, its reason, and how many others have failed. */
char *deployment_failure(enum event_operation operation, const char *replica, size_t others, const char *reason);
/* JSON for the store: who has acked what so far ({"replica": ""} or its error); NULL when nobody has. */
char *deployment_replicas_json(const struct environment_outcome *outcome);

#endif
