/* What was gathered, on its way into the store. */
#include "gathered.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"
#include "roster.h"

enum { PARTITIONS_MAX = 256 }; /* of the acks topic */

/* An ack that came when nobody waited, with who was live and who was offline then. */
struct late_ack {
    char deployment_id[UUID_SIZE], jwk_id[UUID_SIZE], event_hash[SHA256_TEXT_SIZE];
    char *environment, *replica, *message; /* message: NULL when applied */
    int64_t epoch, version;
    struct roster *roster; /* one reference, owned */
};

struct item {
    int64_t sequence;
    char deployment_id[UUID_SIZE];
    struct store_environments *environments; /* one reference; of them it is number `index` */
    size_t index;
    enum result_state state;
    char *message, *replicas;
    int64_t settled_at;
    struct late_ack *late; /* when set, the rest is unused */
};

struct batch {
    struct item *items;
    size_t count, capacity;
    int64_t offsets[PARTITIONS_MAX]; /* 0: not told */
    bool has_offsets;
};

struct gathered {
    struct job job;
    struct writer *writer;
    const char *topic;
    struct batch storing; /* owned by the job while it is under way */
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t drained;
    struct batch adding;
    bool busy; /* the job is under way */
};

static void late_free(struct late_ack *late) {
    if (!late)
        return;
    roster_release(late->roster);
    free(late->environment);
    free(late->replica);
    free(late->message);
    free(late);
}

static void batch_clear(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++) {
        free(batch->items[i].message);
        free(batch->items[i].replicas);
        store_environments_release(batch->items[i].environments);
        late_free(batch->items[i].late);
    }
    free(batch->items);
    *batch = (struct batch){0};
}

/* ---- late acks, judged in the writer's thread ---- */

struct judgement {
    const struct late_ack *late;
    int64_t epoch; /* of the store */
    int64_t sequence, environment_id;
    bool fits, change;
    enum result_state state;
    char *message, *replicas;
    cJSON *outcomes; /* of the replicas; NULL: no change */
};

/* The replicas' outcomes stored so far with this one put in. */
static cJSON *merge(const char *stored, const struct late_ack *late) {
    cJSON *replicas = stored ? cJSON_Parse(stored) : NULL;
    if (!cJSON_IsObject(replicas)) {
        cJSON_Delete(replicas);
        replicas = cJSON_CreateObject();
    }
    cJSON_DeleteItemFromObjectCaseSensitive(replicas, late->replica);
    cJSON_AddStringToObject(replicas, late->replica, late->message ? late->message : "");
    return replicas;
}

/* What the environment's state is, given each replica's outcome and who is live. */
static void conclude(struct judgement *judgement, const struct store_deployment *deployment,
                     const struct store_result *result) {
    const cJSON *replicas = judgement->outcomes;
    const struct roster *roster = judgement->late->roster;
    size_t missing = 0, failures = 0;
    const cJSON *failed = NULL, *item;
    cJSON_ArrayForEach (item, replicas)
        if (item->valuestring[0] && failures++ == 0)
            failed = item;
    for (size_t i = 0; i < roster->live_count; i++)
        missing += !cJSON_GetObjectItemCaseSensitive(replicas, roster->live[i]);
    if (failed) {
        judgement->state = RESULT_FAILED;
        judgement->message = deployment_failure(deployment->operation, failed->string, failures - 1, failed->valuestring);
    } else if (missing) {
        judgement->state = RESULT_PENDING;
        /* The sentence of a wait that ended stays true; that of a failure which has passed does not. */
        judgement->message = result->state == RESULT_PENDING ? memory_string(result->message) : NULL;
    } else {
        const struct store_success success = {.sequence = deployment->sequence,
                                              .epoch = deployment->epoch,
                                              .partition = deployment->partition,
                                              .operation = deployment->operation,
                                              .jwk_id = deployment->jwk_uid};
        judgement->state = RESULT_SUCCEEDED;
        judgement->message = roster_message(roster, &success, replicas);
    }
}

/* Of an earlier version: whoever has applied this one has passed that one. */
static char *superseded_message(void *context, const struct store_success *success) {
    const struct judgement *judgement = context;
    return roster_message(judgement->late->roster, success, judgement->outcomes);
}

