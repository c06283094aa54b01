/* Keystores by their aliases: which file is one, and the JWK of an entry. */
#include "api/source_keystore.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/source_keystore_internal.h"
#include "common/base64url.h"
#include "common/memory.h"
#include "common/text.h"

/* What the first bytes say of a file that is not PKCS#12. */
static int check_format(const unsigned char *bytes, size_t size, struct error *error) {
    static const unsigned char jks[] = {0xFE, 0xED, 0xFE, 0xED};
    static const unsigned char jceks[] = {0xCE, 0xCE, 0xCE, 0xCE};
    const char *format = NULL;

    if (size >= sizeof jks && memcmp(bytes, jks, sizeof jks) == 0)
        format = "JKS";
    else if (size >= sizeof jceks && memcmp(bytes, jceks, sizeof jceks) == 0)
        format = "JCEKS";
    if (format != NULL)
        return error_set(
            error, ERROR_INVALID,
            "Keystore is in Java's own %s format, which is not supported! Convert it with: keytool -importkeystore "
            "-srckeystore keystore.jks -srcstoretype %s -destkeystore keystore.p12 -deststoretype PKCS12",
            format, format);
    if (memmem(bytes, size, "-----BEGIN ", 11) != NULL)
        return error_set(error, ERROR_INVALID, "Keystore is PEM! Create it as a key or as a certificate.");
    return 0;
}

struct source_keystore *source_keystore_open(const char *type, const void *bytes, size_t size, const char *password,
                                             struct error *error) {
    struct source_keystore *keystore;

    if (type != NULL && *type != '\0' && strcmp(type, "PKCS12") != 0 && strcmp(type, "JKS") != 0) {
        error_set(error, ERROR_INVALID, "Keystore type (%.64s) is not supported! It must be PKCS12 or JKS.", type);
        return NULL;
    }
    if (size == 0) {
        error_set(error, ERROR_INVALID, "Keystore file can not be empty!");
        return NULL;
    }
    if (size > SOURCE_KEYSTORE_SIZE_MAX) {
        error_set(error, ERROR_INVALID, "Keystore is larger than %d KB!", SOURCE_KEYSTORE_SIZE_MAX / 1024);
        return NULL;
    }
    if (check_format(bytes, size, error) < 0)
        return NULL;
    keystore = memory_new(sizeof *keystore);
    if (source_keystore_read(keystore, bytes, size, password, error) < 0) {
        source_keystore_close(keystore);
        keystore = NULL;
    }
    ERR_clear_error();
    return keystore;
}

struct source_keystore *source_keystore_open_text(const char *type, const char *text, size_t length, const char *password,
                                                  struct error *error) {
    if (length >
        SOURCE_KEYSTORE_SIZE_MAX / 3 * 4 + SOURCE_KEYSTORE_SIZE_MAX / 16) { /* with line breaks every 64 characters or so */
        error_set(error, ERROR_INVALID, "Keystore is larger than %d KB!", SOURCE_KEYSTORE_SIZE_MAX / 1024);
        return NULL;
    }
    struct source_keystore *keystore = NULL;
    size_t capacity = length * 3 / 4 + 1;
    unsigned char *bytes = memory_new(capacity);
    long size = base64_decode(text, length, bytes);
    if (size < 0)
        error_set(error, ERROR_INVALID, "Keystore file is not valid base64!");
    else
        keystore = source_keystore_open(type, bytes, (size_t)size, password, error);
    OPENSSL_cleanse(bytes, capacity);
    free(bytes);
    return keystore;
}

void source_keystore_close(struct source_keystore *keystore) {
    if (keystore == NULL)
        return;
    memory_wipe_string(keystore->password);
    for (size_t i = 0; i < keystore->key_count; i++)
        free(keystore->keys[i].alias);
    for (size_t i = 0; i < keystore->certificate_count; i++) {
        free(keystore->certificates[i].alias);
        X509_free(keystore->certificates[i].x509);
    }
    for (size_t i = 0; i < keystore->safe_count; i++)
        sk_PKCS12_SAFEBAG_pop_free(keystore->safes[i], PKCS12_SAFEBAG_free);
    free(keystore);
}

size_t source_keystore_count(const struct source_keystore *keystore) {
    size_t count = keystore->key_count;

    for (size_t i = 0; i < keystore->certificate_count; i++)
        count += keystore->certificates[i].trusted;
    return count;
}

struct source_keystore_entry source_keystore_entry(const struct source_keystore *keystore, size_t index) {
    if (index < keystore->key_count)
        return (struct source_keystore_entry){.alias = keystore->keys[index].alias, .has_private = true};
    size_t position = index - keystore->key_count;
    for (size_t i = 0; i < keystore->certificate_count; i++)
        if (keystore->certificates[i].trusted && position-- == 0)
            return (struct source_keystore_entry){.alias = keystore->certificates[i].alias, .has_private = false};
    return (struct source_keystore_entry){.alias = NULL, .has_private = false};
}

