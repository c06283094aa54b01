/* jwk-api environment …: the targets of deployments, and the keys that tell who belongs to them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/secret_file.h"
#include "master_key.h"
#include "store_audit.h"
#include "store_signing.h"

enum { PUBLIC_KEYS_MAX = 256 * 1024 }; /* bytes of a file of public keys */

/* Where the keys of an environment come from. */
struct keying {
    const struct settings *settings;
    const char *command, *name;
    int (*change)(struct store *store, const char *name, const char *keys, struct error *error);
    struct text public_keys; /* JWK Set; empty for an environment without keys */
    struct text credentials; /* made here; empty when its operator has made the keys. Wiped */
    bool is_written;         /* the credentials are in their file */
};

/* Reads a file of which nothing is secret. */
static int read_file(const char *path, struct text *content, struct error *error) {
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(error, ERROR_INVALID, "--public-keys %s: %s", path, strerror(errno));
    char buffer[4096];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, file)) > 0 && content->length <= PUBLIC_KEYS_MAX)
        text_add(content, buffer, count);
    int status = ferror(file) ? error_set(error, ERROR_INVALID, "--public-keys %s: %s", path, strerror(errno)) : 0;
    fclose(file);
    if (status == 0 && (content->length == 0 || content->length > PUBLIC_KEYS_MAX))
        status = error_set(error, ERROR_INVALID, "--public-keys %s: it is empty or larger than %d bytes", path, PUBLIC_KEYS_MAX);
    return status;
}

/* Takes the public keys that the environment's operator has made. */
static int take_public_keys(struct keying *keying, struct error *error) {
    const char *path = keying->settings->public_keys;
    struct environment_keys keys;
    if (read_file(path, &keying->public_keys, error))
        return -1;
    if (environment_keys_parse(keying->public_keys.bytes, keying->public_keys.length, &keys, error))
        return error_prefix(error, "--public-keys %s", path);
    environment_keys_clear(&keys);
    return 0;
}

static int make_credentials(struct keying *keying, struct store *store, struct error *error) {
    struct text api_keys = TEXT_EMPTY;
    int status = store_ensure_signing_key(store, error) ||
                         store_export_signing_keys(store, false, clock_wall_ms(), &api_keys, error)
                     ? -1
                     : 0;
    if (status == 0)
        credentials_generate(keying->name, api_keys.bytes, &keying->credentials, &keying->public_keys);
    text_free(&api_keys);
    return status;
}

static int run_keying(struct store *store, void *context, struct error *error) {
    struct keying *keying = context;
    const struct settings *settings = keying->settings;
    if (!settings->public_keys && !settings->without_keys && make_credentials(keying, store, error))
        return -1;
    const char *detail = settings->without_keys ? "without keys" : settings->public_keys ? "with public keys of its operator" : "with new keys";
    if (keying->change(store, keying->name, keying->public_keys.bytes, error) ||
        store_audit_command(store, keying->command, keying->name, detail, error))
        return -1;
    /* Last, but before the commit: an environment whose credentials are nowhere would be of no use. */
    if (settings->credentials && keying->credentials.length) {
        if (secret_file_write_new("credentials file", settings->credentials, keying->credentials.bytes,
                                  keying->credentials.length, error))
            return -1;
        keying->is_written = true;
    }
    return 0;
}

/* Shows credentials that go into no file. */
static int print_credentials(const struct keying *keying) {
    if (printf("%s\n", keying->credentials.bytes) >= 0 && fflush(stdout) == 0)
        return 0;
    fprintf(stderr, "jwk-api: the environment is there, but its credentials could not be written: %s; make others by: jwk-api "
                    "environment rekey\n",
            strerror(errno));
    return 1;
}

static int change_keys(const struct settings *settings, enum store_mode mode, const char *command, const char *name,
                       int (*change)(struct store *store, const char *name, const char *keys, struct error *error)) {
    struct error error;
    struct keying keying = {.settings = settings, .command = command, .name = name, .change = change};
    if ((settings->credentials != NULL) + (settings->public_keys != NULL) + settings->without_keys > 1) {
        error_set(&error, ERROR_INVALID, "%s takes one of --credentials, --public-keys and --without-keys", command);
        return admin_fail(&error) + 1;
    }
    /* A new store has no signing key yet, and would be left behind without the environment that it was made for. */
    struct master_key_source source = master_key_source_of(settings);
    if (!settings->public_keys && !settings->without_keys && !master_key_source_is_given(&source) && mode == STORE_MAKE &&
        !store_exists(settings->data_dir)) {
        error_set(&error, ERROR_INVALID, "%s", MASTER_KEY_MISSING);
        return admin_fail(&error);
    }
    if (settings->public_keys && take_public_keys(&keying, &error)) {
        text_free(&keying.public_keys);
        return admin_fail(&error);
    }
    int status = admin_with_store(settings, mode, run_keying, &keying);
    if (status == 0) {
        if (settings->credentials)
            fprintf(stderr, "the credentials of %s are in %s: only its workers need them\n", name, settings->credentials);
        else if (keying.credentials.length)
            status = print_credentials(&keying);
    } else if (keying.is_written) {
        unlink(settings->credentials); /* they belong to nothing */
    }
    text_wipe(&keying.credentials);
    text_free(&keying.public_keys);
    return status;
}

int environment_add_run(void *settings, char **operands, int count) {
    (void)count;
    return change_keys(settings, STORE_MAKE, "environment add", operands[0], store_add_environment);
}

int environment_rekey_run(void *settings, char **operands, int count) {
    (void)count;
    return change_keys(settings, STORE_WRITE, "environment rekey", operands[0], store_rekey_environment);
}

static int remove_environment(struct store *store, void *context, struct error *error) {
    return store_remove_environment(store, context, error) || store_audit_command(store, "environment remove", context, NULL, error)
               ? -1
               : 0;
}

int environment_remove_run(void *settings, char **operands, int count) {
    (void)count;
    return admin_with_store(settings, STORE_WRITE, remove_environment, operands[0]);
}

/* ---- listing ---- */

static void print_kids(const char *keys_text) {
    struct environment_keys keys;
    struct error error;
    if (environment_keys_parse(keys_text, strlen(keys_text), &keys, &error)) {
        printf("\tkeys that can not be read: %s", error.message);
        return;
    }
    for (size_t i = 0; i < keys.encryption_count; i++)
        printf("%s%s", i ? "," : "\tenc ", keys.encryption[i].kid);
    for (size_t i = 0; i < keys.signature_count; i++) {
        char kid[SHA256_TEXT_SIZE];
        jwk_thumbprint(keys.signature[i], kid);
        printf("%s%s", i ? "," : "\tsig ", jwk_kid(keys.signature[i]) ? jwk_kid(keys.signature[i]) : kid);
    }
    environment_keys_clear(&keys);
}

static void print_environment(void *context, const struct store_item *item) {
    char time[CLOCK_TEXT_SIZE];
    (void)context;
    printf("%s\t%s\t%s", item->name, item->uid, clock_format(item->created_at, time));
    if (item->keys)
        print_kids(item->keys);
    else
        printf("\twithout keys");
    printf("\n");
}

static int list(struct store *store, void *context, struct error *error) {
    (void)context;
    return store_each_environment(store, print_environment, NULL, error);
}

int environment_list_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    return admin_with_store(settings, STORE_WRITE, list, NULL);
}
