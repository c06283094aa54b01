/* The worker's state: which event wins, what is served of it, what a sweep removes, and what is refused at opening. */
#include "worker_fixture.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "worker/state_internal.h"

#define SET_OF_A "{\"keys\":[" PUBLIC_A "]}"
#define EMPTY_SET "{\"keys\":[]}"

static char *name_of(struct worker_fixture *fixture, const char *name) {
    struct error error;
    struct text text = TEXT_EMPTY;
    bool found;
    struct state_reader *reader = state_reader_take(fixture->readers, &error);
    assert_non_null(reader);
    assert_int_equal(state_reader_find(reader, "MyProject", name, 1000, &text, &found, &error), 0);
    state_reader_give(fixture->readers, reader);
    assert_int_equal(found, text.length > 0);
    return text_take(&text);
}

static void assert_named(struct worker_fixture *fixture, const char *name, const char *expected) {
    char *found = name_of(fixture, name);
    assert_string_equal(found, expected);
    free(found);
}

static void a_newer_version_wins_and_an_older_or_equal_one_changes_nothing(void **state) {
    struct worker_fixture *fixture = *state;
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 2)), STATE_NEWER);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "older", 1, 1)), STATE_OLDER);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "equal", 1, 2)), STATE_EQUAL);
    assert_named(fixture, "one", PUBLIC_A);
    assert_named(fixture, "older", "");
    assert_named(fixture, "equal", "");
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "newer", 1, 3)), STATE_NEWER);
    assert_named(fixture, "newer", PUBLIC_A);
    assert_named(fixture, "one", "");
    assert_int_equal(state_keys(fixture->state), 1);
}

static void a_higher_epoch_wins_whatever_its_version(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 9));
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "two", 2, 1)), STATE_NEWER);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 10)), STATE_OLDER);
    assert_named(fixture, "two", PUBLIC_A);
    assert_int_equal(state_epoch(fixture->state), 2);
}

static void a_deleted_jwk_is_not_served_and_no_older_event_brings_it_back(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    struct state_jwk deleted = fixture_jwk(JWK_A, "one", 1, 2);
    deleted.deleted = true;
    assert_int_equal(fixture_put(fixture, deleted), STATE_NEWER);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
    assert_int_equal(state_keys(fixture->state), 0);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1)), STATE_OLDER);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
    /* The name is free for another JWK at once. */
    fixture_put(fixture, fixture_jwk(JWK_B, "one", 1, 1));
    assert_named(fixture, "one", PUBLIC_A);
    assert_int_equal(state_keys(fixture->state), 1);
}

static void a_delete_that_comes_first_holds_against_its_create(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk deleted = fixture_jwk(JWK_A, "one", 1, 2);
    deleted.deleted = true;
    fixture_put(fixture, deleted);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1)), STATE_OLDER);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
    assert_int_equal(state_keys(fixture->state), 0);
}

static void forget(struct worker_fixture *fixture, const char *id) {
    struct error error;
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_forget(fixture->state, id, NULL, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
}

static void a_tombstone_forgets_the_jwk(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 5));
    forget(fixture, JWK_A);
    assert_int_equal(state_keys(fixture->state), 0);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
    forget(fixture, JWK_B); /* never seen: nothing happens */
    fixture_put(fixture, fixture_jwk(JWK_B, "one", 1, 1));
    assert_int_equal(state_keys(fixture->state), 1);
}

static void an_event_of_before_the_tombstone_does_not_bring_the_jwk_back(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 5));
    forget(fixture, JWK_A);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1)), STATE_FORGOTTEN);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 5)), STATE_FORGOTTEN);
    fixture_close_state(fixture);
    fixture_open_state(fixture);
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 5)), STATE_FORGOTTEN);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
    /* A store put back from a backup has it again, in a later epoch. */
    assert_int_equal(fixture_put(fixture, fixture_jwk(JWK_A, "one", 2, 1)), STATE_NEWER);
    assert_int_equal(state_keys(fixture->state), 1);
}

