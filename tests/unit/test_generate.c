/* The Generate operation: what each type, parameter and default yields, and the sentence for each mistake. */
#include "tests/unit/source_fixture.h"

#include "api/generate.h"
#include "common/json.h"

enum { YEAR_2026 = 1767225600 }; /* 2026-01-01T00:00:00Z */
static const int64_t now_ms = YEAR_2026 * 1000LL + 250;

static struct jwk *generate(const char *body, struct error *error) {
    cJSON *tree = json_parse(body, strlen(body), error);
    if (tree == NULL)
        fail_msg("%s: %s", body, error->message);
    struct jwk *jwk = generate_jwk(tree, now_ms, error);
    json_wipe(tree);
    return jwk;
}

static cJSON *generate_tree(const char *body) {
    struct error error = {0};
    struct jwk *jwk = generate(body, &error);
    if (jwk == NULL)
        fail_msg("%s is refused: %s", body, error.message);
    assert_true(jwk_has_private(jwk));
    cJSON *tree = jwk_tree(jwk);
    jwk_free(jwk);
    return tree;
}

static void assert_member(const char *body, const cJSON *tree, const char *name, const char *value) {
    const char *found = member(tree, name);
    if ((found == NULL) != (value == NULL) || (found != NULL && strcmp(found, value) != 0))
        fail_msg("%s yields %s \"%s\", not \"%s\"", body, name, found == NULL ? "(none)" : found,
                 value == NULL ? "(none)" : value);
}

static void test_each_type_and_parameter_yields_its_registered_names(void **state) {
    (void)state;
    static const struct {
        const char *body, *kty, *curve, *use, *algorithm;
        size_t length; /* characters of n, x or k */
    } cases[] = {
        {"{\"name\":\"a\",\"type\":\"RSA\"}", "RSA", NULL, "sig", NULL, 342},
        {"{\"type\":\"RSA\",\"rsa\":{\"keySize\":3072,\"algorithm\":\"RSA256\"}}", "RSA", NULL, "sig", "RS256", 512},
        {"{\"type\":\"RSA\",\"rsa\":{\"algorithm\":\"RSA512\",\"keyUseType\":\"SIGNATURE\"}}", "RSA", NULL, "sig", "RS512",
         342},
        {"{\"type\":\"RSA\",\"rsa\":{\"algorithm\":\"PS384\"}}", "RSA", NULL, "sig", "PS384", 342},
        {"{\"type\":\"RSA\",\"rsa\":{\"algorithm\":\"RSA_OAEP_256\"}}", "RSA", NULL, "enc", "RSA-OAEP-256", 342},
        {"{\"type\":\"RSA\",\"rsa\":{\"algorithm\":\"RSA1_5\",\"keyUseType\":\"ENCRYPTION\"}}", "RSA", NULL, "enc", "RSA1_5",
         342},
        {"{\"type\":\"RSA\",\"rsa\":{\"algorithm\":\"RS384\"}}", "RSA", NULL, "sig", "RS384", 342},
        {"{\"type\":\"EC\",\"ec\":null}", "EC", "P-256", "sig", NULL, 43},
        {"{\"type\":\"EC\",\"ec\":{\"curveType\":\"P384\"}}", "EC", "P-384", "sig", NULL, 64},
        {"{\"type\":\"EC\",\"ec\":{\"curveType\":\"P521\",\"algorithm\":\"ES512\"}}", "EC", "P-521", "sig", "ES512", 88},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"ES256K\"}}", "EC", "secp256k1", "sig", "ES256K", 43},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"ES384\"}}", "EC", "P-384", "sig", "ES384", 64},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"ECDH_ES\"}}", "EC", "P-256", "enc", "ECDH-ES", 43},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"ECDH_1PU_A192KW\",\"curveType\":\"P384\"}}", "EC", "P-384", "enc",
         "ECDH-1PU+A192KW", 64},
        {"{\"type\":\"OKP\"}", "OKP", "Ed25519", "sig", NULL, 43},
        {"{\"type\":\"OKP\",\"okp\":{\"algorithm\":\"EdDSA\",\"curveType\":\"ED25519\"}}", "OKP", "Ed25519", "sig", "EdDSA",
         43},
        {"{\"type\":\"OKP\",\"okp\":{\"curveType\":\"X25519\"}}", "OKP", "X25519", "enc", NULL, 43},
        {"{\"type\":\"OKP\",\"okp\":{\"keyUseType\":\"ENCRYPTION\"}}", "OKP", "X25519", "enc", NULL, 43},
        {"{\"type\":\"OKP\",\"okp\":{\"algorithm\":\"ECDH_ES_A256KW\"}}", "OKP", "X25519", "enc", "ECDH-ES+A256KW", 43},
        {"{\"type\":\"OCT\",\"oct\":{}}", "oct", NULL, "sig", NULL, 43},
        {"{\"type\":\"OCT\",\"oct\":{\"keySize\":128}}", "oct", NULL, "sig", NULL, 22},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"HS256\",\"keySize\":256}}", "oct", NULL, "sig", "HS256", 43},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"HS384\"}}", "oct", NULL, "sig", "HS384", 64},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"HS512\"}}", "oct", NULL, "sig", "HS512", 86},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"A192GCMKW\"}}", "oct", NULL, "enc", "A192GCMKW", 32},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"A128KW\",\"keySize\":128}}", "oct", NULL, "enc", "A128KW", 22},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"DIR\",\"keySize\":192}}", "oct", NULL, "enc", "dir", 32},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"PBES2_HS256_A128KW\"}}", "oct", NULL, "enc", "PBES2-HS256+A128KW", 43},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *tree = generate_tree(cases[i].body);
        const char *kty = cases[i].kty;
        assert_member(cases[i].body, tree, "kty", kty);
        assert_member(cases[i].body, tree, "crv", cases[i].curve);
        assert_member(cases[i].body, tree, "use", cases[i].use);
        assert_member(cases[i].body, tree, "alg", cases[i].algorithm);
        const char *value = member(tree, strcmp(kty, "RSA") == 0 ? "n" : strcmp(kty, "oct") == 0 ? "k" : "x");
        assert_int_equal(strlen(value), cases[i].length);
        cJSON_Delete(tree);
    }
}

