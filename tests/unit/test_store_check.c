/* Checking a store: a sound one has no finding, and each contradiction and each damage is found. */
#include "store_fixture.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include "api/store_audit.h"
#include "api/store_check.h"
#include "api/store_damage.h"
#include "api/store_signing.h"
#include "api/store_source.h"
#include "api/store_sql.h"

#define ADVICE STORE_DAMAGE_ADVICE

static const char *const environments[] = {"production"};

/* A store with all kinds of things in it: two JWKs and one that is deleted, of which one has a key that retires, a keystore,
 * the key that events are signed with, events that wait, and three lines of evidence. */
static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    struct store_change change;
    fixture_open(fixture, 1, environments);
    static const char *const names[] = {"one", "two", "gone"};
    for (size_t i = 0; i < 3; i++) {
        fixture_create(fixture, names[i], &change);
        store_change_clear(&change);
    }
    fixture_delete(fixture, "gone", &change);
    store_change_clear(&change);
    struct store_new_jwk next = fixture_new_jwk("two");
    next.kid = "key-2";
    const struct store_material material = {
        .environment = "production", .type = "PKCS12", .private_material = "file", .password = "password", .details = "[]"};
    const struct store_new_source source = {
        .kind = SOURCE_KEYSTORE, .name = "keystore", .materials = &material, .material_count = 1};
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_rotate_jwk(fixture->store, &fixture->author, "two", &next, 3600, &change, &error));
    store_change_clear(&change);
    SUCCEEDS(store_add_source(fixture->store, &fixture->author, &source, &error));
    SUCCEEDS(store_ensure_signing_key(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    for (int i = 0; i < 3; i++)
        SUCCEEDS(store_audit_command(fixture->store, "test", NULL, NULL, &error));
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

/* ---- findings ---- */

static void note(void *context, const char *finding) {
    text_add_format(context, "%s\n", finding);
}

/* All findings, each with a line end; the caller frees them. */
static struct text check(struct store_fixture *fixture, struct store_check_counts *counts) {
    struct text findings = TEXT_EMPTY;
    SUCCEEDS(store_check(fixture->store, note, &findings, counts, &error));
    assert_false(store_in_transaction(fixture->store));
    text_add(&findings, "", 0);
    return findings;
}

/* Changes the store behind its back: no constraint hinders what damage or a foreign hand may do. */
static void change(struct store_fixture *fixture, const char *sql) {
    char *all = memory_format("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; %s", sql);
    SUCCEEDS(store_execute(fixture->store, all, "changing the store", &error));
    free(all);
}

/* The text that a query yields; the caller frees it. */
static char *read_text(struct store_fixture *fixture, const char *sql) {
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(fixture->store->db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    char *text = memory_string(store_text(statement, 0));
    sqlite3_finalize(statement);
    return text;
}

/* After the change there is this finding, and no other; id, an SQL expression, fills its %s. */
static void expect_finding(struct store_fixture *fixture, const char *sql, const char *format, const char *id) {
    struct store_check_counts counts;
    char *select = memory_format("SELECT %s", id ? id : "''"), *name = read_text(fixture, select), *expected;
    const char *placeholder = strstr(format, "%s");
    expected = placeholder ? memory_format("%.*s%s%s\n", (int)(placeholder - format), format, name, placeholder + 2)
                           : memory_format("%s\n", format);
    change(fixture, sql);
    struct text findings = check(fixture, &counts);
    assert_string_equal(findings.bytes, expected);
    text_free(&findings);
    free(select);
    free(name);
    free(expected);
}

static void a_sound_store_has_no_finding_and_everything_is_looked_at(void **state) {
    struct store_fixture *fixture = *state;
    struct store_check_counts counts;
    struct text findings = check(fixture, &counts);
    assert_string_equal(findings.bytes, "");
    text_free(&findings);
    assert_int_equal(counts.jwks, 2);
    assert_int_equal(counts.deployments, 5);
    assert_int_equal(counts.outbox, 5);
    assert_int_equal(counts.secrets, 5); /* of two JWKs, file and password of the keystore, the signing key */
    assert_true(counts.audit_lines >= 3);
}

static void an_empty_store_has_no_finding(void **state) {
    (void)state;
    struct store_fixture fixture = {0};
    struct store_check_counts counts;
    directory_make(fixture.directory);
    fixture.store = fixture_connect(&fixture, STORE_MAKE);
    struct text findings = check(&fixture, &counts);
    assert_string_equal(findings.bytes, "");
    assert_int_equal(counts.jwks + counts.deployments + counts.outbox + counts.secrets, 0);
    text_free(&findings);
    fixture_close(&fixture);
}

static void a_reader_checks_while_another_writes(void **state) {
    struct store_fixture *fixture = *state, reading = *fixture;
    struct store_check_counts counts;
    reading.store = fixture_connect(fixture, STORE_READ);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_execute(fixture->store, "DELETE FROM jwk_material", "changing the store", &error));
    struct text findings = check(&reading, &counts);
    assert_string_equal(findings.bytes, "");
    assert_int_equal(counts.secrets, 5);
    text_free(&findings);
    store_close(reading.store);
    store_rollback(fixture->store);
}

/* ---- each contradiction ---- */

#define UID_OF(name)    "(SELECT uid FROM jwk WHERE name = '" name "')"
#define LATEST_OF(name) "(SELECT deployment FROM jwk WHERE name = '" name "')"

static const struct planted {
    const char *name, *sql, *finding, *id;
} planted[] = {
    {"no material", "DELETE FROM jwk_material WHERE jwk_id = (SELECT id FROM jwk WHERE name = 'one')", "JWK %s has no material",
     UID_OF("one")},
    {"material of a deleted one", "INSERT INTO jwk_material (jwk_id, public_key) SELECT id, '{}' FROM jwk WHERE name = 'gone'",
     "JWK %s is deleted and still has material", UID_OF("gone")},
    {"another version", "UPDATE jwk SET version = 7 WHERE name = 'one'",
     "JWK %s has version 7, and its latest deployment is of version 1", UID_OF("one")},
    {"another's deployment",
     "UPDATE jwk SET deployment = (SELECT min(id) FROM deployment WHERE jwk_id <> jwk.id AND version = 1)"
     " WHERE name = 'one'",
     "JWK %s names a latest deployment that is not its own", UID_OF("one")},
    {"no such deployment", "UPDATE jwk SET deployment = 99 WHERE name = 'one'",
     "JWK %s names a latest deployment that is not its own", UID_OF("one")},
    {"another's deployment before", "UPDATE deployment SET previous = (SELECT min(id) FROM deployment AS other"
     " WHERE other.jwk_id <> deployment.jwk_id) WHERE id = " LATEST_OF("one"),
     "deployment %s names one before it that is not an earlier one of its JWK",
     "(SELECT uid FROM deployment WHERE id = " LATEST_OF("one") ")"},
    {"no deployment before", "UPDATE deployment SET previous = NULL WHERE id = " LATEST_OF("two"),
     "deployment %s is not in the chain of its JWK",
     "(SELECT uid FROM deployment WHERE jwk_id = (SELECT id FROM jwk WHERE name = 'two') AND id < " LATEST_OF("two") ")"},
    {"no such deployment of the project", "UPDATE project SET deployment = 99",
     "project %s does not name its latest deployment", "uid FROM project"},
    {"no deployment of the project", "UPDATE project SET deployment = NULL",
     "project %s does not name its latest deployment", "uid FROM project"},
    {"a later deployment before", "UPDATE deployment SET previous_in_project = 3 WHERE id = 1",
     "deployment %s names one before it that is not an earlier one of its project", "uid FROM deployment WHERE id = 1"},
    {"no deployment before in the project", "UPDATE deployment SET previous_in_project = NULL WHERE id = 5",
     "deployment %s is not in the chain of its project", "uid FROM deployment WHERE id = 4"},
    {"partition of the JWK", "UPDATE jwk SET partition = 4 WHERE name = 'one'; DELETE FROM outbox",
     "JWK %s is on partition 4 of 4", UID_OF("one")},
    {"retiring not noted", "UPDATE jwk SET retiring_until = NULL WHERE name = 'two'",
     "JWK %s does not note until when its replaced keys are served", UID_OF("two")},
    {"retiring noted wrongly", "UPDATE jwk SET retiring_until = 5 WHERE name = 'one'",
     "JWK %s does not note until when its replaced keys are served", UID_OF("one")},
    {"epoch ahead", "UPDATE deployment SET epoch = 2 WHERE id = " LATEST_OF("one"),
     "deployment %s is of epoch 2, and the store of 1", "(SELECT uid FROM deployment WHERE id = " LATEST_OF("one") ")"},
    {"number of the deployment", "UPDATE store SET sequence = (SELECT max(id) - 1 FROM deployment); DELETE FROM outbox",
     "deployment %s has the number 5, and the last one given is 4", "(SELECT uid FROM deployment WHERE id = 5)"},
    {"state of a result", "UPDATE deployment_result SET state = 3 WHERE deployment_id = " LATEST_OF("one"),
     "deployment %s has a result of the unknown state 3", "(SELECT uid FROM deployment WHERE id = " LATEST_OF("one") ")"},
    {"number of the event",
     "INSERT INTO outbox (id, partition, key, event_id, event_type, subject, time)"
     " SELECT 77, partition, uid, 'the-event', 't', 's', 0 FROM jwk WHERE name = 'one'",
     "event the-event waits under the number 77, and the last one given is 5", NULL},
    {"event without deployment",
     "UPDATE store SET sequence = 77; INSERT INTO outbox (id, partition, key, event_id, event_type, subject, time, value)"
     " SELECT 77, partition, uid, 'the-event', 't', 's', 0, '{}' FROM jwk WHERE name = 'one'",
     "event the-event waits and belongs to no deployment", NULL},
    {"partition of the event", "UPDATE outbox SET partition = (partition + 1) % 4 WHERE id = " LATEST_OF("one"),
     "event %s waits on another partition or key than its JWK's",
     "(SELECT event_id FROM outbox WHERE id = " LATEST_OF("one") ")"},
    {"key of the event", "UPDATE outbox SET key = 'nobody' WHERE id = " LATEST_OF("one"),
     "event %s waits on another partition or key than its JWK's",
     "(SELECT event_id FROM outbox WHERE id = " LATEST_OF("one") ")"},
    {"another event", "UPDATE outbox SET value = replace(value, 'one', 'eno') WHERE id = " LATEST_OF("one"),
     "event %s waits and is not the one that its deployment was recorded for",
     "(SELECT event_id FROM outbox WHERE id = " LATEST_OF("one") ")"},
    {"foreign key", "UPDATE source_material SET environment_id = 9, private_material = NULL, password = NULL",
     "a row of source_material refers to a row of environment that there is not", NULL},
    {"evidence changed",
     "UPDATE audit_outbox SET lines = replace(lines, 'test', 'tset')"
     " WHERE sequence = (SELECT max(sequence) - 1 FROM audit_outbox)",
     "the line of evidence %s",
     "max(sequence) || ' does not follow the one before it (' || (max(sequence) - 1) || ')'"
     " FROM audit_outbox"},
    {"evidence changed last",
     "UPDATE audit_outbox SET lines = replace(lines, 'test', 'tset')"
     " WHERE sequence = (SELECT max(sequence) FROM audit_outbox)",
     "the chain of evidence does not end with the line %s, as it should", "max(sequence) FROM audit_outbox"},
    {"evidence under another number", "UPDATE store SET audit_sequence = audit_sequence + 1",
     "the chain of evidence does not end with the line %s, as it should", "max(sequence) + 1 FROM audit_outbox"},
    {"evidence missing", "DELETE FROM audit_outbox WHERE sequence = (SELECT max(sequence) - 1 FROM audit_outbox)",
     "the line of evidence %s",
     "max(sequence) || ' does not follow the one before it (' || (max(sequence) - 2) || ')' FROM audit_outbox"},
    {"evidence missing last", "DELETE FROM audit_outbox WHERE sequence = (SELECT max(sequence) FROM audit_outbox)",
     "the chain of evidence does not end with the line %s, as it should", "max(sequence) FROM audit_outbox"},
};

static void each_contradiction_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof planted / sizeof *planted; i++) {
        void *fixture;
        set_up(&fixture);
        print_message("  %s\n", planted[i].name);
        expect_finding(fixture, planted[i].sql, planted[i].finding, planted[i].id);
        tear_down(&fixture);
    }
}

