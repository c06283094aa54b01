/* What the files that make up the JWK module promise each other. Nobody else includes this. */
#ifndef COMMON_JWK_INTERNAL_H
#define COMMON_JWK_INTERNAL_H

#include <openssl/evp.h>

#include "common/jwk.h"

/* The name that OpenSSL's functions fetch algorithms by, and the sizes that RFC 7518 section 6.2 and RFC 8037 prescribe. */
struct jwk_curve {
    const char *name;  /* the `crv` */
    const char *group; /* OpenSSL's name of the EC group, or of the key type for OKP */
    enum jwk_type type;
    size_t size;       /* octets of x, y and d */
    unsigned bit;      /* in sets of curves */
};
/* The curve of that name and type; NULL when it is not supported. */
const struct jwk_curve *jwk_curve_find(enum jwk_type type, const char *name);
/* The curve of an OpenSSL EC group's name; NULL when it is not supported. */
const struct jwk_curve *jwk_curve_of_group(const char *group);

/* Octets of a secret, wiped when they are freed. */
struct jwk_octets {
    unsigned char *bytes; /* NULL when the member was absent */
    size_t size;
};
void jwk_octets_free(struct jwk_octets *octets);
/* Decodes a base64url member. Absent and not required: left empty. */
int jwk_read_octets(const cJSON *object, const char *name, bool required, struct jwk_octets *octets,
                    struct error *error) MUST_CHECK;

/* What the members of one key type say. */
struct jwk_material {
    enum jwk_type type;
    const struct jwk_curve *curve; /* NULL for RSA and oct */
    EVP_PKEY *key;                 /* with the private half when there is one; owned by whoever read it */
    size_t octets;                 /* of an oct key */
    bool has_private;
};
/* Reads and validates kty and the members of its type. On an error nothing is left to free. */
int jwk_material_read(const cJSON *object, struct jwk_material *material, struct error *error) MUST_CHECK;
int jwk_rsa_read(const cJSON *object, struct jwk_material *material, struct error *error) MUST_CHECK;
/* EC and OKP: material->type says which. */
int jwk_curve_key_read(const cJSON *object, struct jwk_material *material, struct error *error) MUST_CHECK;
/* Whether the 32 octets are the coordinate of a point of Ed25519 or X25519 that is not of small order. */
bool jwk_okp_point_is_valid(const struct jwk_curve *curve, const unsigned char x[32]);

/* Says "an RSA key", "an EC key", … in sentences. */
const char *jwk_type_phrase(enum jwk_type type);
/* Refuses private members that do not belong to a key of the type, or stand inside of others, and more or deeper values than
 * JWK_VALUES_MAX and JWK_DEPTH_MAX. */
int jwk_members_check(const cJSON *object, enum jwk_type type, struct error *error) MUST_CHECK;

/* Holds use, key_ops and alg against each other and the key. *use and *algorithm point into the tree, or are NULL. */
int jwk_usage_check(const cJSON *object, const struct jwk_material *material, const char **use, const char **algorithm,
                    struct error *error) MUST_CHECK;
/* Writes the member key_ops of the public half of a key that has a private one. */
void jwk_write_public_operations(struct text *out, const cJSON *key_ops);

/* Holds x5c, x5t and x5t#S256 against each other and the key. */
int jwk_certificates_check(const cJSON *object, const struct jwk_material *material, struct error *error) MUST_CHECK;

#endif
