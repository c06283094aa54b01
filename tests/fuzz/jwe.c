/* A JWE as a worker gets it, opened with a key on each kind of curve. Nobody seals anything by chance: what opens is one of the
 * seeds, whatever was done to its surroundings. */
#include "fuzz.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include "common/jwe.h"
#include "common/jwk.h"
#include "common/text.h"

/* The keys of RFC 7517 appendix A.2 and RFC 8037 appendix A.6. */
static const char *const texts[] = {
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\",\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlb"
    "bM4IFyM\",\"d\":\"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE\"}",
    "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"d\":\"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo\",\"x\":\"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066Sp"
    "jqqbTmo\"}",
};
static const char *const kids[] = {"p256", "x25519"};
static const char SECRET[] = "the secret", AAD[] = "an identifier";
enum { KEYS = sizeof texts / sizeof texts[0] };

static const struct jwe_recipient *keys(void) {
    static struct jwe_recipient read[KEYS];
    struct error error;
    for (size_t i = 0; i < KEYS && !read[i].key; i++) {
        struct jwk *jwk = jwk_from_text(texts[i], strlen(texts[i]), NULL, &error);
        REQUIRE(jwk != NULL);
        read[i] = (struct jwe_recipient){kids[i], jwk_to_key(jwk)};
        jwk_free(jwk);
    }
    return read;
}

static void open_with(size_t key, const char *jwe, size_t size, const char *aad) {
    struct error error = {0};
    struct text plaintext = TEXT_EMPTY;
    if (jwe_open(keys() + key, 1, jwe, size, aad, &plaintext, &error) == 0) {
        REQUIRE(strcmp(plaintext.bytes, SECRET) == 0);
    } else {
        REQUIRE(error.code == ERROR_INVALID || error.code == ERROR_NOT_FOUND);
        require_sentence(error.message);
        REQUIRE(plaintext.length == 0);
    }
    REQUIRE(ERR_peek_error() == 0);
    text_wipe(&plaintext);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *jwe = take_rest(bytes, size);
    for (size_t i = 0; i < KEYS; i++) {
        open_with(i, jwe, size, AAD);
        open_with(i, jwe, size, NULL);
    }
    free(jwe);
    return 0;
}
