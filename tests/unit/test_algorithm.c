/* Every algorithm of create and generate: its two names, and the keys and uses that it suits, written out from the contract. */
#include "tests/unit/source_fixture.h"

#include "api/algorithm.h"

static const struct {
    const char *name, *generate_name;
    const char *use;      /* SIGNATURE or ENCRYPTION */
    const char *suitable; /* the keys of the list below that it suits, by their letters */
} algorithms[] = {
    {"RS256", "RSA256", "SIGNATURE", "r"},
    {"RS384", "RSA384", "SIGNATURE", "r"},
    {"RS512", "RSA512", "SIGNATURE", "r"},
    {"PS256", "PS256", "SIGNATURE", "r"},
    {"PS384", "PS384", "SIGNATURE", "r"},
    {"PS512", "PS512", "SIGNATURE", "r"},
    {"RSA1_5", "RSA1_5", "ENCRYPTION", "r"},
    {"RSA-OAEP", "RSA_OAEP", "ENCRYPTION", "r"},
    {"RSA-OAEP-256", "RSA_OAEP_256", "ENCRYPTION", "r"},
    {"RSA-OAEP-384", "RSA_OAEP_384", "ENCRYPTION", "r"},
    {"RSA-OAEP-512", "RSA_OAEP_512", "ENCRYPTION", "r"},
    {"ES256", "ES256", "SIGNATURE", "a"},
    {"ES384", "ES384", "SIGNATURE", "b"},
    {"ES512", "ES512", "SIGNATURE", "c"},
    {"ES256K", "ES256K", "SIGNATURE", "k"},
    {"EdDSA", "EdDSA", "SIGNATURE", "e"},
    {"Ed25519", "Ed25519", "SIGNATURE", "e"},
    {"ECDH-ES", "ECDH_ES", "ENCRYPTION", "abcx"},
    {"ECDH-ES+A128KW", "ECDH_ES_A128KW", "ENCRYPTION", "abcx"},
    {"ECDH-ES+A192KW", "ECDH_ES_A192KW", "ENCRYPTION", "abcx"},
    {"ECDH-ES+A256KW", "ECDH_ES_A256KW", "ENCRYPTION", "abcx"},
    {"ECDH-1PU", "ECDH_1PU", "ENCRYPTION", "abcx"},
    {"ECDH-1PU+A128KW", "ECDH_1PU_A128KW", "ENCRYPTION", "abcx"},
    {"ECDH-1PU+A192KW", "ECDH_1PU_A192KW", "ENCRYPTION", "abcx"},
    {"ECDH-1PU+A256KW", "ECDH_1PU_A256KW", "ENCRYPTION", "abcx"},
    {"HS256", "HS256", "SIGNATURE", "345"},
    {"HS384", "HS384", "SIGNATURE", "45"},
    {"HS512", "HS512", "SIGNATURE", "5"},
    {"A128KW", "A128KW", "ENCRYPTION", "1"},
    {"A192KW", "A192KW", "ENCRYPTION", "2"},
    {"A256KW", "A256KW", "ENCRYPTION", "3"},
    {"A128GCMKW", "A128GCMKW", "ENCRYPTION", "1"},
    {"A192GCMKW", "A192GCMKW", "ENCRYPTION", "2"},
    {"A256GCMKW", "A256GCMKW", "ENCRYPTION", "3"},
    {"dir", "DIR", "ENCRYPTION", "12345"},
    {"PBES2-HS256+A128KW", "PBES2_HS256_A128KW", "ENCRYPTION", "12345"},
    {"PBES2-HS384+A192KW", "PBES2_HS384_A192KW", "ENCRYPTION", "12345"},
    {"PBES2-HS512+A256KW", "PBES2_HS512_A256KW", "ENCRYPTION", "12345"},
};

static const struct {
    char letter;
    struct algorithm_key key;
} keys[] = {
    {'r', {JWK_RSA, NULL, 2048}},    {'a', {JWK_EC, "P-256", 0}},    {'b', {JWK_EC, "P-384", 0}},   {'c', {JWK_EC, "P-521", 0}},
    {'k', {JWK_EC, "secp256k1", 0}}, {'e', {JWK_OKP, "Ed25519", 0}}, {'x', {JWK_OKP, "X25519", 0}}, {'1', {JWK_OCT, NULL, 128}},
    {'2', {JWK_OCT, NULL, 192}},     {'3', {JWK_OCT, NULL, 256}},    {'4', {JWK_OCT, NULL, 384}},   {'5', {JWK_OCT, NULL, 512}},
};

