/* Opening: the JWE comes over a network, from whoever could write there. It is taken apart strictly before any key is used. */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/json.h"
#include "common/jwe_internal.h"
#include "common/jwk.h"
#include "common/memory.h"

enum { PROTECTED_MAX = 4096 /* characters */, LISTED_MAX = 400 /* bytes of kids in a sentence */ };

struct jwe {
    cJSON *tree, *protected_header;
    const cJSON *shared_header; /* "unprotected": for all recipients; NULL when absent */
    const cJSON *recipients;
    const char *protected_text, *aad; /* encoded; aad is NULL when absent */
    unsigned char iv[JWE_IV_SIZE], tag[JWE_TAG_SIZE];
    unsigned char *ciphertext;
    size_t length; /* of the ciphertext */
};

/* One recipient with the headers that are for it. */
struct recipient {
    const cJSON *headers[3]; /* protected, shared, its own; each may be NULL */
    const char *encrypted_key;
};

static void jwe_free(struct jwe *jwe) {
    cJSON_Delete(jwe->tree);
    cJSON_Delete(jwe->protected_header);
    free(jwe->ciphertext);
}

static int refuse(struct error *error, const char *why) {
    return error_set(error, ERROR_INVALID, "The JWE is malformed: %s", why);
}

/* Puts the module's words before those of a helper. */
static int refuse_member(struct error *error) {
    return error_prefix(error, "The JWE is malformed");
}

/* ---- taking it apart ---- */

/* A member of exactly that many octets. */
static int read_exactly(const cJSON *object, const char *name, unsigned char *octets, size_t size, struct error *error) {
    const char *text = NULL;
    if (json_get_string(object, name, true, &text, error) < 0)
        return refuse_member(error);
    if (strlen(text) != BASE64URL_LENGTH(size) || base64url_decode(text, strlen(text), octets) != (long)size)
        return error_set(error, ERROR_INVALID, "The JWE is malformed: \"%s\" must be %zu octets in base64url", name, size);
    return 0;
}

static int read_ciphertext(struct jwe *jwe, struct error *error) {
    const char *text = NULL;
    if (json_get_string(jwe->tree, "ciphertext", true, &text, error) < 0)
        return refuse_member(error);
    size_t length = strlen(text);
    if (length > BASE64URL_LENGTH((size_t)JWE_PLAINTEXT_MAX))
        return refuse(error, "\"ciphertext\" is too long");
    jwe->ciphertext = memory_resize(NULL, length);
    long size = base64url_decode(text, length, jwe->ciphertext);
    if (size < 0)
        return refuse(error, "\"ciphertext\" is no base64url");
    jwe->length = (size_t)size;
    return 0;
}

static int read_protected(struct jwe *jwe, struct error *error) {
    unsigned char text[PROTECTED_MAX];
    if (json_get_string(jwe->tree, "protected", true, &jwe->protected_text, error) < 0)
        return refuse_member(error);
    size_t length = strlen(jwe->protected_text);
    long size = length > sizeof text ? -1 : base64url_decode(jwe->protected_text, length, text);
    if (size < 0)
        return refuse(error, "\"protected\" is too long or no base64url");
    jwe->protected_header = json_parse((const char *)text, (size_t)size, error);
    if (!jwe->protected_header)
        return error_prefix(error, "The JWE is malformed: its protected header");
    return cJSON_IsObject(jwe->protected_header) ? 0 : refuse(error, "its protected header is no JSON object");
}

/* RFC 7516 section 4.1: what changes the meaning of all the rest is refused wherever it stands. */
static int check_header(const cJSON *header, struct error *error) {
    static const char *const refused[] = {"zip", "crit"};
    for (size_t i = 0; header && i < sizeof refused / sizeof refused[0]; i++) {
        if (cJSON_GetObjectItemCaseSensitive(header, refused[i]))
            return error_set(error, ERROR_INVALID, "The JWE has the header \"%s\", which is not supported", refused[i]);
    }
    return 0;
}

static int check_content_algorithm(const cJSON *protected_header, struct error *error) {
    const char *algorithm = NULL;
    char shown[JSON_SHOWN_SIZE];
    if (json_get_string(protected_header, "enc", true, &algorithm, error) < 0)
        return error_prefix(error, "The JWE is malformed: its protected header");
    if (strcmp(algorithm, JWE_CONTENT_ALGORITHM) != 0)
        return error_set(error, ERROR_INVALID, "The JWE is encrypted with \"%s\": it must be " JWE_CONTENT_ALGORITHM,
                         json_shown(algorithm, shown));
    return 0;
}

