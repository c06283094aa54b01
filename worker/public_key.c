/* A walk over the names of one JSON object. A tree would cost more than all else that is done with the key. */
#include "worker/public_key.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/jwk.h"

/* A piece of the text. */
struct span {
    const char *bytes;
    size_t length;
};

/* Behind the string that begins at text. */
static const char *skip_string(const char *text) {
    for (text++; *text && *text != '"'; text++)
        if (*text == '\\' && text[1])
            text++;
    return *text ? text + 1 : text;
}

/* Behind the value that begins at text: at the comma or bracket that follows it. */
static const char *skip_value(const char *text) {
    int depth = 0;
    while (*text) {
        if (*text == '"') {
            text = skip_string(text);
            continue;
        }
        if (depth == 0 && (*text == ',' || *text == '}' || *text == ']'))
            break;
        if (*text == '{' || *text == '[')
            depth++;
        else if (*text == '}' || *text == ']')
            depth--;
        text++;
    }
    return text;
}

static bool is(struct span span, const char *text) {
    return span.length == strlen(text) && memcmp(span.bytes, text, span.length) == 0;
}

static int examine_member(struct span name, struct span value, int64_t *expires, struct error *error) {
    if (jwk_member_is_private(name.bytes, name.length))
        return error_set(error, ERROR_INVALID, "publicKey has the private member %.*s", (int)name.length, name.bytes);
    if (is(name, "kty") && is(value, "\"oct\""))
        return error_set(error, ERROR_INVALID, "publicKey is a symmetric key");
    if (is(name, "exp") && value.bytes[0] != '"') {
        double seconds = strtod(value.bytes, NULL);
        if (seconds < 9007199254740992.0) /* beyond a double's exact integers it is as good as never */
            *expires = seconds < -9007199254740992.0 ? 0 : (int64_t)ceil(seconds);
    }
    return 0;
}

int public_key_examine(const char *text, int64_t *expires, struct error *error) {
    *expires = INT64_MAX;
    if (*text != '{')
        return error_set(error, ERROR_INVALID, "publicKey is not an object");
    text++;
    while (*text == '"') {
        const char *name_end = skip_string(text);
        struct span name = {.bytes = text + 1, .length = (size_t)(name_end - text) - 2};
        if (*name_end != ':')
            return error_set(error, ERROR_INVALID, "publicKey is not well-formed");
        const char *value_end = skip_value(name_end + 1);
        struct span value = {.bytes = name_end + 1, .length = (size_t)(value_end - name_end) - 1};
        if (examine_member(name, value, expires, error))
            return -1;
        text = value_end;
        if (*text == ',')
            text++;
    }
    return strcmp(text, "}") == 0 ? 0 : error_set(error, ERROR_INVALID, "publicKey is not well-formed");
}
