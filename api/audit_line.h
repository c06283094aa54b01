/* How a line of the audit trail reads: the one place that writes, reads and tells it.
 *
 * A line is one JSON object: its place in the chain ("sequence", and "previous": the base64url SHA-256 of the line before, ""
 * for the first), when, what sort, and what happened. A record of the topic is such lines and behind them one {"jws": …}, which
 * signs the sequence and the hash of the last of them and is itself no part of the chain. schemas/jwk-audit.schema.json
 * describes all. All functions are thread-safe. */
#ifndef API_AUDIT_LINE_H
#define API_AUDIT_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "common/identifier.h"
#include "common/text.h"

enum {
    AUDIT_LINE_MAX = 65536,        /* bytes of a line that is accepted from outside; ours stay far below */
    AUDIT_RECORD_MAX = 512 * 1024, /* bytes of lines in one record, below librdkafka's message.max.bytes with much room */
};

enum audit_type {
    AUDIT_CHANGE,         /* of a JWK: recorded, and sent as an event */
    AUDIT_OUTCOME,        /* what came of a change in one environment, so far */
    AUDIT_REFUSAL,        /* a call that was not allowed, or many of them */
    AUDIT_ADMINISTRATION, /* a command on the store, a token that was issued */
    AUDIT_START,          /* the API serves from here on */
    AUDIT_STOP,           /* it stopped in order: without this line before a start it was killed */
    AUDIT_OTHER,          /* of a later version of this program */
};
const char *audit_type_name(enum audit_type type);             /* "change", … */
int audit_type_parse(const char *name, enum audit_type *type); /* -1: there is none of that name */

/* What happened. Which members belong to which type is said beside them; the others are not looked at. A string that is NULL is
 * written as null. */
struct audit_entry {
    enum audit_type type;
    int64_t time;      /* wall ms; 0: now */
    const char *actor; /* whose token (change, refusal: NULL when not known, issued token), or the user of the system */
    /* change; the first of them outcome too */
    const char *deployment_id;
    const char *project, *jwk, *jwk_id, *operation, *event_id, *event_hash;
    const char *changed;    /* names of the fields that an update changed, separated by commas; NULL: none */
    int64_t epoch, version; /* epoch: start too */
    /* outcome */
    const char *environment, *message; /* message: NULL for the standard sentence of a success */
    bool settled, success;
    /* refusal; address: administration over HTTP too. status is 0, and all strings NULL, where different ones are summed up */
    int64_t status, count;
    const char *address, *method, *path;
    /* administration */
    const char *command, *object, *detail; /* "token create", its id, "roles …": never a secret */
    /* administration by command, start, stop: the numeric user id, -1 over HTTP; and who had logged in before any sudo */
    int64_t user_id;
    const char *login;
    const char *program_version; /* start */
};

/* Appends the line, without a line end. */
void audit_line_write(struct text *out, int64_t sequence, const char *previous, const struct audit_entry *entry);
/* Appends a line of ours with another place in the chain. */
void audit_line_move(struct text *out, const char *line, size_t length, int64_t sequence, const char *previous);
/* The place of a line of ours, which is trusted: its sequence, and whether it says that hash of the line before. */
int64_t audit_line_sequence(const char *line);
bool audit_line_follows(const char *line, const char *hash);

/* A line that was read. Strings point into it until audit_line_free(). */
struct audit_line {
    const char *jws; /* of a signature; all else is unused then. NULL: of an entry */
    int64_t sequence;
    const char *previous, *time, *type;
    struct audit_entry entry;
    void *storage;
};
/* Reads a line from outside, strictly: ERROR_INVALID with a sentence. Unknown members and types are taken. */
int audit_line_read(const char *bytes, size_t length, struct audit_line *line, struct error *error) MUST_CHECK;
void audit_line_free(struct audit_line *line);
/* Appends what an entry tells as one readable line, without a line end and without control characters. */
void audit_line_tell(const struct audit_line *line, struct text *out);

/* What a signature signs: {"sequence":N,"hash":"H"}. */
void audit_signed_write(struct text *out, int64_t sequence, const char *hash);
int audit_signed_read(const char *bytes, size_t length, int64_t *sequence, char hash[SHA256_TEXT_SIZE],
                      struct error *error) MUST_CHECK;

#endif