static void evidence_that_is_no_line_is_found(void **state) {
    struct store_fixture *fixture = *state;
    struct store_check_counts counts;
    change(fixture, "UPDATE audit_outbox SET lines = 'no line' WHERE sequence = (SELECT min(sequence) FROM audit_outbox)");
    struct text findings = check(fixture, &counts);
    assert_int_equal(strncmp(findings.bytes, "the line of evidence behind number 0 can not be read: ", 54), 0);
    text_free(&findings);
}

static void a_store_without_its_row_is_found(void **state) {
    struct store_fixture *fixture = *state;
    struct store_check_counts counts;
    change(fixture, "DELETE FROM store");
    struct text findings = check(fixture, &counts);
    assert_non_null(strstr(findings.bytes, "there is no row that names the store\n"));
    assert_non_null(strstr(findings.bytes, "the end of the chain of evidence is not known\n"));
    text_free(&findings);
}

static void a_broken_database_is_a_finding_and_nothing_else_of_it_is_believed(void **state) {
    struct store_fixture *fixture = *state;
    struct store_check_counts counts;
    /* An index that lacks a row. */
    change(fixture, "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'jwk (project_id, name)',"
                    " 'jwk (name, project_id)') WHERE name = 'jwk_name'; DELETE FROM jwk_material; UPDATE outbox SET value = "
                    "'{}'; PRAGMA writable_schema = RESET");
    struct text findings = check(fixture, &counts);
    assert_int_equal(strncmp(findings.bytes, "database: ", 10), 0);
    assert_null(strstr(findings.bytes, "has no material"));
    assert_null(strstr(findings.bytes, "waits and is not the one"));
    text_free(&findings);
}

