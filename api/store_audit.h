/* The audit trail in the store: its chain grows in the transaction of what it tells, and waits here until it is in Kafka.
 *
 * Lines are collected in memory and written once, by the commit: a transaction costs one row, whatever it tells, and no sync of
 * its own. What is rolled back takes its lines with it. */
#ifndef API_STORE_AUDIT_H
#define API_STORE_AUDIT_H

#include "audit_line.h"
#include "store.h"

/* The end of the chain. */
struct audit_head {
    int64_t sequence;            /* of the last line; 0: there is none yet */
    char hash[SHA256_TEXT_SIZE]; /* of that; "" */
};

/* Adds a line to the transaction; outside of one it is written at once. In a job that checks first (writer.h) only behind its
 * first write: its failure must take back the line. */
int store_audit(struct store *store, const struct audit_entry *entry, struct error *error) MUST_CHECK;
/* A line about the command or program that this process is: actor and login are put in. object and detail may be NULL. */
int store_audit_command(struct store *store, const char *command, const char *object, const char *detail,
                        struct error *error) MUST_CHECK;

/* Has written() called after each commit of this connection that added lines, in its thread. */
void store_audit_watch(struct store *store, void (*written)(void *context), void *context);

/* The end as it is stored. */
int store_audit_head(struct store *store, struct audit_head *head, struct error *error) MUST_CHECK;

/* Visits what waits, in order, from behind the line `after` on: rows of lines, each line but the last with a line end,
 * borrowed. Ends early when visit returns false. sequence is that of the row's last line. */
typedef bool store_audit_visitor(void *context, int64_t sequence, const char *lines, size_t length);
int store_audit_each(struct store *store, int64_t after, store_audit_visitor *visit, void *context,
                     struct error *error) MUST_CHECK;
/* How many lines wait. */
int store_audit_waiting(struct store *store, int64_t *lines, struct error *error) MUST_CHECK;
/* Removes the rows up to that line: they are in Kafka. */
int store_audit_remove(struct store *store, int64_t sequence, struct error *error) MUST_CHECK;

/* Where the topic ends, held against the store. */
enum audit_standing {
    AUDIT_FITS,  /* the next line to be sent follows the topic's last, or was sent already */
    AUDIT_LOST,  /* the topic has lost lines that were sent: it was made again or cut */
    AUDIT_AHEAD, /* the topic has lines that the store does not know, or others in their place: an older store was put back */
};
/* end: of the topic; sequence 0 when it is empty. */
int store_audit_compare(struct store *store, const struct audit_head *end, enum audit_standing *standing,
                        struct error *error) MUST_CHECK;
/* Moves what waits behind the end of the topic, and goes on from there: for a store that is the truth again though the topic is
 * ahead. Inside a transaction that has added no line yet. */
int store_audit_follow(struct store *store, const struct audit_head *end, struct error *error) MUST_CHECK;

#endif
