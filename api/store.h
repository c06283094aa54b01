/* The store of jwk-api: projects, environments, tokens, JWKs, deployments and the outbox.
 *
 * Verbs, not tables: nothing outside the files store*.c knows SQL. A struct store is one connection, used by one thread at a
 * time. The writer's connection writes; the HTTP threads read with their own; administration writes with its own for a moment.
 * All functions return 0 or -1 with an error whose text may be shown to a caller unless its code is ERROR_INTERNAL or
 * ERROR_UNAVAILABLE. */
#ifndef API_STORE_H
#define API_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "access.h"
#include "common/credentials.h"
#include "common/error.h"
#include "common/message.h"
#include "common/text.h"

struct store;

enum store_mode {
    STORE_READ,
    STORE_WRITE, /* brings an older schema up to date */
    STORE_MAKE,  /* as STORE_WRITE, and makes directory (0700) and file (0600) when they are missing: for what begins an
                  * installation. Anything else would take a wrong directory for a store in which there is nothing yet */
};

/* Whether there is a file of a store in the directory, as far as can be seen. */
bool store_exists(const char *directory);
/* Opens DIRECTORY/jwk-api.db. Refused, each with a sentence that says what to do: a directory without a store, another
 * program's file, a newer schema, files that others may read, a damaged file. */
struct store *store_open(const char *directory, enum store_mode mode, struct error *error) MUST_CHECK;
void store_close(struct store *store); /* NULL is allowed */

/* Takes the lock that the one serving process holds for life, before the store is opened in that mode; -1 with ERROR_CONFLICT
 * when another holds it. The lock ends with the process, however it ends. */
int store_lock_serving(const char *directory, enum store_mode mode, struct error *error) MUST_CHECK;

/* One transaction, and a savepoint in it that takes back one failed change alone. */
int store_begin(struct store *store, struct error *error) MUST_CHECK;
int store_commit(struct store *store, struct error *error) MUST_CHECK;
void store_rollback(struct store *store);
/* Whether the transaction that was begun is still there: SQLite ends one by itself when the disk is full or fails. */
bool store_in_transaction(struct store *store);
/* Grows with every row that this connection has written: tells whether a change wrote anything. */
int64_t store_changes(struct store *store);
int store_savepoint(struct store *store, struct error *error) MUST_CHECK;
int store_release(struct store *store, struct error *error) MUST_CHECK;
/* -1 when the whole transaction is gone with it. */
int store_rollback_savepoint(struct store *store) MUST_CHECK;

struct store_identity {
    char uid[UUID_SIZE];
    int64_t epoch;
    int partitions;                          /* 0: not fixed yet */
    int64_t sequence;                        /* of the last deployment ever recorded; 0: none */
    int64_t republish_from, republish_until; /* see struct sequence_floor; INT64_MAX: not known yet */
};
int store_read_identity(struct store *store, struct store_identity *identity, struct error *error) MUST_CHECK;
int store_fix_partitions(struct store *store, int partitions, struct error *error) MUST_CHECK;

/* ---- projects and environments ---- */

struct store_item { /* borrowed until the callback returns */
    int64_t id;
    const char *uid, *name;
    int64_t created_at;
    const char *keys; /* of an environment: its public JWK Set; NULL when it has none */
};
typedef void store_item_visitor(void *context, const struct store_item *item);

int store_add_project(struct store *store, const char *name, struct error *error) MUST_CHECK;
/* ERROR_CONFLICT while it has JWKs. */
int store_remove_project(struct store *store, const char *name, struct error *error) MUST_CHECK;
int store_each_project(struct store *store, store_item_visitor *visit, void *context, struct error *error) MUST_CHECK;
/* keys: its public JWK Set (credentials.h), or NULL: no private halves go there and its workers are believed without proof.
 * Everything is deployed to it by itself. Inside a transaction. */
int store_add_environment(struct store *store, const char *name, const char *keys, struct error *error) MUST_CHECK;
/* Gives it other keys, and everything is deployed again by itself. Inside a transaction. */
int store_rekey_environment(struct store *store, const char *name, const char *keys, struct error *error) MUST_CHECK;
/* 1, 0, or -1 with an error. */
int store_has_environment(struct store *store, const char *name, struct error *error) MUST_CHECK;
/* Inside a transaction. */
int store_remove_environment(struct store *store, const char *name, struct error *error) MUST_CHECK;
int store_each_environment(struct store *store, store_item_visitor *visit, void *context, struct error *error) MUST_CHECK;
/* Pages of the same: at most limit, from behind the name `after` on ("": from the first). */
int store_page_environments(struct store *store, const char *after, int limit, store_item_visitor *visit, void *context,
                            struct error *error) MUST_CHECK;
