/* Keys from files, and what is judged by them. */
#include "worker/trust.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/credentials.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/secret_file.h"

/* What tells that a file is not the one that was read. */
struct file_mark {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

/* What was read from the files at one time. */
struct keys {
    struct credentials credentials;
    struct verifier *api[TRUST_CHECKERS_MAX], *environment; /* the same keys in each: one for each thread */
    struct signer *enroller;
    char *names;     /* of the API's keys, see trust_keys() */
    char *enrolling; /* kid of the key that enrols */
};

struct trust {
    char *environment, *credentials_path, *api_keys_path;
    struct file_mark credentials_mark, api_keys_mark;
    pthread_rwlock_t lock; /* guards keys->credentials against those who open private halves */
    struct keys *keys;
    uint64_t generation;
};

/* ---- reading ---- */

static void keys_free(struct keys *keys) {
    if (!keys)
        return;
    credentials_clear(&keys->credentials);
    for (size_t i = 0; i < TRUST_CHECKERS_MAX; i++)
        verifier_free(keys->api[i]);
    verifier_free(keys->environment);
    signer_free(keys->enroller);
    free(keys->names);
    free(keys->enrolling);
    free(keys);
}

static struct file_mark mark_of(const char *path) {
    struct stat status;
    if (!path || stat(path, &status) != 0)
        return (struct file_mark){.size = -1};
    return (struct file_mark){
        .device = status.st_dev, .inode = status.st_ino, .size = status.st_size, .changed = status.st_ctim};
}

static bool marks_differ(struct file_mark a, struct file_mark b) {
    return a.device != b.device || a.inode != b.inode || a.size != b.size || a.changed.tv_sec != b.changed.tv_sec ||
           a.changed.tv_nsec != b.changed.tv_nsec;
}

/* A key by its thumbprint, with its end where it has one. */
static char *describe(const struct jwk *key) {
    char kid[SHA256_TEXT_SIZE], end[CLOCK_TEXT_SIZE];
    int64_t expires = jwk_expires(key);
    jwk_thumbprint(key, kid);
    if (expires == INT64_MAX) /* any other is a time that can be written */
        return memory_string(kid);
    return memory_format("%s until %s", kid, clock_format(expires * 1000, end));
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Trusts the API's keys, and names them in an order that does not depend on the file's. */
static int trust_api_keys(struct keys *keys, struct jwk *const *list, size_t count, struct error *error) {
    char *names[CREDENTIAL_KEYS_MAX] = {0};
    int status = 0;
    for (size_t i = 0; i < count; i++) {
        names[i] = describe(list[i]);
        for (size_t j = 0; j < TRUST_CHECKERS_MAX; j++)
            if (verifier_trust(keys->api[j], list[i], INT64_MAX, error))
                status = -1;
    }
    qsort(names, count, sizeof *names, compare_texts);
    struct text text = TEXT_EMPTY;
    for (size_t i = 0; i < count; i++) {
        text_add_format(&text, "%s%s", i > 0 ? ", " : "", names[i]);
        free(names[i]);
    }
    keys->names = text_take(&text);
    return status;
}

static int read_credentials(const struct trust *trust, struct keys *keys, struct error *error) {
    struct text content = TEXT_EMPTY;
    int status = secret_file_read("credentials file", trust->credentials_path, &content, error);
    if (status == 0 && credentials_parse(content.bytes, content.length, &keys->credentials, error))
        status = error_prefix(error, "the credentials file %s", trust->credentials_path);
    text_wipe(&content);
    if (status)
        return -1;
    const struct credentials *credentials = &keys->credentials;
    if (strcmp(credentials->environment, trust->environment) != 0)
        return error_set(error, ERROR_CONFLICT,
                         "the credentials in %s are those of environment %s, and this is a worker of %s: give it the credentials of "
                         "its own environment",
                         trust->credentials_path, credentials->environment, trust->environment);
    for (size_t i = 0; i < credentials->keys.signature_count; i++)
        if (verifier_trust(keys->environment, credentials->keys.signature[i], INT64_MAX, error))
            return -1;
    keys->enroller = signer_new(credentials->keys.signature[0], error);
    if (!keys->enroller)
        return -1;
    keys->enrolling = memory_string(signer_kid(keys->enroller));
    return 0;
}

/* A file that anybody may read, but not write. */
static int read_public_file(const char *path, struct text *content, struct error *error) {
    enum { PUBLIC_FILE_MAX = 256 * 1024 };
    struct stat status;
    FILE *file = fopen(path, "re");
    if (!file || fstat(fileno(file), &status) != 0) {
        error_set(error, ERROR_UNAVAILABLE, "reading the API keys file %s: %s", path, strerror(errno));
    } else if (!S_ISREG(status.st_mode) || status.st_size == 0 || status.st_size > PUBLIC_FILE_MAX) {
        error_set(error, ERROR_INVALID, "the API keys file %s is not a regular file of 1 to %d bytes", path, PUBLIC_FILE_MAX);
    } else if ((status.st_mode & 022) != 0) {
        error_set(error, ERROR_DENIED,
                  "the API keys file %s can be written by others (mode %03o): whoever does that decides what is believed; run: "
                  "chmod go-w %s",
                  path, (unsigned)(status.st_mode & 0777), path);
    } else {
        char buffer[4096];
        size_t length;
        while ((length = fread(buffer, 1, sizeof buffer, file)) > 0)
            text_add(content, buffer, length);
        int failed = ferror(file);
        fclose(file);
        return failed ? error_set(error, ERROR_UNAVAILABLE, "reading the API keys file %s failed", path) : 0;
    }
    if (file)
        fclose(file);
    return -1;
}

static int read_api_keys(const struct trust *trust, struct keys *keys, struct error *error) {
    if (!trust->api_keys_path)
        return trust_api_keys(keys, keys->credentials.api_keys, keys->credentials.api_key_count, error);
    struct text content = TEXT_EMPTY;
    struct jwk *list[CREDENTIAL_KEYS_MAX];
    size_t count = 0;
    int status = read_public_file(trust->api_keys_path, &content, error);
    if (status == 0 && api_keys_parse(content.bytes, content.length, list, &count, error))
        status = error_prefix(error, "the API keys file %s", trust->api_keys_path);
    text_free(&content);
    if (status == 0)
        status = trust_api_keys(keys, list, count, error);
    for (size_t i = 0; i < count; i++)
        jwk_free(list[i]);
    return status;
}

static struct keys *read_keys(const struct trust *trust, struct error *error) {
    struct keys *keys = memory_new(sizeof *keys);
    for (size_t i = 0; i < TRUST_CHECKERS_MAX; i++)
        keys->api[i] = verifier_new();
    keys->environment = verifier_new();
    if (read_credentials(trust, keys, error) == 0 && read_api_keys(trust, keys, error) == 0) {
        if (verifier_count(keys->api[0]) > 0)
            return keys;
        error_set(error, ERROR_INVALID,
                  "the credentials in %s have no key of the API: give one with --api-keys (jwk-api signing-key export prints them)",
                  trust->credentials_path);
    }
    keys_free(keys);
    return NULL;
}

static void note_marks(struct trust *trust) {
    trust->credentials_mark = mark_of(trust->credentials_path);
    trust->api_keys_mark = mark_of(trust->api_keys_path);
}

struct trust *trust_open(const char *environment, const char *credentials, const char *api_keys, struct error *error) {
    struct trust *trust = memory_new(sizeof *trust);
    trust->environment = memory_string(environment);
    trust->credentials_path = memory_string(credentials);
    trust->api_keys_path = memory_string(api_keys);
    pthread_rwlock_init(&trust->lock, NULL);
    note_marks(trust);
    trust->keys = read_keys(trust, error);
    if (!trust->keys) {
        trust_close(trust);
        return NULL;
    }
    return trust;
}

void trust_close(struct trust *trust) {
    if (!trust)
        return;
    keys_free(trust->keys);
    pthread_rwlock_destroy(&trust->lock);
    free(trust->environment);
    free(trust->credentials_path);
    free(trust->api_keys_path);
    free(trust);
}

int trust_reload(struct trust *trust, struct error *error) {
    /* Noted before they are read: what is written meanwhile is seen as another file. */
    note_marks(trust);
    struct keys *keys = read_keys(trust, error);
    if (!keys)
        return -1;
    pthread_rwlock_wrlock(&trust->lock);
    struct keys *before = trust->keys;
    trust->keys = keys;
    pthread_rwlock_unlock(&trust->lock);
    keys_free(before);
    trust->generation++;
    log_info("credentials read", "apiKeys", keys->names, "enrolledBy", keys->enrolling);
    return 0;
}

bool trust_look(struct trust *trust) {
    struct error problem;
    if (!marks_differ(mark_of(trust->credentials_path), trust->credentials_mark) &&
        !marks_differ(mark_of(trust->api_keys_path), trust->api_keys_mark))
        return false;
    if (trust_reload(trust, &problem) == 0)
        return true;
    log_error("credentials can not be read; keeping those of before", "reason", problem.message);
    return false;
}

uint64_t trust_generation(const struct trust *trust) { return trust ? trust->generation : 0; }
const char *trust_keys(const struct trust *trust) { return trust ? trust->keys->names : "none"; }

/* ---- judging ---- */

enum signature_verdict trust_check_event(const struct trust *trust, size_t checker, const rd_kafka_message_t *record,
                                         const struct cloudevent *attributes, int64_t now, struct error *error) {
    if (!trust)
        return SIGNATURE_VALID;
    enum signature_verdict verdict = verifier_check(trust->keys->api[checker], record, attributes, now, NULL, error);
    if (verdict == SIGNATURE_UNKNOWN_KEY || verdict == SIGNATURE_EXPIRED_KEY) {
        struct error why = *error;
        error_set(error, why.code, "%s: give this worker the API's present keys (jwk-api signing-key export)", why.message);
    }
    return verdict;
}

bool trust_verdict_may_change(enum signature_verdict verdict) {
    return verdict == SIGNATURE_MISSING || verdict == SIGNATURE_UNKNOWN_KEY || verdict == SIGNATURE_EXPIRED_KEY;
}

/* Whether the enrolment is of just this worker and replica key; the record is then judged by that key. */
static enum signature_verdict check_enrolled(const struct enrolment *enrolment, const rd_kafka_message_t *record,
                                             const struct cloudevent *attributes, const struct presence *presence, int64_t now,
                                             struct error *error) {
    if (strcmp(enrolment->environment, presence->environment) != 0 || strcmp(enrolment->replica, presence->replica) != 0 ||
        strcmp(enrolment->worker, presence->worker) != 0 || strcmp(enrolment->jwk, presence->replica_key) != 0) {
        error_set(error, ERROR_DENIED, "the enrolment is that of another worker");
        return SIGNATURE_WRONG;
    }
    struct jwk *key = jwk_from_text(enrolment->jwk, strlen(enrolment->jwk), NULL, error);
    struct verifier *verifier = verifier_new();
    enum signature_verdict verdict = SIGNATURE_MALFORMED;
    if (key && verifier_trust(verifier, key, INT64_MAX, error) == 0)
        verdict = verifier_check(verifier, record, attributes, now, NULL, error);
    verifier_free(verifier);
    jwk_free(key);
    return verdict;
}

enum signature_verdict trust_check_presence(struct trust *trust, const rd_kafka_message_t *record,
                                            const struct cloudevent *attributes, const struct presence *presence, int64_t now,
                                            struct error *error) {
    if (!trust)
        return SIGNATURE_VALID;
    if (!presence->enrolment) {
        error_set(error, ERROR_DENIED, "it tells no enrolment");
        return SIGNATURE_MISSING;
    }
    struct text payload = TEXT_EMPTY;
    const char *text = presence->enrolment;
    enum signature_verdict verdict = verifier_check_text(trust->keys->environment, text, strlen(text), now, &payload, error);
    if (verdict == SIGNATURE_UNKNOWN_KEY && trust_look(trust)) {
        text_reset(&payload);
        verdict = verifier_check_text(trust->keys->environment, text, strlen(text), now, &payload, error);
    }
    struct enrolment enrolment;
    if (verdict == SIGNATURE_VALID && enrolment_decode(payload.bytes, payload.length, &enrolment, error)) {
        verdict = SIGNATURE_MALFORMED;
    } else if (verdict == SIGNATURE_VALID) {
        verdict = check_enrolled(&enrolment, record, attributes, presence, now, error);
        enrolment_free(&enrolment);
    }
    text_free(&payload);
    return verdict;
}

char *trust_enrol(const struct trust *trust, const char *replica, const char *worker, const char *replica_key) {
    struct enrolment enrolment = {
        .environment = trust->environment, .replica = replica, .worker = worker, .jwk = replica_key};
    struct text payload = TEXT_EMPTY;
    enrolment_encode(&enrolment, &payload);
    char *signature = signature_sign_text(trust->keys->enroller, payload.bytes, payload.length);
    text_free(&payload);
    return signature;
}

/* ---- private halves ---- */

/* The members that make up the public half; what else a JWK says may be told in other words. */
static bool halves_fit(const cJSON *whole, const cJSON *public_half) {
    static const char *const members[] = {"kty", "crv", "x", "y", "n", "e"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const cJSON *a = cJSON_GetObjectItemCaseSensitive(whole, members[i]),
                    *b = cJSON_GetObjectItemCaseSensitive(public_half, members[i]);
        if (!a != !b || (a && (!cJSON_IsString(a) || !cJSON_IsString(b) || strcmp(a->valuestring, b->valuestring) != 0)))
            return false;
    }
    return cJSON_IsString(cJSON_GetObjectItemCaseSensitive(whole, "d"));
}

static bool is_symmetric(const cJSON *whole) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(whole, "kty");
    return cJSON_IsString(type) && strcmp(type->valuestring, "oct") == 0 &&
           cJSON_IsString(cJSON_GetObjectItemCaseSensitive(whole, "k"));
}

static int check_half(const struct text *private_key, const char *type, const char *public_key, struct error *error) {
    cJSON *whole = json_parse(private_key->bytes, private_key->length, NULL), *half = NULL;
    bool fits;
    if (public_key) {
        half = json_parse(public_key, strlen(public_key), NULL);
        fits = whole && half && halves_fit(whole, half);
    } else {
        fits = strcmp(type, "OCT") == 0 && whole && is_symmetric(whole);
    }
    json_wipe(whole);
    cJSON_Delete(half);
    return fits ? 0 : error_set(error, ERROR_INVALID, "The private half of the JWK does not fit its public half");
}

int trust_open_private(struct trust *trust, const char *jwk_id, const char *type, const char *public_key, const char *sealed,
                       struct text *private_key, struct error *error) {
    struct text whole = TEXT_EMPTY;
    pthread_rwlock_rdlock(&trust->lock);
    const struct environment_keys *keys = &trust->keys->credentials.keys;
    int status = jwe_open(keys->encryption, keys->encryption_count, sealed, strlen(sealed), jwk_id, &whole, error);
    pthread_rwlock_unlock(&trust->lock);
    if (status) {
        struct error why = *error;
        error_set(error, why.code, "The private half of the JWK can not be opened. %s%s", why.message,
                  why.code == ERROR_NOT_FOUND ? ": give this worker the credentials of its environment" : "");
    }
    if (status == 0 && check_half(&whole, type, public_key, error))
        status = -1;
    if (status == 0)
        text_add(private_key, whole.bytes, whole.length);
    text_wipe(&whole);
    return status;
}
