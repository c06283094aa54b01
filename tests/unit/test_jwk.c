/* JWKs: the examples of the RFCs are read as they stand, keys of every kind survive the way from and to OpenSSL, one is
 * chosen from a set, and certificates must belong to the key. What must be refused is in test_jwk_malformed.c. */
#include "tests/unit/jwk_support.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "common/base64url.h"
#include "common/memory.h"
#include "common/text.h"

static void the_keys_of_rfc_7517_are_read(void **state) {
    (void)state;
    struct jwk *jwk = read_key(RSA_PRIVATE);
    assert_int_equal(jwk_type(jwk), JWK_RSA);
    assert_true(jwk_has_private(jwk));
    assert_string_equal(jwk_kid(jwk), "2011-04-29");
    assert_string_equal(jwk_algorithm(jwk), "RS256");
    assert_null(jwk_use(jwk));
    assert_null(jwk_curve(jwk));
    assert_int_equal(jwk_not_before(jwk), INT64_MIN);
    assert_int_equal(jwk_expires(jwk), INT64_MAX);
    assert_string_equal(jwk_text(jwk), RSA_PRIVATE);
    assert_string_equal(jwk_public_text(jwk), RSA_PUBLIC);
    jwk_free(jwk);

    jwk = read_key(EC_PRIVATE);
    assert_int_equal(jwk_type(jwk), JWK_EC);
    assert_string_equal(jwk_use(jwk), "enc");
    assert_string_equal(jwk_curve(jwk), "P-256");
    assert_string_equal(jwk_text(jwk), EC_PRIVATE);
    assert_string_equal(jwk_public_text(jwk), EC_PUBLIC);
    jwk_free(jwk);

    jwk = read_key(EC_PUBLIC);
    assert_false(jwk_has_private(jwk));
    assert_string_equal(jwk_public_text(jwk), EC_PUBLIC);
    jwk_free(jwk);

    jwk = read_key(OCT_WRAP);
    assert_int_equal(jwk_type(jwk), JWK_OCT);
    assert_true(jwk_has_private(jwk));
    assert_null(jwk_public_text(jwk));
    assert_string_equal(jwk_text(jwk), OCT_WRAP);
    jwk_free(jwk);
    assert_reads(OCT_HMAC);
    assert_reads(X5C_KEY);
    assert_reads(RSA_PUBLIC);
}

static void type_names_are_those_of_the_management_api(void **state) {
    (void)state;
    static const char *const names[] = {"RSA", "EC", "OCT", "OKP"}, *const members[] = {"rsa", "ec", "oct", "okp"};
    for (int type = JWK_RSA; type <= JWK_OKP; type++) {
        assert_string_equal(jwk_type_name((enum jwk_type)type), names[type]);
        assert_string_equal(jwk_type_member((enum jwk_type)type), members[type]);
    }
}

static void assert_thumbprint(const char *text, const char *expected) {
    struct jwk *jwk = read_key(text);
    char thumbprint[SHA256_TEXT_SIZE];
    jwk_thumbprint(jwk, thumbprint);
    assert_string_equal(thumbprint, expected);
    jwk_free(jwk);
}