static void an_unknown_project_has_no_set(void **state) { assert_key_set((struct worker_fixture *)*state, "Nobody", ""); }

static void an_oct_key_is_held_and_never_served(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk oct = fixture_jwk(JWK_A, "secret", 1, 1);
    oct.type = "OCT";
    oct.public_key = NULL;
    fixture_put(fixture, oct);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
    assert_named(fixture, "secret", "");
    assert_int_equal(state_keys(fixture->state), 1);
}

static void an_expired_key_leaves_the_set_at_its_second(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.expires = 2000;
    fixture_put(fixture, jwk);
    char *before = fixture_key_set(fixture, "MyProject", 1999), *after = fixture_key_set(fixture, "MyProject", 2000);
    assert_string_equal(before, SET_OF_A);
    assert_string_equal(after, EMPTY_SET);
    free(before);
    free(after);
}

static void the_set_is_in_the_order_of_the_ids(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk later = fixture_jwk(JWK_B, "a name before the other's", 1, 1);
    later.public_key = PUBLIC_B;
    fixture_put(fixture, later);
    fixture_put(fixture, fixture_jwk(JWK_A, "z", 1, 1));
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "," PUBLIC_B "]}");
}

static void a_jwk_that_a_newer_event_puts_into_another_project_is_served_there_alone(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    fixture_put(fixture, jwk);
    jwk.project_id = "0192d1f0-1111-7000-8000-00000000beef";
    jwk.project_name = "Another";
    jwk.version = jwk.sequence = 2;
    fixture_put(fixture, jwk);
    assert_key_set(fixture, "Another", SET_OF_A);
    assert_key_set(fixture, "MyProject", EMPTY_SET);
}

/* A is renamed from x to y after B went from y to z: the events lie on two partitions and come in either order. */
static void trade_names(struct worker_fixture *fixture, bool a_first) {
    struct state_jwk a = fixture_jwk(JWK_A, "x", 1, 1), b = fixture_jwk(JWK_B, "y", 1, 1);
    a.sequence = 1;
    b.sequence = 2;
    b.public_key = PUBLIC_B;
    fixture_put(fixture, a);
    fixture_put(fixture, b);
    b.name = "z";
    b.version = 2;
    b.sequence = 3;
    a.name = "y";
    a.version = 2;
    a.sequence = 4;
    fixture_put(fixture, a_first ? a : b);
    if (a_first) /* both are y for a moment: the later one is meant */
        assert_named(fixture, "y", PUBLIC_A);
    fixture_put(fixture, a_first ? b : a);
    assert_named(fixture, "x", "");
    assert_named(fixture, "y", PUBLIC_A);
    assert_named(fixture, "z", PUBLIC_B);
}

static void names_are_traded_with_the_earlier_event_first(void **state) { trade_names(*state, false); }
static void names_are_traded_with_the_later_event_first(void **state) { trade_names(*state, true); }

struct swept {
    int count;
    char id[64];
};

static void note_swept(void *context, const struct state_jwk *jwk) {
    struct swept *swept = context;
    swept->count++;
    snprintf(swept->id, sizeof swept->id, "%s", jwk->id);
}

