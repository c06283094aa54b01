/* What was deployed when, and what each JWK's latest state is: read by the history and by drift. */
#ifndef API_STORE_HISTORY_H
#define API_STORE_HISTORY_H

#include "store.h"

struct store_deployment_filter {
    int64_t project_id;
    int64_t jwk_id; /* 0: every JWK of the project, deleted ones too */
    int64_t before; /* what follows this one of the list; INT64_MAX: from the newest on */
};
/* Newest first, at most limit. ERROR_NOT_FOUND when before is none of the list. */
int store_each_deployment(struct store *store, const struct store_deployment_filter *filter, int limit,
                          void (*visit)(void *context, const struct store_deployment *deployment), void *context,
                          struct error *error) MUST_CHECK;
/* The deployments with the sequences first..last, oldest first. */
int store_each_deployment_between(struct store *store, int64_t first, int64_t last,
                                  void (*visit)(void *context, const struct store_deployment *deployment), void *context,
                                  struct error *error) MUST_CHECK;

/* The number of a JWK of the project by its name, or of a JWK, deleted or not, by its uid. ERROR_NOT_FOUND with the contract's
 * sentence. */
int store_find_jwk_id(struct store *store, int64_t project_id, const char *name, int64_t *id, struct error *error) MUST_CHECK;
int store_find_jwk_id_by_uid(struct store *store, int64_t project_id, const char *uid, int64_t *id,
                             struct error *error) MUST_CHECK;

/* What every replica should have of one JWK: its latest deployment. */
struct store_latest { /* strings are borrowed until the callback returns */
    const char *uid, *name;
    int partition;
    int64_t version, sequence;
    bool deleted;
};
/* Each JWK of the project, and each deleted one whose tombstone is not due yet; in no order. Not those that were left out when
 * all was published again: every environment had confirmed their deletion, and no position tells of it any more. */
int store_each_latest(struct store *store, int64_t project_id, void (*visit)(void *context, const struct store_latest *latest),
                      void *context, struct error *error) MUST_CHECK;

#endif
