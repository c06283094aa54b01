/* A JWK, or one of a JWK Set: what is taken survives being written and read, its public half holds nothing private, and
 * OpenSSL's key of it makes the same key again. The first line is the kid that is asked for. */
#include "fuzz.h"

#include <openssl/evp.h>

#include "common/jwk.h"

/* The public half stands alone: valid, of the same thumbprint, and its own public half. */
static void check_public(const struct jwk *jwk, const char *thumbprint) {
    static const char *const private_members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"};
    const char *text = jwk_public_text(jwk);
    struct error error = {0};
    if (jwk_type(jwk) == JWK_OCT) {
        REQUIRE(text == NULL);
        return;
    }
    cJSON *tree = json_parse(text, strlen(text), &error);
    REQUIRE(tree != NULL);
    for (size_t i = 0; i < sizeof private_members / sizeof *private_members; i++)
        REQUIRE(!cJSON_HasObjectItem(tree, private_members[i]));
    cJSON_Delete(tree);
    struct jwk *public = jwk_from_text(text, strlen(text), NULL, &error);
    REQUIRE(public != NULL);
    REQUIRE(!jwk_has_private(public));
    REQUIRE(strcmp(jwk_public_text(public), text) == 0);
    char again[SHA256_TEXT_SIZE];
    jwk_thumbprint(public, again);
    REQUIRE(strcmp(again, thumbprint) == 0);
    jwk_free(public);
}

static void check_key(const struct jwk *jwk, const char *thumbprint) {
    struct error error = {0};
    struct jwk_attributes none = JWK_ATTRIBUTES_NONE;
    EVP_PKEY *key = jwk_to_key(jwk);
    REQUIRE(key != NULL);
    if (jwk_type(jwk) != JWK_OCT) {
        char again[SHA256_TEXT_SIZE];
        struct jwk *made = jwk_from_key(key, jwk_has_private(jwk), &none, &error);
        REQUIRE(made != NULL);
        jwk_thumbprint(made, again);
        REQUIRE(strcmp(again, thumbprint) == 0);
        jwk_free(made);
    }
    EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    char thumbprint[SHA256_TEXT_SIZE], again[SHA256_TEXT_SIZE];
    char *kid = take_line(&bytes, &size), *text = take_rest(bytes, size);
    struct jwk *jwk = jwk_from_text(text, size, *kid ? kid : NULL, &error);
    free(text);
    free(kid);
    if (!jwk) {
        require_refusal(&error);
        return 0;
    }
    jwk_thumbprint(jwk, thumbprint);
    struct jwk *same = jwk_from_text(jwk_text(jwk), strlen(jwk_text(jwk)), NULL, &error);
    REQUIRE(same != NULL);
    REQUIRE(strcmp(jwk_text(same), jwk_text(jwk)) == 0);
    REQUIRE(jwk_type(same) == jwk_type(jwk));
    REQUIRE(jwk_has_private(same) == jwk_has_private(jwk));
    REQUIRE(jwk_expires(same) == jwk_expires(jwk) && jwk_not_before(same) == jwk_not_before(jwk));
    jwk_thumbprint(same, again);
    REQUIRE(strcmp(again, thumbprint) == 0);
    check_public(jwk, thumbprint);
    check_key(jwk, thumbprint);
    jwk_free(same);
    jwk_free(jwk);
    return 0;
}
