/* A PKCS#12 file with its password, which is the first line (PKCS12 or JKS before it says the type). Every entry of what opens
 * gives a JWK or a sentence, under the alias that was listed. */
#include "fuzz.h"

#include "api/source_keystore.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    const struct algorithm_request none = {0};
    char *type = take_line(&bytes, &size), *password = take_line(&bytes, &size), *file = take_rest(bytes, size);
    struct source_keystore *keystore = source_keystore_open(*type ? type : NULL, file, size, *password ? password : NULL, &error);
    free(file);
    free(type);
    memory_wipe_string(password);
    if (!keystore) {
        require_refusal(&error);
        return 0;
    }
    size_t count = source_keystore_count(keystore);
    REQUIRE(count >= 1 && count <= 2 * SOURCE_KEYSTORE_ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        struct source_keystore_entry entry = source_keystore_entry(keystore, i);
        REQUIRE(entry.alias && json_utf8_is_valid(entry.alias, strlen(entry.alias)));
        struct jwk *jwk = source_keystore_jwk(keystore, entry.alias, &none, &error);
        if (jwk) {
            struct jwk *same = jwk_from_text(jwk_text(jwk), strlen(jwk_text(jwk)), NULL, &error);
            REQUIRE(same != NULL);
            jwk_free(same);
        } else {
            require_refusal(&error);
        }
        jwk_free(jwk);
    }
    source_keystore_close(keystore);
    return 0;
}
