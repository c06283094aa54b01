/* The Generate operation: reads what is asked for, strictly, and makes the key. */
#include "api/generate.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/algorithm.h"
#include "common/base64url.h"
#include "common/clock.h"
#include "common/identifier.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/text.h"

enum {
    KID_LENGTH_MAX = 255,  /* bytes; it stands in the header of every token */
    PASSWORD_SALT_MIN = 8, /* RFC 7518 section 4.8.1.1 */
    PASSWORD_SALT_MAX = 1024,
    PASSWORD_SALT_DEFAULT = 8,
    PASSWORD_ITERATIONS_MIN = 1000, /* RFC 7518 section 4.8.1.2 */
    PASSWORD_ITERATIONS_MAX = 10000000,
    PASSWORD_ITERATIONS_DEFAULT = 1000,
    OCT_BITS_MAX = 512,
};

enum key_id_type { KEY_ID_TIMESTAMP, KEY_ID_SHA256, KEY_ID_SHA1, KEY_ID_ISO_DATE, KEY_ID_NONE };

/* What is asked for, with all defaults put in. */
struct request {
    enum jwk_type type;
    unsigned bits;     /* of an RSA or oct key */
    const char *curve; /* the JWK's name of it; NULL for RSA and oct */
    const char *group; /* OpenSSL's name of the curve, or of the key type for OKP */
    enum algorithm_use use;
    const struct algorithm *algorithm; /* NULL: none */
    const char *kid;                   /* NULL: made by key_id_type */
    enum key_id_type key_id_type;
    int64_t not_before; /* seconds since 1970 */
    int64_t expires;
    int64_t salt_length;
    int64_t iteration_count;
};

static const struct {
    const char *type;
    const char *member;
    enum jwk_type value;
} types[] = {
    {"RSA", "rsa", JWK_RSA},
    {"EC", "ec", JWK_EC},
    {"OCT", "oct", JWK_OCT},
    {"OKP", "okp", JWK_OKP},
};

/* The curves by the operation's names. */
static const struct curve {
    const char *name;
    const char *curve;
    const char *group;
    enum jwk_type type;
} curves[] = {
    {"P256", "P-256", "P-256", JWK_EC},         {"P384", "P-384", "P-384", JWK_EC},
    {"P521", "P-521", "P-521", JWK_EC},         {"SECP256K1", "secp256k1", "secp256k1", JWK_EC},
    {"ED25519", "Ed25519", "ED25519", JWK_OKP}, {"X25519", "X25519", "X25519", JWK_OKP},
};

enum { TYPE_COUNT = sizeof types / sizeof types[0], CURVE_COUNT = sizeof curves / sizeof curves[0] };

/* The type, and the object named after it (NULL: it was left out). */
static int read_type(const cJSON *body, struct request *request, const cJSON **object, struct error *error) {
    const char *name = NULL;
    size_t found = TYPE_COUNT;

    if (json_get_string(body, "type", false, &name, error) < 0)
        return -1;
    if (name == NULL || *name == '\0')
        return error_set(error, ERROR_INVALID, "JWK type can not be empty!");
    for (size_t i = 0; i < TYPE_COUNT; i++)
        if (strcmp(types[i].type, name) == 0)
            found = i;
    if (found == TYPE_COUNT)
        return error_set(error, ERROR_INVALID, "JWK type (%.64s) is not supported! It must be RSA, EC, OCT or OKP.", name);
    request->type = types[found].value;
    for (size_t i = 0; i < TYPE_COUNT; i++) {
        const cJSON *other = cJSON_GetObjectItemCaseSensitive(body, types[i].member);
        if (i != found && other != NULL && !cJSON_IsNull(other))
            return error_set(error, ERROR_INVALID, "JWK type is %s, but there is an object (%s) for another type!", name,
                             types[i].member);
    }
    *object = NULL;
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(body, types[found].member)))
        return 0;
    return json_get_object(body, types[found].member, false, object, error);
}

