/* jwk-api: the table of options and commands; all else is wired in serve.c. */
#include <limits.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"
#include "common/process.h"
#include "settings.h"

#define END_OF_OPTIONS \
    { .name = NULL }
#define AT(member) offsetof(struct settings, member)

enum { SECOND = 1000, DAY = 86400 * SECOND };

static const struct option_spec common_options[] = {
    {"data-dir", 0, OPTION_STRING, "DIRECTORY", "/var/lib/jwk-api", 0, 0, AT(data_dir),
     "Where the store lives. When it is missing, serve, environment add, project add, token create and client create make it, "
     "for its owner alone."},
    {"log-level", 0, OPTION_STRING, "LEVEL", NULL, 0, 0, AT(log_level),
     "One of error, warning, info, debug. Without it info for serve, broker and adopt, and warning for all other commands, whose "
     "output is what one wants to see."},
    {"log-format", 0, OPTION_STRING, "FORMAT", "text", 0, 0, AT(log_format),
     "text (key=value) or json; one line per event, on standard error."},
    {"core-dumps", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(core_dumps),
     "Let core dumps be written and debuggers attach: for developers, since memory holds keys."},
    END_OF_OPTIONS,
};

/* For every command that seals or opens secrets of the store; master_key.h reads them. */
#define MASTER_KEY_OPTIONS                                                                                                      \
    {"master-key-file", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(master_key_file),                                              \
     "Read the master keys from FILE, which nobody else may read: one a line, the first is used to seal, all to open."},       \
    {"master-key-command", 0, OPTION_STRING, "PROGRAM", NULL, 0, 0, AT(master_key_command),                                     \
     "Run PROGRAM for them: its standard output is read as such a file. JWK_... variables are not passed on."},                \
    {"master-key-credential", 0, OPTION_STRING, "NAME", NULL, 0, 0, AT(master_key_credential),                                  \
     "Read them from the credential NAME that systemd hands over. Default: the credential master-key, where there is one."}

static const struct option_spec master_key_generate_options[] = {
    {"output", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(output),
     "Write the key to the new FILE, for its owner alone. Default: to standard output."},
    END_OF_OPTIONS,
};

