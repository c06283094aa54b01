/* Whole JWKs as files. */
#include "worker/private_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

#include "common/hash.h"
#include "common/identifier.h"
#include "common/log.h"
#include "common/memory.h"
#include "worker/file.h"

#define SUFFIX ".jwk"

enum { STEP_FILES = 20 }; /* of one step, each of which may be synced to disk */

/* Where the file of a JWK is. */
struct place {
    char jwk_id[UUID_SIZE];
    char *project_name, *name;
    bool is_waiting; /* in the list of the round */
    struct place *prev, *next;
    UT_hash_handle hh;
};

struct private_files {
    char *path;
    int directory;
    struct state_reader_pool *readers;
    struct trust *trust;
    struct place *places;  /* a table by JWK id */
    struct place *waiting; /* those that the round has not come to yet */
    size_t unopened;
};

/* ---- places ---- */

static void place_free(struct private_files *files, struct place *place) {
    if (place->is_waiting)
        DL_DELETE(files->waiting, place);
    HASH_DEL(files->places, place);
    free(place->project_name);
    free(place->name);
    free(place);
}

static void forget_places(struct private_files *files) {
    struct place *place, *next;
    HASH_ITER (hh, files->places, place, next) {
        place_free(files, place);
    }
}

static struct place *add_place(struct private_files *files, const char *jwk_id, const char *project_name, const char *name) {
    struct place *place = memory_new(sizeof *place);
    snprintf(place->jwk_id, sizeof place->jwk_id, "%s", jwk_id);
    place->project_name = memory_string(project_name);
    place->name = memory_string(name);
    HASH_ADD_STR(files->places, jwk_id, place);
    return place;
}

/* ---- opening ---- */

struct private_files *private_files_open(const char *directory, struct state_reader_pool *readers, struct trust *trust,
                                         struct error *error) {
    struct stat status;
    if (mkdir(directory, 0700) != 0 && errno != EEXIST)
        return error_set(error, ERROR_UNAVAILABLE, "making the private key directory %s: %s", directory, strerror(errno)), NULL;
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        error_set(error, ERROR_UNAVAILABLE, "opening the private key directory %s: %s", directory, strerror(errno));
        goto failed;
    }
    if ((status.st_mode & 077) != 0) {
        error_set(error, ERROR_DENIED, "the private key directory %s can be read or written by others (mode %03o); run: chmod 700 %s",
                  directory, (unsigned)(status.st_mode & 0777), directory);
        goto failed;
    }
    struct private_files *files = memory_new(sizeof *files);
    *files = (struct private_files){
        .path = memory_string(directory), .directory = descriptor, .readers = readers, .trust = trust};
    file_remove_temporary(descriptor, directory);
    return files;
failed:
    if (descriptor >= 0)
        close(descriptor);
    return NULL;
}

void private_files_close(struct private_files *files) {
    if (!files)
        return;
    forget_places(files);
    close(files->directory);
    free(files->path);
    free(files);
}

/* ---- one file ---- */

static int fail(const struct private_files *files, const char *what, const char *directory, const char *name,
                struct error *error) {
    return error_set(error, ERROR_UNAVAILABLE, "%s %s/%s%s%s: %s", what, files->path, directory, name ? "/" : "",
                     name ? name : "", strerror(errno));
}

/* Removes a file, and its directory with the last one. What is not there need not be removed. */
static int remove_file(struct private_files *files, const char *directory, const char *name, struct error *error) {
    int descriptor = openat(files->directory, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0)
        return errno == ENOENT ? 0 : fail(files, "opening", directory, NULL, error);
    int status = unlinkat(descriptor, name, 0) == 0 ? fsync(descriptor) : errno == ENOENT ? 0 : -1;
    if (status)
        fail(files, "removing", directory, name, error);
    close(descriptor);
    if (status == 0 && unlinkat(files->directory, directory, AT_REMOVEDIR) == 0 && fsync(files->directory) != 0)
        status = fail(files, "removing", directory, NULL, error);
    return status;
}

