/* Entity tags of JWKs and the preconditions that callers make of them (RFC 9110 sections 8.8.3 and 13). */
#ifndef API_ETAG_H
#define API_ETAG_H

#include <stdbool.h>

#include "store.h"

enum { ETAG_SIZE = 128 }; /* bytes, with the NUL: three numbers and a UUID */

/* The strong entity tag of a JWK's present state, with its quotes. The JWK's id is part of it, since a name may be given to
 * another one. shown: a number that changes with what get shows beside the state (the time of a source's last check); 0:
 * nothing. */
void etag_write(const struct store_jwk *jwk, int64_t shown, char out[ETAG_SIZE]);

/* The values of a request's headers; NULL for one that it has not. */
struct etag_conditions {
    char *if_match, *if_none_match;
};
static inline bool etag_conditions_exist(const struct etag_conditions *conditions) {
    return conditions->if_match || conditions->if_none_match;
}

enum etag_comparison {
    ETAG_STATE, /* as If-Match compares: a weak tag names none; what is shown beside the state does not matter */
    ETAG_WEAK,  /* as If-None-Match compares */
};
/* Whether "*" or a list of entity tags names this one. A list that is not well-formed names only what stands before its fault.
 */
bool etag_list_names(const char *list, const char *etag, enum etag_comparison comparison);
/* Whether If-Match lets a request go on: else ERROR_PRECONDITION about the object of that kind ("JWK") and name. */
int etag_check_if_match(const struct etag_conditions *conditions, const char *etag, const char *kind, const char *name,
                        struct error *error) MUST_CHECK;
/* Whether If-None-Match does: on a read a false one means 304. */
bool etag_if_none_match_holds(const struct etag_conditions *conditions, const char *etag);
/* Both, for a change. */
int etag_check_both(const struct etag_conditions *conditions, const char *etag, const char *kind, const char *name,
                    struct error *error) MUST_CHECK;
/* The same as struct store_author wants it: ERROR_PRECONDITION when one does not hold. context: the conditions. */
int etag_check(const void *context, const struct store_jwk *jwk, struct error *error);

#endif
