/* jwk-api serve: starts the parts in the order of their needs, waits for a signal, and stops them in the reverse order. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "answer.h"
#include "api.h"
#include "audit_end.h"
#include "audit_publisher.h"
#include "call.h"
#include "common/address_file.h"
#include "common/hangup.h"
#include "common/kafka_config.h"
#include "common/kafka_health.h"
#include "common/listen.h"
#include "common/log.h"
#include "idempotency.h"
#include "notify.h"
#include "operator.h"
#include "refresh.h"
#include "settings.h"
#include "republish.h"
#include "store_damage.h"
#include "store_sealing.h"
#include "store_signing.h"
#include "tombstones.h"
#include "topic_end.h"

enum {
    TOPIC_ATTEMPTS_MAX = 5,     /* at making topics and looking at their ends */
    REPLICAS_TIMEOUT_MS = 5000, /* the longest that a start waits for the workers topic to be read */
    ANSWER_HEADERS = 2048,      /* bytes that the headers of an answer take at most */
    FLUSH_TIMEOUT_MS = 5000,    /* the longest that a stop waits for events in flight; the outbox has what is left */
    AUDIT_TIMEOUT_MS = 1000,    /* the same for the end of the audit trail */
    ACKS_RETENTION_DAYS = 7,
    FETCH_THREADS = 8,    /* a server that hangs occupies one for as long as its caller allows … */
    FETCH_QUEUE = 64,     /* … and so many callers may wait for one; more are answered 503 */
    GENERATE_THREADS = 3, /* an RSA key of 4096 bits takes a second or more of a core. One project has all but one … */
    GENERATE_QUEUE = 64,
    IMPORT_THREADS = 3, /* … so that here and there two cores are busy with one, and another does not wait for it */
};

struct service {
    struct sealing *sealing;
    struct store *store; /* the writer's, until there is a writer */
    const struct settings *settings;
    struct kafka_settings kafka;
    struct kafka_topics topics;
    struct api api;
    struct tls_files tls;
    struct http_server *server;
    struct signing *signing;
    struct signing_watch *signing_watch;
    struct notify *notify;
    struct tombstones *tombstones;
    struct republisher *republisher;
    int partitions;               /* of the events topic that the store spreads JWKs over; 0: not fixed yet */
    atomic_bool lacks_partitions; /* it has fewer, and that was told */
    bool topic_is_new;            /* the events topic lacks what the store has published */
    struct refresh *refresh;
};

static atomic_bool stop_requested; /* a signal came; also ends the wait for a broker */
static sem_t stop_semaphore;       /* posted when it came */

/* The one thread that gets SIGTERM and SIGINT: all others block them. */
static void *await_signal(void *context) {
    int number;
    pthread_setname_np(pthread_self(), "signals");
    sigwait(context, &number);
    atomic_store(&stop_requested, true);
    sem_post(&stop_semaphore);
    return NULL;
}

static void watch_signals(void) {
    static sigset_t signals;
    pthread_t thread;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    hangup_block();
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    sem_init(&stop_semaphore, 0, 0);
    if (pthread_create(&thread, NULL, await_signal, &signals) != 0)
        abort(); /* no threads at start: nothing can work */
    pthread_detach(thread);
}

/* What the broker has. */
struct topics_found {
    int partitions, audit_partitions;
    bool events_created;
};