static void thumbprints_are_those_of_the_rfcs(void **state) {
    (void)state;
    assert_thumbprint(RSA_PUBLIC, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_thumbprint(RSA_PRIVATE, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_thumbprint(ED_PRIVATE, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    assert_thumbprint(EC_PUBLIC, "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
}

static void the_signature_of_rfc_8037_is_made_and_verified(void **state) {
    (void)state;
    static const char input[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    static const char expected[] = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    struct jwk *private_jwk = read_key(ED_PRIVATE), *public_jwk = read_key(ED_PUBLIC);
    assert_string_equal(jwk_public_text(private_jwk), ED_PUBLIC);
    EVP_PKEY *signer = jwk_to_key(private_jwk), *verifier = jwk_to_key(public_jwk);
    unsigned char signature[64];
    size_t size = sizeof signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, signer), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &size, (const unsigned char *)input, sizeof input - 1), 1);
    char text[BASE64URL_LENGTH(64) + 1];
    base64url_encode(signature, size, text);
    assert_string_equal(text, expected);
    EVP_MD_CTX_reset(context);
    assert_int_equal(EVP_DigestVerifyInit(context, NULL, NULL, NULL, verifier), 1);
    assert_int_equal(EVP_DigestVerify(context, signature, size, (const unsigned char *)input, sizeof input - 1), 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(signer);
    EVP_PKEY_free(verifier);
    jwk_free(private_jwk);
    jwk_free(public_jwk);
}

static void the_agreement_of_rfc_8037_gives_its_secret(void **state) {
    (void)state;
    struct jwk *own = read_key(X25519_EPHEMERAL), *peer = read_key(X25519_BOB);
    EVP_PKEY *own_key = jwk_to_key(own), *peer_key = jwk_to_key(peer);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, own_key, NULL);
    unsigned char secret[32];
    size_t size = sizeof secret;
    assert_int_equal(EVP_PKEY_derive_init(context), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(context, peer_key), 1);
    assert_int_equal(EVP_PKEY_derive(context, secret, &size), 1);
    static const unsigned char expected[] = {0x4a, 0x5d, 0x9d, 0x5b, 0xa4, 0xce, 0x2d, 0xe1, 0x72, 0x8e, 0x3b,
                                             0xf4, 0x80, 0x35, 0x0f, 0x25, 0xe0, 0x7e, 0x21, 0xc9, 0x47, 0xd1,
                                             0x9e, 0x33, 0x76, 0xf0, 0x9b, 0x3c, 0x1e, 0x16, 0x17, 0x42};
    assert_memory_equal(secret, expected, sizeof expected);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(own_key);
    EVP_PKEY_free(peer_key);
    jwk_free(own);
    jwk_free(peer);
}

static EVP_PKEY *make_rsa(const char *bits) {
    return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)atoi(bits));
}

static EVP_PKEY *make_ec(const char *group) {
    return EVP_PKEY_Q_keygen(NULL, NULL, "EC", group);
}

static EVP_PKEY *make_other(const char *type) {
    return EVP_PKEY_Q_keygen(NULL, NULL, type);
}

static const struct {
    const char *name;
    enum jwk_type type;
    const char *curve; /* of the JWK */
    const char *use, *algorithm;
    EVP_PKEY *(*make)(const char *argument);
    const char *argument;
} kinds_of_keys[] = {
    {"RSA 2048", JWK_RSA, NULL, "sig", "PS256", make_rsa, "2048"},
    {"RSA 3072", JWK_RSA, NULL, "enc", "RSA-OAEP-256", make_rsa, "3072"},
    {"P-256", JWK_EC, "P-256", "sig", "ES256", make_ec, "P-256"},
    {"P-384", JWK_EC, "P-384", "enc", "ECDH-ES+A256KW", make_ec, "secp384r1"},
    {"P-521", JWK_EC, "P-521", "sig", "ES512", make_ec, "P-521"},
    {"secp256k1", JWK_EC, "secp256k1", "sig", "ES256K", make_ec, "secp256k1"},
    {"Ed25519", JWK_OKP, "Ed25519", "sig", "EdDSA", make_other, "ED25519"},
    {"X25519", JWK_OKP, "X25519", "enc", "ECDH-1PU+A128KW", make_other, "X25519"},
};

