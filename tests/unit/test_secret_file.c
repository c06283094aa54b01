/* Files with secrets: who may read and write them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/secret_file.h"
#include "fsync_recorder.h"

#define SECRET "correct horse battery staple\n"

static char directory[] = "/tmp/test_secret_file.XXXXXX";
static char *path;

static int set_up(void **state) {
    (void)state;
    assert_non_null(mkdtemp(directory));
    path = memory_format("%s/a-secret", directory);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    rmdir(directory);
    free(path);
    return 0;
}

/* Makes the file anew. */
static void put(const char *content, size_t length, mode_t mode) {
    unlink(path);
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(file >= 0);
    assert_int_equal(write(file, content, length), (ssize_t)length);
    assert_int_equal(fchmod(file, mode), 0);
    close(file);
}

static void assert_reads(const char *expected) {
    struct error error = {0};
    struct text content = TEXT_EMPTY;
    if (secret_file_read("master key file", path, &content, &error) < 0)
        fail_msg("%s", error.message);
    assert_string_equal(content.bytes, expected);
    assert_int_equal(content.length, strlen(expected));
    text_wipe(&content);
}

static void assert_not_read(const char *of, enum error_code code, const char *why) {
    struct error error = {0};
    struct text content = TEXT_EMPTY;
    assert_int_equal(secret_file_read("master key file", of, &content, &error), -1);
    char *expected = memory_format("The master key file %s %s", of, why);
    if (strncmp(error.message, expected, strlen(expected)) != 0)
        fail_msg("expected \"%s\", got: %s", expected, error.message);
    assert_int_equal(error.code, code);
    assert_null(strstr(error.message, "horse"));
    assert_int_equal(content.length, 0);
    free(expected);
    text_wipe(&content);
}

static void a_private_file_is_read_whole(void **state) {
    (void)state;
    put(SECRET, sizeof SECRET - 1, 0600);
    assert_reads(SECRET);
    put(SECRET, sizeof SECRET - 1, 0400);
    assert_reads(SECRET);
}

static void content_is_appended(void **state) {
    (void)state;
    struct error error = {0};
    struct text content = TEXT_EMPTY;
    put(SECRET, sizeof SECRET - 1, 0600);
    text_add_string(&content, "before ");
    assert_int_equal(secret_file_read("master key file", path, &content, &error), 0);
    assert_string_equal(content.bytes, "before " SECRET);
    text_wipe(&content);
}

static void files_that_others_may_use_are_refused(void **state) {
    (void)state;
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0666, 0777};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        put(SECRET, sizeof SECRET - 1, modes[i]);
        char *why = memory_format("is open to other users (mode %04o): run chmod 600 %s", (unsigned)modes[i], path);
        assert_not_read(path, ERROR_DENIED, why);
        free(why);
    }
}

static void files_of_others_are_refused(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip(); /* only root gives files away */
    put(SECRET, sizeof SECRET - 1, 0600);
    assert_int_equal(chown(path, 12345, (gid_t)-1), 0);
    assert_not_read(path, ERROR_DENIED, "belongs to another user (12345): it must belong to the user that runs this (0) or to root");
}

/* As systemd hands over a credential: the list names one user beside the owner, and the group's bits are its mask. */
static int put_list(uint32_t user, unsigned user_rights, unsigned group_rights) {
    const struct {
        struct posix_acl_xattr_header header;
        struct posix_acl_xattr_entry entries[5];
    } list = {
        {htole32(POSIX_ACL_XATTR_VERSION)},
        {{htole16(ACL_USER_OBJ), htole16(ACL_READ), htole32(UINT32_MAX)},
         {htole16(ACL_USER), htole16((uint16_t)user_rights), htole32(user)},
         {htole16(ACL_GROUP_OBJ), htole16((uint16_t)group_rights), htole32(UINT32_MAX)},
         {htole16(ACL_MASK), htole16(ACL_READ), htole32(UINT32_MAX)},
         {htole16(ACL_OTHER), 0, htole32(UINT32_MAX)}},
    };
    return setxattr(path, "system.posix_acl_access", &list, sizeof list, 0);
}

static void access_control_lists_are_understood(void **state) {
    (void)state;
    struct stat status;
    put(SECRET, sizeof SECRET - 1, 0600);
    if (put_list(geteuid(), ACL_READ, 0) < 0)
        skip(); /* the file system has none */
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0440);
    assert_reads(SECRET);
    assert_int_equal(put_list(geteuid() + 4242, ACL_READ, 0), 0);
    assert_not_read(path, ERROR_DENIED, "is open to other users (mode 0440)");
    assert_int_equal(put_list(geteuid() + 4242, 0, 0), 0);
    assert_reads(SECRET);
    assert_int_equal(put_list(geteuid(), ACL_READ, ACL_READ), 0);
    assert_not_read(path, ERROR_DENIED, "is open to other users (mode 0440)");
}

