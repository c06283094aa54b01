/* The settings of jwk-api, as its table of options (main.c) fills them. Strings and lists belong to the options module. */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include "common/http_settings.h"
#include "common/options.h"

struct settings {
    /* all commands */
    char *log_level, *log_format;
    bool core_dumps;
    char *data_dir;
    /* serve and broker */
    char *listen, *address_file;
    char *brokers, *topic_prefix, *kafka_config;
    struct option_list kafka_properties;
    long partitions, replication;          /* of topics that are created */
    long deploy_timeout, grace, shutdown_timeout; /* ms */
    long threads, connections, waiting;    /* of HTTP */
    long body_limit, header_limit;         /* bytes */
    struct http_settings http;
    char *rate_limit_token, *rate_limit_failures;
    long tombstone_delay;                  /* ms */
    /* URLs that JWKs come from */
    bool source_allow_http;
    char *source_allow_private, *source_ca_file;
    long source_refresh_min, source_refresh_max, source_refresh_default; /* ms */
    long token_lifetime, idempotency_lifetime; /* ms */
    /* environment add and rekey, signing-key */
    char *credentials, *public_keys;
    bool without_keys, all;
    long accept_old_for; /* ms */
    /* where master keys come from (master_key.h) */
    char *master_key_file, *master_key_command, *master_key_credential;
    /* master-key generate */
    char *output;
    /* token create */
    char *user;
    struct option_list roles, projects;
    long expires_in;                       /* ms; 0: never */
    /* audit */
    char *api_keys, *audit_format, *audit_known;
    struct option_list audit_actors, audit_jwks, audit_types;
    long audit_expected;
    bool audit_events, audit_new, quiet;
};

/* The commands; each returns the exit status of the process. */
int serve_run(void *settings, char **operands, int count);
int adopt_run(void *settings, char **operands, int count);
int broker_run(void *settings, char **operands, int count);
int master_key_generate_run(void *settings, char **operands, int count);
int rekey_run(void *settings, char **operands, int count);
int backup_run(void *settings, char **operands, int count);
int check_run(void *settings, char **operands, int count);
int project_add_run(void *settings, char **operands, int count);
int project_list_run(void *settings, char **operands, int count);
int project_remove_run(void *settings, char **operands, int count);
int environment_add_run(void *settings, char **operands, int count);
int environment_rekey_run(void *settings, char **operands, int count);
int environment_list_run(void *settings, char **operands, int count);
int environment_remove_run(void *settings, char **operands, int count);
int signing_key_list_run(void *settings, char **operands, int count);
int signing_key_export_run(void *settings, char **operands, int count);
int signing_key_add_run(void *settings, char **operands, int count);
int signing_key_activate_run(void *settings, char **operands, int count);
int token_create_run(void *settings, char **operands, int count);
int token_list_run(void *settings, char **operands, int count);
int token_revoke_run(void *settings, char **operands, int count);
int client_create_run(void *settings, char **operands, int count);
int client_list_run(void *settings, char **operands, int count);
int client_revoke_run(void *settings, char **operands, int count);
int audit_verify_run(void *settings, char **operands, int count);
int audit_follow_run(void *settings, char **operands, int count);

#endif
