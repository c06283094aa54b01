/* A store in a directory of its own, with a project, for the tests of what works on it. */
#ifndef TESTS_UNIT_STORE_FIXTURE_H
#define TESTS_UNIT_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <regex.h>
#include <sqlite3.h>

#include "api/store_sealing.h"
#include "common/memory.h"

#define PROJECT "my-project"
#define TIME_PATTERN "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]{3}Z"
#define PUBLIC_KEY "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define PRIVATE_KEY \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"}"

/* One line of a master key file. */
#define MASTER_KEY_LINE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"

struct store_fixture {
    char directory[64], master_key_file[96];
    struct sealing *sealing; /* of all its connections */
    struct store *store; /* STORE_WRITE */
    struct store_project project;
    struct store_author author;
};

/* For calls that must succeed. */
#define SUCCEEDS(call)                                            \
    do {                                                          \
        struct error error = {0};                                 \
        if ((call) != 0)                                          \
            fail_msg("%s: %s", #call, error.message);             \
    } while (0)
/* For calls that must fail with this code and sentence. */
#define FAILS(call, expected_code, sentence)                      \
    do {                                                          \
        struct error error = {0};                                 \
        assert_int_equal((call), -1);                             \
        assert_string_equal(error.message, sentence);             \
        assert_int_equal(error.code, expected_code);              \
    } while (0)

static inline void directory_make(char directory[64]) {
    strcpy(directory, "/tmp/jwk-api-test-XXXXXX");
    assert_non_null(mkdtemp(directory));
}

/* Removes the directory and the files that a store has in it. */
static inline void directory_remove(const char *directory) {
    static const char *const names[] = {"master-key", "jwk-api.db", "jwk-api.db-wal", "jwk-api.db-shm", "serving.lock"};
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(directory), 0);
}

static inline struct store *fixture_connect(const struct store_fixture *fixture, enum store_mode mode) {
    struct error error = {0};
    struct store *store = store_open(fixture->directory, mode, &error);
    if (!store || (fixture->sealing && store_use_sealing(store, fixture->sealing, &error)))
        fail_msg("%s", error.message);
    return store;
}

static inline void fixture_write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Writes the master key file and makes a keyring of it. */
static inline void fixture_make_sealing(struct store_fixture *fixture, const char *lines) {
    struct error error = {0};
    snprintf(fixture->master_key_file, sizeof fixture->master_key_file, "%s/master-key", fixture->directory);
    fixture_write_file(fixture->master_key_file, lines);
    fixture->sealing = sealing_new(&(struct master_key_source){.file = fixture->master_key_file}, &error);
    if (!fixture->sealing)
        fail_msg("%s", error.message);
}

/* Makes the store with the project and the environments, and opens it for writing. */
static inline void fixture_open(struct store_fixture *fixture, size_t count, const char *const *environments) {
    const struct store_token everything = {.all_projects = true};
    *fixture = (struct store_fixture){0};
    directory_make(fixture->directory);
    fixture_make_sealing(fixture, MASTER_KEY_LINE);
    struct store *store = fixture_connect(fixture, STORE_MAKE);
    SUCCEEDS(store_fix_partitions(store, 4, &error));
    SUCCEEDS(store_add_project(store, PROJECT, &error));
    for (size_t i = 0; i < count; i++)
        SUCCEEDS(store_add_environment(store, environments[i], NULL, &error));
    SUCCEEDS(store_find_project(store, &everything, PROJECT, &fixture->project, &error));
    store_close(store);
    fixture->store = fixture_connect(fixture, STORE_WRITE);
    fixture->author = (struct store_author){.user = "alice",
                                            .traceparent = "",
                                            .project_id = fixture->project.id,
                                            .project_uid = fixture->project.uid,
                                            .project_name = PROJECT};
}

/* For a store that a writer has closed. */
static inline void fixture_remove(const struct store_fixture *fixture) {
    sealing_free(fixture->sealing);
    directory_remove(fixture->directory);
}

static inline void fixture_close(struct store_fixture *fixture) {
    store_close(fixture->store);
    fixture_remove(fixture);
}

/* The one number that a query gives, of what is committed. */
static inline int64_t fixture_number(const struct store_fixture *fixture, const char *sql) {
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *statement;
    snprintf(path, sizeof path, "%s/jwk-api.db", fixture->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

/* ---- changes, each in a transaction of its own; the caller clears *change ---- */

static inline struct store_new_jwk fixture_new_jwk(const char *name) {
    return (struct store_new_jwk){.name = name, .type = "OKP", .kid = "key-1", .source_type = "COPY_PASTE", .public_key = PUBLIC_KEY,
                                  .private_key = PRIVATE_KEY};
}

static inline void fixture_create(struct store_fixture *fixture, const char *name, struct store_change *change) {
    const struct store_new_jwk jwk = fixture_new_jwk(name);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &jwk, change, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
}

static inline void fixture_update(struct store_fixture *fixture, const char *jwk, const char *name, const char *description,
                                  struct store_change *change) {
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_update_jwk(fixture->store, &fixture->author, jwk, name, description, change, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
}

static inline void fixture_delete(struct store_fixture *fixture, const char *name, struct store_change *change) {
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_delete_jwk(fixture->store, &fixture->author, name, change, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
}

/* ---- a stored result ---- */

struct stored_result {
    const char *environment;
    bool found;
    enum result_state state;
    char *message, *replicas; /* owned */
    int64_t settled_at;
};

static inline void take_result(void *context, const struct store_deployment *deployment) {
    struct stored_result *wanted = context;
    for (size_t i = 0; i < deployment->result_count; i++) {
        const struct store_result *result = &deployment->results[i];
        if (strcmp(result->environment_name, wanted->environment) != 0)
            continue;
        *wanted = (struct stored_result){.environment = wanted->environment,
                                         .found = true,
                                         .state = result->state,
                                         .message = memory_string(result->message),
                                         .replicas = memory_string(result->replicas),
                                         .settled_at = result->settled_at};
    }
}

/* What is stored for an environment of a deployment; freed with result_free(). */
static inline struct stored_result result_of(struct store *store, const char *deployment_id, const char *environment) {
    struct stored_result result = {.environment = environment};
    SUCCEEDS(store_find_deployment(store, deployment_id, take_result, &result, &error));
    assert_true(result.found);
    return result;
}

static inline void result_free(struct stored_result *result) {
    free(result->message);
    free(result->replicas);
    *result = (struct stored_result){0};
}

/* Checks the state of one result, and its message against an extended regular expression. */
static inline void expect_result_like(struct store *store, const char *deployment_id, const char *environment, enum result_state state,
                                      const char *pattern) {
    struct stored_result result = result_of(store, deployment_id, environment);
    regex_t regex;
    assert_int_equal(result.state, state);
    assert_non_null(result.message);
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, result.message, 0, NULL, 0) != 0)
        fail_msg("\"%s\" is not like \"%s\"", result.message, pattern);
    regfree(&regex);
    result_free(&result);
}

/* Checks state and message (NULL: none) of one result. */
static inline void expect_result(struct store *store, const char *deployment_id, const char *environment, enum result_state state,
                                 const char *message) {
    struct stored_result result = result_of(store, deployment_id, environment);
    assert_int_equal(result.state, state);
    if (message) {
        assert_non_null(result.message);
        assert_string_equal(result.message, message);
    } else {
        assert_null(result.message);
    }
    assert_int_equal(result.settled_at != 0, state != RESULT_PENDING);
    result_free(&result);
}

#endif
