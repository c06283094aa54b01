/* Reading PKCS#12: every entry with its alias, within bounds on the work that a file can ask for. */
#include <openssl/asn1t.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/source_keystore_internal.h"
#include "common/memory.h"

/* A file names its own iteration counts. The most careful tools use 1,000,000 for each of the three parts of a file; this
 * bounds the processor time of one file to a few seconds. */
enum { ITERATIONS_MAX = 5000000, NESTING_MAX = 4 };

/* Java marks the certificates that are entries of their own, not parts of a key's chain, with this attribute. */
static const char trusted_key_usage[] = "2.16.840.1.113894.746875.1.1";

/* The library context in which old ciphers exist; made once, lives as long as the process. */
static OSSL_LIB_CTX *legacy_context;
static bool legacy_available;
static pthread_once_t legacy_once = PTHREAD_ONCE_INIT;

static void load_legacy(void) {
    legacy_context = OSSL_LIB_CTX_new();
    if (legacy_context == NULL)
        return;
    legacy_available = OSSL_PROVIDER_load(legacy_context, "legacy") != NULL;
    if (OSSL_PROVIDER_load(legacy_context, "default") == NULL) {
        OSSL_LIB_CTX_free(legacy_context);
        legacy_context = NULL; /* OpenSSL's own context, then: without the old ciphers */
        legacy_available = false;
    }
}

static int refuse_damaged(struct error *error) {
    return error_set(error, ERROR_INVALID, "Keystore is damaged!");
}

/* Takes factor * factor * factor iterations from what is left; none of the factors is above ITERATIONS_MAX before it
 * multiplies. */
static int spend(struct source_keystore *keystore, const ASN1_INTEGER *const *factors, size_t count, struct error *error) {
    int64_t product = 1;

    for (size_t i = 0; i < count; i++) {
        int64_t factor = 1;
        if (factors[i] != NULL && (ASN1_INTEGER_get_int64(&factor, factors[i]) != 1 || factor < 1))
            return refuse_damaged(error);
        if (factor > ITERATIONS_MAX || product * factor > keystore->iterations_left)
            return error_set(error, ERROR_INVALID,
                             "Keystore asks for too much work: the iteration counts of its parts add up to more than %d!",
                             ITERATIONS_MAX);
        product *= factor;
    }
    keystore->iterations_left -= (long)product;
    return 0;
}

static int spend_iterations(struct source_keystore *keystore, const ASN1_INTEGER *iterations, struct error *error) {
    return spend(keystore, &iterations, 1, error);
}

/* The key derivation of PBES2: PBKDF2, or scrypt, whose unit of work takes about as long as an iteration of the former. OpenSSL
 * bounds scrypt's memory, but not its time. */
static int spend_derivation(struct source_keystore *keystore, const X509_ALGOR *derivation, struct error *error) {
    int result = 0;

    if (OBJ_obj2nid(derivation->algorithm) == NID_id_pbkdf2) {
        PBKDF2PARAM *pbkdf2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), derivation->parameter);
        result = pbkdf2 == NULL ? refuse_damaged(error) : spend_iterations(keystore, pbkdf2->iter, error);
        PBKDF2PARAM_free(pbkdf2);
    } else if (OBJ_obj2nid(derivation->algorithm) == NID_id_scrypt) {
        SCRYPT_PARAMS *scrypt = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(SCRYPT_PARAMS), derivation->parameter);
        if (scrypt == NULL) {
            result = refuse_damaged(error);
        } else {
            const ASN1_INTEGER *factors[] = {scrypt->costParameter, scrypt->blockSize, scrypt->parallelizationParameter};
            result = spend(keystore, factors, 3, error);
        }
        SCRYPT_PARAMS_free(scrypt);
    }
    return result; /* OpenSSL refuses any other */
}

