/* Files that are replaced, never changed. */
#include "worker/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

#include "common/http.h"
#include "common/identifier.h"
#include "common/log.h"
#include "common/memory.h"

#define TEMPORARY_PREFIX ".jwk-worker-"
#define SET_BEGINNING "{\"keys\":["

struct export {
    char *path;
    int directory;
    struct state_reader_pool *readers;
};

static void remove_temporary_files(struct export *export) {
    DIR *listing = opendir(export->path);
    struct dirent *item;
    while (listing && (item = readdir(listing)))
        if (strncmp(item->d_name, TEMPORARY_PREFIX, sizeof TEMPORARY_PREFIX - 1) == 0)
            unlinkat(export->directory, item->d_name, 0);
    if (listing)
        closedir(listing);
}

struct export *export_open(const char *directory, struct state_reader_pool *readers, struct error *error) {
    if (mkdir(directory, 0755) != 0 && errno != EEXIST)
        return error_set(error, ERROR_UNAVAILABLE, "making the export directory %s: %s", directory, strerror(errno)), NULL;
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return error_set(error, ERROR_UNAVAILABLE, "opening the export directory %s: %s", directory, strerror(errno)), NULL;
    struct export *export = memory_new(sizeof *export);
    *export = (struct export){.path = memory_string(directory), .directory = descriptor, .readers = readers};
    remove_temporary_files(export);
    return export;
}

void export_close(struct export *export) {
    if (!export)
        return;
    close(export->directory);
    free(export->path);
    free(export);
}

/* The name of a project's file; freed by the caller. */
static char *file_name(const char *project_name) {
    char *encoded = http_encode_segment(project_name), *name;
    if (strlen(encoded) + sizeof ".json" - 1 <= 255) {
        name = memory_format("%s.json", encoded);
    } else {
        char hash[SHA256_TEXT_SIZE];
        sha256_text(project_name, strlen(project_name), hash);
        name = memory_format("sha256-%s.json", hash);
    }
    free(encoded);
    return name;
}

/* Whether the file holds exactly these bytes. */
static bool holds(struct export *export, const char *name, const struct text *body) {
    int file = openat(export->directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return false;
    struct stat status;
    bool same = fstat(file, &status) == 0 && S_ISREG(status.st_mode) && (uint64_t)status.st_size == body->length;
    char buffer[16384];
    for (size_t at = 0; same && at < body->length;) {
        ssize_t length = read(file, buffer, sizeof buffer);
        if (length <= 0 || (size_t)length > body->length - at)
            same = false;
        else
            same = memcmp(buffer, body->bytes + at, (size_t)length) == 0, at += (size_t)length;
    }
    close(file);
    return same;
}

static int write_all(int file, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -1;
        bytes += written;
        length -= (size_t)written;
    }
    return 0;
}

static int replace(struct export *export, const char *name, const struct text *body, struct error *error) {
    char temporary[sizeof TEMPORARY_PREFIX + UUID_SIZE] = TEMPORARY_PREFIX;
    uuid_new(temporary + sizeof TEMPORARY_PREFIX - 1);
    int file = openat(export->directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int failed = file < 0 || write_all(file, body->bytes, body->length) || fsync(file);
    int reason = errno;
    if (file >= 0 && close(file) != 0 && !failed) {
        failed = 1;
        reason = errno;
    }
    if (!failed && renameat(export->directory, temporary, export->directory, name) != 0) {
        failed = 1;
        reason = errno;
    }
    if (failed) {
        unlinkat(export->directory, temporary, 0);
        return error_set(error, ERROR_UNAVAILABLE, "writing %s/%s: %s", export->path, name, strerror(reason));
    }
    if (fsync(export->directory) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "writing the export directory %s: %s", export->path, strerror(errno));
    return 0;
}

int export_project(struct export *export, const char *project_name, int64_t now, int64_t *expires, struct error *error) {
    struct state_reader *reader = state_reader_take(export->readers, error);
    if (!reader)
        return -1;
    struct text body = TEXT_EMPTY;
    bool known = false;
    int64_t set_expires;
    int status = state_reader_key_set(reader, project_name, now, &body, &known, &set_expires, error);
    state_reader_give(export->readers, reader);
    if (status == 0 && known) {
        char *name = file_name(project_name);
        if (!holds(export, name, &body))
            status = replace(export, name, &body, error);
        free(name);
        if (set_expires < *expires)
            *expires = set_expires;
    }
    text_free(&body);
    return status;
}

/* ---- all of them ---- */

struct known_file {
    char *name;
    UT_hash_handle hh;
};

struct pass {
    char **projects;
    size_t count, capacity;
    struct known_file *files;
};

static void collect_project(void *context, const char *project_name) {
    struct pass *pass = context;
    if (pass->count == pass->capacity) {
        pass->capacity = pass->capacity ? pass->capacity * 2 : 64;
        pass->projects = memory_resize(pass->projects, pass->capacity * sizeof *pass->projects);
    }
    pass->projects[pass->count++] = memory_string(project_name);
    struct known_file *file = memory_new(sizeof *file);
    file->name = file_name(project_name);
    struct known_file *other;
    HASH_FIND_STR(pass->files, file->name, other);
    if (other) {
        free(file->name);
        free(file);
        return;
    }
    HASH_ADD_KEYPTR(hh, pass->files, file->name, strlen(file->name), file);
}

static bool looks_like_a_set(struct export *export, const char *name) {
    char beginning[sizeof SET_BEGINNING - 1];
    int file = openat(export->directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return false;
    bool is = read(file, beginning, sizeof beginning) == (ssize_t)sizeof beginning &&
              memcmp(beginning, SET_BEGINNING, sizeof beginning) == 0;
    close(file);
    return is;
}

/* A set whose project is not known any more would be trusted for ever. What is not a set of ours is left alone. */
static void remove_unknown(struct export *export, struct pass *pass) {
    DIR *listing = opendir(export->path);
    struct dirent *item;
    while (listing && (item = readdir(listing))) {
        struct known_file *file;
        size_t length = strlen(item->d_name);
        if (length < 5 || strcmp(item->d_name + length - 5, ".json") != 0)
            continue;
        HASH_FIND_STR(pass->files, item->d_name, file);
        if (!file && looks_like_a_set(export, item->d_name) && unlinkat(export->directory, item->d_name, 0) == 0)
            log_info("exported set removed: no such project", "file", item->d_name);
    }
    if (listing)
        closedir(listing);
}

int export_all(struct export *export, int64_t now, int64_t *expires, struct error *error) {
    struct state_reader *reader = state_reader_take(export->readers, error);
    if (!reader)
        return -1;
    struct pass pass = {0};
    int status = state_reader_each_project(reader, collect_project, &pass, error);
    state_reader_give(export->readers, reader);
    bool complete = status == 0;
    for (size_t i = 0; i < pass.count; i++) {
        if (complete && export_project(export, pass.projects[i], now, expires, status ? NULL : error))
            status = -1;
        free(pass.projects[i]);
    }
    if (complete)
        remove_unknown(export, &pass);
    struct known_file *file, *next;
    HASH_ITER(hh, pass.files, file, next) {
        HASH_DEL(pass.files, file);
        free(file->name);
        free(file);
    }
    free(pass.projects);
    return status;
}
