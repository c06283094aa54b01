/* The files with keys that an operator hands in: credentials, an environment's public keys, the API's. What is read holds what
 * its header promises, and each half is where it belongs. */
#include "fuzz.h"

#include "common/credentials.h"

static void require_keys(const struct environment_keys *keys, bool is_private) {
    REQUIRE(keys->encryption_count > 0 && keys->encryption_count <= CREDENTIAL_KEYS_MAX);
    REQUIRE(keys->signature_count > 0 && keys->signature_count <= CREDENTIAL_KEYS_MAX);
    for (size_t i = 0; i < keys->encryption_count; i++) {
        REQUIRE(keys->encryption[i].key && keys->encryption[i].kid[0] != '\0');
        for (size_t j = 0; j < i; j++)
            REQUIRE(strcmp(keys->encryption[i].kid, keys->encryption[j].kid) != 0);
    }
    for (size_t i = 0; i < keys->signature_count; i++)
        REQUIRE(jwk_has_private(keys->signature[i]) == is_private && strcmp(jwk_curve(keys->signature[i]), "Ed25519") == 0);
}

static void read_credentials(const char *text, size_t size) {
    struct error error = {0};
    struct credentials credentials;
    if (credentials_parse(text, size, &credentials, &error) < 0) {
        require_refusal(&error);
        return;
    }
    REQUIRE(credentials.environment[0] != '\0');
    require_keys(&credentials.keys, true);
    /* What was read can seal and open. */
    struct text jwe = TEXT_EMPTY, plaintext = TEXT_EMPTY;
    REQUIRE(jwe_seal(credentials.keys.encryption, credentials.keys.encryption_count, "x", 1, NULL, &jwe, &error) == 0);
    REQUIRE(jwe_open(credentials.keys.encryption, 1, jwe.bytes, jwe.length, NULL, &plaintext, &error) == 0);
    REQUIRE(strcmp(plaintext.bytes, "x") == 0);
    text_free(&jwe);
    text_free(&plaintext);
    credentials_clear(&credentials);
}

static void read_public_keys(const char *text, size_t size) {
    struct error error = {0};
    struct environment_keys keys;
    if (environment_keys_parse(text, size, &keys, &error) < 0) {
        require_refusal(&error);
        return;
    }
    require_keys(&keys, false);
    environment_keys_clear(&keys);
}

static void read_api_keys(const char *text, size_t size) {
    struct error error = {0};
    struct jwk *keys[CREDENTIAL_KEYS_MAX];
    size_t count;
    if (api_keys_parse(text, size, keys, &count, &error) < 0) {
        require_refusal(&error);
        REQUIRE(count == 0);
        return;
    }
    REQUIRE(count > 0 && count <= CREDENTIAL_KEYS_MAX);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(!jwk_has_private(keys[i]));
        jwk_free(keys[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = take_rest(bytes, size);
    read_credentials(text, size);
    read_public_keys(text, size);
    read_api_keys(text, size);
    free(text);
    return 0;
}
