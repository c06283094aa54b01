/* The operations that create a JWK: from each kind of source, and from nothing (generate). */
#ifndef API_CREATE_H
#define API_CREATE_H

#include "call.h"

void create_jwk(struct call *call);           /* POST …/jwks/ */
void create_from_url(struct call *call);         /* POST …/jwks/parse-from-url */
void create_from_clipboard(struct call *call);   /* POST …/jwks/parse-from-clipboard */
void create_from_certificate(struct call *call); /* POST …/jwks/parse-from-certificate */
void create_from_key(struct call *call);         /* POST …/jwks/parse-from-key */
void create_from_keystore(struct call *call);    /* POST …/jwks/parse-from-keystore */
void create_generated(struct call *call);        /* POST …/jwks/generate */

#endif
