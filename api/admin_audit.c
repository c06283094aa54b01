/* jwk-api audit: auditors verify the audit trail and follow it. No store is needed, and none of its keys but public ones. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin.h"
#include "audit_events.h"
#include "audit_read.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/json.h"
#include "common/kafka_config.h"
#include "common/memory.h"

/* The end of sentences about another file in place of the keys. */
#define EXPORT_ADVICE "give the output of 'jwk-api signing-key export --all'"

enum { CONNECT_MS = 15000, KEY_FILE_MAX = 1024 * 1024 };

/* A deployment whose change was wanted: its outcomes are, too. */
struct wanted_deployment {
    char id[UUID_SIZE];
    UT_hash_handle hh;
};

struct auditor {
    const struct settings *settings;
    bool json, follow;
    struct verifier *keys;
    struct audit_verifier *verifier;
    struct audit_events *events; /* NULL: not asked for */
    struct wanted_deployment *wanted;
    struct text pending; /* entries that are to be shown once a signature has proved them */
    bool caught_up;      /* with `follow`: what there was at the beginning is read */
};

/* ---- what is wanted ---- */

static bool is_listed(const struct option_list *list, const char *text) {
    for (size_t i = 0; i < list->count; i++)
        if (text && strcmp(list->items[i], text) == 0)
            return true;
    return list->count == 0;
}

static bool selects_deployments(const struct settings *settings) {
    return settings->projects.count || settings->audit_actors.count || settings->audit_jwks.count;
}

static bool is_wanted(struct auditor *auditor, const struct audit_line *line) {
    const struct settings *settings = auditor->settings;
    const struct audit_entry *entry = &line->entry;
    struct wanted_deployment *deployment;
    bool wanted;
    if (entry->type == AUDIT_OUTCOME && selects_deployments(settings)) {
        HASH_FIND_STR(auditor->wanted, entry->deployment_id, deployment);
        wanted = deployment != NULL;
    } else {
        wanted = is_listed(&settings->projects, entry->project) && is_listed(&settings->audit_actors, entry->actor) &&
                 is_listed(&settings->audit_jwks, entry->jwk);
    }
    if (wanted && entry->type == AUDIT_CHANGE && selects_deployments(settings) && strlen(entry->deployment_id) < UUID_SIZE) {
        HASH_FIND_STR(auditor->wanted, entry->deployment_id, deployment);
        if (!deployment) {
            deployment = memory_new(sizeof *deployment);
            strcpy(deployment->id, entry->deployment_id);
            HASH_ADD_STR(auditor->wanted, id, deployment);
        }
    }
    return wanted && is_listed(&settings->audit_types, line->type);
}

/* ---- reading ---- */

static int take_entry(struct auditor *auditor, const struct audit_line *line, const char *bytes, size_t length,
                      struct error *error) {
    if (auditor->events && line->entry.type == AUDIT_CHANGE && audit_events_check(auditor->events, line, error))
        return -1;
    if (!is_wanted(auditor, line) || auditor->settings->quiet || (auditor->settings->audit_new && !auditor->caught_up))
        return 0;
    if (auditor->json)
        text_add(&auditor->pending, bytes, length);
    else
        audit_line_tell(line, &auditor->pending);
    text_add(&auditor->pending, "\n", 1);
    return 0;
}

static int show(struct auditor *auditor, struct error *error) {
    if (auditor->pending.length)
        fwrite(auditor->pending.bytes, 1, auditor->pending.length, stdout);
    text_reset(&auditor->pending);
    if ((auditor->follow && fflush(stdout)) || ferror(stdout))
        return error_set(error, ERROR_INVALID, "writing to standard output: %s", strerror(errno));
    return 0;
}

static int take_line(void *context, const char *bytes, size_t length, const struct audit_place *place, struct error *error) {
    struct auditor *auditor = context;
    struct audit_line line;
    switch (audit_verifier_take(auditor->verifier, bytes, length, place, &line, error)) {
    case AUDIT_NEW: {
        int status = take_entry(auditor, &line, bytes, length, error);
        audit_line_free(&line);
        return status;
    }
    case AUDIT_SIGNED: return show(auditor, error);
    case AUDIT_REPEATED: return 0;
    default: return -1;
    }
}

