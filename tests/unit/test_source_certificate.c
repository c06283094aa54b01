/* Certificates: what the JWK says of them, chains, and the sentence for every other input. */
#include "tests/unit/source_fixture.h"

#include "api/source_certificate.h"

static const struct algorithm_request any = {NULL, NULL};

static int make_certificates(void **state) {
    if (fixture_open(state) < 0)
        return -1;
    fixture_run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -subj /CN=root -days 30 -out "
        "root.pem\n"
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout middle.key -subj /CN=middle -out middle.csr\n"
        "printf 'basicConstraints=critical,CA:TRUE\\n' >ca.ext\n"
        "openssl x509 -req -in middle.csr -CA root.pem -CAkey root.key -extfile ca.ext -days 30 -out middle.pem\n"
        "openssl req -newkey rsa:2048 -nodes -keyout leaf.key -subj '/O=A, B/CN=leaf' -out leaf.csr\n"
        "openssl x509 -req -in leaf.csr -CA middle.pem -CAkey middle.key -days 30 -set_serial 0xABC123 -out leaf.pem\n"
        "openssl x509 -in leaf.pem -outform DER -out leaf.der\n"
        /* the same names and another key: looks like the issuer, is not */
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout false.key -subj /CN=middle -days 30 -out "
        "false.pem\n"
        "cat leaf.pem middle.pem root.pem >chain.pem\n"
        "cat root.pem middle.pem leaf.pem >reversed.pem\n"
        "cat leaf.pem false.pem >forged.pem\n"
        "cat leaf.pem leaf.key >with_key.pem\n"
        "{ cat leaf.pem; echo garbage; } >garbage.pem\n"
        "{ cat leaf.der; printf x; } >garbage.der\n"
        "for i in 1 2 3 4 5 6 7 8 9 10 11; do cat root.pem; done >long.pem\n"
        "{ echo 'subject=CN = leaf'; cat leaf.pem; echo; echo 'issuer'; cat middle.pem; } >explained.pem\n"
        "head -c 600 leaf.pem >truncated.pem; head -c 300 leaf.der >truncated.der\n"
        "openssl req -x509 -newkey rsa:1024 -nodes -keyout small.key -subj /CN=small -out small.pem\n"
        "openssl req -x509 -newkey ed448 -nodes -keyout ed448.key -subj /CN=ed448 -out ed448.pem\n"
        "openssl req -x509 -newkey ed25519 -nodes -keyout ed.key -subj /CN=ed -out ed.pem\n"
        /* a validity in the past */
        "openssl req -new -key root.key -subj /CN=old -out old.csr\n"
        "mkdir ca; : >ca/index; echo 01 >ca/serial\n"
        "printf '[ca]\\ndefault_ca=c\\n[c]\\ndatabase=ca/index\\nserial=ca/serial\\nnew_certs_dir=ca\\ndefault_md=sha256\\n"
        "policy=p\\n[p]\\ncommonName=supplied\\n' >ca.cnf\n"
        "openssl ca -batch -config ca.cnf -selfsign -keyfile root.key -in old.csr -startdate 20200101000000Z "
        "-enddate 20210101000000Z -notext -out old.pem\n"
        ": >empty; head -c 300000 /dev/zero >huge; cp leaf.key key.pem\n");
    return 0;
}

static struct source_certificate read_certificate(const char *name) {
    struct error error = {0};
    struct source_certificate certificate;
    size_t size;
    char *bytes = fixture_read(name, &size);

    if (source_certificate_read(bytes, size, &certificate, &error) != 0)
        fail_msg("%s is refused: %s", name, error.message);
    free(bytes);
    return certificate;
}

/* What openssl itself says, without the line break. */
static char *say(const char *script) {
    char *command = memory_format("%s >said", script);
    fixture_run(command);
    free(command);
    char *text = fixture_read("said", NULL);
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static void test_the_jwk_carries_key_chain_thumbprint_and_validity(void **state) {
    (void)state;
    static const char *const files[] = {"leaf.pem", "leaf.der"};
    struct error error = {0};
    struct algorithm_request request = {NULL, "RS256"};
    char *x5c = say("openssl x509 -in leaf.pem -outform DER | base64 -w0");
    char *x5t =
        say("openssl x509 -in leaf.pem -outform DER | openssl dgst -sha256 -binary | base64 -w0 | tr '+/' '-_' | tr -d =");
    char *end = say("date -d \"$(openssl x509 -in leaf.pem -noout -enddate | cut -d= -f2)\" +%s");
    char *start = say("date -d \"$(openssl x509 -in leaf.pem -noout -startdate | cut -d= -f2)\" +%s");

    for (size_t i = 0; i < 2; i++) {
        struct source_certificate certificate = read_certificate(files[i]);
        assert_string_equal(certificate.serial, "ABC123");
        assert_string_equal(certificate.subject, "CN=leaf,O=A\\, B");
        assert_string_equal(certificate.issuer, "CN=middle");
        struct jwk *jwk = source_certificate_jwk(&certificate, &request, &error);
        assert_made(jwk, error);
        assert_false(jwk_has_private(jwk));
        cJSON *tree = jwk_tree(jwk);
        cJSON *chain = cJSON_GetObjectItem(tree, "x5c");
        assert_int_equal(cJSON_GetArraySize(chain), 1);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(chain, 0)), x5c);
        assert_string_equal(member(tree, "x5t#S256"), x5t);
        assert_string_equal(member(tree, "alg"), "RS256");
        assert_string_equal(member(tree, "use"), "sig");
        assert_int_equal(number(tree, "nbf"), atoll(start));
        assert_int_equal(number(tree, "exp"), atoll(end));
        cJSON_Delete(tree);
        jwk_free(jwk);
        source_certificate_clear(&certificate);
    }
    free(x5c);
    free(x5t);
    free(start);
    free(end);
}