/* A number that changes whenever another connection has committed: what a long-lived cache of this connection compares. */
int store_data_version(struct store *store, int64_t *version, struct error *error) MUST_CHECK;

/* ---- tokens ---- */

struct store_token {
    int64_t id;
    char user[USER_LENGTH_MAX + 1];
    int roles; /* of enum role */
    bool all_projects;
};
/* The valid token of that hash: ERROR_DENIED when unknown, expired or revoked (the caller is not told which). */
int store_find_token(struct store *store, const unsigned char hash[32], int64_t now, struct store_token *token,
                     struct error *error) MUST_CHECK;

struct store_project {
    int64_t id;
    char uid[UUID_SIZE];
};
/* The project of that name when the token may see it; ERROR_NOT_FOUND with the contract's sentence for both cases. */
int store_find_project(struct store *store, const struct store_token *token, const char *name, struct store_project *project,
                       struct error *error) MUST_CHECK;

/* The projects that the token may see, at most limit, from behind the name `after` on ("": from the first). */
int store_page_projects(struct store *store, const struct store_token *token, const char *after, int limit,
                        store_item_visitor *visit, void *context, struct error *error) MUST_CHECK;

struct store_new_token {
    const char *user;
    int roles;
    const char *const *projects; /* names; none: all projects */
    size_t project_count;
    int64_t expires_at; /* 0: never */
};
int store_add_token(struct store *store, const struct store_new_token *token, const unsigned char hash[32], char uid[UUID_SIZE],
                    struct error *error) MUST_CHECK;
int store_revoke_token(struct store *store, const char *uid, struct error *error) MUST_CHECK;
struct store_token_item { /* borrowed */
    const char *uid, *user;
    int roles;
    const char *projects;                       /* "*" or names separated by commas */
    int64_t created_at, expires_at, revoked_at; /* 0: never */
};
int store_each_token(struct store *store, void (*visit)(void *context, const struct store_token_item *item), void *context,
                     struct error *error) MUST_CHECK;

/* ---- JWKs ---- */

struct store_jwk { /* strings are borrowed until the callback returns, or until store_jwk_free() of a found one */
    int64_t id;
    const char *uid, *project_uid, *name, *description, *type, *kid;
    const char *source_type, *source_id, *source_url;
    int64_t epoch, version; /* the two order the states of one JWK */
    int partition;
    int64_t created_at, updated_at;
    int64_t retiring_until;               /* wall ms: no key that it replaced is served longer; 0: none (store_retiring.h) */
    const char *public_key;  /* only of a found one; JSON text, NULL when there is none */
    const char *private_key; /* only after store_open_jwk(); JSON text of the whole key, NULL when there is no private half */
    void *storage;
};
/* Without its private half, which is not even read. ERROR_NOT_FOUND with "JWK (name: X) is not found!". The caller frees it with
 * store_jwk_free(). */
int store_find_jwk(struct store *store, int64_t project_id, const char *name, struct store_jwk *jwk,
                   struct error *error) MUST_CHECK;
/* The same with its private half, as it is sealed. */
int store_find_whole_jwk(struct store *store, int64_t project_id, const char *name, struct store_jwk *jwk,
                         struct error *error) MUST_CHECK;
/* Opens the private half of a JWK that store_find_whole_jwk() has found; does not need the store any more. ERROR_INTERNAL when it
 * was changed. */
int store_open_jwk(struct store_jwk *jwk, struct error *error) MUST_CHECK;
void store_jwk_free(struct store_jwk *jwk); /* wipes what was secret */
/* In the order of names, from behind the name `after` ("": from the first) on, at most limit. */
int store_each_jwk(struct store *store, int64_t project_id, const char *after, int limit,
                   void (*visit)(void *context, const struct store_jwk *jwk), void *context, struct error *error) MUST_CHECK;

/* ---- changes: inside a transaction of the writer ---- */