/* Accounts for a decryption before it is done. */
static int spend_algorithm(struct source_keystore *keystore, const X509_ALGOR *algorithm, struct error *error) {
    const ASN1_OBJECT *object;
    const void *parameter;
    int type;
    int result;

    X509_ALGOR_get0(&object, &type, &parameter, algorithm);
    if (type != V_ASN1_SEQUENCE)
        return refuse_damaged(error);
    if (OBJ_obj2nid(object) == NID_pbes2) {
        PBE2PARAM *pbe2 = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
        result = pbe2 == NULL ? refuse_damaged(error) : spend_derivation(keystore, pbe2->keyfunc, error);
        PBE2PARAM_free(pbe2);
        return result;
    }
    PBEPARAM *pbe = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBEPARAM), algorithm->parameter);
    if (pbe == NULL)
        return error_set(error, ERROR_INVALID, "Keystore is encrypted in a way that is not supported!");
    result = spend_iterations(keystore, pbe->iter, error);
    PBEPARAM_free(pbe);
    return result;
}

static int refuse_full(struct error *error) {
    return error_set(error, ERROR_INVALID, "Keystore has more than %d entries!", SOURCE_KEYSTORE_ENTRIES_MAX);
}

static int refuse_undecryptable(struct error *error) {
    if (!legacy_available)
        return error_set(
            error, ERROR_INVALID,
            "Keystore can not be decrypted: it may use RC2 or another old cipher, for which this installation lacks "
            "OpenSSL's legacy provider!");
    return error_set(error, ERROR_INVALID, "Keystore can not be decrypted: a part of it is damaged or has another password!");
}

/* The friendlyName as UTF-8, owned by the caller; NULL when there is none. */
static char *read_alias(PKCS12_SAFEBAG *bag) {
    char *name = PKCS12_get_friendlyname(bag);
    char *alias = name == NULL || *name == '\0' ? NULL : memory_string(name);

    OPENSSL_free(name);
    return alias;
}

static bool is_marked_trusted(const PKCS12_SAFEBAG *bag) {
    const STACK_OF(X509_ATTRIBUTE) *attributes = PKCS12_SAFEBAG_get0_attrs(bag);
    char name[64];

    for (int i = 0; i < sk_X509_ATTRIBUTE_num(attributes); i++) {
        const X509_ATTRIBUTE *attribute = sk_X509_ATTRIBUTE_value(attributes, i);
        if (OBJ_obj2txt(name, sizeof name, X509_ATTRIBUTE_get0_object((X509_ATTRIBUTE *)attribute), 1) > 0 &&
            strcmp(name, trusted_key_usage) == 0)
            return true;
    }
    return false;
}

static int gather_bags(struct source_keystore *keystore, const STACK_OF(PKCS12_SAFEBAG) * bags, int depth, struct error *error);

static int gather_bag(struct source_keystore *keystore, PKCS12_SAFEBAG *bag, int depth, struct error *error) {
    switch (PKCS12_SAFEBAG_get_nid(bag)) {
    case NID_keyBag:
    case NID_pkcs8ShroudedKeyBag:
        if (keystore->key_count == SOURCE_KEYSTORE_ENTRIES_MAX)
            return refuse_full(error);
        char *alias = read_alias(bag);
        if (alias == NULL)
            alias = memory_format("%zu", ++keystore->unnamed);
        keystore->keys[keystore->key_count++] = (struct source_keystore_key){.alias = alias, .bag = bag};
        return 0;
    case NID_certBag:
        if (PKCS12_SAFEBAG_get_bag_nid(bag) != NID_x509Certificate)
            return 0;
        if (keystore->certificate_count == SOURCE_KEYSTORE_ENTRIES_MAX)
            return refuse_full(error);
        X509 *x509 = PKCS12_SAFEBAG_get1_cert(bag);
        if (x509 == NULL)
            return error_set(error, ERROR_INVALID, "Keystore has a damaged certificate!");
        keystore->certificates[keystore->certificate_count++] =
            (struct source_keystore_certificate){.alias = read_alias(bag), .x509 = x509, .trusted = is_marked_trusted(bag)};
        return 0;
    case NID_safeContentsBag:
        if (depth == NESTING_MAX)
            return error_set(error, ERROR_INVALID, "Keystore is nested too deeply!");
        return gather_bags(keystore, PKCS12_SAFEBAG_get0_safes(bag), depth + 1, error);
    default:
        return 0; /* revocation lists and secrets are no keys of ours */
    }
}