static void test_the_kid_is_the_given_one_or_of_its_type(void **state) {
    (void)state;
    cJSON *tree = generate_tree("{\"type\":\"EC\",\"kid\":\"mine\",\"ec\":{\"keyIdType\":\"NONE\"}}");
    assert_string_equal(member(tree, "kid"), "mine");
    cJSON_Delete(tree);
    tree = generate_tree("{\"type\":\"EC\",\"ec\":{\"keyIdType\":\"NONE\"}}");
    assert_false(has_member(tree, "kid"));
    cJSON_Delete(tree);

    /* TIMESTAMP is the default; two of one millisecond differ. */
    tree = generate_tree("{\"type\":\"EC\"}");
    cJSON *second = generate_tree("{\"type\":\"OKP\",\"okp\":{\"keyIdType\":\"TIMESTAMP\",\"curveType\":\"X25519\"}}");
    assert_int_equal(strncmp(member(tree, "kid"), "sig-17672256002", 15), 0);
    assert_int_equal(strncmp(member(second, "kid"), "enc-17672256002", 15), 0);
    assert_int_not_equal(atoll(member(tree, "kid") + 4), atoll(member(second, "kid") + 4));
    cJSON_Delete(second);
    cJSON_Delete(tree);
    tree = generate_tree("{\"type\":\"EC\",\"ec\":{\"keyIdType\":\"ISO_DATE\"}}");
    assert_int_equal(strncmp(member(tree, "kid"), "sig-2026-01-01T00:00:00.2", 25), 0);
    cJSON_Delete(tree);
}

/* Held against openssl's digest of the canonical members, written out here once more. */
static void assert_thumbprint(const char *body, const char *digest) {
    cJSON *tree = generate_tree(body);
    const char *kty = member(tree, "kty");
    char *canonical = strcmp(kty, "RSA") == 0
                          ? memory_format("{\"e\":\"%s\",\"kty\":\"RSA\",\"n\":\"%s\"}", member(tree, "e"), member(tree, "n"))
                      : strcmp(kty, "oct") == 0 ? memory_format("{\"k\":\"%s\",\"kty\":\"oct\"}", member(tree, "k"))
                      : strcmp(kty, "OKP") == 0 ? memory_format("{\"crv\":\"%s\",\"kty\":\"OKP\",\"x\":\"%s\"}",
                                                                member(tree, "crv"), member(tree, "x"))
                                                : memory_format("{\"crv\":\"%s\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
                                                                member(tree, "crv"), member(tree, "x"), member(tree, "y"));
    char *script = memory_format("printf '%%s' '%s' | openssl dgst -%s -binary | base64 -w0 | tr '+/' '-_' | tr -d = >kid",
                                 canonical, digest);
    fixture_run(script);
    char *kid = fixture_read("kid", NULL);
    assert_member(body, tree, "kid", kid);
    free(kid);
    free(script);
    free(canonical);
    cJSON_Delete(tree);
}

