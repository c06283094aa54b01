/* Whose word counts: the keys of the environments, and the starts of workers that one of them vouches for.
 *
 * A worker makes a key when it starts and has it enrolled by a signature key of its environment's credentials; what it says is
 * signed with it. In an environment that was added without keys everybody is believed. Owned by the gatherer's thread. */
#ifndef API_ENROLLED_H
#define API_ENROLLED_H

#include <librdkafka/rdkafka.h>

#include "common/cloudevent.h"
#include "common/message.h"
#include "common/signature.h"
#include "store.h"

/* The environments as the store has them. */
struct enrolling;

struct enrolling *enrolling_new(void);
void enrolling_free(struct enrolling *enrolling); /* NULL is allowed */
/* Takes the present list. changed is called for each environment that is new or has other keys than before: nobody is enrolled
 * in it any more. Those without keys are named in the log then. */
void enrolling_set(struct enrolling *enrolling, struct store_environments *environments,
                   void (*changed)(void *context, const char *environment), void *context);

enum enrolling_demand {
    DEMAND_UNKNOWN, /* there is no environment of that name: nobody's word counts */
    DEMAND_NOTHING, /* it has no keys: everybody is believed */
    DEMAND_PROOF,
};
enum enrolling_demand enrolling_demand(const struct enrolling *enrolling, const char *environment);
/* Whether any environment has keys: then what is said without proof tells nothing of the installation as a whole. */
bool enrolling_knows_keys(const struct enrolling *enrolling);

/* One start of a worker whose key is enrolled, with the signatures of its that were verified last. */
struct enrolled;
void enrolled_free(struct enrolled *enrolled); /* NULL is allowed */
/* Whether the presence is of that start and shows the same key, so that its enrolment need not be judged again. */
bool enrolled_is(const struct enrolled *enrolled, const struct presence *presence);
/* Judges the enrolment that a presence shows by the keys of its environment; now: seconds since 1970. NULL with ERROR_DENIED
 * and a sentence when it is none, or is for something else. */
struct enrolled *enrolling_enrol(const struct enrolling *enrolling, const struct presence *presence, int64_t now,
                                 struct error *error) MUST_CHECK;
/* Judges the signature of a record; ERROR_DENIED with a sentence. A batch that was signed as one costs one verification. */
int enrolled_check(struct enrolled *enrolled, const rd_kafka_message_t *record, const struct cloudevent *attributes,
                   int64_t now, struct error *error) MUST_CHECK;

#endif