/* ---- secrets ---- */

/* Changes one byte in the middle of each value of the column. */
static void damage_blobs(struct store_fixture *fixture, const char *table, const char *column) {
    char *select = memory_format("SELECT rowid FROM %s WHERE %s IS NOT NULL", table, column);
    sqlite3_stmt *rows;
    assert_int_equal(sqlite3_prepare_v2(fixture->store->db, select, -1, &rows, NULL), SQLITE_OK);
    int count = 0;
    int64_t ids[8];
    while (sqlite3_step(rows) == SQLITE_ROW)
        ids[count++] = sqlite3_column_int64(rows, 0);
    sqlite3_finalize(rows);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        sqlite3_blob *blob;
        unsigned char byte;
        assert_int_equal(sqlite3_blob_open(fixture->store->db, "main", table, column, ids[i], 1, &blob), SQLITE_OK);
        int middle = sqlite3_blob_bytes(blob) / 2;
        assert_int_equal(sqlite3_blob_read(blob, &byte, 1, middle), SQLITE_OK);
        byte ^= 0x10;
        assert_int_equal(sqlite3_blob_write(blob, &byte, 1, middle), SQLITE_OK);
        sqlite3_blob_close(blob);
    }
    free(select);
}

static void secrets_that_were_changed_are_found(void **state) {
    (void)state;
    static const struct {
        const char *table, *column, *id;
        int findings;
    } columns[] = {
        {"jwk_material", "private_key", UID_OF("one"), 2},
        {"source_material", "private_material", "(SELECT uid || '/1' FROM source)", 1},
        {"source_material", "password", "(SELECT uid || '/1' FROM source)", 1},
        {"signing_key", "private_key", "(SELECT kid FROM signing_key)", 1},
    };
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        void *opened;
        set_up(&opened);
        struct store_fixture *fixture = opened;
        struct store_check_counts counts;
        char *select = memory_format("SELECT %s", columns[i].id), *id = read_text(fixture, select);
        char *expected = memory_format("%s.%s of %s does not open: it was changed, or belongs elsewhere\n", columns[i].table,
                                       columns[i].column, id);
        damage_blobs(fixture, columns[i].table, columns[i].column);
        struct text findings = check(fixture, &counts);
        assert_non_null(strstr(findings.bytes, expected));
        int lines = 0;
        for (const char *at = findings.bytes; (at = strchr(at, '\n')); at++)
            lines++;
        assert_int_equal(lines, columns[i].findings);
        text_free(&findings);
        free(select);
        free(id);
        free(expected);
        tear_down(&opened);
    }
}

