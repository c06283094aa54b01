/* The keyring: data keys in memory, and sealing and opening with them. */
#include "sealing.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/identifier.h"
#include "common/log.h"
#include "common/memory.h"

enum {
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
    REREAD_MS = 1000, /* between two looks at the source for a master key that is not there: a program may be slow */
};

struct ring_key {
    uint32_t id;
    unsigned char bytes[DATA_KEY_BYTES];
};

struct sealing {
    struct master_key_source source;
    EVP_CIPHER *cipher;
    pthread_mutex_t master_lock; /* guards the two below; never taken while ring_lock is held */
    struct master_keys master_keys;
    int64_t pause_until;        /* monotonic ms: the source is not read again for a master key that is not there */
    pthread_rwlock_t ring_lock; /* guards the two below */
    struct ring_key **ring; /* in the order of ids; a key stays where it is until the end, so that it can be used unlocked */
    size_t count;
};

/* ---- AES-256-GCM ---- */

/* Encrypts size bytes into out, which holds as many and the tag behind them; false when OpenSSL can not (no memory). */
static bool encrypt(const EVP_CIPHER *cipher, const unsigned char *key, const unsigned char *nonce, const char *place,
                    const void *bytes, size_t size, unsigned char *out) {
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int length = 0;
    bool done = context && EVP_EncryptInit_ex2(context, cipher, key, nonce, NULL) == 1 &&
                EVP_EncryptUpdate(context, NULL, &length, (const unsigned char *)place, (int)strlen(place)) == 1 &&
                EVP_EncryptUpdate(context, out, &length, bytes, (int)size) == 1 &&
                EVP_EncryptFinal_ex(context, out + size, &length) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, out + size) == 1;
    EVP_CIPHER_CTX_free(context);
    return done;
}

/* Decrypts size bytes and checks the tag that is behind them; false when they do not fit key, nonce and place. */
static bool decrypt(const EVP_CIPHER *cipher, const unsigned char *key, const unsigned char *nonce, const char *place,
                    const unsigned char *bytes, size_t size, unsigned char *out) {
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int length = 0;
    unsigned char tag[TAG_BYTES];
    memcpy(tag, bytes + size, sizeof tag);
    bool done = context && EVP_DecryptInit_ex2(context, cipher, key, nonce, NULL) == 1 &&
                EVP_DecryptUpdate(context, NULL, &length, (const unsigned char *)place, (int)strlen(place)) == 1 &&
                EVP_DecryptUpdate(context, out, &length, bytes, (int)size) == 1 &&
                EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
                EVP_DecryptFinal_ex(context, out + size, &length) == 1;
    EVP_CIPHER_CTX_free(context);
    return done;
}

/* ---- the keyring ---- */

struct sealing *sealing_new(const struct master_key_source *source, struct error *error) {
    struct sealing *sealing = memory_new(sizeof *sealing);
    sealing->source = *source;
    pthread_mutex_init(&sealing->master_lock, NULL);
    pthread_rwlock_init(&sealing->ring_lock, NULL);
    sealing->cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    if (!sealing->cipher) {
        error_set(error, ERROR_INTERNAL, "OpenSSL has no AES-256-GCM");
        goto failed;
    }
    if (master_keys_read(source, &sealing->master_keys, error))
        goto failed;
    return sealing;
failed:
    sealing_free(sealing);
    return NULL;
}

void sealing_free(struct sealing *sealing) {
    if (!sealing)
        return;
    for (size_t i = 0; i < sealing->count; i++) {
        OPENSSL_cleanse(sealing->ring[i], sizeof *sealing->ring[i]);
        free(sealing->ring[i]);
    }
    free(sealing->ring);
    master_keys_clear(&sealing->master_keys);
    EVP_CIPHER_free(sealing->cipher);
    pthread_rwlock_destroy(&sealing->ring_lock);
    pthread_mutex_destroy(&sealing->master_lock);
    free(sealing);
}

