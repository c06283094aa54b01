/* Lines of the audit trail. */
#include "audit_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"

#define BEGIN  "{\"sequence\":"
#define BEHIND ",\"previous\":\""

static const char *const names[] = {
    [AUDIT_CHANGE] = "change",   [AUDIT_OUTCOME] = "outcome",
    [AUDIT_REFUSAL] = "refusal", [AUDIT_ADMINISTRATION] = "administration",
    [AUDIT_START] = "start",     [AUDIT_STOP] = "stop",
    [AUDIT_OTHER] = "other",
};

const char *audit_type_name(enum audit_type type) {
    return names[type];
}

int audit_type_parse(const char *name, enum audit_type *type) {
    for (enum audit_type i = AUDIT_CHANGE; i < AUDIT_OTHER; i++)
        if (strcmp(names[i], name) == 0)
            return *type = i, 0;
    return -1;
}

/* ---- writing ---- */

static void write_change(struct text *out, const struct audit_entry *entry) {
    text_json_string(out, "actor", entry->actor);
    text_json_string(out, "project", entry->project);
    text_json_string(out, "jwk", entry->jwk);
    text_json_string(out, "jwkId", entry->jwk_id);
    text_json_string(out, "operation", entry->operation);
    text_json_string(out, "changed", entry->changed);
    text_json_integer(out, "epoch", entry->epoch);
    text_json_integer(out, "version", entry->version);
    text_json_string(out, "deploymentId", entry->deployment_id);
    text_json_string(out, "eventId", entry->event_id);
    text_json_string(out, "eventHash", entry->event_hash);
}

static void write_outcome(struct text *out, const struct audit_entry *entry) {
    text_json_string(out, "deploymentId", entry->deployment_id);
    text_json_string(out, "environment", entry->environment);
    text_json_boolean(out, "settled", entry->settled);
    text_json_boolean(out, "success", entry->success);
    text_json_string(out, "message", entry->message);
}

static void write_refusal(struct text *out, const struct audit_entry *entry) {
    if (entry->status)
        text_json_integer(out, "status", entry->status);
    else
        text_json_null(out, "status");
    text_json_string(out, "actor", entry->actor);
    text_json_string(out, "address", entry->address);
    text_json_string(out, "method", entry->method);
    text_json_string(out, "path", entry->path);
    text_json_integer(out, "count", entry->count);
}

static void write_user(struct text *out, const struct audit_entry *entry) {
    text_json_string(out, "actor", entry->actor);
    if (entry->user_id >= 0)
        text_json_integer(out, "userId", entry->user_id);
    else
        text_json_null(out, "userId");
    text_json_string(out, "login", entry->login);
}

static void write_administration(struct text *out, const struct audit_entry *entry) {
    write_user(out, entry);
    text_json_string(out, "address", entry->address);
    text_json_string(out, "command", entry->command);
    text_json_string(out, "object", entry->object);
    text_json_string(out, "detail", entry->detail);
}

void audit_line_write(struct text *out, int64_t sequence, const char *previous, const struct audit_entry *entry) {
    char time[CLOCK_TEXT_SIZE];
    text_json_open(out, NULL, '{');
    text_json_integer(out, "sequence", sequence);
    text_json_string(out, "previous", previous);
    text_json_string(out, "time", clock_format(entry->time ? entry->time : clock_wall_ms(), time));
    text_json_string(out, "type", names[entry->type]);
    switch (entry->type) {
    case AUDIT_CHANGE: write_change(out, entry); break;
    case AUDIT_OUTCOME: write_outcome(out, entry); break;
    case AUDIT_REFUSAL: write_refusal(out, entry); break;
    case AUDIT_ADMINISTRATION: write_administration(out, entry); break;
    case AUDIT_START:
        write_user(out, entry);
        text_json_string(out, "version", entry->program_version);
        text_json_integer(out, "epoch", entry->epoch);
        break;
    case AUDIT_STOP: write_user(out, entry); break;
    case AUDIT_OTHER: break;
    }
    text_json_close(out, '}');
}

int64_t audit_line_sequence(const char *line) {
    return strtoll(line + strlen(BEGIN), NULL, 10);
}

bool audit_line_follows(const char *line, const char *hash) {
    const char *previous = strstr(line, BEHIND) + strlen(BEHIND);
    size_t length = strlen(hash);
    return strncmp(previous, hash, length) == 0 && previous[length] == '"';
}

