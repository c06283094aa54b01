/* jwk-api rekey, backup and check: what is done with a store as a whole. */
#include <stdio.h>

#include "admin.h"
#include "store_audit.h"
#include "store_check.h"
#include "store_damage.h"
#include "store_sealing.h"

/* An open store with its keyring, if there is one. */
struct opened {
    struct sealing *sealing;
    struct store *store;
};

static void close_store(struct opened *opened) {
    store_close(opened->store);
    sealing_free(opened->sealing);
}

/* needs_key: no master key is an error, and not less that can be done. */
static int open_store(const struct settings *settings, enum store_mode mode, bool needs_key, struct opened *opened,
                      struct error *error) {
    struct master_key_source source = master_key_source_of(settings);
    *opened = (struct opened){0};
    if ((needs_key || master_key_source_is_given(&source)) && !(opened->sealing = sealing_new(&source, error)))
        return -1;
    opened->store = store_open(settings->data_dir, mode, error);
    if (!opened->store)
        return -1;
    return opened->sealing ? store_use_sealing(opened->store, opened->sealing, error) : 0;
}

/* The evidence of a re-keying, once it is done; context: the name of the master key. */
static int tell_rekeying(struct store *store, void *context, struct error *error) {
    return store_audit_command(store, "rekey", NULL, context, error);
}

int rekey_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct error error = {0};
    struct opened opened;
    char master_key[MASTER_KEY_ID_SIZE];
    int64_t sealed = 0;
    int status = open_store(settings, STORE_WRITE, true, &opened, &error);
    if (status == 0)
        status = store_rekey(opened.store, &sealed, &error);
    /* A store that was ever served has a signing key at least. To let its user throw the old master key away would be wrong
     * where this is not the store that was meant. */
    if (status == 0 && sealed == 0)
        status = error_set(&error, ERROR_INVALID,
                           "nothing is sealed in the store in %s, which was never served: there is nothing to seal again. If "
                           "another store was meant, keep the old master key, and give that one's --data-dir",
                           settings->data_dir);
    if (status == 0) {
        sealing_master_key(opened.sealing, master_key);
        printf("%lld secrets of the store in %s were sealed again, under the master key %s. Nothing in it needs an older one "
               "any more; backups that were made before do.\n",
               (long long)sealed, settings->data_dir, master_key);
    }
    close_store(&opened);
    return status == 0 ? admin_with_store(settings, STORE_WRITE, tell_rekeying, master_key) : admin_fail(&error);
}

int backup_run(void *context, char **operands, int count) {
    (void)count;
    const struct settings *settings = context;
    struct error error = {0};
    struct store *store = store_open(settings->data_dir, STORE_READ, &error);
    int status = store ? store_backup(store, operands[0], &error) : -1;
    store_close(store);
    return status == 0 ? 0 : admin_fail(&error); /* it changes nothing: no evidence */
}

static void print_finding(void *context, const char *finding) {
    int *findings = context;
    (*findings)++;
    printf("%s\n", finding);
}

int check_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct error error = {0};
    struct opened opened = {0};
    struct store_check_counts counts;
    int findings = 0;
    int status = store_check_files(settings->data_dir, &error);
    if (status == 0)
        status = open_store(settings, STORE_READ, false, &opened, &error);
    if (status == 0)
        status = store_check(opened.store, print_finding, &findings, &counts, &error);
    if (status == 0 && findings)
        printf("The store in %s is not sound. Put back a backup into an empty data directory, run 'jwk-api adopt', and start "
               "again.\n",
               settings->data_dir);
    else if (status == 0)
        printf("The store in %s is sound: %lld JWKs, %lld deployments, %lld events and %lld lines of evidence that wait to be "
               "published, %lld secrets%s.\n",
               settings->data_dir, (long long)counts.jwks, (long long)counts.deployments, (long long)counts.outbox,
               (long long)counts.audit_lines, (long long)counts.secrets,
               opened.sealing ? "" : " (whether they open was not checked: no master key was given)");
    close_store(&opened);
    return status != 0 ? admin_fail(&error) : findings ? 1 : 0;
}