static const struct option_spec serve_options[] = {
    MASTER_KEY_OPTIONS,
    {"listen", 0, OPTION_STRING, "ADDRESS:PORT", "127.0.0.1:8080", 0, 0, AT(listen),
     "Where to serve HTTP. Port 0 picks a free one; * is every address."},
    {"address-file", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(address_file),
     "Write the address really bound to FILE once it is ready to serve."},
    {"brokers", 0, OPTION_STRING, "HOST:PORT,...", "127.0.0.1:9092", 0, 0, AT(brokers), "Bootstrap servers of Kafka."},
    {"topic-prefix", 0, OPTION_STRING, "PREFIX", "jwk", 0, 0, AT(topic_prefix),
     "Topics are PREFIX.events, PREFIX.acks, PREFIX.workers and PREFIX.audit."},
    {"kafka-property", 'X', OPTION_LIST, "NAME=VALUE", NULL, 0, 0, AT(kafka_properties),
     "Pass a property to librdkafka, over our own choices. May be repeated. For what is no secret: other users of the machine "
     "see command lines."},
    {"kafka-config", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(kafka_config),
     "Read properties of librdkafka from FILE: lines of name=value, and comments that begin with #. The place for sasl.password: "
     "refused when others may read it. -X wins over it. Default: the systemd credential kafka, if there is one."},
    {"partitions", 0, OPTION_INTEGER, "N", "1", 1, POSITION_COUNT_MAX, AT(partitions),
     "Partitions of PREFIX.events when it is created first; when it is made again it gets as many as the store has used."},
    {"replication", 0, OPTION_INTEGER, "N", "-1", -1, 100, AT(replication),
     "Replication factor of created topics; -1 is the broker's default."},
    {"deploy-timeout", 0, OPTION_DURATION, "TIME", "10s", 0, 3600 * SECOND, AT(deploy_timeout),
     "How long an answer waits for the environments. A caller can ask for less with the header Prefer: wait=SECONDS."},
    {"grace", 0, OPTION_DURATION, "TIME", "30s", 0, 3600 * SECOND, AT(grace),
     "How long after its last replica left an environment is still waited for: a rolling restart is no failure."},
    {"shutdown-timeout", 0, OPTION_DURATION, "TIME", "15s", 0, 3600 * SECOND, AT(shutdown_timeout),
     "How long a stop waits for deployments that are waited for."},
    {"tombstone-delay", 0, OPTION_DURATION, "TIME", "30d", SECOND, 365L * DAY, AT(tombstone_delay),
     "How long the event of a deleted JWK stays before its tombstone follows. A replica that was away for longer than half of "
     "it starts over."},
    {"token-lifetime", 0, OPTION_DURATION, "TIME", "1h", SECOND, 365L * DAY, AT(token_lifetime),
     "How long a token is valid that a client is given at /apiops/auth/token."},
    {"idempotency-lifetime", 0, OPTION_DURATION, "TIME", "24h", SECOND, 365L * DAY, AT(idempotency_lifetime),
     "How long an Idempotency-Key and its answer are remembered."},
    {"source-allow-private", 0, OPTION_STRING, "NETWORK,...", NULL, 0, 0, AT(source_allow_private),
     "Networks and addresses (10.20.0.0/16, ::1) that a JWK may be fetched from though they are not public."},
    {"source-allow-http", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(source_allow_http),
     "Fetch JWKs from http:// too, not from https:// alone."},
    {"source-ca-file", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(source_ca_file),
     "Certificates (PEM) that the servers of JWKs are judged by, in place of the system's."},
    {"source-refresh-min", 0, OPTION_DURATION, "TIME", "5m", 100, 365L * DAY, AT(source_refresh_min),
     "A JWK is fetched again no sooner than this, whatever its Cache-Control says."},
    {"source-refresh-max", 0, OPTION_DURATION, "TIME", "24h", 100, 365L * DAY, AT(source_refresh_max),
     "And no later than this."},
    {"source-refresh-default", 0, OPTION_DURATION, "TIME", "1h", 100, 365L * DAY, AT(source_refresh_default),
     "When it is fetched again where Cache-Control says nothing."},
    {"http-threads", 0, OPTION_INTEGER, "N", "2", 1, 256, AT(threads),
     "Threads that serve HTTP. None of them waits for a deployment."},
    {"connections", 0, OPTION_INTEGER, "N", "11000", 10, 1000000, AT(connections), "Connections at once."},
    {"waiting", 0, OPTION_INTEGER, "N", "10000", 1, 1000000, AT(waiting),
     "Changes that may wait for their deployment at once; more are answered 503."},
    {"body-limit", 0, OPTION_SIZE, "SIZE", "2M", 1024, 64L << 20, AT(body_limit), "Largest request body."},
    {"header-limit", 0, OPTION_SIZE, "SIZE", "16k", 4096, 1L << 20, AT(header_limit),
     "Largest request line and headers, together."},
    HTTP_OPTIONS(AT(http), "10500", "30s"),
    {"rate-limit-token", 0, OPTION_STRING, "RATE", "0", 0, 0, AT(rate_limit_token),
     "Requests with one token, written as for --rate-limit-address; more are answered 429. 0 is no limit: one pipeline may send "
     "thousands a second."},
    {"rate-limit-failures", 0, OPTION_STRING, "RATE", "10/s:200", 0, 0, AT(rate_limit_failures),
     "Wrong tokens and client secrets of one IPv4 address or IPv6 /64; beyond it such calls are answered 429 without a look-up. "
     "Tokens that have worked before are let through from there. 0 is no limit."},
    END_OF_OPTIONS,
};

