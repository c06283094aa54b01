/* Entity tags and preconditions. */
#include "etag.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void etag_write(const struct store_jwk *jwk, int64_t shown, char out[ETAG_SIZE]) {
    char beside[24] = "";
    if (shown)
        snprintf(beside, sizeof beside, ".%" PRId64, shown);
    snprintf(out, ETAG_SIZE, "\"%" PRId64 "-%" PRId64 "-%s%s\"", jwk->epoch, jwk->version, jwk->uid, beside);
}

/* The length of a tag's part that is about the state: up to the '.' or the last quote. */
static size_t state_length(const char *quote) { return 1 + strcspn(quote + 1, ".\""); }

static bool is_same(const char *one, const char *other, enum etag_comparison comparison) {
    size_t length = comparison == ETAG_STATE ? state_length(one) : 2 + strcspn(one + 1, "\"");
    size_t other_length = comparison == ETAG_STATE ? state_length(other) : 2 + strcspn(other + 1, "\"");
    return length == other_length && memcmp(one, other, length) == 0;
}

/* The end of an entity tag's opaque part that begins at its quote; NULL when it does not end. */
static const char *end_of_tag(const char *quote) {
    if (*quote != '"')
        return NULL;
    const char *end = strchr(quote + 1, '"');
    return end ? end + 1 : NULL;
}

bool etag_list_names(const char *list, const char *etag, enum etag_comparison comparison) {
    static const char blank[] = " \t";
    list += strspn(list, blank);
    if (*list == '*')
        return list[1 + strspn(list + 1, blank)] == '\0';
    for (;;) {
        list += strspn(list, " \t,"); /* empty elements are allowed (RFC 9110 section 5.6.1) */
        if (*list == '\0')
            return false;
        bool weak = strncmp(list, "W/", 2) == 0;
        const char *quote = weak ? list + 2 : list, *end = end_of_tag(quote);
        if (!end)
            return false;
        if (!(weak && comparison == ETAG_STATE) && is_same(etag, quote, comparison))
            return true;
        list = end + strspn(end, blank);
        if (*list && *list != ',')
            return false;
    }
}

bool etag_if_none_match_holds(const struct etag_conditions *conditions, const char *etag) {
    return !conditions->if_none_match || !etag_list_names(conditions->if_none_match, etag, ETAG_WEAK);
}

int etag_check_if_match(const struct etag_conditions *conditions, const char *etag, const char *kind, const char *name,
                        struct error *error) {
    if (!conditions->if_match || etag_list_names(conditions->if_match, etag, ETAG_STATE))
        return 0;
    return error_set(error, ERROR_PRECONDITION, "%s (name: %s) is not in the state that If-Match names!", kind, name);
}

int etag_check_both(const struct etag_conditions *conditions, const char *etag, const char *kind, const char *name,
                    struct error *error) {
    if (etag_check_if_match(conditions, etag, kind, name, error))
        return -1;
    if (etag_if_none_match_holds(conditions, etag))
        return 0;
    return error_set(error, ERROR_PRECONDITION, "%s (name: %s) is in the state that If-None-Match names!", kind, name);
}

int etag_check(const void *context, const struct store_jwk *jwk, struct error *error) {
    char etag[ETAG_SIZE];
    etag_write(jwk, 0, etag);
    return etag_check_both(context, etag, "JWK", jwk->name, error);
}