static int create_topics(struct service *service, struct topics_found *found, struct error *error) {
    enum { EVENTS, ACKS, WORKERS, AUDIT, COUNT };
    const struct settings *settings = service->settings;
    char acks_retention[32];
    snprintf(acks_retention, sizeof acks_retention, "%lld", ACKS_RETENTION_DAYS * 86400000LL);
    struct kafka_topic_spec specs[COUNT] = {
        [EVENTS] = {.name = service->topics.events,
                    .partitions = service->partitions > 0 ? service->partitions : (int)settings->partitions,
                    .partitions_max = POSITION_COUNT_MAX, /* heartbeats name each */
                    /* Auditors see every event for at least a week; the compacted rest lets a new replica read every key. */
                    .config = {"cleanup.policy", "compact", "min.compaction.lag.ms", "604800000", "delete.retention.ms",
                               "604800000", "max.message.bytes", "1048576"}},
        [ACKS] = {.name = service->topics.acks,
                  .partitions = 1,
                  .config = {"cleanup.policy", "delete", "retention.ms", acks_retention}},
        [WORKERS] = {.name = service->topics.workers,
                     .partitions = 1,
                     /* Small segments, so that a start reads minutes of heartbeats and not weeks. */
                     .config = {"cleanup.policy", "compact", "segment.ms", "600000", "min.cleanable.dirty.ratio", "0.1",
                                "max.compaction.lag.ms", "600000"}},
        [AUDIT] = {.name = service->topics.audit,
                   .partitions = 1, /* one order */
                   .config = {"cleanup.policy", "delete", "retention.ms", "-1", "retention.bytes", "-1", "max.message.bytes",
                              "1048576"}},
    };
    if (kafka_create_topics(&service->kafka, specs, COUNT, (int)settings->replication, error))
        return -1;
    *found = (struct topics_found){specs[EVENTS].partitions_found, specs[AUDIT].partitions_found, specs[EVENTS].created};
    return 0;
}

static int check_partitions(const struct service *service, int found, struct error *error) {
    if (found < service->partitions)
        return error_set(error, ERROR_INVALID, "topic %s has %d partitions and the store needs %d: add partitions to the topic",
                         service->topics.events, found, service->partitions);
    return 0;
}

/* The partitions that JWKs are spread over are fixed at the first start: partitions added later stay unused, and no key ever
 * moves. */
static int fix_partitions(struct service *service, struct store *store, int found, struct error *error) {
    if (service->partitions == 0) {
        service->partitions = found;
        return store_fix_partitions(store, found, error);
    }
    return check_partitions(service, found, error);
}

/* Whether the topic has not what was published: it was made again, or has lost some. */
static bool is_made_again(const struct topic_end *end, const struct store_identity *identity) {
    if (end->lacking)
        return true;
    for (int i = 0; i < end->partitions; i++)
        if (!end->empty[i])
            return false;
    return identity->sequence > 0;
}

/* Refuses a topic that is ahead of the store, or is not its own. */
static int check_topic_end(struct service *service, struct store *store, struct error *error) {
    struct store_identity identity;
    struct topic_end end;
    if (store_read_identity(store, &identity, error))
        return -1;
    int status = topic_end_read(&service->kafka, service->topics.events, store, &identity, &end, error);
    if (status == 0)
        status = topic_end_check(&end, &identity, service->topics.events, error);
    service->topic_is_new = status == 0 && is_made_again(&end, &identity);
    service->api.doubt = status == 0 && end.in_doubt ? TOPIC_END_DOUBT : NULL;
    topic_end_free(&end);
    return status;
}

/* Tells when a topic has another setting than it would have been made with. */
static void check_setting(const struct service *service, const char *topic, const char *name, const char *expected,
                          const char *event, const char *advice) {
    struct error error;
    char *setting = kafka_topic_setting(&service->kafka, topic, name, &error);
    if (!setting)
        log_debug("a topic's setting is not known", "topic", topic, "setting", name, "reason", error.message);
    else if (strcmp(setting, expected) != 0)
        log_error(event, "topic", topic, name, setting, "advice", advice);
    free(setting);
}

/* A topic that somebody else has made, or a broker by itself, may not be compacted: it loses the keys that do not change. A
 * trail in several partitions would have no order: who verifies it refuses to. And one that is kept for a week has no
 * beginning. */
static void check_topics(struct service *service, const struct topics_found *found) {
    if (found->audit_partitions > 1)
        log_error("the topic has several partitions, so that nobody can verify the audit trail", "topic", service->topics.audit,
                  "partitions", LOG_NUMBER(found->audit_partitions), "advice",
                  "keep a dump of its partition 0 and delete it: jwk-api makes it again with one");
    if (service->kafka.embedded)
        return;
    check_setting(service, service->topics.events, "cleanup.policy", "compact",
                  "the topic loses events when they are old, so that new replicas will lack keys",
                  "delete it: jwk-api makes it again as it should be, and publishes every JWK");
    check_setting(service, service->topics.audit, "retention.ms", "-1", "the topic loses audit lines when they are old",
                  "set its retention.ms to -1, or keep what is read of it elsewhere");
}

