/* One answer over the deployments of one call that changed several JWKs. */
#ifndef API_CHANGE_GROUP_H
#define API_CHANGE_GROUP_H

#include "call.h"

struct change_group;

/* For count deployments to these environments, shared. It frees itself once the last is settled. */
struct change_group *change_group_new(struct call *call, enum event_operation operation,
                                      struct store_environments *environments, size_t count);
/* settled() of each deployment, whose context is the group: in the gatherer's thread. Answers the call with the last one. */
void change_group_settled(struct deployment *deployment);

#endif