enum { ALGORITHMS = sizeof algorithms / sizeof algorithms[0], KEYS = sizeof keys / sizeof keys[0] };

static void test_both_names_lead_to_the_registered_one(void **state) {
    (void)state;
    for (size_t i = 0; i < ALGORITHMS; i++) {
        assert_non_null(algorithm_find(algorithms[i].name));
        assert_string_equal(algorithm_find(algorithms[i].name)->name, algorithms[i].name);
        assert_non_null(algorithm_find(algorithms[i].generate_name));
        assert_string_equal(algorithm_find(algorithms[i].generate_name)->name, algorithms[i].name);
    }
    assert_null(algorithm_find("none"));
    assert_null(algorithm_find("rs256"));
    assert_null(algorithm_find(""));
    assert_null(algorithm_find(NULL));
}

static void test_an_algorithm_suits_its_keys_and_its_use_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < ALGORITHMS; i++) {
        for (size_t j = 0; j < KEYS; j++) {
            bool suitable = strchr(algorithms[i].suitable, keys[j].letter) != NULL;
            bool signs = strcmp(algorithms[i].use, "SIGNATURE") == 0;
            const char *uses[] = {NULL, "SIGNATURE", "ENCRYPTION"};
            for (size_t k = 0; k < 3; k++) {
                struct algorithm_request request = {uses[k], algorithms[i].name};
                struct algorithm_choice choice;
                struct error error = {0};
                bool expected = suitable && (k == 0 || (k == 1) == signs);
                if ((algorithm_choose(&request, &keys[j].key, &choice, &error) == 0) != expected)
                    fail_msg("%s with key %c for %s: %s", algorithms[i].name, keys[j].letter, uses[k], error.message);
                if (expected) {
                    assert_string_equal(choice.algorithm, algorithms[i].name);
                    assert_string_equal(choice.use, signs ? "sig" : "enc");
                } else {
                    assert_int_equal(error.code, ERROR_INVALID);
                }
            }
        }
    }
}

static void test_without_an_algorithm_the_use_alone_must_suit(void **state) {
    (void)state;
    struct algorithm_choice choice;
    struct error error = {0};
    struct algorithm_request signature = {"SIGNATURE", ""};
    struct algorithm_request encryption = {"ENCRYPTION", NULL};
    struct algorithm_request nothing = {"", NULL};

    for (size_t j = 0; j < KEYS; j++) {
        assert_int_equal(algorithm_choose(&signature, &keys[j].key, &choice, &error), keys[j].letter == 'x' ? -1 : 0);
        assert_int_equal(algorithm_choose(&encryption, &keys[j].key, &choice, &error),
                         keys[j].letter == 'e' || keys[j].letter == 'k' ? -1 : 0);
        assert_ok(algorithm_choose(&nothing, &keys[j].key, &choice, &error), error);
        assert_null(choice.use);
        assert_null(choice.algorithm);
    }
    assert_ok(algorithm_choose(&signature, &keys[0].key, &choice, &error), error);
    assert_string_equal(choice.use, "sig");
    assert_null(choice.algorithm);
}

static void test_unknown_names_are_told(void **state) {
    (void)state;
    struct algorithm_choice choice;
    struct error error = {0};
    struct algorithm_request use = {"sig", NULL};
    struct algorithm_request algorithm = {NULL, "HS1"};

    assert_int_equal(algorithm_choose(&use, &keys[0].key, &choice, &error), -1);
    assert_message(error, "useType (sig) is not supported! It must be SIGNATURE or ENCRYPTION.");
    assert_int_equal(algorithm_choose(&algorithm, &keys[0].key, &choice, &error), -1);
    assert_message(error, "Algorithm (HS1) is not supported!");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_names_lead_to_the_registered_one),
        cmocka_unit_test(test_an_algorithm_suits_its_keys_and_its_use_alone),
        cmocka_unit_test(test_without_an_algorithm_the_use_alone_must_suit),
        cmocka_unit_test(test_unknown_names_are_told),
    };

    return cmocka_run_group_tests_name("algorithm", tests, NULL, NULL);
}
