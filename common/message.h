/* The messages of the three topics: what jwk-api and jwk-worker say to each other.
 *
 * Each is a CloudEvents 1.0 event in Kafka's binary content mode: its attributes are the record's headers (ce_id, ce_type, …),
 * its data the record's value, JSON as the schemas in schemas/ describe. Decoding is strict: a message that does not fit is
 * ERROR_INVALID, and nothing of it is used; unknown members are ignored, so that a newer sender can be read. */
#ifndef COMMON_MESSAGE_H
#define COMMON_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cloudevent.h"
#include "error.h"
#include "text.h"

enum {
    NAME_LENGTH_MAX = 255,          /* bytes of a project's, JWK's, environment's or replica's name */
    MESSAGE_SIZE_MAX = 1024 * 1024, /* bytes of a value that is accepted from a topic */
    EVENT_KEY_MAX = 900 * 1000,     /* bytes of the keys, sealed ones too, in an event that is sent: with all the rest below
                                     * librdkafka's message.max.bytes, or it would block the events behind it for ever */
    RETIRING_COUNT_MAX = 10,        /* keys of one JWK that are served beside its present one */
    POSITION_COUNT_MAX = 1024,      /* partitions of jwk.events */
    FAILING_COUNT_MAX = 100,        /* JWK ids that a heartbeat names */
    ACK_MESSAGE_MAX = 500,          /* bytes of an ack's sentence */
    REPLICA_KEY_MAX = 1024,         /* bytes of a replica key's JSON */
    ENROLMENT_MAX = 4096,           /* bytes of an enrolment */
};

/* The type of each message, in ce_type. */
#define EVENT_TYPE_CREATED      "jwk.created.v1"
#define EVENT_TYPE_UPDATED      "jwk.updated.v1"
#define EVENT_TYPE_DELETED      "jwk.deleted.v1"
#define EVENT_TYPE_REDEPLOYED   "jwk.redeployed.v1"
#define ACK_TYPE                "jwk.ack.v1"
/* All presence is in this partition, however many the topic has: the place of a hello orders those who say to be one replica. */
#define PRESENCE_PARTITION      0
#define PRESENCE_TYPE_HELLO     "jwk.worker.hello.v1"
#define PRESENCE_TYPE_HEARTBEAT "jwk.worker.heartbeat.v1"
#define PRESENCE_TYPE_GOODBYE   "jwk.worker.goodbye.v1"
#define AUDIT_TYPE              "jwk.audit.v1" /* its value is lines, not one message: api/audit_line.h */

enum event_operation { EVENT_CREATE, EVENT_UPDATE, EVENT_DELETE, EVENT_REDEPLOY };
const char *event_operation_name(enum event_operation operation); /* "create", … */
const char *event_operation_type(enum event_operation operation); /* its ce_type */

/* A key that a rotation has replaced, served beside the present one for the time of their overlap. */
struct event_retiring {
    const char *public_key; /* JSON text of the public half */
    int64_t until;          /* seconds since 1970: from then on it is not served */
};

/* jwk.events: the full state of one JWK after a change. Key: jwk_id. Strings are borrowed by encoding; decoding points into a
 * tree that event_free() frees. */
struct event {
    enum event_operation operation;
    const char *deployment_id; /* UUID */
    int64_t epoch;             /* of the store: orders before version */
    int64_t version;           /* of the JWK, from 1, one more with each change */
    int64_t sequence;          /* of the store: grows with each change of any JWK, in the order of commits */
    const char *project_id, *project_name;
    const char *jwk_id, *name;
    const char *description;               /* NULL when it has none */
    const char *type;                      /* "RSA", "EC", "OCT", "OKP" */
    const char *kid;                       /* NULL when it has none */
    const char *public_key;                /* JSON text of the public half; NULL for an oct key and for a delete */
    const char *private_key;               /* the whole JWK as a JWE for the environments with keys, its JSON text; NULL when
                                            * there is no private half, no such environment, or for a delete */
    const struct event_retiring *retiring; /* what it replaced last comes first */
    size_t retiring_count;                 /* at most RETIRING_COUNT_MAX; 0 for a delete */
    const char *actor;                     /* user name of the caller */
    const char *time;                      /* RFC 3339, of the commit */
    void *storage;                         /* of a decoded event */
};
void event_encode(const struct event *event, struct text *out);
int event_decode(const char *value, size_t length, struct event *event, struct error *error) MUST_CHECK;
void event_free(struct event *event);

