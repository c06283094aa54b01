/* Administration: subcommands that work on the store, also while the API serves from it. */
#include <stdio.h>
#include <string.h>

#include "admin.h"
#include "common/clock.h"
#include "common/text.h"
#include "notify.h"
#include "store_audit.h"
#include "store_sealing.h"

int admin_fail(const struct error *error) {
    fprintf(stderr, "jwk-api: %s\n", error->message);
    return 1;
}

/* Runs one change in a transaction of its own, or one read. */
int admin_with_store(const struct settings *settings, enum store_mode mode,
                     int (*work)(struct store *store, void *context, struct error *error), void *context) {
    struct error error = {0};
    /* Where it is given: only some changes need it, and some of those only the first time. Before a store is made. */
    struct master_key_source source = master_key_source_of(settings);
    struct sealing *sealing = NULL;
    struct store *store = NULL;
    int status = 0;
    if (master_key_source_is_given(&source))
        status = (sealing = sealing_new(&source, &error)) ? 0 : -1;
    if (status == 0)
        status = (store = store_open(settings->data_dir, mode, &error)) ? 0 : -1;
    if (status == 0 && sealing)
        status = store_use_sealing(store, sealing, &error);
    if (status == 0 && (status = store_begin(store, &error)) == 0) {
        status = work(store, context, &error);
        bool has_written = store_changes(store) > 0;
        if (status == 0)
            status = store_commit(store, &error);
        if (status != 0)
            store_rollback(store);
        else if (has_written)
            notify_send(settings->data_dir);
    }
    store_close(store);
    sealing_free(sealing);
    return status == 0 ? 0 : admin_fail(&error);
}

/* ---- projects and environments ---- */

typedef int named_change(struct store *store, const char *name, struct error *error);
typedef int item_listing(struct store *store, store_item_visitor *visit, void *context, struct error *error);

struct named {
    named_change *change;
    const char *command, *name;
};

static int change_named(struct store *store, void *context, struct error *error) {
    const struct named *named = context;
    return named->change(store, named->name, error) || store_audit_command(store, named->command, named->name, NULL, error) ? -1 : 0;
}

static void print_item(void *context, const struct store_item *item) {
    char time[CLOCK_TEXT_SIZE];
    (void)context;
    printf("%s\t%s\t%s\n", item->name, item->uid, clock_format(item->created_at, time));
}

static int list_items(struct store *store, void *context, struct error *error) {
    return (*(item_listing **)context)(store, print_item, NULL, error);
}

static int run_named(const void *settings, enum store_mode mode, const char *command, named_change *change, const char *name) {
    return admin_with_store(settings, mode, change_named, &(struct named){change, command, name});
}

static int run_listing(const void *settings, item_listing *listing) {
    return admin_with_store(settings, STORE_WRITE, list_items, &listing);
}

int project_add_run(void *settings, char **operands, int count) {
    (void)count;
    return run_named(settings, STORE_MAKE, "project add", store_add_project, operands[0]);
}

int project_list_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    return run_listing(settings, store_each_project);
}

int project_remove_run(void *settings, char **operands, int count) {
    (void)count;
    return run_named(settings, STORE_WRITE, "project remove", store_remove_project, operands[0]);
}

/* ---- tokens ---- */

struct new_token {
    struct store_new_token token;
    unsigned char hash[32];
    char uid[UUID_SIZE];
};

static int add_token(struct store *store, void *context, struct error *error) {
    struct new_token *new_token = context;
    if (store_add_token(store, &new_token->token, new_token->hash, new_token->uid, error))
        return -1;
    return admin_audit_holder(store, "token create", new_token->uid, &new_token->token, error);
}

/* Bytes of their names in a line of evidence: auditors take none beyond AUDIT_LINE_MAX, and JSON may escape each. */
enum { PROJECTS_TOLD_MAX = 16384 };

