/* Messages to JSON and back. Encoding is one pass into a text; decoding reads a cJSON tree strictly and points into it. */
#include "message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "jwk.h"
#include "memory.h"

static const char *const operation_names[] = {"create", "update", "delete", "redeploy"};
static const char *const operation_types[] = {EVENT_TYPE_CREATED, EVENT_TYPE_UPDATED, EVENT_TYPE_DELETED,
                                              EVENT_TYPE_REDEPLOYED};
static const char *const status_names[] = {"applied", "failed"};
static const char *const presence_types[] = {PRESENCE_TYPE_HELLO, PRESENCE_TYPE_HEARTBEAT, PRESENCE_TYPE_GOODBYE};

/* Whatever JWKs are taken, an event with one, those that it replaced, and a sealed private half of EVENT_KEY_MAX bytes can be
 * read: a recipient of the latter has nine values in more than 250 bytes. Else a worker would have to leave it out. */
enum { EVENT_DEPTH = 5, EVENT_VALUES = (1 + RETIRING_COUNT_MAX) * (JWK_VALUES_MAX + 8) + EVENT_KEY_MAX / 250 * 9 + 64 };
static_assert((int)EVENT_DEPTH + (int)JWK_DEPTH_MAX <= (int)JSON_DEPTH_MAX, "an event with the deepest JWK can be read");
static_assert((int)EVENT_VALUES <= (int)JSON_VALUES_MAX, "an event with the largest JWKs can be read");

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define COUNTER_MAX  ((int64_t)1 << 53) /* what JSON numbers carry exactly */

const char *event_operation_name(enum event_operation operation) {
    return operation_names[operation];
}
const char *event_operation_type(enum event_operation operation) {
    return operation_types[operation];
}
const char *ack_status_name(enum ack_status status) {
    return status_names[status];
}
const char *presence_kind_type(enum presence_kind kind) {
    return presence_types[kind];
}

int name_check(const char *what, const char *name, struct error *error) {
    size_t length = strlen(name);
    if (length == 0)
        return error_set(error, ERROR_INVALID, "%s name can not be empty!", what);
    if (length > NAME_LENGTH_MAX)
        return error_set(error, ERROR_INVALID, "%s name can not be longer than %d bytes!", what, NAME_LENGTH_MAX);
    if (!json_utf8_is_valid(name, length))
        return error_set(error, ERROR_INVALID, "%s name is not valid UTF-8!", what);
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        /* C0 controls and DEL; C1 controls are 0xC2 0x80 to 0xC2 0x9F in UTF-8. */
        if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
            return error_set(error, ERROR_INVALID, "%s name can not have control characters!", what);
        if (*c == '/')
            return error_set(error, ERROR_INVALID, "%s name can not have '/'!", what);
    }
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return error_set(error, ERROR_INVALID, "%s name can not be '%s'!", what, name);
    return 0;
}

/* ---- decoding ---- */

/* Parses a value that came from a topic; NULL when it is not a JSON object of a bounded size. */
static cJSON *parse_object(const char *value, size_t length, struct error *error) {
    if (!value)
        return error_set(error, ERROR_INVALID, "message has no value"), NULL;
    if (length > MESSAGE_SIZE_MAX)
        return error_set(error, ERROR_INVALID, "message is larger than %d bytes", MESSAGE_SIZE_MAX), NULL;
    cJSON *tree = json_parse(value, length, error);
    if (tree && !cJSON_IsObject(tree)) {
        error_set(error, ERROR_INVALID, "message is not a JSON object");
        json_wipe(tree);
        return NULL;
    }
    return tree;
}

/* A string or null; null and absent leave NULL. */
static int get_nullable(const cJSON *object, const char *name, const char **value, struct error *error) {
    *value = NULL;
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, name)))
        return 0;
    return json_get_string(object, name, false, value, error);
}

static int get_uuid(const cJSON *object, const char *name, const char **value, struct error *error) {
    if (json_get_string(object, name, true, value, error))
        return -1;
    if (!uuid_is_valid(*value))
        return error_set(error, ERROR_INVALID, "%s is not a UUID", name);
    return 0;
}

static int get_name(const cJSON *object, const char *name, const char **value, struct error *error) {
    return json_get_string(object, name, true, value, error) || name_check(name, *value, error) ? -1 : 0;
}

