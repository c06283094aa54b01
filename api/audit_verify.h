/* Whether an audit trail is whole: the chain of its lines and the signatures over it, line after line, in bounded memory.
 *
 * It needs no store and no broker: lines come from a topic, a dump, wherever. A line that is there again, exactly as before, is
 * fine: records are sent again after a crash. Anything else that does not follow is a break: a line that was changed, left out,
 * put elsewhere or added, a signature that is forged or by nobody who is trusted, an end without a signature. That whole
 * records are missing at the very end cannot be told from the trail alone: only from a line that is known to be in it. */
#ifndef API_AUDIT_VERIFY_H
#define API_AUDIT_VERIFY_H

#include "audit_line.h"
#include "common/signature.h"

/* Where a line stands, for the sentence about a break. */
struct audit_place {
    int64_t offset; /* of its record; -1: of a file */
    int64_t line;   /* within the record or the file, from 1 */
};

/* A line that is known to be in the trail: from an earlier look at it. */
struct audit_known {
    int64_t sequence;            /* 0: none */
    char hash[SHA256_TEXT_SIZE]; /* ""; only its sequence is known */
};

enum audit_verdict {
    AUDIT_NEW,      /* an entry that follows; it is proved with the next AUDIT_SIGNED */
    AUDIT_REPEATED, /* one that was there before */
    AUDIT_SIGNED,   /* a signature over all entries so far */
    AUDIT_BROKEN,
};

struct audit_verifier;

/* keys: whose signatures are believed, judged at the time of what they sign; borrowed; NULL: signatures are not judged. */
struct audit_verifier *audit_verifier_new(struct verifier *keys, const struct audit_known *known);
void audit_verifier_free(struct audit_verifier *verifier); /* NULL is allowed */
/* Judges the next line, without its line end. *line is filled for AUDIT_NEW, and freed by the caller; error for AUDIT_BROKEN,
 * with sequence and place. After a break nothing more is to be asked. */
enum audit_verdict audit_verifier_take(struct audit_verifier *verifier, const char *bytes, size_t length,
                                       const struct audit_place *place, struct audit_line *line,
                                       struct error *error) MUST_CHECK;
/* Judges that the trail ends here. */
int audit_verifier_end(const struct audit_verifier *verifier, struct error *error) MUST_CHECK;
/* The last entry so far: what an auditor notes down. Sequence 0: there was none. */
void audit_verifier_last(const struct audit_verifier *verifier, struct audit_known *last);
int64_t audit_verifier_entries(const struct audit_verifier *verifier); /* new ones so far */

#endif
