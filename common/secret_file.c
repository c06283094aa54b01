/* Files that hold secrets. Who may read one is asked of the open file, so that it can not be exchanged in between. */
#include "common/secret_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/io.h"
#include "common/memory.h"

enum { ACL_ENTRIES_MAX = 64 };

static bool is_us_or_root(uid_t user) {
    return user == 0 || user == geteuid();
}

/* Whether an access control list lets nobody in but us and root. Its presence turns the group's mode bits into a mask: systemd
 * hands over credentials in files of root with mode 0440, where the list names the service's user. */
static bool list_is_private(const struct posix_acl_xattr_header *list, size_t size) {
    const struct posix_acl_xattr_entry *entries = (const struct posix_acl_xattr_entry *)(list + 1);
    if (size < sizeof *list || le32toh(list->a_version) != POSIX_ACL_XATTR_VERSION)
        return false;
    for (size_t i = 0; i < (size - sizeof *list) / sizeof *entries; i++) {
        unsigned tag = le16toh(entries[i].e_tag);
        bool is_ours = tag == ACL_USER_OBJ || tag == ACL_MASK || (tag == ACL_USER && is_us_or_root(le32toh(entries[i].e_id)));
        if (!is_ours && entries[i].e_perm != 0)
            return false;
    }
    return true;
}

static bool is_private(int file, const struct stat *status) {
    union {
        struct posix_acl_xattr_header header;
        unsigned char bytes[sizeof(struct posix_acl_xattr_header) + ACL_ENTRIES_MAX * sizeof(struct posix_acl_xattr_entry)];
    } list;
    if ((status->st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return true;
    ssize_t size = fgetxattr(file, "system.posix_acl_access", &list, sizeof list);
    return size > 0 && list_is_private(&list.header, (size_t)size);
}

static int check(const char *what, const char *path, int file, struct stat *status, struct error *error) {
    if (fstat(file, status) < 0)
        return error_set(error, ERROR_INVALID, "The %s %s can not be read: %s", what, path, strerror(errno));
    if (!S_ISREG(status->st_mode))
        return error_set(error, ERROR_INVALID, "The %s %s is not a regular file", what, path);
    if (!is_us_or_root(status->st_uid))
        return error_set(error, ERROR_DENIED,
                         "The %s %s belongs to another user (%u): it must belong to the user that runs this "
                         "(%u) or to root",
                         what, path, (unsigned)status->st_uid, (unsigned)geteuid());
    if (!is_private(file, status))
        return error_set(error, ERROR_DENIED, "The %s %s is open to other users (mode %04o): run chmod 600 %s", what, path,
                         (unsigned)status->st_mode & 07777, path);
    if (status->st_size == 0)
        return error_set(error, ERROR_INVALID, "The %s %s is empty", what, path);
    if (status->st_size > SECRET_FILE_MAX)
        return error_set(error, ERROR_INVALID, "The %s %s is larger than %d bytes", what, path, SECRET_FILE_MAX);
    return 0;
}

/* Reads size bytes; less when the file ends before. -1 on an error. */
static ssize_t read_all(int file, char *bytes, size_t size) {
    size_t length = 0;
    while (length < size) {
        ssize_t got = read(file, bytes + length, size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

int secret_file_read(const char *what, const char *path, struct text *content, struct error *error) {
    struct stat status;
    int result = -1;
    /* Without O_NONBLOCK a FIFO of that name would hold the start up for good. */
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0)
        return error_set(error, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_INVALID, "The %s %s can not be opened: %s", what,
                         path, strerror(errno));
    if (check(what, path, file, &status, error) < 0)
        goto out;
    size_t size = (size_t)status.st_size;
    text_reserve_secret(content, size + 1);
    /* One byte more than there should be tells a file that grows. */
    ssize_t length = read_all(file, content->bytes + content->length, size + 1);
    if (length == (ssize_t)size) {
        content->length += size;
        result = 0;
    } else if (length < 0) {
        error_set(error, ERROR_INVALID, "The %s %s can not be read: %s", what, path, strerror(errno));
    } else {
        error_set(error, ERROR_UNAVAILABLE, "The %s %s was changed while it was read", what, path);
    }
    content->bytes[content->length] = '\0';
out:
    close(file);
    return result;
}

/* The name of a new file is on the disk only with its directory. */
static int sync_directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *directory = !slash          ? memory_string(".")
                      : slash == path ? memory_string("/")
                                      : memory_bytes(path, (size_t)(slash - path));
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = file < 0 ? -1 : fsync(file);
    int reason = errno;
    if (file >= 0)
        close(file);
    free(directory);
    errno = reason;
    return result;
}

int secret_file_write_new(const char *what, const char *path, const char *content, size_t length, struct error *error) {
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (file < 0 && errno == EEXIST)
        return error_set(error, ERROR_CONFLICT, "The %s %s exists already; it was left as it is: give the name of a new file",
                         what, path);
    if (file < 0)
        return error_set(error, ERROR_INVALID, "The %s %s can not be made: %s", what, path, strerror(errno));
    /* The umask may have taken away more than others' rights. */
    int result = fchmod(file, S_IRUSR | S_IWUSR) < 0 || io_write_all(file, content, length) < 0 || fsync(file) < 0 ? -1 : 0;
    int reason = errno;
    if (close(file) < 0 && result == 0) {
        result = -1;
        reason = errno;
    }
    if (result == 0 && sync_directory_of(path) < 0) {
        result = -1;
        reason = errno;
    }
    if (result < 0) {
        unlink(path);
        return error_set(error, ERROR_INVALID, "The %s %s can not be written: %s", what, path, strerror(reason));
    }
    return 0;
}