static int get_counter(const cJSON *object, const char *name, int64_t minimum, int64_t *value, struct error *error) {
    return json_get_integer(object, name, true, minimum, COUNTER_MAX, value, error);
}

/* Finds a string member's value in a list of words. */
static int get_word(const cJSON *object, const char *name, const char *const *words, size_t count, unsigned *index,
                    struct error *error) {
    const char *word;
    if (json_get_string(object, name, true, &word, error))
        return -1;
    for (unsigned i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0)
            return *index = i, 0;
    return error_set(error, ERROR_INVALID, "%s has an unknown value", name);
}

/* ---- jwk.events ---- */

void event_encode(const struct event *event, struct text *out) {
    text_json_open(out, NULL, '{');
    text_json_string(out, "operation", event_operation_name(event->operation));
    text_json_string(out, "deploymentId", event->deployment_id);
    text_json_integer(out, "epoch", event->epoch);
    text_json_integer(out, "version", event->version);
    text_json_integer(out, "sequence", event->sequence);
    text_json_open(out, "project", '{');
    text_json_string(out, "id", event->project_id);
    text_json_string(out, "name", event->project_name);
    text_json_close(out, '}');
    text_json_open(out, "jwk", '{');
    text_json_string(out, "id", event->jwk_id);
    text_json_string(out, "name", event->name);
    text_json_string(out, "description", event->description);
    text_json_string(out, "type", event->type);
    text_json_string(out, "kid", event->kid);
    if (event->public_key)
        text_json_raw(out, "publicKey", event->public_key);
    else
        text_json_null(out, "publicKey");
    if (event->private_key)
        text_json_raw(out, "privateKey", event->private_key);
    text_json_open(out, "retiring", '[');
    for (size_t i = 0; i < event->retiring_count; i++) {
        text_json_open(out, NULL, '{');
        text_json_raw(out, "publicKey", event->retiring[i].public_key);
        text_json_integer(out, "until", event->retiring[i].until);
        text_json_close(out, '}');
    }
    text_json_close(out, ']');
    text_json_close(out, '}');
    text_json_string(out, "actor", event->actor);
    text_json_string(out, "time", event->time);
    text_json_close(out, '}');
}

/* What a decoded event points into. */
struct event_storage {
    cJSON *tree;
    char *public_key, *private_key;
    char *retiring_keys[RETIRING_COUNT_MAX];
    struct event_retiring retiring[RETIRING_COUNT_MAX];
};

static char *write_object(const cJSON *object) {
    struct text text = TEXT_EMPTY;
    json_write(&text, NULL, object);
    return text_take(&text);
}

static int decode_retiring(const cJSON *jwk, struct event *event, struct error *error) {
    struct event_storage *storage = event->storage;
    const cJSON *list, *item, *key;
    if (json_get_array(jwk, "retiring", true, &list, error))
        return -1;
    event->retiring = storage->retiring;
    cJSON_ArrayForEach (item, list) {
        size_t i = event->retiring_count;
        if (i == RETIRING_COUNT_MAX)
            return error_set(error, ERROR_INVALID, "retiring has more than %d keys", RETIRING_COUNT_MAX);
        if (!cJSON_IsObject(item))
            return error_set(error, ERROR_INVALID, "retiring has an element that is not an object");
        if (json_get_object(item, "publicKey", true, &key, error) ||
            get_counter(item, "until", 1, &storage->retiring[i].until, error))
            return -1;
        storage->retiring[i].public_key = storage->retiring_keys[i] = write_object(key);
        event->retiring_count++;
    }
    return 0;
}

