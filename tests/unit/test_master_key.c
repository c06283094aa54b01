/* Master keys: what a source of them may hold, and what is said of one that does not do. */
#include "store_fixture.h"

#include "api/master_key.h"
#include "common/base64url.h"
#include "common/secret_file.h"
#include "common/text.h"

#define LINE_LENGTH 43
/* Its id, by other code than ours: head -c 8 of the base64url of SHA-256("jwk-api master key" || 00 01 … 1f). */
#define MASTER_KEY_ID "YYiv1eYn"

struct files {
    char directory[64];
    char *path, *program;
};

static int set_up(void **state) {
    struct files *files = memory_new(sizeof *files);
    directory_make(files->directory);
    files->path = memory_format("%s/master-key", files->directory);
    files->program = memory_format("%s/program", files->directory);
    unsetenv("CREDENTIALS_DIRECTORY");
    *state = files;
    return 0;
}

static int tear_down(void **state) {
    struct files *files = *state;
    unsetenv("CREDENTIALS_DIRECTORY");
    unlink(files->program);
    directory_remove(files->directory);
    free(files->path);
    free(files->program);
    free(files);
    return 0;
}

/* The line of the key whose bytes are all number. */
static void make_line(unsigned char number, char line[LINE_LENGTH + 1]) {
    unsigned char bytes[MASTER_KEY_BYTES];
    memset(bytes, number, sizeof bytes);
    base64url_encode(bytes, sizeof bytes, line);
}

static void expect_keys(const struct master_key_source *source, size_t count, const unsigned char *numbers) {
    struct master_keys keys;
    SUCCEEDS(master_keys_read(source, &keys, &error));
    assert_int_equal(keys.count, count);
    for (size_t i = 0; i < count; i++) {
        unsigned char bytes[MASTER_KEY_BYTES];
        memset(bytes, numbers[i], sizeof bytes);
        assert_memory_equal(keys.items[i].bytes, bytes, sizeof bytes);
    }
    master_keys_clear(&keys);
    assert_int_equal(keys.count, 0);
    assert_null(keys.where);
}

/* Refused with this sentence; %s in it is what names the source. Nothing is left behind. */
static void expect_refusal(const struct master_key_source *source, const char *sentence) {
    struct master_keys keys = {.count = 7};
    struct error error = {0};
    assert_int_equal(master_keys_read(source, &keys, &error), -1);
    assert_string_equal(error.message, sentence);
    assert_int_equal(error.code, ERROR_INVALID);
    assert_int_equal(keys.count, 0);
    assert_null(keys.where);
}

/* The same of a file with these lines; the sentence goes on behind its path. */
static void expect_lines_refused(const struct files *files, const char *lines, const char *sentence) {
    char *whole = memory_format("master key file %s%s", files->path, sentence);
    fixture_write_file(files->path, lines);
    expect_refusal(&(struct master_key_source){.file = files->path}, whole);
    free(whole);
}

static void write_program(const struct files *files, const char *text) {
    unlink(files->program);
    fixture_write_file(files->program, text);
    assert_int_equal(chmod(files->program, 0700), 0);
}

/* ---- lines ---- */

static void the_first_key_comes_first_and_comments_and_blank_lines_are_passed_over(void **state) {
    struct files *files = *state;
    char first[LINE_LENGTH + 1], second[LINE_LENGTH + 1];
    make_line(200, first);
    make_line(3, second);
    char *lines = memory_format("# in use since today\n\n \t %s \t\r\n  # the one before\n\t\n%s", first, second);
    fixture_write_file(files->path, lines);
    expect_keys(&(struct master_key_source){.file = files->path}, 2, (unsigned char[]){200, 3});
    free(lines);
}