static int refuse_unknown(enum jwk_type type, const cJSON *object, struct error *error) {
    static const char *const rsa[] = {"keyUseType",     "algorithm", "keyIdType", "notBeforeTime",
                                      "expirationTime", "keySize",   NULL};
    static const char *const curve[] = {"keyUseType",     "algorithm", "keyIdType", "notBeforeTime",
                                        "expirationTime", "curveType", NULL};
    static const char *const oct[] = {"keyUseType",
                                      "algorithm",
                                      "keyIdType",
                                      "notBeforeTime",
                                      "expirationTime",
                                      "keySize",
                                      "passwordSaltLength",
                                      "passwordIterationCount",
                                      NULL};

    return json_refuse_unknown(object, type == JWK_RSA ? rsa : type == JWK_OCT ? oct : curve, error);
}

/* An optional string; null and "" are as good as absent, as clients send empty form fields. */
static int read_string(const cJSON *object, const char *name, const char **value, struct error *error) {
    *value = NULL;
    if (object == NULL || cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, name)))
        return 0;
    if (json_get_string(object, name, false, value, error) < 0)
        return -1;
    if (*value != NULL && **value == '\0')
        *value = NULL;
    return 0;
}

static int read_algorithm(const cJSON *object, struct request *request, struct error *error) {
    const char *name;
    const char *use;

    if (read_string(object, "algorithm", &name, error) < 0 || read_string(object, "keyUseType", &use, error) < 0)
        return -1;
    if (name != NULL && (request->algorithm = algorithm_find(name)) == NULL)
        return error_set(error, ERROR_INVALID, "Algorithm (%.64s) is not supported!", name);
    return algorithm_use_parse("keyUseType", use, &request->use, error);
}

static int read_size(const cJSON *object, struct request *request, struct error *error) {
    bool is_rsa = request->type == JWK_RSA;
    int64_t size = 0;

    if (object != NULL && !cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, "keySize")) &&
        json_get_integer(object, "keySize", false, 1, 65536, &size, error) < 0)
        return -1;
    if (size == 0) {
        unsigned needed = request->algorithm == NULL ? 0 : request->algorithm->bits_min;
        request->bits = is_rsa ? 2048 : needed != 0 ? needed : 256;
        return 0;
    }
    if (is_rsa && size != 2048 && size != 3072 && size != 4096)
        return error_set(error, ERROR_INVALID, "Key size (%" PRId64 ") is not supported! It must be 2048, 3072 or 4096.", size);
    if (!is_rsa && size != 128 && size != 192 && size != 256 && size != 384 && size != OCT_BITS_MAX)
        return error_set(error, ERROR_INVALID, "Key size (%" PRId64 ") is not supported! It must be 128, 192, 256, 384 or 512.",
                         size);
    request->bits = (unsigned)size;
    return 0;
}

static const char *default_curve(const struct request *request) {
    if (request->algorithm != NULL && request->algorithm->curve != NULL)
        return request->algorithm->curve;
    if (request->type == JWK_EC)
        return "P-256";
    bool encrypts = request->use == ALGORITHM_USE_ENCRYPTION ||
                    (request->algorithm != NULL && request->algorithm->use == ALGORITHM_USE_ENCRYPTION);
    return encrypts ? "X25519" : "Ed25519";
}

static int read_curve(const cJSON *object, struct request *request, struct error *error) {
    const char *name;
    const char *standard = default_curve(request);

    if (read_string(object, "curveType", &name, error) < 0)
        return -1;
    for (size_t i = 0; i < CURVE_COUNT; i++) {
        if (name != NULL ? strcmp(curves[i].name, name) == 0 && curves[i].type == request->type
                         : strcmp(curves[i].curve, standard) == 0) {
            request->curve = curves[i].curve;
            request->group = curves[i].group;
        }
    }
    if (name != NULL && request->curve == NULL)
        return error_set(error, ERROR_INVALID, "Curve type (%.64s) is not supported! It must be %s.", name,
                         request->type == JWK_EC ? "P256, P384, P521 or SECP256K1" : "ED25519 or X25519");
    return 0;
}