int event_decode(const char *value, size_t length, struct event *event, struct error *error) {
    *event = (struct event){0};
    cJSON *tree = parse_object(value, length, error);
    if (!tree)
        return -1;
    struct event_storage *storage = memory_new(sizeof *storage);
    storage->tree = tree;
    event->storage = storage;
    const cJSON *project, *jwk;
    unsigned operation = 0;
    if (get_word(tree, "operation", operation_names, COUNT(operation_names), &operation, error) ||
        get_uuid(tree, "deploymentId", &event->deployment_id, error) || get_counter(tree, "epoch", 1, &event->epoch, error) ||
        get_counter(tree, "version", 1, &event->version, error) || get_counter(tree, "sequence", 1, &event->sequence, error) ||
        json_get_object(tree, "project", true, &project, error) || get_uuid(project, "id", &event->project_id, error) ||
        get_name(project, "name", &event->project_name, error) || json_get_object(tree, "jwk", true, &jwk, error) ||
        get_uuid(jwk, "id", &event->jwk_id, error) || get_name(jwk, "name", &event->name, error) ||
        get_nullable(jwk, "description", &event->description, error) ||
        json_get_string(jwk, "type", true, &event->type, error) || get_nullable(jwk, "kid", &event->kid, error) ||
        json_get_string(tree, "actor", true, &event->actor, error) || json_get_string(tree, "time", true, &event->time, error))
        goto failed;
    event->operation = (enum event_operation)operation;
    const cJSON *public_key = cJSON_GetObjectItemCaseSensitive(jwk, "publicKey");
    if (cJSON_IsObject(public_key)) {
        event->public_key = storage->public_key = write_object(public_key);
    } else if (!cJSON_IsNull(public_key)) {
        error_set(error, ERROR_INVALID, "publicKey is neither an object nor null");
        goto failed;
    }
    const cJSON *private_key = cJSON_GetObjectItemCaseSensitive(jwk, "privateKey");
    if (cJSON_IsObject(private_key)) {
        event->private_key = storage->private_key = write_object(private_key);
    } else if (private_key && !cJSON_IsNull(private_key)) {
        error_set(error, ERROR_INVALID, "privateKey is neither an object nor null");
        goto failed;
    }
    if (decode_retiring(jwk, event, error))
        goto failed;
    return 0;
failed:
    event_free(event);
    return -1;
}

void event_free(struct event *event) {
    struct event_storage *storage = event->storage;
    if (storage) {
        cJSON_Delete(storage->tree);
        free(storage->public_key);
        free(storage->private_key);
        for (size_t i = 0; i < RETIRING_COUNT_MAX; i++)
            free(storage->retiring_keys[i]);
        free(storage);
    }
    *event = (struct event){0};
}

/* ---- jwk.acks ---- */

void ack_encode(const struct ack *ack, struct text *out) {
    text_json_open(out, NULL, '{');
    text_json_string(out, "deploymentId", ack->deployment_id);
    text_json_string(out, "eventId", ack->event_id);
    text_json_string(out, "eventHash", ack->event_hash);
    text_json_string(out, "environment", ack->environment);
    text_json_string(out, "replica", ack->replica);
    text_json_string(out, "worker", ack->worker);
    text_json_integer(out, "incarnation", ack->incarnation);
    text_json_string(out, "jwkId", ack->jwk_id);
    text_json_integer(out, "epoch", ack->epoch);
    text_json_integer(out, "version", ack->version);
    text_json_integer(out, "sequence", ack->sequence);
    text_json_string(out, "status", ack_status_name(ack->status));
    text_json_string(out, "message", ack->message);
    text_json_string(out, "time", ack->time);
    text_json_close(out, '}');
}

int ack_decode(const char *value, size_t length, struct ack *ack, struct error *error) {
    *ack = (struct ack){0};
    cJSON *tree = parse_object(value, length, error);
    if (!tree)
        return -1;
    ack->storage = tree;
    unsigned status = 0;
    if (get_uuid(tree, "deploymentId", &ack->deployment_id, error) ||
        json_get_string(tree, "eventId", true, &ack->event_id, error) ||
        json_get_string(tree, "eventHash", true, &ack->event_hash, error) ||
        get_name(tree, "environment", &ack->environment, error) || get_name(tree, "replica", &ack->replica, error) ||
        get_uuid(tree, "worker", &ack->worker, error) || get_counter(tree, "incarnation", 0, &ack->incarnation, error) ||
        get_uuid(tree, "jwkId", &ack->jwk_id, error) || get_counter(tree, "epoch", 1, &ack->epoch, error) ||
        get_counter(tree, "version", 1, &ack->version, error) || get_counter(tree, "sequence", 1, &ack->sequence, error) ||
        get_word(tree, "status", status_names, COUNT(status_names), &status, error) ||
        get_nullable(tree, "message", &ack->message, error) || json_get_string(tree, "time", true, &ack->time, error))
        goto failed;
    ack->status = (enum ack_status)status;
    if (ack->message && strlen(ack->message) > ACK_MESSAGE_MAX) {
        error_set(error, ERROR_INVALID, "message is longer than %d bytes", ACK_MESSAGE_MAX);
        goto failed;
    }
    return 0;
failed:
    ack_free(ack);
    return -1;
}

