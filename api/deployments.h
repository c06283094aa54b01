/* The deployments of a project: what became of a change. */
#ifndef API_DEPLOYMENTS_H
#define API_DEPLOYMENTS_H

#include "call.h"

void deployments_get(struct call *call);
/* Newest first: of the project (query parameter jwkId: of one JWK, deleted or not), and of the JWK that has the name now. */
void deployments_list(struct call *call);
void deployments_list_of_jwk(struct call *call);

#endif