static void test_a_chain_is_kept_in_its_order(void **state) {
    (void)state;
    static const struct {
        const char *file;
        size_t count;
    } cases[] = {{"chain.pem", 3}, {"explained.pem", 2}};

    for (size_t i = 0; i < 2; i++) {
        struct error error = {0};
        struct source_certificate certificate = read_certificate(cases[i].file);
        assert_int_equal(certificate.count, cases[i].count);
        struct jwk *jwk = source_certificate_jwk(&certificate, &any, &error);
        assert_made(jwk, error);
        cJSON *tree = jwk_tree(jwk);
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(tree, "x5c")), cases[i].count);
        assert_string_equal(member(tree, "kty"), "RSA");
        cJSON_Delete(tree);
        jwk_free(jwk);
        source_certificate_clear(&certificate);
    }
}

static void test_an_expired_certificate_is_taken_with_its_exp(void **state) {
    (void)state;
    struct error error = {0};
    struct source_certificate certificate = read_certificate("old.pem");

    assert_int_equal(certificate.not_after, 1609459200);
    assert_false(source_certificate_is_expired(&certificate, 1609459200));
    assert_true(source_certificate_is_expired(&certificate, 1609459201));
    struct jwk *jwk = source_certificate_jwk(&certificate, &any, &error);
    assert_made(jwk, error);
    assert_int_equal(jwk_not_before(jwk), 1577836800);
    assert_int_equal(jwk_expires(jwk), 1609459200);
    jwk_free(jwk);
    source_certificate_clear(&certificate);
}

static void test_an_algorithm_must_suit_the_certificates_key(void **state) {
    (void)state;
    static const struct algorithm_request bad[] = {
        {"ENCRYPTION", NULL}, {NULL, "ES256"}, {"SIGNATURE", "ECDH-ES"}, {"BOTH", NULL}, {NULL, "none"}};
    struct algorithm_request good = {"SIGNATURE", "EdDSA"};
    struct error error = {0};
    struct source_certificate certificate = read_certificate("ed.pem");

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        error.code = ERROR_NONE;
        assert_null(source_certificate_jwk(&certificate, &bad[i], &error));
        assert_int_equal(error.code, ERROR_INVALID);
    }
    struct jwk *jwk = source_certificate_jwk(&certificate, &good, &error);
    assert_made(jwk, error);
    jwk_free(jwk);
    source_certificate_clear(&certificate);
}

static void test_what_is_not_a_certificate_is_refused_with_its_reason(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"empty", "Certificate can not be empty!"},
        {"huge", "Certificate is larger than 256 KB!"},
        {"reversed.pem", "Certificate 1 of the chain is not issued by certificate 2!"},
        {"forged.pem", "Certificate 1 of the chain is not issued by certificate 2!"},
        {"with_key.pem", "Certificate file holds a key (PRIVATE KEY)! Hand in the certificate alone."},
        {"key.pem", "Certificate file holds a key (PRIVATE KEY)! Hand in the certificate alone."},
        {"garbage.pem", "other text behind its end"},
        {"garbage.der", "Certificate has other bytes behind its end!"},
        {"truncated.pem", "Certificate is truncated or damaged PEM"},
        {"truncated.der", "Certificate is not PEM or DER encoded X.509, or is truncated or damaged!"},
        {"long.pem", "Certificate chain is longer than 10!"},
        {"leaf.csr", "Certificate is PEM of type CERTIFICATE REQUEST! It must be CERTIFICATE."},
        {"small.pem", "Certificate's public key is an RSA key of 1024 bits!"},
        {"ed448.pem", "Certificate's public key is an Ed448 key, which is not supported!"},
        {"ca.cnf", "Certificate is not PEM or DER encoded X.509"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {0};
        struct source_certificate certificate;
        size_t size;
        char *bytes = fixture_read(cases[i][0], &size);
        if (source_certificate_read(bytes, size, &certificate, &error) == 0)
            fail_msg("%s is taken", cases[i][0]);
        assert_message(error, cases[i][1]);
        assert_null(certificate.key.pkey);
        free(bytes);
    }
}

static void test_every_truncation_is_refused(void **state) {
    (void)state;
    size_t size;
    char *bytes = fixture_read("ed.pem", &size);

    for (size_t length = 0; length < size - 1; length++) {
        struct error error = {0};
        struct source_certificate certificate;
        char *part = memory_bytes(bytes, length);
        if (source_certificate_read(part, length, &certificate, &error) == 0)
            fail_msg("%zu of %zu bytes are taken", length, size);
        free(part);
    }
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_jwk_carries_key_chain_thumbprint_and_validity),
        cmocka_unit_test(test_a_chain_is_kept_in_its_order),
        cmocka_unit_test(test_an_expired_certificate_is_taken_with_its_exp),
        cmocka_unit_test(test_an_algorithm_must_suit_the_certificates_key),
        cmocka_unit_test(test_what_is_not_a_certificate_is_refused_with_its_reason),
        cmocka_unit_test(test_every_truncation_is_refused),
    };

    return cmocka_run_group_tests_name("source_certificate", tests, make_certificates, fixture_close);
}
