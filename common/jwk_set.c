/* From a text to one key: a JWK, or a JWK Set from which a kid picks one (RFC 7517 section 5).
 *
 * Only the chosen key is validated. A set belongs to somebody else, and a kind of key that we do not know beside the one
 * that was asked for is no reason to refuse it. */
#include <stdio.h>
#include <string.h>

#include "common/jwk_internal.h"
#include "common/text.h"

/* How many bytes of kids a message lists. */
enum { LISTED_MAX = 480 };

/* The kid of a member of a set, or NULL. */
static const char *kid_of(const cJSON *key) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(key, "kid"));
}

static void list_kids(const cJSON *keys, struct text *out) {
    size_t unnamed = 0, unlisted = 0;
    const cJSON *key;
    cJSON_ArrayForEach (key, keys) {
        const char *kid = kid_of(key);
        char shown[JSON_SHOWN_SIZE];
        if (!kid)
            unnamed++;
        else if (out->length > LISTED_MAX)
            unlisted++;
        else
            text_add_format(out, "%s\"%s\"", out->length > 0 ? ", " : "", json_shown(kid, shown));
    }
    if (unlisted > 0)
        text_add_format(out, " and %zu more", unlisted);
    if (unnamed > 0)
        text_add_format(out, "%s%zu without a kid", out->length > 0 ? ", " : "", unnamed);
}

static struct jwk *refuse_choice(const cJSON *keys, const char *problem, struct error *error) {
    struct text kids = TEXT_EMPTY;
    list_kids(keys, &kids);
    error_set(error, ERROR_INVALID, "%s; the JWK Set has: %s", problem, kids.bytes);
    text_free(&kids);
    return NULL;
}

static struct jwk *choose_by_kid(const cJSON *keys, const char *kid, struct error *error) {
    const cJSON *chosen = NULL, *key;
    char problem[JSON_SHOWN_SIZE + 64], shown[JSON_SHOWN_SIZE];
    json_shown(kid, shown);
    cJSON_ArrayForEach (key, keys) {
        const char *own = kid_of(key);
        if (!own || strcmp(own, kid) != 0)
            continue;
        if (chosen) {
            snprintf(problem, sizeof problem, "Several keys have the kid \"%s\"", shown);
            return refuse_choice(keys, problem, error);
        }
        chosen = key;
    }
    if (!chosen) {
        snprintf(problem, sizeof problem, "No key has the kid \"%s\"", shown);
        return refuse_choice(keys, problem, error);
    }
    struct jwk *jwk = jwk_from_json(chosen, error);
    if (!jwk)
        error_prefix(error, "Key \"%s\" of the JWK Set", shown);
    return jwk;
}

static struct jwk *choose(const cJSON *keys, const char *kid, struct error *error) {
    int count = cJSON_GetArraySize(keys);
    if (count == 0) {
        error_set(error, ERROR_INVALID, "The JWK Set has no keys");
        return NULL;
    }
    if (kid)
        return choose_by_kid(keys, kid, error);
    if (count > 1)
        return refuse_choice(keys, "A kid must say which key is meant", error);
    return jwk_from_json(cJSON_GetArrayItem(keys, 0), error);
}

static struct jwk *from_tree(const cJSON *tree, const char *kid, struct error *error) {
    const cJSON *keys = cJSON_GetObjectItemCaseSensitive(tree, "keys");
    /* With a kty it is a key, whatever else it has. */
    if (keys && !cJSON_GetObjectItemCaseSensitive(tree, "kty")) {
        if (cJSON_IsArray(keys))
            return choose(keys, kid, error);
        error_set(error, ERROR_INVALID, "Member \"keys\" of a JWK Set must be an array");
        return NULL;
    }
    if (!cJSON_IsObject(tree)) {
        error_set(error, ERROR_INVALID, "A JWK or a JWK Set must be a JSON object");
        return NULL;
    }
    struct jwk *jwk = jwk_from_json(tree, error);
    if (!jwk || !kid || (jwk_kid(jwk) && strcmp(jwk_kid(jwk), kid) == 0))
        return jwk;
    char asked[JSON_SHOWN_SIZE], has[JSON_SHOWN_SIZE];
    if (jwk_kid(jwk))
        error_set(error, ERROR_INVALID, "The JWK has the kid \"%s\", not \"%s\"", json_shown(jwk_kid(jwk), has),
                  json_shown(kid, asked));
    else
        error_set(error, ERROR_INVALID, "The JWK has no kid, but the kid \"%s\" was asked for", json_shown(kid, asked));
    jwk_free(jwk);
    return NULL;
}

/* What people have a key as when it is no JWK. */
static bool is_pem(const char *text, size_t length) {
    static const char beginning[] = "-----BEGIN ";
    for (; length > 0 && (*text == ' ' || *text == '\t' || *text == '\r' || *text == '\n'); length--)
        text++;
    return length >= strlen(beginning) && memcmp(text, beginning, strlen(beginning)) == 0;
}

struct jwk *jwk_from_text(const char *text, size_t length, const char *kid, struct error *error) {
    if (is_pem(text, length)) {
        error_set(error, ERROR_INVALID, "It is PEM and not a JWK: store it as a key or certificate, of which a JWK can be made");
        return NULL;
    }
    cJSON *tree = json_parse(text, length, error);
    if (!tree)
        return NULL;
    struct jwk *jwk = from_tree(tree, kid, error);
    json_wipe(tree);
    return jwk;
}
