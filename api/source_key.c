/* Reading a key strictly: one key, unencrypted, of a kind that a JWK can carry, with a sentence for everything else. */
#include "api/source_key.h"

#include <ctype.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/memory.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 16384 };

/* OpenSSL's name of a group and the JWK's name of it. */
static const struct {
    const char *group;
    const char *curve;
    unsigned bits;
} curves[] = {
    {"prime256v1", "P-256", 256},
    {"secp384r1", "P-384", 384},
    {"secp521r1", "P-521", 521},
    {"secp256k1", "secp256k1", 256},
};

void source_key_clear(struct source_key *key) {
    EVP_PKEY_free(key->pkey); /* wipes the private half */
    *key = SOURCE_KEY_EMPTY;
}

static int inspect_rsa(const char *label, struct source_key *key, struct error *error) {
    key->type = JWK_RSA;
    key->bits = (unsigned)EVP_PKEY_get_bits(key->pkey);
    if (key->bits < RSA_BITS_MIN || key->bits > RSA_BITS_MAX)
        return error_set(error, ERROR_INVALID, "%s is an RSA key of %u bits! It must have %d to %d.", label, key->bits,
                         RSA_BITS_MIN, RSA_BITS_MAX);
    return 0;
}

static int inspect_ec(const char *label, struct source_key *key, struct error *error) {
    char group[80] = "";
    int from_explicit = 0;

    key->type = JWK_EC;
    /* Explicit parameters may describe a curve that only looks like a named one (CVE-2020-0601). */
    if (EVP_PKEY_get_int_param(key->pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &from_explicit) == 1 &&
        from_explicit)
        return error_set(error, ERROR_INVALID, "%s spells its curve out by explicit parameters! It must name the curve.",
                         label);
    if (EVP_PKEY_get_group_name(key->pkey, group, sizeof group, NULL) == 1) {
        for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++) {
            if (strcmp(curves[i].group, group) == 0) {
                key->curve = curves[i].curve;
                key->bits = curves[i].bits;
                return 0;
            }
        }
    }
    return error_set(error, ERROR_INVALID, "%s is an EC key on curve %s! It must be on P-256, P-384, P-521 or secp256k1.",
                     label, *group == '\0' ? "(unnamed)" : group);
}

int source_key_take(const char *label, EVP_PKEY *pkey, bool is_private, struct source_key *key, struct error *error) {
    int result = 0;

    *key = (struct source_key){.pkey = pkey, .is_private = is_private};
    if (EVP_PKEY_is_a(pkey, "RSA") || EVP_PKEY_is_a(pkey, "RSA-PSS")) {
        result = inspect_rsa(label, key, error);
    } else if (EVP_PKEY_is_a(pkey, "EC")) {
        result = inspect_ec(label, key, error);
    } else if (EVP_PKEY_is_a(pkey, "ED25519") || EVP_PKEY_is_a(pkey, "X25519")) {
        key->type = JWK_OKP;
        key->curve = EVP_PKEY_is_a(pkey, "ED25519") ? "Ed25519" : "X25519";
        key->bits = 256;
    } else if (EVP_PKEY_is_a(pkey, "ED448") || EVP_PKEY_is_a(pkey, "X448")) {
        result = error_set(error, ERROR_INVALID, "%s is an %s key, which is not supported! Use Ed25519 or X25519.", label,
                           EVP_PKEY_is_a(pkey, "ED448") ? "Ed448" : "X448");
    } else {
        const char *name = EVP_PKEY_get0_type_name(pkey);
        result = error_set(error, ERROR_INVALID, "%s is of type %s! It must be RSA, EC, Ed25519 or X25519.", label,
                           name == NULL ? "(unknown)" : name);
    }
    if (result < 0)
        source_key_clear(key);
    ERR_clear_error();
    return result;
}

/* Whether bytes are one DER SEQUENCE and nothing more. */
static int check_extent(const char *label, const unsigned char *bytes, size_t size, struct error *error) {
    const unsigned char *content = bytes;
    long length;
    int tag;
    int class;

    if (bytes[0] != (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED))
        return error_set(error, ERROR_INVALID, "%s is not a PEM or DER encoded key!", label);
    int flags = ASN1_get_object(&content, &length, &tag, &class, (long)size);
    ERR_clear_error();
    if ((flags & 0x80) != 0 || (flags & 1) != 0) /* an error, or no definite length */
        return error_set(error, ERROR_INVALID, "%s is truncated or damaged!", label);
    if ((size_t)(content - bytes) + (size_t)length != size)
        return error_set(error, ERROR_INVALID, "%s has other bytes behind its end!", label);
    return 0;
}