static void what_is_no_sensible_file_is_refused(void **state) {
    (void)state;
    put("", 0, 0600);
    assert_not_read(path, ERROR_INVALID, "is empty");
    char *large = memory_new(SECRET_FILE_MAX + 1);
    memset(large, 'x', SECRET_FILE_MAX + 1);
    put(large, SECRET_FILE_MAX + 1, 0600);
    assert_not_read(path, ERROR_INVALID, "is larger than 262144 bytes");
    put(large, SECRET_FILE_MAX, 0600);
    large[SECRET_FILE_MAX] = '\0';
    assert_reads(large);
    free(large);
    assert_not_read(directory, ERROR_INVALID, "is not a regular file");
    unlink(path);
    assert_not_read(path, ERROR_NOT_FOUND, "can not be opened: No such file or directory");
    /* A pipe that nobody writes to keeps nobody waiting. */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_not_read(path, ERROR_INVALID, "is not a regular file");
}

static void a_new_file_is_for_its_owner_alone(void **state) {
    (void)state;
    static const mode_t umasks[] = {0, 022, 0777};
    for (size_t i = 0; i < sizeof umasks / sizeof umasks[0]; i++) {
        struct error error = {0};
        struct stat status;
        unlink(path);
        mode_t before = umask(umasks[i]);
        int result = secret_file_write_new("credentials file", path, SECRET, sizeof SECRET - 1, &error);
        umask(before);
        if (result < 0)
            fail_msg("%s", error.message);
        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0600);
        assert_reads(SECRET);
    }
}

/* Credentials that are told to be there may be all that opens what is sealed. */
static void a_new_file_outlives_a_loss_of_power(void **state) {
    (void)state;
    struct error error = {0};
    unlink(path);
    text_reset(&done);
    assert_int_equal(secret_file_write_new("credentials file", path, SECRET, sizeof SECRET - 1, &error), 0);
    assert_string_equal(done.bytes, "fd");
    text_free(&done);
}

static void what_is_there_is_left_alone(void **state) {
    (void)state;
    struct error error = {0};
    put("mine", 4, 0600);
    assert_int_equal(secret_file_write_new("credentials file", path, SECRET, sizeof SECRET - 1, &error), -1);
    assert_int_equal(error.code, ERROR_CONFLICT);
    char *expected = memory_format("The credentials file %s exists already; it was left as it is: give the name of a new file", path);
    assert_string_equal(error.message, expected);
    free(expected);
    assert_reads("mine");
    /* Nor is written through a link that waits there. */
    unlink(path);
    char *target = memory_format("%s/elsewhere", directory);
    assert_int_equal(symlink(target, path), 0);
    assert_int_equal(secret_file_write_new("credentials file", path, SECRET, sizeof SECRET - 1, &error), -1);
    assert_int_equal(error.code, ERROR_CONFLICT);
    assert_int_equal(access(target, F_OK), -1);
    free(target);
}

static void a_file_that_can_not_be_made_is_told(void **state) {
    (void)state;
    struct error error = {0};
    char *nowhere = memory_format("%s/none/file", directory);
    assert_int_equal(secret_file_write_new("credentials file", nowhere, SECRET, 1, &error), -1);
    char *expected = memory_format("The credentials file %s can not be made: No such file or directory", nowhere);
    assert_string_equal(error.message, expected);
    assert_int_equal(error.code, ERROR_INVALID);
    free(expected);
    free(nowhere);
}

/* With a limit of the file's size the second half can not be written. */
static void half_a_file_is_taken_away(void **state) {
    (void)state;
    struct error error = {0};
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 10;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    unlink(path);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int result = secret_file_write_new("credentials file", path, SECRET, sizeof SECRET - 1, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(result, -1);
    assert_non_null(strstr(error.message, "can not be written: File too large"));
    assert_int_equal(access(path, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_private_file_is_read_whole),
        cmocka_unit_test(content_is_appended),
        cmocka_unit_test(files_that_others_may_use_are_refused),
        cmocka_unit_test(files_of_others_are_refused),
        cmocka_unit_test(access_control_lists_are_understood),
        cmocka_unit_test(what_is_no_sensible_file_is_refused),
        cmocka_unit_test(a_new_file_is_for_its_owner_alone),
        cmocka_unit_test(a_new_file_outlives_a_loss_of_power),
        cmocka_unit_test(what_is_there_is_left_alone),
        cmocka_unit_test(a_file_that_can_not_be_made_is_told),
        cmocka_unit_test(half_a_file_is_taken_away),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
