/* What this worker believes, and what it can prove: the API's keys, against which events are judged, and the credentials of its
 * environment, with which it opens private halves, enrols itself, and judges who else says to be its replica.
 *
 * Both come from files, which are read again when told to (SIGHUP), and when something was refused for want of a key and a file
 * has changed since. A worker without trust (NULL where a struct trust is asked for) believes everything and proves
 * nothing: for environments without keys.
 *
 * Used by the thread that applies, but for what is marked. */
#ifndef WORKER_TRUST_H
#define WORKER_TRUST_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cloudevent.h"
#include "common/error.h"
#include "common/message.h"
#include "common/signature.h"
#include "common/text.h"

struct trust;

enum { TRUST_CHECKERS_MAX = 4 }; /* threads that judge at once; the broker and those who are served need cores too */

/* Reads the files. api_keys (may be NULL) is a JWK Set in place of what the credentials say of the API's keys. Refused, each
 * with a sentence that says what to do: files that others may read, credentials of another environment, no key of the API. */
struct trust *trust_open(const char *environment, const char *credentials, const char *api_keys,
                         struct error *error) MUST_CHECK;
void trust_close(struct trust *trust); /* NULL is allowed */

/* Reads the files again. When they can not be used, what was believed stays. */
int trust_reload(struct trust *trust, struct error *error) MUST_CHECK;
/* The same, but only when a file has changed: whether something else was read. Costs two stat(). */
bool trust_look(struct trust *trust);
/* One more with each time that something else was read. */
uint64_t trust_generation(const struct trust *trust);
/* Names the API's keys and their ends: another text means that other events may be believed. "none" without trust. */
const char *trust_keys(const struct trust *trust);

/* Judges a record of jwk.events at now (wall, seconds) by the keys that are here. SIGNATURE_VALID without trust. error gets a
 * sentence for every other verdict. Several threads may judge at once while nothing else is asked of trust: each is a checker
 * (< TRUST_CHECKERS_MAX) of its own. */
enum signature_verdict trust_check_event(const struct trust *trust, size_t checker, const rd_kafka_message_t *record,
                                         const struct cloudevent *attributes, int64_t now, struct error *error) MUST_CHECK;
/* Whether other keys could come to another verdict. */
bool trust_verdict_may_change(enum signature_verdict verdict);
/* Judges a presence record by its enrolment and its replica key. Without trust as above. */
enum signature_verdict trust_check_presence(struct trust *trust, const rd_kafka_message_t *record,
                                            const struct cloudevent *attributes, const struct presence *presence, int64_t now,
                                            struct error *error) MUST_CHECK;
/* The enrolment of a replica key (public JWK, JSON text): a compact JWS, freed by the caller. */
char *trust_enrol(const struct trust *trust, const char *replica, const char *worker, const char *replica_key) MUST_CHECK;

/* Opens the private half of a JWK and holds it against its public one (NULL for an oct key; type as in struct event). The whole
 * JWK as JSON is appended, which the caller wipes. -1 with a sentence that says which keys it is sealed for, and which are here.
 * Thread-safe. */
int trust_open_private(struct trust *trust, const char *jwk_id, const char *type, const char *public_key, const char *sealed,
                       struct text *private_key, struct error *error) MUST_CHECK;

#endif
