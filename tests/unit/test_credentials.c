/* Credentials and sets of public keys: what is read, what is refused and in which words, and that new ones work. */
#include "jwk_support.h"

#include <openssl/evp.h>

#include "common/credentials.h"
#include "common/memory.h"

#define EC_THUMBPRINT "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"
#define EC_BARE "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"d\":\"" EC_D "\"}"
#define EC_BARE_PUBLIC "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\"}"
#define API_KEYS "{\"keys\":[" ED_PUBLIC "]}"

/* The key's text with more members put at its front. */
#define EC_WITH(members) "{" members ",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"d\":\"" EC_D "\"}"
#define ED_WITH(members) "{" members ",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"" ED_D "\",\"x\":\"" ED_X "\"}"
#define CREDENTIALS(keys, more) "{\"environment\":\"production\",\"keys\":[" keys "]" more "}"

static int parse(const char *text, struct credentials *credentials, struct error *error) {
    return credentials_parse(text, strlen(text), credentials, error);
}

static void assert_parses(const char *text, struct credentials *credentials) {
    struct error error = {0};
    if (parse(text, credentials, &error) < 0)
        fail_msg("%.200s: %s", text, error.message);
}

static void assert_no_secret(const struct error *error) {
    assert_null(strstr(error->message, "870MB6gf"));
    assert_null(strstr(error->message, "nWGxne_9"));
}

static void keys_are_told_apart_by_their_curve(void **state) {
    (void)state;
    struct credentials credentials;
    assert_parses(CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":" API_KEYS), &credentials);
    assert_string_equal(credentials.environment, "production");
    assert_int_equal(credentials.keys.encryption_count, 1);
    assert_string_equal(credentials.keys.encryption[0].kid, EC_THUMBPRINT);
    assert_true(EVP_PKEY_is_a(credentials.keys.encryption[0].key, "EC"));
    assert_int_equal(credentials.keys.signature_count, 1);
    assert_true(jwk_has_private(credentials.keys.signature[0]));
    assert_int_equal(credentials.api_key_count, 1);
    assert_string_equal(jwk_text(credentials.api_keys[0]), ED_PUBLIC);
    credentials_clear(&credentials);
    assert_null(credentials.environment);
    assert_int_equal(credentials.keys.encryption_count, 0);
    credentials_clear(&credentials);
}

static void old_and_new_keys_stand_in_their_order(void **state) {
    (void)state;
    struct credentials credentials;
    assert_parses(CREDENTIALS(ED_PRIVATE "," P521 "," X25519_EPHEMERAL "," EC_PRIVATE, ""), &credentials);
    assert_int_equal(credentials.keys.encryption_count, 3);
    assert_true(EVP_PKEY_is_a(credentials.keys.encryption[1].key, "X25519"));
    /* A kid of its own is taken over. */
    assert_string_equal(credentials.keys.encryption[2].kid, "1");
    assert_int_equal(credentials.api_key_count, 0);
    credentials_clear(&credentials);
}

static void uses_and_algorithms_may_be_said(void **state) {
    (void)state;
    struct credentials credentials;
    assert_parses(CREDENTIALS(EC_WITH("\"use\":\"enc\",\"alg\":\"ECDH-ES+A256KW\"") "," ED_WITH("\"use\":\"sig\",\"alg\":\"EdDSA\""),
                              ",\"apiKeys\":{\"keys\":[]}"), &credentials);
    credentials_clear(&credentials);
    assert_parses(CREDENTIALS(EC_BARE "," ED_WITH("\"alg\":\"Ed25519\""), ""), &credentials);
    credentials_clear(&credentials);
}

