/* The members of a key object: two texts, the public key and the private one, separated by a line "--". What describes itself as
 * sound gives a JWK, of the thumbprint that was told. */
#include "fuzz.h"

#include "api/source_key.h"

/* Reads it as one key by itself, in bytes: PEM or DER. */
static void check_alone(const char *bytes, size_t size) {
    struct error error = {0};
    struct source_key key = SOURCE_KEY_EMPTY;
    const struct algorithm_request none = {0};
    if (source_key_read("Key", bytes, size, &key, &error)) {
        require_refusal(&error);
        source_key_clear(&key);
        return;
    }
    REQUIRE(key.pkey != NULL && key.bits > 0);
    struct jwk *jwk = source_key_jwk(&key, key.is_private, &none, NULL, &error);
    if (jwk)
        REQUIRE(jwk_type(jwk) == key.type && jwk_has_private(jwk) == key.is_private);
    else
        require_refusal(&error);
    jwk_free(jwk);
    source_key_clear(&key);
}

static void check_object(const char *public_key, const char *private_key) {
    struct error error = {0};
    struct source_key_description description;
    const struct algorithm_request none = {0};
    if (source_key_describe(public_key, private_key, &description, &error)) {
        require_refusal(&error);
        return;
    }
    /* An empty member is one that is not given. */
    bool has_private = private_key != NULL && *private_key != '\0';
    REQUIRE(description.has_private == has_private);
    for (int with_private = 0; with_private <= has_private; with_private++) {
        char thumbprint[SHA256_TEXT_SIZE];
        struct jwk *jwk = source_key_object_jwk(public_key, private_key, with_private, &none, &error);
        REQUIRE(jwk != NULL);
        REQUIRE(jwk_has_private(jwk) == (with_private != 0));
        jwk_thumbprint(jwk, thumbprint);
        REQUIRE(strcmp(thumbprint, description.thumbprint) == 0);
        jwk_free(jwk);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char separator[] = "--\n";
    char *whole = take_rest(bytes, size);
    check_alone(whole, size);
    /* As members of a request they are JSON strings: they have no NUL. */
    char *private_key = NULL;
    for (char *line = whole; line && !private_key; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, separator, sizeof separator - 1) == 0) {
            *line = '\0';
            private_key = line + sizeof separator - 1;
        }
    }
    char *public_member = memory_string(whole), *private_member = memory_string(private_key);
    free(whole);
    const char *public_key = *public_member ? public_member : NULL;
    if (public_key || private_member)
        check_object(public_key, private_member);
    memory_wipe_string(public_member);
    memory_wipe_string(private_member);
    return 0;
}
