/* Method and path to operation: the parameters, decoded once and encoded again, lead to the same operation. */
#include "fuzz.h"

#include "api/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *parameters[PATH_PARAMETERS_MAX] = {NULL}, allow[64] = "";
    const struct operation *operation = NULL;
    char *method = take_line(&bytes, &size), *path = take_rest(bytes, size);
    switch (route_find(method, path, &operation, parameters, allow)) {
    case ROUTE_FOUND: {
        REQUIRE(operation != NULL);
        /* The path that the parameters stand for leads to the same operation with the same parameters. */
        char *again[PATH_PARAMETERS_MAX] = {NULL}, *built = memory_string("");
        const struct operation *same = NULL;
        int next = 0;
        for (const char *at = operation->path; *at && *at != '{';) {
            size_t length = strcspn(at, "{");
            char *value = NULL;
            if (at[length] == '{' && at[length + 1] != '?') {
                REQUIRE(next < PATH_PARAMETERS_MAX && parameters[next]);
                value = http_encode_segment(parameters[next++]);
            }
            char *longer = memory_format("%s%.*s%s", built, (int)length, at, value ? value : "");
            free(built);
            free(value);
            built = longer;
            at += length;
            if (*at == '{' && at[1] != '?')
                at += strcspn(at, "}") + 1;
        }
        REQUIRE(route_find(method, built, &same, again, allow) == ROUTE_FOUND);
        REQUIRE(same == operation);
        for (int i = 0; i < PATH_PARAMETERS_MAX; i++) {
            REQUIRE((again[i] == NULL) == (parameters[i] == NULL));
            REQUIRE(!again[i] || strcmp(again[i], parameters[i]) == 0);
            free(again[i]);
        }
        free(built);
        break;
    }
    case ROUTE_METHOD: REQUIRE(allow[0] != '\0' && memchr(allow, '\0', sizeof allow)); break;
    default: break;
    }
    for (int i = 0; i < PATH_PARAMETERS_MAX; i++)
        free(parameters[i]);
    free(method);
    free(path);
    return 0;
}