static void generated_keys_come_back_as_they_were(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(kinds_of_keys); i++) {
        struct error error = {0};
        EVP_PKEY *key = kinds_of_keys[i].make(kinds_of_keys[i].argument);
        assert_non_null(key);
        struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
        attributes.kid = "k\"1\xc3\xa9";
        attributes.use = kinds_of_keys[i].use;
        attributes.algorithm = kinds_of_keys[i].algorithm;
        attributes.not_before = 1700000000;
        attributes.expires = 1800000000;
        for (int with_private = 0; with_private <= 1; with_private++) {
            struct jwk *jwk = jwk_from_key(key, with_private, &attributes, &error);
            if (!jwk)
                fail_msg("%s: %s", kinds_of_keys[i].name, error.message);
            assert_int_equal(jwk_type(jwk), kinds_of_keys[i].type);
            assert_int_equal(jwk_has_private(jwk), with_private);
            assert_string_equal(jwk_kid(jwk), "k\"1\xc3\xa9");
            assert_string_equal(jwk_use(jwk), kinds_of_keys[i].use);
            assert_string_equal(jwk_algorithm(jwk), kinds_of_keys[i].algorithm);
            assert_int_equal(jwk_not_before(jwk), 1700000000);
            assert_int_equal(jwk_expires(jwk), 1800000000);
            if (kinds_of_keys[i].curve)
                assert_string_equal(jwk_curve(jwk), kinds_of_keys[i].curve);

            struct jwk *again = read_key(jwk_text(jwk));
            EVP_PKEY *back = jwk_to_key(again);
            assert_int_equal(EVP_PKEY_eq(key, back), 1);
            EVP_PKEY_free(back);
            struct jwk *half = read_key(jwk_public_text(again));
            assert_false(jwk_has_private(half));
            char thumbprint[SHA256_TEXT_SIZE], half_thumbprint[SHA256_TEXT_SIZE];
            jwk_thumbprint(jwk, thumbprint);
            jwk_thumbprint(half, half_thumbprint);
            assert_string_equal(thumbprint, half_thumbprint);
            jwk_free(half);
            jwk_free(again);
            jwk_free(jwk);
        }
        /* A public key has no private half to give. */
        struct jwk *half = jwk_from_key(key, false, &JWK_ATTRIBUTES_NONE, &error);
        EVP_PKEY *public_key = jwk_to_key(half);
        assert_null(jwk_from_key(public_key, true, &JWK_ATTRIBUTES_NONE, &error));
        assert_non_null(strstr(error.message, "no private half"));
        EVP_PKEY_free(public_key);
        jwk_free(half);
        EVP_PKEY_free(key);
        assert_int_equal(ERR_peek_error(), 0);
    }
}

/* Small coordinates are where a fixed size matters: one in 256 keys begins with a zero octet. */
static void coordinates_keep_their_leading_zeros(void **state) {
    (void)state;
    struct error error;
    for (int i = 0; i < 600; i++) {
        EVP_PKEY *key = make_ec("P-256");
        struct jwk *jwk = jwk_from_key(key, true, &JWK_ATTRIBUTES_NONE, &error);
        if (!jwk)
            fail_msg("%s", error.message);
        jwk_free(jwk);
        EVP_PKEY_free(key);
    }
}

static void octets_come_back_as_they_were(void **state) {
    (void)state;
    struct error error;
    unsigned char octets[64];
    random_bytes(octets, sizeof octets);
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    attributes.algorithm = "HS512";
    attributes.use = "sig";
    struct jwk *jwk = jwk_from_octets(octets, sizeof octets, &attributes, &error);
    assert_non_null(jwk);
    EVP_PKEY *key = jwk_to_key(jwk);
    unsigned char back[64];
    size_t size = sizeof back;
    assert_int_equal(EVP_PKEY_get_raw_private_key(key, back, &size), 1);
    assert_int_equal(size, sizeof octets);
    assert_memory_equal(back, octets, size);
    EVP_PKEY_free(key);
    jwk_free(jwk);
    assert_null(jwk_from_octets(octets, 63, &attributes, &error));
    assert_non_null(strstr(error.message, "at least 64 octets"));
    assert_null(jwk_from_octets(octets, 0, &attributes, &error));
    assert_int_equal(error.code, ERROR_INVALID);
}