void audit_line_move(struct text *out, const char *line, size_t length, int64_t sequence, const char *previous) {
    const char *old = strstr(line, BEHIND) + strlen(BEHIND), *rest = strchr(old, '"');
    text_add_format(out, BEGIN "%lld" BEHIND "%s", (long long)sequence, previous);
    text_add(out, rest, length - (size_t)(rest - line));
}

/* ---- reading ---- */

static int read_change(const cJSON *object, struct audit_entry *entry, struct error *error) {
    return json_get_string(object, "actor", true, &entry->actor, error) ||
                   json_get_string(object, "project", true, &entry->project, error) ||
                   json_get_string(object, "jwk", true, &entry->jwk, error) ||
                   json_get_string(object, "jwkId", true, &entry->jwk_id, error) ||
                   json_get_string(object, "operation", true, &entry->operation, error) ||
                   json_get_integer(object, "epoch", true, 1, INT64_MAX, &entry->epoch, error) ||
                   json_get_integer(object, "version", true, 1, INT64_MAX, &entry->version, error) ||
                   json_get_string(object, "deploymentId", true, &entry->deployment_id, error) ||
                   json_get_string(object, "eventId", true, &entry->event_id, error) ||
                   json_get_string(object, "eventHash", true, &entry->event_hash, error)
               ? -1
               : 0;
}

static int read_outcome(const cJSON *object, struct audit_entry *entry, struct error *error) {
    return json_get_string(object, "deploymentId", true, &entry->deployment_id, error) ||
                   json_get_string(object, "environment", true, &entry->environment, error) ||
                   json_get_boolean(object, "settled", true, &entry->settled, error) ||
                   json_get_boolean(object, "success", true, &entry->success, error)
               ? -1
               : 0;
}

/* A member that is a string or null. */
static const char *optional(const cJSON *object, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static int64_t optional_integer(const cJSON *object, const char *name, int64_t absent) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNumber(item) ? (int64_t)item->valuedouble : absent;
}

static int read_entry(const cJSON *object, struct audit_entry *entry, struct error *error) {
    entry->actor = optional(object, "actor");
    entry->changed = optional(object, "changed");
    entry->message = optional(object, "message");
    entry->address = optional(object, "address");
    entry->method = optional(object, "method");
    entry->path = optional(object, "path");
    entry->object = optional(object, "object");
    entry->detail = optional(object, "detail");
    entry->login = optional(object, "login");
    entry->user_id = optional_integer(object, "userId", -1);
    entry->status = optional_integer(object, "status", 0);
    switch (entry->type) {
    case AUDIT_CHANGE: return read_change(object, entry, error);
    case AUDIT_OUTCOME: return read_outcome(object, entry, error);
    case AUDIT_REFUSAL: return json_get_integer(object, "count", true, 1, INT64_MAX, &entry->count, error);
    case AUDIT_ADMINISTRATION: return json_get_string(object, "command", true, &entry->command, error);
    case AUDIT_START: return json_get_string(object, "version", true, &entry->program_version, error);
    default: return 0;
    }
}

static int read_line(const cJSON *object, struct audit_line *line, struct error *error) {
    if (!cJSON_IsObject(object))
        return error_set(error, ERROR_INVALID, "not a JSON object");
    if (cJSON_GetObjectItemCaseSensitive(object, "jws")) {
        static const char *const only[] = {"jws", NULL};
        return json_get_string(object, "jws", true, &line->jws, error) || json_refuse_unknown(object, only, error) ? -1 : 0;
    }
    if (json_get_integer(object, "sequence", true, 1, INT64_MAX, &line->sequence, error) ||
        json_get_string(object, "previous", true, &line->previous, error) ||
        json_get_string(object, "time", true, &line->time, error) || json_get_string(object, "type", true, &line->type, error))
        return -1;
    if (clock_parse(line->time, &line->entry.time))
        return error_set(error, ERROR_INVALID, "time is not a date with its time");
    if (audit_type_parse(line->type, &line->entry.type))
        line->entry.type = AUDIT_OTHER;
    return read_entry(object, &line->entry, error);
}

int audit_line_read(const char *bytes, size_t length, struct audit_line *line, struct error *error) {
    *line = (struct audit_line){0};
    cJSON *object = json_parse(bytes, length, error);
    if (!object)
        return -1;
    line->storage = object;
    if (read_line(object, line, error) == 0)
        return 0;
    audit_line_free(line);
    return -1;
}

void audit_line_free(struct audit_line *line) {
    cJSON_Delete(line->storage);
    *line = (struct audit_line){0};
}

/* ---- telling ---- */

static const char *or_dash(const char *text) {
    return text ? text : "-";
}

