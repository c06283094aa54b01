/* An opened keystore, for the two files that make up source_keystore.h: the one that reads PKCS#12 and the one that answers. */
#ifndef API_SOURCE_KEYSTORE_INTERNAL_H
#define API_SOURCE_KEYSTORE_INTERNAL_H

#include <openssl/pkcs12.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>

#include "api/source_keystore.h"

struct source_keystore_key {
    char *alias;
    PKCS12_SAFEBAG *bag; /* decrypted when it is asked for */
};

struct source_keystore_certificate {
    char *alias; /* NULL when it has none */
    X509 *x509;
    bool trusted; /* an entry of its own */
};

struct source_keystore {
    char *password; /* owned, wiped */
    int password_length;
    long iterations_left;
    STACK_OF(PKCS12_SAFEBAG) * safes[SOURCE_KEYSTORE_ENTRIES_MAX]; /* own the bags */
    size_t safe_count;
    struct source_keystore_key keys[SOURCE_KEYSTORE_ENTRIES_MAX];
    size_t key_count;
    struct source_keystore_certificate certificates[SOURCE_KEYSTORE_ENTRIES_MAX];
    size_t certificate_count;
    size_t unnamed; /* entries called by their number so far */
};

/* Reads a file into a zeroed keystore, which the caller closes also when it fails. */
int source_keystore_read(struct source_keystore *keystore, const unsigned char *bytes, size_t size, const char *password,
                         struct error *error) MUST_CHECK;
/* Decrypts the key of an entry into OpenSSL's own library context, so that it outlives the keystore. */
int source_keystore_read_key(struct source_keystore *keystore, const struct source_keystore_key *entry, struct source_key *key,
                             struct error *error) MUST_CHECK;

#endif