static void keys_that_no_jwk_carries_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *type, *group, *why;
    } cases[] = {{"ED448", NULL, "ED448"},
                 {"X448", NULL, "X448"},
                 {"EC", "brainpoolP256r1", "brainpoolP256r1"},
                 {"EC", "P-224", "secp224r1"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error error = {0};
        EVP_PKEY *key = cases[i].group ? make_ec(cases[i].group) : make_other(cases[i].type);
        assert_null(jwk_from_key(key, false, &JWK_ATTRIBUTES_NONE, &error));
        assert_int_equal(error.code, ERROR_INVALID);
        assert_non_null(strstr(error.message, cases[i].why));
        assert_non_null(strstr(error.message, "not supported"));
        EVP_PKEY_free(key);
    }
    struct error error = {0};
    EVP_PKEY *small = make_rsa("1024");
    assert_null(jwk_from_key(small, true, &JWK_ATTRIBUTES_NONE, &error));
    assert_non_null(strstr(error.message, "1024 bits"));
    EVP_PKEY_free(small);

    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *multi = NULL;
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_bits(context, 2048), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_keygen_primes(context, 3), 1);
    assert_int_equal(EVP_PKEY_generate(context, &multi), 1);
    assert_null(jwk_from_key(multi, true, &JWK_ATTRIBUTES_NONE, &error));
    assert_non_null(strstr(error.message, "more than two factors"));
    EVP_PKEY_free(multi);
    EVP_PKEY_CTX_free(context);
}