static int write_file(struct private_files *files, const char *directory, const char *name, const struct text *private_key,
                      struct error *error) {
    bool is_new = mkdirat(files->directory, directory, 0700) == 0;
    int descriptor = openat(files->directory, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0 || (is_new && fsync(files->directory) != 0)) {
        fail(files, "making", directory, NULL, error);
        if (descriptor >= 0)
            close(descriptor);
        return -1;
    }
    int status = 0;
    if (!file_holds(descriptor, name, private_key->bytes, private_key->length) &&
        file_replace(files->directory, descriptor, name, 0600, private_key->bytes, private_key->length))
        status = fail(files, "writing", directory, name, error);
    close(descriptor);
    return status;
}

/* What the state holds under a name. */
struct found {
    struct private_files *files;
    const struct private_opened *opened; /* of the JWK of that id; or NULL */
    const char *opened_id;
    bool has_private;
    struct text private_key;
    int status;
    struct error *error;
};

static void open_found(void *context, const struct state_jwk *jwk) {
    struct found *found = context;
    const struct private_opened *opened = found->opened;
    if (!jwk->sealed)
        return;
    found->has_private = true;
    if (opened && strcmp(jwk->id, found->opened_id) == 0 && jwk->epoch == opened->epoch && jwk->version == opened->version)
        text_add(&found->private_key, opened->private_key->bytes, opened->private_key->length);
    else
        found->status = trust_open_private(found->files->trust, jwk->id, jwk->type, jwk->public_key, jwk->sealed,
                                           &found->private_key, found->error);
}

static int refresh(struct private_files *files, const char *project_name, const char *name, const char *opened_id,
                   const struct private_opened *opened, struct error *error) {
    struct found found = {.files = files, .opened = opened, .opened_id = opened_id, .error = error};
    struct state_reader *reader = state_reader_take(files->readers, error);
    if (!reader)
        return -1;
    int status = state_reader_find_private(reader, project_name, name, open_found, &found, error);
    state_reader_give(files->readers, reader);
    if (status == 0)
        status = found.status;
    char *directory = file_name(project_name, ""), *file = file_name(name, SUFFIX);
    if (status == 0)
        status = found.has_private ? write_file(files, directory, file, &found.private_key, error)
                                   : remove_file(files, directory, file, error);
    free(directory);
    free(file);
    text_wipe(&found.private_key);
    return status;
}

/* ---- a change ---- */

/* Whether the state still has it, and where: it may be ahead of the change. */
struct now {
    bool has_private;
    char *project_name, *name;
};

static void note_now(void *context, const struct state_jwk *jwk) {
    struct now *now = context;
    if (jwk->deleted || !jwk->sealed)
        return;
    now->has_private = true;
    now->project_name = memory_string(jwk->project_name);
    now->name = memory_string(jwk->name);
}

int private_files_update(struct private_files *files, const char *jwk_id, const char *project_name, const char *name,
                         const struct private_opened *opened, struct error *error) {
    struct place *before, former = {0};
    struct now now = {0};
    struct state_reader *reader = state_reader_take(files->readers, error);
    if (!reader)
        return -1;
    int status = state_reader_visit(reader, jwk_id, note_now, &now, error);
    state_reader_give(files->readers, reader);
    if (status)
        return -1;
    HASH_FIND_STR(files->places, jwk_id, before);
    bool project_renamed = before && now.has_private && strcmp(before->project_name, now.project_name) != 0;
    if (before) {
        former.project_name = memory_string(before->project_name);
        former.name = memory_string(before->name);
        place_free(files, before);
    }
    if (now.has_private)
        add_place(files, jwk_id, now.project_name, now.name);
    if (former.name && (strcmp(former.project_name, project_name) != 0 || strcmp(former.name, name) != 0))
        status = refresh(files, former.project_name, former.name, jwk_id, opened, error);
    if (status == 0)
        status = refresh(files, project_name, name, jwk_id, opened, error);
    if (status && former.name) {
        /* Tried again, with its former name known. */
        HASH_FIND_STR(files->places, jwk_id, before);
        if (before)
            place_free(files, before);
        add_place(files, jwk_id, former.project_name, former.name);
    }
    /* Every file of a project moves with its name, though only one of its JWKs has changed. */
    if (status == 0 && project_renamed)
        status = private_files_begin_all(files, error);
    free(former.project_name);
    free(former.name);
    free(now.project_name);
    free(now.name);
    return status;
}