static void what_is_wrong_is_told(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "JSON"},
        {"[]", "Credentials must be a JSON object"},
        {"{\"keys\":[" EC_BARE "," ED_PRIVATE "]}", "\"environment\""},
        {"{\"environment\":\"\",\"keys\":[" EC_BARE "," ED_PRIVATE "]}", "Member \"environment\" must have 1 to 255 bytes"},
        {"{\"environment\":7,\"keys\":[" EC_BARE "," ED_PRIVATE "]}", "\"environment\""},
        {"{\"environment\":\"production\"}", "\"keys\""},
        {"{\"environment\":\"production\",\"keys\":{}}", "\"keys\""},
        {CREDENTIALS("", ""), "A key to encrypt is missing: one on P-256, P-384, P-521 or X25519, of use \"enc\""},
        {CREDENTIALS(ED_PRIVATE, ""), "A key to encrypt is missing"},
        {CREDENTIALS(EC_BARE, ""), "A key to sign is missing: one on Ed25519, of use \"sig\""},
        {CREDENTIALS(EC_BARE "," ED_PUBLIC, ""), "Key 2: It has no private half"},
        {CREDENTIALS(EC_BARE_PUBLIC "," ED_PRIVATE, ""), "Key 1: It has no private half"},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE "," OCT_WRAP, ""), "Key 3: It is of no use here"},
        {CREDENTIALS(RSA_PRIVATE, ""), "Key 1: It is of no use here"},
        {CREDENTIALS(EC_BARE "," EC_BARE "," ED_PRIVATE, ""), "Key 2: Another key has the same kid"},
        {CREDENTIALS(EC_WITH("\"kid\":\"a\"") "," P521 "," EC_WITH("\"kid\":\"a\""), ""), "Key 3: Another key has the same kid"},
        {CREDENTIALS(ED_PRIVATE "," ED_WITH("\"kid\":\"a\""), ""), "Key 2: The key is there already"},
        {CREDENTIALS(EC_WITH("\"use\":\"sig\""), ""), "Key 1: Member \"use\" must be \"enc\" for a key on P-256 here"},
        {CREDENTIALS(EC_WITH("\"alg\":\"ECDH-ES\""), ""), "Key 1: Member \"alg\" must be \"ECDH-ES+A256KW\" for a key on P-256 here"},
        {CREDENTIALS(EC_WITH("\"alg\":\"ES256\""), ""), "Key 1: Member \"alg\" must be \"ECDH-ES+A256KW\""},
        {CREDENTIALS("\"x\"", ""), "Key 1: "},
        {CREDENTIALS("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_X "\",\"d\":\"" EC_D "\"}", ""), "Key 1: "},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apikeys\":" API_KEYS), "Unknown member \"apikeys\""},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":[]"), "\"apiKeys\""},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":{}"), "\"keys\""},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":{\"keys\":[" ED_PUBLIC "," EC_BARE_PUBLIC "]}"),
         "Key 2 of the API: A key that signs events must be on Ed25519"},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":{\"keys\":[" ED_PRIVATE "]}"),
         "Key 1 of the API: It has a private half: hand in the public part only"},
        {CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":{\"keys\":[" ED_PUBLIC "," ED_PUBLIC "]}"),
         "Key 2 of the API: The key is there already"},
        {"{\"environment\":\"production\",\"environment\":\"staging\",\"keys\":[" EC_BARE "," ED_PRIVATE "]}", "stands twice"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error error = {0};
        struct credentials credentials;
        if (parse(cases[i].text, &credentials, &error) == 0)
            fail_msg("%.200s was taken", cases[i].text);
        if (!strstr(error.message, cases[i].message))
            fail_msg("expected \"%s\", got: %s", cases[i].message, error.message);
        assert_int_equal(error.code, ERROR_INVALID);
        assert_no_secret(&error);
        /* Nothing is left that would have to be cleared. */
        assert_null(credentials.environment);
        assert_int_equal(credentials.keys.encryption_count + credentials.keys.signature_count + credentials.api_key_count, 0);
    }
}

/* Whatever is cut off or changed, it is either read or refused; the sanitizers look on. */
static void damaged_credentials_do_no_harm(void **state) {
    (void)state;
    static const char good[] = CREDENTIALS(EC_BARE "," ED_PRIVATE, ",\"apiKeys\":" API_KEYS);
    for (size_t i = 0; i < sizeof good - 1; i++) {
        struct error error = {0};
        struct credentials credentials;
        assert_int_equal(credentials_parse(good, i, &credentials, &error), -1);
        assert_no_secret(&error);
        char changed[sizeof good];
        memcpy(changed, good, sizeof good);
        changed[i] = changed[i] == '"' ? 'A' : '"';
        if (credentials_parse(changed, sizeof good - 1, &credentials, &error) == 0)
            credentials_clear(&credentials);
        assert_no_secret(&error);
    }
}

