/* The store itself: opening and refusing, its lock, transactions, projects, environments, tokens and offsets. */
#include "store_fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "api/store_sql.h"
#include "common/identifier.h"

static const char *const environments[] = {"production", "staging"};

static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 2, environments);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

/* ---- opening ---- */

static void path_in(const char *directory, const char *name, char path[128]) { snprintf(path, 128, "%s/%s", directory, name); }

/* Expects store_open() to fail; %s in the sentence stands for the directory. */
static void expect_refused(const char *directory, enum store_mode mode, const char *before, const char *after) {
    struct error error = {0};
    struct store *store = store_open(directory, mode, &error);
    assert_null(store);
    char *wanted = memory_format("%s%s%s", before, directory, after);
    assert_string_equal(error.message, wanted);
    assert_int_equal(error.code, ERROR_INVALID);
    free(wanted);
}

static void a_new_store_is_for_its_owner_alone(void **state) {
    (void)state;
    char parent[64], directory[80], path[128];
    struct stat status;
    directory_make(parent);
    snprintf(directory, sizeof directory, "%s/data", parent);
    mode_t mask = umask(0);
    struct error error = {0};
    struct store *store = store_open(directory, STORE_MAKE, &error);
    umask(mask);
    assert_non_null(store);
    assert_int_equal(stat(directory, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    path_in(directory, "jwk-api.db", path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    path_in(directory, "jwk-api.db-wal", path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 077, 0);
    store_close(store);
    directory_remove(directory);
    directory_remove(parent);
}

static void the_identity_is_made_once(void **state) {
    struct store_fixture *fixture = *state;
    struct store_identity one, other;
    SUCCEEDS(store_read_identity(fixture->store, &one, &error));
    assert_true(uuid_is_valid(one.uid));
    assert_int_equal(one.epoch, 1);
    assert_int_equal(one.partitions, 4);
    assert_int_equal(one.sequence, 0);
    SUCCEEDS(store_fix_partitions(fixture->store, 9, &error)); /* fixed is fixed */
    struct store *store = fixture_connect(fixture, STORE_READ);
    SUCCEEDS(store_read_identity(store, &other, &error));
    assert_string_equal(one.uid, other.uid);
    assert_int_equal(other.partitions, 4);
    store_close(store);
}

static void write_file(const char *path, const char *bytes, size_t length, long offset) {
    int file = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, bytes, length, offset), length);
    close(file);
}

/* A store to which nothing was added yet would be a wrong answer to a wrong directory. */
static void nothing_but_what_may_make_a_store_does(void **state) {
    (void)state;
    char parent[64], directory[80], path[128];
    struct stat status;
    directory_make(parent);
    snprintf(directory, sizeof directory, "%s/data", parent);
    path_in(directory, "jwk-api.db", path);
    for (enum store_mode mode = STORE_READ; mode <= STORE_WRITE; mode++) {
        const char *advice = ": there is no store in it; " STORE_MISSING_ADVICE;
        char *wanted = memory_format("data directory %s%s", directory, advice);
        expect_refused(directory, mode, "data directory ", advice);
        FAILS(store_lock_serving(directory, mode, &error), ERROR_INVALID, wanted);
        assert_int_equal(mkdir(directory, 0700), 0); /* it was not made */
        expect_refused(directory, mode, "data directory ", advice);
        FAILS(store_lock_serving(directory, mode, &error), ERROR_INVALID, wanted);
        write_file(path, "", 0, 0);
        expect_refused(directory, mode, "store ", "/jwk-api.db: there is no store in this file; " STORE_MISSING_ADVICE);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_size, 0);
        unlink(path);
        assert_int_equal(rmdir(directory), 0); /* nothing is left in it */
        free(wanted);
    }
    directory_remove(parent);
}

static void a_reader_changes_nothing(void **state) {
    struct store_fixture *fixture = *state;
    struct store *reader = fixture_connect(fixture, STORE_READ);
    struct error error = {0};
    assert_int_equal(store_add_project(reader, "another", &error), -1);
    store_close(reader);
}