struct store_environment {
    int64_t id;
    char name[NAME_LENGTH_MAX + 1];
    struct environment_keys keys; /* owned by the list, or by the whole one that it is a part of */
    bool has_keys;
};
/* The environments that a deployment goes to; shared by counting, so that ten thousand deployments hold one list. Not changed
 * once it is shared. */
struct store_environments {
    _Atomic int references;
    int64_t generation;               /* one more whenever an environment or its keys come or go */
    struct store_environments *whole; /* the list that this is a part of, shared; NULL: it is whole */
    struct jwe_recipient *recipients; /* the present encryption key of each environment that has keys, borrowed from items */
    size_t recipient_count;
    size_t count;
    struct store_environment items[];
};
struct store_environments *store_environments_share(struct store_environments *environments);
void store_environments_release(struct store_environments *environments); /* NULL is allowed */
/* The part that is one of its environments; NULL when there is none of that name. The caller releases it. */
struct store_environments *store_environments_one(struct store_environments *whole, const char *name);
/* The current list; the caller releases it. Cheap: read again only after administration changed something. */
int store_environments(struct store *store, struct store_environments **environments, struct error *error) MUST_CHECK;

/* What was recorded for one change: enough to publish its event and to recognise its acks. */
struct store_change {
    int64_t sequence; /* deployment.id */
    int64_t outbox_id;
    char deployment_id[UUID_SIZE], jwk_id[UUID_SIZE];
    int64_t epoch, version;
    int partition;
    char event_hash[SHA256_TEXT_SIZE];
    struct store_environments *environments; /* one reference, owned */
    struct store_outgoing *outgoing;         /* owned: the event as it is in the outbox */
};
void store_change_clear(struct store_change *change);

struct store_author { /* who asks for a change */
    const char *user;
    const char *traceparent;
    int64_t project_id;
    const char *project_uid, *project_name;
    /* What the caller has made a condition of an update or a delete, judged on the JWK as it is before: 0, or -1 with
     * ERROR_PRECONDITION. NULL: none. */
    int (*precondition)(const void *context, const struct store_jwk *jwk, struct error *error);
    const void *precondition_context;
};

struct store_new_jwk {
    const char *name, *description, *type, *kid;
    const char *source_type, *source_id, *source_url;
    const char *public_key, *private_key;
};
/* ERROR_CONFLICT with the contract's sentence when the name is taken. */
int store_create_jwk(struct store *store, const struct store_author *author, const struct store_new_jwk *jwk,
                     struct store_change *change, struct error *error) MUST_CHECK;
/* name and description: NULL leaves it as it is. Detaches the JWK from its source. ERROR_NOT_FOUND and ERROR_CONFLICT with the
 * sentences of Update JWK. */
int store_update_jwk(struct store *store, const struct store_author *author, const char *jwk_name, const char *name,
                     const char *description, struct store_change *change, struct error *error) MUST_CHECK;
/* Gives the JWK a new key, as its next version; the old one is served beside it for overlap_s seconds from now, unless that is
 * 0 or it has no public half. Of new_jwk name and description are not looked at: those stay. Ends the attachment to a source;
 * another is the caller's to make. ERROR_CONFLICT when a key that stays served has the new one's kid, or when
 * RETIRING_COUNT_MAX do. ERROR_NOT_FOUND with the sentence of Update JWK. */
int store_rotate_jwk(struct store *store, const struct store_author *author, const char *jwk_name,
                     const struct store_new_jwk *new_jwk, int64_t overlap_s, struct store_change *change,
                     struct error *error) MUST_CHECK;
int store_delete_jwk(struct store *store, const struct store_author *author, const char *jwk_name, struct store_change *change,
                     struct error *error) MUST_CHECK;
/* Records the deletion of a deleted JWK again, as the next version: its event is lost. ERROR_NOT_FOUND when there is none. */
int store_delete_jwk_again(struct store *store, const struct store_author *author, int64_t id, struct store_change *change,
                           struct error *error) MUST_CHECK;
/* Deploys the present state again, as the next version, so that each replica applies and acknowledges it. environment: the one
 * whose result is expected; NULL: all. */
int store_redeploy_jwk(struct store *store, const struct store_author *author, const char *jwk_name, const char *environment,
                       struct store_change *change, struct error *error) MUST_CHECK;

/* ---- outbox ---- */

