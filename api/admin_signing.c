/* jwk-api signing-key …: the keys that events are signed with. */
#include <stdio.h>

#include "admin.h"
#include "common/clock.h"
#include "store_audit.h"
#include "store_signing.h"

static const char *time_or_dash(int64_t time, char text[CLOCK_TEXT_SIZE]) { return time ? clock_format(time, text) : "-"; }

static void print_key(void *context, const struct store_signing_key *key) {
    static const char *const states[] = {"next", "active", "retired"};
    char created[CLOCK_TEXT_SIZE], activated[CLOCK_TEXT_SIZE], accepted[CLOCK_TEXT_SIZE];
    (void)context;
    printf("%s\t%s\tcreated %s\tactivated %s\taccepted until %s\n", key->kid, states[key->state],
           clock_format(key->created_at, created), time_or_dash(key->activated_at, activated),
           time_or_dash(key->accepted_until, accepted));
}

static int list(struct store *store, void *context, struct error *error) {
    (void)context;
    return store_each_signing_key(store, print_key, NULL, error);
}

int signing_key_list_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    return admin_with_store(settings, STORE_WRITE, list, NULL);
}

struct export {
    bool all;
    struct text set;
};

static int export(struct store *store, void *context, struct error *error) {
    struct export *export = context;
    /* An old key may be known to no worker any more; the first one is made where somebody asks for it. */
    return store_ensure_signing_key(store, error) ||
                   store_export_signing_keys(store, export->all, clock_wall_ms(), &export->set, error)
               ? -1
               : 0;
}

int signing_key_export_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct export work = {.all = settings->all};
    int status = admin_with_store(settings, STORE_WRITE, export, &work);
    if (status == 0)
        printf("%s\n", work.set.bytes);
    text_free(&work.set);
    return status;
}

static int add(struct store *store, void *context, struct error *error) {
    return store_ensure_signing_key(store, error) || store_add_signing_key(store, context, error) ? -1 : 0;
}

int signing_key_add_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    char kid[SHA256_TEXT_SIZE];
    int status = admin_with_store(settings, STORE_WRITE, add, kid);
    if (status == 0) {
        printf("%s\n", kid);
        /* A thumbprint may begin as an option does. */
        fprintf(stderr,
                "give the workers the output of: jwk-api signing-key export\nthen use it by: jwk-api signing-key activate %s%s\n",
                kid[0] == '-' ? "-- " : "", kid);
    }
    return status;
}

struct activation {
    const char *kid;
    int64_t accept_old_for_ms;
};

static int activate(struct store *store, void *context, struct error *error) {
    const struct activation *activation = context;
    char detail[64];
    snprintf(detail, sizeof detail, "the old key is accepted for %lld s", (long long)activation->accept_old_for_ms / 1000);
    return store_activate_signing_key(store, activation->kid, activation->accept_old_for_ms, error) ||
                   store_audit_command(store, "signing-key activate", activation->kid, detail, error)
               ? -1
               : 0;
}

int signing_key_activate_run(void *context, char **operands, int count) {
    (void)count;
    const struct settings *settings = context;
    struct activation activation = {.kid = operands[0], .accept_old_for_ms = settings->accept_old_for};
    int status = admin_with_store(settings, STORE_WRITE, activate, &activation);
    if (status == 0)
        fputs("give the workers the output of: jwk-api signing-key export\n"
              "once more: it tells until when the key of before is to be believed\n",
              stderr);
    return status;
}