static void what_others_may_read_is_refused_with_the_remedy(void **state) {
    struct store_fixture *fixture = *state;
    char path[128];
    path_in(fixture->directory, "jwk-api.db", path);
    assert_int_equal(chmod(path, 0640), 0);
    struct error error = {0};
    assert_null(store_open(fixture->directory, STORE_READ, &error));
    char *wanted = memory_format("store %s can be read or written by others (mode 640); run: chmod 600 %s", path, path);
    assert_string_equal(error.message, wanted);
    free(wanted);
    assert_int_equal(chmod(path, 0600), 0);
    char log_path[128];
    path_in(fixture->directory, "jwk-api.db-wal", log_path);
    assert_int_equal(chmod(log_path, 0604), 0);
    assert_null(store_open(fixture->directory, STORE_WRITE, &error));
    wanted = memory_format("store %s can be read or written by others (mode 604); run: chmod 600 %s", log_path, log_path);
    assert_string_equal(error.message, wanted);
    free(wanted);
    assert_int_equal(chmod(log_path, 0600), 0);
    assert_int_equal(chmod(fixture->directory, 0755), 0);
    assert_null(store_open(fixture->directory, STORE_WRITE, &error));
    wanted = memory_format("data directory %s can be read or written by others (mode 755); run: chmod 700 %s", fixture->directory,
                           fixture->directory);
    assert_string_equal(error.message, wanted);
    free(wanted);
    assert_int_equal(chmod(fixture->directory, 0700), 0);
}

static void a_file_that_is_no_store_is_refused(void **state) {
    (void)state;
    char directory[64], path[128], garbage[8192];
    memset(garbage, 'x', sizeof garbage);
    directory_make(directory);
    path_in(directory, "jwk-api.db", path);
    write_file(path, garbage, sizeof garbage, 0);
    expect_refused(directory, STORE_WRITE, "store ", "/jwk-api.db is damaged or not a store: put back a backup into an empty data directory, run 'jwk-api adopt', and start again");
    expect_refused(directory, STORE_READ, "store ", "/jwk-api.db is damaged or not a store: put back a backup into an empty data directory, run 'jwk-api adopt', and start again");
    directory_remove(directory);
}

static void a_store_with_damaged_pages_is_refused(void **state) {
    struct store_fixture *fixture = *state;
    char path[128], garbage[4000];
    memset(garbage, 0x5a, sizeof garbage);
    store_close(fixture->store);
    fixture->store = NULL;
    path_in(fixture->directory, "jwk-api.db", path);
    write_file(path, garbage, sizeof garbage, 96); /* the rest of the first page, which holds the schema's root */
    expect_refused(fixture->directory, STORE_WRITE, "store ",
                   "/jwk-api.db is damaged or not a store: put back a backup into an empty data directory, run 'jwk-api adopt', and start again");
}