static void test_a_hashed_kid_is_the_thumbprint_of_rfc_7638(void **state) {
    (void)state;
    assert_thumbprint("{\"type\":\"RSA\",\"rsa\":{\"keyIdType\":\"SHA1\"}}", "sha1");
    assert_thumbprint("{\"type\":\"EC\",\"ec\":{\"keyIdType\":\"SHA1\"}}", "sha1");
    assert_thumbprint("{\"type\":\"OKP\",\"okp\":{\"keyIdType\":\"SHA1\"}}", "sha1");
    assert_thumbprint("{\"type\":\"OCT\",\"oct\":{\"keyIdType\":\"SHA1\"}}", "sha1");
    assert_thumbprint("{\"type\":\"RSA\",\"rsa\":{\"keyIdType\":\"SHA256\"}}", "sha256");
    assert_thumbprint("{\"type\":\"EC\",\"ec\":{\"keyIdType\":\"SHA256\"}}", "sha256");
    assert_thumbprint("{\"type\":\"OCT\",\"oct\":{\"keyIdType\":\"SHA256\"}}", "sha256");
}

static void test_validity_is_as_asked_or_a_year_from_now(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int64_t not_before, expires;
    } cases[] = {
        {"{\"type\":\"EC\"}", YEAR_2026, 1798761600},
        {"{\"type\":\"EC\",\"ec\":{\"notBeforeTime\":\"2027-06-01T02:00:00+02:00\"}}", 1811808000, 1843430400},
        {"{\"type\":\"EC\",\"ec\":{\"expirationTime\":\"2026-01-01T00:00:01.999Z\"}}", YEAR_2026, YEAR_2026 + 1},
        {"{\"type\":\"EC\",\"ec\":{\"notBeforeTime\":\"2020-01-01T00:00:00\",\"expirationTime\":\"2030-01-01\"}}", 1577836800,
         1893456000},
        /* a leap day has no next year */
        {"{\"type\":\"EC\",\"ec\":{\"notBeforeTime\":\"2028-02-29T00:00:00Z\",\"expirationTime\":\"\"}}", 1835395200,
         1866931200},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *tree = generate_tree(cases[i].body);
        if (number(tree, "nbf") != cases[i].not_before || number(tree, "exp") != cases[i].expires)
            fail_msg("%s yields nbf %ld and exp %ld", cases[i].body, (long)number(tree, "nbf"), (long)number(tree, "exp"));
        cJSON_Delete(tree);
    }
}

static void test_password_numbers_stand_in_pbes2_keys_alone(void **state) {
    (void)state;
    cJSON *tree =
        generate_tree("{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"PBES2_HS512_A256KW\",\"passwordIterationCount\":4096}}");
    assert_int_equal(number(tree, "passwordSaltLength"), 8);
    assert_int_equal(number(tree, "passwordIterationCount"), 4096);
    cJSON_Delete(tree);
    tree = generate_tree(
        "{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"A256KW\",\"passwordSaltLength\":8,\"passwordIterationCount\":1000}}");
    assert_false(has_member(tree, "passwordSaltLength"));
    assert_false(has_member(tree, "passwordIterationCount"));
    cJSON_Delete(tree);
}

static void test_no_two_keys_are_equal(void **state) {
    (void)state;
    static const char *const bodies[] = {"{\"type\":\"OCT\"}", "{\"type\":\"EC\"}", "{\"type\":\"OKP\"}"};
    static const char *const secrets[] = {"k", "d", "d"};

    for (size_t i = 0; i < 3; i++) {
        cJSON *first = generate_tree(bodies[i]);
        cJSON *second = generate_tree(bodies[i]);
        assert_string_not_equal(member(first, secrets[i]), member(second, secrets[i]));
        cJSON_Delete(first);
        cJSON_Delete(second);
    }
}

