/* The JWK itself: what was validated, kept as the texts that others need. Key material is read in jwk_material.c and what it
 * leads to, the use in jwk_usage.c, certificates in jwk_certificate.c, JWK Sets in jwk_set.c. */
#include "common/jwk.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/jwk_internal.h"
#include "common/memory.h"
#include "common/text.h"

enum { KID_LENGTH_MAX = 255 };
/* 9999-12-31T23:59:59Z, the last second that RFC 3339 can write. */
static const int64_t TIME_MAX = 253402300799;

struct jwk {
    enum jwk_type type;
    const struct jwk_curve *curve;
    EVP_PKEY *key;
    bool has_private;
    char *kid, *algorithm, *use;
    int64_t not_before, expires;
    char *text;
    char *public_text; /* the same pointer as text when nothing is private */
    char thumbprint[SHA256_TEXT_SIZE];
};

/* The names of the management API. */
static const struct {
    const char *name, *member;
} types[] = {[JWK_RSA] = {"RSA", "rsa"}, [JWK_EC] = {"EC", "ec"}, [JWK_OCT] = {"OCT", "oct"}, [JWK_OKP] = {"OKP", "okp"}};

const char *jwk_type_name(enum jwk_type type) {
    return types[type].name;
}

const char *jwk_type_member(enum jwk_type type) {
    return types[type].member;
}

/* The object as compact JSON; of the public half only those members that may be shown. */
static char *write_text(const cJSON *object, bool public_half) {
    /* All members fit, so that the text does not grow and leave a copy of a secret behind. */
    size_t capacity = json_written_bound(object);
    struct text text = {.bytes = memory_new(capacity), .capacity = capacity};
    const cJSON *member;
    text_json_open(&text, NULL, '{');
    cJSON_ArrayForEach (member, object) {
        if (!public_half)
            json_write(&text, member->string, member);
        else if (strcmp(member->string, "key_ops") == 0)
            jwk_write_public_operations(&text, member);
        else if (!jwk_member_is_private(member->string, strlen(member->string)))
            json_write(&text, member->string, member);
    }
    text_json_close(&text, '}');
    return text_take(&text);
}

/* RFC 7638 section 3.2: the required members in lexical order. Their values are base64url and names of curves, which need no
 * escapes. */
static void compute_thumbprint(const cJSON *object, struct jwk *jwk) {
    static const char *const required[][4] = {
        [JWK_RSA] = {"e", "kty", "n"},
        [JWK_EC] = {"crv", "kty", "x", "y"},
        [JWK_OCT] = {"k", "kty"},
        [JWK_OKP] = {"crv", "kty", "x"},
    };
    enum { MEMBERS = sizeof required[0] / sizeof required[0][0], PUNCTUATION = 8 };
    const char *values[MEMBERS] = {0};
    size_t size = PUNCTUATION;
    for (size_t i = 0; i < MEMBERS && required[jwk->type][i]; i++) {
        values[i] = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, required[jwk->type][i]));
        size += strlen(required[jwk->type][i]) + strlen(values[i]) + PUNCTUATION;
    }
    char *text = memory_new(size);
    size_t length = 0;
    for (size_t i = 0; i < MEMBERS && values[i]; i++)
        length += (size_t)snprintf(text + length, size - length, "%c\"%s\":\"%s\"", i == 0 ? '{' : ',', required[jwk->type][i],
                                   values[i]);
    length += (size_t)snprintf(text + length, size - length, "}");
    sha256_text(text, length, jwk->thumbprint);
    memory_wipe_string(text);
}

static int read_times(const cJSON *object, struct jwk *jwk, struct error *error) {
    jwk->not_before = INT64_MIN;
    jwk->expires = INT64_MAX;
    if (json_get_integer(object, "nbf", false, 0, TIME_MAX, &jwk->not_before, error) < 0 ||
        json_get_integer(object, "exp", false, 0, TIME_MAX, &jwk->expires, error) < 0)
        return -1;
    if (jwk->not_before >= jwk->expires)
        return error_set(error, ERROR_INVALID, "The key is never valid: exp is not later than nbf");
    return 0;
}