static const char *verb(const char *operation) {
    return strcmp(operation, "create") == 0     ? "created"
           : strcmp(operation, "update") == 0   ? "updated"
           : strcmp(operation, "delete") == 0   ? "deleted"
           : strcmp(operation, "redeploy") == 0 ? "deployed again"
                                                : operation;
}

static void tell_user(const struct audit_entry *entry, struct text *out) {
    text_add_string(out, or_dash(entry->actor));
    if (entry->user_id >= 0)
        text_add_format(out, " (user id %lld%s%s)", (long long)entry->user_id, entry->login ? ", logged in as " : "",
                        entry->login ? entry->login : "");
    else if (entry->address)
        text_add_format(out, " (from %s)", entry->address);
}

static void tell_refusal(const struct audit_entry *entry, struct text *out) {
    if (entry->status == 0) {
        text_add_format(out, "%lld more calls of different sorts were refused", (long long)entry->count);
        return;
    }
    text_add_format(out, "%lld %s %s from %s by %s", (long long)entry->status, or_dash(entry->method), or_dash(entry->path),
                    or_dash(entry->address), entry->actor ? entry->actor : "nobody known");
    if (entry->count > 1)
        text_add_format(out, ", %lld times", (long long)entry->count);
}

static void tell_entry(const struct audit_entry *entry, struct text *out) {
    switch (entry->type) {
    case AUDIT_CHANGE:
        text_add_format(out, "%s %s %s of %s", entry->actor, verb(entry->operation), entry->jwk, entry->project);
        if (entry->changed && entry->changed[0])
            text_add_format(out, " (%s)", entry->changed);
        text_add_format(out, ", version %lld, deployment %s", (long long)entry->version, entry->deployment_id);
        break;
    case AUDIT_OUTCOME:
        text_add_format(out, "%s: %s%s%s, deployment %s", entry->environment,
                        entry->success   ? "succeeded"
                        : entry->settled ? "failed"
                                         : "not settled yet",
                        entry->message ? ": " : "", entry->message ? entry->message : "", entry->deployment_id);
        break;
    case AUDIT_REFUSAL: tell_refusal(entry, out); break;
    case AUDIT_ADMINISTRATION:
        tell_user(entry, out);
        text_add_format(out, ": %s", entry->command);
        if (entry->object)
            text_add_format(out, " %s", entry->object);
        if (entry->detail)
            text_add_format(out, " (%s)", entry->detail);
        break;
    case AUDIT_START:
        text_add_format(out, "jwk-api %s, started by ", entry->program_version);
        tell_user(entry, out);
        break;
    case AUDIT_STOP:
        text_add_string(out, "jwk-api of ");
        tell_user(entry, out);
        break;
    case AUDIT_OTHER: text_add_string(out, "(of a later version of jwk-api)"); break;
    }
}

void audit_line_tell(const struct audit_line *line, struct text *out) {
    size_t begin = out->length;
    text_add_format(out, "%lld %s %-14s ", (long long)line->sequence, line->time, line->type);
    tell_entry(&line->entry, out);
    /* Names and messages come from outside: none of them may steer a terminal. */
    for (size_t i = begin; i < out->length; i++) {
        unsigned char c = (unsigned char)out->bytes[i], next = (unsigned char)out->bytes[i + 1];
        if (c < 0x20 || c == 0x7f)
            out->bytes[i] = '?';
        else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
            out->bytes[i] = out->bytes[i + 1] = '?';
    }
}

/* ---- what is signed ---- */

void audit_signed_write(struct text *out, int64_t sequence, const char *hash) {
    text_json_open(out, NULL, '{');
    text_json_integer(out, "sequence", sequence);
    text_json_string(out, "hash", hash);
    text_json_close(out, '}');
}

int audit_signed_read(const char *bytes, size_t length, int64_t *sequence, char hash[SHA256_TEXT_SIZE], struct error *error) {
    const char *text;
    cJSON *object = json_parse(bytes, length, error);
    if (!object)
        return -1;
    int status = json_get_integer(object, "sequence", true, 1, INT64_MAX, sequence, error) ||
                         json_get_string(object, "hash", true, &text, error)
                     ? -1
                     : 0;
    if (status == 0 && strlen(text) != SHA256_TEXT_SIZE - 1)
        status = error_set(error, ERROR_INVALID, "hash is not a SHA-256");
    if (status == 0)
        memcpy(hash, text, SHA256_TEXT_SIZE);
    cJSON_Delete(object);
    return status;
}
