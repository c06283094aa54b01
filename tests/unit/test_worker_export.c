/* Exported sets: whole, replaced atomically, only when they differ, and gone with their project. */
#include "fsync_recorder.h"
#include "worker_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "worker/export.h"

static struct worker_fixture *fixture;
static struct export *export;
static char *path;

static int set_up(void **state) {
    struct error error;
    if (fixture_set_up(state))
        return -1;
    fixture = *state;
    path = memory_format("%s/export", fixture->directory);
    export = export_open(path, fixture->readers, &error);
    return export ? 0 : -1;
}

static int tear_down(void **state) {
    export_close(export);
    free(path);
    return fixture_tear_down(state);
}

static char *read_file(const char *name) {
    char *file_path = memory_format("%s/%s", path, name), *text = memory_new(4096);
    FILE *file = fopen(file_path, "r");
    if (file) {
        (void)!fread(text, 1, 4095, file);
        fclose(file);
    }
    free(file_path);
    return text;
}

static void assert_file(const char *name, const char *expected) {
    char *text = read_file(name);
    assert_string_equal(text, expected);
    free(text);
}

static void write_file(const char *name, const char *text) {
    char *file_path = memory_format("%s/%s", path, name);
    FILE *file = fopen(file_path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(file_path);
}

static ino_t inode_of(const char *name) {
    char *file_path = memory_format("%s/%s", path, name);
    struct stat status;
    assert_int_equal(stat(file_path, &status), 0);
    free(file_path);
    return status.st_ino;
}

static void write_project(const char *project, int64_t now, int64_t *expires) {
    struct error error;
    int64_t ignored = INT64_MAX;
    assert_int_equal(export_project(export, project, now, expires ? expires : &ignored, &error), 0);
}

static void a_set_is_written_and_replaced_only_when_it_differs(void **state) {
    (void)state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    write_project("MyProject", 1000, NULL);
    assert_file("MyProject.json", "{\"keys\":[" PUBLIC_A "]}");
    ino_t first = inode_of("MyProject.json");
    write_project("MyProject", 1000, NULL);
    assert_int_equal(inode_of("MyProject.json"), first);
    struct state_jwk changed = fixture_jwk(JWK_A, "one", 1, 2);
    changed.public_key = PUBLIC_B;
    fixture_put(fixture, changed);
    /* A reader that has opened the old file keeps reading the old set. */
    char *file_path = memory_format("%s/MyProject.json", path), before[256] = "";
    int reader = open(file_path, O_RDONLY);
    free(file_path);
    write_project("MyProject", 1000, NULL);
    assert_true(read(reader, before, sizeof before - 1) > 0);
    close(reader);
    assert_string_equal(before, "{\"keys\":[" PUBLIC_A "]}");
    assert_file("MyProject.json", "{\"keys\":[" PUBLIC_B "]}");
}

/* As fsync_recorder.h does: r for the name that a file gets. */
int renameat(int old_directory, const char *old_name, int directory, const char *name) {
    int (*real)(int, const char *, int, const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "renameat");
    text_add_string(&done, "r");
    return real(old_directory, old_name, directory, name);
}

/* Else a loss of power leaves a file without its content, or the old one behind an ack of the new. */
static void a_set_is_on_the_disk_before_it_has_its_name_and_that_name_before_it_counts(void **state) {
    (void)state;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    text_reset(&done);
    write_project("MyProject", 1000, NULL);
    assert_string_equal(done.bytes, "frd");
    text_free(&done);
}

static void a_set_may_be_read_by_all_whatever_the_umask(void **state) {
    (void)state;
    struct stat status;
    char *file_path = memory_format("%s/MyProject.json", path);
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    mode_t before = umask(077);
    write_project("MyProject", 1000, NULL);
    umask(before);
    assert_int_equal(stat(file_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    free(file_path);
}

static void a_key_that_expires_tells_when_and_is_gone_then(void **state) {
    (void)state;
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.expires = 2000;
    fixture_put(fixture, jwk);
    int64_t expires = INT64_MAX;
    write_project("MyProject", 1999, &expires);
    assert_int_equal(expires, 2000);
    expires = INT64_MAX;
    write_project("MyProject", 2000, &expires);
    assert_int_equal(expires, INT64_MAX);
    assert_file("MyProject.json", "{\"keys\":[]}");
}

static void a_name_never_leaves_the_directory(void **state) {
    (void)state;
    struct state_jwk jwk = fixture_jwk(JWK_A, "one", 1, 1);
    jwk.project_name = "a b%\303\244";
    fixture_put(fixture, jwk);
    write_project("a b%\303\244", 1000, NULL);
    assert_file("a%20b%25%C3%A4.json", "{\"keys\":[" PUBLIC_A "]}");
    char long_name[256];
    memset(long_name, '%', 255);
    long_name[255] = '\0';
    struct state_jwk other = fixture_jwk(JWK_B, "one", 1, 1);
    other.project_id = JWK_C;
    other.project_name = long_name;
    fixture_put(fixture, other);
    write_project(long_name, 1000, NULL);
    DIR *listing = opendir(path);
    struct dirent *item;
    int hashed = 0;
    while ((item = readdir(listing)))
        hashed += strncmp(item->d_name, "sha256-", 7) == 0;
    closedir(listing);
    assert_int_equal(hashed, 1);
}

static void everything_is_written_and_what_is_unknown_is_removed(void **state) {
    (void)state;
    struct error error;
    int64_t expires = INT64_MAX;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    write_file("Old.json", "{\"keys\":[" PUBLIC_B "]}");
    write_file("notes.json", "{\"not\":\"ours\"}");
    write_file("MyProject.json", "{\"keys\":[{\"tampered\":true}]}");
    assert_int_equal(export_all(export, 1000, &expires, &error), 0);
    assert_file("MyProject.json", "{\"keys\":[" PUBLIC_A "]}");
    assert_file("Old.json", "");
    assert_file("notes.json", "{\"not\":\"ours\"}");
}

static void a_directory_that_is_gone_is_an_error_that_names_the_file(void **state) {
    (void)state;
    struct error error;
    int64_t expires = INT64_MAX;
    fixture_put(fixture, fixture_jwk(JWK_A, "one", 1, 1));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(export_project(export, "MyProject", 1000, &expires, &error), -1);
    assert_non_null(strstr(error.message, "MyProject.json"));
}

static void what_a_killed_worker_left_is_cleaned_up(void **state) {
    (void)state;
    struct error error;
    write_file(".jwk-worker-left", "half");
    export_close(export);
    export = export_open(path, fixture->readers, &error);
    assert_non_null(export);
    assert_file(".jwk-worker-left", "");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_set_is_written_and_replaced_only_when_it_differs),
        TEST(a_set_is_on_the_disk_before_it_has_its_name_and_that_name_before_it_counts),
        TEST(a_set_may_be_read_by_all_whatever_the_umask),
        TEST(a_key_that_expires_tells_when_and_is_gone_then),
        TEST(a_name_never_leaves_the_directory),
        TEST(everything_is_written_and_what_is_unknown_is_removed),
        TEST(a_directory_that_is_gone_is_an_error_that_names_the_file),
        TEST(what_a_killed_worker_left_is_cleaned_up),
    };
    return cmocka_run_group_tests_name("worker export", tests, NULL, NULL);
}
