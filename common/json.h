/* Strict JSON in: one pass over the bytes stands before cJSON, which alone is lenient in ways that matter for keys.
 *
 * Refused, each with a message that says where: invalid UTF-8, a BOM, NUL (raw or \u0000), raw control characters, lone
 * surrogates, duplicate member names, numbers outside RFC 8259's grammar or beyond a double's exact integers, nesting
 * deeper than JSON_DEPTH_MAX, more values than JSON_VALUES_MAX, trailing bytes. Source: RFC 8259, RFC 7493 (I-JSON). */
#ifndef COMMON_JSON_H
#define COMMON_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum {
    JSON_DEPTH_MAX = 32,      /* levels */
    JSON_MEMBERS_MAX = 4096,  /* members of one object or elements of one array */
    JSON_VALUES_MAX = 131072, /* of all kinds in one text, which may spend two bytes on one for which a tree takes 80; more
                               * than any set of JSON_MEMBERS_MAX keys has */
};

/* Parses length bytes. The caller frees the tree with cJSON_Delete() (json_wipe() when it holds secrets).
 * NULL with ERROR_INVALID when the bytes are not strict JSON. Thread-safe. */
cJSON *json_parse(const char *bytes, size_t length, struct error *error) MUST_CHECK;
/* Wipes every string of the tree, then frees it; NULL is allowed. */
void json_wipe(cJSON *tree);

struct text;
/* Appends a tree that json_parse() made to a text, compact, numbers exact. name as in text.h: NULL inside an array or at the
 * top. Not for cJSON_Raw items. */
void json_write(struct text *out, const char *name, const cJSON *value);
/* At least the bytes that json_write() appends, with a NUL: a text of that capacity does not grow, so that no copy of a secret
 * is left in freed memory. */
size_t json_written_bound(const cJSON *value);

/* Whether length bytes are valid UTF-8 (RFC 3629) without NUL. */
bool json_utf8_is_valid(const char *bytes, size_t length);

enum { JSON_SHOWN_SIZE = 80 };
/* Writes text (a member's name, a kid) into out as a message may show it: cut at a character's edge when long, each control
 * character as '?'. Returns out. */
const char *json_shown(const char *text, char out[JSON_SHOWN_SIZE]);

/* Typed members of an object. `required` absent or of another type: ERROR_INVALID naming the member.
 * An absent optional member leaves *value as it was and returns 0. Strings point into the tree. */
int json_get_string(const cJSON *object, const char *name, bool required, const char **value, struct error *error) MUST_CHECK;
int json_get_integer(const cJSON *object, const char *name, bool required, int64_t minimum, int64_t maximum, int64_t *value,
                     struct error *error) MUST_CHECK;
int json_get_boolean(const cJSON *object, const char *name, bool required, bool *value, struct error *error) MUST_CHECK;
int json_get_object(const cJSON *object, const char *name, bool required, const cJSON **value, struct error *error) MUST_CHECK;
int json_get_array(const cJSON *object, const char *name, bool required, const cJSON **value, struct error *error) MUST_CHECK;

/* ERROR_INVALID naming the first member of object that is not in the NULL-terminated list of names. */
int json_refuse_unknown(const cJSON *object, const char *const *known, struct error *error) MUST_CHECK;

#endif
