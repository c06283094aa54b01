/* The last look at a public key before it is served, which walks over text: it must never let pass what a parser of JSON calls
 * private. The text is what the JSON library prints of the input, as the promise of public_key_examine() has it. */
#include "fuzz.h"

#include "common/text.h"
#include "worker/public_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"};
    struct error error = {0};
    char *text = take_rest(bytes, size);
    cJSON *tree = json_parse(text, size, &error);
    free(text);
    if (!tree)
        return 0;
    struct text written = TEXT_EMPTY;
    json_write(&written, NULL, tree);
    int64_t expires = 0;
    int status = public_key_examine(written.bytes, &expires, &error);
    if (status)
        require_refusal(&error);
    bool secret = !cJSON_IsObject(tree);
    for (size_t i = 0; i < sizeof private_members / sizeof *private_members; i++)
        secret = secret || cJSON_GetObjectItemCaseSensitive(tree, private_members[i]);
    const cJSON *kty = cJSON_GetObjectItemCaseSensitive(tree, "kty");
    secret = secret || (cJSON_IsString(kty) && strcmp(kty->valuestring, "oct") == 0);
    REQUIRE((status != 0) == secret);
    const cJSON *exp = cJSON_GetObjectItemCaseSensitive(tree, "exp");
    if (status == 0 && cJSON_IsNumber(exp) && exp->valuedouble >= 0)
        REQUIRE((double)expires >= exp->valuedouble && (expires == INT64_MAX || (double)expires < exp->valuedouble + 1));
    if (status == 0 && !exp)
        REQUIRE(expires == INT64_MAX);
    text_free(&written);
    json_wipe(tree);
    return 0;
}