static int read_kid(const cJSON *object, struct jwk *jwk, struct error *error) {
    const char *kid = NULL;
    if (json_get_string(object, "kid", false, &kid, error) < 0)
        return -1;
    if (kid && (!*kid || strlen(kid) > KID_LENGTH_MAX))
        return error_set(error, ERROR_INVALID, "Member \"kid\" must have 1 to %d bytes", KID_LENGTH_MAX);
    jwk->kid = memory_string(kid);
    return 0;
}

static int read_all(const cJSON *object, struct jwk *jwk, struct error *error) {
    struct jwk_material material;
    const char *use, *algorithm;
    if (jwk_material_read(object, &material, error) < 0)
        return -1;
    jwk->type = material.type;
    jwk->curve = material.curve;
    jwk->key = material.key;
    jwk->has_private = material.has_private;
    if (read_kid(object, jwk, error) < 0 || jwk_usage_check(object, &material, &use, &algorithm, error) < 0 ||
        jwk_certificates_check(object, &material, error) < 0 || read_times(object, jwk, error) < 0)
        return -1;
    jwk->use = memory_string(use);
    jwk->algorithm = memory_string(algorithm);
    jwk->text = write_text(object, false);
    if (jwk->type != JWK_OCT)
        jwk->public_text = jwk->has_private ? write_text(object, true) : jwk->text;
    compute_thumbprint(object, jwk);
    return 0;
}

struct jwk *jwk_from_json(const cJSON *object, struct error *error) {
    if (!cJSON_IsObject(object)) {
        error_set(error, ERROR_INVALID, "A JWK must be a JSON object");
        return NULL;
    }
    struct jwk *jwk = memory_new(sizeof *jwk);
    /* What OpenSSL notes about a refused key is said in our sentence; left in the thread's queue it would mislead whoever looks
     * there next. */
    ERR_set_mark();
    if (read_all(object, jwk, error) < 0) {
        jwk_free(jwk);
        jwk = NULL;
    }
    ERR_pop_to_mark();
    return jwk;
}

void jwk_free(struct jwk *jwk) {
    if (!jwk)
        return;
    if (jwk->public_text != jwk->text)
        free(jwk->public_text);
    memory_wipe_string(jwk->text);
    EVP_PKEY_free(jwk->key);
    free(jwk->kid);
    free(jwk->algorithm);
    free(jwk->use);
    OPENSSL_cleanse(jwk, sizeof *jwk);
    free(jwk);
}

enum jwk_type jwk_type(const struct jwk *jwk) {
    return jwk->type;
}

const char *jwk_curve(const struct jwk *jwk) {
    return jwk->curve ? jwk->curve->name : NULL;
}

const char *jwk_kid(const struct jwk *jwk) {
    return jwk->kid;
}

const char *jwk_use(const struct jwk *jwk) {
    return jwk->use;
}

const char *jwk_algorithm(const struct jwk *jwk) {
    return jwk->algorithm;
}

bool jwk_has_private(const struct jwk *jwk) {
    return jwk->has_private;
}

int64_t jwk_not_before(const struct jwk *jwk) {
    return jwk->not_before;
}

int64_t jwk_expires(const struct jwk *jwk) {
    return jwk->expires;
}

const char *jwk_text(const struct jwk *jwk) {
    return jwk->text;
}

const char *jwk_public_text(const struct jwk *jwk) {
    return jwk->public_text;
}

void jwk_thumbprint(const struct jwk *jwk, char out[SHA256_TEXT_SIZE]) {
    memcpy(out, jwk->thumbprint, SHA256_TEXT_SIZE);
}

EVP_PKEY *jwk_to_key(const struct jwk *jwk) {
    EVP_PKEY_up_ref(jwk->key);
    return jwk->key;
}