static void a_sweep_removes_what_was_not_seen_again(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    struct state_jwk elsewhere = fixture_jwk(JWK_C, "elsewhere", 1, 1);
    elsewhere.partition = 1;
    fixture_put(fixture, fixture_jwk(JWK_A, "seen", 1, 2));
    fixture_put(fixture, fixture_jwk(JWK_B, "gone", 1, 1));
    fixture_put(fixture, elsewhere);
    /* Read again in the next generation: even an older event shows that the JWK is there. */
    struct state_jwk again = fixture_jwk(JWK_A, "seen", 1, 1);
    again.generation = 2;
    assert_int_equal(fixture_put(fixture, again), STATE_OLDER);
    struct swept swept = {0};
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_sweep(fixture->state, 0, 2, NULL, note_swept, &swept, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_int_equal(swept.count, 1);
    assert_string_equal(swept.id, JWK_B);
    assert_int_equal(state_keys(fixture->state), 2);
    assert_named(fixture, "seen", PUBLIC_A);
    assert_named(fixture, "gone", "");
    assert_named(fixture, "elsewhere", PUBLIC_A);
}

/* As when a topic was made again with other partitions: generations of two partitions have nothing to do with each other. */
static void what_was_seen_on_another_partition_is_not_swept_with_its_former_one(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    fixture_put(fixture, fixture_jwk(JWK_A, "moved", 1, 1));
    struct state_jwk again = fixture_jwk(JWK_A, "moved", 1, 1);
    again.partition = 1;
    assert_int_equal(fixture_put(fixture, again), STATE_EQUAL);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_sweep(fixture->state, 0, 2, NULL, NULL, NULL, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_named(fixture, "moved", PUBLIC_A);
}

/* Stands in the place of the C library's for SQLite too. */
static int synced;
int fdatasync(int file) {
    int (*real)(int);
    *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    synced++;
    return real(file);
}

/* An ack says that it outlives a loss of power. */
static void a_commit_is_on_the_disk_when_it_returns(void **state) {
    struct worker_fixture *fixture = *state;
    for (int64_t version = 1; version <= 3; version++) {
        int before = synced;
        fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, version));
        assert_true(synced > before);
    }
}

static void a_rollback_leaves_nothing_behind(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    struct state_outcome outcome;
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 7, 1);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_put(fixture->state, &jwk, &outcome, NULL, &error), 0);
    state_rollback(fixture->state);
    assert_int_equal(state_keys(fixture->state), 0);
    assert_int_equal(state_epoch(fixture->state), 0);
    assert_key_set(fixture, "MyProject", "");
    assert_int_equal(fixture_put(fixture, jwk), STATE_NEWER);
}

static void positions_contact_and_failures_survive_a_restart(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    struct state_position position = {
        .position = {.partition = 3, .offset = 40, .sequence = 7}, .generation = 2, .sweep_offset = 90, .sweep_after = 5};
    struct position moved = {.partition = 3, .offset = 41, .sequence = 8};
    struct state_failing failing = {.jwk_id = JWK_A,
                                    .deployment_id = JWK_B,
                                    .event_id = JWK_C,
                                    .event_hash = "hash",
                                    .message = "no",
                                    .operation = EVENT_UPDATE,
                                    .epoch = 1,
                                    .version = 2,
                                    .sequence = 3};
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_position(fixture->state, &position, &error), 0);
    assert_int_equal(state_store_offset(fixture->state, &moved, &error), 0);
    assert_int_equal(state_store_contact(fixture->state, 123, &error), 0);
    assert_int_equal(state_store_cluster(fixture->state, "cluster", &error), 0);
    assert_int_equal(state_store_failing(fixture->state, &failing, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 4, 1));
    fixture_close_state(fixture);
    fixture_open_state(fixture);
    struct state_position *positions;
    size_t count;
    assert_int_equal(state_load_positions(fixture->state, &positions, &count, &error), 0);
    assert_int_equal(count, 1);
    assert_int_equal(positions[0].position.offset, 41);
    assert_int_equal(positions[0].position.sequence, 8);
    assert_int_equal(positions[0].generation, 2);
    assert_int_equal(positions[0].sweep_offset, 90);
    free(positions);
    assert_int_equal(state_last_contact(fixture->state), 123);
    assert_string_equal(state_cluster(fixture->state), "cluster");
    assert_int_equal(state_failing_count(fixture->state), 1);
    assert_int_equal(state_keys(fixture->state), 1);
    assert_int_equal(state_epoch(fixture->state), 4);
}

