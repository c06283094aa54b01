/* Keys as PEM and DER: every structure that is to be read is read, and every other input gets the sentence that tells why not.
 */
#include "tests/unit/source_fixture.h"

#include "api/source_key.h"

static const struct algorithm_request any = {NULL, NULL};

static int make_keys(void **state) {
    if (fixture_open(state) < 0)
        return -1;
    fixture_run("openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.pkcs8.pem\n"
                "openssl rsa -in rsa.pkcs8.pem -traditional -out rsa.pkcs1.pem\n"
                "openssl rsa -in rsa.pkcs8.pem -pubout -out rsa.spki.pem\n"
                "openssl rsa -in rsa.pkcs8.pem -RSAPublicKey_out -out rsa.pkcs1pub.pem\n"
                "openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out pss.pkcs8.pem\n"
                "for curve in prime256v1 secp384r1 secp521r1 secp256k1 brainpoolP256r1; do\n"
                "  openssl ecparam -name $curve -genkey -out $curve.sec1.pem\n" /* with EC PARAMETERS before the key */
                "  openssl pkcs8 -topk8 -nocrypt -in $curve.sec1.pem -out $curve.pkcs8.pem\n"
                "  openssl pkey -in $curve.sec1.pem -pubout -out $curve.spki.pem\n"
                "  openssl ec -in $curve.sec1.pem -no_public -out $curve.bare.pem\n"
                "done\n"
                "for type in ED25519 X25519 ED448 X448; do\n"
                "  openssl genpkey -algorithm $type -out $type.pkcs8.pem\n"
                "  openssl pkey -in $type.pkcs8.pem -pubout -out $type.spki.pem\n"
                "done\n"
                "openssl ecparam -name prime256v1 -param_enc explicit -genkey -noout -out explicit.pem\n"
                "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.pem\n"
                "openssl genpkey -algorithm DH -pkeyopt group:ffdhe2048 -out dh.pem\n"
                "openssl pkcs8 -topk8 -in rsa.pkcs8.pem -passout pass:secret -out encrypted.pem\n"
                "openssl pkcs8 -topk8 -in rsa.pkcs8.pem -passout pass:secret -outform DER -out encrypted.der\n"
                "openssl rsa -in rsa.pkcs8.pem -aes128 -traditional -passout pass:secret -out encrypted1.pem\n"
                "openssl req -x509 -new -key rsa.pkcs8.pem -subj /CN=a -out certificate.pem\n"
                "openssl x509 -in certificate.pem -outform DER -out certificate.der\n"
                "openssl req -new -key rsa.pkcs8.pem -subj /CN=a -out request.pem\n"
                "for name in *.pkcs8.pem *.pkcs1.pem *.sec1.pem; do\n"
                "  sed '/BEGIN EC PARAMETERS/,/END EC PARAMETERS/d;/-----/d' $name | base64 -d >${name%.pem}.der\n"
                "done\n"
                "for name in *.spki.pem *.pkcs1pub.pem; do sed '/-----/d' $name | base64 -d >${name%.pem}.der; done\n"
                "openssl pkey -in rsa.pkcs8.pem -text -out explained.pem; openssl pkey -in rsa.pkcs8.pem >key.pem\n"
                "{ openssl pkey -in rsa.pkcs8.pem -noout -text; cat key.pem; } >explained.pem\n"
                "cat rsa.pkcs8.pem rsa.spki.pem >several.pem\n"
                "cat rsa.pkcs8.pem certificate.pem >bundle.pem\n"
                "{ cat rsa.pkcs8.pem; echo garbage; } >garbage.pem\n"
                "{ cat rsa.pkcs8.der; printf x; } >garbage.der\n"
                "head -c 900 rsa.pkcs8.pem >truncated.pem\n"
                "head -c 900 rsa.pkcs8.der >truncated.der\n"
                "sed 's/PUBLIC KEY/PRIVATE KEY/' rsa.spki.pem >mislabelled.pem\n"
                "sed 's/PRIVATE KEY/PUBLIC KEY/' rsa.pkcs8.pem >mislabelled2.pem\n"
                "printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\\nAAAA\\n-----END OPENSSH PRIVATE KEY-----\\n' >openssh.pem\n"
                "echo '{\"kty\":\"RSA\"}' >key.json\n"
                ": >empty; head -c 300000 /dev/zero >huge\n");
    return 0;
}

