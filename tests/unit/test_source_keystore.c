/* Keystores: made by openssl with new and old ciphers and by Java's keytool; the command that the refusal of a JKS file names
 * is run as it stands. The tests with keytool are left out where there is none. */
#include "tests/unit/source_fixture.h"

#include <openssl/evp.h>
#include <openssl/pkcs12.h>

#include "api/source_keystore.h"

static const struct algorithm_request any = {NULL, NULL};
static bool has_keytool;

#define KEYTOOL "keytool -J-Xshare:auto -J-XX:TieredStopAtLevel=1 "

static int make_keystores(void **state) {
    if (fixture_open(state) < 0)
        return -1;
    has_keytool = system("command -v keytool >/dev/null") == 0;
    fixture_run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.key -subj /CN=root -out root.pem\n"
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -subj /CN=leaf -out leaf.csr\n"
        "openssl x509 -req -in leaf.csr -CA root.pem -CAkey root.key -days 30 -out leaf.pem\n"
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -subj /CN=other -out other.pem\n"
        "export='openssl pkcs12 -export -inkey leaf.key -in leaf.pem -certfile root.pem'\n"
        "$export -name 'My Key' -passout pass:secret -out new.p12\n"
        "$export -name 'My Key' -passout pass:secret -legacy -out rc2.p12\n"
        "$export -name 'My Key' -passout pass:secret -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -out 3des.p12\n"
        "$export -name 'My Key' -passout pass:secret -keypbe NONE -certpbe NONE -out plain.p12\n"
        "$export -name 'My Key' -passout pass:secret -nomac -out nomac.p12\n"
        "$export -name 'My Key' -passout pass: -out empty.p12\n"
        "$export -name 'My Key' -passout pass:pässwörd -out utf8.p12\n"
        "$export -passout pass:secret -out unnamed.p12\n"
        "$export -name 'My Key' -passout pass:secret -iter 65536 -out slow.p12\n"
        "$export -name 'My Key' -passout pass:secret -iter 65536 -nomac -out slow_nomac.p12\n"
        "openssl pkcs12 -export -nocerts -inkey leaf.key -name bare -passout pass:secret -out bare.p12\n"
        "openssl pkcs12 -export -nokeys -in other.pem -caname trusted -passout pass:secret -out trusted.p12\n"
        "{ cat new.p12; printf x; } >garbage.p12\n"
        "head -c 700 new.p12 >truncated.p12\n"
        "head -c 1100000 /dev/zero >huge; : >empty\n"
        "printf '\\316\\316\\316\\316\\0\\0\\0\\2' >jceks; printf '\\376\\355\\376\\355\\0\\0\\0\\2' >jks\n");
    return 0;
}

static struct source_keystore *open_file(const char *type, const char *name, const char *password, struct error *error) {
    size_t size;
    char *bytes = fixture_read(name, &size);
    struct source_keystore *keystore = source_keystore_open(type, bytes, size, password, error);

    free(bytes);
    return keystore;
}

/* The whole JWK of an entry, held against the key's own thumbprint; returns its tree. */
static cJSON *read_entry(const char *name, const char *password, const char *alias) {
    struct error error = {0};
    struct source_keystore *keystore = open_file("PKCS12", name, password, &error);
    if (keystore == NULL)
        fail_msg("%s is refused: %s", name, error.message);
    struct jwk *jwk = source_keystore_jwk(keystore, alias, &any, &error);
    if (jwk == NULL)
        fail_msg("%s: %s", name, error.message);
    source_keystore_close(keystore);
    cJSON *tree = jwk_tree(jwk);
    jwk_free(jwk);
    return tree;
}

static void test_new_and_old_encryption_is_read(void **state) {
    (void)state;
    static const char *const files[] = {"new.p12", "rc2.p12", "3des.p12", "plain.p12", "nomac.p12"};
    struct error error = {0};
    char kid[SHA256_TEXT_SIZE];
    struct source_key key;
    size_t size;
    char *pem = fixture_read("leaf.key", &size);

    assert_ok(source_key_read("Key", pem, size, &key, &error), error);
    struct jwk *expected = source_key_jwk(&key, true, &any, NULL, &error);
    assert_made(expected, error);
    jwk_thumbprint(expected, kid);
    cJSON *expected_tree = jwk_tree(expected);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        cJSON *tree = read_entry(files[i], "secret", "My Key");
        assert_string_equal(member(tree, "kid"), kid);
        assert_string_equal(member(tree, "d"), member(expected_tree, "d"));
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(tree, "x5c")), 2); /* with its issuer */
        assert_true(has_member(tree, "x5t#S256") && has_member(tree, "exp"));
        cJSON_Delete(tree);
    }
    cJSON_Delete(expected_tree);
    jwk_free(expected);
    source_key_clear(&key);
    free(pem);
}

