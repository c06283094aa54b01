/* Files that are replaced, never changed. */
#include "worker/export.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hash.h"
#include "common/log.h"
#include "common/memory.h"
#include "worker/file.h"

#define SET_BEGINNING "{\"keys\":["

struct export {
    char *path;
    int directory;
    struct state_reader_pool *readers;
};

struct export *export_open(const char *directory, struct state_reader_pool *readers, struct error *error) {
    bool is_new = mkdir(directory, 0755) == 0;
    /* Public keys are for whoever verifies: the umask is for the rest. */
    if ((!is_new && errno != EEXIST) || (is_new && chmod(directory, 0755) != 0))
        return error_set(error, ERROR_UNAVAILABLE, "making the export directory %s: %s", directory, strerror(errno)), NULL;
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return error_set(error, ERROR_UNAVAILABLE, "opening the export directory %s: %s", directory, strerror(errno)), NULL;
    struct export *export = memory_new(sizeof *export);
    *export = (struct export){.path = memory_string(directory), .directory = descriptor, .readers = readers};
    file_remove_temporary(descriptor, directory);
    return export;
}

void export_close(struct export *export) {
    if (!export)
        return;
    close(export->directory);
    free(export->path);
    free(export);
}

static int replace(struct export *export, const char *name, const struct text *body, struct error *error) {
    if (file_replace(export->directory, export->directory, name, 0644, body->bytes, body->length) == 0)
        return 0;
    return error_set(error, ERROR_UNAVAILABLE, "writing %s/%s: %s", export->path, name, strerror(errno));
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
        char *name = file_name(project_name, ".json");
        if (!file_holds(export->directory, name, body.bytes, body.length))
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
    file->name = file_name(project_name, ".json");
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
    HASH_ITER (hh, pass.files, file, next) {
        HASH_DEL(pass.files, file);
        free(file->name);
        free(file);
    }
    free(pass.projects);
    return status;
}