static void a_secret_in_anothers_place_is_found(void **state) {
    struct store_fixture *fixture = *state;
    expect_finding(
        fixture,
        "UPDATE jwk_material SET private_key = (SELECT private_key FROM jwk_material JOIN jwk ON jwk.id = jwk_id WHERE"
        " name = 'two') WHERE jwk_id = (SELECT id FROM jwk WHERE name = 'one')",
        "jwk_material.private_key of %s does not open: it was changed, or belongs elsewhere", UID_OF("one"));
}

static void a_secret_whose_data_key_is_gone_is_found(void **state) {
    struct store_fixture *fixture = *state;
    /* A keyring that has never seen it. */
    struct error reason = {0};
    struct sealing *other = sealing_new(&(struct master_key_source){.file = fixture->master_key_file}, &reason);
    assert_non_null(other);
    change(fixture, "DELETE FROM data_key");
    SUCCEEDS(store_use_sealing(fixture->store, other, &error));
    struct store_check_counts counts;
    struct text findings = check(fixture, &counts);
    int lines = 0;
    for (const char *at = findings.bytes; (at = strstr(at, "does not open")); at++)
        lines++;
    assert_int_equal(lines, 5);
    text_free(&findings);
    sealing_free(other);
}

static void secrets_in_clear_text_are_found_also_without_a_keyring(void **state) {
    struct store_fixture *fixture = *state;
    fixture->store->sealing = NULL;
    expect_finding(fixture, "UPDATE signing_key SET private_key = CAST('{\"kty\":\"OKP\"}' AS BLOB)",
                   "signing_key.private_key of %s is in clear text: 'jwk-api serve' seals it when it starts",
                   "(SELECT kid FROM signing_key)");
}