/* Makes the topics that are missing, and checks what is on them: again when one goes away meanwhile, since somebody is deleting
 * it at this moment. */
static int start_topics(struct service *service, struct store *store, struct error *error) {
    struct store_identity identity;
    struct topics_found found;
    int status = -1;
    if (store_read_identity(store, &identity, error))
        return -1;
    service->partitions = identity.partitions;
    for (int attempt = 0; attempt < TOPIC_ATTEMPTS_MAX; attempt++) {
        status = create_topics(service, &found, error) || fix_partitions(service, store, found.partitions, error) ||
                         check_topic_end(service, store, error) ||
                         audit_end_check(&service->kafka, service->topics.audit, store, error)
                     ? -1
                     : 0;
        if (status == 0 || error->code != ERROR_NOT_FOUND)
            break;
        log_warning("a topic went away", "reason", error->message);
    }
    if (status == 0)
        check_topics(service, &found);
    return status;
}

/* What says how JWKs are fetched from URLs, and the pools for what takes long. */
static int start_sources(struct service *service, struct error *error) {
    const struct settings *settings = service->settings;
    struct api *api = &service->api;
    api->sources = (struct api_sources){
        .settings = {.allow_http = settings->source_allow_http, .ca_file = settings->source_ca_file},
        .refresh_minimum_ms = settings->source_refresh_min,
        .refresh_maximum_ms = settings->source_refresh_max,
        .refresh_default_ms = settings->source_refresh_default,
    };
    if (source_networks_parse(settings->source_allow_private, &api->sources.settings.allowed, error))
        return error_prefix(error, "--source-allow-private");
    if (settings->source_ca_file && access(settings->source_ca_file, R_OK) != 0)
        return error_set(error, ERROR_INVALID, "--source-ca-file: %s can not be read: %s", settings->source_ca_file,
                         strerror(errno));
    if (settings->source_refresh_min > settings->source_refresh_max)
        return error_set(error, ERROR_INVALID, "--source-refresh-min is more than --source-refresh-max");
    api->fetching = workpool_new("fetch", FETCH_THREADS, FETCH_QUEUE);
    api->generating = workpool_new("generate", GENERATE_THREADS, GENERATE_QUEUE);
    /* An import is short as a rule: as many may wait as changes at all. */
    api->importing = workpool_new("import", IMPORT_THREADS, (unsigned)settings->waiting);
    return 0;
}

/* In the publisher's thread: the events topic is another one, so new replicas would find next to nothing in it. */
static void publish_again(void *context) {
    struct service *service = context;
    log_warning("topic was made again: publishing every JWK", "topic", service->topics.events);
    republisher_start(service->republisher, true);
}

/* Somebody else has made the topic again, with fewer partitions: changes wait until it has them. */
static void tell_partitions(struct service *service, int found) {
    struct error error;
    bool lacks = check_partitions(service, found, &error) != 0;
    if (!atomic_exchange(&service->lacks_partitions, lacks) && lacks)
        log_error("not every event can be sent", "reason", error.message);
}

/* In the thread that misses one: topics that somebody deleted are made again with the right settings. */
static void restore_topics(void *context) {
    struct service *service = context;
    struct error error;
    struct topics_found found;
    if (create_topics(service, &found, &error)) {
        log_write(error.code == ERROR_DENIED ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, /* a refusal is told already */
                  "topics can not be looked at", "reason", error.message, NULL);
        return;
    }
    tell_partitions(service, found.partitions);
    if (found.events_created)
        publish_again(service);
}

