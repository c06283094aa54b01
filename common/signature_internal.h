/* What the files that make up the signature module promise each other, and to the tests that need no record. */
#ifndef COMMON_SIGNATURE_INTERNAL_H
#define COMMON_SIGNATURE_INTERNAL_H

#include "common/merkle.h"
#include "common/octets.h"
#include "common/signature.h"

#define SIGNATURE_HEADER      "ce_signature"
#define SIGNATURE_PATH_HEADER "ce_signaturepath"

enum {
    SIGNATURE_SIZE = 64,          /* octets of an Ed25519 signature, RFC 8032 section 5.1.6 */
    SIGNATURE_DETACHED_MAX = 512, /* characters of a record's JWS: ours have 176, another producer's header may have more */
    SIGNATURE_PATH_TEXT_MAX = sizeof "4095/4096:" + (MERKLE_PATH_MAX * MERKLE_HASH_SIZE * 4 + 2) / 3,
};

/* To be called before anything is signed or verified; as often as anybody likes, by any thread. Where Ed25519 does not work the
 * process exits with a message. */
void signature_prepare(void);
/* signature_leaf() with a key that may hold any bytes, and a hasher that is used again. */
void signature_hash_record(struct merkle_hasher *hasher, struct octets key, const struct cloudevent *attributes,
                           struct octets value, unsigned char leaf[MERKLE_HASH_SIZE]);
/* verifier_check() of a record whose leaf and headers are known. */
enum signature_verdict signature_check_leaf(struct verifier *verifier, const unsigned char leaf[MERKLE_HASH_SIZE],
                                            struct octets signature, struct octets path, int64_t now,
                                            char kid[SHA256_TEXT_SIZE], struct error *error) MUST_CHECK;

#endif