/* ---- the files ---- */

enum { LOG_HEADER = 32, FRAME_HEADER = 24 };

/* A copy of the directory as a loss of power leaves it: the store is closed without its log being written back. */
struct copy {
    char directory[64], *database, *log;
    size_t page, log_size;
    unsigned char *log_bytes;
    size_t commits[64], commit_count; /* offsets of the ends of transactions */
};

static unsigned char *read_file(const char *path, size_t *size) {
    struct stat status;
    int file = open(path, O_RDONLY);
    assert_true(file >= 0);
    assert_int_equal(fstat(file, &status), 0);
    *size = (size_t)status.st_size;
    unsigned char *bytes = memory_new(*size + 1);
    assert_int_equal(read(file, bytes, *size), (ssize_t)*size);
    close(file);
    return bytes;
}

static void write_file(const char *path, const void *bytes, size_t size) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, size), (ssize_t)size);
    close(file);
}

static uint32_t word_at(const unsigned char *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void copy_make(struct store_fixture *fixture, struct copy *copy) {
    char *from = memory_format("%s/" STORE_FILE_NAME, fixture->directory), *from_log = memory_format("%s-wal", from);
    size_t size;
    *copy = (struct copy){0};
    directory_make(copy->directory);
    copy->database = memory_format("%s/" STORE_FILE_NAME, copy->directory);
    copy->log = memory_format("%s-wal", copy->database);
    unsigned char *bytes = read_file(from, &size);
    write_file(copy->database, bytes, size);
    free(bytes);
    copy->log_bytes = read_file(from_log, &copy->log_size);
    copy->page = word_at(copy->log_bytes + 8);
    for (size_t at = LOG_HEADER; at < copy->log_size; at += FRAME_HEADER + copy->page)
        if (word_at(copy->log_bytes + at + 4) != 0)
            copy->commits[copy->commit_count++] = at + FRAME_HEADER + copy->page;
    assert_true(copy->commit_count > 4);
    assert_int_equal(copy->commits[copy->commit_count - 1], copy->log_size); /* nothing of an earlier log behind it */
    write_file(copy->log, copy->log_bytes, copy->log_size);
    free(from);
    free(from_log);
}

static void copy_remove(struct copy *copy) {
    directory_remove(copy->directory);
    free(copy->database);
    free(copy->log);
    free(copy->log_bytes);
}

static void expect_log_damaged(const struct copy *copy) {
    char *sentence = memory_format("the store's log %s is damaged, and changes that it held are lost: " ADVICE, copy->log);
    FAILS(store_check_files(copy->directory, &error), ERROR_INVALID, sentence);
    free(sentence);
}

/* Writes the log with one byte changed. */
static void write_log_changed(const struct copy *copy, size_t at) {
    copy->log_bytes[at] ^= 0x40;
    write_file(copy->log, copy->log_bytes, copy->log_size);
    copy->log_bytes[at] ^= 0x40;
}

static void a_log_that_is_damaged_before_its_last_transaction_is_told(void **state) {
    struct copy copy;
    copy_make(*state, &copy);
    SUCCEEDS(store_check_files(copy.directory, &error));
    size_t frame = FRAME_HEADER + copy.page;
    /* The header of the first frame: page, salt, checksums; its page; and the same of the first one of the second transaction.
     */
    const size_t starts[] = {LOG_HEADER, copy.commits[0]},
                 offsets[] = {0, 8, 15, 16, 23, FRAME_HEADER, FRAME_HEADER + 100, frame - 1};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < sizeof offsets / sizeof *offsets; j++) {
            write_log_changed(&copy, starts[i] + offsets[j]);
            expect_log_damaged(&copy);
        }
    for (size_t at = 0; at < LOG_HEADER; at++) {
        write_log_changed(&copy, at);
        expect_log_damaged(&copy);
    }
    /* A hole of many pages. */
    unsigned char *bytes = memory_new(copy.log_size);
    memcpy(bytes, copy.log_bytes, copy.log_size);
    memset(bytes + copy.commits[0], 0, 2 * frame);
    write_file(copy.log, bytes, copy.log_size);
    expect_log_damaged(&copy);
    free(bytes);
    write_file(copy.log, copy.log_bytes, copy.log_size);
    SUCCEEDS(store_check_files(copy.directory, &error));
    copy_remove(&copy);
}