/* Reads the key that events are signed with; the first start makes it. */
static int start_signing(struct service *service, struct store *store, struct error *error) {
    struct signer *signer;
    if (store_begin(store, error))
        return -1;
    if (store_ensure_signing_key(store, error) || store_commit(store, error)) {
        store_rollback(store);
        return -1;
    }
    if (store_load_other_signer(store, NULL, &signer, error))
        return -1;
    log_info("events are signed", "kid", signer_kid(signer));
    service->signing = signing_new(signer);
    service->signing_watch = signing_watch_new(service->signing);
    return 0;
}

/* For one who looks with a connection of its own. */
static int nothing_to_read(void *context, struct store *store, struct error *error) {
    (void)context, (void)store, (void)error;
    return 0;
}

/* Follows what commands change in the store from now on. */
static int start_notify(struct service *service, struct error *error) {
    const struct notify_subscriber subscribers[] = {
        {"signing key", signing_watch_look, signing_watch_act, service->signing_watch},
        {"environments", gatherer_look, gatherer_act, service->api.gatherer},
        {"publishing again", republisher_look, republisher_act, service->republisher},
        {"audit trail", nothing_to_read, audit_publisher_look, service->api.audit},
    };
    service->notify = notify_new(service->settings->data_dir, service->api.writer, subscribers,
                                 sizeof subscribers / sizeof *subscribers, error);
    return service->notify ? 0 : -1;
}

/* Opens the store with the master keys that its secrets are sealed under: without them nothing starts. */
static int open_store(struct service *service, struct error *error) {
    const struct settings *settings = service->settings;
    struct master_key_source source = master_key_source_of(settings);
    service->sealing = sealing_new(&source, error);
    if (!service->sealing)
        return -1;
    if (store_check_files(settings->data_dir, error))
        return -1;
    service->store = store_open(settings->data_dir, STORE_MAKE, error);
    if (!service->store || store_check_sample(service->store, error) ||
        store_use_sealing(service->store, service->sealing, error))
        return -1;
    store_note_existence(settings->data_dir);
    return 0;
}

/* Begins the part of the audit trail that this process writes: before anything that it tells. */
static int start_audit(struct service *service, struct store *store, struct error *error) {
    struct store_identity identity;
    struct audit_publisher_options options = {.topic = service->topics.audit,
                                              .signing = service->signing,
                                              .restore = restore_topics,
                                              .context = service,
                                              .refusals = service->api.refusals};
    if (store_read_identity(store, &identity, error))
        return -1;
    const struct audit_entry start = {.type = AUDIT_START,
                                      .actor = operator_name(),
                                      .user_id = operator_id(),
                                      .login = operator_login(),
                                      .program_version = JWK_VERSION,
                                      .epoch = identity.epoch};
    struct store *reader = store_open(service->settings->data_dir, STORE_READ, error);
    if (!reader)
        return -1;
    service->api.audit = audit_publisher_new(&options, reader, error);
    if (!service->api.audit || store_audit(store, &start, error))
        return -1;
    store_audit_watch(store, audit_publisher_look, service->api.audit);
    return 0;
}

/* In the writer's thread: the gatherer was told what to expect; now the events go out, and it looks. */
static void after_batch(void *context) {
    struct service *service = context;
    publisher_flush(service->api.publisher);
    gatherer_take_expected(service->api.gatherer);
}

