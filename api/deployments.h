/* The deployments of a project: what became of a change. */
#ifndef API_DEPLOYMENTS_H
#define API_DEPLOYMENTS_H

#include "call.h"

void deployments_get(struct call *call);

#endif
