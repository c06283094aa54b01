/* One deployment that somebody waits for. */
#include "deployment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/memory.h"
#include "common/text.h"
#include "roster.h"

enum { NAMES_SHOWN_MAX = 5 }; /* replicas that one message names */

struct deployment *deployment_new(struct store_change *change, enum event_operation operation, int64_t wait_ms,
                                  void (*settled)(struct deployment *deployment), void *context) {
    struct deployment *deployment = memory_new(sizeof *deployment);
    deployment->change = *change;
    *change = (struct store_change){0};
    deployment->operation = operation;
    deployment->wait_ms = wait_ms;
    deployment->deadline = (struct heap_entry){.due = clock_monotonic_ms() + wait_ms, .index = HEAP_NONE};
    deployment->settled = settled;
    deployment->context = context;
    deployment->unsettled = deployment->change.environments->count;
    if (deployment->unsettled)
        deployment->outcomes = memory_new(deployment->unsettled * sizeof *deployment->outcomes);
    return deployment;
}

void deployment_free(struct deployment *deployment) {
    for (size_t i = 0; i < deployment->change.environments->count; i++) {
        struct environment_outcome *outcome = &deployment->outcomes[i];
        for (size_t j = 0; j < outcome->count; j++)
            free(outcome->expectations[j].message);
        free(outcome->expectations);
        free(outcome->message);
    }
    free(deployment->outcomes);
    store_change_clear(&deployment->change);
    free(deployment);
}

static void settle(struct deployment *deployment, struct environment_outcome *outcome, enum result_state state, char *message) {
    outcome->settled = true;
    outcome->state = state;
    outcome->message = message;
    deployment->unsettled--;
}

static const char *noun(const struct deployment *deployment) {
    return deployment->operation == EVENT_DELETE ? "undeployment" : "deployment";
}

/* Appends "a, b and 3 more" of the replicas that `wanted` chooses; returns how many there are. */
static size_t add_names(struct text *text, const struct environment_outcome *outcome, enum expectation_state wanted) {
    size_t count = 0;
    for (size_t i = 0; i < outcome->count; i++) {
        if (outcome->expectations[i].state != wanted)
            continue;
        if (count < NAMES_SHOWN_MAX)
            text_add_format(text, "%s%s", count ? ", " : "", outcome->expectations[i].replica->name);
        count++;
    }
    if (count > NAMES_SHOWN_MAX)
        text_add_format(text, " and %zu more", count - NAMES_SHOWN_MAX);
    return count;
}

static struct expectation *find_expectation(const struct environment_outcome *outcome, const struct replica *replica) {
    for (size_t i = 0; i < outcome->count; i++)
        if (outcome->expectations[i].replica == replica)
            return &outcome->expectations[i];
    return NULL;
}

/* The sentence for a success that leaves out replicas that are offline; NULL when there are none. */
static char *success_message(const struct deployment *deployment, const struct environment_outcome *outcome) {
    const struct store_change *change = &deployment->change;
    const struct store_success success = {.sequence = change->sequence,
                                          .epoch = change->epoch,
                                          .partition = change->partition,
                                          .operation = deployment->operation,
                                          .jwk_id = change->jwk_id};
    struct reach reach = {0};
    for (size_t i = 0; i < outcome->count; i++)
        reach.applied += outcome->expectations[i].state == EXPECT_APPLIED;
    for (const struct replica *replica = outcome->environment->replicas; replica; replica = replica->next) {
        const struct expectation *expectation = find_expectation(outcome, replica);
        if (!expectation || expectation->state != EXPECT_APPLIED) /* else it went after its ack, which is counted */
            reach_add(&reach, replica, &success);
    }
    return reach_message(&reach, deployment->operation);
}

char *deployment_failure(enum event_operation operation, const char *replica, size_t others, const char *reason) {
    char more[48] = "";
    if (others > 0)
        snprintf(more, sizeof more, " (and %zu more)", others);
    return memory_format("%s failed on replica %s%s: %s", operation == EVENT_DELETE ? "Undeployment" : "Deployment", replica,
                         more, reason);
}

