/* Certificates, keys and keystores in the store: what JWKs are made from. A part of store.h's promises. */
#ifndef API_STORE_SOURCE_H
#define API_STORE_SOURCE_H

#include "store.h"

enum source_kind { SOURCE_CERTIFICATE, SOURCE_KEY, SOURCE_KEYSTORE };
const char *source_kind_word(enum source_kind kind); /* "Certificate", "Key", "Keystore" */

struct store_source { /* strings are borrowed until the callback returns, or until store_source_free() of a found one */
    int64_t id;
    const char *uid, *name, *description, *alias, *key_type;
    const char *environments; /* JSON: an array of the names of its environments, in order */
    int64_t version, attachments;
    void *storage;
};

/* What it consists of in one environment; strings are borrowed. */
struct store_material {
    int64_t environment_id; /* not looked at when writing */
    const char *environment;
    const char *type;             /* of a keystore */
    const char *public_material;  /* a certificate's PEM, a key's public half */
    const char *private_material; /* a key's private half, a keystore's file */
    const char *password;         /* of a keystore */
    const char *details;          /* JSON without anything secret */
};

/* In the order of names, from behind the name `after` ("": from the first) on, at most limit; reads no material. */
int store_each_source(struct store *store, int64_t project_id, enum source_kind kind, const char *after, int limit,
                      void (*visit)(void *context, const struct store_source *source), void *context,
                      struct error *error) MUST_CHECK;
/* ERROR_NOT_FOUND with "Certificate (name: X) is not found!". Freed with store_source_free(). */
int store_find_source(struct store *store, int64_t project_id, enum source_kind kind, const char *name,
                      struct store_source *source, struct error *error) MUST_CHECK;
void store_source_free(struct store_source *source);
/* Its material in the order of environments. Without `secrets` private material and password are not read and NULL. The strings
 * of a visited one live until visit returns. */
int store_each_material(struct store *store, int64_t source_id, bool secrets,
                        void (*visit)(void *context, const struct store_material *material), void *context,
                        struct error *error) MUST_CHECK;

/* ---- inside a transaction of the writer ---- */

struct store_new_source {
    enum source_kind kind;
    const char *name, *description, *alias, *key_type;
    const struct store_material *materials;
    size_t material_count;
};
/* ERROR_CONFLICT when the name is taken, ERROR_NOT_FOUND for an unknown environment. */
int store_add_source(struct store *store, const struct store_author *author, const struct store_new_source *source,
                     struct error *error) MUST_CHECK;
/* Replaces what is not NULL; materials, where there are any, replace all there were. ERROR_UNAVAILABLE when the source is not
 * as it was read any more (version and attachments of `before`): to be tried again. */
int store_change_source(struct store *store, const struct store_source *before, const struct store_author *author,
                        const struct store_new_source *source, struct error *error) MUST_CHECK;
/* ERROR_CONFLICT naming them when JWKs are attached to it. */
int store_remove_source(struct store *store, const struct store_author *author, enum source_kind kind, const char *name,
                        struct error *error) MUST_CHECK;

/* The environment of that name; ERROR_NOT_FOUND with a sentence. */
int store_find_environment(struct store *store, const char *name, int64_t *id, struct error *error) MUST_CHECK;

#endif
