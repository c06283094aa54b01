/* Where JWKs come from, in the store: what attaches one to a certificate, a key, a keystore or a URL, and making it again from
 * there.
 *
 * An update through the API and a delete end the attachment (a trigger of the schema sees to it). */
#ifndef API_STORE_ORIGIN_H
#define API_STORE_ORIGIN_H

#include "store_source.h"

/* ---- certificates, keys and keystores ---- */

struct store_origin { /* strings are borrowed */
    const char *source_uid;
    int64_t source_version; /* as it was when the JWK was made */
    int64_t environment_id; /* 0: the only one, or any of a certificate */
    const char *use_type, *algorithm, *alias;
};
/* Attaches a JWK that was just created. ERROR_UNAVAILABLE when the source was changed or deleted since it was read. */
int store_attach_source(struct store *store, const char *jwk_uid, const struct store_origin *origin,
                        struct error *error) MUST_CHECK;

struct store_attached { /* strings are borrowed until the callback returns */
    int64_t jwk_id;
    int64_t attachment; /* tells it from what a rotation attaches the JWK to later */
    const char *jwk_name, *source_type, *use_type, *algorithm, *alias;
    /* By its name, so that one which was removed and added again is the same; NULL: the only one, or any of a certificate. */
    const char *environment;
};
/* The JWKs that are attached to a source: of one project, or with project_id 0 of all. At most limit. */
int store_each_attached(struct store *store, int64_t source_id, int64_t project_id, int limit,
                        void (*visit)(void *context, const struct store_attached *attached), void *context,
                        struct error *error) MUST_CHECK;

/* ---- making again: inside a transaction of the writer ---- */

struct store_remade { /* strings are borrowed */
    int64_t jwk_id, attachment; /* the JWK as it was attached then */
    const char *type, *kid, *public_key, *private_key;
};
/* Gives an attached JWK new material, as its next version, and records the deployment. author: user and traceparent are looked
 * at; the project is the JWK's own. A replaced key whose kid the new one has is not served any more. ERROR_NOT_FOUND when the
 * attachment is over. */
int store_remake_jwk(struct store *store, const struct store_author *author, const struct store_remade *remade,
                     struct store_change *change, struct error *error) MUST_CHECK;

/* The same where the new material may be what the JWK has already, and the JWK detached meanwhile: then nothing is changed, and
 * *change is left empty. */
int store_refresh_jwk(struct store *store, const struct store_author *author, const struct store_remade *remade,
                      struct store_change *change, struct error *error) MUST_CHECK;

/* ---- URLs ---- */

struct store_url { /* strings are borrowed */
    const char *kid;
    int64_t connect_timeout, read_timeout, size_limit;
    const char *etag, *last_modified; /* of the answer that it was made from; NULL: none */
    int64_t due_at;                   /* wall ms of the next fetch */
};
int store_attach_url(struct store *store, const char *jwk_uid, const struct store_url *url, struct error *error) MUST_CHECK;

struct store_url_due { /* strings are borrowed until the callback returns */
    int64_t jwk_id, project_id, failures;
    int64_t attachment;
    const char *jwk_uid, *url;
    struct store_url options;
};
/* JWKs whose fetch is due at `now`, the longest overdue first, at most limit; then those due after
 * `horizon`, at most limit too: the clock was set back. Those of the project `except` (0: none) are left out. *next_due is when
 * the first of the others is (INT64_MAX: never). */
int store_each_due(struct store *store, int64_t now, int64_t horizon, int64_t except, int limit,
                   void (*visit)(void *context, const struct store_url_due *due), void *context, int64_t *next_due,
                   struct error *error) MUST_CHECK;

/* Records how a fetch went: error NULL for well, then etag and last_modified are replaced. Nothing when the attachment is over.
 * In the writer's transaction. */
struct store_url_outcome {
    int64_t jwk_id, attachment, checked_at, due_at;
    const char *error, *etag, *last_modified;
};
int store_set_url_outcome(struct store *store, const struct store_url_outcome *outcome, struct error *error) MUST_CHECK;

/* Ends the attachment of a JWK, so that a rotation can make another. */
int store_detach(struct store *store, int64_t jwk_id, struct error *error) MUST_CHECK;

struct store_url_status {
    int64_t checked_at, due_at, failures;
    char *error; /* a new string; NULL: it went well */
};
/* How the last fetch of an attached JWK went. ERROR_NOT_FOUND when it is attached to no URL. */
int store_find_url_status(struct store *store, int64_t jwk_id, struct store_url_status *status, struct error *error) MUST_CHECK;
/* JWKs whose source fails at present. */
int store_count_failing(struct store *store, int64_t *count, struct error *error) MUST_CHECK;

#endif