/* Made without any password, which is another one than the empty one and which no option of the openssl command makes. */
static void make_without_password(const char *name) {
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    PKCS12 *file = PKCS12_create(NULL, "My Key", key, NULL, NULL, 0, 0, 0, 0, 0);
    char *path = memory_format("%s/%s", fixture_directory, name);
    FILE *out = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(i2d_PKCS12_fp(out, file), 1);
    fclose(out);
    free(path);
    PKCS12_free(file);
    EVP_PKEY_free(key);
}

static void test_passwords_of_all_kinds_open(void **state) {
    (void)state;
    make_without_password("none.p12");
    cJSON_Delete(read_entry("none.p12", "", "My Key"));
    cJSON_Delete(read_entry("none.p12", NULL, "My Key"));
    cJSON_Delete(read_entry("utf8.p12", "pässwörd", "My Key"));
    cJSON_Delete(read_entry("empty.p12", "", "My Key"));
    cJSON_Delete(read_entry("empty.p12", NULL, "My Key"));
}

static void test_aliases_are_chosen_as_java_does(void **state) {
    (void)state;
    cJSON_Delete(read_entry("new.p12", "secret", NULL)); /* the only one */
    cJSON_Delete(read_entry("new.p12", "secret", ""));
    cJSON_Delete(read_entry("new.p12", "secret", "my key"));
    cJSON_Delete(read_entry("unnamed.p12", "secret", "1"));

    cJSON *tree = read_entry("bare.p12", "secret", "bare");
    assert_true(has_member(tree, "d"));
    assert_false(has_member(tree, "x5c"));
    cJSON_Delete(tree);
    tree = read_entry("trusted.p12", "secret", "trusted");
    assert_false(has_member(tree, "d"));
    assert_string_equal(member(tree, "kty"), "RSA");
    assert_true(has_member(tree, "x5c"));
    cJSON_Delete(tree);

    struct error error = {0};
    struct source_keystore *keystore = open_file(NULL, "new.p12", "secret", &error);
    assert_made(keystore, error);
    assert_int_equal(source_keystore_count(keystore), 1);
    assert_null(source_keystore_jwk(keystore, "mine", &any, &error));
    assert_message(error, "Alias (name: mine) is not found in the keystore! Its aliases: My Key");
    struct algorithm_request request = {NULL, "ES384"};
    assert_null(source_keystore_jwk(keystore, "My Key", &request, &error));
    assert_int_equal(error.code, ERROR_INVALID);
    source_keystore_close(keystore);
}

