/* Writing beside and renaming. */
#include "worker/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/http.h"
#include "common/identifier.h"
#include "common/io.h"
#include "common/memory.h"

#define TEMPORARY_PREFIX ".jwk-worker-"

enum { FILE_NAME_MAX = 255 };

char *file_name(const char *name, const char *suffix) {
    char *encoded = http_encode_segment(name), *result;
    if (strlen(encoded) + strlen(suffix) <= FILE_NAME_MAX) {
        result = memory_format("%s%s", encoded, suffix);
    } else {
        char hash[SHA256_TEXT_SIZE];
        sha256_text(name, strlen(name), hash);
        result = memory_format("sha256-%s%s", hash, suffix);
    }
    free(encoded);
    return result;
}

bool file_holds(int directory, const char *name, const void *bytes, size_t length) {
    int file = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return false;
    struct stat status;
    bool same = fstat(file, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == length;
    char buffer[16384];
    for (size_t at = 0; same && at < length;) {
        ssize_t got = read(file, buffer, sizeof buffer);
        if (got <= 0 || (size_t)got > length - at)
            same = false;
        else
            same = memcmp(buffer, (const char *)bytes + at, (size_t)got) == 0, at += (size_t)got;
    }
    OPENSSL_cleanse(buffer, sizeof buffer);
    close(file);
    return same;
}

int file_replace(int temporary, int directory, const char *name, mode_t mode, const void *bytes, size_t length) {
    char other[sizeof TEMPORARY_PREFIX + UUID_SIZE] = TEMPORARY_PREFIX;
    uuid_new(other + sizeof TEMPORARY_PREFIX - 1);
    int file = openat(temporary, other, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    /* The mode is what was asked for, whatever the umask. */
    int failed = file < 0 || io_write_all(file, bytes, length) || fchmod(file, mode) || fsync(file);
    int reason = errno;
    if (file >= 0 && close(file) != 0 && !failed) {
        failed = 1;
        reason = errno;
    }
    if (!failed && renameat(temporary, other, directory, name) != 0) {
        failed = 1;
        reason = errno;
    }
    if (failed) {
        unlinkat(temporary, other, 0);
        errno = reason;
        return -1;
    }
    return fsync(directory);
}

void file_remove_temporary(int directory, const char *path) {
    DIR *listing = opendir(path);
    struct dirent *item;
    while (listing && (item = readdir(listing)))
        if (strncmp(item->d_name, TEMPORARY_PREFIX, sizeof TEMPORARY_PREFIX - 1) == 0)
            unlinkat(directory, item->d_name, 0);
    if (listing)
        closedir(listing);
}
