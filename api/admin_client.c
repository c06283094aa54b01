/* Administration of clients: who may ask for tokens at /apiops/auth/token. */
#include <stdio.h>
#include <string.h>

#include "admin.h"
#include "store_audit.h"
#include "store_client.h"

struct new_client {
    struct store_new_token holder;
    unsigned char hash[32];
    char uid[UUID_SIZE];
};

static int add_client(struct store *store, void *context, struct error *error) {
    struct new_client *client = context;
    if (store_add_client(store, &client->holder, client->hash, client->uid, error))
        return -1;
    return admin_audit_holder(store, "client create", client->uid, &client->holder, error);
}

int client_create_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct error error;
    struct new_client client = {.uid = ""};
    if (admin_read_holder(settings, "client create", &client.holder, &error))
        return admin_fail(&error) + 1;
    char secret[TOKEN_SIZE];
    token_new(secret);
    token_hash(secret, client.hash);
    int status = admin_with_store(settings, STORE_MAKE, add_client, &client);
    if (status == 0) {
        printf("client_id=%s\nclient_secret=%s\n", client.uid, secret);
        fprintf(stderr, "the secret is shown this once only\n");
    }
    explicit_bzero(secret, sizeof secret);
    return status;
}

static int list_clients(struct store *store, void *context, struct error *error) {
    (void)context;
    return store_each_client(store, admin_print_holder, NULL, error);
}

int client_list_run(void *settings, char **operands, int count) {
    (void)operands, (void)count;
    return admin_with_store(settings, STORE_WRITE, list_clients, NULL);
}

static int revoke_client(struct store *store, void *context, struct error *error) {
    return store_revoke_client(store, context, error) || store_audit_command(store, "client revoke", context, NULL, error) ? -1 : 0;
}

int client_revoke_run(void *settings, char **operands, int count) {
    (void)count;
    return admin_with_store(settings, STORE_WRITE, revoke_client, operands[0]);
}
