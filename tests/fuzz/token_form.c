/* What is asked of the token endpoint: Basic credentials in the first line ("": none), then the form. What is taken is the three
 * fields, as texts. */
#include "../../api/token_endpoint.c" /* for read_request(), which is nobody else's */

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    char *fields[FORM_FIELDS] = {NULL};
    char *basic = take_line(&bytes, &size), *form = take_rest(bytes, size);
    if (read_request(*basic ? basic : NULL, form, size, fields, &error)) {
        require_refusal(&error);
    } else {
        REQUIRE(strcmp(fields[GRANT_TYPE], "client_credentials") == 0);
        for (int i = 0; i < FORM_FIELDS; i++)
            REQUIRE(*fields[i] && json_utf8_is_valid(fields[i], strlen(fields[i])));
    }
    for (int i = 0; i < FORM_FIELDS; i++)
        memory_wipe_string(fields[i]);
    free(basic);
    free(form);
    return 0;
}
