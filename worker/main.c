/* jwk-worker: the table of options, and the wiring from the state up to the loop. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/address_file.h"
#include "common/clock.h"
#include "common/hangup.h"
#include "common/http_settings.h"
#include "common/kafka_config.h"
#include "common/kafka_health.h"
#include "common/listen.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/options.h"
#include "common/process.h"
#include "worker/metrics.h"
#include "worker/worker.h"

#define END_OF_OPTIONS \
    { .name = NULL }
#define AT(member) offsetof(struct settings, member)

enum { SECOND = 1000, DAY = 86400 * SECOND };
enum { EXIT_USAGE = 2, EXIT_FENCED = 3 };
enum { STOP_HTTP_MS = 2000 }; /* the longest that a stop waits for answers that have begun */

struct settings {
    char *environment, *replica, *state_dir;
    char *listen, *address_file, *url;
    char *credentials, *api_keys;
    bool is_unsigned;
    char *brokers, *topic_prefix, *kafka_config;
    struct option_list kafka_properties;
    char *hook, *export_dir, *private_key_dir;
    bool hook_private_key;
    long hook_timeout, hook_retry_initial, hook_retry_maximum;
    long heartbeat_interval, tombstone_delay, sweep_delay;
    long max_age; /* ms */
    long cache_size, http_threads, connections;
    struct http_settings http;
    char *log_level, *log_format;
    bool core_dumps;
};

