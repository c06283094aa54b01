/* The last look at a public key before it is served: when it expires, and that nothing private is in it. */
#ifndef WORKER_PUBLIC_KEY_H
#define WORKER_PUBLIC_KEY_H

#include <stdint.h>

#include "common/error.h"

/* text is one JSON object as the JSON library prints it: valid, without white space between tokens, its names without needless
 * escapes. *expires: its exp in seconds since 1970 (rounded up), INT64_MAX when it has none.
 * ERROR_INVALID when it has a private member (RFC 7518 section 6, RFC 8037 section 2) or is a symmetric key. The message holds
 * no value. */
int public_key_examine(const char *text, int64_t *expires, struct error *error) MUST_CHECK;

#endif
