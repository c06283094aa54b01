/* A change on its way: from the call to the writer, to Kafka, to the gatherer, and back as the answer.
 *
 * It changes one JWK; or several, each with a deployment of its own and one answer over all of them; or none, where an object
 * was changed that is deployed nowhere itself. */
#ifndef API_CHANGE_H
#define API_CHANGE_H

#include "call.h"

struct change {
    struct job job;
    struct call *call;
    enum event_operation operation;
    /* Records it, in the writer's transaction, and fills recorded (and more); leaves it empty when there is nothing to deploy.
     */
    int (*record)(struct change *change, struct store *store, const struct store_author *author, struct error *error);
    void (*free_input)(struct change *change); /* frees (and wipes) what record needed; may be NULL */
    void *input;
    struct store_change recorded;
    struct store_change *more; /* of further JWKs; owned */
    size_t more_count;
};

/* Counts the call among those that wait and suspends its connection, for what is done before change_submit(): from the call's
 * handler. -1 when too many wait: the call is answered 503. */
int change_admit(struct call *call) MUST_CHECK;

/* Admits the change unless its call was admitted before, and hands it to the writer; takes it. Thread-safe once admitted. The
 * call is answered later: with the deployment's outcome, at its deadline, at once when it prefers so, or with the error that
 * record met. 503 when too many wait. */
void change_submit(struct change *change);

/* Hands a recorded change to the gatherer and the publisher, in the writer's thread after the commit; takes what it holds.
 * settled (NULL: nobody waits) is called with context once its outcome is known. */
void change_announce(struct api *api, struct store_change *recorded, enum event_operation operation, int64_t wait_ms,
                     void (*settled)(struct deployment *deployment), void *context);

#endif