static const struct option_spec broker_options[] = {
    {"address-file", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(address_file),
     "Write the broker's address to FILE once it listens."},
    {"topic-prefix", 0, OPTION_STRING, "PREFIX", "jwk", 0, 0, AT(topic_prefix), "Of the topics that are made."},
    {"partitions", 0, OPTION_INTEGER, "N", "1", 1, POSITION_COUNT_MAX, AT(partitions), "Partitions of PREFIX.events."},
    END_OF_OPTIONS,
};

static const struct option_spec adopt_options[] = {
    {"brokers", 0, OPTION_STRING, "HOST:PORT,...", "127.0.0.1:9092", 0, 0, AT(brokers), "Bootstrap servers of Kafka."},
    {"topic-prefix", 0, OPTION_STRING, "PREFIX", "jwk", 0, 0, AT(topic_prefix), "Of the topic that is read: PREFIX.events."},
    {"api-keys", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(api_keys),
     "JWK Set of the API's public keys, as signing-key export --all told it last: where another key was activated since the "
     "backup, the audit trail can not be followed to its end without."},
    {"kafka-property", 'X', OPTION_LIST, "NAME=VALUE", NULL, 0, 0, AT(kafka_properties),
     "Pass a property to librdkafka. May be repeated. For what is no secret."},
    {"kafka-config", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(kafka_config),
     "Read properties of librdkafka from FILE, as serve does."},
    END_OF_OPTIONS,
};

static const struct option_spec environment_options[] = {
    MASTER_KEY_OPTIONS,
    {"credentials", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(credentials),
     "Write the new credentials to FILE, which must not exist, for its owner alone. Default: to standard output, once."},
    {"public-keys", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(public_keys),
     "Take the public keys (a JWK Set) that the environment's operator has made: one to encrypt and one to sign at least. "
     "Private halves are refused."},
    {"without-keys", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(without_keys),
     "No keys: no private halves go there, and whoever can write to the topics is believed to be its workers."},
    END_OF_OPTIONS,
};

/* For commands that need nothing else. */
static const struct option_spec master_key_options[] = {MASTER_KEY_OPTIONS, END_OF_OPTIONS};

static const struct option_spec export_options[] = {
    MASTER_KEY_OPTIONS,
    {"all", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(all), "Those that nobody is to believe any more too: for auditors."},
    END_OF_OPTIONS,
};

static const struct option_spec activate_options[] = {
    {"accept-old-for", 0, OPTION_DURATION, "TIME", "7d", 0, 3650L * DAY, AT(accept_old_for),
     "How long workers go on to believe what the key before has signed. What is exported from now on says so."},
    END_OF_OPTIONS,
};

static const struct option_spec token_options[] = {
    {"user", 0, OPTION_STRING, "NAME", NULL, 0, 0, AT(user), "Whose token it is: the actor in events. Required."},
    {"role", 0, OPTION_LIST, "ROLE", NULL, 0, 0, AT(roles),
     "ROLE_API_SECURITY, ROLE_DEPLOY_UNDEPLOY_PROXIES or ROLE_ADMIN; repeat it for several. Required."},
    {"project", 0, OPTION_LIST, "PROJECT", NULL, 0, 0, AT(projects),
     "Limit the token to this project; repeat it for several. Default: all projects."},
    {"expires-in", 0, OPTION_DURATION, "TIME", "90d", 0, 3650L * DAY, AT(expires_in), "How long it is valid; 0 is for ever."},
    END_OF_OPTIONS,
};

static const struct option_spec client_options[] = {
    {"user", 0, OPTION_STRING, "NAME", NULL, 0, 0, AT(user), "Whom its tokens belong to: the actor in events. Required."},
    {"role", 0, OPTION_LIST, "ROLE", NULL, 0, 0, AT(roles),
     "ROLE_API_SECURITY, ROLE_DEPLOY_UNDEPLOY_PROXIES or ROLE_ADMIN; repeat it for several. Required."},
    {"project", 0, OPTION_LIST, "PROJECT", NULL, 0, 0, AT(projects),
     "Limit its tokens to this project; repeat it for several. Default: all projects."},
    END_OF_OPTIONS,
};

