/* Keystores: what a stored keystore object is made of, and the JWK that is made from one entry.
 *
 * PKCS#12 (RFC 7292) is read by OpenSSL, also files encrypted with RC2 or 3DES as Java before 8u301 and old OpenSSL write
 * them; those algorithms come from OpenSSL's legacy provider, in a library context of their own that nothing else uses.
 *
 * JKS and JCEKS are recognised by their magic number and refused with the keytool command that converts them. No maintained C
 * library reads them; their protection is a cipher of Sun's own (a SHA-1 keystream), which would be cryptography of our own
 * on hostile input; and whoever has such a file has keytool, which itself advises the conversion. Since Java 9 most files that
 * are called JKS are PKCS#12 inside: type JKS is taken for those, as Java takes it. */
#ifndef API_SOURCE_KEYSTORE_H
#define API_SOURCE_KEYSTORE_H

#include <stdbool.h>
#include <stddef.h>

#include "api/source_certificate.h"

enum {
    SOURCE_KEYSTORE_SIZE_MAX = 1024 * 1024,
    SOURCE_KEYSTORE_ENTRIES_MAX = 256, /* keys and certificates of one file */
};

/* An opened keystore. */
struct source_keystore;

struct source_keystore_entry {
    const char *alias; /* the friendlyName; an entry without one is called by its number, "1", "2"…, as Java does */
    bool has_private;  /* a key entry; a trusted certificate otherwise */
};

/* Opens a file. type is PKCS12 or JKS (NULL: PKCS12); password may be NULL. ERROR_INVALID with a sentence for a wrong password,
 * a damaged file, another format, or work beyond bounds. Thread-safe, as all functions here on different keystores. */
struct source_keystore *source_keystore_open(const char *type, const void *bytes, size_t size, const char *password,
                                             struct error *error) MUST_CHECK;
/* The same from base64, as the member `file` carries it. */
struct source_keystore *source_keystore_open_text(const char *type, const char *text, size_t length, const char *password,
                                                  struct error *error) MUST_CHECK;
void source_keystore_close(struct source_keystore *keystore); /* wipes it; NULL is allowed */

/* The entries: the keys, then the trusted certificates. An opened keystore has at least one. Aliases live as long as it does.
 */
size_t source_keystore_count(const struct source_keystore *keystore);
struct source_keystore_entry source_keystore_entry(const struct source_keystore *keystore, size_t index);

/* The JWK of an entry: private with x5c for a key entry, public with x5c for a trusted certificate. alias NULL or "" is the
 * only entry. Aliases are compared exactly first, then without regard to case, as Java does. An error about the alias lists
 * them. */
struct jwk *source_keystore_jwk(struct source_keystore *keystore, const char *alias, const struct algorithm_request *request,
                                struct error *error) MUST_CHECK;

#endif
