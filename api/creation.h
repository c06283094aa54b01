/* One JWK on its way to being created: made on a thread of a pool, then recorded by the writer. Or
 * in the place of another's key. Between the files create*.c and rotate.c only. */
#ifndef API_CREATION_H
#define API_CREATION_H

#include "change.h"
#include "common/jwk.h"
#include "source_url.h"
#include "store_source.h"
#include "workpool.h"

enum { JWK_DESCRIPTION_MAX = 4096 }; /* bytes */

struct creation { /* strings are owned unless they are said to be static */
    struct work work;
    struct call *call;
    char *name, *description;
    const char *source_type; /* static */
    /* Makes jwk, on a thread of the pool: it may take long. */
    int (*make)(struct creation *creation, struct error *error);
    /* Attaches the created JWK to its source, in the writer's transaction; NULL where there is none. */
    int (*attach)(struct creation *creation, struct store *store, const char *jwk_uid, struct error *error);
    struct jwk *jwk;
    bool rotates;               /* the JWK that the path names is given it, and keeps name and description */
    int64_t overlap_s;          /* then: how long the old key stays served, seconds */

    cJSON *body;                /* of generate */
    char *text, *kid;           /* COPY_PASTE, and kid of URL too; text is a secret */
    char *url;                  /* URL */
    struct source_url_request options;
    char *etag, *last_modified; /* of what was fetched */
    int64_t due_at;             /* when to fetch it again, wall ms */
    enum source_kind kind;      /* CERTIFICATE, PUBLIC_KEY, PRIVATE_KEY, KEYSTORE */
    bool prefers_private;       /* of a key: its private half where it has one, whichever source type that is */
    char *source_name, *environment, *use_type, *algorithm, *alias;
    char source_uid[UUID_SIZE];
    int64_t source_version, environment_id;
};

/* Reads and checks name and description. */
int creation_read_names(struct creation *creation, const cJSON *body, struct error *error) MUST_CHECK;
/* Reads and checks sourceType and what belongs to it, and that there is nothing else but name and description. type_name: of a
 * shortcut, whose body has no sourceType; NULL: the body says it. */
int creation_read_source(struct creation *creation, const cJSON *body, const char *type_name, struct error *error) MUST_CHECK;
/* Has it generated from a body, which it takes and checks to have nothing but what generate.h reads, name and description. */
int creation_read_generate(struct creation *creation, cJSON *body, struct error *error) MUST_CHECK;
/* Hands it to a pool, takes it, and drops the call's body. The call is answered later. */
void creation_begin(struct creation *creation, struct workpool *pool);
void creation_free(struct creation *creation);

/* The members of one source type and how it is made: create_url.c and create_source.c. They fill creation. */
int creation_read_url(struct creation *creation, const cJSON *body, struct error *error) MUST_CHECK;
int creation_read_certificate(struct creation *creation, const cJSON *body, struct error *error) MUST_CHECK;
int creation_read_key(struct creation *creation, const cJSON *body, struct error *error) MUST_CHECK;
int creation_read_keystore(struct creation *creation, const cJSON *body, struct error *error) MUST_CHECK;

#endif