/* ---- all of them ---- */

static void collect(void *context, const struct state_jwk *jwk) {
    struct private_files *files = context;
    struct place *place = add_place(files, jwk->id, jwk->project_name, jwk->name);
    place->is_waiting = true;
    DL_APPEND(files->waiting, place);
}

int private_files_begin_all(struct private_files *files, struct error *error) {
    struct state_reader *reader = state_reader_take(files->readers, error);
    if (!reader)
        return -1;
    forget_places(files);
    files->unopened = 0;
    int status = state_reader_each_private(reader, collect, files, error);
    state_reader_give(files->readers, reader);
    return status;
}

struct known_file {
    char *path;
    UT_hash_handle hh;
};

static struct known_file *know_files(const struct private_files *files) {
    struct known_file *known = NULL, *file, *other;
    for (const struct place *place = files->places; place; place = place->hh.next) {
        char *directory = file_name(place->project_name, ""), *name = file_name(place->name, SUFFIX);
        file = memory_new(sizeof *file);
        file->path = memory_format("%s/%s", directory, name);
        free(directory);
        free(name);
        HASH_FIND_STR(known, file->path, other);
        if (other) {
            free(file->path);
            free(file);
        } else {
            HASH_ADD_KEYPTR(hh, known, file->path, strlen(file->path), file);
        }
    }
    return known;
}

/* Removes of one project's directory what is no JWK's; what does not look like a file of ours is left alone. */
static int sweep_directory(struct private_files *files, const char *directory, struct known_file *known, struct error *error) {
    char *path = memory_format("%s/%s", files->path, directory);
    DIR *listing = opendir(path);
    struct dirent *item;
    int status = 0;
    while (listing && (item = readdir(listing))) {
        size_t length = strlen(item->d_name);
        if (length < sizeof SUFFIX || strcmp(item->d_name + length - (sizeof SUFFIX - 1), SUFFIX) != 0)
            continue;
        char *its_path = memory_format("%s/%s", directory, item->d_name);
        struct known_file *file;
        HASH_FIND_STR(known, its_path, file);
        if (!file && remove_file(files, directory, item->d_name, status ? NULL : error))
            status = -1;
        else if (!file)
            log_info("private key file removed: no such JWK", "file", its_path);
        free(its_path);
    }
    if (listing)
        closedir(listing);
    free(path);
    return status;
}

static int sweep(struct private_files *files, struct error *error) {
    struct known_file *known = know_files(files), *file, *next;
    DIR *listing = opendir(files->path);
    struct dirent *item;
    int status = 0;
    while (listing && (item = readdir(listing)))
        if (item->d_type != DT_REG && strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0 &&
            sweep_directory(files, item->d_name, known, status ? NULL : error))
            status = -1;
    if (listing)
        closedir(listing);
    HASH_ITER (hh, known, file, next) {
        HASH_DEL(known, file);
        free(file->path);
        free(file);
    }
    return status;
}

int private_files_step(struct private_files *files, bool *done, struct error *error) {
    *done = false;
    for (int i = 0; i < STEP_FILES && files->waiting; i++) {
        struct place *place = files->waiting;
        struct error problem;
        if (refresh(files, place->project_name, place->name, NULL, NULL, &problem)) {
            if (problem.code != ERROR_NOT_FOUND && problem.code != ERROR_INVALID)
                return *error = problem, -1;
            if (files->unopened++ == 0)
                log_warning("private half can not be opened", "jwk", place->jwk_id, "reason", problem.message);
        }
        DL_DELETE(files->waiting, place);
        place->is_waiting = false;
    }
    if (files->waiting)
        return 0;
    *done = true;
    if (files->unopened > 0)
        log_warning("private halves can not be opened: their files are missing or old", "count", LOG_NUMBER(files->unopened));
    return sweep(files, error);
}

bool private_files_is_unfinished(const struct private_files *files) { return files->waiting != NULL; }
size_t private_files_unopened(const struct private_files *files) { return files->unopened; }