enum ack_status { ACK_APPLIED, ACK_FAILED };
const char *ack_status_name(enum ack_status status); /* "applied", "failed" */

/* jwk.acks: what one replica did with one event. Key: deployment_id. */
struct ack {
    const char *deployment_id, *event_id; /* the event's deploymentId and ce_id */
    const char *event_hash;               /* SHA-256 of the event's value, base64url */
    const char *environment, *replica;
    const char *worker;  /* UUID of this start of the worker */
    int64_t incarnation; /* offset of this worker's hello in jwk.workers */
    const char *jwk_id;
    int64_t epoch, version, sequence;
    enum ack_status status;
    const char *message; /* why it failed: one line, nothing secret; NULL when applied */
    const char *time;
    void *storage;
};
void ack_encode(const struct ack *ack, struct text *out);
int ack_decode(const char *value, size_t length, struct ack *ack, struct error *error) MUST_CHECK;
void ack_free(struct ack *ack);

enum presence_kind { PRESENCE_HELLO, PRESENCE_HEARTBEAT, PRESENCE_GOODBYE };
const char *presence_kind_type(enum presence_kind kind);

/* How far a replica is in one partition of jwk.events: everything before `offset` is durably applied, and `sequence` is that of
 * the last event applied from it (0: none yet). */
struct position {
    int32_t partition;
    int64_t offset;
    int64_t sequence;
};

/* jwk.workers: that a replica is there and how far it is. Key: "environment/replica". */
struct presence {
    enum presence_kind kind; /* carried by ce_type */
    const char *environment, *replica;
    const char *worker;  /* UUID of this start */
    int64_t incarnation; /* offset of its hello; -1 in the hello itself, whose offset it is */
    int64_t epoch;       /* the store epoch that its state belongs to; 0 when it has seen no event yet */
    bool ready;          /* has passed the high watermarks seen at its start */
    int64_t keys;        /* JWKs it holds */
    int64_t interval_ms; /* until its next heartbeat */
    const char *url;     /* where it serves; NULL when not told */
    const char *version; /* of the program */
    const struct position *positions;
    size_t position_count;
    const char *const *failing; /* JWK ids whose last version is applied but whose hook fails */
    size_t failing_count;
    bool failing_truncated; /* there may be more: FAILING_COUNT_MAX are named, or which are is not known */
    const char *replica_key; /* public JWK (JSON text) that verifies this record and the worker's acks; NULL: it signs none */
    const char *enrolment;   /* compact JWS over it by a key of the environment (struct enrolment); NULL with replica_key */
    int64_t after;           /* of a hello: how far its worker knew jwk.workers; 0: not told, or nothing */
    int64_t number;          /* of what its worker has said since its start, from 1: each later record has a greater one, so that
                              * a copy of an old one is known as such; 0: not told (by a version before) */
    const char *time;
    void *storage;
};
void presence_encode(const struct presence *presence, struct text *out);
int presence_decode(const char *value, size_t length, enum presence_kind kind, struct presence *presence,
                    struct error *error) MUST_CHECK;
void presence_free(struct presence *presence);
/* Whether a hello at that offset makes its worker the present one of its replica. present: offset of the hello that does so
 * until now; -1: none. One that was written without knowing the present one counts for nothing, whoever put it there: it is a
 * copy of an old record, or lost a race and its worker says hello again. demanded: where workers are enrolled a hello must tell
 * `after`; elsewhere one that does not counts by its place alone. */
bool presence_hello_counts(const struct presence *hello, int64_t offset, int64_t present, bool demanded);

/* The payload of presence.enrolment: JSON {"environment", "replica", "worker", "jwk"}: that this start of a worker, which alone
 * has the private half of the replica key, belongs to the environment. */
struct enrolment {
    const char *environment, *replica, *worker;
    const char *jwk; /* JSON text of the public replica key */
    void *storage;
};
void enrolment_encode(const struct enrolment *enrolment, struct text *out);
int enrolment_decode(const char *value, size_t length, struct enrolment *enrolment, struct error *error) MUST_CHECK;
void enrolment_free(struct enrolment *enrolment);

/* Rules for names, in one place: not empty, at most NAME_LENGTH_MAX bytes, valid UTF-8 without control characters, without '/',
 * and not "." or "..". what ("JWK", "Project", …) begins the sentence. */
int name_check(const char *what, const char *name, struct error *error) MUST_CHECK;

#endif