/* `many` keys of a kind: each has to be another one. */
static char *set_of_new_keys(const char *name, const char *group, size_t many, const char *before) {
    struct text text = TEXT_EMPTY;
    struct error error;
    text_json_open(&text, NULL, '{');
    text_json_open(&text, "keys", '[');
    if (before)
        text_json_raw(&text, NULL, before);
    for (size_t i = 0; i < many; i++) {
        EVP_PKEY *key = group ? EVP_PKEY_Q_keygen(NULL, NULL, name, group) : EVP_PKEY_Q_keygen(NULL, NULL, name);
        struct jwk *jwk = jwk_from_key(key, false, &JWK_ATTRIBUTES_NONE, &error);
        text_json_raw(&text, NULL, jwk_text(jwk));
        jwk_free(jwk);
        EVP_PKEY_free(key);
    }
    text_json_close(&text, ']');
    text_json_close(&text, '}');
    return text_take(&text);
}

static void there_are_no_more_keys_than_fit(void **state) {
    (void)state;
    struct error error = {0};
    struct environment_keys keys;
    struct jwk *api_keys[CREDENTIAL_KEYS_MAX];
    size_t count;

    char *set = set_of_new_keys("EC", "P-256", CREDENTIAL_KEYS_MAX, ED_PUBLIC);
    assert_int_equal(environment_keys_parse(set, strlen(set), &keys, &error), 0);
    assert_int_equal(keys.encryption_count, CREDENTIAL_KEYS_MAX);
    environment_keys_clear(&keys);
    free(set);
    set = set_of_new_keys("EC", "P-256", CREDENTIAL_KEYS_MAX + 1, ED_PUBLIC);
    assert_int_equal(environment_keys_parse(set, strlen(set), &keys, &error), -1);
    assert_string_equal(error.message, "Key 18: There are more than 16 keys to encrypt");
    free(set);
    set = set_of_new_keys("ED25519", NULL, CREDENTIAL_KEYS_MAX, EC_BARE_PUBLIC);
    assert_int_equal(environment_keys_parse(set, strlen(set), &keys, &error), 0);
    environment_keys_clear(&keys);
    free(set);
    set = set_of_new_keys("ED25519", NULL, CREDENTIAL_KEYS_MAX + 1, EC_BARE_PUBLIC);
    assert_int_equal(environment_keys_parse(set, strlen(set), &keys, &error), -1);
    assert_string_equal(error.message, "Key 18: There are more than 16 keys to sign");
    free(set);

    set = set_of_new_keys("ED25519", NULL, CREDENTIAL_KEYS_MAX, NULL);
    assert_int_equal(api_keys_parse(set, strlen(set), api_keys, &count, &error), 0);
    assert_int_equal(count, CREDENTIAL_KEYS_MAX);
    for (size_t i = 0; i < count; i++)
        jwk_free(api_keys[i]);
    free(set);
    set = set_of_new_keys("ED25519", NULL, CREDENTIAL_KEYS_MAX + 1, NULL);
    assert_int_equal(api_keys_parse(set, strlen(set), api_keys, &count, &error), -1);
    assert_string_equal(error.message, "Key 17 of the API: There are more than 16 keys to sign");
    assert_int_equal(count, 0);
    free(set);
}

static void public_sets_have_no_private_half(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"keys\":[" EC_BARE "," ED_PUBLIC "]}", "Key 1: It has a private half: hand in the public part only"},
        {"{\"keys\":[" EC_BARE_PUBLIC "," ED_PRIVATE "]}", "Key 2: It has a private half: hand in the public part only"},
        {"{\"keys\":[" EC_BARE_PUBLIC "]}", "A key to sign is missing"},
        {"{\"keys\":[" ED_PUBLIC "]}", "A key to encrypt is missing"},
        {"{\"keys\":[]}", "A key to encrypt is missing"},
        {ED_PUBLIC, "\"keys\""},
        {"[" ED_PUBLIC "]", "A JWK Set must be a JSON object"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error error = {0};
        struct environment_keys keys;
        assert_int_equal(environment_keys_parse(cases[i].text, strlen(cases[i].text), &keys, &error), -1);
        if (!strstr(error.message, cases[i].message))
            fail_msg("expected \"%s\", got: %s", cases[i].message, error.message);
        assert_no_secret(&error);
    }
    struct error error = {0};
    struct environment_keys keys;
    static const char good[] = "{\"keys\":[" EC_BARE_PUBLIC "," ED_PUBLIC "],\"note\":\"members that are unknown are passed over\"}";
    assert_int_equal(environment_keys_parse(good, sizeof good - 1, &keys, &error), 0);
    assert_int_equal(keys.encryption_count, 1);
    assert_int_equal(keys.signature_count, 1);
    environment_keys_clear(&keys);
}