static void judge(void *context, const struct store_deployment *deployment) {
    struct judgement *judgement = context;
    const struct late_ack *late = judgement->late;
    if (strcmp(deployment->jwk_uid, late->jwk_id) != 0 || deployment->epoch != late->epoch ||
        deployment->version != late->version || strcmp(deployment->event_hash, late->event_hash) != 0)
        return;
    for (size_t i = 0; i < deployment->result_count; i++) {
        const struct store_result *result = &deployment->results[i];
        if (strcmp(result->environment_name, late->environment) != 0)
            continue;
        judgement->fits = true;
        if (result->state == RESULT_SUCCEEDED && !late->message)
            return; /* a duplicate */
        /* Since this store was adopted all that it has is published again: that tells what becomes of the JWK. That a replica
         * has more than a change of before says nothing about it. */
        if (late->message && deployment->epoch < judgement->epoch)
            return;
        judgement->change = true;
        judgement->sequence = deployment->sequence;
        judgement->environment_id = result->environment_id;
        judgement->outcomes = merge(result->replicas, late);
        conclude(judgement, deployment, result);
        judgement->replicas = judgement->state == RESULT_SUCCEEDED ? NULL : cJSON_PrintUnformatted(judgement->outcomes);
        return;
    }
}

static int store_late(struct store *store, const struct late_ack *late, struct error *error) {
    struct store_identity identity;
    if (store_read_identity(store, &identity, error))
        return -1;
    struct judgement judgement = {.late = late, .epoch = identity.epoch};
    int64_t now = clock_wall_ms();
    int status = store_find_deployment(store, late->deployment_id, judge, &judgement, error);
    if (status != 0 && error->code == ERROR_NOT_FOUND)
        status = 0; /* of another installation, or forgotten */
    if (!judgement.fits && status == 0)
        log_debug("ack fits no deployment", "deployment", late->deployment_id, "environment", late->environment, "replica",
                  late->replica);
    if (judgement.change) {
        const struct store_outcome outcome = {.sequence = judgement.sequence,
                                              .environment_id = judgement.environment_id,
                                              .deployment_id = late->deployment_id,
                                              .environment_name = late->environment,
                                              .state = judgement.state,
                                              .message = judgement.message,
                                              .replicas = judgement.replicas,
                                              .settled_at = judgement.state == RESULT_PENDING ? 0 : now};
        status = store_set_result(store, &outcome, error);
        if (status == 0 && judgement.state == RESULT_SUCCEEDED)
            status = store_settle_superseded(store, &outcome, superseded_message, &judgement, error);
        log_info("late ack recorded", "deployment", late->deployment_id, "environment", late->environment, "replica",
                 late->replica, "status", late->message ? "failed" : "applied");
    }
    free(judgement.message);
    free(judgement.replicas);
    cJSON_Delete(judgement.outcomes);
    return status;
}

/* ---- the job ---- */

static int store_item(struct store *store, const struct item *item, struct error *error) {
    const struct store_environment *environment = &item->environments->items[item->index];
    const struct store_outcome outcome = {.sequence = item->sequence,
                                          .environment_id = environment->id,
                                          .deployment_id = item->deployment_id,
                                          .environment_name = environment->name,
                                          .state = item->state,
                                          .message = item->message,
                                          .replicas = item->replicas,
                                          .settled_at = item->settled_at};
    return store_set_result(store, &outcome, error);
}

static int run(struct job *job, struct store *store, struct error *error) {
    struct gathered *gathered = (struct gathered *)job;
    struct batch *batch = &gathered->storing;
    if (batch->count == 0 && !batch->has_offsets) { /* not a repetition: take what there is now */
        pthread_mutex_lock(&gathered->lock);
        *batch = gathered->adding;
        gathered->adding = (struct batch){0};
        pthread_cond_signal(&gathered->drained);
        pthread_mutex_unlock(&gathered->lock);
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->late ? store_late(store, item->late, error) : store_item(store, item, error))
            return -1;
    }
    for (int32_t i = 0; batch->has_offsets && i < PARTITIONS_MAX; i++)
        if (batch->offsets[i] && store_set_offset(store, gathered->topic, i, batch->offsets[i], error))
            return -1;
    return 0;
}

/* Submits the job unless it is under way or there is nothing. The lock is held. */
static void submit(struct gathered *gathered) {
    if (gathered->busy || (gathered->adding.count == 0 && !gathered->adding.has_offsets))
        return;
    gathered->busy = true;
    if (writer_defer(gathered->writer, &gathered->job))
        abort(); /* a deferred job is never refused */
}

