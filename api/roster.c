/* Who of an environment is live and who is offline. */
#include "roster.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"

static int compare_names(const void *one, const void *other) {
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static struct roster *make(const struct replica_environment *environment) {
    struct roster *roster = memory_new(sizeof *roster);
    int64_t now = clock_monotonic_ms();
    atomic_init(&roster->references, 1);
    if (environment->replicas)
        roster->floor = *environment->replicas->floor;
    for (const struct replica *replica = environment->replicas; replica; replica = replica->next) {
        if (replica_is_live(replica)) {
            roster->live = memory_resize(roster->live, (roster->live_count + 1) * sizeof *roster->live);
            roster->live[roster->live_count++] = memory_string(replica->name);
        } else if (replica_is_offline(replica, now)) {
            roster->offline = memory_resize(roster->offline, (roster->offline_count + 1) * sizeof *roster->offline);
            struct replica *copy = &roster->offline[roster->offline_count++];
            replica_copy(replica, copy);
            copy->floor = &roster->floor; /* that of the table changes meanwhile */
        }
    }
    if (roster->live)
        qsort(roster->live, roster->live_count, sizeof *roster->live, compare_names);
    return roster;
}

struct roster *roster_share(struct replica_environment *environment) {
    if (!environment->roster)
        environment->roster = make(environment);
    atomic_fetch_add_explicit(&environment->roster->references, 1, memory_order_relaxed);
    return environment->roster;
}

void roster_release(struct roster *roster) {
    if (!roster || atomic_fetch_sub_explicit(&roster->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < roster->live_count; i++)
        free(roster->live[i]);
    free(roster->live);
    replicas_copy_free(roster->offline, roster->offline_count);
    free(roster);
}

static bool is_live(const struct roster *roster, const char *name) {
    return roster->live && bsearch(&name, roster->live, roster->live_count, sizeof *roster->live, compare_names);
}

void reach_add(struct reach *reach, const struct replica *replica, const struct store_success *success) {
    bool failing;
    if (!replica_is_offline(replica, clock_monotonic_ms()))
        return;
    if (replica_covers(replica, success->epoch, success->partition, success->sequence, success->jwk_id, &failing) && !failing) {
        reach->applied++;
    } else {
        reach->lacking++;
        reach->example = replica;
    }
}

char *reach_message(const struct reach *reach, enum event_operation operation) {
    char since[CLOCK_TEXT_SIZE];
    if (!reach->example)
        return NULL;
    return memory_format("%s successfully %s %zu of %zu replicas; %s has been offline since %s and catches up when it connects",
                         operation == EVENT_DELETE ? "Undeployed" : "Deployed", operation == EVENT_DELETE ? "from" : "to",
                         reach->applied, reach->applied + reach->lacking, reach->example->name,
                         clock_format(reach->example->offline_wall, since));
}

static bool has_applied(const cJSON *acked, const char *name) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(acked, name));
    return text && !text[0];
}

/* Counts who has applied it by an ack and is not live, nor counted by `counted`. */
static size_t count_others(const struct roster *roster, const cJSON *acked, const cJSON *counted) {
    size_t count = 0;
    const cJSON *item;
    cJSON_ArrayForEach (item, acked)
        count += cJSON_IsString(item) && !item->valuestring[0] && !is_live(roster, item->string) &&
                 !has_applied(counted, item->string);
    return count;
}

char *roster_message(const struct roster *roster, const struct store_success *success, const cJSON *acked) {
    if (roster->offline_count == 0)
        return NULL;
    cJSON *stored = success->replicas ? cJSON_Parse(success->replicas) : NULL;
    size_t others = count_others(roster, acked, NULL) + count_others(roster, stored, acked);
    struct reach reach = {.applied = roster->live_count + others};
    for (size_t i = 0; i < roster->offline_count; i++)
        if (!has_applied(acked, roster->offline[i].name) && !has_applied(stored, roster->offline[i].name))
            reach_add(&reach, &roster->offline[i], success);
    cJSON_Delete(stored);
    return reach_message(&reach, success->operation);
}