static void run_sql(const char *path, const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void another_programs_database_is_refused_and_left_as_it_is(void **state) {
    (void)state;
    char directory[64], path[128];
    directory_make(directory);
    path_in(directory, "jwk-api.db", path);
    run_sql(path, "CREATE TABLE theirs (x)");
    assert_int_equal(chmod(path, 0600), 0);
    expect_refused(directory, STORE_WRITE, "store ", "/jwk-api.db: this database belongs to another program");
    expect_refused(directory, STORE_READ, "store ", "/jwk-api.db: this database belongs to another program");
    char header[20] = "";
    int file = open(path, O_RDONLY);
    assert_int_equal(read(file, header, sizeof header), sizeof header);
    close(file);
    assert_int_equal(header[18], 1); /* the format's write version: 2 would be WAL */
    directory_remove(directory);
}

static void a_newer_schema_is_refused(void **state) {
    struct store_fixture *fixture = *state;
    char path[128];
    store_close(fixture->store);
    fixture->store = NULL;
    path_in(fixture->directory, "jwk-api.db", path);
    run_sql(path, "PRAGMA user_version = 99");
    for (enum store_mode mode = STORE_READ; mode <= STORE_MAKE; mode++) {
        struct error error = {0};
        assert_null(store_open(fixture->directory, mode, &error));
        assert_non_null(strstr(error.message, ": its schema is version 99 and this program knows "));
        assert_non_null(strstr(error.message, ": install a newer jwk-api"));
    }
}

static void a_second_serving_process_is_refused_until_the_first_ends(void **state) {
    struct store_fixture *fixture = *state;
    int ready[2], end[2];
    char byte = 0;
    assert_int_equal(pipe(ready) | pipe(end), 0);
    pid_t child = fork();
    if (child == 0) {
        struct error error;
        byte = store_lock_serving(fixture->directory, STORE_WRITE, &error) == 0 ? 'y' : 'n';
        if (write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    char *wanted = memory_format("another jwk-api serves from %s already; stop it first", fixture->directory);
    FAILS(store_lock_serving(fixture->directory, STORE_WRITE, &error), ERROR_CONFLICT, wanted);
    free(wanted);
    assert_int_equal(write(end[1], "x", 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
    SUCCEEDS(store_lock_serving(fixture->directory, STORE_WRITE, &error));
    close(ready[0]), close(ready[1]), close(end[0]), close(end[1]);
}

/* ---- transactions ---- */

static void a_savepoint_takes_back_one_change_alone(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change kept = {0}, lost = {0}, next = {0};
    const struct store_new_jwk one = fixture_new_jwk("one"), two = fixture_new_jwk("two"), three = fixture_new_jwk("three");
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_savepoint(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &one, &kept, &error));
    SUCCEEDS(store_release(fixture->store, &error));
    SUCCEEDS(store_savepoint(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &two, &lost, &error));
    assert_int_equal(store_rollback_savepoint(fixture->store), 0);
    SUCCEEDS(store_savepoint(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &three, &next, &error));
    SUCCEEDS(store_release(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(next.sequence, kept.sequence + 1);
    struct store_jwk jwk;
    FAILS(store_find_jwk(fixture->store, fixture->project.id, "two", &jwk, &error), ERROR_NOT_FOUND, "JWK (name: two) is not found!");
    SUCCEEDS(store_find_jwk(fixture->store, fixture->project.id, "three", &jwk, &error));
    store_jwk_free(&jwk);
    store_change_clear(&kept);
    store_change_clear(&lost);
    store_change_clear(&next);
}

static void a_rollback_takes_back_all_and_the_sequence(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change lost = {0}, kept = {0};
    const struct store_new_jwk one = fixture_new_jwk("one");
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &one, &lost, &error));
    store_rollback(fixture->store);
    store_rollback(fixture->store); /* outside of a transaction it does nothing */
    fixture_create(fixture, "one", &kept);
    assert_int_equal(kept.sequence, lost.sequence);
    store_change_clear(&lost);
    store_change_clear(&kept);
}

/* SQLite ends the whole transaction by itself when there is no room; a change after that would be committed alone. */
static void a_full_disk_in_a_change_is_told_as_the_loss_of_the_transaction(void **state) {
    struct store_fixture *fixture = *state;
    char *description = memory_new(3000000);
    memset(description, 'x', 2999999);
    struct store_new_jwk large = fixture_new_jwk("large");
    large.private_key = description;
    struct store_change change = {0};
    assert_int_equal(sqlite3_exec(fixture->store->db, "PRAGMA max_page_count = 1", NULL, NULL, NULL), SQLITE_OK); /* the size it has */
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_savepoint(fixture->store, &error));
    FAILS(store_create_jwk(fixture->store, &fixture->author, &large, &change, &error), ERROR_UNAVAILABLE,
          "The store can not be used now; try again later");
    bool lost = sqlite3_get_autocommit(fixture->store->db);
    assert_int_equal(store_rollback_savepoint(fixture->store), lost ? -1 : 0);
    store_rollback(fixture->store);
    free(description);
}

/* ---- projects and environments ---- */

static void append_name(void *context, const struct store_item *item) {
    struct text *names = context;
    assert_true(uuid_is_valid(item->uid));
    assert_true(item->created_at > 0);
    text_add_format(names, "%s,", item->name);
}

static void expect_names(struct store *store, int (*each)(struct store *, store_item_visitor *, void *, struct error *), const char *wanted) {
    struct text names = TEXT_EMPTY;
    SUCCEEDS(each(store, append_name, &names, &error));
    assert_string_equal(names.bytes ? names.bytes : "", wanted);
    text_free(&names);
}

static void projects_are_added_listed_and_removed(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    SUCCEEDS(store_add_project(store, "a b", &error));
    expect_names(store, store_each_project, "a b,my-project,");
    FAILS(store_add_project(store, "a b", &error), ERROR_CONFLICT, "Project (name: a b) is already exist!");
    FAILS(store_add_project(store, "", &error), ERROR_INVALID, "Project name can not be empty!");
    FAILS(store_add_project(store, "a/b", &error), ERROR_INVALID, "Project name can not have '/'!");
    SUCCEEDS(store_remove_project(store, "a b", &error));
    FAILS(store_remove_project(store, "a b", &error), ERROR_NOT_FOUND, "Project (name: a b) is not found!");
    expect_names(store, store_each_project, "my-project,");
}

static void a_project_with_a_history_stays(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "one", &change);
    store_change_clear(&change);
    FAILS(store_remove_project(fixture->store, PROJECT, &error), ERROR_CONFLICT,
          "Project (name: my-project) has or had JWKs: its history stays");
    fixture_delete(fixture, "one", &change);
    store_change_clear(&change);
    FAILS(store_remove_project(fixture->store, PROJECT, &error), ERROR_CONFLICT,
          "Project (name: my-project) has or had JWKs: its history stays");
}

static void the_name_of_a_removed_environment_is_free_again(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    expect_names(store, store_each_environment, "production,staging,");
    FAILS(store_add_environment(store, "staging", NULL, &error), ERROR_CONFLICT, "Environment (name: staging) is already exist!");
    SUCCEEDS(store_remove_environment(store, "staging", &error));
    FAILS(store_remove_environment(store, "staging", &error), ERROR_NOT_FOUND, "Environment (name: staging) is not found!");
    expect_names(store, store_each_environment, "production,");
    SUCCEEDS(store_add_environment(store, "staging", NULL, &error));
    expect_names(store, store_each_environment, "production,staging,");
}

static void the_writer_sees_environments_that_administration_changes(void **state) {
    struct store_fixture *fixture = *state;
    struct store_environments *before, *same, *after;
    SUCCEEDS(store_environments(fixture->store, &before, &error));
    SUCCEEDS(store_environments(fixture->store, &same, &error));
    assert_ptr_equal(before, same);
    assert_int_equal(before->count, 2);
    struct store *administration = fixture_connect(fixture, STORE_WRITE);
    SUCCEEDS(store_add_environment(administration, "a-third", NULL, &error));
    store_close(administration);
    SUCCEEDS(store_environments(fixture->store, &after, &error));
    assert_int_equal(after->count, 3);
    assert_string_equal(after->items[0].name, "a-third");
    assert_string_equal(before->items[0].name, "production"); /* what deployments hold does not change */
    store_environments_release(before);
    store_environments_release(same);
    store_environments_release(after);
}

/* ---- tokens ---- */

static void hash_of(const char *token, unsigned char hash[32]) { token_hash(token, hash); }

static void a_token_is_found_by_its_hash_until_it_expires_or_is_revoked(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    unsigned char hash[32], other[32];
    char uid[UUID_SIZE];
    struct store_token token;
    hash_of("jwk_a", hash);
    hash_of("jwk_b", other);
    const struct store_new_token new_token = {.user = "alice", .roles = ROLE_API_SECURITY, .expires_at = 1000};
    SUCCEEDS(store_add_token(store, &new_token, hash, uid, &error));
    SUCCEEDS(store_find_token(store, hash, 999, &token, &error));
    assert_string_equal(token.user, "alice");
    assert_int_equal(token.roles, ROLE_API_SECURITY);
    assert_true(token.all_projects);
    FAILS(store_find_token(store, other, 999, &token, &error), ERROR_DENIED, "Invalid token");
    FAILS(store_find_token(store, hash, 1000, &token, &error), ERROR_DENIED, "Invalid token");
    SUCCEEDS(store_revoke_token(store, uid, &error));
    FAILS(store_find_token(store, hash, 999, &token, &error), ERROR_DENIED, "Invalid token");
    char *wanted = memory_format("Token (id: %s) is not found or is revoked already!", uid);
    FAILS(store_revoke_token(store, uid, &error), ERROR_NOT_FOUND, wanted);
    free(wanted);
}

static void a_token_without_an_end_does_not_expire(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    unsigned char hash[32];
    char uid[UUID_SIZE];
    struct store_token token;
    hash_of("jwk_a", hash);
    const struct store_new_token new_token = {.user = "alice", .roles = ROLE_ADMIN};
    SUCCEEDS(store_add_token(store, &new_token, hash, uid, &error));
    SUCCEEDS(store_find_token(store, hash, INT64_MAX, &token, &error));
}

static void a_hidden_project_is_as_one_that_is_not_there(void **state) {
    struct store_fixture *fixture = *state;
    struct store *store = fixture->store;
    unsigned char hash[32];
    char uid[UUID_SIZE];
    struct store_token token;
    struct store_project project;
    hash_of("jwk_a", hash);
    SUCCEEDS(store_add_project(store, "hidden", &error));
    const struct store_new_token new_token = {.user = "alice", .projects = (const char *const[]){PROJECT}, .project_count = 1};
    SUCCEEDS(store_add_token(store, &new_token, hash, uid, &error));
    SUCCEEDS(store_find_token(store, hash, 0, &token, &error));
    assert_false(token.all_projects);
    SUCCEEDS(store_find_project(store, &token, PROJECT, &project, &error));
    assert_int_equal(project.id, fixture->project.id);
    assert_string_equal(project.uid, fixture->project.uid);
    FAILS(store_find_project(store, &token, "hidden", &project, &error), ERROR_NOT_FOUND,
          "Project (hidden) is not found or user does not have privilege to access it!");
    FAILS(store_find_project(store, &token, "nowhere", &project, &error), ERROR_NOT_FOUND,
          "Project (nowhere) is not found or user does not have privilege to access it!");
}

static void a_token_for_an_unknown_project_is_refused(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    unsigned char hash[32];
    char uid[UUID_SIZE];
    hash_of("jwk_a", hash);
    const struct store_new_token unknown = {.user = "alice", .projects = (const char *const[]){"nowhere"}, .project_count = 1};
    const struct store_new_token nobody = {.user = ""};
    SUCCEEDS(store_begin(store, &error));
    FAILS(store_add_token(store, &unknown, hash, uid, &error), ERROR_NOT_FOUND, "Project (name: nowhere) is not found!");
    store_rollback(store);
    FAILS(store_add_token(store, &nobody, hash, uid, &error), ERROR_INVALID, "User name can not be empty!");
}

static void show_token(void *context, const struct store_token_item *item) {
    text_add_format(context, "%s %d %s %lld %d\n", item->user, item->roles, item->projects, (long long)item->expires_at,
                    item->revoked_at != 0);
}

static void tokens_are_listed_without_their_hashes(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    unsigned char hash[32];
    char uid[UUID_SIZE];
    struct text list = TEXT_EMPTY;
    const struct store_new_token all = {.user = "alice", .roles = ROLE_ADMIN, .expires_at = 5};
    const struct store_new_token one = {.user = "bob", .roles = ROLE_API_SECURITY, .projects = (const char *const[]){PROJECT},
                                        .project_count = 1};
    hash_of("jwk_a", hash);
    SUCCEEDS(store_add_token(store, &all, hash, uid, &error));
    hash_of("jwk_b", hash);
    SUCCEEDS(store_add_token(store, &one, hash, uid, &error));
    SUCCEEDS(store_revoke_token(store, uid, &error));
    SUCCEEDS(store_each_token(store, show_token, &list, &error));
    assert_string_equal(list.bytes, "alice 4 * 5 0\nbob 1 my-project 0 1\n");
    text_free(&list);
}

/* ---- offsets ---- */

static void offsets_are_kept_by_topic_and_partition(void **state) {
    struct store *store = ((struct store_fixture *)*state)->store;
    int64_t offset;
    SUCCEEDS(store_get_offset(store, "jwk.acks", 0, &offset, &error));
    assert_int_equal(offset, -1);
    SUCCEEDS(store_set_offset(store, "jwk.acks", 0, 7, &error));
    SUCCEEDS(store_set_offset(store, "jwk.acks", 1, 8, &error));
    SUCCEEDS(store_set_offset(store, "jwk.acks", 0, 9, &error));
    SUCCEEDS(store_get_offset(store, "jwk.acks", 0, &offset, &error));
    assert_int_equal(offset, 9);
    SUCCEEDS(store_get_offset(store, "jwk.acks", 1, &offset, &error));
    assert_int_equal(offset, 8);
    SUCCEEDS(store_get_offset(store, "other.acks", 0, &offset, &error));
    assert_int_equal(offset, -1);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_is_for_its_owner_alone),
        WITH_STORE(the_identity_is_made_once),
        cmocka_unit_test(nothing_but_what_may_make_a_store_does),
        WITH_STORE(a_reader_changes_nothing),
        WITH_STORE(what_others_may_read_is_refused_with_the_remedy),
        cmocka_unit_test(a_file_that_is_no_store_is_refused),
        WITH_STORE(a_store_with_damaged_pages_is_refused),
        cmocka_unit_test(another_programs_database_is_refused_and_left_as_it_is),
        WITH_STORE(a_newer_schema_is_refused),
        WITH_STORE(a_second_serving_process_is_refused_until_the_first_ends),
        WITH_STORE(a_savepoint_takes_back_one_change_alone),
        WITH_STORE(a_rollback_takes_back_all_and_the_sequence),
        WITH_STORE(a_full_disk_in_a_change_is_told_as_the_loss_of_the_transaction),
        WITH_STORE(projects_are_added_listed_and_removed),
        WITH_STORE(a_project_with_a_history_stays),
        WITH_STORE(the_name_of_a_removed_environment_is_free_again),
        WITH_STORE(the_writer_sees_environments_that_administration_changes),
        WITH_STORE(a_token_is_found_by_its_hash_until_it_expires_or_is_revoked),
        WITH_STORE(a_token_without_an_end_does_not_expire),
        WITH_STORE(a_hidden_project_is_as_one_that_is_not_there),
        WITH_STORE(a_token_for_an_unknown_project_is_refused),
        WITH_STORE(tokens_are_listed_without_their_hashes),
        WITH_STORE(offsets_are_kept_by_topic_and_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