static int refuse_encrypted(const char *label, struct error *error) {
    return error_set(error, ERROR_INVALID, "%s is encrypted; hand it in without a password!", label);
}

/* A PKCS#8 that parsed, made into a key. */
static int take_pkcs8(const char *label, PKCS8_PRIV_KEY_INFO *info, struct source_key *key, struct error *error) {
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);

    if (pkey == NULL)
        return error_set(error, ERROR_INVALID, "%s is damaged or of a type that is not supported!", label);
    return source_key_take(label, pkey, true, key, error);
}

/* The structures a key comes in do not overlap: each parses as one of them at most. */
static int read_der(const char *label, const unsigned char *bytes, size_t size, struct source_key *key, struct error *error) {
    const unsigned char *end = bytes + size;
    const unsigned char *at;
    EVP_PKEY *pkey = NULL;

    if (check_extent(label, bytes, size, error) < 0)
        return -1;

    at = bytes;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, (long)size);
    if (info != NULL) {
        int result = take_pkcs8(label, info, key, error);
        PKCS8_PRIV_KEY_INFO_free(info);
        return result;
    }
    at = bytes;
    if ((pkey = d2i_PUBKEY(NULL, &at, (long)size)) != NULL)
        goto read_public;
    at = bytes;
    if ((pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &at, (long)size)) != NULL && at == end)
        goto read_public;
    EVP_PKEY_free(pkey);
    at = bytes;
    if ((pkey = d2i_PrivateKey(EVP_PKEY_RSA, NULL, &at, (long)size)) != NULL)
        return source_key_take(label, pkey, true, key, error);
    at = bytes;
    if ((pkey = d2i_PrivateKey(EVP_PKEY_EC, NULL, &at, (long)size)) != NULL)
        return source_key_take(label, pkey, true, key, error);

    at = bytes;
    X509_SIG *encrypted = d2i_X509_SIG(NULL, &at, (long)size);
    X509_SIG_free(encrypted);
    at = bytes;
    X509 *certificate = d2i_X509(NULL, &at, (long)size);
    X509_free(certificate);
    ERR_clear_error();
    if (encrypted != NULL)
        return refuse_encrypted(label, error);
    if (certificate != NULL)
        return error_set(error, ERROR_INVALID, "%s is a certificate; create it as a certificate!", label);
    return error_set(error, ERROR_INVALID, "%s is not a PEM or DER encoded key, or is damaged!", label);

read_public:
    return source_key_take(label, pkey, false, key, error);
}

/* A PEM label that holds no key that can be taken: says which, and what to do. */
static int refuse_pem(const char *label, const char *name, struct error *error) {
    if (strcmp(name, "ENCRYPTED PRIVATE KEY") == 0)
        return refuse_encrypted(label, error);
    if (strcmp(name, "CERTIFICATE") == 0 || strcmp(name, "TRUSTED CERTIFICATE") == 0 || strcmp(name, "X509 CERTIFICATE") == 0)
        return error_set(error, ERROR_INVALID, "%s is a certificate; create it as a certificate!", label);
    if (strcmp(name, "OPENSSH PRIVATE KEY") == 0)
        return error_set(error, ERROR_INVALID, "%s is in OpenSSH's own format; convert it with: ssh-keygen -p -m PKCS8 -f FILE",
                         label);
    return error_set(error, ERROR_INVALID, "%s is PEM of type %.64s! It must be a public or private key.", label, name);
}

