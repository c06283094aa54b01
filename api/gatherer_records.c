/* What the records of the acks and workers topics say, and whether that counts. */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"
#include "gatherer_internal.h"

static struct metric acks_applied = {.name = "jwk_api_acks_total",
                                     .labels = "status=\"applied\"",
                                     .help = "Acks gathered, by what they say.",
                                     .type = METRIC_COUNTER};
static struct metric acks_failed = {.name = "jwk_api_acks_total", .labels = "status=\"failed\"", .type = METRIC_COUNTER};
static struct metric acks_stale = {.name = "jwk_api_acks_total", .labels = "status=\"stale\"", .type = METRIC_COUNTER};
static struct metric acks_malformed = {.name = "jwk_api_acks_total", .labels = "status=\"malformed\"", .type = METRIC_COUNTER};
static struct metric acks_refused = {.name = "jwk_api_acks_total", .labels = "status=\"refused\"", .type = METRIC_COUNTER};
static struct metric presence_refused = {.name = "jwk_api_presence_refused_total",
                                         .help =
                                             "Records of the workers topic, of since the start, that do not prove that their "
                                             "environment sent them.",
                                         .type = METRIC_COUNTER};
static struct metric presence_malformed = {.name = "jwk_api_presence_malformed_total",
                                           .help = "Records of the workers topic that could not be read.",
                                           .type = METRIC_COUNTER};
static struct metric *const all_metrics[] = {&acks_applied, &acks_failed,      &acks_stale,        &acks_malformed,
                                             &acks_refused, &presence_refused, &presence_malformed};

void gatherer_register_records(void) {
    for (size_t i = 0; i < sizeof all_metrics / sizeof *all_metrics; i++)
        metrics_register(all_metrics[i]);
}

/* Tells of a record that is of no use; anybody who can write to the topic can cause such lines. */
static void tell_bad(struct log_limit *limit, const char *event, const rd_kafka_message_t *record, const char *environment,
                     const char *replica, const char *reason) {
    int64_t suppressed;
    if (log_limit_allows(limit, clock_monotonic_ms(), &suppressed))
        log_warning(event, "topic", rd_kafka_topic_name(record->rkt), "partition", LOG_NUMBER(record->partition), "offset",
                    LOG_NUMBER(record->offset), "environment", environment, "replica", replica, "reason", reason,
                    LOG_SUPPRESSED(suppressed));
}

/* Judges the signature of an ack of the present worker of a replica. */
static int check_ack(struct gatherer *gatherer, const rd_kafka_message_t *record, const struct replica *replica,
                     struct error *error) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    if (enrolling_demand(gatherer->enrolling, replica->environment->name) == DEMAND_NOTHING)
        return 0;
    if (!replica->enrolled)
        return error_set(error, ERROR_DENIED, "its worker is not enrolled with the present keys of the environment");
    return cloudevent_read(record, &storage, &attributes, error) ||
                   enrolled_check(replica->enrolled, record, &attributes, clock_wall_ms() / 1000, error)
               ? -1
               : 0;
}

static void note_ack(struct gatherer *gatherer, const struct ack *ack, struct replica *replica) {
    struct deployment *deployment;
    HASH_FIND(hh, gatherer->deployments, &ack->sequence, sizeof ack->sequence, deployment);
    const struct store_change *change = deployment ? &deployment->change : NULL;
    if (!change) {
        gathered_add_late(gatherer->gathered, ack, replica);
        gatherer_note_unsettled(
            replica->environment); /* a failure that has passed leaves it pending until each replica's success is known */
    } else if (strcmp(change->deployment_id, ack->deployment_id) == 0 && strcmp(change->jwk_id, ack->jwk_id) == 0 &&
               change->epoch == ack->epoch && change->version == ack->version &&
               strcmp(change->event_hash, ack->event_hash) == 0) {
        deployment_note(deployment, replica, ack->status == ACK_APPLIED ? EXPECT_APPLIED : EXPECT_FAILED, ack->message);
        gatherer_update(gatherer, deployment);
    } else {
        metric_add(&acks_stale, 1);
        log_warning("ack does not fit its deployment", "deployment", ack->deployment_id, "environment", ack->environment,
                    "replica", ack->replica);
    }
}

void gatherer_on_ack(struct gatherer *gatherer, const rd_kafka_message_t *record) {
    struct ack ack;
    struct error error;
    if (ack_decode(record->payload, record->len, &ack, &error)) {
        metric_add(&acks_malformed, 1);
        tell_bad(&gatherer->acks_limit, "ack can not be read", record, NULL, NULL, error.message);
        return;
    }
    struct replica *replica = replicas_find(&gatherer->replicas, ack.environment, ack.replica);
    if (!replica || replica->incarnation != ack.incarnation || strcmp(replica->worker, ack.worker) != 0) {
        /* Of an earlier incarnation, or ahead of its hello: the positions of the current one tell what is applied. */
        metric_add(&acks_stale, 1);
        log_debug("ack is not of the current incarnation", "deployment", ack.deployment_id, "environment", ack.environment,
                  "replica", ack.replica);
    } else if (check_ack(gatherer, record, replica, &error)) {
        metric_add(&acks_refused, 1);
        tell_bad(&gatherer->acks_limit, "ack is refused", record, ack.environment, ack.replica, error.message);
    } else {
        metric_add(ack.status == ACK_APPLIED ? &acks_applied : &acks_failed, 1);
        note_ack(gatherer, &ack, replica);
    }
    ack_free(&ack);
}

static int read_presence(const rd_kafka_message_t *record, const struct cloudevent *attributes, struct presence *presence,
                         struct error *error) {
    for (enum presence_kind kind = PRESENCE_HELLO; kind <= PRESENCE_GOODBYE; kind++)
        if (strcmp(attributes->type, presence_kind_type(kind)) == 0)
            return presence_decode(record->payload, record->len, kind, presence, error);
    return error_set(error, ERROR_INVALID, "ce_type is unknown");
}

