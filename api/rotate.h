/* Rotation: the operation that replaces the key of a JWK and keeps the old one served for a while. */
#ifndef API_ROTATE_H
#define API_ROTATE_H

#include "call.h"

enum { OVERLAP_DEFAULT_S = 86400, OVERLAP_MAX_S = 31536000 }; /* a day, a year */

/* POST …/jwks/{jwkName}/rotate: the material as create takes it (sourceType and what belongs to it), or as generate does, under
 * "generate"; and overlapSeconds. */
void rotate_jwk(struct call *call);

#endif
