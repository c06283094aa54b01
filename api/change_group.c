/* One answer over several deployments: an environment has succeeded when each of them has succeeded there. */
#include "change_group.h"

#include <stdlib.h>

#include "answer.h"
#include "common/memory.h"

struct group_environment {
    size_t failed;
    char *message; /* of the first that failed, or else of the first that had something to say; NULL: none */
};

/* Filled before the gatherer knows of any of the deployments, then touched by its thread alone. */
struct change_group {
    struct call *call;
    enum event_operation operation;
    struct store_environments *environments; /* one reference */
    size_t count, open;                      /* deployments: all, and those that are not settled yet */
    struct group_environment outcomes[];     /* as environments */
};

struct change_group *change_group_new(struct call *call, enum event_operation operation,
                                      struct store_environments *environments, size_t count) {
    struct change_group *group = memory_new(sizeof *group + environments->count * sizeof group->outcomes[0]);
    group->call = call;
    group->operation = operation;
    group->environments = store_environments_share(environments);
    group->count = group->open = count;
    return group;
}

static void take_outcome(struct group_environment *total, const struct environment_outcome *outcome) {
    bool failed = !outcome->settled || outcome->state != RESULT_SUCCEEDED;
    bool first_failure = failed && total->failed == 0;
    if (outcome->message && (first_failure || !total->message)) {
        free(total->message);
        total->message = memory_string(outcome->message);
    }
    total->failed += failed;
}

/* Says of how many JWKs the sentence of the first one is told. */
static void count_failures(struct group_environment *total, size_t count) {
    if (total->failed == 0)
        return;
    char *first = total->message;
    total->message =
        memory_format("%zu of %zu JWKs did not confirm: %s", total->failed, count, first ? first : "no reason given");
    free(first);
}

void change_group_settled(struct deployment *deployment) {
    struct change_group *group = deployment->context;
    /* All were recorded in one transaction, hence for the same environments. */
    size_t count = group->environments->count;
    for (size_t i = 0; i < count && i < deployment->change.environments->count; i++)
        take_outcome(&group->outcomes[i], &deployment->outcomes[i]);
    if (--group->open > 0)
        return;
    struct answer_environment *environments = memory_new(count * sizeof *environments + 1);
    for (size_t i = 0; i < count; i++) {
        count_failures(&group->outcomes[i], group->count);
        environments[i] = (struct answer_environment){.name = group->environments->items[i].name,
                                                      .message = group->outcomes[i].message,
                                                      .success = group->outcomes[i].failed == 0};
    }
    answer_outcomes(group->call, group->operation, environments, count, NULL);
    for (size_t i = 0; i < count; i++)
        free(group->outcomes[i].message);
    free(environments);
    store_environments_release(group->environments);
    free(group);
}
