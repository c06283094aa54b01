/* The keyring that seals the secrets of the store: AES-256-GCM (NIST SP 800-38D) under data keys, which are themselves sealed
 * under master keys (master_key.h).
 *
 * A sealed value is: byte 1, id of the data key (4 bytes, big endian), nonce (12), ciphertext, tag (16). Its place, "table.column:"
 * and the id of the row, is authenticated with it, so that no value can be moved elsewhere. Nonces are random: a data key is used
 * for a day, far below the 2^32 values that they are good for.
 *
 * One keyring is shared by all connections of a process. All functions are thread-safe. */
#ifndef API_SEALING_H
#define API_SEALING_H

#include <stdint.h>

#include "common/text.h"
#include "master_key.h"

enum {
    SEALED_MARK = 1,                     /* the first byte of every sealed value; no text of version 1 begins with it */
    SEALED_HEAD_BYTES = 1 + 4 + 12,
    SEALED_OVERHEAD = SEALED_HEAD_BYTES + 16,
    DATA_KEY_BYTES = 32,
    DATA_KEY_SEALED_BYTES = 12 + DATA_KEY_BYTES + 16, /* nonce, ciphertext, tag */
    DATA_KEY_LIFETIME_MS = 86400 * 1000,
};

struct sealing;

/* A keyring without data keys. Reads the master keys from their source, and again later when a data key needs one that is not
 * there. NULL with ERROR_INVALID and a sentence. Its strings must live as long. */
struct sealing *sealing_new(const struct master_key_source *source, struct error *error) MUST_CHECK;
void sealing_free(struct sealing *sealing); /* wipes all keys; NULL is allowed */
/* Copies the id of the master key that new data keys are sealed under. */
void sealing_master_key(struct sealing *sealing, char id[MASTER_KEY_ID_SIZE]);

/* Reads the master keys again, so that what is sealed from now on is under the first of them as it is now. When they can not be
 * read, those that there are stay. */
void sealing_reread(struct sealing *sealing);

/* ---- data keys: as a store keeps them ---- */

struct data_key {
    uint32_t id;
    char master_key[MASTER_KEY_ID_SIZE]; /* the id of the one that it is sealed under */
    unsigned char sealed[DATA_KEY_SEALED_BYTES];
};
/* Makes a data key of that id, sealed under the first master key. It is not in the ring before sealing_add(): the transaction
 * that stores it may still be taken back. */
int sealing_make(struct sealing *sealing, uint32_t id, struct data_key *key, struct error *error) MUST_CHECK;
bool sealing_has(struct sealing *sealing, uint32_t id);
/* Opens a data key and puts it into the ring. ERROR_INVALID when its master key is not given, saying which is wanted, or when
 * it does not open. */
int sealing_add(struct sealing *sealing, const struct data_key *key, struct error *error) MUST_CHECK;

/* ---- values ---- */

/* The id of the data key of a sealed value; 0 when it is clear text of version 1. */
uint32_t sealing_key_of(const void *value, size_t size);
/* Appends size bytes, sealed under a data key of the ring. column ("jwk_material.private_key") and row (the id) are its place.
 * ERROR_INTERNAL when the ring lacks the key. */
int sealing_seal(struct sealing *sealing, uint32_t key_id, const char *column, const char *row, const void *bytes, size_t size,
                 struct text *sealed, struct error *error) MUST_CHECK;
/* Appends what a sealed value holds; the caller wipes it. ERROR_INTERNAL, after a line in the log, when the ring lacks the key,
 * or the value was changed or belongs elsewhere. */
int sealing_open(struct sealing *sealing, const char *column, const char *row, const void *value, size_t size,
                 struct text *bytes, struct error *error) MUST_CHECK;

#endif
