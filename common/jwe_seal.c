/* Sealing: one content key encrypts the secret, and is wrapped for each recipient under a key agreed with an ephemeral one. */
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/identifier.h"
#include "common/json.h"
#include "common/jwe_internal.h"
#include "common/memory.h"

/* {"enc":"A256GCM"}: the one header that all recipients share is protected. */
static const char PROTECTED[] = "{\"enc\":\"" JWE_CONTENT_ALGORITHM "\"}";

static int library_failed(struct error *error) {
    return error_set(error, ERROR_INTERNAL, "The cryptographic library did not encrypt");
}

static void write_octets(struct text *out, const char *member, const void *bytes, size_t size) {
    char *encoded = memory_resize(NULL, BASE64URL_LENGTH(size) + 1);
    base64url_encode(bytes, size, encoded);
    text_json_string(out, member, encoded);
    free(encoded);
}

/* ---- recipients ---- */

static int check_recipients(const struct jwe_recipient *recipients, size_t count, struct error *error) {
    if (count < 1 || count > JWE_RECIPIENTS_MAX)
        return error_set(error, ERROR_INVALID, "A JWE is for 1 to %d recipients, not %zu", JWE_RECIPIENTS_MAX, count);
    for (size_t i = 0; i < count; i++) {
        char shown[JSON_SHOWN_SIZE];
        if (!jwe_curve_of(recipients[i].key))
            return error_set(error, ERROR_INVALID,
                             "Nothing can be sealed for the key \"%s\": it must be on P-256, P-384, P-521 or X25519",
                             json_shown(recipients[i].kid, shown));
    }
    return 0;
}

/* A new key on the recipient's curve: RFC 7518 section 4.6 asks for another one each time. */
static EVP_PKEY *make_ephemeral(EVP_PKEY *recipient) {
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, recipient, NULL);
    if (context && EVP_PKEY_keygen_init(context) == 1 && EVP_PKEY_keygen(context, &key) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    return key;
}

/* Writes the public half as the JWK of the header "epk". */
static bool write_ephemeral(struct text *out, EVP_PKEY *key, const struct jwe_curve *curve) {
    unsigned char *point = NULL;
    size_t size = EVP_PKEY_get1_encoded_public_key(key, &point), prefix = curve->group ? 1 : 0;
    /* An EC point is 0x04, x and y (SEC 1 section 2.3.3). */
    bool is_whole = curve->group ? size == 1 + 2 * curve->size && point[0] == 4 : size == curve->size;
    if (is_whole) {
        text_json_open(out, "epk", '{');
        text_json_string(out, "kty", curve->group ? "EC" : "OKP");
        text_json_string(out, "crv", curve->name);
        write_octets(out, "x", point + prefix, curve->size);
        if (curve->group)
            write_octets(out, "y", point + prefix + curve->size, curve->size);
        text_json_close(out, '}');
    }
    OPENSSL_free(point);
    return is_whole;
}

static bool write_recipient(struct text *out, const struct jwe_recipient *recipient, const unsigned char *content_key) {
    static const struct octets nobody = {NULL, 0};
    unsigned char key[JWE_KEY_SIZE], wrapped[JWE_WRAPPED_SIZE];
    EVP_PKEY *ephemeral = make_ephemeral(recipient->key);
    bool done = ephemeral && jwe_agree(ephemeral, recipient->key, nobody, nobody, key) && jwe_wrap(key, content_key, wrapped);
    if (done) {
        text_json_open(out, NULL, '{');
        text_json_open(out, "header", '{');
        text_json_string(out, "alg", JWE_KEY_ALGORITHM);
        text_json_string(out, "kid", recipient->kid);
        done = write_ephemeral(out, ephemeral, jwe_curve_of(recipient->key));
        text_json_close(out, '}');
        write_octets(out, "encrypted_key", wrapped, sizeof wrapped);
        text_json_close(out, '}');
    }
    OPENSSL_cleanse(key, sizeof key);
    EVP_PKEY_free(ephemeral);
    return done;
}

/* ---- the whole ---- */

/* Writes iv, ciphertext and tag. additional is what RFC 7516 section 5.1 step 14 makes of the header and aad. */
static bool write_content(struct text *out, const unsigned char *content_key, struct octets additional,
                          struct octets plaintext) {
    unsigned char iv[JWE_IV_SIZE], tag[JWE_TAG_SIZE], *ciphertext = memory_resize(NULL, plaintext.length);
    random_bytes(iv, sizeof iv);
    bool done = jwe_encrypt(content_key, iv, additional, plaintext, ciphertext, tag);
    if (done) {
        write_octets(out, "iv", iv, sizeof iv);
        write_octets(out, "ciphertext", ciphertext, plaintext.length);
        write_octets(out, "tag", tag, sizeof tag);
    }
    free(ciphertext);
    return done;
}

static bool write_jwe(struct text *out, const struct jwe_recipient *recipients, size_t count, struct octets plaintext,
                      const char *aad) {
    unsigned char content_key[JWE_KEY_SIZE];
    bool done = true;
    /* The protected header, encoded; behind a dot comes the aad, encoded. */
    struct text additional = TEXT_EMPTY;
    size_t aad_length = strlen(aad);
    char *encoded = memory_resize(NULL, BASE64URL_LENGTH(aad_length > sizeof PROTECTED ? aad_length : sizeof PROTECTED) + 1);
    random_bytes(content_key, sizeof content_key);

    text_json_open(out, NULL, '{');
    base64url_encode((const unsigned char *)PROTECTED, sizeof PROTECTED - 1, encoded);
    text_json_string(out, "protected", encoded);
    text_add_string(&additional, encoded);
    text_json_open(out, "recipients", '[');
    for (size_t i = 0; done && i < count; i++)
        done = write_recipient(out, &recipients[i], content_key);
    text_json_close(out, ']');
    if (aad_length > 0) {
        base64url_encode((const unsigned char *)aad, aad_length, encoded);
        text_json_string(out, "aad", encoded);
        text_add_string(&additional, ".");
        text_add_string(&additional, encoded);
    }
    done = done && write_content(out, content_key, (struct octets){additional.bytes, additional.length}, plaintext);
    text_json_close(out, '}');

    OPENSSL_cleanse(content_key, sizeof content_key);
    text_free(&additional);
    free(encoded);
    return done;
}

int jwe_seal(const struct jwe_recipient *recipients, size_t count, const void *plaintext, size_t length, const char *aad,
             struct text *out, struct error *error) {
    size_t start = out->length;
    if (check_recipients(recipients, count, error) < 0)
        return -1;
    if (length > JWE_PLAINTEXT_MAX)
        return error_set(error, ERROR_INVALID, "%zu bytes are too many to be sealed: at most %d are", length,
                         JWE_PLAINTEXT_MAX);
    ERR_set_mark();
    bool done = write_jwe(out, recipients, count, (struct octets){plaintext, length}, aad ? aad : "");
    ERR_pop_to_mark();
    if (done)
        return 0;
    if (out->bytes) {
        out->length = start;
        out->bytes[start] = '\0';
    }
    return library_failed(error);
}