static void a_key_is_named_by_its_hash_and_found_by_its_name(void **state) {
    struct files *files = *state;
    char other[LINE_LENGTH + 1];
    struct master_keys keys;
    make_line(1, other);
    char *lines = memory_format("%s\n" MASTER_KEY_LINE, other);
    fixture_write_file(files->path, lines);
    SUCCEEDS(master_keys_read(&(struct master_key_source){.file = files->path}, &keys, &error));
    assert_string_equal(keys.items[1].id, MASTER_KEY_ID);
    assert_string_not_equal(keys.items[0].id, MASTER_KEY_ID);
    assert_ptr_equal(master_keys_find(&keys, MASTER_KEY_ID), &keys.items[1]);
    assert_ptr_equal(master_keys_find(&keys, keys.items[0].id), &keys.items[0]);
    assert_null(master_keys_find(&keys, "AAAAAAAA"));
    assert_null(master_keys_find(&keys, ""));
    /* Where they come from, for sentences. */
    char *where = memory_format("master key file %s", files->path);
    assert_string_equal(keys.where, where);
    free(where);
    master_keys_clear(&keys);
    free(lines);
}

static void a_line_that_is_no_key_is_refused_by_its_number_and_not_shown(void **state) {
#define NO_KEY(number) ": line " number " is no master key: 32 bytes in base64url (43 characters) are wanted"
    struct files *files = *state;
    char whole[LINE_LENGTH + 1];
    make_line(0x5a, whole);
    expect_lines_refused(files, "secret\n", NO_KEY("1"));
    /* One character less and one more. */
    char *lines = memory_format("# a comment\n%.42s\n", whole);
    expect_lines_refused(files, lines, NO_KEY("2"));
    free(lines);
    lines = memory_format(MASTER_KEY_LINE "\n%sA\n", whole);
    expect_lines_refused(files, lines, NO_KEY("3"));
    free(lines);
    /* Many more than there is room for. */
    lines = memory_new(20001);
    memset(lines, 'A', 20000);
    expect_lines_refused(files, lines, NO_KEY("1"));
    free(lines);
    /* Padding, the other alphabet, white space and a comment within, bits that no byte has. */
    static const char *const endings[] = {"=", "+", "/", " ", "#", "*", "\xc3"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        lines = memory_format("%.20s%s%s\n", whole, endings[i], whole + 21);
        expect_lines_refused(files, lines, NO_KEY("1"));
        free(lines);
    }
    lines = memory_format("%.42s%c\n", whole, 'B');
    expect_lines_refused(files, lines, NO_KEY("1"));
    free(lines);
    lines = memory_format("%s %s\n", whole, whole);
    expect_lines_refused(files, lines, NO_KEY("1"));
    free(lines);
#undef NO_KEY
}