void sealing_master_key(struct sealing *sealing, char id[MASTER_KEY_ID_SIZE]) {
    pthread_mutex_lock(&sealing->master_lock);
    memcpy(id, sealing->master_keys.items[0].id, MASTER_KEY_ID_SIZE);
    pthread_mutex_unlock(&sealing->master_lock);
}

/* Where a key of that id is in the ring, or belongs. With the lock held. */
static size_t find_place(const struct sealing *sealing, uint32_t id) {
    size_t low = 0, high = sealing->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sealing->ring[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const struct ring_key *find_key(struct sealing *sealing, uint32_t id) {
    pthread_rwlock_rdlock(&sealing->ring_lock);
    size_t place = find_place(sealing, id);
    const struct ring_key *key = place < sealing->count && sealing->ring[place]->id == id ? sealing->ring[place] : NULL;
    pthread_rwlock_unlock(&sealing->ring_lock);
    return key;
}

bool sealing_has(struct sealing *sealing, uint32_t id) {
    return find_key(sealing, id) != NULL;
}

static void put_key(struct sealing *sealing, const struct ring_key *key) {
    pthread_rwlock_wrlock(&sealing->ring_lock);
    size_t place = find_place(sealing, key->id);
    if (place == sealing->count || sealing->ring[place]->id != key->id) {
        sealing->ring = memory_resize(sealing->ring, (sealing->count + 1) * sizeof *sealing->ring);
        memmove(sealing->ring + place + 1, sealing->ring + place, (sealing->count - place) * sizeof *sealing->ring);
        sealing->ring[place] = memory_new(sizeof *key);
        *sealing->ring[place] = *key;
        sealing->count++;
    }
    pthread_rwlock_unlock(&sealing->ring_lock);
}

/* ---- data keys ---- */

enum { PLACE_SIZE = 32 };

/* What binds a data key to its row and its master key. */
static const char *data_key_place(uint32_t id, char out[PLACE_SIZE]) {
    snprintf(out, PLACE_SIZE, "data_key.sealed:%u", (unsigned)id);
    return out;
}

int sealing_make(struct sealing *sealing, uint32_t id, struct data_key *key, struct error *error) {
    unsigned char bytes[DATA_KEY_BYTES];
    char place[PLACE_SIZE];
    random_bytes(bytes, sizeof bytes);
    random_bytes(key->sealed, NONCE_BYTES);
    key->id = id;
    pthread_mutex_lock(&sealing->master_lock);
    const struct master_key *master = &sealing->master_keys.items[0];
    memcpy(key->master_key, master->id, sizeof key->master_key);
    bool done = encrypt(sealing->cipher, master->bytes, key->sealed, data_key_place(id, place), bytes, sizeof bytes,
                        key->sealed + NONCE_BYTES);
    pthread_mutex_unlock(&sealing->master_lock);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return done ? 0 : error_set(error, ERROR_UNAVAILABLE, "A data key can not be sealed now; try again later");
}

/* With master_lock held. */
static void reread(struct sealing *sealing) {
    struct error error;
    struct master_keys keys;
    if (master_keys_read(&sealing->source, &keys, &error)) {
        log_error("master keys can not be read again", "reason", error.message);
    } else {
        master_keys_clear(&sealing->master_keys);
        sealing->master_keys = keys;
        OPENSSL_cleanse(&keys, sizeof keys);
    }
}

void sealing_reread(struct sealing *sealing) {
    pthread_mutex_lock(&sealing->master_lock);
    reread(sealing);
    pthread_mutex_unlock(&sealing->master_lock);
}

int sealing_add(struct sealing *sealing, const struct data_key *key, struct error *error) {
    struct ring_key opened = {.id = key->id};
    char place[PLACE_SIZE];
    int status = -1;
    if (find_key(sealing, key->id))
        return 0;
    pthread_mutex_lock(&sealing->master_lock);
    const struct master_key *master = master_keys_find(&sealing->master_keys, key->master_key);
    /* A re-keying may have brought it. After a look in vain there is a pause: a program that prints them is not run for each
     * call that misses it. */
    if (!master && clock_monotonic_ms() >= sealing->pause_until) {
        reread(sealing);
        master = master_keys_find(&sealing->master_keys, key->master_key);
        if (!master)
            sealing->pause_until = clock_monotonic_ms() + REREAD_MS;
    }
    if (!master)
        error_set(
            error, ERROR_INVALID,
            "The store's keys are sealed under the master key %s, which is not in %s: add its line below the first, or put "
            "back the right one",
            key->master_key, sealing->master_keys.where);
    else if (decrypt(sealing->cipher, master->bytes, key->sealed, data_key_place(key->id, place), key->sealed + NONCE_BYTES,
                     DATA_KEY_BYTES, opened.bytes))
        status = 0;
    else
        error_set(error, ERROR_INVALID,
                  "The store's data key %u does not open with the master key %s: it is damaged; put back a backup",
                  (unsigned)key->id, key->master_key);
    pthread_mutex_unlock(&sealing->master_lock);
    if (status == 0)
        put_key(sealing, &opened);
    OPENSSL_cleanse(&opened, sizeof opened);
    return status;
}

/* ---- values ---- */

uint32_t sealing_key_of(const void *value, size_t size) {
    const unsigned char *bytes = value;
    if (size < SEALED_OVERHEAD || bytes[0] != SEALED_MARK)
        return 0;
    return (uint32_t)bytes[1] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 8 | bytes[4];
}

enum { VALUE_PLACE_SIZE = 192 };

/* False when it does not fit: nothing of ours is as long. */
static bool value_place(const char *column, const char *row, char out[VALUE_PLACE_SIZE]) {
    return snprintf(out, VALUE_PLACE_SIZE, "%s:%s", column, row) < VALUE_PLACE_SIZE;
}

int sealing_seal(struct sealing *sealing, uint32_t key_id, const char *column, const char *row, const void *bytes, size_t size,
                 struct text *sealed, struct error *error) {
    char place[VALUE_PLACE_SIZE];
    const struct ring_key *key = find_key(sealing, key_id);
    if (!key || !value_place(column, row, place))
        return error_set(error, ERROR_INTERNAL, "A secret can not be sealed");
    size_t whole = size + SEALED_OVERHEAD;
    unsigned char *out = memory_new(whole);
    out[0] = SEALED_MARK;
    for (int i = 0; i < 4; i++)
        out[1 + i] = (unsigned char)(key_id >> (24 - 8 * i));
    random_bytes(out + 5, NONCE_BYTES);
    bool done = encrypt(sealing->cipher, key->bytes, out + 5, place, bytes, size, out + SEALED_HEAD_BYTES);
    if (done)
        text_add(sealed, (char *)out, whole);
    else
        OPENSSL_cleanse(out, whole);
    free(out);
    return done ? 0 : error_set(error, ERROR_UNAVAILABLE, "A secret can not be sealed now; try again later");
}

int sealing_open(struct sealing *sealing, const char *column, const char *row, const void *value, size_t size,
                 struct text *bytes, struct error *error) {
    char place[VALUE_PLACE_SIZE];
    uint32_t key_id = sealing_key_of(value, size);
    const char *reason;
    const struct ring_key *key = key_id ? find_key(sealing, key_id) : NULL;
    if (key_id == 0) {
        reason = "it is not sealed";
    } else if (!key) {
        reason = "its data key is not there";
    } else if (!value_place(column, row, place)) {
        reason = "its place has too long a name";
    } else {
        const unsigned char *from = value;
        size_t length = size - SEALED_OVERHEAD;
        unsigned char *out = memory_new(length + 1);
        bool done = decrypt(sealing->cipher, key->bytes, from + 5, place, from + SEALED_HEAD_BYTES, length, out);
        if (done)
            text_add(bytes, (char *)out, length);
        OPENSSL_cleanse(out, length);
        free(out);
        if (done)
            return 0;
        reason = "it was changed, or belongs elsewhere";
    }
    log_error("secret does not open", "column", column, "row", row, "reason", reason);
    return error_set(error, ERROR_INTERNAL, "A secret of the store does not open");
}
