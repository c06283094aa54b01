/* Copying a store while it is used. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory.h"
#include "store_check.h"
#include "store_sql.h"

/* In one step, from one snapshot: a copy in several begins again with each commit of another process (sqlite.org/backup.html).
 */
static int copy(struct store *store, sqlite3 *target, struct error *error) {
    sqlite3_backup *backup = sqlite3_backup_init(target, "main", store->db, "main");
    if (!backup)
        return error_set(error, ERROR_INTERNAL, "copying the store: %s", sqlite3_errmsg(target));
    int step = sqlite3_backup_step(backup, -1), finish = sqlite3_backup_finish(backup);
    if (step == SQLITE_DONE && finish == SQLITE_OK)
        return 0;
    return error_set(error, ERROR_UNAVAILABLE, "copying the store: %s", sqlite3_errstr(step == SQLITE_DONE ? finish : step));
}

/* A copy that can not be read is worse than none. */
static int check_copy(sqlite3 *target, struct error *error) {
    sqlite3_stmt *statement = NULL;
    const char *finding = NULL;
    if (sqlite3_prepare_v2(target, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        finding = store_text(statement, 0);
    int status = finding && strcmp(finding, "ok") == 0
                     ? 0
                     : error_set(error, ERROR_INVALID, "the copy is damaged, as is the store: %s; run 'jwk-api check'",
                                 finding ? finding : sqlite3_errmsg(target));
    sqlite3_finalize(statement);
    return status;
}

/* Copies into the file of that name, which is there and empty. */
static int copy_to_file(struct store *store, const char *path, struct error *error) {
    sqlite3 *target = NULL;
    int status;
    if (sqlite3_open_v2(path, &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        status = error_set(error, ERROR_INVALID, "opening %s: %s", path, sqlite3_errmsg(target));
    /* Whether it is complete is told by its name: it needs no journal of its own. */
    else if (sqlite3_exec(target, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF", NULL, NULL, NULL) != SQLITE_OK)
        status = error_set(error, ERROR_INVALID, "writing %s: %s", path, sqlite3_errmsg(target));
    else
        status = copy(store, target, error) || check_copy(target, error) ? -1 : 0;
    sqlite3_close(target);
    return status;
}

/* The name of a file is on the disk only with its directory. */
static int sync_directory_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *directory = slash ? memory_bytes(path, (size_t)(slash - path) + 1) : memory_string(".");
    int file = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), status = file < 0 ? -1 : fsync(file);
    free(directory);
    if (file >= 0)
        close(file);
    return status;
}

static int refuse_existing(const char *path, struct error *error) {
    return access(path, F_OK) == 0 ? error_set(error, ERROR_CONFLICT, "%s exists already; it was left as it is", path) : 0;
}

/* Whose file it is, is who reads the backup, whatever its mode says by now: also when a superuser writes it. */
static int refuse_anothers(const char *path, int file, struct error *error) {
    struct stat status;
    if (fstat(file, &status) != 0)
        return error_set(error, ERROR_INVALID, "making %s: %s", path, strerror(errno));
    if (status.st_uid == geteuid() && status.st_nlink == 1)
        return 0;
    return error_set(error, ERROR_DENIED, "%s is there already, as a file of user %u with %lu names: remove it", path,
                     (unsigned)status.st_uid, (unsigned long)status.st_nlink);
}

int store_backup(struct store *store, const char *path, struct error *error) {
    char *partial = memory_format("%s.partial", path);
    int file = -1, status = -1;
    if (refuse_existing(path, error))
        goto out;
    file = open(partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        error_set(error, ERROR_INVALID, "making %s: %s", partial, strerror(errno));
        goto out;
    }
    if (refuse_anothers(partial, file, error))
        goto out;
    /* Held by whoever writes it: what a backup that was killed has left is begun anew. */
    if (flock(file, LOCK_EX | LOCK_NB) != 0) {
        error_set(error, ERROR_CONFLICT, "%s is being written already", partial);
        goto out;
    }
    /* Whoever had it until now may have completed it since it was opened here: then it is that backup. */
    if (refuse_existing(path, error))
        goto out;
    if (fchmod(file, 0600) != 0 || ftruncate(file, 0) != 0) {
        error_set(error, ERROR_INVALID, "making %s: %s", partial, strerror(errno));
        goto out;
    }
    if (copy_to_file(store, partial, error)) {
        unlink(partial);
        goto out;
    }
    if (fsync(file) != 0 || renameat2(AT_FDCWD, partial, AT_FDCWD, path, RENAME_NOREPLACE) != 0 ||
        sync_directory_of(path) != 0) {
        error_set(error, errno == EEXIST ? ERROR_CONFLICT : ERROR_INVALID, "writing %s: %s", path, strerror(errno));
        unlink(partial);
        goto out;
    }
    status = 0;
out:
    if (file >= 0)
        close(file);
    free(partial);
    return status;
}
