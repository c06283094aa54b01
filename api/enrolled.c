/* Whose word counts. */
#include "enrolled.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/memory.h"

struct enrolling_environment {
    char name[NAME_LENGTH_MAX + 1];
    struct verifier *verifier; /* of its signature keys; NULL: it has no keys */
    char *thumbprints;         /* of those keys, to compare */
    bool is_listed;            /* while a new list is taken over */
    UT_hash_handle hh;
};

struct enrolling {
    struct enrolling_environment *environments;
};

struct enrolled {
    char worker[UUID_SIZE];
    char *replica_key;         /* as it showed it */
    struct verifier *verifier; /* of that key alone */
};

/* ---- environments ---- */

struct enrolling *enrolling_new(void) {
    return memory_new(sizeof(struct enrolling));
}

static void remove_environment(struct enrolling *enrolling, struct enrolling_environment *environment) {
    HASH_DEL(enrolling->environments, environment);
    verifier_free(environment->verifier);
    free(environment->thumbprints);
    free(environment);
}

void enrolling_free(struct enrolling *enrolling) {
    if (!enrolling)
        return;
    struct enrolling_environment *environment, *next;
    HASH_ITER (hh, enrolling->environments, environment, next)
        remove_environment(enrolling, environment);
    free(enrolling);
}

static struct enrolling_environment *find(const struct enrolling *enrolling, const char *name) {
    struct enrolling_environment *environment;
    HASH_FIND_STR(enrolling->environments, name, environment);
    return environment;
}

/* The thumbprints of its signature keys, each with a space behind it; NULL when it has no keys. */
static char *name_keys(const struct store_environment *environment) {
    if (!environment->has_keys)
        return NULL;
    struct text names = TEXT_EMPTY;
    for (size_t i = 0; i < environment->keys.signature_count; i++) {
        char thumbprint[SHA256_TEXT_SIZE];
        jwk_thumbprint(environment->keys.signature[i], thumbprint);
        text_add_format(&names, "%s ", thumbprint);
    }
    return text_take(&names);
}

static struct verifier *make_verifier(const struct store_environment *environment) {
    if (!environment->has_keys)
        return NULL;
    struct verifier *verifier = verifier_new();
    for (size_t i = 0; i < environment->keys.signature_count; i++) {
        struct error error;
        if (verifier_trust(verifier, environment->keys.signature[i], INT64_MAX, &error))
            log_error("key of an environment can not be used", "environment", environment->name, "reason", error.message);
    }
    return verifier;
}

/* Takes over one environment of the list; whether it is new or has other keys. */
static bool take(struct enrolling *enrolling, const struct store_environment *item) {
    struct enrolling_environment *environment = find(enrolling, item->name);
    char *thumbprints = name_keys(item);
    if (environment && !thumbprints == !environment->thumbprints &&
        (!thumbprints || strcmp(thumbprints, environment->thumbprints) == 0)) {
        environment->is_listed = true;
        free(thumbprints);
        return false;
    }
    if (environment)
        remove_environment(enrolling, environment);
    environment = memory_new(sizeof *environment);
    snprintf(environment->name, sizeof environment->name, "%s", item->name);
    environment->verifier = make_verifier(item);
    environment->thumbprints = thumbprints;
    environment->is_listed = true;
    HASH_ADD_STR(enrolling->environments, name, environment);
    if (!item->has_keys)
        log_warning("environment has no keys: whoever can write to the topics is believed to be its workers", "environment",
                    item->name);
    return true;
}

void enrolling_set(struct enrolling *enrolling, struct store_environments *environments,
                   void (*changed)(void *context, const char *environment), void *context) {
    struct enrolling_environment *environment, *next;
    for (size_t i = 0; i < environments->count; i++)
        if (take(enrolling, &environments->items[i]))
            changed(context, environments->items[i].name);
    HASH_ITER (hh, enrolling->environments, environment, next) {
        if (!environment->is_listed)
            remove_environment(enrolling, environment);
        else
            environment->is_listed = false;
    }
    store_environments_release(environments);
}

enum enrolling_demand enrolling_demand(const struct enrolling *enrolling, const char *name) {
    const struct enrolling_environment *environment = find(enrolling, name);
    return !environment ? DEMAND_UNKNOWN : environment->verifier ? DEMAND_PROOF : DEMAND_NOTHING;
}

