/* The chain of evidence. */
#include "store_audit.h"

#include <stdlib.h>
#include <string.h>

#include "common/memory.h"
#include "operator.h"
#include "store_sql.h"

enum { KEPT_CAPACITY = 256 * 1024 }; /* of the collected lines' memory, from one transaction to the next */

/* ---- collecting ---- */

int store_audit_head(struct store *store, struct audit_head *head, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "SELECT audit_sequence, audit_hash FROM store WHERE id = 1", error);
    if (!statement)
        return -1;
    int row = store_step(store, statement, "reading the end of the audit trail", error);
    if (row < 0)
        return -1;
    if (row == 0)
        return error_set(error, ERROR_INVALID,
                         "the store has no end of its audit trail: put back a backup of the data directory");
    head->sequence = sqlite3_column_int64(statement, 0);
    snprintf(head->hash, sizeof head->hash, "%s", store_text(statement, 1));
    sqlite3_reset(statement);
    return 0;
}

static void append(struct audit_chain *chain, const struct audit_entry *entry) {
    size_t begin = chain->lines.length;
    audit_line_write(&chain->lines, ++chain->sequence, chain->hash, entry);
    sha256_text(chain->lines.bytes + begin, chain->lines.length - begin, chain->hash);
    text_add(&chain->lines, "\n", 1);
}

/* Adds a line within a transaction. */
static int add(struct store *store, const struct audit_entry *entry, struct error *error) {
    struct audit_chain *chain = &store->audit;
    if (!chain->known) {
        struct audit_head head;
        if (store_audit_head(store, &head, error))
            return -1;
        chain->known = true;
        chain->sequence = head.sequence;
        memcpy(chain->hash, head.hash, sizeof chain->hash);
    }
    append(chain, entry);
    return 0;
}

int store_audit(struct store *store, const struct audit_entry *entry, struct error *error) {
    if (store_in_transaction(store))
        return add(store, entry, error);
    if (store_begin(store, error))
        return -1;
    if (add(store, entry, error) == 0 && store_commit(store, error) == 0)
        return 0;
    store_rollback(store);
    return -1;
}

int store_audit_command(struct store *store, const char *command, const char *object, const char *detail, struct error *error) {
    const struct audit_entry entry = {.type = AUDIT_ADMINISTRATION,
                                      .actor = operator_name(),
                                      .user_id = operator_id(),
                                      .login = operator_login(),
                                      .command = command,
                                      .object = object,
                                      .detail = detail};
    return store_audit(store, &entry, error);
}

/* ---- the transaction's end ---- */

static int insert_row(struct store *store, int64_t sequence, const char *lines, size_t length, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "INSERT INTO audit_outbox (sequence, lines) VALUES (?1, ?2)", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, sequence);
    sqlite3_bind_text(statement, 2, lines, (int)length, SQLITE_STATIC);
    return store_run(store, statement, "writing to the audit trail", error);
}

static int set_head(struct store *store, int64_t sequence, const char *hash, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "UPDATE store SET audit_sequence = ?1, audit_hash = ?2 WHERE id = 1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, sequence);
    store_bind_text(statement, 2, hash);
    return store_run(store, statement, "moving the end of the audit trail", error);
}

/* Where a row of lines that begins at `at` ends: behind the last line end within the size of a record. */
static const char *row_end(const char *at, const char *end) {
    if (end - at <= AUDIT_RECORD_MAX)
        return end;
    const char *found = memrchr(at, '\n', AUDIT_RECORD_MAX);
    return found ? found + 1 : end; /* no line is that long */
}

int store_audit_write(struct store *store, struct error *error) {
    struct audit_chain *chain = &store->audit;
    if (chain->lines.length == 0)
        return 0;
    const char *end = chain->lines.bytes + chain->lines.length;
    for (const char *at = chain->lines.bytes, *next; at < end; at = next) {
        next = row_end(at, end);
        const char *last = memrchr(at, '\n', (size_t)(next - at - 1));
        if (insert_row(store, audit_line_sequence(last ? last + 1 : at), at, (size_t)(next - at - 1), error))
            return -1;
    }
    return set_head(store, chain->sequence, chain->hash, error);
}

void store_audit_end(struct store *store, bool written) {
    struct audit_chain *chain = &store->audit;
    bool told = written && chain->lines.length > 0;
    chain->known = false;
    if (chain->lines.capacity > KEPT_CAPACITY)
        text_free(&chain->lines);
    else
        text_reset(&chain->lines);
    if (told && chain->written)
        chain->written(chain->context);
}

void store_audit_savepoint(struct store *store) {
    struct audit_chain *chain = &store->audit;
    chain->savepoint_length = chain->lines.length;
    chain->savepoint_sequence = chain->sequence;
    memcpy(chain->savepoint_hash, chain->hash, sizeof chain->hash);
}

void store_audit_rollback_savepoint(struct store *store) {
    struct audit_chain *chain = &store->audit;
    if (chain->savepoint_length == 0) { /* the end that was read stays the transaction's, if it was read before */
        chain->known = false;
        text_reset(&chain->lines);
        return;
    }
    chain->lines.length = chain->savepoint_length;
    chain->lines.bytes[chain->lines.length] = '\0';
    chain->sequence = chain->savepoint_sequence;
    memcpy(chain->hash, chain->savepoint_hash, sizeof chain->hash);
}