static int take_end(void *context, struct error *error) {
    struct auditor *auditor = context;
    auditor->caught_up = true;
    /* A record is whole: at its end nothing is without a signature. A trail that is not there yet is no break for one who
     * waits. */
    struct audit_known last;
    audit_verifier_last(auditor->verifier, &last);
    if (auditor->follow && last.sequence == 0)
        return 0;
    if (audit_verifier_end(auditor->verifier, error))
        return -1;
    return auditor->events && !auditor->follow ? audit_events_end(auditor->events, error) : 0;
}

/* ---- settings ---- */

/* set: NULL when it is no JSON. */
static int visit_keys(const cJSON *set, admin_key_visitor *visit, void *context, struct error *error) {
    const cJSON *keys = NULL, *item;
    if (!cJSON_IsObject(set) || json_get_array(set, "keys", true, &keys, error))
        return error_set(error, ERROR_INVALID, "it is no JWK Set; " EXPORT_ADVICE);
    cJSON_ArrayForEach (item, keys) {
        struct jwk *key = jwk_from_json(item, error);
        /* As a rule a file with others is an environment's credentials. */
        bool signs = key && !jwk_has_private(key) && jwk_curve(key) && strcmp(jwk_curve(key), "Ed25519") == 0;
        int status = signs ? visit(context, key, error)
                           : error_set(error, ERROR_INVALID, "it holds what is no public key of the API; " EXPORT_ADVICE);
        jwk_free(key);
        if (status)
            return -1;
    }
    return cJSON_GetArraySize(keys) ? 0 : error_set(error, ERROR_INVALID, "it holds no key");
}

int admin_each_api_key(const char *path, admin_key_visitor *visit, void *context, struct error *error) {
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(error, ERROR_INVALID, "--api-keys %s: %s", path, strerror(errno));
    char *bytes = memory_new(KEY_FILE_MAX + 1);
    size_t length = fread(bytes, 1, KEY_FILE_MAX + 1, file);
    fclose(file);
    cJSON *set = length > KEY_FILE_MAX ? NULL : json_parse(bytes, length, error);
    int status = length > KEY_FILE_MAX ? error_set(error, ERROR_INVALID, "the file is too large")
                                       : visit_keys(set, visit, context, error);
    cJSON_Delete(set);
    free(bytes);
    return status ? error_prefix(error, "--api-keys %s", path) : 0;
}

static int trust_key(void *context, const struct jwk *key, struct error *error) {
    return verifier_trust(context, key, INT64_MAX, error);
}

static int read_keys(const char *path, struct verifier **keys, struct error *error) {
    *keys = verifier_new();
    return admin_each_api_key(path, trust_key, *keys, error);
}

static int read_known(const struct settings *settings, struct audit_known *known, struct error *error) {
    *known = (struct audit_known){.sequence = settings->audit_expected};
    if (!settings->audit_known)
        return 0;
    char *end;
    errno = 0;
    long long sequence = strtoll(settings->audit_known, &end, 10);
    if (errno || sequence < 1 || *end != ':' || strlen(end + 1) != SHA256_TEXT_SIZE - 1)
        return error_set(error, ERROR_INVALID, "--known takes SEQUENCE:HASH, as an earlier verification has told it");
    if (settings->audit_expected > sequence)
        return error_set(error, ERROR_INVALID, "--known names more than --expect-at-least: give one of them");
    known->sequence = sequence;
    memcpy(known->hash, end + 1, sizeof known->hash);
    return 0;
}

static int check_settings(const struct settings *settings, bool *json, struct error *error) {
    *json = strcmp(settings->audit_format, "json") == 0;
    if (!*json && strcmp(settings->audit_format, "text") != 0)
        return error_set(error, ERROR_INVALID, "--format %s: use text or json", settings->audit_format);
    for (size_t i = 0; i < settings->audit_types.count; i++) {
        enum audit_type type;
        if (audit_type_parse(settings->audit_types.items[i], &type))
            return error_set(error, ERROR_INVALID,
                             "--type %s: there is no such type; use change, outcome, refusal, administration, start or stop",
                             settings->audit_types.items[i]);
    }
    return 0;
}

