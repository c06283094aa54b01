/* Making a JWK from what a certificate, key or keystore consists of: when it is created, and again when that was updated. */
#ifndef API_ORIGIN_H
#define API_ORIGIN_H

#include "algorithm.h"
#include "common/jwk.h"
#include "store_source.h"

/* Material of one environment; strings are owned. */
struct origin_material {
    int64_t environment_id; /* 0: not looked up yet */
    char *environment, *type, *public_material, *private_material, *password, *details;
};

struct origin_materials {
    struct origin_material *items;
    size_t count;
};

/* Reads what a source consists of. Freed with origin_materials_free(). */
int origin_read_materials(struct store *store, int64_t source_id, bool secrets, struct origin_materials *materials,
                          struct error *error) MUST_CHECK;
/* Adds an empty one for an environment. */
struct origin_material *origin_add_material(struct origin_materials *materials, const char *environment);
/* Wipes what was secret. */
void origin_materials_free(struct origin_materials *materials);

/* The material of an environment (NULL or "": the only one, or any of a certificate). NULL with a sentence about the source
 * when there is none, or when the choice is open. */
const struct origin_material *origin_choose(enum source_kind kind, const char *source_name,
                                            const struct origin_materials *materials, const char *environment,
                                            struct error *error) MUST_CHECK;

/* source_type: "PRIVATE_KEY" asks for the private half of a key. alias: of a keystore's entry. Takes long for a keystore.
 * Thread-safe. */
struct jwk *origin_make_jwk(enum source_kind kind, const char *source_type, const struct origin_material *material,
                            const char *alias, const struct algorithm_request *request, struct error *error) MUST_CHECK;

#endif
