/* Environments: their names, their keys, and the list of them that deployments share. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "store_sql.h"

/* ---- changing ---- */

static int run_literal(struct store *store, const char *sql, const char *what, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, sql, error);
    return statement ? store_run(store, statement, what, error) : -1;
}

/* What was sealed for all environments is to be sealed again. */
static int count_generation(struct store *store, struct error *error) {
    return run_literal(store, "UPDATE store SET environment_generation = environment_generation + 1 WHERE id = 1",
                       "counting a change of the environments", error);
}

/* Everything is to be deployed again. Positions stay as true as they were: nothing of the topic was lost. */
static int deploy_all_again(struct store *store, struct error *error) {
    return run_literal(store, "UPDATE store SET republish_after = 0 WHERE id = 1", "noting what is to be deployed", error);
}

/* A JWE has a bounded number of recipients, and each event carries one for every environment with keys. */
static int check_count(struct store *store, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT count(*) FROM environment WHERE keys IS NOT NULL AND removed_at IS NULL", error);
    if (!statement || store_step(store, statement, "counting environments with keys", error) != 1)
        return -1;
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return count <= JWE_RECIPIENTS_MAX
               ? 0
               : error_set(error, ERROR_CONFLICT, "There can be %d environments with keys!", JWE_RECIPIENTS_MAX);
}

static int set_keys(struct store *store, const char *name, const char *keys, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "UPDATE environment SET keys = ?2 WHERE name = ?1 AND removed_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    store_bind_text(statement, 2, keys);
    if (store_run(store, statement, "storing an environment's keys", error))
        return -1;
    if (sqlite3_changes(store->db) == 0)
        return error_set(error, ERROR_NOT_FOUND, "Environment (name: %s) is not found!", name);
    return check_count(store, error);
}

int store_add_environment(struct store *store, const char *name, const char *keys, struct error *error) {
    return store_add_named(store, "INSERT INTO environment (uid, name, created_at) VALUES (?1, ?2, ?3)", "Environment", name,
                           error) ||
                   (keys && set_keys(store, name, keys, error)) || count_generation(store, error) ||
                   deploy_all_again(store, error)
               ? -1
               : 0;
}

int store_rekey_environment(struct store *store, const char *name, const char *keys, struct error *error) {
    return set_keys(store, name, keys, error) || count_generation(store, error) || deploy_all_again(store, error) ? -1 : 0;
}

int store_remove_environment(struct store *store, const char *name, struct error *error) {
    return store_change_named(store, "UPDATE environment SET removed_at = ?2 WHERE name = ?1 AND removed_at IS NULL",
                              "Environment", name, clock_wall_ms(), error) ||
                   count_generation(store, error)
               ? -1
               : 0;
}

/* ---- reading ---- */

int store_has_environment(struct store *store, const char *name, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT 1 FROM environment WHERE name = ?1 AND removed_at IS NULL", error);
    if (!statement)
        return -1;
    store_bind_text(statement, 1, name);
    int row = store_step(store, statement, "looking for an environment", error);
    sqlite3_reset(statement);
    return row;
}

int store_each_environment(struct store *store, store_item_visitor *visit, void *context, struct error *error) {
    return store_each_item(store,
                           "SELECT id, uid, name, created_at, keys FROM environment WHERE removed_at IS NULL ORDER BY name",
                           visit, context, error);
}

int store_page_environments(struct store *store, const char *after, int limit, store_item_visitor *visit, void *context,
                            struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "SELECT id, uid, name, created_at FROM environment WHERE removed_at IS NULL AND name > ?1 ORDER BY name LIMIT ?2",
        error);
    return statement ? store_page_items(store, statement, after, limit, visit, context, error) : -1;
}

/* ---- the list that a deployment goes to ---- */

struct store_environments *store_environments_share(struct store_environments *environments) {
    atomic_fetch_add_explicit(&environments->references, 1, memory_order_relaxed);
    return environments;
}

void store_environments_release(struct store_environments *environments) {
    if (!environments || atomic_fetch_sub_explicit(&environments->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; !environments->whole && i < environments->count; i++)
        environment_keys_clear(&environments->items[i].keys);
    store_environments_release(environments->whole);
    free(environments->recipients);
    free(environments);
}

static struct store_environments *new_list(size_t count) {
    struct store_environments *list = memory_new(sizeof *list + count * sizeof list->items[0]);
    atomic_init(&list->references, 1);
    return list;
}

struct store_environments *store_environments_one(struct store_environments *whole, const char *name) {
    for (size_t i = 0; i < whole->count; i++) {
        if (strcmp(whole->items[i].name, name) != 0)
            continue;
        struct store_environments *one = new_list(1);
        one->generation = whole->generation;
        one->whole = store_environments_share(whole);
        one->count = 1;
        one->items[0] = whole->items[i];
        return one;
    }
    return NULL;
}

struct list_context {
    struct store_environments *list;
    struct error *error;
    int status;
};

static void append_environment(void *context, const struct store_item *item) {
    struct list_context *reading = context;
    size_t count = reading->list->count;
    struct store_environments *list = memory_resize(reading->list, sizeof *list + (count + 1) * sizeof list->items[0]);
    struct store_environment *environment = &list->items[count];
    *environment = (struct store_environment){.id = item->id, .has_keys = item->keys != NULL};
    snprintf(environment->name, sizeof environment->name, "%s", item->name);
    list->count = count + 1;
    reading->list = list;
    if (item->keys && environment_keys_parse(item->keys, strlen(item->keys), &environment->keys, reading->error)) {
        log_error("keys of an environment can not be read", "environment", item->name, "reason", reading->error->message);
        reading->status = error_set(reading->error, ERROR_INTERNAL, "The store failed");
    }
}

static int read_generation(struct store *store, int64_t *generation, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT environment_generation FROM store WHERE id = 1", error);
    if (!statement || store_step(store, statement, "reading the generation of the environments", error) != 1)
        return -1;
    *generation = sqlite3_column_int64(statement, 0);
    sqlite3_reset(statement);
    return 0;
}

static int read_list(struct store *store, struct store_environments **list, struct error *error) {
    struct list_context reading = {.list = new_list(0), .error = error};
    if (read_generation(store, &reading.list->generation, error) ||
        store_each_environment(store, append_environment, &reading, error) || reading.status) {
        store_environments_release(reading.list);
        return -1;
    }
    *list = reading.list;
    struct jwe_recipient *recipients = memory_new((*list)->count * sizeof *recipients + 1);
    for (size_t i = 0; i < (*list)->count; i++)
        if ((*list)->items[i].has_keys)
            recipients[(*list)->recipient_count++] = (*list)->items[i].keys.encryption[0];
    (*list)->recipients = recipients;
    return 0;
}

int store_environments(struct store *store, struct store_environments **environments, struct error *error) {
    /* The writer is the one connection that keeps this list, and it never changes the environments itself. */
    int64_t version;
    if (store_data_version(store, &version, error))
        return -1;
    if (!store->environments || version != store->environments_version) {
        struct store_environments *list;
        if (read_list(store, &list, error))
            return -1;
        /* Another connection commits for other reasons as well: whoever compares lists is to find the same one again. */
        if (store->environments && store->environments->generation == list->generation) {
            store_environments_release(list);
        } else {
            store_environments_release(store->environments);
            store->environments = list;
        }
        store->environments_version = version;
    }
    *environments = store_environments_share(store->environments);
    return 0;
}