/* ---- the commands ---- */

static void tell_result(const struct auditor *auditor) {
    struct audit_known last;
    audit_verifier_last(auditor->verifier, &last);
    fprintf(stderr, "The %s is whole: %lld lines%s. The last is %lld:%s (note it down for --known).\n",
            auditor->keys ? "trail" : "chain", (long long)audit_verifier_entries(auditor->verifier),
            auditor->keys ? "" : ", whose signatures were not judged: give --api-keys to know that none is forged",
            (long long)last.sequence, last.hash);
    if (auditor->events) {
        int64_t same, gone;
        audit_events_count(auditor->events, &same, &gone);
        fprintf(stderr, "%lld changes are on the events topic as they were recorded; %lld are there no more.\n",
                (long long)same, (long long)gone);
    }
}

static int read_file(const char *path, const struct audit_reading *reading, struct error *error) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (!file)
        return error_set(error, ERROR_INVALID, "%s: %s", path, strerror(errno));
    int status = audit_read_file(file, reading, error);
    if (file != stdin)
        fclose(file);
    return status ? error_prefix(error, "%s", path) : 0;
}

static int read_broker(struct auditor *auditor, const char *path, const struct audit_reading *reading, struct error *error) {
    const struct settings *settings = auditor->settings;
    struct kafka_topics topics;
    struct kafka_settings kafka = {.brokers = settings->brokers,
                                   .topic_prefix = settings->topic_prefix,
                                   .properties = &settings->kafka_properties,
                                   .client_id = "jwk-audit"};
    if (kafka_connect(&kafka, CONNECT_MS, NULL, error))
        return -1;
    kafka_topics_name(settings->topic_prefix, &topics);
    if (settings->audit_events && !(auditor->events = audit_events_read(&kafka, topics.events, error)))
        return -1;
    if (path)
        return read_file(path, reading, error);
    return audit_read_topic(&kafka, topics.audit, auditor->follow, reading, error)
               ? error_prefix(error, "topic %s", topics.audit)
               : 0;
}

static void auditor_clear(struct auditor *auditor) {
    struct wanted_deployment *deployment, *next;
    HASH_ITER (hh, auditor->wanted, deployment, next) {
        HASH_DEL(auditor->wanted, deployment);
        free(deployment);
    }
    audit_events_free(auditor->events);
    audit_verifier_free(auditor->verifier);
    verifier_free(auditor->keys);
    text_free(&auditor->pending);
}

static int audit(struct settings *settings, const char *path, bool follow) {
    struct error error = {0};
    struct auditor auditor = {.settings = settings, .follow = follow};
    struct audit_known known;
    const struct audit_reading reading = {.line = take_line, .end = take_end, .context = &auditor};
    int exit_status = 2; /* the command line is wrong; 1: the trail is, or can not be read */
    if (check_settings(settings, &auditor.json, &error) || read_known(settings, &known, &error) ||
        kafka_config_read(settings->kafka_config, &settings->kafka_properties, &error) ||
        (settings->api_keys && read_keys(settings->api_keys, &auditor.keys, &error)))
        goto out;
    auditor.verifier = audit_verifier_new(auditor.keys, &known);
    exit_status = 1;
    if (path && !settings->audit_events ? read_file(path, &reading, &error) : read_broker(&auditor, path, &reading, &error))
        goto out;
    exit_status = 0;
    if (fflush(stdout)) {
        error_set(&error, ERROR_INVALID, "writing to standard output: %s", strerror(errno));
        exit_status = 1;
    } else {
        tell_result(&auditor);
    }
out:
    fflush(stdout);
    if (exit_status)
        fprintf(stderr, "jwk-api: %s\n", error.message);
    auditor_clear(&auditor);
    return exit_status;
}

int audit_verify_run(void *settings, char **operands, int count) {
    return audit(settings, count ? operands[0] : NULL, false);
}

int audit_follow_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    return audit(settings, NULL, true);
}
