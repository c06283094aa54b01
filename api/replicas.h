/* Which replicas of which environment are there, as jwk.workers tells.
 *
 * Owned by the gatherer's thread. A replica is known by environment and name; each start of its worker is a new incarnation,
 * ordered by the offset of its hello. It is connected from its hello or heartbeat until its goodbye or until its heartbeats
 * stop, and live (its ack is expected) while it is connected and ready. Replicas are kept for the life of the process, so
 * pointers to them stay valid; their number is bounded. */
#ifndef API_REPLICAS_H
#define API_REPLICAS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/hash.h"
#include "common/message.h"

enum {
    ENVIRONMENTS_MAX = 1000,     /* environments that are tracked, known to the store or not */
    REPLICAS_MAX = 10000,        /* replicas that are tracked, of all environments … */
    UNPROVEN_MAX = 5000,         /* … and of those that have no keys: whoever can write to the topic can invent that many */
    MISSED_HEARTBEATS = 3,       /* a replica is offline after this many intervals … */
    HEARTBEAT_SLACK_MS = 1000,   /* … and this much for delays on the way */
    REPLICA_FORGET_MS = 86400000 /* a replica offline for a day is not spoken of any more */
};

/* After the events topic was made again, what was deployed up to `from` is published again, up to `until` (INT64_MAX: it is
 * under way): only a position behind that tells that a replica has it. */
struct sequence_floor {
    int64_t from, until;
};

struct replica {
    char name[NAME_LENGTH_MAX + 1], worker[UUID_SIZE];
    struct replica_environment *environment;
    const struct sequence_floor *floor; /* of the table */
    int64_t incarnation;                /* offset of the current worker's hello; -1: none seen */
    int64_t passed_over;                /* offset of the last hello that did not count; -1: none */
    int64_t number;                     /* of the last record of that worker that counted; 0: it numbers none */
    struct enrolled *enrolled;          /* of the current worker; NULL: it is not enrolled. Owned */
    int64_t epoch;
    bool is_ahead;                    /* it follows a store that was adopted later: what it has is not of this one */
    bool connected, ready, left;      /* left: said goodbye */
    int64_t seen_at;                  /* monotonic ms at which its last record was read */
    int64_t interval_ms;              /* of its heartbeats */
    int64_t offline_wall, offline_at; /* wall and monotonic ms at which that was written: offline since then, if it is */
    int64_t keys;
    struct position *positions;
    size_t position_count;
    char (*failing)[UUID_SIZE]; /* JWKs whose hook fails there */
    size_t failing_count;
    bool failing_truncated;
    struct replica *next; /* of the environment */
};

struct replica_environment {
    char name[NAME_LENGTH_MAX + 1];
    struct replica *replicas;
    int64_t left_at;          /* monotonic ms at which its last live replica went; INT64_MIN: there was none since the start */
    bool unsettled;           /* the store may hold pending results that a position settles … */
    uint64_t unsettled_stamp; /* … and this counts when that was noted */
    bool settling;            /* a job that settles them is under way */
    struct roster *roster;    /* of its replicas as they are; NULL: none is made yet. One reference, owned */
    UT_hash_handle hh;
};

struct replica_table {
    struct sequence_floor floor;
    int64_t epoch;  /* of the store; 0: not told, and nobody is ahead */
    bool caught_up; /* what is read from now on is of now, whatever two clocks say: nobody is away for their difference */
    struct replica_environment *environments;
    size_t replica_count, unproven_count; /* in all; made by what was not proven */
};

enum replica_change {
    REPLICA_SAME,
    REPLICA_POSITION, /* a live replica told how far it is */
    REPLICA_ARRIVED,  /* a replica became live */
    REPLICA_GONE,     /* a replica is not live any more */
};

/* Takes one record of jwk.workers into account. offset and written are the record's (wall ms by whatever clock; 0 or less: not
 * told), now is monotonic ms. Who is there goes by when records are read; written is only for how long one has been away.
 * is_proven: its environment demands proof, which was given. Sets *replica to the one it is about, and says what changed. A
 * record of an earlier incarnation changes nothing. -1 with an error when a bound is reached. */
int replicas_apply(struct replica_table *table, const struct presence *presence, int64_t offset, int64_t written,
                   bool is_proven, int64_t now, struct replica **replica, enum replica_change *change,
                   struct error *error) MUST_CHECK;
/* Whether a record that was applied is of the worker that is the current one now. */
bool replica_is_of(const struct replica *replica, const struct presence *presence, int64_t offset);
/* Nobody of the environment is enrolled any more: its keys are others. */
void replicas_forget_enrolled(struct replica_table *table, const char *environment);
/* Calls gone for each replica whose heartbeats have stopped, and returns when to look again (monotonic ms, INT64_MAX: never).
 */
int64_t replicas_expire(struct replica_table *table, int64_t now, void (*gone)(void *context, struct replica *replica),
                        void *context);
/* After this process itself stood still for some time: nobody is to be held offline for it. */
void replicas_excuse(struct replica_table *table, int64_t pause_ms);
/* Forgets all incarnations and who is connected: the topic was made again. */
void replicas_reset(struct replica_table *table, int64_t now);
/* From now on positions are judged by this floor. */
void replicas_set_floor(struct replica_table *table, const struct sequence_floor *floor);
/* The environment of that name; makes it when there is room, else NULL. */
struct replica_environment *replicas_environment(struct replica_table *table, const char *name);
struct replica *replicas_find(const struct replica_table *table, const char *environment, const char *replica);
static inline bool replica_is_live(const struct replica *replica) {
    return replica->connected && replica->ready;
}
/* Whether it is spoken of as offline: it did not say goodbye, and is not away for long. now: monotonic ms. */
static inline bool replica_is_offline(const struct replica *replica, int64_t now) {
    return !replica->connected && !replica->left && now - replica->offline_at <= REPLICA_FORGET_MS;
}
struct replica_counts {
    size_t ready, catching_up, offline;
};
/* How many replicas the environment of that name has now (monotonic ms); none when it is not known. */
struct replica_counts replicas_count(const struct replica_table *table, const char *environment, int64_t now);
/* Whether the replica has durably applied what has that sequence in that partition, as it told last; *failing tells of its
 * hook. False as well when it has more failing hooks than it names, and not this one, or follows another store. */
bool replica_covers(const struct replica *replica, int64_t epoch, int partition, int64_t sequence, const char *jwk_id,
                    bool *failing);
/* A copy of each replica, in the order of environments and names; `environment` points into the table, whose names do not
 * change. replicas_copy_free() frees it. */
struct replica *replicas_copy(const struct replica_table *table, size_t *count);
/* A copy of one, which goes into an array that replicas_copy_free() frees. */
void replica_copy(const struct replica *replica, struct replica *copy);
void replicas_copy_free(struct replica *copy, size_t count);
void replicas_free(struct replica_table *table);

#endif