static int read_key_id_type(const cJSON *object, struct request *request, struct error *error) {
    static const char *const names[] = {"TIMESTAMP", "SHA256", "SHA1", "ISO_DATE", "NONE"}; /* in the order of the enum */
    const char *name;

    if (read_string(object, "keyIdType", &name, error) < 0)
        return -1;
    if (name == NULL)
        return 0; /* TIMESTAMP */
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            request->key_id_type = (enum key_id_type)i;
            return 0;
        }
    }
    return error_set(error, ERROR_INVALID,
                     "Key id type (%.64s) is not supported! It must be TIMESTAMP, SHA256, SHA1, ISO_DATE or NONE.", name);
}

/* ISO 8601 as clients write it: with an offset, without one (UTC), or a date alone (its midnight, UTC). */
static int parse_time(const char *text, int64_t *seconds) {
    char *completed = NULL;
    int64_t ms;
    int result = clock_parse(text, &ms);

    if (result < 0 && strlen(text) <= 40) {
        completed = memory_format(strchr(text, 'T') == NULL ? "%sT00:00:00Z" : "%sZ", text);
        result = clock_parse(completed, &ms);
        free(completed);
    }
    if (result == 0)
        *seconds = (ms - (ms % 1000 + 1000) % 1000) / 1000; /* towards the past, before 1970 too */
    return result;
}

static int read_time(const cJSON *object, const char *name, int64_t standard, int64_t *seconds, struct error *error) {
    const char *text;

    if (read_string(object, name, &text, error) < 0)
        return -1;
    *seconds = standard;
    if (text != NULL && parse_time(text, seconds) < 0)
        return error_set(error, ERROR_INVALID, "%s (%.64s) is not an ISO 8601 time such as 2026-01-31T12:00:00Z!", name, text);
    return 0;
}

/* The same moment of the next year; 29 February becomes the 28th. */
static int64_t year_later(int64_t seconds) {
    time_t time = (time_t)seconds;
    struct tm broken_down;

    gmtime_r(&time, &broken_down);
    broken_down.tm_year++;
    if (broken_down.tm_mon == 1 && broken_down.tm_mday == 29)
        broken_down.tm_mday = 28;
    return (int64_t)timegm(&broken_down);
}

static int read_validity(const cJSON *object, int64_t now_ms, struct request *request, struct error *error) {
    int64_t now = now_ms / 1000;

    if (read_time(object, "notBeforeTime", now, &request->not_before, error) < 0)
        return -1;
    if (request->not_before < 0)
        return error_set(error, ERROR_INVALID, "notBeforeTime must not be before 1970!");
    if (read_time(object, "expirationTime", year_later(request->not_before), &request->expires, error) < 0)
        return -1;
    if (request->expires <= request->not_before)
        return error_set(error, ERROR_INVALID, "expirationTime must be after notBeforeTime!");
    if (request->expires <= now)
        return error_set(error, ERROR_INVALID, "expirationTime must be in the future!");
    return 0;
}

static int read_password_integer(const cJSON *object, const char *name, int64_t minimum, int64_t maximum, int64_t *value,
                                 struct error *error) {
    if (object == NULL || cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, name)))
        return 0;
    return json_get_integer(object, name, false, minimum, maximum, value, error);
}

