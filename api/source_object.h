/* What the operations on certificates, keys and keystores share: the same five for each kind. */
#ifndef API_SOURCE_OBJECT_H
#define API_SOURCE_OBJECT_H

#include <stdatomic.h>

#include "call.h"
#include "listing.h"
#include "origin.h"

enum {
    SOURCE_DESCRIPTION_MAX = 4096,  /* bytes */
    SOURCE_ENVIRONMENTS_MAX = 1000, /* of one object */
    SOURCE_REMADE_MAX = 1000,       /* JWKs that one update makes again: it is one transaction */
};

/* What create and update are given; strings are owned, NULL for what the request left out. */
struct source_input {
    char *name, *description, *alias, *key_type;
    struct origin_materials materials; /* none: the request had none */
    char *file;                        /* of a certificate: it is the same in every environment */
    size_t file_size;
    bool is_new;            /* of a create: what it needs must be there */
    bool update_referenced; /* updateReferencedJwks */
    bool all_projects;      /* updateScope is ALL_PROJECTS */
    const atomic_bool *stopping; /* becomes true when the program ends: of its pool */
};
struct source_input *source_input_new(void);
void source_input_free(struct source_input *input); /* wipes what was secret */

struct source_kind_operations {
    enum source_kind kind;
    struct listing_kind listing; /* with source_object_read_list() */
    const char *name_label; /* begins sentences about the name: "Certificate" */
    /* Validates what was given and completes its materials with their details; stored is what the object consists of so far
     * (nothing for a create). Not on an HTTP thread: it may take long. */
    int (*complete)(struct source_input *input, const struct origin_materials *stored, struct error *error);
    /* Writes the members of a list's item, behind `id` and `projectId`. */
    void (*write_item)(struct text *body, const struct store_source *source);
    /* Writes what get adds; materials are without secrets. */
    void (*write_details)(struct text *body, const struct origin_materials *materials);
};

int source_object_read_list(struct listing *listing, struct store *store, struct error *error);
void source_object_list(struct call *call, const struct source_kind_operations *operations);
void source_object_get(struct call *call, const struct source_kind_operations *operations);
/* The call's JSON body as input, read by read_members. Answers and returns NULL when the body breaks a rule. */
struct source_input *source_object_read_body(struct call *call,
                                             int (*read_members)(cJSON *body, struct source_input *input, struct error *error));
/* These take the input, and drop the call's body. */
void source_object_create(struct call *call, const struct source_kind_operations *operations, struct source_input *input);
void source_object_update(struct call *call, const struct source_kind_operations *operations, struct source_input *input);
void source_object_delete(struct call *call, const struct source_kind_operations *operations);

/* The strong entity tag of a source's present state. */
void source_etag(const struct store_source *source, char out[ETAG_SIZE]);
/* Whether the request's conditions let it change the source: 0, or -1 with ERROR_PRECONDITION. */
int source_check_conditions(const struct call *call, enum source_kind kind, const struct store_source *source,
                            struct error *error) MUST_CHECK;

/* Reads members that JSON bodies have in common: name, description, updateReferencedJwks, updateScope. */
int source_input_read(const cJSON *body, struct source_input *input, struct error *error) MUST_CHECK;
/* Reads `updateScope`; NULL and "" are SAME_PROJECT. */
int source_input_read_scope(const char *scope, struct source_input *input, struct error *error) MUST_CHECK;
/* Adds material for an environment that is named in a request: refuses an empty name and one that was named before. NULL with
 * an error. */
struct origin_material *source_input_add(struct source_input *input, const char *environment, struct error *error) MUST_CHECK;
/* Whether to go on with the next material, of which each may take seconds: -1 with ERROR_UNAVAILABLE when the program ends. */
int source_input_go_on(const struct source_input *input, struct error *error) MUST_CHECK;

#endif