static bool pem_name_is_key(const char *name) {
    static const char *const names[] = {"PRIVATE KEY", "PUBLIC KEY", "RSA PRIVATE KEY", "RSA PUBLIC KEY", "EC PRIVATE KEY"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* What stands behind the key's END line: white space, or a mistake. */
static int check_behind(const char *label, BIO *input, struct error *error) {
    char *rest = NULL;
    long length = BIO_get_mem_data(input, &rest);
    bool blank = true;

    for (long i = 0; i < length && blank; i++)
        blank = isspace((unsigned char)rest[i]) != 0;
    if (blank)
        return 0;
    if (memmem(rest, (size_t)length, "KEY-----", 8) != NULL)
        return error_set(error, ERROR_INVALID, "%s holds several keys! Hand in one.", label);
    return error_set(error, ERROR_INVALID, "%s has other text behind its end!", label);
}

static int read_pem(const char *label, const void *bytes, size_t size, struct source_key *key, struct error *error) {
    char *name = NULL;
    char *header = NULL;
    unsigned char *data = NULL;
    long length = 0;
    int result = -1;
    BIO *input = BIO_new_mem_buf(bytes, (int)size);

    if (input == NULL) {
        error_set(error, ERROR_INTERNAL, "Memory for reading a key is not to be had");
        goto out;
    }
    for (;;) {
        if (PEM_read_bio(input, &name, &header, &data, &length) != 1) {
            error_set(error, ERROR_INVALID, "%s is truncated or damaged PEM!", label);
            goto out;
        }
        /* `openssl ecparam -genkey` puts the curve's name before the key, which names it again. */
        if (strcmp(name, "EC PARAMETERS") != 0)
            break;
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)length);
        name = header = NULL;
        data = NULL;
    }
    if (strstr(header, "ENCRYPTED") != NULL)
        refuse_encrypted(label, error);
    else if (!pem_name_is_key(name))
        refuse_pem(label, name, error);
    else if (check_behind(label, input, error) == 0)
        result = read_der(label, data, (size_t)length, key, error);
    /* The label of PEM tells the half; a block that holds the other one was tampered with or mixed up. */
    if (result == 0 && key->is_private != (strstr(name, "PRIVATE") != NULL)) {
        source_key_clear(key);
        result = error_set(error, ERROR_INVALID, "%s is PEM of type %s, but holds another kind of key!", label, name);
    }
out:
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)length);
    BIO_free(input);
    ERR_clear_error();
    return result;
}

int source_key_read(const char *label, const void *bytes, size_t size, struct source_key *key, struct error *error) {
    *key = SOURCE_KEY_EMPTY;
    if (size == 0)
        return error_set(error, ERROR_INVALID, "%s can not be empty!", label);
    if (size > SOURCE_KEY_SIZE_MAX)
        return error_set(error, ERROR_INVALID, "%s is larger than %d KB!", label, SOURCE_KEY_SIZE_MAX / 1024);
    if (memmem(bytes, size, "-----BEGIN ", 11) != NULL)
        return read_pem(label, bytes, size, key, error);
    return read_der(label, bytes, size, key, error);
}

int source_key_read_text(const char *label, const char *text, size_t length, struct source_key *key, struct error *error) {
    *key = SOURCE_KEY_EMPTY;
    if (length > SOURCE_KEY_SIZE_MAX / 3 * 4 + 4)
        return error_set(error, ERROR_INVALID, "%s is larger than %d KB!", label, SOURCE_KEY_SIZE_MAX / 1024);
    /* No base64 has a '-': PEM that a client forgot to wrap can not be taken for anything else. */
    if (memmem(text, length, "-----BEGIN ", 11) != NULL)
        return source_key_read(label, text, length, key, error);

    size_t capacity = length * 3 / 4 + 1;
    unsigned char *bytes = memory_new(capacity);
    long size = base64_decode(text, length, bytes);
    int result = size < 0 ? error_set(error, ERROR_INVALID, "%s is not valid base64!", label)
                          : source_key_read(label, bytes, (size_t)size, key, error);
    OPENSSL_cleanse(bytes, capacity);
    free(bytes);
    return result;
}

/* A key of type RSASSA-PSS (RFC 4055) is for these signatures alone, which the JWK can only say through its algorithm. */
static int check_pss(const struct source_key *key, const struct algorithm_choice *choice, struct error *error) {
    if (!EVP_PKEY_is_a(key->pkey, "RSA-PSS"))
        return 0;
    if ((choice->use != NULL && strcmp(choice->use, "sig") != 0) ||
        (choice->algorithm != NULL && strncmp(choice->algorithm, "PS", 2) != 0))
        return error_set(error, ERROR_INVALID, "Key is for RSASSA-PSS alone! Suitable: SIGNATURE with PS256, PS384, PS512.");
    return 0;
}