static void done(struct job *job, int status, const struct error *error) {
    struct gathered *gathered = (struct gathered *)job;
    if (status != 0) /* they are found again in Kafka from the stored offset */
        log_warning("gathered results are not stored", "reason", error->message);
    batch_clear(&gathered->storing);
    pthread_mutex_lock(&gathered->lock);
    gathered->busy = false;
    submit(gathered);
    pthread_mutex_unlock(&gathered->lock);
}

struct gathered *gathered_new(struct writer *writer, const char *acks_topic) {
    struct gathered *gathered = memory_new(sizeof *gathered);
    gathered->job = (struct job){.run = run, .done = done};
    gathered->writer = writer;
    gathered->topic = acks_topic;
    pthread_mutex_init(&gathered->lock, NULL);
    pthread_cond_init(&gathered->drained, NULL);
    return gathered;
}

void gathered_free(struct gathered *gathered) {
    if (!gathered)
        return;
    batch_clear(&gathered->adding);
    batch_clear(&gathered->storing);
    pthread_mutex_destroy(&gathered->lock);
    pthread_cond_destroy(&gathered->drained);
    free(gathered);
}

static void add(struct gathered *gathered, const struct item *item) {
    pthread_mutex_lock(&gathered->lock);
    struct batch *batch = &gathered->adding;
    if (batch->count == batch->capacity) {
        batch->capacity = batch->capacity ? batch->capacity * 2 : 256;
        batch->items = memory_resize(batch->items, batch->capacity * sizeof *batch->items);
    }
    batch->items[batch->count++] = *item;
    pthread_mutex_unlock(&gathered->lock);
}

void gathered_add_outcome(struct gathered *gathered, const struct deployment *deployment, size_t index) {
    const struct environment_outcome *outcome = &deployment->outcomes[index];
    struct item item = {
        .sequence = deployment->change.sequence,
        .environments = store_environments_share(deployment->change.environments),
        .index = index,
        .state = outcome->state,
        .message = memory_string(outcome->message),
        .replicas = outcome->state == RESULT_SUCCEEDED ? NULL : deployment_replicas_json(outcome),
        .settled_at = outcome->state == RESULT_PENDING ? 0 : clock_wall_ms(),
    };
    memcpy(item.deployment_id, deployment->change.deployment_id, sizeof item.deployment_id);
    add(gathered, &item);
}

void gathered_add_late(struct gathered *gathered, const struct ack *ack, const struct replica *replica) {
    struct late_ack *late = memory_new(sizeof *late);
    snprintf(late->deployment_id, sizeof late->deployment_id, "%s", ack->deployment_id);
    snprintf(late->jwk_id, sizeof late->jwk_id, "%s", ack->jwk_id);
    snprintf(late->event_hash, sizeof late->event_hash, "%s", ack->event_hash);
    late->environment = memory_string(ack->environment);
    late->replica = memory_string(ack->replica);
    if (ack->status == ACK_FAILED)
        late->message = memory_string(ack->message && ack->message[0] ? ack->message : "no reason given");
    late->epoch = ack->epoch;
    late->version = ack->version;
    late->roster = roster_share(replica->environment);
    add(gathered, &(struct item){.late = late});
}

void gathered_set_offset(struct gathered *gathered, int32_t partition, int64_t next_offset) {
    if (partition < 0 || partition >= PARTITIONS_MAX)
        return;
    pthread_mutex_lock(&gathered->lock);
    gathered->adding.offsets[partition] = next_offset;
    gathered->adding.has_offsets = true;
    pthread_mutex_unlock(&gathered->lock);
}

bool gathered_all_stored(struct gathered *gathered) {
    pthread_mutex_lock(&gathered->lock);
    bool all_stored = !gathered->busy && gathered->adding.count == 0;
    pthread_mutex_unlock(&gathered->lock);
    return all_stored;
}

void gathered_flush(struct gathered *gathered) {
    pthread_mutex_lock(&gathered->lock);
    submit(gathered);
    while (gathered->adding.count > GATHERED_MAX)
        pthread_cond_wait(&gathered->drained, &gathered->lock);
    pthread_mutex_unlock(&gathered->lock);
}