static int gather_bags(struct source_keystore *keystore, const STACK_OF(PKCS12_SAFEBAG) * bags, int depth,
                       struct error *error) {
    for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++)
        if (gather_bag(keystore, sk_PKCS12_SAFEBAG_value(bags, i), depth, error) < 0)
            return -1;
    return 0;
}

/* Decrypts one part of the file and gathers what is in it. */
static int gather_part(struct source_keystore *keystore, PKCS7 *part, struct error *error) {
    STACK_OF(PKCS12_SAFEBAG) *bags = NULL;

    if (keystore->safe_count == SOURCE_KEYSTORE_ENTRIES_MAX)
        return refuse_full(error);
    if (PKCS7_type_is_data(part)) {
        bags = PKCS12_unpack_p7data(part);
        if (bags == NULL)
            return refuse_damaged(error);
    } else if (PKCS7_type_is_encrypted(part)) {
        if (part->d.encrypted == NULL || part->d.encrypted->enc_data == NULL)
            return refuse_damaged(error);
        if (spend_algorithm(keystore, part->d.encrypted->enc_data->algorithm, error) < 0)
            return -1;
        bags = PKCS12_unpack_p7encdata(part, keystore->password, keystore->password_length);
        if (bags == NULL)
            return refuse_undecryptable(error);
    } else {
        return error_set(error, ERROR_INVALID,
                         "Keystore is encrypted with a certificate! It must be encrypted with a password.");
    }
    keystore->safes[keystore->safe_count++] = bags;
    return gather_bags(keystore, bags, 0, error);
}

/* Checks the MAC, which tells whether the password is right. An absent and an empty password are two different ones in PKCS#12.
 */
static int check_password(struct source_keystore *keystore, PKCS12 *file, const char *password, struct error *error) {
    const ASN1_INTEGER *iterations = NULL;
    bool empty = password == NULL || *password == '\0';

    keystore->password = memory_string(empty ? "" : password);
    keystore->password_length = (int)strlen(keystore->password);
    if (!PKCS12_mac_present(file))
        return 0; /* check_unauthenticated() will tell */
    PKCS12_get0_mac(NULL, NULL, NULL, &iterations, file);
    if (spend_iterations(keystore, iterations, error) < 0)
        return -1;
    if (PKCS12_verify_mac(file, keystore->password, keystore->password_length) == 1)
        return 0;
    if (!empty)
        return error_set(error, ERROR_INVALID, "Keystore can not be opened: the password is wrong, or the file is damaged!");
    if (PKCS12_verify_mac(file, NULL, 0) != 1)
        return error_set(error, ERROR_INVALID, "Keystore has a password; hand it in with the file!");
    memory_wipe_string(keystore->password);
    keystore->password = NULL;
    return 0;
}

/* Only Java marks the certificates that are entries of their own; in a file without any key, whoever made it, all of them are.
 */
static void name_trusted(struct source_keystore *keystore) {
    for (size_t i = 0; i < keystore->certificate_count; i++) {
        struct source_keystore_certificate *certificate = &keystore->certificates[i];
        if (keystore->key_count == 0)
            certificate->trusted = true;
        if (certificate->trusted && certificate->alias == NULL)
            certificate->alias = memory_format("%zu", ++keystore->unnamed);
    }
}