void store_audit_watch(struct store *store, void (*written)(void *context), void *context) {
    store->audit.written = written;
    store->audit.context = context;
}

/* ---- what waits ---- */

int store_audit_each(struct store *store, int64_t after, store_audit_visitor *visit, void *context, struct error *error) {
    sqlite3_stmt *statement =
        store_statement(store, "SELECT sequence, lines FROM audit_outbox WHERE sequence > ?1 ORDER BY sequence", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, after);
    int row;
    while ((row = store_step(store, statement, "reading the audit trail", error)) == 1) {
        const char *lines = store_text(statement, 1);
        if (!visit(context, sqlite3_column_int64(statement, 0), lines, (size_t)sqlite3_column_bytes(statement, 1))) {
            sqlite3_reset(statement);
            return 0;
        }
    }
    return row;
}

static bool note_first(void *context, int64_t sequence, const char *lines, size_t length) {
    (void)sequence, (void)length;
    *(int64_t *)context = audit_line_sequence(lines);
    return false;
}

int store_audit_waiting(struct store *store, int64_t *lines, struct error *error) {
    struct audit_head head;
    int64_t first = 0; /* nothing waits */
    if (store_audit_each(store, 0, note_first, &first, error) || store_audit_head(store, &head, error))
        return -1;
    *lines = first > 0 ? head.sequence - first + 1 : 0;
    return 0;
}

int store_audit_remove(struct store *store, int64_t sequence, struct error *error) {
    sqlite3_stmt *statement = store_statement(store, "DELETE FROM audit_outbox WHERE sequence <= ?1", error);
    if (!statement)
        return -1;
    store_bind_integer(statement, 1, sequence);
    return store_run(store, statement, "clearing the audit trail", error);
}

/* ---- the topic's end ---- */

struct comparison {
    const struct audit_head *end;
    int64_t first;               /* of all that waits; 0: nothing does */
    bool follows;                /* that says the hash of the topic's end as that of the line before */
    char hash[SHA256_TEXT_SIZE]; /* of the line with the sequence of the topic's end; "" when it does not wait */
};

static bool compare_row(void *context, int64_t last, const char *lines, size_t length) {
    struct comparison *comparison = context;
    if (comparison->first == 0) {
        comparison->first = audit_line_sequence(lines);
        comparison->follows = audit_line_follows(lines, comparison->end->hash);
    }
    const char *end = lines + length;
    for (const char *at = lines, *next; last >= comparison->end->sequence && at < end; at = next + 1) {
        next = memchr(at, '\n', (size_t)(end - at));
        next = next ? next : end;
        if (audit_line_sequence(at) == comparison->end->sequence)
            sha256_text(at, (size_t)(next - at), comparison->hash);
    }
    return last < comparison->end->sequence;
}

int store_audit_compare(struct store *store, const struct audit_head *end, enum audit_standing *standing, struct error *error) {
    struct comparison comparison = {.end = end};
    struct audit_head head;
    if (store_audit_head(store, &head, error) || store_audit_each(store, 0, compare_row, &comparison, error))
        return -1;
    int64_t sent = comparison.first ? comparison.first - 1 : head.sequence; /* the last line that is known to be in Kafka */
    if (end->sequence > head.sequence)
        *standing = AUDIT_AHEAD;
    else if (end->sequence < sent)
        *standing = AUDIT_LOST;
    else if (end->sequence == head.sequence)
        *standing = strcmp(end->hash, head.hash) == 0 ? AUDIT_FITS : AUDIT_AHEAD;
    else if (end->sequence > sent)
        *standing = strcmp(end->hash, comparison.hash) == 0 ? AUDIT_FITS : AUDIT_AHEAD;
    else
        *standing = comparison.follows ? AUDIT_FITS : AUDIT_AHEAD;
    return 0;
}

static bool collect_row(void *context, int64_t sequence, const char *lines, size_t length) {
    (void)sequence;
    text_add(context, lines, length);
    text_add(context, "\n", 1);
    return true;
}

int store_audit_follow(struct store *store, const struct audit_head *end, struct error *error) {
    struct audit_chain *chain = &store->audit;
    struct text waiting = TEXT_EMPTY;
    int status = store_audit_each(store, 0, collect_row, &waiting, error);
    if (status == 0)
        status = store_audit_remove(store, INT64_MAX, error);
    if (status == 0) {
        chain->known = true;
        chain->sequence = end->sequence;
        memcpy(chain->hash, end->hash, sizeof chain->hash);
        text_reset(&chain->lines);
        for (const char *at = waiting.bytes, *next; at && *at; at = next + 1) {
            next = strchr(at, '\n');
            size_t begin = chain->lines.length;
            audit_line_move(&chain->lines, at, (size_t)(next - at), ++chain->sequence, chain->hash);
            sha256_text(chain->lines.bytes + begin, chain->lines.length - begin, chain->hash);
            text_add(&chain->lines, "\n", 1);
        }
        status = set_head(store, chain->sequence, chain->hash, error);
    }
    text_free(&waiting);
    return status;
}