static void a_failure_is_cleared_by_its_version_or_a_later_one(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    struct state_failing failing = {.jwk_id = JWK_A,
                                    .deployment_id = JWK_B,
                                    .event_id = JWK_C,
                                    .event_hash = "hash",
                                    .message = "no",
                                    .epoch = 2,
                                    .version = 5,
                                    .sequence = 3};
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_failing(fixture->state, &failing, &error), 0);
    assert_int_equal(state_clear_failing(fixture->state, JWK_A, 1, 9, &error), 0);
    assert_int_equal(state_failing_count(fixture->state), 1);
    assert_int_equal(state_clear_failing(fixture->state, JWK_A, 2, 5, &error), 0);
    assert_int_equal(state_failing_count(fixture->state), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
}

/* ---- opening ---- */

static void assert_refused(struct worker_fixture *fixture, const char *environment, const char *replica, const char *part) {
    struct error error;
    struct state *opened = state_open(fixture->state_directory, environment, replica, &error);
    if (opened)
        fail_msg("the state was opened");
    if (!strstr(error.message, part))
        fail_msg("\"%s\" is not in \"%s\"", part, error.message);
}

static void a_second_process_is_refused(void **state) { assert_refused(*state, "production", "edge-1", "in use"); }

static void another_replicas_state_is_refused(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_close_state(fixture);
    assert_refused(fixture, "production", "edge-2", "belongs to replica edge-1 of environment production");
    assert_refused(fixture, "staging", "edge-1", "belongs to replica");
    fixture_open_state(fixture);
}

static char *file_of(struct worker_fixture *fixture, const char *name) {
    return memory_format("%s/%s", fixture->state_directory, name);
}