static char *failure_message(const struct deployment *deployment, const struct environment_outcome *outcome) {
    const struct expectation *first = NULL;
    size_t failed = 0;
    for (size_t i = 0; i < outcome->count; i++) {
        if (outcome->expectations[i].state != EXPECT_FAILED)
            continue;
        first = first ? first : &outcome->expectations[i];
        failed++;
    }
    if (!first)
        abort(); /* asked for only when one has failed */
    return deployment_failure(deployment->operation, first->replica->name, failed - 1,
                              first->message ? first->message : "no reason given");
}

/* Settles the environment when nobody in it owes anything. */
static void evaluate(struct deployment *deployment, struct environment_outcome *outcome) {
    if (outcome->settled || outcome->waiting > 0)
        return;
    size_t applied = 0;
    for (size_t i = 0; i < outcome->count; i++) {
        if (outcome->expectations[i].state == EXPECT_FAILED) {
            settle(deployment, outcome, RESULT_FAILED, failure_message(deployment, outcome));
            return;
        }
        applied += outcome->expectations[i].state == EXPECT_APPLIED;
    }
    if (applied > 0)
        settle(deployment, outcome, RESULT_SUCCEEDED, success_message(deployment, outcome));
    /* else all have gone: whoever comes before the deadline settles it */
}

static struct expectation *add_expectation(struct environment_outcome *outcome, struct replica *replica) {
    outcome->expectations = memory_resize(outcome->expectations, (outcome->count + 1) * sizeof *outcome->expectations);
    struct expectation *expectation = &outcome->expectations[outcome->count++];
    *expectation = (struct expectation){.replica = replica, .state = EXPECT_WAITING};
    outcome->waiting++;
    return expectation;
}

static struct environment_outcome *outcome_of(struct deployment *deployment, const struct replica *replica) {
    for (size_t i = 0; i < deployment->change.environments->count; i++)
        if (deployment->outcomes[i].environment == replica->environment)
            return &deployment->outcomes[i];
    return NULL;
}

void deployment_begin(struct deployment *deployment, struct replica_table *replicas, int64_t now, int64_t grace_ms) {
    for (size_t i = 0; i < deployment->change.environments->count; i++) {
        struct environment_outcome *outcome = &deployment->outcomes[i];
        outcome->environment = replicas_environment(replicas, deployment->change.environments->items[i].name);
        bool joining = false;
        for (struct replica *replica = outcome->environment ? outcome->environment->replicas : NULL; replica;
             replica = replica->next) {
            if (replica_is_live(replica))
                add_expectation(outcome, replica);
            joining = joining || replica->connected;
        }
        int64_t left_at = outcome->environment ? outcome->environment->left_at : INT64_MIN;
        if (outcome->count == 0 && !joining && (left_at == INT64_MIN || now - left_at > grace_ms))
            settle(deployment, outcome, RESULT_PENDING,
                   memory_format("No replica of this environment is connected; the %s",
                                 deployment->operation == EVENT_DELETE ? "JWK is undeployed when one connects"
                                                                       : "change is deployed when one connects"));
    }
}

void deployment_note(struct deployment *deployment, struct replica *replica, enum expectation_state state,
                     const char *message) {
    struct environment_outcome *outcome = outcome_of(deployment, replica);
    if (!outcome || outcome->settled)
        return;
    struct expectation *expectation = find_expectation(outcome, replica);
    if (!expectation)
        expectation = add_expectation(outcome, replica);
    if (expectation->state == EXPECT_WAITING)
        outcome->waiting--;
    expectation->state = state;
    free(expectation->message);
    expectation->message = memory_string(message);
    evaluate(deployment, outcome);
}