static void assert_reads(const char *name, bool is_private, enum jwk_type type, const char *curve) {
    struct error error = {0};
    struct source_key key;
    size_t size;
    char *bytes = fixture_read(name, &size);

    if (source_key_read("Key", bytes, size, &key, &error) != 0)
        fail_msg("%s is refused: %s", name, error.message);
    assert_int_equal(key.is_private, is_private);
    assert_int_equal(key.type, type);
    if (curve == NULL)
        assert_null(key.curve);
    else
        assert_string_equal(key.curve, curve);
    struct jwk *jwk = source_key_jwk(&key, is_private, &any, NULL, &error);
    assert_made(jwk, error);
    assert_int_equal(jwk_has_private(jwk), is_private);
    jwk_free(jwk);
    source_key_clear(&key);
    free(bytes);
}

static void test_every_structure_of_rsa_is_read(void **state) {
    (void)state;
    static const char *const private_files[] = {"rsa.pkcs8.pem", "rsa.pkcs8.der", "rsa.pkcs1.pem", "rsa.pkcs1.der",
                                                "explained.pem"};
    static const char *const public_files[] = {"rsa.spki.pem", "rsa.spki.der", "rsa.pkcs1pub.pem", "rsa.pkcs1pub.der"};

    for (size_t i = 0; i < sizeof private_files / sizeof private_files[0]; i++)
        assert_reads(private_files[i], true, JWK_RSA, NULL);
    for (size_t i = 0; i < sizeof public_files / sizeof public_files[0]; i++)
        assert_reads(public_files[i], false, JWK_RSA, NULL);
}

static void test_every_structure_and_curve_of_ec_is_read(void **state) {
    (void)state;
    static const char *const groups[][2] = {
        {"prime256v1", "P-256"}, {"secp384r1", "P-384"}, {"secp521r1", "P-521"}, {"secp256k1", "secp256k1"}};
    static const char *const forms[] = {"sec1.pem", "sec1.der", "pkcs8.pem", "pkcs8.der", "bare.pem", "spki.pem", "spki.der"};

    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 7; j++) {
            char name[64];
            snprintf(name, sizeof name, "%s.%s", groups[i][0], forms[j]);
            assert_reads(name, j < 5, JWK_EC, groups[i][1]);
        }
}

static void test_edwards_and_montgomery_keys_are_read(void **state) {
    (void)state;
    assert_reads("ED25519.pkcs8.pem", true, JWK_OKP, "Ed25519");
    assert_reads("ED25519.spki.der", false, JWK_OKP, "Ed25519");
    assert_reads("X25519.pkcs8.der", true, JWK_OKP, "X25519");
    assert_reads("X25519.spki.pem", false, JWK_OKP, "X25519");
}

