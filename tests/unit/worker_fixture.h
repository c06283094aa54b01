/* What the worker's unit tests share: a state in a directory of its own, and JWKs to put into it. */
#ifndef TESTS_UNIT_WORKER_FIXTURE_H
#define TESTS_UNIT_WORKER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/identifier.h"
#include "common/memory.h"
#include "worker/state.h"
#include "worker/state_reader.h"

#define PROJECT_ID "01890000-0000-7000-8000-0000000000aa"
#define JWK_A "01890000-0000-7000-8000-00000000000a"
#define JWK_B "01890000-0000-7000-8000-00000000000b"
#define JWK_C "01890000-0000-7000-8000-00000000000c"
#define PUBLIC_A "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"kid\":\"a\"}"
#define PUBLIC_B "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"BBBB\",\"kid\":\"b\"}"

struct worker_fixture {
    char directory[64]; /* a temporary one */
    char *state_directory;
    struct state *state;
    struct state_reader_pool *readers;
};

__attribute__((unused)) static void fixture_open_state(struct worker_fixture *fixture) {
    struct error error;
    fixture->state = state_open(fixture->state_directory, "production", "edge-1", &error);
    if (!fixture->state)
        fail_msg("%s", error.message);
    fixture->readers = state_reader_pool_new(fixture->state);
}

__attribute__((unused)) static void fixture_close_state(struct worker_fixture *fixture) {
    state_reader_pool_free(fixture->readers);
    state_close(fixture->state);
    fixture->readers = NULL;
    fixture->state = NULL;
}

__attribute__((unused)) static int fixture_set_up(void **state) {
    struct worker_fixture *fixture = memory_new(sizeof *fixture);
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/test-worker-XXXXXX");
    if (!mkdtemp(fixture->directory))
        return -1;
    fixture->state_directory = memory_format("%s/state", fixture->directory);
    fixture_open_state(fixture);
    *state = fixture;
    return 0;
}

__attribute__((unused)) static int fixture_tear_down(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_close_state(fixture);
    char *command = memory_format("rm -rf '%s'", fixture->directory);
    int status = system(command);
    free(command);
    free(fixture->state_directory);
    free(fixture);
    return status;
}

/* A JWK of the one project on partition 0. */
__attribute__((unused)) static struct state_jwk fixture_jwk(const char *id, const char *name, int64_t epoch, int64_t version) {
    return (struct state_jwk){.id = id,
                              .project_id = PROJECT_ID,
                              .project_name = "MyProject",
                              .name = name,
                              .type = "OKP",
                              .kid = "a",
                              .public_key = PUBLIC_A,
                              .epoch = epoch,
                              .version = version,
                              .sequence = version,
                              .expires = INT64_MAX,
                              .generation = 1};
}

/* Puts one in a transaction of its own. */
__attribute__((unused)) static enum state_result fixture_put(struct worker_fixture *fixture, struct state_jwk jwk) {
    struct error error = {.message = ""};
    struct state_outcome outcome;
    if (state_begin(fixture->state, &error) || state_put(fixture->state, &jwk, &outcome, NULL, &error) ||
        state_commit(fixture->state, &error))
        fail_msg("%s", error.message);
    return outcome.result;
}

/* The one integer that a statement on the state's file gives. */
__attribute__((unused)) static int64_t fixture_count(struct worker_fixture *fixture, const char *text) {
    struct error error;
    sqlite3_stmt *statement;
    sqlite3 *db = state_open_reader(fixture->state, &error);
    assert_non_null(db);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return value;
}

/* The JWK Set of a project at that time; "" when the project is unknown. The caller frees it. */
__attribute__((unused)) static char *fixture_key_set(struct worker_fixture *fixture, const char *project, int64_t now) {
    struct error error;
    struct text text = TEXT_EMPTY;
    bool known;
    int64_t expires;
    struct state_reader *reader = state_reader_take(fixture->readers, &error);
    assert_non_null(reader);
    assert_int_equal(state_reader_key_set(reader, project, now, &text, &known, &expires, &error), 0);
    state_reader_give(fixture->readers, reader);
    assert_int_equal(known, text.length > 0);
    return text_take(&text);
}

#define assert_key_set(fixture, project, expected)                     \
    do {                                                               \
        char *key_set_ = fixture_key_set(fixture, project, 1000);      \
        assert_string_equal(key_set_, expected);                       \
        free(key_set_);                                                \
    } while (0)

#endif