static void an_rsa_pss_key_takes_the_ps_algorithms_alone(void **state) {
    (void)state;
    struct error error = {0};
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
    EVP_PKEY *key = NULL;
    assert_int_equal(EVP_PKEY_keygen_init(context), 1);
    assert_int_equal(EVP_PKEY_generate(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    attributes.algorithm = "PS384";
    struct jwk *jwk = jwk_from_key(key, true, &attributes, &error);
    assert_non_null(jwk);
    jwk_free(jwk);
    attributes.algorithm = "RS256";
    assert_null(jwk_from_key(key, true, &attributes, &error));
    assert_non_null(strstr(error.message, "RSA-PSS"));
    EVP_PKEY_free(key);
}

static void keys_that_are_unusual_but_right_are_read(void **state) {
    (void)state;
    static const struct {
        const char *base, *patch;
    } cases[] = {
        {RSA_PRIVATE, "{\"p\":null,\"q\":null,\"dp\":null,\"dq\":null,\"qi\":null}"},
        {RSA_PUBLIC, "{\"e\":\"Aw\"}"},
        {RSA_PUBLIC, "{\"alg\":null}"},
        {RSA_PUBLIC, "{\"alg\":\"RSA-OAEP-512\",\"use\":\"enc\",\"key_ops\":[\"encrypt\",\"wrapKey\"],\"ext\":true}"},
        {RSA_PRIVATE, "{\"key_ops\":[\"sign\",\"verify\"],\"use\":\"sig\"}"},
        {EC_PUBLIC, "{\"key_ops\":[]}"},
        {EC_PUBLIC, "{\"alg\":\"ECDH-ES+A192KW\",\"key_ops\":[\"deriveBits\"]}"},
        {EC_PRIVATE, "{\"use\":\"sig\",\"alg\":\"ES256\",\"key_ops\":[\"sign\"]}"},
        {P521, "{}"},
        {P521, "{\"alg\":\"ES512\",\"use\":\"sig\"}"},
        {ED_PUBLIC, "{\"alg\":\"EdDSA\"}"},
        {ED_PRIVATE, "{\"alg\":\"Ed25519\",\"use\":\"sig\",\"key_ops\":[\"sign\"]}"},
        {X25519_BOB, "{\"alg\":\"ECDH-1PU+A256KW\",\"use\":\"enc\"}"},
        {OCT_WRAP, "{\"alg\":\"A128GCM\"}"},
        {OCT_WRAP, "{\"alg\":\"dir\"}"},
        {OCT_WRAP, "{\"alg\":\"PBES2-HS512+A256KW\"}"},
        {OCT_HMAC, "{\"alg\":\"HS512\",\"key_ops\":[\"sign\",\"verify\"]}"},
        {OCT_HMAC, "{\"alg\":null,\"k\":\"AA\"}"},
        {X5C_KEY, "{\"x5t\":\"4pNenEBLv0JpLIdugWxQkOsZcK0\",\"x5t#S256\":\"pJm2BBpkB8y7tCqrWM0X37WOmQTO8zQw-VpxVgBb21I\"}"},
        {RSA_PUBLIC, "{\"x5t\":\"4pNenEBLv0JpLIdugWxQkOsZcK0\",\"x5u\":\"https://example.com/c\"}"},
        {RSA_PUBLIC, "{\"nbf\":0,\"exp\":253402300799,\"iat\":1.5,\"vendor\":{\"a\":[1,null]}}"},
        {RSA_PUBLIC, "{\"keys\":[]}"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text = patched(cases[i].base, cases[i].patch);
        assert_reads(text);
        cJSON_free(text);
    }
}

static void unknown_members_are_kept_in_their_order(void **state) {
    (void)state;
    static const char text[] = " {\"b\" : [1, {\"d\": \"kept\"}], \"kty\":\"OKP\", \"d\":\"" ED_D "\", "
                               "\"\\u0061\":\"\\u00e9\\n\","
                               "\"crv\":\"Ed25519\", \"iat\":9007199254740991, \"x\":\"" ED_X "\", \"z\":null} ";
    struct jwk *jwk = read_key(text);
    assert_string_equal(jwk_text(jwk), "{\"b\":[1,{\"d\":\"kept\"}],\"kty\":\"OKP\",\"d\":\"" ED_D "\",\"a\":\"\xc3\xa9\\n\","
                                       "\"crv\":\"Ed25519\",\"iat\":9007199254740991,\"x\":\"" ED_X "\",\"z\":null}");
    assert_string_equal(jwk_public_text(jwk), "{\"b\":[1,{\"d\":\"kept\"}],\"kty\":\"OKP\",\"a\":\"\xc3\xa9\\n\","
                                              "\"crv\":\"Ed25519\",\"iat\":9007199254740991,\"x\":\"" ED_X "\",\"z\":null}");
    jwk_free(jwk);
}

static void the_public_half_claims_only_what_it_can_do(void **state) {
    (void)state;
    static const struct {
        const char *base, *patch, *operations;
    } cases[] = {
        {RSA_PRIVATE, "{\"key_ops\":[\"sign\"]}", "\"key_ops\":[\"verify\"]"},
        {RSA_PRIVATE, "{\"key_ops\":[\"verify\",\"sign\"]}", "\"key_ops\":[\"verify\"]"},
        {RSA_PRIVATE, "{\"alg\":\"RSA-OAEP\",\"key_ops\":[\"unwrapKey\",\"decrypt\"]}",
         "\"key_ops\":[\"wrapKey\",\"encrypt\"]"},
        {EC_PRIVATE, "{\"key_ops\":[\"deriveKey\",\"deriveBits\"]}", "\"key_ops\":[]"},
        /* One that came without a private half stays as it came. */
        {EC_PUBLIC, "{\"key_ops\":[\"deriveBits\"]}", "\"key_ops\":[\"deriveBits\"]"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text = patched(cases[i].base, cases[i].patch);
        struct jwk *jwk = read_key(text);
        assert_non_null(strstr(jwk_public_text(jwk), cases[i].operations));
        assert_string_equal(jwk_text(jwk), text);
        assert_reads(jwk_public_text(jwk));
        jwk_free(jwk);
        cJSON_free(text);
    }
}

/* A set with a key of a kind that nobody knows, a broken one, and one kid that stands twice. */
#define SET \
    "{\"keys\":[" EC_PRIVATE "," RSA_PUBLIC ",{\"kty\":\"AKP\",\"kid\":\"new\"}," ED_PUBLIC \
    ",{\"kty\":\"RSA\",\"kid\":\"twin\"}," \
    "{\"kty\":\"RSA\",\"kid\":\"twin\"},5,{\"kid\":6}],\"other\":true}"

static void a_kid_picks_one_key_of_a_set(void **state) {
    (void)state;
    struct error error = {0};
    struct jwk *jwk = jwk_from_text(SET, sizeof SET - 1, "2011-04-29", &error);
    assert_non_null(jwk);
    assert_string_equal(jwk_text(jwk), RSA_PUBLIC);
    jwk_free(jwk);
    jwk = jwk_from_text(SET, sizeof SET - 1, "1", &error);
    assert_non_null(jwk);
    assert_string_equal(jwk_text(jwk), EC_PRIVATE);
    jwk_free(jwk);
    assert_reads("{\"keys\":[" ED_PUBLIC "]}");

    assert_refused(SET, NULL, "A kid must say which key is meant; the JWK Set has: \"1\", \"2011-04-29\", \"new\", \"twin\", "
                              "\"twin\", 3 without a kid");
    assert_refused(SET, "missing", "No key has the kid \"missing\"; the JWK Set has: \"1\"");
    assert_refused(SET, "twin", "Several keys have the kid \"twin\"");
    assert_refused(SET, "new", "Key \"new\" of the JWK Set: The key type (kty) \"AKP\" is not supported");
    assert_refused("{\"keys\":[" ED_PUBLIC "]}", "x", "No key has the kid \"x\"; the JWK Set has: 1 without a kid");
    /* A kid that fits is fine with a lone key too, another is not. */
    jwk = jwk_from_text(EC_PUBLIC, strlen(EC_PUBLIC), "1", &error);
    assert_non_null(jwk);
    jwk_free(jwk);
    assert_refused(EC_PRIVATE, "2", "The JWK has the kid \"1\", not \"2\"");
    assert_refused(ED_PRIVATE, "2", "The JWK has no kid, but the kid \"2\" was asked for");
}

static void a_long_list_of_kids_is_cut(void **state) {
    (void)state;
    struct text set = TEXT_EMPTY;
    text_json_open(&set, NULL, '{');
    text_json_open(&set, "keys", '[');
    for (int i = 0; i < 1000; i++) {
        char kid[256];
        snprintf(kid, sizeof kid, "%d %0200d", i, 0);
        text_json_open(&set, NULL, '{');
        text_json_string(&set, "kid", kid);
        text_json_close(&set, '}');
    }
    text_json_close(&set, ']');
    text_json_close(&set, '}');
    assert_refused(set.bytes, NULL, "\"0 0000");
    assert_refused(set.bytes, NULL, "...\" and 99");
    text_free(&set);
}

struct certificate {
    EVP_PKEY *key;
    X509 *x509;
    char text[4096]; /* base64 of its DER */
};

static void certify(struct certificate *subject, const char *name, const struct certificate *issuer, long serial) {
    X509 *x509 = X509_new();
    X509_set_version(x509, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), serial);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_NAME *own = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(own, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(issuer->x509 ? issuer->x509 : x509));
    X509_set_pubkey(x509, subject->key);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(x509, issuer->key, EVP_sha256()) > 0);
    subject->x509 = x509;
    unsigned char *der = NULL;
    int size = i2d_X509(x509, &der);
    assert_true(size > 0 && size < 3000);
    EVP_EncodeBlock((unsigned char *)subject->text, der, size);
    OPENSSL_free(der);
}

static void a_chain_must_hang_together(void **state) {
    (void)state;
    struct error error = {0};
    struct certificate root = {.key = make_rsa("2048")}, middle = {.key = make_ec("P-384")}, leaf = {.key = make_ec("P-256")};
    struct certificate impostor = {.key = make_ec("P-384")}, renamed = {.key = middle.key};
    certify(&root, "root", &root, 1);
    certify(&middle, "middle", &root, 2);
    certify(&leaf, "leaf", &middle, 3);
    /* The same names, another key. */
    certify(&impostor, "middle", &root, 2);
    /* The same key, another name. */
    certify(&renamed, "other", &root, 4);

    unsigned char digest[32];
    char x5t_s256[BASE64URL_LENGTH(32) + 1];
    X509_digest(leaf.x509, EVP_sha256(), digest, NULL);
    base64url_encode(digest, sizeof digest, x5t_s256);
    const char *chain[] = {leaf.text, middle.text, root.text};
    struct jwk_attributes attributes = JWK_ATTRIBUTES_NONE;
    attributes.x5c = chain;
    attributes.x5t_s256 = x5t_s256;
    for (attributes.x5c_count = 1; attributes.x5c_count <= 3; attributes.x5c_count++) {
        struct jwk *jwk = jwk_from_key(leaf.key, true, &attributes, &error);
        if (!jwk)
            fail_msg("%s", error.message);
        assert_non_null(strstr(jwk_public_text(jwk), "\"x5c\":[\"MII"));
        assert_non_null(strstr(jwk_public_text(jwk), x5t_s256));
        jwk_free(jwk);
    }
    attributes.x5c_count = 3;
    static const struct {
        int order[3];
        const char *why;
    } cases[] = {{{0, 2, 1}, "Certificate 2 of x5c does not certify"},
                 {{1, 0, 2}, "not the key of the JWK"},
                 {{0, 1, 1}, "Certificate 3 of x5c does not certify"},
                 {{0, 3, 2}, "Certificate 2 of x5c does not certify"},
                 {{0, 4, 2}, "Certificate 2 of x5c does not certify"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *all[] = {leaf.text, middle.text, root.text, impostor.text, renamed.text};
        for (int j = 0; j < 3; j++)
            chain[j] = all[cases[i].order[j]];
        assert_null(jwk_from_key(leaf.key, true, &attributes, &error));
        assert_non_null(strstr(error.message, cases[i].why));
    }
    const char *many[17];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = leaf.text;
    attributes.x5c = many;
    attributes.x5c_count = COUNT(many);
    assert_null(jwk_from_key(leaf.key, true, &attributes, &error));
    assert_non_null(strstr(error.message, "at most 16"));

    X509_free(renamed.x509);
    struct certificate *all[] = {&root, &middle, &leaf, &impostor};
    for (size_t i = 0; i < COUNT(all); i++) {
        X509_free(all[i]->x509);
        EVP_PKEY_free(all[i]->key);
    }
}

/* What our table calls a point of small order is one to OpenSSL as well: an agreement with it fails. */
static void points_of_small_order_give_no_agreement(void **state) {
    (void)state;
    static const char *const points[] = {
        ZEROS_32,
        "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "4Ot6fDtBuK4WVuP68Z_EatoJjeucMrH9hmIFFl9JuAA",
        "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc",
        "7P_______________________________________38",
        "7f_______________________________________38",
        "7v_______________________________________38",
        "7f________________________________________8",
    };
    EVP_PKEY *own = make_other("X25519");
    for (size_t i = 0; i < COUNT(points); i++) {
        unsigned char x[32], secret[32];
        size_t size = sizeof secret;
        assert_int_equal(base64url_decode(points[i], strlen(points[i]), x), 32);
        EVP_PKEY *peer = EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, x, sizeof x);
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
        assert_int_equal(EVP_PKEY_derive_init(context), 1);
        assert_int_equal(EVP_PKEY_derive_set_peer(context, peer), 1);
        assert_true(EVP_PKEY_derive(context, secret, &size) <= 0);
        ERR_clear_error();
        EVP_PKEY_CTX_free(context);
        EVP_PKEY_free(peer);
        char *text = memory_format("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"%s\"}", points[i]);
        assert_refused(text, NULL, "not a usable point");
        free(text);
    }
    EVP_PKEY_free(own);
}

static void algorithms_suit_or_are_refused_with_a_list(void **state) {
    (void)state;
    static const struct {
        enum jwk_type type;
        const char *curve, *use, *algorithm, *why;
    } cases[] = {
        {JWK_RSA, NULL, NULL, NULL, NULL},
        {JWK_RSA, NULL, "sig", "PS512", NULL},
        {JWK_RSA, NULL, "enc", "RSA1_5", NULL},
        {JWK_RSA, NULL, "enc", "PS512", "for signatures"},
        {JWK_RSA, "P-256", NULL, NULL, "\"P-256\" does not suit an RSA key"},
        {JWK_EC, NULL, "sig", "ES256", NULL},
        {JWK_EC, "P-521", "sig", "ES512", NULL},
        {JWK_EC, "P-521", "sig", "ES256", "suitable for an EC key on P-521: ES512"},
        {JWK_EC, "secp256k1", "sig", "ES256K", NULL},
        {JWK_EC, "secp256k1", "enc", NULL, "does not suit an EC key on secp256k1"},
        {JWK_EC, "X25519", NULL, NULL, "\"X25519\" does not suit an EC key"},
        {JWK_OKP, "X25519", "enc", "ECDH-ES", NULL},
        {JWK_OKP, "Ed25519", "sig", "Ed25519", NULL},
        {JWK_OKP, "Ed25519", "sig", "ECDH-ES", "suitable for an OKP key on Ed25519: EdDSA"},
        {JWK_OCT, NULL, "enc", "dir", NULL},
        {JWK_OCT, NULL, "sig", "dir", "for encryption"},
        {JWK_OCT, NULL, "mac", NULL, "sig or enc"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error error = {0};
        bool suits = jwk_algorithm_suits(cases[i].type, cases[i].curve, cases[i].use, cases[i].algorithm, &error);
        assert_int_equal(suits, cases[i].why == NULL);
        if (cases[i].why && !strstr(error.message, cases[i].why))
            fail_msg("expected \"%s\", got: %s", cases[i].why, error.message);
        assert_int_equal(jwk_algorithm_suits(cases[i].type, cases[i].curve, cases[i].use, cases[i].algorithm, NULL), suits);
    }
}

static int freed_secrets;

static void look_and_free(void *block) {
    if (block && (strncmp(block, EC_D, 10) == 0 || strncmp(block, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X, 40) == 0))
        freed_secrets++;
    free(block);
}

static void reading_leaves_no_secret_in_freed_memory(void **state) {
    (void)state;
    cJSON_Hooks hooks = {.malloc_fn = malloc, .free_fn = look_and_free};
    cJSON_InitHooks(&hooks);
    freed_secrets = 0;
    assert_reads(EC_PRIVATE);
    char *broken = patched(EC_PRIVATE, "{}");
    freed_secrets = 0;
    strstr(broken, EC_Y)[0]++;
    assert_refused(broken, NULL, "(x, y)");
    assert_int_equal(freed_secrets, 0);
    cJSON_free(broken);
    cJSON_InitHooks(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_keys_of_rfc_7517_are_read),
        cmocka_unit_test(type_names_are_those_of_the_management_api),
        cmocka_unit_test(thumbprints_are_those_of_the_rfcs),
        cmocka_unit_test(the_signature_of_rfc_8037_is_made_and_verified),
        cmocka_unit_test(the_agreement_of_rfc_8037_gives_its_secret),
        cmocka_unit_test(generated_keys_come_back_as_they_were),
        cmocka_unit_test(coordinates_keep_their_leading_zeros),
        cmocka_unit_test(octets_come_back_as_they_were),
        cmocka_unit_test(keys_that_no_jwk_carries_are_refused_by_name),
        cmocka_unit_test(an_rsa_pss_key_takes_the_ps_algorithms_alone),
        cmocka_unit_test(keys_that_are_unusual_but_right_are_read),
        cmocka_unit_test(unknown_members_are_kept_in_their_order),
        cmocka_unit_test(the_public_half_claims_only_what_it_can_do),
        cmocka_unit_test(a_kid_picks_one_key_of_a_set),
        cmocka_unit_test(a_long_list_of_kids_is_cut),
        cmocka_unit_test(a_chain_must_hang_together),
        cmocka_unit_test(points_of_small_order_give_no_agreement),
        cmocka_unit_test(algorithms_suit_or_are_refused_with_a_list),
        cmocka_unit_test(reading_leaves_no_secret_in_freed_memory),
    };
    return cmocka_run_group_tests_name("jwk", tests, NULL, NULL);
}