static const struct option_spec options[] = {
    {"environment", 0, OPTION_STRING, "NAME", NULL, 0, 0, AT(environment),
     "The environment that this replica belongs to. Required."},
    {"replica", 0, OPTION_STRING, "NAME", NULL, 0, 0, AT(replica),
     "This replica's name, unique in its environment. Default: the host name."},
    {"state-dir", 0, OPTION_STRING, "DIRECTORY", "/var/lib/jwk-worker", 0, 0, AT(state_dir),
     "Where the replica keeps its keys and how far it has read. Made for its owner alone when missing; rebuilt from the topic "
     "when lost."},
    {"listen", 0, OPTION_STRING, "ADDRESS:PORT", "127.0.0.1:8081", 0, 0, AT(listen),
     "Where to serve HTTP. Port 0 picks a free one; * is every address."},
    {"address-file", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(address_file),
     "Write the address really bound to FILE once it listens."},
    {"url", 0, OPTION_STRING, "URL", NULL, 0, 0, AT(url),
     "Where others reach this replica, as it tells jwk-api. Default: made from the address it listens on."},
    {"credentials", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(credentials),
     "The credentials of the environment, as `jwk-api environment add` wrote them: with them events are verified, private "
     "halves "
     "opened, and acknowledgements signed. For its owner alone (mode 600). Default: the file credentials in "
     "$CREDENTIALS_DIRECTORY, when there is one. Read again on SIGHUP, and within a heartbeat when events were refused for "
     "want of a key and the file has changed."},
    {"api-keys", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(api_keys),
     "A JWK Set of the API's public signing keys, as `jwk-api signing-key export` prints it, in place of those in the "
     "credentials. Read again like them."},
    {"unsigned", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(is_unsigned),
     "Run without credentials: whatever is on the topic is believed, nothing is signed, and private halves stay sealed. For "
     "environments that were added --without-keys."},
    {"brokers", 0, OPTION_STRING, "HOST:PORT,...", "127.0.0.1:9092", 0, 0, AT(brokers), "Bootstrap servers of Kafka."},
    {"topic-prefix", 0, OPTION_STRING, "PREFIX", "jwk", 0, 0, AT(topic_prefix),
     "Topics are PREFIX.events, PREFIX.acks and PREFIX.workers."},
    {"kafka-property", 'X', OPTION_LIST, "NAME=VALUE", NULL, 0, 0, AT(kafka_properties),
     "Pass a property to librdkafka, over our own choices. May be repeated. For what is no secret: other users of the machine "
     "see command lines."},
    {"kafka-config", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(kafka_config),
     "Read properties of librdkafka from FILE: lines of name=value, and comments that begin with #. The place for "
     "sasl.password: "
     "refused when others may read it. -X wins over it. Default: the systemd credential kafka, if there is one."},
    {"hook", 0, OPTION_STRING, "PROGRAM", NULL, 0, 0, AT(hook),
     "Run PROGRAM for each change once it is durable and served, before it is acknowledged. It gets JWK_OPERATION, "
     "JWK_PROJECT, JWK_NAME, "
     "JWK_ID, JWK_VERSION, JWK_KID, JWK_ENVIRONMENT and JWK_REPLICA in its environment and the public JWK on standard input. "
     "When it fails, "
     "its last line on standard error is the deployment's message, and it is run again later. Its umask is 077, as the worker's."},
    {"hook-timeout", 0, OPTION_DURATION, "TIME", "10s", 1, 3600 * SECOND, AT(hook_timeout),
     "How long the hook may run before it is killed."},
    {"hook-retry-initial", 0, OPTION_DURATION, "TIME", "1s", 1, 3600 * SECOND, AT(hook_retry_initial),
     "After how long a failed hook or export is tried again; twice as long after each further failure."},
    {"hook-retry-maximum", 0, OPTION_DURATION, "TIME", "60s", 1, DAY, AT(hook_retry_maximum), "The longest of these delays."},
    {"export-dir", 0, OPTION_STRING, "DIRECTORY", NULL, 0, 0, AT(export_dir),
     "Also write each project's JWK Set as a file there, replaced atomically. The directory is the worker's alone."},
    {"hook-private-key", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(hook_private_key),
     "Give the hook the whole JWK with its private half on standard input, where there is one, in place of the public one."},
    {"private-key-dir", 0, OPTION_STRING, "DIRECTORY", NULL, 0, 0, AT(private_key_dir),
     "Also keep each JWK with its private half as a file PROJECT/NAME.jwk there, replaced atomically and removed with its JWK, "
     "for "
     "gateways that sign or decrypt. Made for its owner alone when missing."},
    {"heartbeat-interval", 0, OPTION_DURATION, "TIME", "3s", 10, 3600 * SECOND, AT(heartbeat_interval),
     "How often the replica says that it is there. After three missed ones jwk-api does not wait for it."},
    {"tombstone-delay", 0, OPTION_DURATION, "TIME", "30d", SECOND, 365L * DAY, AT(tombstone_delay),
     "The same as jwk-api's: a replica that was out of touch for longer than half of it reads everything again."},
    {"sweep-delay", 0, OPTION_DURATION, "TIME", "1d", 0, 365L * DAY, AT(sweep_delay),
     "After a topic was made again, how long JWKs that are not in it are still served: jwk-api publishes them again when it "
     "notices."},
    {"max-age", 0, OPTION_DURATION, "TIME", "300s", 0, 30L * DAY, AT(max_age),
     "How long clients may keep a JWK Set (Cache-Control); never longer than until its first key leaves."},
    {"cache-size", 0, OPTION_SIZE, "SIZE", "64M", 0, 1L << 40, AT(cache_size), "Memory for ready-made JWK Sets."},
    {"http-threads", 0, OPTION_INTEGER, "N", "2", 1, 256, AT(http_threads), "Threads that serve HTTP."},
    {"connections", 0, OPTION_INTEGER, "N", "4096", 10, 1000000, AT(connections), "Connections at once."},
    HTTP_OPTIONS(AT(http), "3900", "60s"),
    {"log-level", 0, OPTION_STRING, "LEVEL", "info", 0, 0, AT(log_level), "One of error, warning, info, debug."},
    {"log-format", 0, OPTION_STRING, "FORMAT", "text", 0, 0, AT(log_format),
     "text (key=value) or json; one line per event, on standard error."},
    {"core-dumps", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(core_dumps),
     "Let core dumps be written and debuggers attach: for developers, since memory holds keys."},
    END_OF_OPTIONS,
};