/* The array, and that each element has the form of a recipient. What its headers say counts only for the one that is ours. */
static int read_recipients(struct jwe *jwe, struct error *error) {
    const cJSON *each, *header;
    if (json_get_array(jwe->tree, "recipients", true, &jwe->recipients, error) < 0)
        return refuse_member(error);
    /* RFC 7516 section 7.2.2: these belong to the flattened serialization, which must not be mixed with this one. */
    if (cJSON_GetObjectItemCaseSensitive(jwe->tree, "header") || cJSON_GetObjectItemCaseSensitive(jwe->tree, "encrypted_key"))
        return refuse(error, "members of the flattened serialization stand beside \"recipients\"");
    int count = cJSON_GetArraySize(jwe->recipients);
    if (count < 1 || count > JWE_RECIPIENTS_MAX)
        return error_set(error, ERROR_INVALID, "The JWE is malformed: it must be for 1 to %d recipients, not %d",
                         JWE_RECIPIENTS_MAX, count);
    cJSON_ArrayForEach (each, jwe->recipients) {
        header = NULL;
        if (!cJSON_IsObject(each))
            return refuse(error, "a recipient is no JSON object");
        if (json_get_object(each, "header", false, &header, error) < 0)
            return refuse_member(error);
        if (check_header(header, error) < 0)
            return -1;
    }
    return 0;
}

static int parse(struct jwe *jwe, const char *text, size_t length, struct error *error) {
    if (length > JWE_SIZE_MAX)
        return refuse(error, "it is too long");
    jwe->tree = json_parse(text, length, error);
    if (!jwe->tree)
        return refuse_member(error);
    if (!cJSON_IsObject(jwe->tree))
        return refuse(error, "it is no JSON object");
    if (json_get_object(jwe->tree, "unprotected", false, &jwe->shared_header, error) < 0 ||
        json_get_string(jwe->tree, "aad", false, &jwe->aad, error) < 0)
        return refuse_member(error);
    if (read_protected(jwe, error) < 0 || check_header(jwe->protected_header, error) < 0 ||
        check_header(jwe->shared_header, error) < 0 || check_content_algorithm(jwe->protected_header, error) < 0 ||
        read_recipients(jwe, error) < 0 || read_exactly(jwe->tree, "iv", jwe->iv, sizeof jwe->iv, error) < 0 ||
        read_exactly(jwe->tree, "tag", jwe->tag, sizeof jwe->tag, error) < 0)
        return -1;
    return read_ciphertext(jwe, error);
}

/* ---- finding the recipient ---- */

static void collect_headers(const struct jwe *jwe, const cJSON *element, struct recipient *recipient) {
    *recipient =
        (struct recipient){{jwe->protected_header, jwe->shared_header, cJSON_GetObjectItemCaseSensitive(element, "header")},
                           cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(element, "encrypted_key"))};
}

