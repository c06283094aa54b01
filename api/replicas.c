/* Which replicas are there. */
#include "replicas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "enrolled.h"
#include "roster.h"

struct replica_environment *replicas_environment(struct replica_table *table, const char *name) {
    struct replica_environment *environment;
    HASH_FIND_STR(table->environments, name, environment);
    if (environment || HASH_COUNT(table->environments) >= ENVIRONMENTS_MAX)
        return environment;
    environment = memory_new(sizeof *environment);
    snprintf(environment->name, sizeof environment->name, "%s", name);
    environment->left_at = INT64_MIN;
    environment->unsettled = true; /* an earlier process may have left some */
    HASH_ADD_STR(table->environments, name, environment);
    return environment;
}

static struct replica *find_in(const struct replica_environment *environment, const char *name) {
    for (struct replica *replica = environment->replicas; replica; replica = replica->next)
        if (strcmp(replica->name, name) == 0)
            return replica;
    return NULL;
}

struct replica *replicas_find(const struct replica_table *table, const char *environment_name, const char *name) {
    struct replica_environment *environment;
    HASH_FIND_STR(table->environments, environment_name, environment);
    return environment ? find_in(environment, name) : NULL;
}

struct replica_counts replicas_count(const struct replica_table *table, const char *name, int64_t now) {
    struct replica_counts counts = {0};
    struct replica_environment *environment;
    HASH_FIND_STR(table->environments, name, environment);
    for (const struct replica *replica = environment ? environment->replicas : NULL; replica; replica = replica->next) {
        counts.ready += replica_is_live(replica);
        counts.catching_up += replica->connected && !replica->ready;
        counts.offline += replica_is_offline(replica, now);
    }
    return counts;
}

static struct replica *find_or_make(struct replica_table *table, const struct presence *presence, bool is_proven,
                                    struct error *error) {
    struct replica_environment *environment = replicas_environment(table, presence->environment);
    if (!environment)
        return error_set(error, ERROR_UNAVAILABLE, "more than %d environments in the topic", ENVIRONMENTS_MAX), NULL;
    struct replica *replica = find_in(environment, presence->replica);
    if (replica)
        return replica;
    if (table->replica_count >= REPLICAS_MAX)
        return error_set(error, ERROR_UNAVAILABLE, "more than %d replicas in the topic", REPLICAS_MAX), NULL;
    if (!is_proven && table->unproven_count >= UNPROVEN_MAX)
        return error_set(error, ERROR_UNAVAILABLE, "more than %d replicas of environments without keys in the topic",
                         UNPROVEN_MAX),
               NULL;
    replica = memory_new(sizeof *replica);
    snprintf(replica->name, sizeof replica->name, "%s", presence->replica);
    replica->environment = environment;
    replica->floor = &table->floor;
    replica->incarnation = replica->passed_over = -1;
    replica->next = environment->replicas;
    environment->replicas = replica;
    table->replica_count++;
    table->unproven_count += !is_proven;
    return replica;
}

/* What was said of its replicas is not so any more. */
static void drop_roster(struct replica_environment *environment) {
    roster_release(environment->roster);
    environment->roster = NULL;
}

void replicas_set_floor(struct replica_table *table, const struct sequence_floor *floor) {
    table->floor = *floor;
    for (struct replica_environment *environment = table->environments; environment; environment = environment->hh.next)
        drop_roster(environment);
}

static void note_state(struct replica *replica, const struct presence *presence, int64_t store_epoch) {
    replica->epoch = presence->epoch;
    replica->is_ahead = store_epoch && presence->epoch > store_epoch;
    replica->keys = presence->keys;
    replica->interval_ms = presence->interval_ms;
    if (presence->position_count != replica->position_count)
        replica->positions = memory_resize(replica->positions, presence->position_count * sizeof *replica->positions + 1);
    replica->position_count = presence->position_count;
    if (presence->position_count)
        memcpy(replica->positions, presence->positions, presence->position_count * sizeof *replica->positions);
    if (presence->failing_count != replica->failing_count)
        replica->failing = memory_resize(replica->failing, presence->failing_count * sizeof *replica->failing + 1);
    replica->failing_count = presence->failing_count;
    replica->failing_truncated = presence->failing_truncated;
    for (size_t i = 0; i < presence->failing_count; i++)
        snprintf(replica->failing[i], UUID_SIZE, "%s", presence->failing[i]);
}