/* Judges a presence by what its environment demands. *enrolled gets the start of a worker that it enrols, unless that is known
 * already. */
static int check_presence(struct gatherer *gatherer, const rd_kafka_message_t *record, const struct cloudevent *attributes,
                          const struct presence *presence, enum enrolling_demand demand, struct enrolled **enrolled,
                          struct error *error) {
    *enrolled = NULL;
    if (demand == DEMAND_UNKNOWN)
        return error_set(error, ERROR_DENIED, "there is no such environment");
    if (demand == DEMAND_NOTHING)
        return 0;
    int64_t now = clock_wall_ms() / 1000;
    const struct replica *replica = replicas_find(&gatherer->replicas, presence->environment, presence->replica);
    struct enrolled *known = replica ? replica->enrolled : NULL;
    if (known && enrolled_is(known, presence))
        return enrolled_check(known, record, attributes, now, error);
    struct enrolled *fresh = enrolling_enrol(gatherer->enrolling, presence, now, error);
    if (fresh && enrolled_check(fresh, record, attributes, now, error) == 0) {
        *enrolled = fresh;
        return 0;
    }
    enrolled_free(fresh);
    return -1;
}

/* Takes a presence into account; takes enrolled. */
static int apply_presence(struct gatherer *gatherer, const struct presence *presence, const rd_kafka_message_t *record,
                          bool is_proven, struct enrolled *enrolled, int64_t now, struct replica **replica,
                          enum replica_change *change, struct error *error) {
    int64_t written = rd_kafka_message_timestamp(record, NULL);
    pthread_mutex_lock(&gatherer->replicas_lock);
    int status = replicas_apply(&gatherer->replicas, presence, record->offset, written, is_proven, now, replica, change, error);
    /* What a fenced worker still says is sound, but it is not the present one. */
    if (status == 0 && enrolled && replica_is_of(*replica, presence, record->offset)) {
        enrolled_free((*replica)->enrolled);
        (*replica)->enrolled = enrolled;
        enrolled = NULL;
    }
    pthread_mutex_unlock(&gatherer->replicas_lock);
    enrolled_free(enrolled);
    return status;
}

/* What is read before the end of the topic may be of an installation that was here before. And all environments read the same
 * events: where one has keys, its replicas prove what those of one without could only say. */
static void look_for_other_store(struct gatherer *gatherer, const struct replica *replica, enum enrolling_demand demand) {
    if (replica->is_ahead && gatherer->replicas.caught_up &&
        (demand == DEMAND_PROOF || !enrolling_knows_keys(gatherer->enrolling)) &&
        !atomic_exchange(&gatherer->is_overtaken, true))
        log_error(GATHERER_OVERTAKEN, "environment", replica->environment->name, "replica", replica->name, "epoch",
                  LOG_NUMBER(gatherer->replicas.epoch), "epoch_of_replica", LOG_NUMBER(replica->epoch));
}

static void note_presence(struct gatherer *gatherer, struct replica *replica, enum replica_change change, int64_t now) {
    gatherer->next_expiry = now; /* looked at after this batch */
    if (change == REPLICA_ARRIVED)
        gatherer_for_all(gatherer, replica, deployment_replica_arrived);
    else if (change == REPLICA_POSITION)
        gatherer_for_all(gatherer, replica, deployment_replica_position);
    else if (change == REPLICA_GONE)
        gatherer_for_all(gatherer, replica, deployment_replica_gone);
    if (change == REPLICA_ARRIVED || change == REPLICA_POSITION)
        settler_consider(gatherer->settler, replica->environment, gathered_all_stored(gatherer->gathered));
}

/* What is read back at the start was judged when it came: it is refused now also when it was good, and its environment has got
 * other keys since. That is no reason to look for a forger each time. */
static void refuse_presence(struct gatherer *gatherer, const rd_kafka_message_t *record, const struct presence *presence,
                            const char *reason) {
    if (!gatherer->replicas.caught_up) {
        gatherer->refused_before++;
        log_debug("presence of before this start is refused", "offset", LOG_NUMBER(record->offset), "environment",
                  presence->environment, "replica", presence->replica, "reason", reason);
        return;
    }
    metric_add(&presence_refused, 1);
    tell_bad(&gatherer->presence_limit, "presence is refused", record, presence->environment, presence->replica, reason);
}

void gatherer_on_presence(struct gatherer *gatherer, const rd_kafka_message_t *record, int64_t now) {
    if (!record->payload)
        return; /* a tombstone: somebody tidied up */
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct presence presence;
    struct error error;
    struct replica *replica;
    struct enrolled *enrolled;
    enum replica_change change;
    if (cloudevent_read(record, &storage, &attributes, &error) || read_presence(record, &attributes, &presence, &error)) {
        metric_add(&presence_malformed, 1);
        tell_bad(&gatherer->presence_limit, "presence can not be read", record, NULL, NULL, error.message);
        return;
    }
    enum enrolling_demand demand = enrolling_demand(gatherer->enrolling, presence.environment);
    if (check_presence(gatherer, record, &attributes, &presence, demand, &enrolled, &error)) {
        refuse_presence(gatherer, record, &presence, error.message);
    } else if (apply_presence(gatherer, &presence, record, demand == DEMAND_PROOF, enrolled, now, &replica, &change, &error)) {
        tell_bad(&gatherer->presence_limit, "presence is ignored", record, presence.environment, presence.replica,
                 error.message);
    } else {
        look_for_other_store(gatherer, replica, demand);
        note_presence(gatherer, replica, change, now);
    }
    presence_free(&presence);
}