/* Written by the signal handler, which may run in any thread. */
static atomic_bool stop_requested, reload_requested;
static int wake = -1;

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    uint64_t one = 1;
    atomic_store(&stop_requested, true);
    ssize_t ignored = write(wake, &one, sizeof one);
    (void)ignored;
    errno = saved;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&action.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    hangup_block();
}

/* The credentials that the service manager hands over, or NULL. */
static char *find_credentials(void) {
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    char *path = directory ? memory_format("%s/credentials", directory) : NULL;
    if (path && access(path, F_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static int check_credentials(struct settings *settings, struct error *error) {
    if (settings->is_unsigned && (settings->credentials || settings->api_keys))
        return error_set(error, ERROR_INVALID, "--unsigned and --%s exclude each other",
                         settings->credentials ? "credentials" : "api-keys");
    if (!settings->is_unsigned && !settings->credentials)
        settings->credentials = find_credentials();
    if (!settings->is_unsigned && !settings->credentials)
        return error_set(error, ERROR_INVALID,
                         "--credentials is required: the file that `jwk-api environment add %s --credentials FILE` writes; or "
                         "--unsigned, for an environment that was added --without-keys",
                         settings->environment);
    if (settings->is_unsigned && (settings->hook_private_key || settings->private_key_dir))
        return error_set(error, ERROR_INVALID, "--%s needs --credentials: without them private halves stay sealed",
                         settings->private_key_dir ? "private-key-dir" : "hook-private-key");
    return 0;
}

static struct kafka_settings kafka_settings_of(const struct settings *settings) {
    return (struct kafka_settings){.brokers = settings->brokers,
                                   .topic_prefix = settings->topic_prefix,
                                   .properties = &settings->kafka_properties,
                                   .client_id = "jwk-worker"};
}

static int check_settings(struct settings *settings, struct error *error) {
    if (!settings->environment)
        return error_set(error, ERROR_INVALID, "--environment is required");
    if (!settings->replica) {
        char host[NAME_LENGTH_MAX + 1] = "";
        if (gethostname(host, sizeof host - 1) != 0)
            return error_set(error, ERROR_INVALID, "--replica is required: this host has no name");
        settings->replica = memory_string(host);
    }
    if (listen_check(settings->listen, error) || check_credentials(settings, error) ||
        name_check("Environment", settings->environment, error) || name_check("Replica", settings->replica, error))
        return -1;
    const struct kafka_settings kafka = kafka_settings_of(settings);
    return kafka_config_read(settings->kafka_config, &settings->kafka_properties, error) || kafka_check(&kafka, error) ? -1 : 0;
}

/* Where the replica is reached: NULL when it listens on every address, of which none is better than another. */
static char *make_url(const struct settings *settings, unsigned port) {
    if (settings->url)
        return memory_string(settings->url);
    const char *colon = strrchr(settings->listen, ':');
    if (!colon || strncmp(settings->listen, "*:", 2) == 0 || strncmp(settings->listen, "0.0.0.0:", 8) == 0 ||
        strncmp(settings->listen, "[::]:", 5) == 0)
        return NULL;
    return memory_format("%s://%.*s:%u", settings->http.tls_certificate ? "https" : "http", (int)(colon - settings->listen),
                         settings->listen, port);
}

static int open_trust(struct trust **trust, const struct settings *settings, struct error *error) {
    if (settings->is_unsigned) {
        log_warning("running unsigned: whoever can write to the topic decides what this worker serves", "environment",
                    settings->environment);
        return 0;
    }
    *trust = trust_open(settings->environment, settings->credentials, settings->api_keys, error);
    if (*trust)
        log_info("credentials read", "apiKeys", trust_keys(*trust));
    return *trust ? 0 : -1;
}

/* What is opened before the loop and closed after it, in this order and its reverse. */
struct service {
    struct trust *trust;
    struct state *state;
    struct state_reader_pool *readers;
    struct key_set_cache *cache;
    struct export *export;
    struct private_files *private_files;
    struct effects *effects;
    struct server *server;
    char *url;
    struct serve_status status;
};

static void reload(void *context) {
    struct service *service = context;
    log_info("loading again");
    server_reload(service->server);
    uint64_t one = 1;
    atomic_store(&reload_requested, true);
    ssize_t ignored = write(wake, &one, sizeof one);
    (void)ignored;
}

/* Credentials do not judge what was taken before there were any. */
static int tell_unproven(const struct service *service, const struct settings *settings, struct error *error) {
    int64_t count;
    if (!service->trust)
        return 0;
    if (state_count_unproven(service->state, &count, error))
        return -1;
    if (count > 0)
        log_warning("JWKs that were taken unsigned are served until signed events of them come; to serve nothing else than what "
                    "is signed, stop the worker and delete its state directory: it is rebuilt from the topic",
                    "jwks", LOG_NUMBER(count), "directory", settings->state_dir);
    return 0;
}

static int open_service(struct service *service, const struct settings *settings, struct error *error) {
    if (open_trust(&service->trust, settings, error))
        return -1;
    service->state = state_open(settings->state_dir, settings->environment, settings->replica, error);
    if (!service->state || tell_unproven(service, settings, error))
        return -1;
    service->readers = state_reader_pool_new(service->state);
    struct key_set_options cache = {.readers = service->readers,
                                    .memory = (size_t)settings->cache_size,
                                    .max_age = settings->max_age / 1000,
                                    .wall_ms = clock_wall_ms};
    service->cache = key_set_cache_new(&cache);
    if (settings->export_dir) {
        service->export = export_open(settings->export_dir, service->readers, error);
        if (!service->export)
            return -1;
    }
    if (settings->private_key_dir) {
        service->private_files = private_files_open(settings->private_key_dir, service->readers, service->trust, error);
        if (!service->private_files)
            return -1;
    }
    if (settings->hook && access(settings->hook, X_OK) != 0)
        return error_set(error, ERROR_INVALID, "the hook %s can not be run: %s", settings->hook, strerror(errno));
    if (settings->hook || settings->export_dir || service->trust) {
        struct effect_options effects = {.environment = settings->environment,
                                         .replica = settings->replica,
                                         .hook = settings->hook,
                                         .hook_private = settings->hook_private_key,
                                         .hook_timeout_ms = settings->hook_timeout,
                                         .retry_initial_ms = settings->hook_retry_initial,
                                         .retry_maximum_ms = settings->hook_retry_maximum,
                                         .export = service->export,
                                         .private_files = service->private_files,
                                         .trust = service->trust,
                                         .readers = service->readers,
                                         .wake = wake};
        service->effects = effects_new(&effects);
    }
    struct serve_options serve = {.listen = settings->listen,
                                  .threads = (unsigned)settings->http_threads,
                                  .connection_limit = (unsigned)settings->connections,
                                  .http = &settings->http,
                                  .cache = service->cache,
                                  .readers = service->readers,
                                  .status = &service->status};
    service->server = server_start(&serve, error);
    if (!service->server)
        return -1;
    hangup_watch(reload, service);
    unsigned port = server_port(service->server);
    service->url = make_url(settings, port);
    log_info("serving", "listen", settings->listen, "port", LOG_NUMBER(port), "environment", settings->environment, "replica",
             settings->replica, "keys", LOG_NUMBER(state_keys(service->state)));
    return settings->address_file ? address_file_write_bound(settings->address_file, settings->listen, port, error) : 0;
}

static void close_service(struct service *service) {
    hangup_stop();
    server_stop(service->server, STOP_HTTP_MS);
    effects_free(service->effects);
    export_close(service->export);
    private_files_close(service->private_files);
    key_set_cache_free(service->cache);
    state_reader_pool_free(service->readers);
    state_close(service->state);
    trust_close(service->trust);
    free(service->url);
}

static int run(void *context, char **operands, int count) {
    struct settings *settings = context;
    struct service service = {0};
    struct error error;
    (void)operands, (void)count;
    if (check_settings(settings, &error)) {
        fprintf(stderr, "jwk-worker: %s\n", error.message);
        return EXIT_USAGE;
    }
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        log_error("can not start", "reason", strerror(errno));
        return EXIT_FAILURE;
    }
    catch_signals();
    worker_metrics_register();
    kafka_health_register();
    enum worker_end end = WORKER_FAILED;
    bool is_open = open_service(&service, settings, &error) == 0;
    if (is_open) {
        struct worker_options worker = {.environment = settings->environment,
                                        .replica = settings->replica,
                                        .url = service.url,
                                        .version = JWK_VERSION,
                                        .kafka = kafka_settings_of(settings),
                                        .heartbeat_interval_ms = settings->heartbeat_interval,
                                        .tombstone_delay_ms = settings->tombstone_delay,
                                        .sweep_delay_ms = settings->sweep_delay,
                                        .trust = service.trust,
                                        .state = service.state,
                                        .cache = service.cache,
                                        .effects = service.effects,
                                        .has_hook = settings->hook != NULL,
                                        .has_files = settings->export_dir || settings->private_key_dir,
                                        .status = &service.status,
                                        .wake = wake,
                                        .stop = &stop_requested,
                                        .reload = &reload_requested};
        end = worker_run(&worker, &error);
    }
    if (end != WORKER_STOPPED)
        log_error(end == WORKER_FENCED ? "fenced" : "can not go on", "reason", error.message);
    close_service(&service);
    log_info("stopped");
    close(wake);
    if (!is_open && error.code == ERROR_INVALID)
        return EXIT_USAGE; /* another start would end the same way */
    return end == WORKER_STOPPED ? EXIT_SUCCESS : end == WORKER_FENCED ? EXIT_FENCED : EXIT_FAILURE;
}

static const struct command_spec commands[] = {
    {"", NULL, 0, 0, "run a replica of one environment", NULL, options, run},
    {.name = NULL},
};

static const struct option_spec no_options[] = {END_OF_OPTIONS};

static int prepare(const void *context, const struct command_spec *command, struct error *error) {
    const struct settings *settings = context;
    (void)command;
    if (log_start("jwk-worker", settings->log_level, settings->log_format, error))
        return -1;
    if (settings->core_dumps)
        process_allow_core_dumps();
    return 0;
}

static const struct program_spec program = {
    .name = "jwk-worker",
    .version = JWK_VERSION,
    .summary = "apply deployed JSON Web Keys and serve them",
    .description = "Joins an environment as one replica: reads every event of jwk-api from Kafka, applies each durably and "
                   "exactly in order, serves the public "
                   "keys of each project as a JWK Set at /projects/PROJECT/.well-known/jwks.json, and acknowledges each change "
                   "once a reader gets it.\n\n"
                   "One process is one replica with a state directory of its own. To scale out, start one more with another "
                   "--replica and --state-dir: it reads "
                   "the topic from the start and says at /readyz when it has every key. SIGTERM or SIGINT stops it. The exit "
                   "status is 3 when another process "
                   "has started with the same environment and replica: two must not run with one identity.",
    .prefix = "JWK_WORKER",
    .options = no_options,
    .commands = commands,
    .settings_size = sizeof(struct settings),
    .prepare = prepare,
    .files = "DIRECTORY/state.db is the state (SQLite). It needs no backup: when it is lost or damaged, delete DIRECTORY and "
             "start again.",
    .exit_status = "The status is 3 when another process has started with the same environment and replica: it takes the place "
                   "of this one.",
    .examples =
        "  jwk-worker --environment production --credentials production.credentials --brokers kafka-1:9092 --listen '*:8081'\n"
        "  jwk-worker --environment staging --credentials staging.credentials --hook /usr/local/bin/reload-gateway",
};

int main(int argc, char **argv) {
    process_protect();
    process_prepare_sqlite();
    memory_init();
    return options_run(&program, argc, argv);
}