int admin_audit_holder(struct store *store, const char *command, const char *uid, const struct store_new_token *holder,
                       struct error *error) {
    char expires[CLOCK_TEXT_SIZE];
    struct text detail = TEXT_EMPTY;
    text_add_format(&detail, "user %s, roles", holder->user);
    for (int bit = 1; bit <= ROLE_ADMIN; bit <<= 1)
        if (holder->roles & bit)
            text_add_format(&detail, " %s", role_name((enum role)bit));
    text_add_string(&detail, holder->project_count ? ", projects" : ", all projects");
    size_t told = 0;
    while (told < holder->project_count && detail.length < PROJECTS_TOLD_MAX)
        text_add_format(&detail, " %s", holder->projects[told++]);
    if (told < holder->project_count)
        text_add_format(&detail, " and %zu more", holder->project_count - told);
    if (holder->expires_at)
        text_add_format(&detail, ", expires %s", clock_format(holder->expires_at, expires));
    int status = store_audit_command(store, command, uid, detail.bytes, error);
    text_free(&detail);
    return status;
}

int admin_read_holder(const struct settings *settings, const char *command, struct store_new_token *holder,
                      struct error *error) {
    if (!settings->user || settings->roles.count == 0)
        return error_set(error, ERROR_INVALID, "%s needs --user NAME and at least one --role ROLE", command);
    *holder = (struct store_new_token){.user = settings->user,
                                       .projects = (const char *const *)settings->projects.items,
                                       .project_count = settings->projects.count};
    for (size_t i = 0; i < settings->roles.count; i++) {
        enum role role;
        if (role_parse(settings->roles.items[i], &role))
            return error_set(
                error, ERROR_INVALID,
                "--role %s: there is no such role; use ROLE_API_SECURITY, ROLE_DEPLOY_UNDEPLOY_PROXIES or ROLE_ADMIN",
                settings->roles.items[i]);
        holder->roles |= (int)role;
    }
    return 0;
}

int token_create_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct error error;
    struct new_token new_token = {.uid = ""};
    if (admin_read_holder(settings, "token create", &new_token.token, &error))
        return admin_fail(&error) + 1;
    new_token.token.expires_at = settings->expires_in ? clock_wall_ms() + settings->expires_in : 0;
    char token[TOKEN_SIZE];
    token_new(token);
    token_hash(token, new_token.hash);
    int status = admin_with_store(settings, STORE_MAKE, add_token, &new_token);
    if (status == 0) {
        printf("%s\n", token);
        fprintf(stderr, "token id: %s (the token is shown this once only)\n", new_token.uid);
    }
    explicit_bzero(token, sizeof token);
    return status;
}

static const char *time_or_dash(int64_t time, char text[CLOCK_TEXT_SIZE]) {
    return time ? clock_format(time, text) : "-";
}

void admin_print_holder(void *context, const struct store_token_item *item) {
    (void)context;
    char created[CLOCK_TEXT_SIZE], expires[CLOCK_TEXT_SIZE], revoked[CLOCK_TEXT_SIZE];
    printf("%s\t%s\t", item->uid, item->user);
    const char *separator = "";
    for (int bit = 1; bit <= ROLE_ADMIN; bit <<= 1)
        if (item->roles & bit) {
            printf("%s%s", separator, role_name((enum role)bit));
            separator = ",";
        }
    printf("\t%s\tcreated %s\texpires %s\trevoked %s\n", item->projects, time_or_dash(item->created_at, created),
           time_or_dash(item->expires_at, expires), time_or_dash(item->revoked_at, revoked));
}

static int list_tokens(struct store *store, void *context, struct error *error) {
    (void)context;
    return store_each_token(store, admin_print_holder, NULL, error);
}

int token_list_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    return admin_with_store(settings, STORE_WRITE, list_tokens, NULL);
}

int token_revoke_run(void *settings, char **operands, int count) {
    (void)count;
    return run_named(settings, STORE_WRITE, "token revoke", store_revoke_token, operands[0]);
}
