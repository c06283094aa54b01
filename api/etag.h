/* Entity tags of JWKs and the preconditions that callers make of them (RFC 9110 sections 8.8.3 and 13). */
#ifndef API_ETAG_H
#define API_ETAG_H

#include <stdbool.h>

#include "store.h"

enum { ETAG_SIZE = 96 }; /* bytes, with the NUL: two numbers and a UUID */

/* The strong entity tag of a JWK's present state, with its quotes. The JWK's id is part of it, since a name may be given to another one. */
void etag_write(const struct store_jwk *jwk, char out[ETAG_SIZE]);

/* The values of a request's headers; NULL for one that it has not. */
struct etag_conditions {
    char *if_match, *if_none_match;
};
static inline bool etag_conditions_exist(const struct etag_conditions *conditions) {
    return conditions->if_match || conditions->if_none_match;
}

/* Whether "*" or a list of entity tags names this one. strong: as If-Match compares, where a weak tag names none. A list that is not well-formed
 * names only what stands before its fault. */
bool etag_list_names(const char *list, const char *etag, bool strong);
/* Whether If-Match lets a request go on. */
bool etag_if_match_holds(const struct etag_conditions *conditions, const char *etag);
/* Whether If-None-Match does: on a read a false one means 304. */
bool etag_if_none_match_holds(const struct etag_conditions *conditions, const char *etag);
/* Both, for a change, as struct store_author wants it: ERROR_PRECONDITION when one does not hold. context: the conditions. */
int etag_check(const void *context, const struct store_jwk *jwk, struct error *error);

#endif