static int read_request(const cJSON *body, int64_t now_ms, struct request *request, struct error *error) {
    const cJSON *object = NULL;

    *request = (struct request){.salt_length = PASSWORD_SALT_DEFAULT, .iteration_count = PASSWORD_ITERATIONS_DEFAULT};
    if (read_type(body, request, &object, error) < 0 || read_string(body, "kid", &request->kid, error) < 0)
        return -1;
    if (request->kid != NULL && strlen(request->kid) > KID_LENGTH_MAX)
        return error_set(error, ERROR_INVALID, "kid is longer than %d bytes!", KID_LENGTH_MAX);
    if (object != NULL && refuse_unknown(request->type, object, error) < 0)
        return -1;
    if (read_algorithm(object, request, error) < 0 || read_key_id_type(object, request, error) < 0 ||
        read_validity(object, now_ms, request, error) < 0)
        return -1;
    if (request->type == JWK_RSA || request->type == JWK_OCT) {
        if (read_size(object, request, error) < 0)
            return -1;
    } else if (read_curve(object, request, error) < 0) {
        return -1;
    }
    if (request->type == JWK_OCT && (read_password_integer(object, "passwordSaltLength", PASSWORD_SALT_MIN, PASSWORD_SALT_MAX,
                                                           &request->salt_length, error) < 0 ||
                                     read_password_integer(object, "passwordIterationCount", PASSWORD_ITERATIONS_MIN,
                                                           PASSWORD_ITERATIONS_MAX, &request->iteration_count, error) < 0))
        return -1;

    struct algorithm_key key = {.type = request->type, .curve = request->curve, .bits = request->bits};
    if (request->use == ALGORITHM_USE_NONE && request->algorithm == NULL)
        request->use = request->curve != NULL && strcmp(request->curve, "X25519") == 0 ? ALGORITHM_USE_ENCRYPTION
                                                                                       : ALGORITHM_USE_SIGNATURE;
    return algorithm_check(request->algorithm, &key, &request->use, error);
}

/* The key itself, with its octets for oct. One of the two is set. */
struct material {
    EVP_PKEY *pkey;
    unsigned char octets[OCT_BITS_MAX / 8];
};

static int make_material(const struct request *request, struct material *material, struct error *error) {
    switch (request->type) {
    case JWK_OCT:
        random_bytes(material->octets, request->bits / 8);
        return 0;
    case JWK_RSA:
        material->pkey = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)request->bits);
        break;
    case JWK_EC:
        material->pkey = EVP_PKEY_Q_keygen(NULL, NULL, "EC", request->group);
        break;
    case JWK_OKP:
        material->pkey = EVP_PKEY_Q_keygen(NULL, NULL, request->group);
        break;
    }
    if (material->pkey == NULL) {
        ERR_clear_error();
        return error_set(error, ERROR_INTERNAL, "OpenSSL can not make an %s key", jwk_type_name(request->type));
    }
    return 0;
}

static struct jwk *assemble(const struct request *request, const struct material *material,
                            const struct jwk_attributes *attributes, struct error *error) {
    return material->pkey == NULL ? jwk_from_octets(material->octets, request->bits / 8, attributes, error)
                                  : jwk_from_key(material->pkey, true, attributes, error);
}

/* RFC 7638 section 3.4 leaves the hash open. Its input has the required members alone, in the order of their names. */
static char *thumbprint_sha1(const struct jwk *jwk, struct error *error) {
    static const char *const members[][5] = {[JWK_RSA] = {"e", "kty", "n"},
                                             [JWK_EC] = {"crv", "kty", "x", "y"},
                                             [JWK_OCT] = {"k", "kty"},
                                             [JWK_OKP] = {"crv", "kty", "x"}};
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    struct text input = TEXT_EMPTY;
    char *thumbprint = NULL;

    cJSON *tree = json_parse(jwk_text(jwk), strlen(jwk_text(jwk)), error);
    if (tree == NULL)
        return NULL;
    text_json_open(&input, NULL, '{');
    for (const char *const *member = members[jwk_type(jwk)]; *member != NULL; member++)
        text_json_string(&input, *member, cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, *member)));
    text_json_close(&input, '}');
    if (EVP_Digest(input.bytes, input.length, hash, &size, EVP_sha1(), NULL) == 1) {
        thumbprint = memory_new(BASE64URL_LENGTH(size) + 1);
        base64url_encode(hash, size, thumbprint);
    } else {
        error_set(error, ERROR_INTERNAL, "OpenSSL can not compute SHA-1");
    }
    text_wipe(&input);
    json_wipe(tree);
    return thumbprint;
}

