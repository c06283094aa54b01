/* The operations on the JWKs of a project. */
#ifndef API_JWKS_H
#define API_JWKS_H

#include "call.h"

void jwks_list(struct call *call);
void jwks_get(struct call *call);
void jwks_update(struct call *call);
void jwks_delete(struct call *call);
void jwks_redeploy(struct call *call);

#endif