static void a_log_whose_last_transaction_is_incomplete_is_sound(void **state) {
    struct copy copy;
    copy_make(*state, &copy);
    size_t last = copy.commits[copy.commit_count - 2], frame = FRAME_HEADER + copy.page;
    /* Cut anywhere in it: at the ends of frames, in their headers, in their pages. */
    for (size_t at = last; at < copy.log_size; at += frame)
        for (size_t i = 0; i < 3; i++) {
            write_file(copy.log, copy.log_bytes, at + (const size_t[]){0, 10, frame / 2}[i]);
            SUCCEEDS(store_check_files(copy.directory, &error));
        }
    /* Its frames reach the disk in any order. */
    for (size_t at = last; at < copy.log_size; at += frame) {
        write_log_changed(&copy, at + FRAME_HEADER + 7);
        SUCCEEDS(store_check_files(copy.directory, &error));
    }
    /* A log that was begun, and none at all. */
    for (size_t size = 0; size <= LOG_HEADER; size++) {
        write_file(copy.log, copy.log_bytes, size);
        SUCCEEDS(store_check_files(copy.directory, &error));
    }
    unsigned char zeros[64] = {0};
    write_file(copy.log, zeros, sizeof zeros);
    SUCCEEDS(store_check_files(copy.directory, &error));
    unlink(copy.log);
    SUCCEEDS(store_check_files(copy.directory, &error));
    copy_remove(&copy);
}

static void a_log_that_was_begun_anew_over_an_earlier_one_is_sound(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change record;
    SUCCEEDS(store_execute(fixture->store, "PRAGMA wal_checkpoint(RESTART)", "checkpoint", &error));
    fixture_update(fixture, "one", "other", NULL, &record); /* over the first frames; the rest are of before */
    store_change_clear(&record);
    SUCCEEDS(store_check_files(fixture->directory, &error));
}