static void files_are_private_and_refused_when_others_can_read_them(void **state) {
    struct worker_fixture *fixture = *state;
    char *file = file_of(fixture, "state.db");
    struct stat status;
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(stat(fixture->state_directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    fixture_close_state(fixture);
    assert_int_equal(chmod(file, 0640), 0);
    assert_refused(fixture, "production", "edge-1", "chmod 600");
    assert_int_equal(chmod(file, 0600), 0);
    assert_int_equal(chmod(fixture->state_directory, 0755), 0);
    assert_refused(fixture, "production", "edge-1", "chmod 700");
    assert_int_equal(chmod(fixture->state_directory, 0700), 0);
    fixture_open_state(fixture);
    free(file);
}

static void a_directory_that_can_not_be_made_is_told_with_its_option(void **state) {
    (void)state;
    struct error error;
    assert_null(state_open("/nowhere/state", "production", "edge-1", &error));
    assert_string_equal(error.message, "making the state directory /nowhere/state: No such file or directory; make it for the user that "
                                       "runs this, or give another one with --state-dir");
}

/* Overwrites bytes of the file, and puts it back as new after the check. */
static void damage(struct worker_fixture *fixture, off_t offset, size_t length, const char *part) {
    char *file = file_of(fixture, "state.db"), junk[4096];
    for (unsigned i = 1; i < 200; i++) {
        char id[UUID_SIZE];
        snprintf(id, sizeof id, "01890000-0000-7000-8000-%012u", i % 1000);
        fixture_put(fixture, fixture_jwk(id, id, 1, 1));
    }
    fixture_close_state(fixture);
    int descriptor = open(file, O_RDWR);
    memset(junk, 0x55, sizeof junk);
    assert_int_equal(pwrite(descriptor, junk, length, offset), length);
    close(descriptor);
    assert_refused(fixture, "production", "edge-1", part);
    unlink(file);
    fixture_open_state(fixture);
    free(file);
}

static void a_file_that_is_not_a_database_is_refused(void **state) { damage(*state, 0, 100, "delete the state directory"); }
static void a_damaged_page_is_refused(void **state) { damage(*state, 4096 * 8, 4096, "delete the state directory"); }

static void a_damaged_log_is_refused(void **state) {
    struct worker_fixture *fixture = *state;
    char *log = file_of(fixture, "state.db-wal");
    fixture_put(fixture, fixture_jwk(JWK_A, "a", 1, 1));
    fixture_put(fixture, fixture_jwk(JWK_B, "b", 1, 2));
    /* As a kill leaves it: closing the state would take the log into the file. */
    struct stat status;
    int descriptor = open(log, O_RDONLY);
    assert_int_equal(fstat(descriptor, &status), 0);
    char *bytes = memory_new((size_t)status.st_size);
    assert_int_equal(read(descriptor, bytes, (size_t)status.st_size), status.st_size);
    close(descriptor);
    fixture_close_state(fixture);
    for (int is_damaged = 1; is_damaged >= 0; is_damaged--) {
        bytes[32 + 24 + 100] ^= (char)is_damaged; /* in the page of the first frame */
        descriptor = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(descriptor, bytes, (size_t)status.st_size), status.st_size);
        close(descriptor);
        if (is_damaged)
            assert_refused(fixture, "production", "edge-1", "state.db-wal is damaged; delete the state directory");
        bytes[32 + 24 + 100] ^= (char)is_damaged;
    }
    fixture_open_state(fixture);
    free(bytes);
    free(log);
}

static void run_sql(struct worker_fixture *fixture, const char *sql) {
    char *file = file_of(fixture, "state.db");
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    free(file);
}

static void a_newer_programs_state_and_a_stranger_are_refused(void **state) {
    struct worker_fixture *fixture = *state;
    fixture_close_state(fixture);
    run_sql(fixture, "PRAGMA user_version = 99");
    assert_refused(fixture, "production", "edge-1", "newer jwk-worker");
    char *restore = memory_format("PRAGMA user_version = %d; PRAGMA application_id = 5", STATE_SCHEMA_VERSION);
    run_sql(fixture, restore);
    free(restore);
    assert_refused(fixture, "production", "edge-1", "not the state of a jwk-worker");
    run_sql(fixture, "PRAGMA application_id = 1247234903");
    fixture_open_state(fixture);
}

/* ---- private halves, refusals, trust ---- */

#define SEALED_1 "{\"ciphertext\":\"one\"}"
#define SEALED_2 "{\"ciphertext\":\"two\"}"

static struct state_outcome put_sealed(struct worker_fixture *fixture, int64_t version, const char *sealed) {
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, version);
    struct state_outcome outcome;
    struct error error;
    jwk.sealed = sealed;
    if (state_begin(fixture->state, &error) || state_put(fixture->state, &jwk, &outcome, NULL, &error) ||
        state_commit(fixture->state, &error))
        fail_msg("%s", error.message);
    return outcome;
}

static void note_sealed(void *context, const struct state_jwk *jwk) {
    char **sealed = context;
    free(*sealed);
    *sealed = memory_string(jwk->sealed ? jwk->sealed : "none");
}

static void assert_sealed(struct worker_fixture *fixture, const char *expected) {
    struct error error;
    char *sealed = NULL;
    struct state_reader *reader = state_reader_take(fixture->readers, &error);
    assert_int_equal(state_reader_visit(reader, JWK_A, note_sealed, &sealed, &error), 0);
    state_reader_give(fixture->readers, reader);
    assert_string_equal(sealed, expected);
    free(sealed);
}

static void commit_nothing(struct worker_fixture *fixture) {
    struct error error;
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
}

static void a_private_half_need_be_opened_once(void **state) {
    struct worker_fixture *fixture = *state;
    assert_int_equal(put_sealed(fixture, 1, SEALED_1).private, STATE_PRIVATE_SEALED);
    assert_int_equal(put_sealed(fixture, 2, SEALED_1).private, STATE_PRIVATE_SEALED);
    state_note_opened(fixture->state, JWK_A, 1, 1); /* of a version that is not there any more */
    commit_nothing(fixture);
    assert_int_equal(put_sealed(fixture, 2, SEALED_1).private, STATE_PRIVATE_SEALED);
    state_note_opened(fixture->state, JWK_A, 1, 2);
    commit_nothing(fixture);
    fixture_close_state(fixture);
    fixture_open_state(fixture);
    assert_int_equal(put_sealed(fixture, 2, SEALED_1).private, STATE_PRIVATE_OPENED);
    assert_int_equal(put_sealed(fixture, 3, SEALED_1).private, STATE_PRIVATE_OPENED);
    assert_int_equal(put_sealed(fixture, 4, SEALED_2).private, STATE_PRIVATE_SEALED);
    assert_sealed(fixture, SEALED_2);
}