static void test_what_is_not_one_plain_key_is_refused_with_its_reason(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"encrypted.pem", "Key is encrypted; hand it in without a password!"},
        {"encrypted.der", "Key is encrypted; hand it in without a password!"},
        {"encrypted1.pem", "Key is encrypted; hand it in without a password!"},
        {"several.pem", "Key holds several keys! Hand in one."},
        {"bundle.pem", "Key has other text behind its end!"},
        {"garbage.pem", "Key has other text behind its end!"},
        {"garbage.der", "Key has other bytes behind its end!"},
        {"truncated.pem", "Key is truncated or damaged PEM!"},
        {"truncated.der", "Key is truncated or damaged!"},
        {"certificate.pem", "Key is a certificate; create it as a certificate!"},
        {"certificate.der", "Key is a certificate; create it as a certificate!"},
        {"request.pem", "Key is PEM of type CERTIFICATE REQUEST! It must be a public or private key."},
        {"openssh.pem", "ssh-keygen -p -m PKCS8"},
        {"mislabelled.pem", "Key is PEM of type PRIVATE KEY, but holds another kind of key!"},
        {"mislabelled2.pem", "Key is PEM of type PUBLIC KEY, but holds another kind of key!"},
        {"explicit.pem", "explicit parameters"},
        {"small.pem", "Key is an RSA key of 1024 bits! It must have 2048 to 16384."},
        {"dh.pem", "Key is of type DH"},
        {"ED448.pkcs8.pem", "Key is an Ed448 key, which is not supported! Use Ed25519 or X25519."},
        {"X448.spki.der", "Key is an X448 key, which is not supported! Use Ed25519 or X25519."},
        {"brainpoolP256r1.sec1.pem",
         "Key is an EC key on curve brainpoolP256r1! It must be on P-256, P-384, P-521 or secp256k1."},
        {"key.json", "Key is not a PEM or DER encoded key!"},
        {"empty", "Key can not be empty!"},
        {"huge", "Key is larger than 256 KB!"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {0};
        struct source_key key;
        size_t size;
        char *bytes = fixture_read(cases[i][0], &size);
        if (source_key_read("Key", bytes, size, &key, &error) == 0)
            fail_msg("%s is taken", cases[i][0]);
        assert_message(error, cases[i][1]);
        assert_null(key.pkey);
        free(bytes);
    }
}

/* No prefix of a key may read as a key, or crash the reader. */
static void test_every_truncation_is_refused(void **state) {
    (void)state;
    static const char *const files[] = {"prime256v1.pkcs8.der", "prime256v1.sec1.der", "ED25519.pkcs8.pem",
                                        "prime256v1.spki.der"};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        size_t size;
        char *bytes = fixture_read(files[i], &size);
        size_t whole = bytes[size - 1] == '\n' && bytes[0] == '-' ? size - 1 : size; /* PEM needs no last line break */
        for (size_t length = 0; length < whole; length++) {
            struct error error = {0};
            struct source_key key;
            char *part = memory_bytes(bytes, length);
            if (source_key_read("Key", part, length, &key, &error) == 0)
                fail_msg("%zu of %zu bytes of %s are taken", length, size, files[i]);
            free(part);
        }
        free(bytes);
    }
}

static char *encoded(const char *name) {
    char *script = memory_format("base64 %s >encoded", name);
    fixture_run(script);
    free(script);
    return fixture_read("encoded", NULL);
}

static void test_material_is_base64_of_pem_or_der_or_pem(void **state) {
    (void)state;
    static const char *const files[] = {"prime256v1.pkcs8.pem", "prime256v1.pkcs8.der"};
    struct error error = {0};
    struct source_key key;

    for (size_t i = 0; i < 2; i++) {
        char *text = encoded(files[i]);
        assert_ok(source_key_read_text("Private key", text, strlen(text), &key, &error), error);
        assert_true(key.is_private);
        source_key_clear(&key);
        free(text);
    }
    char *pem = fixture_read(files[0], NULL);
    assert_ok(source_key_read_text("Private key", pem, strlen(pem), &key, &error), error);
    source_key_clear(&key);
    free(pem);
    assert_int_equal(source_key_read_text("Private key", "a key!", 6, &key, &error), -1);
    assert_message(error, "Private key is not valid base64!");
    char *huge = memory_new(400001);
    memset(huge, 'A', 400000);
    assert_int_equal(source_key_read_text("Private key", huge, 400000, &key, &error), -1);
    assert_message(error, "Private key is larger than 256 KB!");
    free(huge);
}

static void test_a_key_object_is_validated_as_a_pair(void **state) {
    (void)state;
    struct error error = {0};
    struct source_key_description description;
    struct source_key_description public_description;
    char *public_key = encoded("secp384r1.spki.pem");
    char *private_key = encoded("secp384r1.pkcs8.der");
    char *other_key = encoded("prime256v1.spki.pem");

    assert_ok(source_key_describe(public_key, private_key, &description, &error), error);
    assert_int_equal(description.type, JWK_EC);
    assert_string_equal(description.curve, "P-384");
    assert_true(description.has_private);
    assert_ok(source_key_describe(public_key, NULL, &public_description, &error), error);
    assert_false(public_description.has_private);
    assert_string_equal(description.thumbprint, public_description.thumbprint);

    assert_int_equal(source_key_describe(NULL, "", &description, &error), -1);
    assert_message(error, "Public key or private key is required!");
    assert_int_equal(source_key_describe(other_key, private_key, &description, &error), -1);
    assert_message(error, "Public key and private key do not belong together!");
    assert_int_equal(source_key_describe(private_key, NULL, &description, &error), -1);
    assert_message(error, "Public key is a private key!");
    assert_int_equal(source_key_describe(NULL, public_key, &description, &error), -1);
    assert_message(error, "Private key is a public key!");
    free(public_key);
    free(private_key);
    free(other_key);
}

