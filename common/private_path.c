/* Where a program keeps what nobody else may see. */
#include "private_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int private_file_make(const char *what, const char *directory, const char *path, struct error *error) {
    struct stat owner, status;
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), result = -1;
    if (file < 0)
        return errno == EEXIST ? 0
                               : error_set(error, error_code_of(errno), "making the %s %s: %s", what, path, strerror(errno));
    if (stat(directory, &owner) == 0 && fstat(file, &status) == 0 &&
        (owner.st_uid == status.st_uid || fchown(file, owner.st_uid, owner.st_gid) == 0))
        result = 0;
    else
        error_set(error, ERROR_INVALID, "giving the %s %s to the owner of its directory: %s; run this as that user", what, path,
                  strerror(errno));
    if (result)
        unlink(path); /* that user could not open it */
    close(file);
    return result;
}

static int refuse(const char *what, const char *path, const struct stat *status, struct error *error) {
    return error_set(error, ERROR_DENIED, "%s %s can be read or written by others (mode %03o); run: chmod %s %s", what, path,
                     (unsigned)(status->st_mode & 0777), S_ISDIR(status->st_mode) ? "700" : "600", path);
}

int private_directory_make(const char *what, const char *option, const char *path, struct error *error) {
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_set(error, error_code_of(errno),
                     "making the %s %s: %s; make it for the user that runs this, or give another one with %s", what, path,
                     strerror(errno), option);
}

int private_directory_check(const char *what, const char *path, struct error *error) {
    struct stat status;
    if (stat(path, &status) != 0)
        return error_set(error, error_code_of(errno), "%s %s: %s", what, path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return error_set(error, ERROR_INVALID, "%s %s is not a directory", what, path);
    if (access(path, X_OK) != 0 && errno == EACCES)
        return error_set(error, ERROR_DENIED, "%s %s: %s; it belongs to user %u: run this as that user", what, path,
                         strerror(errno), (unsigned)status.st_uid);
    return status.st_mode & 077 ? refuse(what, path, &status, error) : 0;
}

int private_file_check(const char *what, const char *path, struct error *error) {
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? 0 : error_set(error, ERROR_UNAVAILABLE, "%s %s: %s", what, path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_DENIED, "%s %s is not a regular file", what, path);
    bool may_be_changed = access(path, R_OK | W_OK) == 0;
    if (!may_be_changed && errno == EACCES)
        return error_set(error, ERROR_DENIED, "%s %s: %s; it belongs to user %u: run as root: chown %u %s", what, path,
                         strerror(errno), (unsigned)status.st_uid, (unsigned)geteuid(), path);
    if (!may_be_changed)
        return error_set(error, error_code_of(errno), "%s %s: %s", what, path, strerror(errno));
    return status.st_mode & 077 ? refuse(what, path, &status, error) : 0;
}