static void sets_of_api_keys_are_public_and_not_empty(void **state) {
    (void)state;
    struct error error = {0};
    struct jwk *keys[CREDENTIAL_KEYS_MAX];
    size_t count;
    assert_int_equal(api_keys_parse(API_KEYS, sizeof API_KEYS - 1, keys, &count, &error), 0);
    assert_int_equal(count, 1);
    jwk_free(keys[0]);
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{\"keys\":[]}", "The JWK Set has no keys"},
        {"{\"keys\":[" ED_PRIVATE "]}", "Key 1 of the API: It has a private half: hand in the public part only"},
        {"{\"keys\":[" X25519_BOB "]}", "Key 1 of the API: A key that signs events must be on Ed25519"},
        {"{\"keys\":7}", "\"keys\""},
        {"7", "A JWK Set must be a JSON object"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(api_keys_parse(cases[i].text, strlen(cases[i].text), keys, &count, &error), -1);
        if (!strstr(error.message, cases[i].message))
            fail_msg("expected \"%s\", got: %s", cases[i].message, error.message);
        assert_int_equal(count, 0);
        assert_no_secret(&error);
    }
}

static void new_credentials_fit_their_public_keys(void **state) {
    (void)state;
    struct error error = {0};
    struct credentials credentials;
    struct environment_keys keys;
    struct text secret = TEXT_EMPTY, public_keys = TEXT_EMPTY, again = TEXT_EMPTY, ignored = TEXT_EMPTY;
    credentials_generate("a \"quoted\" name", API_KEYS, &secret, &public_keys);
    assert_int_equal(credentials_parse(secret.bytes, secret.length, &credentials, &error), 0);
    assert_int_equal(environment_keys_parse(public_keys.bytes, public_keys.length, &keys, &error), 0);
    assert_string_equal(credentials.environment, "a \"quoted\" name");
    assert_int_equal(credentials.api_key_count, 1);
    assert_int_equal(credentials.keys.encryption_count, 1);
    assert_string_equal(credentials.keys.encryption[0].kid, keys.encryption[0].kid);
    assert_int_equal(EVP_PKEY_eq(credentials.keys.encryption[0].key, keys.encryption[0].key), 1);
    char thumbprint[SHA256_TEXT_SIZE];
    jwk_thumbprint(credentials.keys.signature[0], thumbprint);
    assert_string_equal(jwk_kid(keys.signature[0]), thumbprint);
    assert_string_equal(jwk_public_text(credentials.keys.signature[0]), jwk_text(keys.signature[0]));
    assert_string_equal(jwk_use(keys.signature[0]), "sig");
    assert_string_equal(jwk_algorithm(keys.signature[0]), "EdDSA");
    assert_non_null(strstr(public_keys.bytes, "\"use\":\"enc\",\"alg\":\"ECDH-ES+A256KW\""));
    assert_null(strstr(public_keys.bytes, "\"d\""));
    credentials_generate("other", API_KEYS, &again, &ignored);
    assert_null(strstr(again.bytes, keys.encryption[0].kid));
    assert_null(strstr(again.bytes, thumbprint));
    credentials_clear(&credentials);
    environment_keys_clear(&keys);
    text_wipe(&secret);
    text_wipe(&again);
    text_free(&public_keys);
    text_free(&ignored);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_told_apart_by_their_curve),
        cmocka_unit_test(old_and_new_keys_stand_in_their_order),
        cmocka_unit_test(uses_and_algorithms_may_be_said),
        cmocka_unit_test(what_is_wrong_is_told),
        cmocka_unit_test(damaged_credentials_do_no_harm),
        cmocka_unit_test(there_are_no_more_keys_than_fit),
        cmocka_unit_test(public_sets_have_no_private_half),
        cmocka_unit_test(sets_of_api_keys_are_public_and_not_empty),
        cmocka_unit_test(new_credentials_fit_their_public_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
