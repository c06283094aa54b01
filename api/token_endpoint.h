/* POST /apiops/auth/token: a token for a client with its secret (RFC 6749 section 4.4, client_credentials), which stands in
 * the form or in an Authorization header of scheme Basic (section 2.3.1). */
#ifndef API_TOKEN_ENDPOINT_H
#define API_TOKEN_ENDPOINT_H

#include "call.h"

void token_endpoint_issue(struct call *call);

#endif
