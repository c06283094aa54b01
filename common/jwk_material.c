/* The key type and the members that belong to it: the door to the key material, where each type has its own file or
 * function. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/jwk_internal.h"
#include "common/memory.h"

/* No algorithm takes a longer secret; a longer one is a file sent by mistake. */
enum { OCT_SIZE_MAX = 4096 };

static const char *const type_phrases[] = {
    [JWK_RSA] = "an RSA key", [JWK_EC] = "an EC key", [JWK_OCT] = "an oct key", [JWK_OKP] = "an OKP key"};

const char *jwk_type_phrase(enum jwk_type type) {
    return type_phrases[type];
}

void jwk_octets_free(struct jwk_octets *octets) {
    if (octets->bytes)
        OPENSSL_cleanse(octets->bytes, octets->size);
    free(octets->bytes);
    *octets = (struct jwk_octets){0};
}

int jwk_read_octets(const cJSON *object, const char *name, bool required, struct jwk_octets *octets, struct error *error) {
    const char *text = NULL;
    if (json_get_string(object, name, required, &text, error) < 0)
        return -1;
    if (!text)
        return 0;
    size_t length = strlen(text);
    if (length == 0)
        return error_set(error, ERROR_INVALID, "Member \"%s\" is empty", name);
    octets->bytes = memory_new(length * 3 / 4 + 1);
    /* The whole block, so that what a failed decoding left behind is wiped as well. */
    octets->size = length * 3 / 4 + 1;
    long size = base64url_decode(text, length, octets->bytes);
    if (size < 0) {
        jwk_octets_free(octets);
        return error_set(error, ERROR_INVALID,
                         "Member \"%s\" is not canonical base64url (RFC 7515 section 2: no padding, no + or /, "
                         "no loose bits)",
                         name);
    }
    octets->size = (size_t)size;
    return 0;
}

static int read_oct(const cJSON *object, struct jwk_material *material, struct error *error) {
    struct jwk_octets k = {0};
    if (jwk_read_octets(object, "k", true, &k, error) < 0)
        return -1;
    int result = -1;
    if (k.size > OCT_SIZE_MAX) {
        error_set(error, ERROR_INVALID, "An oct key can have at most %d octets, this one has %zu", OCT_SIZE_MAX, k.size);
    } else if (!(material->key = EVP_PKEY_new_raw_private_key_ex(NULL, "HMAC", NULL, k.bytes, k.size))) {
        error_set(error, ERROR_INTERNAL, "The cryptographic library did not take the oct key");
    } else {
        material->octets = k.size;
        material->has_private = true;
        result = 0;
    }
    jwk_octets_free(&k);
    return result;
}

int jwk_material_read(const cJSON *object, struct jwk_material *material, struct error *error) {
    *material = (struct jwk_material){0};
    const char *kty = NULL;
    if (json_get_string(object, "kty", true, &kty, error) < 0)
        return -1;
    static const char *const names[] = {[JWK_RSA] = "RSA", [JWK_EC] = "EC", [JWK_OCT] = "oct", [JWK_OKP] = "OKP"};
    size_t type = 0;
    while (type < sizeof names / sizeof names[0] && strcmp(names[type], kty) != 0)
        type++;
    if (type == sizeof names / sizeof names[0]) {
        char shown[JSON_SHOWN_SIZE];
        return error_set(error, ERROR_INVALID, "The key type (kty) \"%s\" is not supported: it must be RSA, EC, oct or OKP",
                         json_shown(kty, shown));
    }
    material->type = (enum jwk_type)type;
    if (jwk_members_check(object, material->type, error))
        return -1;
    if (material->type == JWK_RSA)
        return jwk_rsa_read(object, material, error);
    return material->type == JWK_OCT ? read_oct(object, material, error) : jwk_curve_key_read(object, material, error);
}