static void a_private_half_leaves_with_its_key(void **state) {
    struct worker_fixture *fixture = *state;
    put_sealed(fixture, 1, SEALED_1);
    assert_sealed(fixture, SEALED_1);
    assert_int_equal(put_sealed(fixture, 2, NULL).private, STATE_PRIVATE_NONE);
    assert_sealed(fixture, "none");
    put_sealed(fixture, 3, SEALED_2);
    struct state_jwk deleted = fixture_jwk(JWK_A, "one", 1, 4);
    deleted.deleted = true;
    deleted.sealed = SEALED_2;
    fixture_put(fixture, deleted);
    assert_sealed(fixture, "none");
    assert_int_equal(fixture_count(fixture, "SELECT count(*) FROM jwk_private"), 0);
    put_sealed(fixture, 5, SEALED_1);
    forget(fixture, JWK_A);
    assert_int_equal(fixture_count(fixture, "SELECT count(*) FROM jwk_private"), 0);
}

static void a_mark_of_a_transaction_that_failed_is_stored_by_the_next(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    put_sealed(fixture, 1, SEALED_1);
    state_note_opened(fixture->state, JWK_A, 1, 1);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    state_rollback(fixture->state);
    commit_nothing(fixture);
    assert_int_equal(put_sealed(fixture, 1, SEALED_1).private, STATE_PRIVATE_OPENED);
}

static void what_was_verified_takes_the_place_of_what_was_not(void **state) {
    struct worker_fixture *fixture = *state;
    struct state_jwk forged = fixture_jwk(JWK_A, "forged", 9, 99), good = fixture_jwk(JWK_A, "good", 1, 1);
    assert_int_equal(fixture_put(fixture, forged), STATE_NEWER);
    good.verified = true;
    good.public_key = PUBLIC_B;
    assert_int_equal(fixture_put(fixture, good), STATE_NEWER);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_B "]}");
    good.version = 0;
    assert_int_equal(fixture_put(fixture, good), STATE_OLDER);
}

static void refusals_are_remembered_until_an_event_of_the_jwk_is_applied(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    bool made_good, has;
    put_sealed(fixture, 5, NULL);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_refused(fixture->state, JWK_A, JWK_C, &error), 0);
    assert_int_equal(state_store_refused(fixture->state, JWK_B, JWK_C, &error), 0);
    assert_int_equal(state_store_refused_by(fixture->state, "some key", &error), 0);
    state_rollback(fixture->state);
    assert_int_equal(state_refused_count(fixture->state), 0);
    assert_string_equal(state_refused_by(fixture->state), "");
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_refused(fixture->state, JWK_A, JWK_C, &error), 0);
    assert_int_equal(state_store_refused(fixture->state, JWK_B, JWK_C, &error), 0);
    assert_int_equal(state_store_refused_by(fixture->state, "some key", &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    fixture_close_state(fixture);
    fixture_open_state(fixture);
    assert_int_equal(state_refused_count(fixture->state), 2);
    assert_string_equal(state_refused_by(fixture->state), "some key");
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_clear_refused(fixture->state, JWK_A, JWK_C, &made_good, &error), 0);
    assert_true(made_good);
    assert_int_equal(state_clear_refused(fixture->state, JWK_B, JWK_A, &made_good, &error), 0);
    assert_false(made_good); /* another event of the JWK */
    assert_int_equal(state_has(fixture->state, JWK_A, 1, 5, &has, &error), 0);
    assert_true(has);
    assert_int_equal(state_has(fixture->state, JWK_A, 1, 6, &has, &error), 0);
    assert_false(has);
    assert_int_equal(state_has(fixture->state, JWK_B, 1, 1, &has, &error), 0);
    assert_false(has);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_int_equal(state_refused_count(fixture->state), 0);
}