static void test_each_mistake_gets_its_sentence(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{}", "JWK type can not be empty!"},
        {"{\"type\":\"\"}", "JWK type can not be empty!"},
        {"{\"type\":\"rsa\"}", "JWK type (rsa) is not supported! It must be RSA, EC, OCT or OKP."},
        {"{\"type\":1}", "type"},
        {"{\"type\":\"EC\",\"rsa\":{}}", "JWK type is EC, but there is an object (rsa) for another type!"},
        {"{\"type\":\"EC\",\"ec\":[]}", "ec"},
        {"{\"type\":\"EC\",\"ec\":{\"keySize\":256}}", "keySize"},
        {"{\"type\":\"RSA\",\"rsa\":{\"keySize\":1024}}", "Key size (1024) is not supported! It must be 2048, 3072 or 4096."},
        {"{\"type\":\"RSA\",\"rsa\":{\"keySize\":\"2048\"}}", "keySize"},
        {"{\"type\":\"OCT\",\"oct\":{\"keySize\":64}}",
         "Key size (64) is not supported! It must be 128, 192, 256, 384 or 512."},
        {"{\"type\":\"EC\",\"ec\":{\"curveType\":\"P-256\"}}",
         "Curve type (P-256) is not supported! It must be P256, P384, P521 or SECP256K1."},
        {"{\"type\":\"EC\",\"ec\":{\"curveType\":\"ED25519\"}}", "Curve type (ED25519) is not supported! It must be P256"},
        {"{\"type\":\"OKP\",\"okp\":{\"curveType\":\"ED448\"}}",
         "Curve type (ED448) is not supported! It must be ED25519 or X25519."},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"none\"}}", "Algorithm (none) is not supported!"},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"RSA256\"}}", "RS256"},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"ES256\",\"curveType\":\"P384\"}}", "ES256"},
        {"{\"type\":\"EC\",\"ec\":{\"algorithm\":\"ES256\",\"keyUseType\":\"ENCRYPTION\"}}", "ES256"},
        {"{\"type\":\"OKP\",\"okp\":{\"curveType\":\"X25519\",\"keyUseType\":\"SIGNATURE\"}}", "X25519"},
        {"{\"type\":\"EC\",\"ec\":{\"keyUseType\":\"BOTH\"}}",
         "keyUseType (BOTH) is not supported! It must be SIGNATURE or ENCRYPTION."},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"HS512\",\"keySize\":256}}",
         "Algorithm (HS512) needs a key of 512 bits or more, not 256!"},
        {"{\"type\":\"OCT\",\"oct\":{\"algorithm\":\"A128KW\",\"keySize\":256}}",
         "Algorithm (A128KW) needs a key of 128 bits, not 256!"},
        {"{\"type\":\"EC\",\"ec\":{\"keyIdType\":\"MD5\"}}", "Key id type (MD5) is not supported!"},
        {"{\"type\":\"EC\",\"ec\":{\"notBeforeTime\":\"tomorrow\"}}", "notBeforeTime (tomorrow) is not an ISO 8601 time"},
        {"{\"type\":\"EC\",\"ec\":{\"notBeforeTime\":\"1969-12-31T23:59:59Z\"}}", "notBeforeTime must not be before 1970!"},
        {"{\"type\":\"EC\",\"ec\":{\"expirationTime\":\"2026-02-30T00:00:00Z\"}}",
         "expirationTime (2026-02-30T00:00:00Z) is not"},
        {"{\"type\":\"EC\",\"ec\":{\"expirationTime\":\"2025-12-31T00:00:00Z\"}}",
         "expirationTime must be after notBeforeTime!"},
        {"{\"type\":\"EC\",\"ec\":{\"notBeforeTime\":\"2024-01-01\",\"expirationTime\":\"2025-01-01\"}}",
         "expirationTime must be in the future!"},
        {"{\"type\":\"OCT\",\"oct\":{\"passwordSaltLength\":7}}", "passwordSaltLength"},
        {"{\"type\":\"OCT\",\"oct\":{\"passwordIterationCount\":999}}", "passwordIterationCount"},
        {"{\"type\":\"OCT\",\"oct\":{\"passwordIterationCount\":10000001}}", "passwordIterationCount"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {0};
        struct jwk *jwk = generate(cases[i][0], &error);
        if (jwk != NULL)
            fail_msg("%s is taken", cases[i][0]);
        assert_message(error, cases[i][1]);
    }
    char *body = memory_format("{\"type\":\"EC\",\"kid\":\"%0256d\"}", 0);
    struct error error = {0};
    assert_null(generate(body, &error));
    assert_message(error, "kid is longer than 255 bytes!");
    free(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type_and_parameter_yields_its_registered_names),
        cmocka_unit_test(test_the_kid_is_the_given_one_or_of_its_type),
        cmocka_unit_test(test_a_hashed_kid_is_the_thumbprint_of_rfc_7638),
        cmocka_unit_test(test_validity_is_as_asked_or_a_year_from_now),
        cmocka_unit_test(test_password_numbers_stand_in_pbes2_keys_alone),
        cmocka_unit_test(test_no_two_keys_are_equal),
        cmocka_unit_test(test_each_mistake_gets_its_sentence),
    };

    return cmocka_run_group_tests_name("generate", tests, fixture_open, fixture_close);
}