static int start_pipeline(struct service *service, struct error *error) {
    const struct settings *settings = service->settings;
    struct store *store = service->store, *reader = NULL;
    if (store_seal_clear_text(store, error) || kafka_connect(&service->kafka, -1, &stop_requested, error) ||
        start_topics(service, store, error) || start_signing(service, store, error) || start_audit(service, store, error))
        return -1;
    service->api.readers = readers_new(settings->data_dir, service->sealing);
    service->api.writer = writer_new(store);
    writer_gather(service->api.writer, &service->api.waiting, WRITER_GATHER_US);
    service->store = NULL;
    service->api.idempotency = idempotency_new(service->api.writer, settings->idempotency_lifetime);
    struct gatherer_options options = {.kafka = &service->kafka,
                                       .topics = &service->topics,
                                       .grace_ms = settings->grace,
                                       .restore = restore_topics,
                                       .context = service};
    reader = store_open(settings->data_dir, STORE_WRITE, error);
    if (!reader)
        return -1;
    service->api.gatherer = gatherer_new(&options, reader, service->api.writer, error);
    store_close(reader);
    reader = service->api.gatherer ? store_open(settings->data_dir, STORE_READ, error) : NULL;
    if (!reader)
        return -1;
    service->api.publisher =
        publisher_new(&service->kafka, service->topics.events, reader, service->api.writer, service->signing, error);
    if (!service->api.publisher)
        return -1;
    writer_after_batch(service->api.writer, after_batch, service);
    publisher_add_topic(service->api.publisher, service->topics.audit);
    publisher_watch_topic(service->api.publisher, restore_topics, publish_again, service);
    gatherer_start(service->api.gatherer);
    /* It was made again, or cut, or is from before events were signed. */
    if (service->topic_is_new)
        log_warning("topic lacks what this store has published and signed: publishing every JWK", "topic",
                    service->topics.events);
    service->republisher = republisher_new(service->api.writer, service->api.publisher, service->api.gatherer);
    publisher_start(service->api.publisher);
    audit_publisher_start(service->api.audit, service->api.writer, service->api.publisher);
    republisher_start(service->republisher, service->topic_is_new);
    service->tombstones = tombstones_new(service->api.writer, service->api.publisher, settings->tombstone_delay);
    service->refresh = refresh_new(&service->api);
    if (start_notify(service, error))
        return -1;
    gatherer_await_replicas(service->api.gatherer, REPLICAS_TIMEOUT_MS);
    return 0;
}

static void reload(void *context) {
    struct service *service = context;
    log_info("loading again");
    http_server_reload(service->server);
}

static int start_throttle(struct service *service, struct error *error) {
    struct rate tokens, failures;
    if (rate_parse(service->settings->rate_limit_token, &tokens, error))
        return error_prefix(error, "--rate-limit-token");
    if (rate_parse(service->settings->rate_limit_failures, &failures, error))
        return error_prefix(error, "--rate-limit-failures");
    service->api.throttle = throttle_new(&tokens, &failures);
    return 0;
}

/* Listens before anything else: a wrong address is told at once, and /healthz and /readyz tell that the service waits for its
 * broker. */
static int start_http(struct service *service, struct error *error) {
    const struct settings *settings = service->settings;
    struct http_server_options options = {
        .listen = settings->listen,
        .name = "http",
        .threads = (unsigned)settings->threads,
        .connection_limit = (unsigned)settings->connections,
        .connection_memory = (size_t)settings->header_limit + ANSWER_HEADERS, /* one pool holds both */
        .cors = {.methods = "GET, HEAD, POST, PUT, DELETE",
                 .headers = "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, Prefer, traceparent"},
        .context = &service->api,
        .on_headers = call_on_headers,
        .on_request = call_on_request,
        .on_error = answer_plumbing_error,
        .on_answer = call_on_answer,
        .on_completed = call_on_completed,
    };
    if (http_settings_apply(&settings->http, &service->tls, &options, error))
        return -1;
    service->server = http_server_start(&options, error);
    if (!service->server)
        return -1;
    hangup_watch(reload, service);
    log_info("listening", "listen", settings->listen, "port", LOG_NUMBER(http_server_port(service->server)));
    return 0;
}

/* From here on calls are taken. */
static int open_service(struct service *service, struct error *error) {
    const struct settings *settings = service->settings;
    unsigned port = http_server_port(service->server);
    atomic_store(&service->api.ready, true);
    log_info("serving", "listen", settings->listen, "port", LOG_NUMBER(port), "brokers", settings->brokers, "data_dir",
             settings->data_dir);
    return settings->address_file ? address_file_write_bound(settings->address_file, settings->listen, port, error) : 0;
}

static void stop_pools(struct api *api) {
    workpool_stop(api->fetching);
    workpool_stop(api->generating);
    workpool_stop(api->importing);
}

