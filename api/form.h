/* A body of type multipart/form-data (RFC 7578), read strictly and within bounds. */
#ifndef API_FORM_H
#define API_FORM_H

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

enum { FORM_PARTS_MAX = 32, FORM_NAME_MAX = 128 }; /* fields of a form; bytes of a field's name */

struct form_field {
    char name[FORM_NAME_MAX + 1];
    const char *bytes; /* in the body */
    size_t length;
};

struct form {
    struct form_field fields[FORM_PARTS_MAX];
    size_t count;
};

/* Reads the body by its Content-Type, which names the boundary. The fields point into it. ERROR_INVALID with a sentence for
 * everything that is not a form of distinct fields, each as it is (no transfer encoding). */
int form_parse(const char *content_type, const char *body, size_t length, struct form *form, struct error *error) MUST_CHECK;
/* NULL when there is none of that name. */
const struct form_field *form_find(const struct form *form, const char *name);
/* ERROR_INVALID naming the first field that is not in the NULL-terminated list of names. */
int form_refuse_unknown(const struct form *form, const char *const *known, struct error *error) MUST_CHECK;
/* A text field as a new string, NULL when it is absent. ERROR_INVALID when it is not UTF-8. */
int form_get_text(const struct form *form, const char *name, char **value, struct error *error) MUST_CHECK;
/* "true" or "false"; *value stays as it was when the field is absent. */
int form_get_boolean(const struct form *form, const char *name, bool *value, struct error *error) MUST_CHECK;

#endif
