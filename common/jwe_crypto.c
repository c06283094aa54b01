/* The cryptography of a JWE, by OpenSSL: key agreement, key wrapping, authenticated encryption. No JSON here. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

#include "common/jwe_internal.h"

/* Fetched once: a fetch at each use takes locks of the library's context that all threads share. */
static EVP_CIPHER *wrap_cipher, *content_cipher;
static EVP_KDF *derivation;
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

static void fetch(void) {
    wrap_cipher = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
    content_cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    derivation = EVP_KDF_fetch(NULL, "SSKDF", NULL);
}

static bool is_fetched(void) {
    pthread_once(&fetch_once, fetch);
    return wrap_cipher && content_cipher && derivation;
}

/* ---- key agreement ---- */

const struct jwe_curve *jwe_curve_of(const EVP_PKEY *key) {
    static const struct jwe_curve x25519 = {"X25519", NULL, 32};
    static const struct jwe_curve curves[] = {
        {"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    char group[64];
    size_t length = 0;
    if (EVP_PKEY_is_a(key, "X25519"))
        return &x25519;
    if (!EVP_PKEY_is_a(key, "EC") ||
        EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &length) != 1)
        return NULL;
    for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
        /* Providers may say either OpenSSL's or NIST's name. */
        if (strcmp(group, curves[i].group) == 0 || strcmp(group, curves[i].name) == 0)
            return &curves[i];
    }
    return NULL;
}

/* Appends the length in four octets, most significant first, and the bytes. */
static size_t put(unsigned char *out, size_t at, const void *bytes, size_t length) {
    for (unsigned i = 0; i < 4; i++)
        out[at++] = (unsigned char)(length >> (24 - 8 * i));
    if (length > 0)
        memcpy(out + at, bytes, length);
    return at + length;
}

bool jwe_derive_key(struct octets secret, const char *algorithm, struct octets apu, struct octets apv, unsigned char *key,
                    size_t size) {
    enum { ALGORITHM_MAX = 32, LENGTHS = 4 * 4 };
    unsigned char info[LENGTHS + ALGORITHM_MAX + 2 * JWE_PARTY_MAX];
    size_t length = 0, bits = size * 8;
    if (!is_fetched() || strlen(algorithm) > ALGORITHM_MAX || apu.length > JWE_PARTY_MAX || apv.length > JWE_PARTY_MAX)
        return false;
    length = put(info, length, algorithm, strlen(algorithm));
    length = put(info, length, apu.bytes, apu.length);
    length = put(info, length, apv.bytes, apv.length);
    /* SuppPubInfo is the length of the key in bits; there is no SuppPrivInfo. */
    for (unsigned i = 0; i < 4; i++)
        info[length++] = (unsigned char)(bits >> (24 - 8 * i));
    char digest[] = "SHA256";
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret.bytes, secret.length),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, length),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(derivation);
    bool done = context && EVP_KDF_derive(context, key, size, parameters) == 1;
    EVP_KDF_CTX_free(context); /* wipes the secret */
    return done;
}

bool jwe_agree(EVP_PKEY *own, EVP_PKEY *peer, struct octets apu, struct octets apv, unsigned char key[JWE_KEY_SIZE]) {
    unsigned char secret[JWE_FIELD_MAX];
    size_t size = sizeof secret;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    /* The peer's key was validated when it was read: once more would cost as much as the agreement. */
    bool done = context && EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_derive_set_peer_ex(context, peer, 0) == 1 &&
                EVP_PKEY_derive(context, secret, &size) == 1 &&
                jwe_derive_key((struct octets){secret, size}, JWE_KEY_ALGORITHM, apu, apv, key, JWE_KEY_SIZE);
    EVP_PKEY_CTX_free(context);
    OPENSSL_cleanse(secret, sizeof secret);
    return done;
}

/* ---- key wrapping ---- */

static bool wrap(bool forward, const unsigned char *key, const unsigned char *in, int in_size, unsigned char *out,
                 int out_size) {
    int length = 0;
    EVP_CIPHER_CTX *context = is_fetched() ? EVP_CIPHER_CTX_new() : NULL;
    if (!context)
        return false;
    EVP_CIPHER_CTX_set_flags(context, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
    bool done = EVP_CipherInit_ex2(context, wrap_cipher, key, NULL, forward, NULL) == 1 &&
                EVP_CipherUpdate(context, out, &length, in, in_size) == 1 && length == out_size;
    EVP_CIPHER_CTX_free(context);
    return done;
}

bool jwe_wrap(const unsigned char key[JWE_KEY_SIZE], const unsigned char content_key[JWE_KEY_SIZE],
              unsigned char wrapped[JWE_WRAPPED_SIZE]) {
    return wrap(true, key, content_key, JWE_KEY_SIZE, wrapped, JWE_WRAPPED_SIZE);
}

bool jwe_unwrap(const unsigned char key[JWE_KEY_SIZE], const unsigned char wrapped[JWE_WRAPPED_SIZE],
                unsigned char content_key[JWE_KEY_SIZE]) {
    /* OpenSSL decrypts in place into a buffer as large as what goes in. */
    unsigned char out[JWE_WRAPPED_SIZE];
    bool done = wrap(false, key, wrapped, JWE_WRAPPED_SIZE, out, JWE_KEY_SIZE);
    if (done)
        memcpy(content_key, out, JWE_KEY_SIZE);
    OPENSSL_cleanse(out, sizeof out);
    return done;
}

/* ---- the content ---- */

bool jwe_encrypt(const unsigned char key[JWE_KEY_SIZE], const unsigned char iv[JWE_IV_SIZE], struct octets aad,
                 struct octets plaintext, unsigned char *out, unsigned char tag[JWE_TAG_SIZE]) {
    int length = 0;
    EVP_CIPHER_CTX *context = is_fetched() ? EVP_CIPHER_CTX_new() : NULL;
    bool done = context && EVP_EncryptInit_ex2(context, content_cipher, key, iv, NULL) == 1 &&
                EVP_EncryptUpdate(context, NULL, &length, aad.bytes, (int)aad.length) == 1 &&
                EVP_EncryptUpdate(context, out, &length, plaintext.bytes, (int)plaintext.length) == 1 &&
                EVP_EncryptFinal_ex(context, out + length, &length) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, JWE_TAG_SIZE, tag) == 1;
    EVP_CIPHER_CTX_free(context);
    return done;
}

bool jwe_decrypt(const unsigned char key[JWE_KEY_SIZE], const unsigned char iv[JWE_IV_SIZE], struct octets aad,
                 struct octets ciphertext, const unsigned char tag[JWE_TAG_SIZE], unsigned char *out) {
    int length = 0;
    EVP_CIPHER_CTX *context = is_fetched() ? EVP_CIPHER_CTX_new() : NULL;
    bool done = context && EVP_DecryptInit_ex2(context, content_cipher, key, iv, NULL) == 1 &&
                EVP_DecryptUpdate(context, NULL, &length, aad.bytes, (int)aad.length) == 1 &&
                EVP_DecryptUpdate(context, out, &length, ciphertext.bytes, (int)ciphertext.length) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, JWE_TAG_SIZE, (void *)(uintptr_t)tag) == 1 &&
                EVP_DecryptFinal_ex(context, out + length, &length) == 1;
    EVP_CIPHER_CTX_free(context);
    if (!done && ciphertext.length > 0)
        OPENSSL_cleanse(out, ciphertext.length);
    return done;
}