static void test_the_jwk_says_use_algorithm_and_thumbprint(void **state) {
    (void)state;
    struct error error = {0};
    char kid[SHA256_TEXT_SIZE];
    char *private_key = encoded("prime256v1.sec1.pem");
    struct algorithm_request request = {"SIGNATURE", "ES256"};

    struct jwk *jwk = source_key_object_jwk(NULL, private_key, true, &request, &error);
    assert_made(jwk, error);
    cJSON *tree = jwk_tree(jwk);
    assert_string_equal(member(tree, "kty"), "EC");
    assert_string_equal(member(tree, "use"), "sig");
    assert_string_equal(member(tree, "alg"), "ES256");
    assert_true(has_member(tree, "d"));
    jwk_thumbprint(jwk, kid);
    assert_string_equal(member(tree, "kid"), kid);
    cJSON_Delete(tree);
    jwk_free(jwk);

    /* PUBLIC_KEY of an object that has the private key alone: its public half, and nothing of the other. */
    jwk = source_key_object_jwk(NULL, private_key, false, &any, &error);
    assert_made(jwk, error);
    tree = jwk_tree(jwk);
    assert_false(has_member(tree, "d"));
    assert_false(has_member(tree, "use"));
    assert_false(has_member(tree, "alg"));
    assert_string_equal(member(tree, "kid"), kid);
    cJSON_Delete(tree);
    jwk_free(jwk);

    char *public_key = encoded("prime256v1.spki.der");
    assert_null(source_key_object_jwk(public_key, NULL, true, &any, &error));
    assert_message(error, "Private key is required for PRIVATE_KEY source type");
    assert_null(source_key_object_jwk(NULL, NULL, false, &any, &error));
    assert_message(error, "Public key is required for PUBLIC_KEY source type");
    request.algorithm = "RS256";
    assert_null(source_key_object_jwk(public_key, NULL, false, &request, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    free(public_key);
    free(private_key);
}

static void test_a_pss_key_is_for_pss_alone(void **state) {
    (void)state;
    static const struct algorithm_request bad[] = {{"ENCRYPTION", NULL}, {NULL, "RS256"}, {NULL, "RSA-OAEP"}};
    struct algorithm_request request = {NULL, "PS384"};
    struct error error = {0};
    char *private_key = encoded("pss.pkcs8.pem");

    for (size_t i = 0; i < 3; i++) {
        assert_null(source_key_object_jwk(NULL, private_key, true, &bad[i], &error));
        assert_message(error, "RSASSA-PSS alone");
    }
    struct jwk *jwk = source_key_object_jwk(NULL, private_key, true, &request, &error);
    assert_made(jwk, error);
    assert_string_equal(jwk_algorithm(jwk), "PS384");
    jwk_free(jwk);
    free(private_key);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_structure_of_rsa_is_read),
        cmocka_unit_test(test_every_structure_and_curve_of_ec_is_read),
        cmocka_unit_test(test_edwards_and_montgomery_keys_are_read),
        cmocka_unit_test(test_what_is_not_one_plain_key_is_refused_with_its_reason),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_material_is_base64_of_pem_or_der_or_pem),
        cmocka_unit_test(test_a_key_object_is_validated_as_a_pair),
        cmocka_unit_test(test_the_jwk_says_use_algorithm_and_thumbprint),
        cmocka_unit_test(test_a_pss_key_is_for_pss_alone),
    };

    return cmocka_run_group_tests_name("source_key", tests, make_keys, fixture_close);
}
