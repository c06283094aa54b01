/* Drift.
 *
 * What a replica has is known from its last heartbeat: per partition, the sequence up to which it has durably applied
 * everything. A JWK is missing there when its latest deployment lies beyond, or when the replica follows another store. */
#include "drift.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/clock.h"
#include "common/memory.h"
#include "listing.h"
#include "store_history.h"

enum { NAMED_MAX = 100, ENVIRONMENTS_READ_MAX = 1000 }; /* JWKs that are named for one replica; the rest is counted */

/* One replica and what is found about it. */
struct finding {
    const struct replica *replica;
    struct text missing, failing; /* the elements of the lists */
    size_t missing_count, failing_count;
};

struct comparison {
    struct replica *replicas; /* copies */
    size_t count;
    struct finding *findings; /* as replicas */
    int64_t epoch;            /* of the store */
    struct text body;
};

static bool has_applied(const struct replica *replica, int64_t epoch, const struct store_latest *latest) {
    if (replica->is_ahead || replica->epoch < epoch)
        return false; /* the positions of one that is ahead count what another store has sent */
    for (size_t i = 0; i < replica->position_count; i++)
        if (replica->positions[i].partition == latest->partition)
            return replica->positions[i].sequence >= latest->sequence;
    return false;
}

static bool is_failing(const struct replica *replica, const char *uid) {
    for (size_t i = 0; i < replica->failing_count; i++)
        if (strcmp(replica->failing[i], uid) == 0)
            return true;
    return false;
}

/* Counts the JWK, and names it while there is room. */
static void note(struct text *list, size_t *count, const struct store_latest *latest) {
    if ((*count)++ >= NAMED_MAX)
        return;
    text_json_open(list, NULL, '{');
    text_json_string(list, "jwkId", latest->uid);
    text_json_string(list, "jwkName", latest->name);
    text_json_integer(list, "version", latest->version);
    text_json_boolean(list, "deleted", latest->deleted);
    text_json_close(list, '}');
}

static void compare_one(void *context, const struct store_latest *latest) {
    struct comparison *comparison = context;
    for (size_t i = 0; i < comparison->count; i++) {
        struct finding *finding = &comparison->findings[i];
        if (!has_applied(finding->replica, comparison->epoch, latest))
            note(&finding->missing, &finding->missing_count, latest);
        else if (is_failing(finding->replica, latest->uid))
            note(&finding->failing, &finding->failing_count, latest);
    }
}

/* ---- the answer ---- */

static void write_jwks(struct text *body, const char *list_name, const char *count_name, const struct text *list,
                       size_t count) {
    text_json_integer(body, count_name, (int64_t)count);
    text_json_open(body, list_name, '[');
    if (list->bytes)
        text_json_raw(body, NULL, list->bytes);
    text_json_close(body, ']');
}

static void write_positions(struct text *body, const struct replica *replica) {
    text_json_open(body, "positions", '[');
    for (size_t i = 0; i < replica->position_count; i++) {
        text_json_open(body, NULL, '{');
        text_json_integer(body, "partition", replica->positions[i].partition);
        text_json_integer(body, "offset", replica->positions[i].offset);
        text_json_integer(body, "sequence", replica->positions[i].sequence);
        text_json_close(body, '}');
    }
    text_json_close(body, ']');
}

static bool is_in_sync(const struct finding *finding) {
    return replica_is_live(finding->replica) && finding->missing_count == 0 && finding->failing_count == 0 &&
           !finding->replica->failing_truncated;
}

static void write_replica(struct text *body, const struct finding *finding) {
    const struct replica *replica = finding->replica;
    char time[CLOCK_TEXT_SIZE];
    text_json_open(body, NULL, '{');
    text_json_string(body, "replicaName", replica->name);
    text_json_boolean(body, "inSync", is_in_sync(finding));
    text_json_boolean(body, "connected", replica->connected);
    text_json_boolean(body, "ready", replica->ready);
    text_json_string(body, "offlineSince", replica->connected ? NULL : clock_format(replica->offline_wall, time));
    text_json_integer(body, "keys", replica->keys);
    write_positions(body, replica);
    write_jwks(body, "missing", "missingCount", &finding->missing, finding->missing_count);
    write_jwks(body, "failing", "failingCount", &finding->failing, finding->failing_count);
    text_json_boolean(body, "failingTruncated", replica->failing_truncated);
    text_json_close(body, '}');
}

/* One environment with its replicas; those that said goodbye are not expected any more. */
static void write_environment(void *context, const struct store_item *item) {
    struct comparison *comparison = context;
    struct text *body = &comparison->body;
    size_t expected = 0, in_sync = 0;
    for (size_t i = 0; i < comparison->count; i++)
        if (strcmp(comparison->replicas[i].environment->name, item->name) == 0 && !comparison->replicas[i].left) {
            expected++;
            in_sync += is_in_sync(&comparison->findings[i]);
        }
    text_json_open(body, NULL, '{');
    text_json_string(body, "environmentName", item->name);
    text_json_boolean(body, "inSync", expected > 0 && in_sync == expected);
    text_json_open(body, "replicas", '[');
    for (size_t i = 0; i < comparison->count; i++)
        if (strcmp(comparison->replicas[i].environment->name, item->name) == 0 && !comparison->replicas[i].left)
            write_replica(body, &comparison->findings[i]);
    text_json_close(body, ']');
    text_json_close(body, '}');
}

static int compare(struct comparison *comparison, struct store *store, int64_t project_id, struct error *error) {
    struct store_identity identity;
    if (store_read_identity(store, &identity, error))
        return -1;
    comparison->epoch = identity.epoch;
    if (store_each_latest(store, project_id, compare_one, comparison, error))
        return -1;
    listing_open(&comparison->body);
    if (store_page_environments(store, "", ENVIRONMENTS_READ_MAX, write_environment, comparison, error))
        return -1;
    listing_close(&comparison->body);
    return 0;
}

void drift_get(struct call *call) {
    struct error error;
    struct comparison comparison = {.count = 0};
    struct store *store = readers_take(call->api->readers, &error);
    /* The replicas before the store: what is deployed in between may show as missing, never as applied. */
    comparison.replicas = gatherer_copy_replicas(call->api->gatherer, &comparison.count);
    comparison.findings = memory_new(comparison.count * sizeof *comparison.findings + 1);
    for (size_t i = 0; i < comparison.count; i++)
        comparison.findings[i].replica = &comparison.replicas[i];
    int status = store ? compare(&comparison, store, call->project.id, &error) : -1;
    readers_give(call->api->readers, store);
    if (status == 0)
        answer_json(call, &comparison.body);
    else
        answer_fail_error(call, &error);
    for (size_t i = 0; i < comparison.count; i++) {
        text_free(&comparison.findings[i].missing);
        text_free(&comparison.findings[i].failing);
    }
    text_free(&comparison.body);
    free(comparison.findings);
    replicas_copy_free(comparison.replicas, comparison.count);
}