/* Notes when the last record was written: by another clock, so never after now, and now when it is not told. */
static void note_written(struct replica *replica, int64_t written, int64_t now, bool caught_up) {
    int64_t wall = clock_wall_ms();
    replica->offline_wall = written > 0 && written < wall ? written : wall;
    replica->offline_at = caught_up ? now : now - (wall - replica->offline_wall);
}

static bool has_live(const struct replica_environment *environment) {
    for (const struct replica *replica = environment->replicas; replica; replica = replica->next)
        if (replica_is_live(replica))
            return true;
    return false;
}

/* Notes that a replica is not connected any more. */
static void disconnect(struct replica *replica, bool left, int64_t now) {
    bool was_live = replica_is_live(replica);
    replica->connected = replica->ready = false;
    replica->left = left;
    drop_roster(replica->environment);
    if (was_live && !has_live(replica->environment))
        replica->environment->left_at = now;
    log_info(left ? "replica left" : "replica is offline", "environment", replica->environment->name, "replica", replica->name,
             "worker", replica->worker);
}

/* Whether the record tells of the present worker, or of one that takes its place. */
static bool is_current(struct replica *replica, const struct presence *presence, int64_t offset, bool is_proven) {
    if (presence->kind == PRESENCE_HELLO) {
        if (offset == replica->incarnation || presence_hello_counts(presence, offset, replica->incarnation, is_proven))
            return true;
        replica->passed_over = offset;
        return false;
    }
    if (presence->incarnation < replica->incarnation)
        return false; /* a fenced worker still speaks */
    if (replica->number > 0 && presence->number <= replica->number && strcmp(presence->worker, replica->worker) == 0)
        return false; /* a copy of what it has said before: it would keep a dead worker alive, or take a live one out */
    if (presence->incarnation == replica->passed_over)
        return false;                      /* it will see that its hello did not count, and say another */
    return presence->incarnation < offset; /* else its hello was in an earlier topic of this name; taking it would fence the
                                            * hello that follows in this one */
}

bool replica_is_of(const struct replica *replica, const struct presence *presence, int64_t offset) {
    return replica->incarnation == (presence->kind == PRESENCE_HELLO ? offset : presence->incarnation) &&
           strcmp(replica->worker, presence->worker) == 0;
}

int replicas_apply(struct replica_table *table, const struct presence *presence, int64_t offset, int64_t written,
                   bool is_proven, int64_t now, struct replica **found, enum replica_change *change, struct error *error) {
    struct replica *replica = find_or_make(table, presence, is_proven, error);
    if (!replica)
        return -1;
    *found = replica;
    *change = REPLICA_SAME;
    drop_roster(replica->environment);
    bool counts = is_current(replica, presence, offset, is_proven);
    if (counts || replica->offline_wall == 0) /* it may be all that is ever heard */
        note_written(replica, written, now, table->caught_up);
    if (!counts)
        return 0;
    int64_t incarnation = presence->kind == PRESENCE_HELLO ? offset : presence->incarnation;
    bool was_live = replica_is_live(replica);
    replica->number = presence->number;
    if (presence->kind == PRESENCE_GOODBYE) {
        replica->incarnation = incarnation;
        snprintf(replica->worker, sizeof replica->worker, "%s", presence->worker);
        note_state(replica, presence, table->epoch);
        if (replica->connected)
            disconnect(replica, true, now);
        replica->left = true;
        *change = was_live ? REPLICA_GONE : REPLICA_SAME;
        return 0;
    }
    if (!replica->connected || incarnation != replica->incarnation)
        log_info("replica connected", "environment", presence->environment, "replica", presence->replica, "worker",
                 presence->worker, "incarnation", LOG_NUMBER(incarnation), "ready", presence->ready ? "true" : "false");
    replica->incarnation = incarnation;
    snprintf(replica->worker, sizeof replica->worker, "%s", presence->worker);
    note_state(replica, presence, table->epoch);
    replica->connected = true;
    replica->left = false;
    replica->ready = presence->ready;
    replica->seen_at = now;
    bool is_live = replica_is_live(replica);
    if (is_live && !was_live)
        log_info("replica is ready", "environment", presence->environment, "replica", presence->replica, "worker",
                 presence->worker);
    if (was_live && !is_live && !has_live(replica->environment))
        replica->environment->left_at = now;
    *change = is_live ? (was_live ? REPLICA_POSITION : REPLICA_ARRIVED) : was_live ? REPLICA_GONE : REPLICA_SAME;
    return 0;
}