/* Once this returns no work is under way: what it led to is with the writer, or answered. */
static void free_pools(struct api *api) {
    workpool_free(api->fetching);
    workpool_free(api->generating);
    workpool_free(api->importing);
}

/* Stops accepting, answers what waits, flushes, closes. */
static void stop(struct service *service) {
    const char *reason = "The API is stopping";
    hangup_stop();
    atomic_store(&service->api.stopping, true);
    if (service->server) {
        log_info("stopping", "active", LOG_NUMBER(http_server_active(service->server)));
        http_server_quiesce(service->server);
        if (!http_server_wait_idle(service->server, (int)service->settings->shutdown_timeout)) {
            stop_pools(&service->api);
            if (service->api.gatherer)
                gatherer_give_up(service->api.gatherer, reason);
            http_server_wait_idle(service->server, FLUSH_TIMEOUT_MS);
        }
    }
    refresh_free(service->refresh);
    free_pools(&service->api);
    if (service->server) /* for what the pools have handed on last */
        http_server_wait_idle(service->server, FLUSH_TIMEOUT_MS);
    tombstones_stop(service->tombstones);
    republisher_stop(service->republisher);
    notify_stop(service->notify);
    if (service->api.gatherer) {
        gatherer_give_up(service->api.gatherer, reason);
        gatherer_stop(service->api.gatherer);
    }
    if (service->server)
        http_server_stop(service->server);
    if (service->api.audit)
        audit_publisher_stop(service->api.audit, AUDIT_TIMEOUT_MS);
    if (service->api.publisher)
        publisher_stop(service->api.publisher, FLUSH_TIMEOUT_MS);
    if (service->api.writer)
        writer_free(service->api.writer);
    tombstones_free(service->tombstones);
    notify_free(service->notify);
    idempotency_free(service->api.idempotency);
    throttle_free(service->api.throttle);
    publisher_free(service->api.publisher);
    audit_publisher_free(service->api.audit);
    refusals_free(service->api.refusals);
    signing_watch_free(service->signing_watch);
    signing_free(service->signing);
    gatherer_free(service->api.gatherer);
    republisher_free(service->republisher);
    if (service->api.readers)
        readers_free(service->api.readers);
    store_close(service->store);
    sealing_free(service->sealing);
}

int serve_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    struct error error = {0};
    struct service service = {.settings = context};
    const struct settings *settings = context;
    struct option_list *properties = &((struct settings *)context)->kafka_properties;
    service.kafka = (struct kafka_settings){
        .brokers = settings->brokers, .topic_prefix = settings->topic_prefix, .properties = properties, .client_id = "jwk-api"};
    if (listen_check(settings->listen, &error) || kafka_config_read(settings->kafka_config, properties, &error) ||
        kafka_check(&service.kafka, &error))
        return fprintf(stderr, "jwk-api: %s\n", error.message), 2;
    watch_signals();
    kafka_health_register();
    service.api.limits = (struct api_limits){.deploy_timeout_ms = settings->deploy_timeout,
                                             .waiting_maximum = (int)settings->waiting,
                                             .body_maximum = (size_t)settings->body_limit,
                                             .token_lifetime_ms = settings->token_lifetime};
    kafka_topics_name(settings->topic_prefix, &service.topics);
    service.api.refusals = refusals_new();
    int status = start_sources(&service, &error);
    if (status == 0)
        status = store_lock_serving(settings->data_dir, STORE_MAKE, &error);
    if (status == 0)
        status = start_throttle(&service, &error);
    if (status == 0)
        status = open_store(&service, &error);
    if (status == 0)
        status = start_http(&service, &error);
    if (status == 0)
        status = start_pipeline(&service, &error);
    if (status == 0)
        status = open_service(&service, &error);
    bool clean = status == 0 || atomic_load(&stop_requested);
    if (!clean)
        log_error("can not serve", "reason", error.message);
    while (clean && !atomic_load(&stop_requested))
        sem_wait(&stop_semaphore);
    stop(&service);
    log_info("stopped");
    return clean ? 0 : error.code == ERROR_INVALID ? 2 : 1;
}