#define AUDIT_OPTIONS                                                                                                        \
    {"brokers", 0, OPTION_STRING, "HOST:PORT,...", "127.0.0.1:9092", 0, 0, AT(brokers), "Bootstrap servers of Kafka."},     \
        {"topic-prefix", 0, OPTION_STRING, "PREFIX", "jwk", 0, 0, AT(topic_prefix), "The trail is the topic PREFIX.audit."}, \
        {"kafka-property", 'X', OPTION_LIST, "NAME=VALUE", NULL, 0, 0, AT(kafka_properties),                                 \
         "Pass a property to librdkafka. May be repeated. For what is no secret."},                                          \
        {"kafka-config", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(kafka_config),                                             \
         "Read properties of librdkafka from FILE, as serve does."},                                                         \
        {"api-keys", 0, OPTION_STRING, "FILE", NULL, 0, 0, AT(api_keys),                                                     \
         "JWK Set of the API's public keys (signing-key export --all). Without it the chain is judged, and no signature."},  \
        {"known", 0, OPTION_STRING, "SEQUENCE:HASH", NULL, 0, 0, AT(audit_known),                                            \
         "The last line of an earlier verification: the trail must hold it, or begin right behind it."},                     \
        {"expect-at-least", 0, OPTION_INTEGER, "SEQUENCE", "0", 0, LONG_MAX, AT(audit_expected),                             \
         "The trail must reach this line: a cut end can not be told otherwise."},                                            \
        {"project", 0, OPTION_LIST, "PROJECT", NULL, 0, 0, AT(projects),                                                     \
         "Show only changes of this project's JWKs, and their outcomes; repeat it for several."},                            \
        {"actor", 0, OPTION_LIST, "NAME", NULL, 0, 0, AT(audit_actors),                                                      \
         "Show only what this user did, and its outcomes; repeat it for several."},                                          \
        {"jwk", 0, OPTION_LIST, "NAME", NULL, 0, 0, AT(audit_jwks),                                                          \
         "Show only changes of JWKs of this name, and their outcomes; repeat it for several."},                              \
        {"type", 0, OPTION_LIST, "TYPE", NULL, 0, 0, AT(audit_types),                                                        \
         "Show only change, outcome, refusal, administration, start or stop; repeat it for several."},                       \
        {"format", 0, OPTION_STRING, "FORMAT", "text", 0, 0, AT(audit_format), "text, or json: the lines as they are."}

static const struct option_spec audit_verify_options[] = {
    AUDIT_OPTIONS,
    {"events", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(audit_events),
     "Hold each change against its event on PREFIX.events as well, as far as it is still there."},
    {"quiet", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(quiet), "Show no entries, only the result."},
    END_OF_OPTIONS,
};

static const struct option_spec audit_follow_options[] = {
    AUDIT_OPTIONS,
    {"new", 0, OPTION_FLAG, NULL, NULL, 0, 0, AT(audit_new),
     "Show only what comes from now on. All that is there already is verified nevertheless."},
    END_OF_OPTIONS,
};

static const struct option_spec no_options[] = {END_OF_OPTIONS};