static void test_what_can_not_be_opened_says_why(void **state) {
    (void)state;
    static const struct {
        const char *file, *type, *password, *message;
    } cases[] = {
        {"new.p12", "PKCS12", "wrong", "Keystore can not be opened: the password is wrong, or the file is damaged!"},
        {"new.p12", "PKCS12", NULL, "Keystore has a password; hand it in with the file!"},
        {"nomac.p12", "PKCS12", "wrong", "Keystore can not be decrypted"},
        {"new.p12", "BKS", "secret", "Keystore type (BKS) is not supported! It must be PKCS12 or JKS."},
        {"garbage.p12", "PKCS12", "secret", "Keystore has other bytes behind its end!"},
        {"truncated.p12", "PKCS12", "secret", "Keystore is not a PKCS#12 file, or is truncated or damaged!"},
        {"leaf.pem", "PKCS12", "secret", "Keystore is PEM! Create it as a key or as a certificate."},
        {"leaf.csr", "JKS", "secret", "Keystore is PEM!"},
        {"huge", "PKCS12", "secret", "Keystore is larger than 1024 KB!"},
        {"empty", "PKCS12", "secret", "Keystore file can not be empty!"},
        {"jks", "JKS", "secret", "-srcstoretype JKS -destkeystore keystore.p12 -deststoretype PKCS12"},
        {"jceks", "PKCS12", "secret", "-srcstoretype JCEKS -destkeystore keystore.p12 -deststoretype PKCS12"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error error = {0};
        if (open_file(cases[i].type, cases[i].file, cases[i].password, &error) != NULL)
            fail_msg("%s is taken", cases[i].file);
        assert_message(error, cases[i].message);
    }
}

/* The iteration counts of a file are patched to the largest of their length: 65536 to 8388607, as INTEGERs. */
static void test_iteration_counts_beyond_bounds_are_refused(void **state) {
    (void)state;
    static const char *const files[] = {"slow.p12", "slow_nomac.p12"};

    for (size_t i = 0; i < 2; i++) {
        size_t size;
        size_t patched = 0;
        char *bytes = fixture_read(files[i], &size);
        for (size_t at = 0; at + 5 <= size; at++) {
            if (memcmp(bytes + at, "\x02\x03\x01\x00\x00", 5) == 0) {
                memcpy(bytes + at + 2, "\x7f\xff\xff", 3);
                patched++;
            }
        }
        assert_int_equal(patched > 0, 1);
        struct error error = {0};
        assert_null(source_keystore_open("PKCS12", bytes, size, "secret", &error));
        assert_message(error,
                       "Keystore asks for too much work: the iteration counts of its parts add up to more than 5000000!");
        free(bytes);
    }
}

/* A key encrypted with scrypt, with N = 16384, r = 8 and p = 1 as PKCS#8 tools use it. */
static void make_with_scrypt(const char *name) {
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_ALGOR *algorithm = PKCS5_pbe2_set_scrypt(EVP_aes_128_cbc(), NULL, 0, NULL, 16384, 8, 1);
    X509_SIG *encrypted = PKCS8_set0_pbe("secret", 6, info, algorithm);
    PKCS12_SAFEBAG *bag = PKCS12_SAFEBAG_create0_pkcs8(encrypted);
    STACK_OF(PKCS12_SAFEBAG) *bags = sk_PKCS12_SAFEBAG_new_null();
    STACK_OF(PKCS7) *parts = sk_PKCS7_new_null();

    assert_true(sk_PKCS12_SAFEBAG_push(bags, bag) == 1 && sk_PKCS7_push(parts, PKCS12_pack_p7data(bags)) == 1);
    PKCS12 *file = PKCS12_init(NID_pkcs7_data);
    assert_int_equal(PKCS12_pack_authsafes(file, parts), 1);
    char *path = memory_format("%s/%s", fixture_directory, name);
    FILE *out = fopen(path, "wb");
    assert_int_equal(i2d_PKCS12_fp(out, file), 1);
    fclose(out);
    free(path);
    PKCS12_free(file);
    sk_PKCS7_pop_free(parts, PKCS7_free);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    PKCS8_PRIV_KEY_INFO_free(info);
    EVP_PKEY_free(key);
}

static void test_the_work_of_scrypt_is_bounded(void **state) {
    (void)state;
    struct error error = {0};
    size_t size;

    make_with_scrypt("scrypt.p12");
    cJSON_Delete(read_entry("scrypt.p12", "secret", "1"));
    char *bytes = fixture_read("scrypt.p12", &size);
    char *factors = memmem(bytes, size, "\x02\x02\x40\x00\x02\x01\x08\x02\x01\x01", 10);
    assert_non_null(factors);
    factors[9] = 127; /* p */
    assert_null(source_keystore_open("PKCS12", bytes, size, "secret", &error));
    assert_message(error, "Keystore asks for too much work");
    free(bytes);
}

static void test_every_truncation_and_many_flips_are_refused_or_read_without_harm(void **state) {
    (void)state;
    static const char *const files[] = {"bare.p12", "plain.p12"};

    for (size_t i = 0; i < 2; i++) {
        size_t size;
        char *bytes = fixture_read(files[i], &size);
        for (size_t length = 0; length < size; length++) {
            struct error error = {0};
            char *part = memory_bytes(bytes, length);
            if (source_keystore_open("PKCS12", part, length, "secret", &error) != NULL)
                fail_msg("%zu of %zu bytes of %s are taken", length, size, files[i]);
            free(part);
        }
        for (size_t at = 0; at < size; at += 3) {
            struct error error = {0};
            char *part = memory_bytes(bytes, size);
            part[at] = (char)(part[at] ^ 0x11);
            struct source_keystore *keystore = source_keystore_open("PKCS12", part, size, "secret", &error);
            if (keystore != NULL)
                jwk_free(source_keystore_jwk(keystore, NULL, &any, &error));
            source_keystore_close(keystore);
            free(part);
        }
        free(bytes);
    }
}

static void test_base64_is_read_with_line_breaks(void **state) {
    (void)state;
    struct error error = {0};

    fixture_run("base64 new.p12 >new.b64");
    char *text = fixture_read("new.b64", NULL);
    struct source_keystore *keystore = source_keystore_open_text("PKCS12", text, strlen(text), "secret", &error);
    assert_made(keystore, error);
    source_keystore_close(keystore);
    free(text);
    assert_null(source_keystore_open_text("PKCS12", "?", 1, "secret", &error));
    assert_message(error, "Keystore file is not valid base64!");
}

static void test_a_file_of_keytool_with_several_entries_is_read(void **state) {
    (void)state;
    struct error error = {0};

    if (!has_keytool)
        skip();
    fixture_run(
        KEYTOOL
        "-genkeypair -alias first -keyalg EC -groupname secp384r1 -dname CN=first -keystore java.p12 -storepass "
        "secret1\n" KEYTOOL
        "-genkeypair -alias second -keyalg RSA -keysize 2048 -dname CN=second -keystore java.p12 -storepass secret1\n" KEYTOOL
        "-importcert -noprompt -alias root -file root.pem -keystore java.p12 -storepass secret1\n");
    struct source_keystore *keystore = open_file("JKS", "java.p12", "secret1", &error); /* Java calls these JKS as well */
    assert_made(keystore, error);
    assert_int_equal(source_keystore_count(keystore), 3);
    assert_true(source_keystore_entry(keystore, 0).has_private);
    assert_string_equal(source_keystore_entry(keystore, 2).alias, "root");
    assert_false(source_keystore_entry(keystore, 2).has_private);
    assert_null(source_keystore_jwk(keystore, NULL, &any, &error));
    assert_message(error, "Alias name is required, as the keystore has several entries! Its aliases: ");
    assert_true(strstr(error.message, "first") && strstr(error.message, "second") && strstr(error.message, "root"));

    struct jwk *jwk = source_keystore_jwk(keystore, "SECOND", &any, &error);
    assert_made(jwk, error);
    assert_int_equal(jwk_type(jwk), JWK_RSA);
    assert_true(jwk_has_private(jwk));
    jwk_free(jwk);
    jwk = source_keystore_jwk(keystore, "root", &any, &error);
    assert_made(jwk, error);
    assert_false(jwk_has_private(jwk));
    jwk_free(jwk);
    source_keystore_close(keystore);
}

static void test_the_command_in_the_refusal_of_jks_converts_it(void **state) {
    (void)state;
    struct error error = {0};

    if (!has_keytool)
        skip();
    fixture_run(KEYTOOL
                "-genkeypair -alias mine -keyalg RSA -keysize 2048 -dname CN=mine -keystore keystore.jks -storetype JKS "
                "-storepass secret1 -keypass secret1");
    assert_null(open_file("JKS", "keystore.jks", "secret1", &error));
    const char *command = strstr(error.message, "keytool -importkeystore");
    assert_non_null(command);
    char *script = memory_format("%s -srcstorepass secret1 -deststorepass secret1", command);
    fixture_run(script);
    free(script);
    cJSON *tree = read_entry("keystore.p12", "secret1", "mine");
    assert_true(has_member(tree, "d"));
    cJSON_Delete(tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_and_old_encryption_is_read),
        cmocka_unit_test(test_passwords_of_all_kinds_open),
        cmocka_unit_test(test_aliases_are_chosen_as_java_does),
        cmocka_unit_test(test_what_can_not_be_opened_says_why),
        cmocka_unit_test(test_iteration_counts_beyond_bounds_are_refused),
        cmocka_unit_test(test_the_work_of_scrypt_is_bounded),
        cmocka_unit_test(test_every_truncation_and_many_flips_are_refused_or_read_without_harm),
        cmocka_unit_test(test_base64_is_read_with_line_breaks),
        cmocka_unit_test(test_a_file_of_keytool_with_several_entries_is_read),
        cmocka_unit_test(test_the_command_in_the_refusal_of_jks_converts_it),
    };

    return cmocka_run_group_tests_name("source_keystore", tests, make_keystores, fixture_close);
}