static void a_store_that_has_become_empty_is_told(void **state) {
    struct copy copy;
    copy_make(*state, &copy);
    unlink(copy.log);
    char *lock = memory_format("%s/" STORE_LOCK_NAME, copy.directory);
    char *empty = memory_format("the store %s is empty though there was one: " ADVICE, copy.database);
    char *gone = memory_format("the store %s is gone though there was one: " ADVICE, copy.database);
    /* A lock file without a note tells nothing: a first start that did not come as far. */
    assert_int_equal(truncate(copy.database, 0), 0);
    SUCCEEDS(store_check_files(copy.directory, &error));
    write_file(lock, "", 0);
    SUCCEEDS(store_check_files(copy.directory, &error));
    store_note_existence(copy.directory);
    FAILS(store_check_files(copy.directory, &error), ERROR_INVALID, empty);
    unlink(copy.database);
    FAILS(store_check_files(copy.directory, &error), ERROR_INVALID, gone);
    write_file(copy.database, "x", 1);
    SUCCEEDS(store_check_files(copy.directory, &error)); /* what it is, opening it tells */
    free(lock);
    free(empty);
    free(gone);
    copy_remove(&copy);
}

/* ---- the sample of a start ---- */

/* Writes all back, closes, damages the page of the file that the query tells by its number, and opens again. */
static void damage_page(struct store_fixture *fixture, const char *select_page) {
    char *path = memory_format("%s/" STORE_FILE_NAME, fixture->directory), *page = read_text(fixture, select_page);
    char *size_text = read_text(fixture, "PRAGMA page_size");
    size_t size = strtoul(size_text, NULL, 10);
    SUCCEEDS(store_execute(fixture->store, "PRAGMA wal_checkpoint(TRUNCATE)", "checkpoint", &error));
    store_close(fixture->store);
    unsigned char *noise = memory_new(size);
    memset(noise, 0xa5, size);
    int file = open(path, O_WRONLY);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, noise, size, (off_t)((strtoul(page, NULL, 10) - 1) * size)), (ssize_t)size);
    close(file);
    fixture->store = fixture_connect(fixture, STORE_WRITE);
    free(noise);
    free(path);
    free(page);
    free(size_text);
}

#define ROOT_OF(table) "SELECT rootpage FROM sqlite_schema WHERE name = '" table "'"

static void expect_sound_sample(struct store_fixture *fixture) {
    SUCCEEDS(store_check_sample(fixture->store, &error));
}
static void expect_damaged_sample(struct store_fixture *fixture) {
    FAILS(store_check_sample(fixture->store, &error), ERROR_INVALID, "the store is damaged: " ADVICE);
}

static void a_small_store_is_looked_at_as_a_whole(void **state) {
    struct store_fixture *fixture = *state;
    expect_sound_sample(fixture);
    damage_page(fixture, ROOT_OF("deployment_result_unsettled")); /* an index: only the whole check comes to it */
    expect_damaged_sample(fixture);
}

enum { LARGE = 48 << 20 };

/* Makes a store that is larger than what is looked at as a whole, by descriptions, in rows of their own pages. */
static void enlarge(struct store_fixture *fixture) {
    change(fixture,
           "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO outbox (id, partition, "
           "key, event_id, event_type, subject, time, value) SELECT 1000 + i, 0, 'k', 'e', 't', 's', 0, "
           "hex(zeroblob(8192)) FROM n");
    char *pages = read_text(fixture, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size");
    assert_true(strtoll(pages, NULL, 10) > LARGE - (8 << 20));
    free(pages);
}

static void of_a_large_store_each_table_is_looked_at(void **state) {
    (void)state;
    /* Tables of both kinds, small and large. */
    static const char *const roots[] = {ROOT_OF("jwk"), ROOT_OF("audit_outbox"), ROOT_OF("jwk_retiring"), ROOT_OF("outbox")};
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++) {
        void *opened;
        set_up(&opened);
        enlarge(opened);
        expect_sound_sample(opened);
        damage_page(opened, roots[i]);
        expect_damaged_sample(opened);
        tear_down(&opened);
    }
}

