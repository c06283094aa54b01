/* How a change of a JWK records its deployment: between store_jwk.c and store_deployment.c only. */
#ifndef API_STORE_DEPLOYMENT_H
#define API_STORE_DEPLOYMENT_H

#include "store_retiring.h"

/* The JWK as it is after the change. */
struct deployment_subject {
    enum event_operation operation;
    int64_t id;
    const char *uid;
    int64_t version;
    int partition;
    const char *name, *description, *type, *kid, *public_key;
    const struct store_retiring *retiring; /* NULL: none */
    /* The material is new, and this is the whole key when it has a private half; else what is stored stays as it is. */
    bool is_new_key;
    const char *private_key;
    const char *changed;     /* names of the fields that an update changed, separated by commas; NULL: none */
    const char *environment; /* the one that is deployed to; NULL: all */
    int64_t updated_at; /* of the JWK, wall ms */
    int64_t now;        /* wall ms */
};

/* Writes the deployment, one expected result per environment and the outgoing event, writes the subject's version,
 * description and updated_at into the JWK's row, and fills *change. */
int store_record_deployment(struct store *store, const struct store_author *author, const struct deployment_subject *subject,
                            struct store_change *change, struct error *error) MUST_CHECK;

#endif