void ack_free(struct ack *ack) {
    cJSON_Delete(ack->storage);
    *ack = (struct ack){0};
}

/* ---- jwk.workers ---- */

void presence_encode(const struct presence *presence, struct text *out) {
    text_json_open(out, NULL, '{');
    text_json_string(out, "environment", presence->environment);
    text_json_string(out, "replica", presence->replica);
    text_json_string(out, "worker", presence->worker);
    text_json_integer(out, "incarnation", presence->incarnation);
    text_json_integer(out, "epoch", presence->epoch);
    text_json_boolean(out, "ready", presence->ready);
    text_json_integer(out, "keys", presence->keys);
    text_json_integer(out, "intervalMs", presence->interval_ms);
    text_json_string(out, "url", presence->url);
    text_json_string(out, "version", presence->version);
    text_json_open(out, "positions", '[');
    for (size_t i = 0; i < presence->position_count; i++) {
        text_json_open(out, NULL, '{');
        text_json_integer(out, "partition", presence->positions[i].partition);
        text_json_integer(out, "offset", presence->positions[i].offset);
        text_json_integer(out, "sequence", presence->positions[i].sequence);
        text_json_close(out, '}');
    }
    text_json_close(out, ']');
    text_json_open(out, "failing", '[');
    for (size_t i = 0; i < presence->failing_count; i++)
        text_json_string(out, NULL, presence->failing[i]);
    text_json_close(out, ']');
    text_json_boolean(out, "failingTruncated", presence->failing_truncated);
    if (presence->replica_key)
        text_json_raw(out, "replicaKey", presence->replica_key);
    if (presence->enrolment)
        text_json_string(out, "enrolment", presence->enrolment);
    if (presence->after)
        text_json_integer(out, "after", presence->after);
    if (presence->number)
        text_json_integer(out, "number", presence->number);
    text_json_string(out, "time", presence->time);
    text_json_close(out, '}');
}

struct presence_storage {
    cJSON *tree;
    struct position *positions;
    const char **failing;
    char *replica_key;
};

/* The members that workers without credentials do not send. */
static int decode_proof(const cJSON *tree, struct presence *presence, struct error *error) {
    struct presence_storage *storage = presence->storage;
    const cJSON *key = NULL;
    if (json_get_object(tree, "replicaKey", false, &key, error) || get_nullable(tree, "enrolment", &presence->enrolment, error) ||
        json_get_integer(tree, "after", false, 0, COUNTER_MAX, &presence->after, error))
        return -1;
    if (!key != !presence->enrolment)
        return error_set(error, ERROR_INVALID, "replicaKey and enrolment are only of use together");
    if (!key)
        return 0;
    presence->replica_key = storage->replica_key = write_object(key);
    if (strlen(presence->replica_key) > REPLICA_KEY_MAX || strlen(presence->enrolment) > ENROLMENT_MAX)
        return error_set(error, ERROR_INVALID, "replicaKey or enrolment is too long");
    return 0;
}

static int decode_positions(const cJSON *array, struct position *positions, struct error *error) {
    const cJSON *item;
    cJSON_ArrayForEach (item, array) {
        int64_t partition;
        if (!cJSON_IsObject(item))
            return error_set(error, ERROR_INVALID, "positions has an element that is not an object");
        if (json_get_integer(item, "partition", true, 0, INT32_MAX, &partition, error) ||
            get_counter(item, "offset", 0, &positions->offset, error) ||
            get_counter(item, "sequence", 0, &positions->sequence, error))
            return -1;
        positions++->partition = (int32_t)partition;
    }
    return 0;
}

