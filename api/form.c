/* multipart/form-data: RFC 7578, with the framing of RFC 2046 section 5.1. */
#include "form.h"

#include <string.h>
#include <strings.h>

#include "common/http.h"
#include "common/json.h"
#include "common/memory.h"

enum {
    BOUNDARY_MAX = 70,        /* RFC 2046 section 5.1.1 */
    PART_HEADERS_MAX = 4096,  /* bytes of one part's header fields */
};

static int malformed(struct error *error, const char *reason) {
    return error_set(error, ERROR_INVALID, "Request body is not a valid form: %s", reason);
}

static bool boundary_is_valid(const char *boundary) {
    static const char allowed[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'()+_,-./:=? ";
    size_t length = strlen(boundary);
    return length > 0 && strspn(boundary, allowed) == length && boundary[length - 1] != ' ';
}

/* Reads the header fields of a part; *at moves behind the empty line that ends them. */
static int read_headers(const char **at, const char *end, struct form_field *field, struct error *error) {
    bool named = false;
    const char *limit = end - *at > PART_HEADERS_MAX ? *at + PART_HEADERS_MAX : end;
    for (;;) {
        const char *line = *at, *stop = memmem(line, (size_t)(limit - line), "\r\n", 2);
        if (!stop)
            return malformed(error, "a part's header does not end");
        *at = stop + 2;
        if (stop == line)
            return named ? 0 : malformed(error, "a part has no name");
        const char *value = memchr(line, ':', (size_t)(stop - line));
        if (!value)
            return malformed(error, "a part's header can not be read");
        size_t length = (size_t)(value - line);
        value++;
        while (value < stop && (*value == ' ' || *value == '\t'))
            value++;
        if (length == 19 && strncasecmp(line, "Content-Disposition", length) == 0) {
            if (named || stop - value < 9 || strncasecmp(value, "form-data", 9) != 0 ||
                http_header_parameter(value, stop, "name", field->name, sizeof field->name) != 1 || field->name[0] == '\0' ||
                !json_utf8_is_valid(field->name, strlen(field->name)))
                return malformed(error, "a part's Content-Disposition can not be read");
            named = true;
        } else if (length == 25 && strncasecmp(line, "Content-Transfer-Encoding", length) == 0) {
            size_t size = (size_t)(stop - value);
            if (!(size == 6 && strncasecmp(value, "binary", 6) == 0) && !(size == 4 && strncasecmp(value + 1, "bit", 3) == 0))
                return malformed(error, "a part has a Content-Transfer-Encoding");
        }
    }
}

/* What follows a delimiter: 1 another part (*at moves to its header), 0 the end of the form, -1 it is none. */
static int after_delimiter(const char **at, const char *end) {
    const char *next = *at;
    bool last = end - next >= 2 && next[0] == '-' && next[1] == '-';
    if (last)
        next += 2;
    while (next < end && (*next == ' ' || *next == '\t'))
        next++;
    if (last && next == end)
        return 0;
    if (end - next < 2 || next[0] != '\r' || next[1] != '\n')
        return -1;
    *at = next + 2;
    return last && *at != end ? -1 : !last;
}

int form_parse(const char *content_type, const char *body, size_t length, struct form *form, struct error *error) {
    char delimiter[4 + BOUNDARY_MAX + 1] = "\r\n--";
    const char *at = body, *end = body + length;
    form->count = 0;
    const char *type_end = content_type + strlen(content_type);
    if (http_header_parameter(content_type, type_end, "boundary", delimiter + 4, BOUNDARY_MAX + 1) != 1 ||
        !boundary_is_valid(delimiter + 4))
        return malformed(error, "its Content-Type has no boundary");
    size_t size = strlen(delimiter);
    if (length < size - 2 || memcmp(body, delimiter + 2, size - 2) != 0)
        return malformed(error, "it does not begin with the boundary");
    at += size - 2;
    int more = after_delimiter(&at, end);
    while (more == 1) {
        if (form->count == FORM_PARTS_MAX)
            return malformed(error, "it has too many fields");
        struct form_field *field = &form->fields[form->count];
        if (read_headers(&at, end, field, error))
            return -1;
        if (form_find(form, field->name))
            return malformed(error, "a field stands in it twice");
        field->bytes = at;
        do { /* a delimiter with something else behind it is content */
            const char *found = memmem(at, (size_t)(end - at), delimiter, size);
            if (!found)
                return malformed(error, "its last boundary is missing");
            field->length = (size_t)(found - field->bytes);
            at = found + size;
            more = after_delimiter(&at, end);
        } while (more < 0);
        form->count++;
    }
    return more < 0 ? malformed(error, "its first boundary can not be read") : 0;
}

const struct form_field *form_find(const struct form *form, const char *name) {
    for (size_t i = 0; i < form->count; i++)
        if (strcmp(form->fields[i].name, name) == 0)
            return &form->fields[i];
    return NULL;
}

int form_refuse_unknown(const struct form *form, const char *const *known, struct error *error) {
    for (size_t i = 0; i < form->count; i++) {
        const char *const *name = known;
        while (*name && strcmp(*name, form->fields[i].name) != 0)
            name++;
        char shown[JSON_SHOWN_SIZE];
        if (!*name)
            return error_set(error, ERROR_INVALID, "\"%s\" is not known here", json_shown(form->fields[i].name, shown));
    }
    return 0;
}

int form_get_text(const struct form *form, const char *name, char **value, struct error *error) {
    const struct form_field *field = form_find(form, name);
    *value = NULL;
    if (!field)
        return 0;
    if (!json_utf8_is_valid(field->bytes, field->length))
        return error_set(error, ERROR_INVALID, "\"%s\" is not valid UTF-8", name);
    *value = memory_bytes(field->bytes, field->length);
    return 0;
}

int form_get_boolean(const struct form *form, const char *name, bool *value, struct error *error) {
    const struct form_field *field = form_find(form, name);
    if (!field)
        return 0;
    bool is_true = field->length == 4 && memcmp(field->bytes, "true", 4) == 0;
    if (!is_true && !(field->length == 5 && memcmp(field->bytes, "false", 5) == 0))
        return error_set(error, ERROR_INVALID, "\"%s\" must be true or false", name);
    *value = is_true;
    return 0;
}