static int gather_file(struct source_keystore *keystore, PKCS12 *file, struct error *error) {
    STACK_OF(PKCS7) *parts = PKCS12_unpack_authsafes(file);
    int result = 0;

    if (parts == NULL)
        return error_set(error, ERROR_INVALID, "Keystore is damaged, or not protected by a password!");
    for (int i = 0; i < sk_PKCS7_num(parts) && result == 0; i++)
        result = gather_part(keystore, sk_PKCS7_value(parts, i), error);
    sk_PKCS7_pop_free(parts, PKCS7_free);
    if (result < 0)
        return -1;
    name_trusted(keystore);
    if (source_keystore_count(keystore) == 0)
        return error_set(error, ERROR_INVALID, "Keystore has no key and no certificate!");
    return 0;
}

static PKCS12 *read_file(const unsigned char *bytes, size_t size, struct error *error) {
    const unsigned char *content = bytes;
    long length;
    int tag;
    int class;
    PKCS12 *file = NULL;

    int flags = ASN1_get_object(&content, &length, &tag, &class, (long)size);
    if ((flags & 0x80) == 0 && tag == V_ASN1_SEQUENCE && (flags & V_ASN1_CONSTRUCTED) != 0) {
        const unsigned char *at = bytes;
        /* Made with the context first, so that its parts are decrypted with it. */
        file = PKCS12_init_ex(NID_pkcs7_data, legacy_context, NULL);
        if (file != NULL && d2i_PKCS12(&file, &at, (long)size) == NULL)
            file = NULL; /* freed by the failed reading */
        if (file != NULL && at != bytes + size) {
            error_set(error, ERROR_INVALID, "Keystore has other bytes behind its end!");
            PKCS12_free(file);
            return NULL;
        }
    }
    if (file == NULL)
        error_set(error, ERROR_INVALID, "Keystore is not a PKCS#12 file, or is truncated or damaged!");
    return file;
}

int source_keystore_read_key(struct source_keystore *keystore, const struct source_keystore_key *entry, struct source_key *key,
                             struct error *error) {
    PKCS8_PRIV_KEY_INFO *decrypted = NULL;
    const PKCS8_PRIV_KEY_INFO *info = NULL;
    int result = -1;

    if (PKCS12_SAFEBAG_get_nid(entry->bag) == NID_keyBag) {
        info = PKCS12_SAFEBAG_get0_p8inf(entry->bag);
    } else {
        const X509_ALGOR *algorithm = NULL;
        X509_SIG_get0(PKCS12_SAFEBAG_get0_pkcs8(entry->bag), &algorithm, NULL);
        if (spend_algorithm(keystore, algorithm, error) < 0)
            return -1;
        decrypted = PKCS12_decrypt_skey_ex(entry->bag, keystore->password, keystore->password_length, legacy_context, NULL);
        if (decrypted == NULL) {
            refuse_undecryptable(error);
            goto out;
        }
        info = decrypted;
    }
    EVP_PKEY *pkey = EVP_PKCS82PKEY(info);
    if (pkey == NULL)
        error_set(error, ERROR_INVALID, "Keystore's key is damaged or of a type that is not supported!");
    else
        result = source_key_take("Keystore's key", pkey, true, key, error);
out:
    PKCS8_PRIV_KEY_INFO_free(decrypted);
    ERR_clear_error();
    return result;
}

/* A file without a MAC tells whether the password is right by its first key alone. */
static int check_unauthenticated(struct source_keystore *keystore, struct error *error) {
    struct source_key key = SOURCE_KEY_EMPTY;

    if (keystore->key_count == 0)
        return 0;
    int result = source_keystore_read_key(keystore, &keystore->keys[0], &key, error);
    source_key_clear(&key);
    return result;
}

int source_keystore_read(struct source_keystore *keystore, const unsigned char *bytes, size_t size, const char *password,
                         struct error *error) {
    pthread_once(&legacy_once, load_legacy);
    PKCS12 *file = read_file(bytes, size, error);
    if (file == NULL)
        return -1;
    keystore->iterations_left = ITERATIONS_MAX;
    int result = check_password(keystore, file, password, error);
    if (result == 0)
        result = gather_file(keystore, file, error);
    if (result == 0 && !PKCS12_mac_present(file))
        result = check_unauthenticated(keystore, error);
    PKCS12_free(file);
    return result;
}
