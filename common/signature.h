/* Signatures of the records on the topics: one Ed25519 signature for a whole batch.
 *
 * A batch is a Merkle tree (RFC 9162 section 2.1) over its records; the signature is a compact JWS with detached payload (RFC
 * 7515 appendix F, RFC 8037) of the tree's root, and each record carries the way from itself to the root. So a batch costs one
 * signature and one verification, whatever it holds. Two headers of a record tell it: ce_signature and ce_signaturepath. */
#ifndef COMMON_SIGNATURE_H
#define COMMON_SIGNATURE_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudevent.h"
#include "error.h"
#include "identifier.h"
#include "jwk.h"

enum {
    SIGNATURE_BATCH_MAX = 4096,     /* records of one batch; more are signed as several */
    SIGNATURE_TEXT_MAX = 64 * 1024, /* characters of a JWS with attached payload that is judged */
};

/* ---- signing ---- */

struct signer; /* an Ed25519 key that signs; used by one thread at a time */

/* From a private Ed25519 JWK; the key is not taken. ERROR_INVALID for another. Where Ed25519 does not work, or there is no memory, the
 * process exits with a message: nothing may be published unsigned. */
struct signer *signer_new(const struct jwk *key, struct error *error) MUST_CHECK;
/* With a new key, which only lives in memory. */
struct signer *signer_generate(void);
void signer_free(struct signer *signer);                    /* wipes the key; NULL is allowed */
const char *signer_kid(const struct signer *signer);        /* RFC 7638 thumbprint, owned by the signer */
const char *signer_public_key(const struct signer *signer); /* the public JWK as JSON, owned by the signer */

/* The hash of a record that a batch is made of: key, attributes and value (NULL: a tombstone). */
void signature_leaf(const char *key, const struct cloudevent *attributes, const void *value, size_t value_length,
                    unsigned char leaf[32]);
/* Signs the leaves as one batch; every record of it gets the headers that signature_add_headers() makes. count is at least 1
 * and at most SIGNATURE_BATCH_MAX. */
struct signed_batch;
struct signed_batch *signature_sign(struct signer *signer, const unsigned char (*leaves)[32], size_t count);
void signature_add_headers(const struct signed_batch *batch, size_t index, rd_kafka_headers_t *headers);
void signed_batch_free(struct signed_batch *batch); /* NULL is allowed */

/* A compact JWS with its payload attached, of a JSON text; freed with free(). */
char *signature_sign_text(struct signer *signer, const char *payload, size_t length) MUST_CHECK;

/* ---- verifying ---- */

/* The public keys that are trusted, and the roots that were verified last. Used by one thread at a time. */
struct verifier;

struct verifier *verifier_new(void);
void verifier_free(struct verifier *verifier); /* NULL is allowed */
/* Trusts a public Ed25519 JWK, which is known by its RFC 7638 thumbprint, whatever its `kid`. Trust ends at not_after, seconds
 * since 1970 (INT64_MAX: no end), or at an `exp` of the JWK itself if that is sooner. A key that is trusted already gets the
 * new end. An `nbf` is not regarded: whoever pins a key trusts it at once. ERROR_INVALID for a key of another kind. */
int verifier_trust(struct verifier *verifier, const struct jwk *key, int64_t not_after, struct error *error) MUST_CHECK;
void verifier_forget_all(struct verifier *verifier);
size_t verifier_count(const struct verifier *verifier);

enum signature_verdict {
    SIGNATURE_VALID,
    SIGNATURE_MISSING,     /* the record has none */
    SIGNATURE_MALFORMED,   /* headers that are none of ours, another alg ("none" included), unknown members that are critical */
    SIGNATURE_UNKNOWN_KEY, /* its kid is not trusted */
    SIGNATURE_EXPIRED_KEY, /* its key was trusted until a time that is over at `now` */
    SIGNATURE_WRONG,       /* it does not fit the record */
};
const char *signature_verdict_name(enum signature_verdict verdict); /* "valid", "missing", "unknown-key", …: for metrics */
/* Judges a record that was consumed. now: seconds since 1970. kid (may be NULL) gets the signing key's kid when it is valid.
 * error (may be NULL) gets a sentence for every other verdict. */
enum signature_verdict verifier_check(struct verifier *verifier, const rd_kafka_message_t *record,
                                      const struct cloudevent *attributes, int64_t now, char kid[SHA256_TEXT_SIZE],
                                      struct error *error) MUST_CHECK;
/* Judges a compact JWS with attached payload; payload is appended when it is valid. */
enum signature_verdict verifier_check_text(struct verifier *verifier, const char *jws, size_t length, int64_t now,
                                           struct text *payload, struct error *error) MUST_CHECK;

#endif
