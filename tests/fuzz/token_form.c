/* The form of the token endpoint: what is taken is the three fields, as texts. */
#include "../../api/token_endpoint.c" /* for read_form(), which is nobody else's */

#include "common/http_internal.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct http_request request = {0};
    struct call call = {.request = &request};
    char *fields[FORM_FIELDS] = {NULL};
    if (size)
        http_request_store(&request, (const char *)bytes, size);
    if (read_form(&call, fields, &error)) {
        require_refusal(&error);
    } else {
        REQUIRE(strcmp(fields[GRANT_TYPE], "client_credentials") == 0);
        for (int i = 0; i < FORM_FIELDS; i++)
            REQUIRE(*fields[i] && json_utf8_is_valid(fields[i], strlen(fields[i])));
    }
    for (int i = 0; i < FORM_FIELDS; i++)
        memory_wipe_string(fields[i]);
    http_request_clear(&request);
    return 0;
}