static int64_t expiry_of(const struct replica *replica) {
    return replica->seen_at + MISSED_HEARTBEATS * replica->interval_ms + HEARTBEAT_SLACK_MS;
}

int64_t replicas_expire(struct replica_table *table, int64_t now, void (*gone)(void *context, struct replica *replica),
                        void *context) {
    int64_t next = INT64_MAX;
    for (struct replica_environment *environment = table->environments; environment; environment = environment->hh.next) {
        for (struct replica *replica = environment->replicas; replica; replica = replica->next) {
            if (!replica->connected)
                continue;
            int64_t expiry = expiry_of(replica);
            if (expiry > now) {
                next = expiry < next ? expiry : next;
                continue;
            }
            bool was_live = replica_is_live(replica);
            disconnect(replica, false, now);
            if (was_live)
                gone(context, replica);
        }
    }
    return next;
}

void replicas_excuse(struct replica_table *table, int64_t pause_ms) {
    for (struct replica_environment *environment = table->environments; environment; environment = environment->hh.next)
        for (struct replica *replica = environment->replicas; replica; replica = replica->next)
            replica->seen_at += pause_ms;
}

void replicas_reset(struct replica_table *table, int64_t now) {
    for (struct replica_environment *environment = table->environments; environment; environment = environment->hh.next)
        for (struct replica *replica = environment->replicas; replica; replica = replica->next) {
            /* Whoever is still there says hello again, and stays connected until then. */
            replica->incarnation = replica->passed_over = -1;
            replica->seen_at = now;
        }
}

void replicas_forget_enrolled(struct replica_table *table, const char *name) {
    struct replica_environment *environment;
    HASH_FIND_STR(table->environments, name, environment);
    for (struct replica *replica = environment ? environment->replicas : NULL; replica; replica = replica->next) {
        enrolled_free(replica->enrolled);
        replica->enrolled = NULL;
    }
}

bool replica_covers(const struct replica *replica, int64_t epoch, int partition, int64_t sequence, const char *jwk_id,
                    bool *failing) {
    *failing = false;
    for (size_t i = 0; i < replica->failing_count && !*failing; i++)
        *failing = strcmp(replica->failing[i], jwk_id) == 0;
    if (replica->failing_truncated && !*failing)
        return false; /* whether its hook fails is not told */
    if (replica->is_ahead)
        return false; /* the other store has given the same sequences to other changes */
    if (replica->epoch < epoch)
        return false; /* sequences go on growing through epochs, so a later epoch covers as well */
    for (size_t i = 0; i < replica->position_count; i++)
        if (replica->positions[i].partition == partition)
            return replica->positions[i].sequence >= (sequence <= replica->floor->from ? replica->floor->until : sequence);
    return false;
}

void replicas_free(struct replica_table *table) {
    struct replica_environment *environment, *next_environment;
    HASH_ITER (hh, table->environments, environment, next_environment) {
        for (struct replica *replica = environment->replicas, *next; replica; replica = next) {
            next = replica->next;
            enrolled_free(replica->enrolled);
            free(replica->positions);
            free(replica->failing);
            free(replica);
        }
        HASH_DEL(table->environments, environment);
        roster_release(environment->roster);
        free(environment);
    }
}

static int compare(const void *one, const void *other) {
    const struct replica *first = one, *second = other;
    int order = strcmp(first->environment->name, second->environment->name);
    return order ? order : strcmp(first->name, second->name);
}

static void *copy_array(const void *items, size_t size) {
    void *copy = memory_new(size + 1);
    if (size)
        memcpy(copy, items, size);
    return copy;
}

void replica_copy(const struct replica *replica, struct replica *copy) {
    *copy = *replica;
    copy->next = NULL;
    copy->enrolled = NULL;
    copy->positions = copy_array(replica->positions, replica->position_count * sizeof *replica->positions);
    copy->failing = copy_array(replica->failing, replica->failing_count * sizeof *replica->failing);
}

struct replica *replicas_copy(const struct replica_table *table, size_t *count) {
    struct replica *copy = memory_new(table->replica_count * sizeof *copy + 1);
    *count = 0;
    for (const struct replica_environment *environment = table->environments; environment; environment = environment->hh.next)
        for (const struct replica *replica = environment->replicas; replica; replica = replica->next)
            replica_copy(replica, &copy[(*count)++]);
    qsort(copy, *count, sizeof *copy, compare);
    return copy;
}

void replicas_copy_free(struct replica *copy, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(copy[i].positions);
        free(copy[i].failing);
    }
    free(copy);
}