static void a_byte_that_is_no_text_is_no_white_space(void **state) {
    struct files *files = *state;
    static const char line[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\0\n";
    FILE *file = fopen(files->path, "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_int_equal(fwrite(line, 1, sizeof line - 1, file), sizeof line - 1);
    assert_int_equal(fclose(file), 0);
    char *sentence = memory_format(
        "master key file %s: line 1 is no master key: 32 bytes in base64url (43 characters) are wanted", files->path);
    expect_refusal(&(struct master_key_source){.file = files->path}, sentence);
    free(sentence);
}

static void the_same_key_twice_is_refused(void **state) {
    struct files *files = *state;
    char other[LINE_LENGTH + 1];
    make_line(9, other);
    char *lines = memory_format(MASTER_KEY_LINE "%s\n# again\n" MASTER_KEY_LINE, other);
    expect_lines_refused(files, lines, ": line 4 holds the key " MASTER_KEY_ID " once more");
    free(lines);
}

static void there_are_as_many_keys_as_there_may_be_and_no_more(void **state) {
    struct files *files = *state;
    struct text lines = TEXT_EMPTY;
    char line[LINE_LENGTH + 1];
    unsigned char numbers[MASTER_KEYS_MAX];
    for (unsigned char i = 0; i < MASTER_KEYS_MAX; i++) {
        numbers[i] = i;
        make_line(i, line);
        text_add_format(&lines, "%s\n", line);
    }
    fixture_write_file(files->path, lines.bytes);
    expect_keys(&(struct master_key_source){.file = files->path}, MASTER_KEYS_MAX, numbers);
    make_line(MASTER_KEYS_MAX, line);
    text_add_format(&lines, "%s\n", line);
    expect_lines_refused(files, lines.bytes, ": more than 16 keys");
    text_free(&lines);
}

static void a_source_without_a_key_is_refused(void **state) {
    struct files *files = *state;
    expect_lines_refused(files, "# nothing yet\n\n", " holds no key");
    expect_lines_refused(files, "\n", " holds no key");
}

/* ---- files ---- */

static void a_file_that_others_may_read_is_refused(void **state) {
    struct files *files = *state;
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601};
    fixture_write_file(files->path, MASTER_KEY_LINE);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        struct master_keys keys;
        struct error error = {0};
        assert_int_equal(chmod(files->path, modes[i]), 0);
        assert_int_equal(master_keys_read(&(struct master_key_source){.file = files->path}, &keys, &error), -1);
        assert_non_null(strstr(error.message, "master key file"));
        assert_non_null(strstr(error.message, "chmod"));
        assert_int_equal(error.code, ERROR_INVALID);
    }
    assert_int_equal(chmod(files->path, 0400), 0);
    struct master_keys keys;
    SUCCEEDS(master_keys_read(&(struct master_key_source){.file = files->path}, &keys, &error));
    master_keys_clear(&keys);
}

static void a_missing_and_an_empty_file_are_refused(void **state) {
    struct files *files = *state;
    struct master_keys keys;
    struct error error = {0};
    assert_int_equal(master_keys_read(&(struct master_key_source){.file = files->path}, &keys, &error), -1);
    assert_non_null(strstr(error.message, files->path));
    assert_int_equal(error.code, ERROR_INVALID);
    fixture_write_file(files->path, "");
    assert_int_equal(master_keys_read(&(struct master_key_source){.file = files->path}, &keys, &error), -1);
    assert_non_null(strstr(error.message, "empty"));
}

/* ---- programs ---- */

static void a_program_prints_the_keys(void **state) {
    struct files *files = *state;
    const struct master_key_source source = {.command = files->program};
    char line[LINE_LENGTH + 1];
    make_line(77, line);
    char *text = memory_format("#!/bin/sh\necho '# from the vault'\necho %s\n", line);
    write_program(files, text);
    expect_keys(&source, 1, (unsigned char[]){77});
    free(text);
    /* It is given nothing to read, and no file of ours but the standard ones. */
    int output[2];
    assert_int_equal(pipe(output), 0);
    text = memory_format("#!/bin/sh\ncat\ntest -e /proc/$$/fd/%d && exit 9\ntest -e /proc/$$/fd/%d && exit 9\necho %s\n",
                         output[0], output[1], line);
    write_program(files, text);
    expect_keys(&source, 1, (unsigned char[]){77});
    close(output[0]);
    close(output[1]);
    free(text);
}

static void a_program_that_fails_is_refused_whatever_it_prints(void **state) {
    struct files *files = *state;
    const struct master_key_source source = {.command = files->program};
    char *sentence = memory_format("master key command %s ended with status 3", files->program);
    write_program(files, "#!/bin/sh\necho " MASTER_KEY_LINE "exit 3\n");
    expect_refusal(&source, sentence);
    free(sentence);
    sentence = memory_format("master key command %s was ended by signal 15", files->program);
    write_program(files, "#!/bin/sh\necho " MASTER_KEY_LINE "kill -TERM $$\n");
    expect_refusal(&source, sentence);
    free(sentence);
    sentence = memory_format("master key command %s holds no key", files->program);
    write_program(files, "#!/bin/sh\n");
    expect_refusal(&source, sentence);
    free(sentence);
    sentence = memory_format("master key command %s prints more than %d bytes", files->program, SECRET_FILE_MAX);
    write_program(files, "#!/bin/sh\nexec cat /dev/zero\n");
    expect_refusal(&source, sentence);
    free(sentence);
    sentence = memory_format("starting the master key command %s: No such file or directory", files->program);
    unlink(files->program);
    expect_refusal(&source, sentence);
    free(sentence);
}