static void of_a_large_store_rows_from_everywhere_are_looked_at(void **state) {
    (void)state;
    /* Wide damage at the beginning and in the middle of a large table, one of its last row, and one row of a small table. */
    static const char *const parts[] = {"outbox SET value = 'GARBAGE' || value WHERE id BETWEEN 1000 AND 1100",
                                        "outbox SET value = 'GARBAGE' || value WHERE id BETWEEN 2500 AND 2600",
                                        "outbox SET value = 'GARBAGE' || value WHERE id = 4000",
                                        "audit_outbox SET lines = 'GARBAGE' || lines WHERE sequence = 1010"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        void *opened;
        set_up(&opened);
        struct store_fixture *fixture = opened;
        enlarge(fixture);
        change(fixture, "DELETE FROM audit_outbox; WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
                        "20) INSERT INTO audit_outbox"
                        " SELECT 1000 + i, hex(zeroblob(1500)) FROM n");
        char *sql = memory_format("UPDATE %s", parts[i]);
        SUCCEEDS(store_execute(fixture->store, sql, "marking rows", &error));
        SUCCEEDS(store_execute(fixture->store, "PRAGMA wal_checkpoint(TRUNCATE)", "checkpoint", &error));
        store_close(fixture->store);
        char *path = memory_format("%s/" STORE_FILE_NAME, fixture->directory);
        size_t size;
        unsigned char *bytes = read_file(path, &size);
        int count = 0;
        for (unsigned char *at = bytes; (at = memmem(at, size - (size_t)(at - bytes), "GARBAGE", 7)); at += 7) {
            size_t page = (size_t)(at - bytes) / 4096 * 4096;
            memset(bytes + page, 0xa5, 16); /* the header of the page that the row begins on */
            count++;
        }
        assert_true(count > 0);
        write_file(path, bytes, size);
        fixture->store = fixture_connect(fixture, STORE_WRITE);
        expect_damaged_sample(fixture);
        free(bytes);
        free(path);
        free(sql);
        tear_down(&opened);
    }
}

/* ---- backups ---- */

static const char *completed, *completed_as; /* by another process, before the next lock is had */

/* In the place of the library's. */
int flock(int file, int operation) {
    if (completed)
        assert_int_equal(rename(completed, completed_as), 0);
    completed = NULL;
    return (int)syscall(SYS_flock, file, operation);
}

static void a_backup_that_another_completes_meanwhile_is_left_as_it_is(void **state) {
    struct store_fixture *fixture = *state;
    char *path = memory_format("%s/backup", fixture->directory), *partial = memory_format("%s.partial", path);
    char *refusal = memory_format("%s exists already; it was left as it is", path);
    struct stat other;
    fixture_write_file(partial, "of another");
    completed = partial;
    completed_as = path;
    FAILS(store_backup(fixture->store, path, &error), ERROR_CONFLICT, refusal);
    assert_int_equal(stat(path, &other), 0);
    assert_int_equal(other.st_size, strlen("of another"));
    assert_int_equal(unlink(path), 0);
    SUCCEEDS(store_backup(fixture->store, path, &error));
    assert_int_equal(unlink(path), 0);
    free(refusal);
    free(partial);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_that_another_completes_meanwhile_is_left_as_it_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sound_store_has_no_finding_and_everything_is_looked_at, set_up, tear_down),
        cmocka_unit_test(an_empty_store_has_no_finding),
        cmocka_unit_test_setup_teardown(a_reader_checks_while_another_writes, set_up, tear_down),
        cmocka_unit_test(each_contradiction_is_found),
        cmocka_unit_test_setup_teardown(evidence_that_is_no_line_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_without_its_row_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_database_is_a_finding_and_nothing_else_of_it_is_believed, set_up, tear_down),
        cmocka_unit_test(secrets_that_were_changed_are_found),
        cmocka_unit_test_setup_teardown(a_secret_in_anothers_place_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_secret_whose_data_key_is_gone_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(secrets_in_clear_text_are_found_also_without_a_keyring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_is_damaged_before_its_last_transaction_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_whose_last_transaction_is_incomplete_is_sound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_was_begun_anew_over_an_earlier_one_is_sound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_store_that_has_become_empty_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_small_store_is_looked_at_as_a_whole, set_up, tear_down),
        cmocka_unit_test(of_a_large_store_each_table_is_looked_at),
        cmocka_unit_test(of_a_large_store_rows_from_everywhere_are_looked_at),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