int presence_decode(const char *value, size_t length, enum presence_kind kind, struct presence *presence, struct error *error) {
    *presence = (struct presence){.kind = kind};
    cJSON *tree = parse_object(value, length, error);
    if (!tree)
        return -1;
    struct presence_storage *storage = memory_new(sizeof *storage);
    storage->tree = tree;
    presence->storage = storage;
    const cJSON *positions, *failing;
    if (get_name(tree, "environment", &presence->environment, error) || get_name(tree, "replica", &presence->replica, error) ||
        get_uuid(tree, "worker", &presence->worker, error) ||
        get_counter(tree, "incarnation", -1, &presence->incarnation, error) ||
        get_counter(tree, "epoch", 0, &presence->epoch, error) ||
        json_get_boolean(tree, "ready", true, &presence->ready, error) ||
        get_counter(tree, "keys", 0, &presence->keys, error) ||
        json_get_integer(tree, "intervalMs", true, 1, 86400000, &presence->interval_ms, error) ||
        get_nullable(tree, "url", &presence->url, error) || json_get_string(tree, "version", true, &presence->version, error) ||
        json_get_array(tree, "positions", true, &positions, error) || json_get_array(tree, "failing", true, &failing, error) ||
        json_get_boolean(tree, "failingTruncated", true, &presence->failing_truncated, error) ||
        json_get_integer(tree, "number", false, 0, COUNTER_MAX, &presence->number, error) ||
        json_get_string(tree, "time", true, &presence->time, error) || decode_proof(tree, presence, error))
        goto failed;
    int position_count = cJSON_GetArraySize(positions), failing_count = cJSON_GetArraySize(failing);
    if (position_count > POSITION_COUNT_MAX || failing_count > FAILING_COUNT_MAX) {
        error_set(error, ERROR_INVALID, "positions or failing has too many elements");
        goto failed;
    }
    storage->positions = memory_new((size_t)position_count * sizeof *storage->positions + 1);
    if (decode_positions(positions, storage->positions, error))
        goto failed;
    storage->failing = memory_new((size_t)failing_count * sizeof *storage->failing + 1);
    const cJSON *item;
    cJSON_ArrayForEach (item, failing) {
        if (!cJSON_IsString(item) || !uuid_is_valid(item->valuestring)) {
            error_set(error, ERROR_INVALID, "failing has an element that is not a UUID");
            goto failed;
        }
        storage->failing[presence->failing_count++] = item->valuestring;
    }
    presence->positions = storage->positions;
    presence->position_count = (size_t)position_count;
    presence->failing = storage->failing;
    return 0;
failed:
    presence_free(presence);
    return -1;
}

void presence_free(struct presence *presence) {
    struct presence_storage *storage = presence->storage;
    if (storage) {
        cJSON_Delete(storage->tree);
        free(storage->positions);
        free(storage->failing);
        free(storage->replica_key);
        free(storage);
    }
    *presence = (struct presence){0};
}

bool presence_hello_counts(const struct presence *hello, int64_t offset, int64_t present, bool demanded) {
    if (hello->after == 0 && !demanded)
        return offset > present;
    /* Ahead of its own place: it is from an earlier topic of this name. */
    return hello->after <= offset && hello->after > present;
}

void enrolment_encode(const struct enrolment *enrolment, struct text *out) {
    text_json_open(out, NULL, '{');
    text_json_string(out, "environment", enrolment->environment);
    text_json_string(out, "replica", enrolment->replica);
    text_json_string(out, "worker", enrolment->worker);
    text_json_raw(out, "jwk", enrolment->jwk);
    text_json_close(out, '}');
}

struct enrolment_storage {
    cJSON *tree;
    char *jwk;
};

int enrolment_decode(const char *value, size_t length, struct enrolment *enrolment, struct error *error) {
    *enrolment = (struct enrolment){0};
    cJSON *tree = parse_object(value, length, error);
    if (!tree)
        return -1;
    struct enrolment_storage *storage = memory_new(sizeof *storage);
    storage->tree = tree;
    enrolment->storage = storage;
    const cJSON *jwk;
    if (get_name(tree, "environment", &enrolment->environment, error) ||
        get_name(tree, "replica", &enrolment->replica, error) || get_uuid(tree, "worker", &enrolment->worker, error) ||
        json_get_object(tree, "jwk", true, &jwk, error)) {
        enrolment_free(enrolment);
        return -1;
    }
    enrolment->jwk = storage->jwk = write_object(jwk);
    return 0;
}

void enrolment_free(struct enrolment *enrolment) {
    struct enrolment_storage *storage = enrolment->storage;
    if (storage) {
        cJSON_Delete(storage->tree);
        free(storage->jwk);
        free(storage);
    }
    *enrolment = (struct enrolment){0};
}
