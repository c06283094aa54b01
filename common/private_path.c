/* Where a program keeps what nobody else may see. */
#include "private_path.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static int refuse(const char *what, const char *path, const struct stat *status, struct error *error) {
    return error_set(error, ERROR_DENIED, "%s %s can be read or written by others (mode %03o); run: chmod %s %s", what, path,
                     (unsigned)(status->st_mode & 0777), S_ISDIR(status->st_mode) ? "700" : "600", path);
}

int private_directory_check(const char *what, const char *path, struct error *error) {
    struct stat status;
    if (stat(path, &status) != 0)
        return error_set(error, ERROR_INVALID, "%s %s: %s", what, path, strerror(errno));
    if (!S_ISDIR(status.st_mode))
        return error_set(error, ERROR_INVALID, "%s %s is not a directory", what, path);
    return status.st_mode & 077 ? refuse(what, path, &status, error) : 0;
}

int private_file_check(const char *what, const char *path, struct error *error) {
    struct stat status;
    if (lstat(path, &status) != 0)
        return errno == ENOENT ? 0 : error_set(error, ERROR_UNAVAILABLE, "%s %s: %s", what, path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return error_set(error, ERROR_DENIED, "%s %s is not a regular file", what, path);
    return status.st_mode & 077 ? refuse(what, path, &status, error) : 0;
}
