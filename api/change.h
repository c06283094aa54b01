/* A change of a JWK on its way: from the call to the writer, to Kafka, to the gatherer, and back as the answer. */
#ifndef API_CHANGE_H
#define API_CHANGE_H

#include "call.h"

struct change {
    struct job job;
    struct call *call;
    enum event_operation operation;
    /* Records it, in the writer's transaction, and fills recorded. */
    int (*record)(struct change *change, struct store *store, const struct store_author *author, struct error *error);
    void (*free_input)(struct change *change); /* frees (and wipes) what record needed; may be NULL */
    void *input;
    struct store_change recorded;
};

/* Admits the change, suspends the call's connection and hands the change to the writer; takes it. The call is answered later: with
 * the deployment's outcome, at its deadline, at once when it prefers so, or with the error that record met. 503 when too many wait. */
void change_submit(struct change *change);

#endif