struct store_outgoing { /* one allocation besides value; freed with store_outgoing_free() */
    int64_t outbox_id;
    int partition;
    char key[UUID_SIZE], event_id[UUID_SIZE];
    const char *event_type; /* static */
    char *subject;
    int64_t time;
    char traceparent[TRACEPARENT_SIZE]; /* "" for none */
    char *value;                        /* NULL: a tombstone */
    size_t value_length;
};
void store_outgoing_free(struct store_outgoing *outgoing);
/* Up to limit rows with an id above after_id, in order; visit takes ownership of each. */
int store_each_outgoing(struct store *store, int64_t after_id, int limit,
                        void (*visit)(void *context, struct store_outgoing *outgoing), void *context,
                        struct error *error) MUST_CHECK;
/* Removes the rows with the ids first..last: they are in Kafka. */
int store_remove_outgoing(struct store *store, int64_t first, int64_t last, struct error *error) MUST_CHECK;
/* Adds the tombstones of JWKs deleted before `before` (wall ms) behind what the outbox holds, at most limit. */
int store_add_tombstones(struct store *store, int64_t before, int limit, int *added, struct error *error) MUST_CHECK;

/* ---- results ---- */

enum result_state { RESULT_PENDING, RESULT_SUCCEEDED, RESULT_FAILED };

/* What came of a deployment in one environment, so far. */
struct store_outcome {
    int64_t sequence, environment_id;              /* of the deployment, and the environment */
    const char *deployment_id, *environment_name;  /* the same as the outside knows them */
    enum result_state state;
    const char *message, *replicas;
    int64_t settled_at; /* 0: pending */
};
/* A pending result never takes back a success: a position may have settled it while the outcome of a wait was on its way. What is
 * stored is told in the audit trail too. */
int store_set_result(struct store *store, const struct store_outcome *outcome, struct error *error) MUST_CHECK;

/* A deployment by its id, for a late ack or a reader. ERROR_NOT_FOUND when there is none. */
struct store_deployment { /* strings are borrowed until the callback returns */
    int64_t sequence;
    const char *uid, *jwk_uid, *jwk_name, *actor, *event_hash;
    const char *changed; /* names of the fields that an update changed, separated by commas; NULL: none */
    enum event_operation operation;
    int64_t project_id, epoch, version, created_at;
    int partition; /* of its JWK */
    size_t result_count;
    const struct store_result *results;
};
struct store_result {
    int64_t environment_id;
    const char *environment_name;
    enum result_state state;
    const char *message, *replicas;
    int64_t settled_at; /* 0: pending */
    int64_t removed_at; /* of the environment; 0: it is there */
};
int store_find_deployment(struct store *store, const char *uid,
                          void (*visit)(void *context, const struct store_deployment *deployment), void *context,
                          struct error *error) MUST_CHECK;
/* A deployment that has succeeded in an environment, for the sentence about it. */
struct store_success { /* strings are borrowed until the callback returns */
    int64_t sequence, epoch;
    int partition;
    enum event_operation operation;
    const char *jwk_id;
    const char *replicas; /* the stored outcomes of its replicas so far; NULL: none */
};
/* The message to store; NULL: the standard sentence. The store frees it. */
typedef char *store_success_message(void *context, const struct store_success *success);

/* What the live replicas of an environment have told. */
struct store_coverage {
    const char *environment;
    const struct position *positions; /* the least per partition */
    size_t position_count;
    const char *const *except; /* JWKs whose hook fails */
    size_t except_count;
};
/* Settles as succeeded what is pending or failed in an environment and covered. At most limit rows, from above *after_sequence
 * on, which moves; *more tells whether to call again, and *left grows by the rows that stay as they are. */
int store_settle_pending(struct store *store, const struct store_coverage *coverage, int64_t now,
                         store_success_message *message, void *context, int limit, int64_t *after_sequence, bool *more,
                         int64_t *left, struct error *error) MUST_CHECK;
/* Settles as succeeded what is pending or failed in the environment of that success for earlier versions of the JWK. Inside a
 * transaction. */
int store_settle_superseded(struct store *store, const struct store_outcome *success, store_success_message *message,
                            void *context, struct error *error) MUST_CHECK;

/* ---- offsets ---- */

int store_get_offset(struct store *store, const char *topic, int32_t partition, int64_t *next_offset,
                     struct error *error) MUST_CHECK; /* -1: none */
int store_set_offset(struct store *store, const char *topic, int32_t partition, int64_t next_offset,
                     struct error *error) MUST_CHECK;

#endif