/* The header parameter, wherever it stands; NULL when it is absent. */
static const cJSON *header_parameter(const struct recipient *recipient, const char *name) {
    for (size_t i = 0; i < sizeof recipient->headers / sizeof recipient->headers[0]; i++) {
        const cJSON *found = recipient->headers[i] ? cJSON_GetObjectItemCaseSensitive(recipient->headers[i], name) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

/* RFC 7516 section 7.2.1: no parameter may stand in two of the headers. */
static int check_disjoint(const struct recipient *recipient, struct error *error) {
    char shown[JSON_SHOWN_SIZE];
    for (size_t i = 0; i < sizeof recipient->headers / sizeof recipient->headers[0]; i++) {
        const cJSON *member;
        cJSON_ArrayForEach (member, recipient->headers[i]) {
            for (size_t j = 0; j < i; j++) {
                if (recipient->headers[j] && cJSON_GetObjectItemCaseSensitive(recipient->headers[j], member->string))
                    return error_set(error, ERROR_INVALID, "The JWE is malformed: \"%s\" stands in two of its headers",
                                     json_shown(member->string, shown));
            }
        }
    }
    return 0;
}

/* Appends a kid to the list of a sentence, or counts it when the list is long enough. */
static void list_kid(struct text *list, size_t *unlisted, const char *kid) {
    char shown[JSON_SHOWN_SIZE];
    if (list->length > LISTED_MAX)
        (*unlisted)++;
    else
        text_add_format(list, "%s%s", list->length > 0 ? ", " : "", json_shown(kid, shown));
}

static int refuse_keys(const struct jwe *jwe, const struct jwe_recipient *keys, size_t count, struct error *error) {
    struct text theirs = TEXT_EMPTY, more = TEXT_EMPTY;
    size_t unlisted = 0;
    char own[JSON_SHOWN_SIZE];
    const cJSON *element;
    cJSON_ArrayForEach (element, jwe->recipients) {
        struct recipient recipient;
        collect_headers(jwe, element, &recipient);
        const char *kid = cJSON_GetStringValue(header_parameter(&recipient, "kid"));
        list_kid(&theirs, &unlisted, kid ? kid : "(unnamed)");
    }
    if (unlisted > 0)
        text_add_format(&more, " and %zu more", unlisted);
    error_set(error, ERROR_NOT_FOUND, "It is sealed for the key %s%s; the key here is %s", theirs.bytes,
              more.bytes ? more.bytes : "", count > 0 ? json_shown(keys[0].kid, own) : "none");
    text_free(&theirs);
    text_free(&more);
    return -1;
}

/* The first of our keys that a recipient names. */
static const struct jwe_recipient *find(const struct jwe *jwe, const struct jwe_recipient *keys, size_t count,
                                        struct recipient *recipient) {
    for (size_t i = 0; i < count; i++) {
        const cJSON *element;
        cJSON_ArrayForEach (element, jwe->recipients) {
            collect_headers(jwe, element, recipient);
            const char *kid = cJSON_GetStringValue(header_parameter(recipient, "kid"));
            if (kid && strcmp(kid, keys[i].kid) == 0)
                return &keys[i];
        }
    }
    return NULL;
}

/* ---- opening ---- */

/* PartyUInfo or PartyVInfo: absent is the same as empty. */
static int read_party(const struct recipient *recipient, const char *name, unsigned char bytes[JWE_PARTY_MAX],
                      struct octets *party, struct error *error) {
    const cJSON *member = header_parameter(recipient, name);
    *party = (struct octets){NULL, 0};
    if (!member)
        return 0;
    const char *text = cJSON_GetStringValue(member);
    long size =
        !text || strlen(text) > BASE64URL_LENGTH((size_t)JWE_PARTY_MAX) ? -1 : base64url_decode(text, strlen(text), bytes);
    if (size < 0)
        return error_set(error, ERROR_INVALID, "The JWE is malformed: \"%s\" is too long or no base64url", name);
    *party = (struct octets){bytes, (size_t)size};
    return 0;
}

/* Reads the sender's ephemeral key, which must be on the curve of ours. */
static EVP_PKEY *read_ephemeral(const struct recipient *recipient, const EVP_PKEY *own, struct error *error) {
    const struct jwe_curve *curve = jwe_curve_of(own);
    const cJSON *member = header_parameter(recipient, "epk");
    struct jwk *jwk = NULL;
    EVP_PKEY *key = NULL;
    if (!curve)
        error_set(error, ERROR_INVALID, "Nothing can be opened with that key: it must be on P-256, P-384, P-521 or X25519");
    else if (!member)
        refuse(error, "\"epk\" is missing");
    else if (!(jwk = jwk_from_json(member, error)))
        error_prefix(error, "The JWE is malformed: \"epk\"");
    else if (jwk_has_private(jwk))
        refuse(error, "\"epk\" has a private half");
    else if (!jwk_curve(jwk) || strcmp(jwk_curve(jwk), curve->name) != 0)
        error_set(error, ERROR_INVALID, "The JWE is malformed: \"epk\" must be on the curve of the key, %s", curve->name);
    else
        key = jwk_to_key(jwk);
    jwk_free(jwk);
    return key;
}

static int check_key_algorithm(const struct recipient *recipient, struct error *error) {
    char shown[JSON_SHOWN_SIZE];
    const char *algorithm = cJSON_GetStringValue(header_parameter(recipient, "alg"));
    if (!algorithm)
        return refuse(error, "\"alg\" is missing or no string");
    if (strcmp(algorithm, JWE_KEY_ALGORITHM) != 0)
        return error_set(error, ERROR_INVALID, "The JWE is sealed with \"%s\": it must be " JWE_KEY_ALGORITHM,
                         json_shown(algorithm, shown));
    return 0;
}

/* Where the key does not fit and where the content was changed, one sentence: nobody else needs to know which. */
static int does_not_open(const struct jwe_recipient *key, struct error *error) {
    char shown[JSON_SHOWN_SIZE];
    return error_set(error, ERROR_INVALID, "The JWE does not open with the key %s: it was changed, or sealed for another key",
                     json_shown(key->kid, shown));
}

static int unwrap_content_key(const struct recipient *recipient, const struct jwe_recipient *own,
                              unsigned char content_key[JWE_KEY_SIZE], struct error *error) {
    unsigned char wrapped[JWE_WRAPPED_SIZE], key[JWE_KEY_SIZE], parties[2][JWE_PARTY_MAX];
    struct octets apu, apv;
    if (check_disjoint(recipient, error) < 0 || check_key_algorithm(recipient, error) < 0 ||
        read_party(recipient, "apu", parties[0], &apu, error) < 0 || read_party(recipient, "apv", parties[1], &apv, error) < 0)
        return -1;
    if (!recipient->encrypted_key || strlen(recipient->encrypted_key) != BASE64URL_LENGTH((size_t)JWE_WRAPPED_SIZE) ||
        base64url_decode(recipient->encrypted_key, strlen(recipient->encrypted_key), wrapped) != JWE_WRAPPED_SIZE)
        return error_set(error, ERROR_INVALID, "The JWE is malformed: \"encrypted_key\" must be %d octets in base64url",
                         JWE_WRAPPED_SIZE);
    EVP_PKEY *ephemeral = read_ephemeral(recipient, own->key, error);
    if (!ephemeral)
        return -1;
    bool done = jwe_agree(own->key, ephemeral, apu, apv, key) && jwe_unwrap(key, wrapped, content_key);
    OPENSSL_cleanse(key, sizeof key);
    EVP_PKEY_free(ephemeral);
    return done ? 0 : does_not_open(own, error);
}

/* Whether the JWE is bound to that aad. */
static bool aad_fits(const struct jwe *jwe, const char *aad) {
    size_t length = aad ? strlen(aad) : 0;
    if (length == 0)
        return !jwe->aad; /* an empty one must be absent, RFC 7516 section 7.2.1 */
    char *encoded = memory_resize(NULL, BASE64URL_LENGTH(length) + 1);
    base64url_encode((const unsigned char *)aad, length, encoded);
    bool fits = jwe->aad && strcmp(jwe->aad, encoded) == 0;
    free(encoded);
    return fits;
}

/* RFC 7516 section 5.2 step 15. */
static void write_additional_data(const struct jwe *jwe, struct text *out) {
    text_add_string(out, jwe->protected_text);
    if (jwe->aad) {
        text_add_string(out, ".");
        text_add_string(out, jwe->aad);
    }
}

static int open_parsed(const struct jwe *jwe, const struct jwe_recipient *keys, size_t count, const char *aad,
                       struct text *plaintext, struct error *error) {
    struct recipient recipient;
    const struct jwe_recipient *own = find(jwe, keys, count, &recipient);
    unsigned char content_key[JWE_KEY_SIZE];
    if (!own)
        return refuse_keys(jwe, keys, count, error);
    if (!aad_fits(jwe, aad))
        return error_set(error, ERROR_INVALID,
                         "The JWE is bound to something else: its \"aad\" is not the one that is expected");
    if (unwrap_content_key(&recipient, own, content_key, error) < 0)
        return -1;
    struct text additional = TEXT_EMPTY;
    write_additional_data(jwe, &additional);
    text_reserve_secret(plaintext, jwe->length);
    char *end = plaintext->bytes + plaintext->length;
    bool done = jwe_decrypt(content_key, jwe->iv, (struct octets){additional.bytes, additional.length},
                            (struct octets){jwe->ciphertext, jwe->length}, jwe->tag, (unsigned char *)end);
    if (done)
        plaintext->length += jwe->length;
    plaintext->bytes[plaintext->length] = '\0';
    OPENSSL_cleanse(content_key, sizeof content_key);
    text_free(&additional);
    return done ? 0 : does_not_open(own, error);
}

int jwe_open(const struct jwe_recipient *keys, size_t count, const char *jwe, size_t length, const char *aad,
             struct text *plaintext, struct error *error) {
    struct jwe parsed = {0};
    ERR_set_mark();
    int result = parse(&parsed, jwe, length, error) < 0 ? -1 : open_parsed(&parsed, keys, count, aad, plaintext, error);
    ERR_pop_to_mark();
    jwe_free(&parsed);
    return result;
}
