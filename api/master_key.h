/* Master keys: what the keys that seal the store's secrets are sealed under. The store never holds one.
 *
 * They come from a file, from the standard output of a program, or from a credential of systemd: text with one key a line, each
 * 32 random bytes in base64url; blank lines and lines that begin with # are ignored. The first is used to seal, all of them to
 * open. */
#ifndef API_MASTER_KEY_H
#define API_MASTER_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "settings.h"

enum {
    MASTER_KEY_BYTES = 32,
    MASTER_KEYS_MAX = 16,    /* old ones are there for the time of a re-keying */
    MASTER_KEY_ID_SIZE = 9,  /* 8 characters and a NUL */
    MASTER_KEY_TIMEOUT_MS = 30000, /* for the program that prints them */
};

#define MASTER_KEY_MISSING \
    "No master key: give the one of the store with --master-key-file FILE; a new installation makes one with 'jwk-api " \
    "master-key generate --output FILE'"

/* Where the keys come from; strings are borrowed. One of the first three at most; with none, the credential "master-key" where
 * there is one. */
struct master_key_source {
    const char *file, *command, *credential;
};
struct master_key_source master_key_source_of(const struct settings *settings);
/* Whether keys can be had at all: an option names them, or the credential is there. */
bool master_key_source_is_given(const struct master_key_source *source);

struct master_key {
    unsigned char bytes[MASTER_KEY_BYTES];
    char id[MASTER_KEY_ID_SIZE]; /* made from its hash: tells it, and nothing of it */
};

struct master_keys {
    struct master_key items[MASTER_KEYS_MAX];
    size_t count;
    char *where; /* "master key file /etc/…", for sentences; owned */
};

/* Reads the keys; the caller clears them. ERROR_INVALID with a sentence that says what to do: none given, several options
 * given, a file that others may read, a line that is no key, one twice, too many, a program that fails. Thread-safe. */
int master_keys_read(const struct master_key_source *source, struct master_keys *keys, struct error *error) MUST_CHECK;
void master_keys_clear(struct master_keys *keys); /* wipes them */
/* The key of that id, or NULL. */
const struct master_key *master_keys_find(const struct master_keys *keys, const char *id);

#endif