/* The time in milliseconds, moved on where needed so that no two keys of this process get the same kid. */
static int64_t unique_time(int64_t now_ms) {
    static _Atomic int64_t last; /* the latest that was given out */
    int64_t previous = atomic_load(&last);
    int64_t next;

    do
        next = now_ms > previous ? now_ms : previous + 1;
    while (!atomic_compare_exchange_weak(&last, &previous, next));
    return next;
}

/* The kid, owned by the caller; *kid NULL for NONE. */
static int make_kid(const struct request *request, const struct material *material, int64_t now_ms, char **kid,
                    struct error *error) {
    char thumbprint[SHA256_TEXT_SIZE];
    char time[CLOCK_TEXT_SIZE];
    const char *use = algorithm_use_name(request->use);

    *kid = NULL;
    if (request->kid != NULL) {
        *kid = memory_string(request->kid);
        return 0;
    }
    switch (request->key_id_type) {
    case KEY_ID_NONE:
        return 0;
    case KEY_ID_TIMESTAMP:
        *kid = memory_format("%s-%" PRId64, use, unique_time(now_ms));
        return 0;
    case KEY_ID_ISO_DATE:
        *kid = memory_format("%s-%s", use, clock_format(unique_time(now_ms), time));
        return 0;
    case KEY_ID_SHA256:
    case KEY_ID_SHA1:
        break;
    }
    struct jwk *bare = assemble(request, material, &JWK_ATTRIBUTES_NONE, error);
    if (bare == NULL)
        return -1;
    if (request->key_id_type == KEY_ID_SHA1) {
        *kid = thumbprint_sha1(bare, error);
    } else {
        jwk_thumbprint(bare, thumbprint);
        *kid = memory_string(thumbprint);
    }
    jwk_free(bare);
    return *kid == NULL ? -1 : 0;
}

/* Puts the two numbers that the encrypting side needs beside a PBES2 key. */
static struct jwk *add_password_members(struct jwk *jwk, const struct request *request, struct error *error) {
    struct jwk *extended = NULL;
    cJSON *tree = json_parse(jwk_text(jwk), strlen(jwk_text(jwk)), error);

    if (tree != NULL) {
        cJSON_AddNumberToObject(tree, "passwordSaltLength", (double)request->salt_length);
        cJSON_AddNumberToObject(tree, "passwordIterationCount", (double)request->iteration_count);
        extended = jwk_from_json(tree, error);
    }
    json_wipe(tree);
    jwk_free(jwk);
    return extended;
}

struct jwk *generate_jwk(const cJSON *body, int64_t now_ms, struct error *error) {
    struct request request;
    struct material material = {0};
    char *kid = NULL;
    struct jwk *jwk = NULL;

    if (read_request(body, now_ms, &request, error) < 0)
        return NULL;
    if (make_material(&request, &material, error) < 0 || make_kid(&request, &material, now_ms, &kid, error) < 0)
        goto out;
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    attributes.kid = kid;
    attributes.use = algorithm_use_name(request.use);
    attributes.algorithm = request.algorithm == NULL ? NULL : request.algorithm->name;
    attributes.not_before = request.not_before;
    attributes.expires = request.expires;
    jwk = assemble(&request, &material, &attributes, error);
    if (jwk != NULL && request.algorithm != NULL && request.algorithm->password)
        jwk = add_password_members(jwk, &request, error);
out:
    free(kid);
    EVP_PKEY_free(material.pkey);
    OPENSSL_cleanse(&material, sizeof material);
    return jwk;
}