struct jwk *source_key_jwk(const struct source_key *key, bool with_private, const struct algorithm_request *request,
                           const struct source_key_certificates *certificates, struct error *error) {
    struct algorithm_key suited = {.type = key->type, .curve = key->curve, .bits = key->bits};
    struct algorithm_choice choice;
    char kid[SHA256_TEXT_SIZE];

    if (algorithm_choose(request, &suited, &choice, error) < 0)
        return NULL;
    if (check_pss(key, &choice, error) < 0)
        return NULL;
    struct jwk *bare = jwk_from_key(key->pkey, false, &JWK_ATTRIBUTES_NONE, error);
    if (bare == NULL)
        return NULL;
    jwk_thumbprint(bare, kid);
    jwk_free(bare);

    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    attributes.kid = kid;
    attributes.use = choice.use;
    attributes.algorithm = choice.algorithm;
    if (certificates != NULL) {
        attributes.x5c = certificates->x5c;
        attributes.x5c_count = certificates->count;
        attributes.x5t_s256 = certificates->x5t_s256;
        attributes.not_before = certificates->not_before;
        attributes.expires = certificates->not_after;
    }
    return jwk_from_key(key->pkey, with_private, &attributes, error);
}

static bool is_given(const char *text) {
    return text != NULL && *text != '\0';
}

/* Reads the half that the member is to hold; a private key in the place of a public one would be shown to readers. */
static int read_half(const char *label, const char *text, bool want_private, struct source_key *key, struct error *error) {
    if (source_key_read_text(label, text, strlen(text), key, error) < 0)
        return -1;
    if (key->is_private == want_private)
        return 0;
    source_key_clear(key);
    return error_set(error, ERROR_INVALID, "%s is a %s key!", label, want_private ? "public" : "private");
}

int source_key_describe(const char *public_key, const char *private_key, struct source_key_description *description,
                        struct error *error) {
    static const struct algorithm_request any = {NULL, NULL};
    struct source_key public_half = SOURCE_KEY_EMPTY;
    struct source_key private_half = SOURCE_KEY_EMPTY;
    struct jwk *jwk = NULL;
    int result = -1;

    if (!is_given(public_key) && !is_given(private_key))
        return error_set(error, ERROR_INVALID, "Public key or private key is required!");
    if (is_given(public_key) && read_half("Public key", public_key, false, &public_half, error) < 0)
        goto out;
    if (is_given(private_key) && read_half("Private key", private_key, true, &private_half, error) < 0)
        goto out;
    if (public_half.pkey != NULL && private_half.pkey != NULL && EVP_PKEY_eq(public_half.pkey, private_half.pkey) != 1) {
        error_set(error, ERROR_INVALID, "Public key and private key do not belong together!");
        goto out;
    }
    const struct source_key *key = private_half.pkey != NULL ? &private_half : &public_half;
    /* Making the JWK is the proof that one can be made, and checks the private half against the public one. */
    jwk = source_key_jwk(key, key->is_private, &any, NULL, error);
    if (jwk == NULL)
        goto out;
    *description = (struct source_key_description){
        .type = key->type, .curve = key->curve, .bits = key->bits, .has_private = key->is_private};
    jwk_thumbprint(jwk, description->thumbprint);
    result = 0;
out:
    ERR_clear_error();
    jwk_free(jwk);
    source_key_clear(&public_half);
    source_key_clear(&private_half);
    return result;
}

struct jwk *source_key_object_jwk(const char *public_key, const char *private_key, bool with_private,
                                  const struct algorithm_request *request, struct error *error) {
    struct source_key key = SOURCE_KEY_EMPTY;
    bool from_private = with_private || !is_given(public_key);

    if (with_private && !is_given(private_key)) {
        error_set(error, ERROR_INVALID, "Private key is required for PRIVATE_KEY source type, and the key has none!");
        return NULL;
    }
    if (from_private && !is_given(private_key)) {
        error_set(error, ERROR_INVALID, "Public key is required for PUBLIC_KEY source type, and the key has none!");
        return NULL;
    }
    if (read_half(from_private ? "Private key" : "Public key", from_private ? private_key : public_key, from_private, &key,
                  error) < 0)
        return NULL;
    struct jwk *jwk = source_key_jwk(&key, with_private, request, NULL, error);
    source_key_clear(&key);
    return jwk;
}