static const struct command_spec commands[] = {
    {"serve", NULL, 0, 0, "serve the HTTP API",
     "Records changes of JWKs in the store, publishes each as an event to Kafka, gathers the acks of the environments' "
     "replicas and answers with "
     "what happened there. SIGTERM or SIGINT stops it: waiting calls are answered first.",
     serve_options, serve_run},
    {"broker", NULL, 0, 0, "run the embedded development broker",
     "Runs a Kafka broker inside this process, for trying things out: it keeps the last few megabytes of each topic in memory "
     "and forgets them when it "
     "ends. Not for production.",
     broker_options, broker_run},
    {"adopt", NULL, 0, 0, "make a store put back from a backup the truth again",
     "The events topic and the replicas are ahead of a store that was put back from a backup, and serve refuses to start. This "
     "begins a new epoch: at the next start "
     "every JWK of the store is published again, and those that only the topic knows are deleted. Run it while the API is "
     "stopped, and see first that no other jwk-api runs with this installation, as on the machine that the backup is from: "
     "it would go on behind what is seen here.",
     adopt_options, adopt_run},
    {"master-key generate", NULL, 0, 0, "make a master key",
     "The secrets of the store are sealed under it, and it is kept outside: give it to serve. Its name goes to standard error.",
     master_key_generate_options, master_key_generate_run},
    {"rekey", NULL, 0, 0, "seal the store's secrets under another master key",
     "Put a new master key on the first line of the master key file and leave the old one below, let the serving process have the "
     "same file (restart it first where systemd hands over a copy), and run this, also while it serves. All "
     "secrets are sealed again under a new key; afterwards the old line can go. It may be interrupted and run again.",
     master_key_options, rekey_run},
    {"backup", "FILE", 1, 1, "copy the store into a new file",
     "Also while the API serves: the copy is the store as it is at one moment. Secrets stay sealed: keep the master key too, and "
     "elsewhere. To put it back, make a new data directory with the file in it as jwk-api.db, and run adopt.",
     no_options, backup_run},
    {"check", NULL, 0, 0, "check the store",
     "Also while the API serves: the database's structure, what its rows tell of each other, events that wait to be published, the "
     "chain of evidence, and with the master key that every secret opens. Prints a line for each finding and ends with status 1 when "
     "there is one.",
     master_key_options, check_run},
    {"project add", "NAME", 1, 1, "add a project", NULL, no_options, project_add_run},
    {"project list", NULL, 0, 0, "list the projects", NULL, no_options, project_list_run},
    {"project remove", "NAME", 1, 1, "remove a project that never had a JWK", NULL, no_options, project_remove_run},
    {"environment add", "NAME", 1, 1, "add an environment",
     "From now on every deployment goes to it too, and what there is is deployed to it by itself. Its credentials are made once: "
     "its workers open private halves with them and prove that they belong to it. The API keeps the public part only.",
     environment_options, environment_add_run},
    {"environment rekey", "NAME", 1, 1, "give an environment other keys",
     "At once: what is sealed and signed with the keys before is of no use any more. Everything is deployed again by itself; "
     "workers are believed once they have the new credentials. Without --credentials, --public-keys or --without-keys the new "
     "credentials go to standard output.",
     environment_options, environment_rekey_run},
    {"environment list", NULL, 0, 0, "list the environments with the kids of their keys", NULL, no_options,
     environment_list_run},
    {"environment remove", "NAME", 1, 1, "remove an environment",
     "No deployment goes to it any more. Its workers keep what they have: stop them.", no_options, environment_remove_run},
    {"signing-key list", NULL, 0, 0, "list the keys that events are signed with", NULL, no_options, signing_key_list_run},
    {"signing-key export", NULL, 0, 0, "print the public keys that workers are to believe",
     "A JWK Set, for jwk-worker's --api-keys: the key that signs, those that are to follow, and those before while they are "
     "accepted.",
     export_options, signing_key_export_run},
    {"signing-key add", NULL, 0, 0, "make a key to sign with later",
     "Prints its kid. Give the export to the workers, then activate it.", master_key_options, signing_key_add_run},
    {"signing-key activate", "KID", 1, 1, "sign with another key from now on",
     "Also while the API serves. Everything is published again by itself, since what the key before has signed stays in the "
     "topic.",
     activate_options, signing_key_activate_run},
    {"token create", NULL, 0, 0, "create a Personal API Access Token",
     "Prints the token on standard output, once: only its hash is stored. Its id, for revoking, goes to standard error.",
     token_options, token_create_run},
    {"token list", NULL, 0, 0, "list the tokens, without their secrets", NULL, no_options, token_list_run},
    {"token revoke", "ID", 1, 1, "revoke a token", "Effective at once, also while the API serves.", no_options,
     token_revoke_run},
    {"client create", NULL, 0, 0, "create a client that may ask for tokens",
     "Prints client_id=ID and client_secret=SECRET on standard output, once: only the secret's hash is stored. With both, POST "
     "/apiops/auth/token "
     "gives a token of that user, roles and projects for a time.",
     client_options, client_create_run},
    {"client list", NULL, 0, 0, "list the clients, without their secrets", NULL, no_options, client_list_run},
    {"client revoke", "ID", 1, 1, "revoke a client and all tokens that it was given",
     "Effective at once, also while the API serves.", no_options, client_revoke_run},
    {"audit verify", "[FILE]", 0, 1, "verify the audit trail and show it",
     "Reads the trail from Kafka, or from FILE (-: standard input), a dump of the topic's values as kcat makes it. Shows each "
     "entry, and ends with status 1 at the first line that was changed, left out, added or put elsewhere, or whose signature is "
     "not genuine, naming its sequence and place. What is shown is signed. Needs no store.",
     audit_verify_options, audit_verify_run},
    {"audit follow", NULL, 0, 0, "verify the audit trail as it grows",
     "As audit verify, and goes on with each entry that comes, until it is stopped or the trail breaks.", audit_follow_options,
     audit_follow_run},
    {.name = NULL},
};

