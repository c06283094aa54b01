/* One run of the operator's program for one change: no shell, a process group of its own, bounded in time.
 *
 * The program gets JWK_OPERATION, JWK_PROJECT, JWK_NAME, JWK_ID, JWK_VERSION, JWK_ENVIRONMENT, JWK_REPLICA and JWK_KID (absent
 * when the JWK has none) in its environment and the JWK on standard input: the public one, or the whole one where the caller
 * gives that. It is empty when there is none (a deleted or a symmetric key). Its standard output is dropped. Exit status 0 is success; its last line on standard error tells why it
 * failed. */
#ifndef WORKER_HOOK_H
#define WORKER_HOOK_H

#include <stdint.h>

#include "common/error.h"
#include "common/message.h"

struct hook_change {
    const char *environment, *replica;
    const char *operation, *project, *name, *id;
    int64_t version;
    const char *kid; /* may be NULL */
    const char *jwk; /* for its standard input; may be NULL */
};

/* Runs program and waits for it, at most timeout_ms: then its process group is killed. 0 on success; -1 with a message of one
 * line, at most ACK_MESSAGE_MAX bytes of UTF-8 without control characters. May be called from one thread at a time or several.
 */
int hook_run(const char *program, long timeout_ms, const struct hook_change *change, struct error *error) MUST_CHECK;

/* Makes text fit to be an ack's message: one line, control characters and invalid UTF-8 replaced, cut at a character's edge.
 * size is that of out, at most ACK_MESSAGE_MAX + 1 is used. */
void hook_clean_message(const char *text, size_t length, char *out, size_t size);

#endif