bool enrolling_knows_keys(const struct enrolling *enrolling) {
    const struct enrolling_environment *environment = enrolling->environments;
    while (environment && !environment->verifier)
        environment = environment->hh.next;
    return environment != NULL;
}

/* ---- enrolments ---- */

void enrolled_free(struct enrolled *enrolled) {
    if (!enrolled)
        return;
    verifier_free(enrolled->verifier);
    free(enrolled->replica_key);
    free(enrolled);
}

bool enrolled_is(const struct enrolled *enrolled, const struct presence *presence) {
    return presence->replica_key && strcmp(enrolled->worker, presence->worker) == 0 &&
           strcmp(enrolled->replica_key, presence->replica_key) == 0;
}

/* Whether two JWKs are the same key, however they are written. */
static int compare_keys(const char *one_text, const char *other_text, struct jwk **key, struct error *error) {
    char thumbprints[2][SHA256_TEXT_SIZE];
    struct jwk *one = jwk_from_text(one_text, strlen(one_text), NULL, error);
    struct jwk *other = one ? jwk_from_text(other_text, strlen(other_text), NULL, error) : NULL;
    int status = -1;
    if (one && other) {
        jwk_thumbprint(one, thumbprints[0]);
        jwk_thumbprint(other, thumbprints[1]);
        status = strcmp(thumbprints[0], thumbprints[1]) == 0
                     ? 0
                     : error_set(error, ERROR_DENIED, "its enrolment is for another replica key");
    }
    jwk_free(other);
    if (status == 0)
        *key = one;
    else
        jwk_free(one);
    return status;
}

/* Whether what was signed is for this start of this replica; *key is its key then. */
static int check_payload(const struct text *payload, const struct presence *presence, struct jwk **key, struct error *error) {
    struct enrolment enrolment;
    if (enrolment_decode(payload->bytes, payload->length, &enrolment, error))
        return error_prefix(error, "its enrolment");
    int status = -1;
    if (strcmp(enrolment.environment, presence->environment) != 0 || strcmp(enrolment.replica, presence->replica) != 0 ||
        strcmp(enrolment.worker, presence->worker) != 0)
        error_set(error, ERROR_DENIED, "its enrolment is for another environment, replica or start");
    else
        status = compare_keys(presence->replica_key, enrolment.jwk, key, error);
    enrolment_free(&enrolment);
    return status;
}

struct enrolled *enrolling_enrol(const struct enrolling *enrolling, const struct presence *presence, int64_t now,
                                 struct error *error) {
    const struct enrolling_environment *environment = find(enrolling, presence->environment);
    if (!environment || !environment->verifier)
        return error_set(error, ERROR_DENIED, "its environment enrols nobody"), NULL;
    if (!presence->replica_key)
        return error_set(error, ERROR_DENIED, "it shows no enrolment: its worker has no credentials of the environment"), NULL;
    struct text payload = TEXT_EMPTY;
    struct error reason = {0};
    struct jwk *key = NULL;
    struct enrolled *enrolled = NULL;
    enum signature_verdict verdict =
        verifier_check_text(environment->verifier, presence->enrolment, strlen(presence->enrolment), now, &payload, &reason);
    if (verdict != SIGNATURE_VALID)
        error_set(error, ERROR_DENIED, "its enrolment: %s", reason.message);
    else if (check_payload(&payload, presence, &key, error) == 0) {
        enrolled = memory_new(sizeof *enrolled);
        snprintf(enrolled->worker, sizeof enrolled->worker, "%s", presence->worker);
        enrolled->replica_key = memory_string(presence->replica_key);
        enrolled->verifier = verifier_new();
        if (verifier_trust(enrolled->verifier, key, INT64_MAX, error)) {
            enrolled_free(enrolled);
            enrolled = NULL;
        }
    }
    jwk_free(key);
    text_free(&payload);
    return enrolled;
}

int enrolled_check(struct enrolled *enrolled, const rd_kafka_message_t *record, const struct cloudevent *attributes,
                   int64_t now, struct error *error) {
    struct error reason = {0};
    enum signature_verdict verdict = verifier_check(enrolled->verifier, record, attributes, now, NULL, &reason);
    return verdict == SIGNATURE_VALID ? 0 : error_set(error, ERROR_DENIED, "its signature: %s", reason.message);
}