/* They have no data, or read what they are given alone. */
static const struct option_exception exceptions[] = {
    {"data-dir", "broker"},       {"data-dir", "master-key generate"}, {"data-dir", "audit verify"},
    {"data-dir", "audit follow"}, {NULL, NULL},
};

static int prepare(const void *context, const struct command_spec *command, struct error *error) {
    const struct settings *settings = context;
    bool runs_on = command->run == serve_run || command->run == broker_run || command->run == adopt_run;
    const char *level = settings->log_level ? settings->log_level : runs_on ? "info" : "warning";
    if (log_start("jwk-api", level, settings->log_format, error))
        return -1;
    if (settings->core_dumps)
        process_allow_core_dumps();
    return 0;
}

static const struct program_spec program = {
    .name = "jwk-api",
    .version = JWK_VERSION,
    .summary = "update JSON Web Keys and deploy them to environments",
    .description = "A caller updates a JSON Web Key (JWK) of a project over HTTP; the change is recorded in SQLite and an "
                   "event goes to Kafka; the jwk-worker "
                   "processes of each environment apply it and acknowledge, and the answer to the caller says what happened in "
                   "each environment.\n\n"
                   "Administration (projects, environments, tokens) works on the same store with the commands below, also "
                   "while the API serves.",
    .prefix = "JWK_API",
    .options = common_options,
    .exceptions = exceptions,
    .commands = commands,
    .settings_size = sizeof(struct settings),
    .prepare = prepare,
    .files = "DIRECTORY/jwk-api.db is the store (SQLite), with its -wal file while it is used. Back it up with jwk-api backup.",
    .examples = "  jwk-api master-key generate --output master-key\n"
                "  jwk-api environment add production --master-key-file master-key --credentials production.credentials\n"
                "  jwk-api project add MyProject\n"
                "  jwk-api token create --user alice --role ROLE_API_SECURITY --role ROLE_DEPLOY_UNDEPLOY_PROXIES\n"
                "  jwk-api serve --master-key-file master-key --brokers kafka-1:9092,kafka-2:9092 -X security.protocol=ssl",
};

int main(int argc, char **argv) {
    process_protect();
    process_prepare_sqlite();
    memory_init();
    return options_run(&program, argc, argv);
}
