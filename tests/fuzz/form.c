/* A multipart form: the first line is the Content-Type, the rest the body. Fields lie in the body, and their names are distinct
 * and printable. */
#include "fuzz.h"

#include "api/form.h"

static void check_text(const struct form *form, const char *name) {
    struct error error = {0};
    char *value = NULL;
    if (form_get_text(form, name, &value, &error) == 0)
        REQUIRE(!value || json_utf8_is_valid(value, strlen(value)));
    else
        require_refusal(&error);
    free(value);
    bool flag = false;
    if (form_get_boolean(form, name, &flag, &error))
        require_refusal(&error);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const known[] = {"certificateName", "alias", "pemEncodedFile", NULL};
    static struct form form;
    struct error error = {0};
    char *type = take_line(&bytes, &size), *body = take_rest(bytes, size);
    if (form_parse(type, body, size, &form, &error)) {
        require_refusal(&error);
    } else {
        for (size_t i = 0; i < form.count; i++) {
            const struct form_field *field = &form.fields[i];
            REQUIRE(field->bytes >= body && field->bytes + field->length <= body + size);
            REQUIRE(field->name[0] && json_utf8_is_valid(field->name, strlen(field->name)));
            REQUIRE(form_find(&form, field->name) == field);
            check_text(&form, field->name);
        }
        if (form_refuse_unknown(&form, known, &error))
            require_refusal(&error);
    }
    free(type);
    free(body);
    return 0;
}
