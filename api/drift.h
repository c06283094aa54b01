/* Drift: what each replica of each environment has of a project's JWKs, against what it should have. */
#ifndef API_DRIFT_H
#define API_DRIFT_H

#include "call.h"

void drift_get(struct call *call);

#endif