static void refusals_take_no_more_room_than_is_set(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    assert_int_equal(state_begin(fixture->state, &error), 0);
    for (int i = 0; i < STATE_REFUSED_MAX + 10; i++) {
        char id[UUID_SIZE];
        uuid_new(id);
        assert_int_equal(state_store_refused(fixture->state, id, JWK_C, &error), 0);
    }
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_int_equal(state_refused_count(fixture->state), STATE_REFUSED_MAX);
}

static void a_sweep_spares_what_could_not_be_judged(void **state) {
    struct worker_fixture *fixture = *state;
    struct error error;
    put_sealed(fixture, 1, NULL);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_keep(fixture->state, JWK_A, 7, 9, &error), 0); /* on a partition that is not its own */
    assert_int_equal(state_sweep(fixture->state, 7, 3, NULL, NULL, NULL, &error), 0);
    assert_int_equal(state_keep(fixture->state, JWK_A, 0, 2, &error), 0);
    assert_int_equal(state_sweep(fixture->state, 0, 2, NULL, NULL, NULL, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_int_equal(state_keys(fixture->state), 1);
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_sweep(fixture->state, 0, 3, NULL, NULL, NULL, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    assert_int_equal(state_keys(fixture->state), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fixture_set_up, fixture_tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_newer_version_wins_and_an_older_or_equal_one_changes_nothing),
        TEST(a_higher_epoch_wins_whatever_its_version),
        TEST(a_deleted_jwk_is_not_served_and_no_older_event_brings_it_back),
        TEST(a_delete_that_comes_first_holds_against_its_create),
        TEST(a_tombstone_forgets_the_jwk),
        TEST(an_event_of_before_the_tombstone_does_not_bring_the_jwk_back),
        TEST(an_unknown_project_has_no_set),
        TEST(an_oct_key_is_held_and_never_served),
        TEST(an_expired_key_leaves_the_set_at_its_second),
        TEST(the_set_is_in_the_order_of_the_ids),
        TEST(a_jwk_that_a_newer_event_puts_into_another_project_is_served_there_alone),
        TEST(names_are_traded_with_the_earlier_event_first),
        TEST(names_are_traded_with_the_later_event_first),
        TEST(a_sweep_removes_what_was_not_seen_again),
        TEST(what_was_seen_on_another_partition_is_not_swept_with_its_former_one),
        TEST(a_commit_is_on_the_disk_when_it_returns),
        TEST(a_rollback_leaves_nothing_behind),
        TEST(positions_contact_and_failures_survive_a_restart),
        TEST(a_failure_is_cleared_by_its_version_or_a_later_one),
        TEST(a_second_process_is_refused),
        TEST(another_replicas_state_is_refused),
        TEST(files_are_private_and_refused_when_others_can_read_them),
        TEST(a_directory_that_can_not_be_made_is_told_with_its_option),
        TEST(a_file_that_is_not_a_database_is_refused),
        TEST(a_damaged_page_is_refused),
        TEST(a_damaged_log_is_refused),
        TEST(a_newer_programs_state_and_a_stranger_are_refused),
        TEST(a_private_half_need_be_opened_once),
        TEST(a_private_half_leaves_with_its_key),
        TEST(a_mark_of_a_transaction_that_failed_is_stored_by_the_next),
        TEST(what_was_verified_takes_the_place_of_what_was_not),
        TEST(refusals_are_remembered_until_an_event_of_the_jwk_is_applied),
        TEST(refusals_take_no_more_room_than_is_set),
        TEST(a_sweep_spares_what_could_not_be_judged),
    };
    return cmocka_run_group_tests_name("worker state", tests, NULL, NULL);
}