/* The places of an entry: one of the two is set. */
struct place {
    struct source_keystore_key *key;
    struct source_keystore_certificate *certificate;
};

/* Finds the entries of that name; returns how many there are. */
static size_t find_entries(struct source_keystore *keystore, const char *alias, int (*compare)(const char *, const char *),
                           struct place *place) {
    size_t found = 0;

    for (size_t i = 0; i < keystore->key_count; i++)
        if (alias == NULL || compare(keystore->keys[i].alias, alias) == 0) {
            *place = (struct place){.key = &keystore->keys[i]};
            found++;
        }
    for (size_t i = 0; i < keystore->certificate_count; i++)
        if (keystore->certificates[i].trusted && (alias == NULL || compare(keystore->certificates[i].alias, alias) == 0)) {
            *place = (struct place){.certificate = &keystore->certificates[i]};
            found++;
        }
    return found;
}

/* Puts the aliases behind the sentence, as many as fit. */
static int refuse_alias(const struct source_keystore *keystore, const char *sentence, struct error *error) {
    struct text aliases = TEXT_EMPTY;

    for (size_t i = 0; i < source_keystore_count(keystore); i++)
        text_add_format(&aliases, "%s%s", i == 0 ? "" : ", ", source_keystore_entry(keystore, i).alias);
    error_set(error, ERROR_INVALID, "%s Its aliases: %s", sentence, aliases.bytes);
    text_free(&aliases);
    return -1;
}

static int find_entry(struct source_keystore *keystore, const char *alias, struct place *place, struct error *error) {
    char *sentence;
    size_t found;

    if (alias != NULL && *alias == '\0')
        alias = NULL;
    found = find_entries(keystore, alias, strcmp, place);
    if (found == 0 && alias != NULL)
        found = find_entries(keystore, alias, strcasecmp, place);
    if (found == 1)
        return 0;
    if (alias == NULL)
        return refuse_alias(keystore, "Alias name is required, as the keystore has several entries!", error);
    sentence = memory_format(found == 0 ? "Alias (name: %.128s) is not found in the keystore!"
                                        : "Alias (name: %.128s) is not unique in the keystore!",
                             alias);
    refuse_alias(keystore, sentence, error);
    free(sentence);
    return -1;
}

/* The certificate that certifies the last one of the chain, when the file has it; NULL at the end of the chain. */
static X509 *find_issuer(const struct source_keystore *keystore, X509 *subject) {
    if (X509_check_issued(subject, subject) == X509_V_OK)
        return NULL; /* self-issued: a root */
    for (size_t i = 0; i < keystore->certificate_count; i++) {
        X509 *issuer = keystore->certificates[i].x509;
        EVP_PKEY *pkey = X509_get0_pubkey(issuer);
        if (issuer != subject && pkey != NULL && X509_check_issued(issuer, subject) == X509_V_OK &&
            X509_verify(subject, pkey) == 1)
            return issuer;
    }
    return NULL;
}

static int read_chain(const struct source_keystore *keystore, X509 *first, struct source_certificate *certificate,
                      struct error *error) {
    X509 *chain[SOURCE_CERTIFICATE_CHAIN_MAX];
    size_t count = 0;

    for (X509 *next = first; next != NULL && count < SOURCE_CERTIFICATE_CHAIN_MAX; next = find_issuer(keystore, next))
        chain[count++] = next;
    return source_certificate_from_chain(chain, count, certificate, error);
}

/* The certificate of a key is the one with its public key: that is what matters, whatever localKeyId says. */
static X509 *find_certificate(const struct source_keystore *keystore, const struct source_key *key) {
    for (size_t i = 0; i < keystore->certificate_count; i++) {
        EVP_PKEY *pkey = X509_get0_pubkey(keystore->certificates[i].x509);
        if (pkey != NULL && EVP_PKEY_eq(pkey, key->pkey) == 1)
            return keystore->certificates[i].x509;
    }
    return NULL;
}

struct jwk *source_keystore_jwk(struct source_keystore *keystore, const char *alias, const struct algorithm_request *request,
                                struct error *error) {
    struct source_key key = SOURCE_KEY_EMPTY;
    struct source_certificate certificate = SOURCE_CERTIFICATE_EMPTY;
    struct jwk *jwk = NULL;
    struct place place = {0};

    if (find_entry(keystore, alias, &place, error) < 0)
        return NULL;
    if (place.key != NULL && source_keystore_read_key(keystore, place.key, &key, error) < 0)
        goto out;
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): where there is no key there is a certificate */
    X509 *first = place.key != NULL ? find_certificate(keystore, &key) : place.certificate->x509;
    if (first != NULL && read_chain(keystore, first, &certificate, error) < 0)
        goto out;
    struct source_key_certificates members = source_certificate_members(&certificate);
    if (place.key == NULL)
        jwk = source_certificate_jwk(&certificate, request, error);
    else
        jwk = source_key_jwk(&key, true, request, first == NULL ? NULL : &members, error);
out:
    ERR_clear_error();
    source_key_clear(&key);
    source_certificate_clear(&certificate);
    return jwk;
}