/* ---- credentials ---- */

static void a_credential_is_taken_by_its_name_and_the_usual_one_without(void **state) {
    struct files *files = *state;
    const struct master_key_source none = {0}, usual = {.credential = "master-key"}, other = {.credential = "program"};
    char line[LINE_LENGTH + 1];
    make_line(5, line);
    assert_false(master_key_source_is_given(&none));
    assert_true(master_key_source_is_given(&usual));
    expect_refusal(&none, MASTER_KEY_MISSING);
    expect_refusal(&usual,
                   "--master-key-credential master-key: there are no credentials here ($CREDENTIALS_DIRECTORY is not set); let "
                   "systemd hand it over with LoadCredential=master-key:FILE");
    setenv("CREDENTIALS_DIRECTORY", "", 1);
    assert_false(master_key_source_is_given(&none));
    setenv("CREDENTIALS_DIRECTORY", files->directory, 1);
    assert_false(master_key_source_is_given(&none)); /* the directory has none of that name */
    expect_refusal(&none, MASTER_KEY_MISSING);
    fixture_write_file(files->path, line);
    assert_true(master_key_source_is_given(&none));
    expect_keys(&none, 1, (unsigned char[]){5});
    expect_keys(&usual, 1, (unsigned char[]){5});
    make_line(6, line);
    fixture_write_file(files->program, line);
    expect_keys(&other, 1, (unsigned char[]){6});
    /* An option goes before what is there without one. */
    expect_keys(&(struct master_key_source){.file = files->program}, 1, (unsigned char[]){6});
    struct master_keys keys;
    SUCCEEDS(master_keys_read(&other, &keys, &error));
    assert_string_equal(keys.where, "credential program");
    master_keys_clear(&keys);
}

static void the_name_of_a_credential_leads_nowhere_else(void **state) {
    struct files *files = *state;
    setenv("CREDENTIALS_DIRECTORY", files->directory, 1);
    expect_refusal(&(struct master_key_source){.credential = "../etc/key"},
                   "--master-key-credential ../etc/key: a name is wanted, without a slash");
    expect_refusal(&(struct master_key_source){.credential = ""},
                   "--master-key-credential : a name is wanted, without a slash");
}

static void keys_come_from_one_source(void **state) {
    struct files *files = *state;
    static const char sentence[] =
        "Give one of --master-key-file, --master-key-command and --master-key-credential, not several";
    fixture_write_file(files->path, MASTER_KEY_LINE);
    expect_refusal(&(struct master_key_source){.file = files->path, .command = "/bin/true"}, sentence);
    expect_refusal(&(struct master_key_source){.file = files->path, .credential = "master-key"}, sentence);
    expect_refusal(&(struct master_key_source){.command = "/bin/true", .credential = "master-key"}, sentence);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_key_comes_first_and_comments_and_blank_lines_are_passed_over, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_is_named_by_its_hash_and_found_by_its_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_that_is_no_key_is_refused_by_its_number_and_not_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_byte_that_is_no_text_is_no_white_space, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_same_key_twice_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(there_are_as_many_keys_as_there_may_be_and_no_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_source_without_a_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_others_may_read_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_and_an_empty_file_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_program_prints_the_keys, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_program_that_fails_is_refused_whatever_it_prints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_credential_is_taken_by_its_name_and_the_usual_one_without, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_name_of_a_credential_leads_nowhere_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_come_from_one_source, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
