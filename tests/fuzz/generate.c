/* The body of a Generate: what is taken gives a private key that stands alone, and that has the life that was asked for. RSA
 * sizes are left to the other tests: each costs up to seconds. */
#include "fuzz.h"

#include "api/generate.h"

enum { NOW_MS = 1767225600 }; /* seconds; a fixed time, so that an input means the same every day */

/* A key that is quickly made: the parser's choices stay, the mill is not run. */
static bool is_slow(const cJSON *body) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(body, "type");
    return cJSON_IsString(type) && strcasecmp(type->valuestring, "RSA") == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    char *text = take_rest(bytes, size);
    cJSON *body = json_parse(text, size, &error);
    free(text);
    if (!body || !cJSON_IsObject(body) || is_slow(body)) {
        json_wipe(body);
        return 0;
    }
    struct jwk *jwk = generate_jwk(body, (int64_t)NOW_MS * 1000, &error);
    if (jwk) {
        struct jwk *same = jwk_from_text(jwk_text(jwk), strlen(jwk_text(jwk)), NULL, &error);
        REQUIRE(same != NULL);
        REQUIRE(jwk_has_private(jwk));
        REQUIRE(jwk_expires(jwk) > NOW_MS && jwk_expires(jwk) > jwk_not_before(jwk));
        jwk_free(same);
    } else {
        require_refusal(&error);
    }
    jwk_free(jwk);
    json_wipe(body);
    return 0;
}