void deployment_replica_position(struct deployment *deployment, struct replica *replica) {
    struct environment_outcome *outcome = outcome_of(deployment, replica);
    struct expectation *expectation = outcome && !outcome->settled ? find_expectation(outcome, replica) : NULL;
    if (!expectation || expectation->state != EXPECT_WAITING)
        return;
    const struct store_change *change = &deployment->change;
    bool failing;
    if (!replica_covers(replica, change->epoch, change->partition, change->sequence, change->jwk_id, &failing))
        return;
    if (failing)
        deployment_note(deployment, replica, EXPECT_FAILED, "the change is stored but could not be applied; it is tried again");
    else
        deployment_note(deployment, replica, EXPECT_APPLIED, NULL);
}

void deployment_replica_arrived(struct deployment *deployment, struct replica *replica) {
    struct environment_outcome *outcome = outcome_of(deployment, replica);
    if (!outcome || outcome->settled)
        return;
    struct expectation *expectation = find_expectation(outcome, replica);
    if (!expectation)
        add_expectation(outcome, replica);
    else if (expectation->state == EXPECT_GONE) {
        expectation->state = EXPECT_WAITING;
        outcome->waiting++;
    }
    deployment_replica_position(deployment, replica);
}

void deployment_replica_gone(struct deployment *deployment, struct replica *replica) {
    struct environment_outcome *outcome = outcome_of(deployment, replica);
    struct expectation *expectation = outcome && !outcome->settled ? find_expectation(outcome, replica) : NULL;
    if (!expectation || expectation->state != EXPECT_WAITING)
        return;
    expectation->state = EXPECT_GONE;
    outcome->waiting--;
    evaluate(deployment, outcome);
}

static char *timeout_message(const struct deployment *deployment, const struct environment_outcome *outcome) {
    struct text text = TEXT_EMPTY;
    text_add_format(&text, "Timed out after %g s waiting for ", (double)deployment->wait_ms / 1000);
    struct text names = TEXT_EMPTY;
    size_t waiting = add_names(&names, outcome, EXPECT_WAITING);
    if (waiting)
        text_add_format(&text, "%s %s", waiting == 1 ? "replica" : "replicas", names.bytes);
    else
        text_add_string(&text, "a replica to connect");
    text_free(&names);
    text_add_format(&text, "; the %s goes on", noun(deployment));
    return text_take(&text);
}

/* What is said of an environment that is given up on: a failure that is known already counts more than what did not come. */
static void give_up(struct deployment *deployment, struct environment_outcome *outcome, const char *reason) {
    bool failed = false;
    for (size_t i = 0; i < outcome->count; i++)
        failed = failed || outcome->expectations[i].state == EXPECT_FAILED;
    if (failed)
        settle(deployment, outcome, RESULT_FAILED, failure_message(deployment, outcome));
    else if (reason)
        settle(deployment, outcome, RESULT_PENDING, memory_format("%s; the %s goes on", reason, noun(deployment)));
    else
        settle(deployment, outcome, RESULT_PENDING, timeout_message(deployment, outcome));
}

void deployment_give_up(struct deployment *deployment, const char *reason) {
    for (size_t i = 0; i < deployment->change.environments->count; i++)
        if (!deployment->outcomes[i].settled)
            give_up(deployment, &deployment->outcomes[i], reason);
}

char *deployment_replicas_json(const struct environment_outcome *outcome) {
    struct text text = TEXT_EMPTY;
    bool any = false;
    text_json_open(&text, NULL, '{');
    for (size_t i = 0; i < outcome->count; i++) {
        const struct expectation *expectation = &outcome->expectations[i];
        if (expectation->state == EXPECT_APPLIED)
            text_json_string(&text, expectation->replica->name, "");
        else if (expectation->state == EXPECT_FAILED)
            text_json_string(&text, expectation->replica->name,
                             expectation->message ? expectation->message : "no reason given");
        else
            continue;
        any = true;
    }
    text_json_close(&text, '}');
    if (any)
        return text_take(&text);
    text_free(&text);
    return NULL;
}
