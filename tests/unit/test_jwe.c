/* JWE for several recipients: the RFCs' examples of each step, what another library sealed, and all that must not open. */
#include "jwk_support.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "common/base64url.h"
#include "common/jwe_internal.h"
#include "common/memory.h"
#include "common/text.h"

#define SECRET "the secret"
#define AAD "an identifier"

/* Sealed by jwcrypto for three recipients; "the secret" with that aad. */
#define FOREIGN \
    "{\"aad\":\"YW4gaWRlbnRpZmllcg\",\"ciphertext\":\"WAaT9mO6YgS2Ng\",\"iv\":\"eunOx_e8pS2EsWH6\",\"protected\":\"eyJlbmMi" \
    "OiJBMjU2R0NNIn0\",\"recipients\":[{\"encrypted_key\":\"3hgxbhMr2nJbWu_mCExz-qUNaSszLyUD489uoCVX4mZ-faxp5eCdLw\",\"head" \
    "er\":{\"alg\":\"ECDH-ES+A256KW\",\"epk\":{\"crv\":\"P-521\",\"kty\":\"EC\",\"x\":\"AIVDWCaaDMjSXcqF27eN1lUT8uDy1zXyr_A" \
    "ugGufYWYgTUuHgBVG9J_sGi25TzqbZO13vl4iplOZL0QxRVgIPBmI\",\"y\":\"AXZCK_BkmrKUF0lhqjmTA1epckxvClYHLP2G0Khok5O1fpIwSs3ZKz" \
    "cIpmsVH_EjTeLKNcLdyiETw_Xs8N1tjNLy\"},\"kid\":\"p521\"}},{\"encrypted_key\":\"xbHaPy0XtScb3QWIfwfA0N61IY3JqkmprM2Dl6qf" \
    "d8KOHBDJmMDYtA\",\"header\":{\"alg\":\"ECDH-ES+A256KW\",\"epk\":{\"crv\":\"X25519\",\"kty\":\"OKP\",\"x\":\"-noT92dJf1" \
    "fKDwBzV3IkvjYEEoaPyqgnnHwkcsi8_UU\"},\"kid\":\"x25519\"}},{\"encrypted_key\":\"ZJ1D9IZDfYJeb32WhXHkR_Xe8iXT03tf8MggAR2" \
    "GDI4aN7G5E5fL7g\",\"header\":{\"alg\":\"ECDH-ES+A256KW\",\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"p_nFqTJEpvy" \
    "wP3-DlJR5GmWwcjWMHovVBdj7i8wjd1U\",\"y\":\"2GgQexEF_w9Ib7taUEjk4RdHnvK5aI_4fKwabyYAhUc\"},\"kid\":\"p256\"}}],\"tag\":" \
    "\"X2iwA3pNvVuAUyomnLB46Q\"}"

/* And with the parties named. */
#define FOREIGN_PARTIES \
    "{\"ciphertext\":\"l8CSXf2w6D7I8Q\",\"iv\":\"MxJLInHC987f8Adk\",\"protected\":\"eyJlbmMiOiJBMjU2R0NNIiwiYWxnIjoiRUNESC1" \
    "FUytBMjU2S1ciLCJ0eXAiOiJKT1NFK0pTT04ifQ\",\"tag\":\"qnktHL5723AsGUClOX-Jcw\",\"unprotected\":{\"apu\":\"QWxpY2U\",\"ap" \
    "v\":\"Qm9i\"},\"recipients\":[{\"header\":{\"epk\":{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"9p-v6P96bvUBmwtQA5p-XFox-" \
    "2KSvse6Z1UXXP7W8Ag\",\"y\":\"VbiRRm8Us7xXebB2XrCj9IOejAnr2g_ZzgyIHw5zB_U\"},\"kid\":\"p256\"},\"encrypted_key\":\"7tU9" \
    "9lp7oTTpfrsotG1YChIw4JQx_TbCSa84XjMTMykjJ9XhB2hW0Q\"}]}"

enum { P256, P384, P521_KEY, X25519, KEYS };
static struct jwe_recipient keys[KEYS];

static EVP_PKEY *key_of(const char *text) {
    struct jwk *jwk = read_key(text);
    EVP_PKEY *key = jwk_to_key(jwk);
    jwk_free(jwk);
    return key;
}

static int set_up(void **state) {
    (void)state;
    keys[P256] = (struct jwe_recipient){"p256", key_of(EC_PRIVATE)};
    keys[P384] = (struct jwe_recipient){"p384", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384")};
    keys[P521_KEY] = (struct jwe_recipient){"p521", key_of(P521)};
    keys[X25519] = (struct jwe_recipient){"x25519", key_of(X25519_EPHEMERAL)};
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < KEYS; i++)
        EVP_PKEY_free(keys[i].key);
    return 0;
}

static struct text seal(const struct jwe_recipient *recipients, size_t count, const char *secret, const char *aad) {
    struct error error = {0};
    struct text jwe = TEXT_EMPTY;
    if (jwe_seal(recipients, count, secret, strlen(secret), aad, &jwe, &error) < 0)
        fail_msg("%s", error.message);
    assert_int_equal(ERR_peek_error(), 0);
    return jwe;
}

static void assert_opens(const struct jwe_recipient *with, size_t count, const char *jwe, const char *aad, const char *expected) {
    struct error error = {0};
    struct text plaintext = TEXT_EMPTY;
    text_add_string(&plaintext, "before ");
    if (jwe_open(with, count, jwe, strlen(jwe), aad, &plaintext, &error) < 0)
        fail_msg("%s", error.message);
    assert_memory_equal(plaintext.bytes, "before ", 7);
    assert_string_equal(plaintext.bytes + 7, expected);
    assert_int_equal(plaintext.length, 7 + strlen(expected));
    assert_int_equal(ERR_peek_error(), 0);
    text_wipe(&plaintext);
}

static void assert_shut(const struct jwe_recipient *with, size_t count, struct octets jwe, const char *aad, enum error_code code,
                        const char *why) {
    struct error error = {0};
    struct text plaintext = TEXT_EMPTY;
    if (jwe_open(with, count, jwe.bytes, jwe.length, aad, &plaintext, &error) == 0)
        fail_msg("%.*s was opened", (int)jwe.length, (const char *)jwe.bytes);
    if (why && !strstr(error.message, why))
        fail_msg("expected \"%s\", got: %s", why, error.message);
    assert_int_equal(error.code, code);
    assert_int_equal(plaintext.length, 0);
    /* Not in what lies behind the end either. */
    for (size_t i = 0; plaintext.bytes && i + 10 <= plaintext.capacity; i++)
        assert_memory_not_equal(plaintext.bytes + i, SECRET, 10);
    assert_int_equal(ERR_peek_error(), 0);
    text_wipe(&plaintext);
}

/* ---- the steps, by the RFCs ---- */

static void from_hex(const char *hex, unsigned char *out) {
    for (size_t i = 0; hex[2 * i]; i++) {
        unsigned value;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &value), 1);
        out[i] = (unsigned char)value;
    }
}

/* RFC 7518 appendix C: Alice's ephemeral key and Bob's, and the key that comes out. */
static void keys_are_derived_as_in_the_rfc(void **state) {
    (void)state;
    static const unsigned char expected[16] = {86, 170, 141, 234, 248, 35, 109, 32, 92, 34, 40, 205, 113, 167, 16, 26};
    EVP_PKEY *alice = key_of("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0\",\"y\":\"SLW_xSffzl"
                             "PWrHEVI30DHM_4egVwt3NQqeUD7nMFpps\",\"d\":\"0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo\"}");
    EVP_PKEY *bob = key_of("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ\",\"y\":\"e8lnCO-AlStT"
                           "-NJVX-crhB7QRYhiix03illJOVAOyck\",\"d\":\"VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw\"}");
    unsigned char secret[JWE_FIELD_MAX], key[16];
    size_t size = sizeof secret;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, alice, NULL);
    assert_int_equal(EVP_PKEY_derive_init(context), 1);
    assert_int_equal(EVP_PKEY_derive_set_peer(context, bob), 1);
    assert_int_equal(EVP_PKEY_derive(context, secret, &size), 1);
    assert_true(jwe_derive_key((struct octets){secret, size}, "A128GCM", (struct octets){"Alice", 5}, (struct octets){"Bob", 3}, key,
                               sizeof key));
    assert_memory_equal(key, expected, sizeof expected);
    EVP_PKEY_CTX_free(context);
    /* Both sides come to the same key to wrap with, and the parties count. */
    unsigned char ours[JWE_KEY_SIZE], theirs[JWE_KEY_SIZE];
    const struct octets nobody = {NULL, 0}, party = {"Bob", 3};
    assert_true(jwe_agree(alice, bob, nobody, party, ours));
    assert_true(jwe_agree(bob, alice, nobody, party, theirs));
    assert_memory_equal(ours, theirs, sizeof ours);
    assert_true(jwe_agree(bob, alice, party, nobody, theirs));
    assert_memory_not_equal(ours, theirs, sizeof ours);
    EVP_PKEY_free(alice);
    EVP_PKEY_free(bob);
}

/* RFC 8037 appendix A.6. */
static void x25519_agrees_as_in_the_rfc(void **state) {
    (void)state;
    unsigned char secret[32], expected[JWE_KEY_SIZE], key[JWE_KEY_SIZE];
    const struct octets nobody = {NULL, 0};
    EVP_PKEY *ephemeral = key_of(X25519_EPHEMERAL), *bob = key_of(X25519_BOB);
    from_hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742", secret);
    assert_true(jwe_derive_key((struct octets){secret, sizeof secret}, JWE_KEY_ALGORITHM, nobody, nobody, expected, sizeof expected));
    assert_true(jwe_agree(ephemeral, bob, nobody, nobody, key));
    assert_memory_equal(key, expected, sizeof key);
    EVP_PKEY_free(ephemeral);
    EVP_PKEY_free(bob);
}

/* RFC 3394 section 4.6. */
static void keys_are_wrapped_as_in_the_rfc(void **state) {
    (void)state;
    unsigned char key[JWE_KEY_SIZE], content_key[JWE_KEY_SIZE], wrapped[JWE_WRAPPED_SIZE], expected[JWE_WRAPPED_SIZE],
        unwrapped[JWE_KEY_SIZE] = {0};
    from_hex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", key);
    from_hex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F", content_key);
    from_hex("28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21", expected);
    assert_true(jwe_wrap(key, content_key, wrapped));
    assert_memory_equal(wrapped, expected, sizeof wrapped);
    assert_true(jwe_unwrap(key, wrapped, unwrapped));
    assert_memory_equal(unwrapped, content_key, sizeof unwrapped);
    for (size_t i = 0; i < sizeof wrapped; i++) {
        wrapped[i] ^= 0x10;
        assert_false(jwe_unwrap(key, wrapped, unwrapped));
        wrapped[i] ^= 0x10;
    }
    ERR_clear_error();
}

/* The GCM specification's test case 16. */
static void content_is_encrypted_as_specified(void **state) {
    (void)state;
    unsigned char key[JWE_KEY_SIZE], iv[JWE_IV_SIZE], aad[20], plaintext[60], expected[60], ciphertext[60], tag[JWE_TAG_SIZE],
        expected_tag[JWE_TAG_SIZE];
    from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key);
    from_hex("cafebabefacedbaddecaf888", iv);
    from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
    from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
             plaintext);
    from_hex("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
             expected);
    from_hex("76fc6ece0f4e1768cddf8853bb2d551b", expected_tag);
    assert_true(jwe_encrypt(key, iv, (struct octets){aad, sizeof aad}, (struct octets){plaintext, sizeof plaintext}, ciphertext, tag));
    assert_memory_equal(ciphertext, expected, sizeof expected);
    assert_memory_equal(tag, expected_tag, sizeof tag);
    unsigned char opened[60];
    assert_true(jwe_decrypt(key, iv, (struct octets){aad, sizeof aad}, (struct octets){ciphertext, sizeof ciphertext}, tag, opened));
    assert_memory_equal(opened, plaintext, sizeof plaintext);
    static const unsigned char wiped[60] = {0};
    tag[0] ^= 1;
    assert_false(jwe_decrypt(key, iv, (struct octets){aad, sizeof aad}, (struct octets){ciphertext, sizeof ciphertext}, tag, opened));
    assert_memory_equal(opened, wiped, sizeof wiped);
}

/* ---- there and back ---- */

static void every_recipient_opens_it(void **state) {
    (void)state;
    struct text jwe = seal(keys, KEYS, SECRET, AAD);
    for (size_t i = 0; i < KEYS; i++)
        assert_opens(&keys[i], 1, jwe.bytes, AAD, SECRET);
    assert_opens(keys, KEYS, jwe.bytes, AAD, SECRET);
    text_free(&jwe);
    for (size_t i = 0; i < KEYS; i++) {
        jwe = seal(&keys[i], 1, SECRET, AAD);
        assert_opens(keys, KEYS, jwe.bytes, AAD, SECRET);
        text_free(&jwe);
    }
}

static void what_another_library_sealed_opens(void **state) {
    (void)state;
    assert_opens(&keys[P256], 1, FOREIGN, AAD, SECRET);
    assert_opens(&keys[P521_KEY], 1, FOREIGN, AAD, SECRET);
    assert_opens(&keys[X25519], 1, FOREIGN, AAD, SECRET);
    /* alg in the protected header, apu and apv in the shared one. */
    assert_opens(&keys[P256], 1, FOREIGN_PARTIES, NULL, SECRET);
}

static void content_of_every_size_and_none_is_sealed(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 3000, JWE_PLAINTEXT_MAX};
    char *secret = memory_new(JWE_PLAINTEXT_MAX + 1);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        memset(secret, 0, JWE_PLAINTEXT_MAX + 1);
        memset(secret, 'x', sizes[i]);
        struct text jwe = seal(keys, 1, secret, AAD);
        assert_opens(keys, 1, jwe.bytes, AAD, secret);
        text_free(&jwe);
    }
    struct error error = {0};
    struct text jwe = TEXT_EMPTY;
    assert_int_equal(jwe_seal(keys, 1, secret, JWE_PLAINTEXT_MAX + 1, AAD, &jwe, &error), -1);
    assert_string_equal(error.message, "65537 bytes are too many to be sealed: at most 65536 are");
    assert_int_equal(jwe.length, 0);
    free(secret);
}

static void no_aad_and_an_empty_one_are_the_same(void **state) {
    (void)state;
    struct text jwe = seal(keys, 1, SECRET, NULL);
    assert_null(strstr(jwe.bytes, "\"aad\""));
    assert_opens(keys, 1, jwe.bytes, "", SECRET);
    assert_opens(keys, 1, jwe.bytes, NULL, SECRET);
    text_free(&jwe);
    jwe = seal(keys, 1, SECRET, "");
    assert_null(strstr(jwe.bytes, "\"aad\""));
    assert_opens(keys, 1, jwe.bytes, NULL, SECRET);
    text_free(&jwe);
}

static void its_form_is_the_general_serialization(void **state) {
    (void)state;
    struct error error = {0};
    struct text jwe = TEXT_EMPTY;
    text_add_string(&jwe, "[1");
    assert_int_equal(jwe_seal(&keys[X25519], 1, SECRET, strlen(SECRET), AAD, &jwe, &error), 0);
    /* It is appended as one more value. */
    assert_memory_equal(jwe.bytes, "[1,{", 4);
    cJSON *tree = json_parse(jwe.bytes + 3, jwe.length - 3, &error);
    static const char *const members[] = {"protected", "recipients", "aad", "iv", "ciphertext", "tag", NULL};
    assert_non_null(tree);
    assert_int_equal(json_refuse_unknown(tree, members, &error), 0);
    assert_int_equal(cJSON_GetArraySize(tree), 6);
    assert_string_equal(cJSON_GetObjectItem(tree, "protected")->valuestring, "eyJlbmMiOiJBMjU2R0NNIn0"); /* {"enc":"A256GCM"} */
    assert_string_equal(cJSON_GetObjectItem(tree, "aad")->valuestring, "YW4gaWRlbnRpZmllcg");
    const cJSON *recipient = cJSON_GetArrayItem(cJSON_GetObjectItem(tree, "recipients"), 0), *header = cJSON_GetObjectItem(recipient, "header");
    assert_string_equal(cJSON_GetObjectItem(header, "alg")->valuestring, "ECDH-ES+A256KW");
    assert_string_equal(cJSON_GetObjectItem(header, "kid")->valuestring, "x25519");
    const cJSON *epk = cJSON_GetObjectItem(header, "epk");
    assert_int_equal(cJSON_GetArraySize(epk), 3);
    assert_string_equal(cJSON_GetObjectItem(epk, "kty")->valuestring, "OKP");
    assert_string_equal(cJSON_GetObjectItem(epk, "crv")->valuestring, "X25519");
    cJSON_Delete(tree);
    text_free(&jwe);
}

static int compare_strings(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* RFC 7518 section 4.6, and what keeps GCM from falling apart. */
static void nothing_random_is_used_twice(void **state) {
    (void)state;
    enum { RECIPIENTS = 50 };
    struct jwe_recipient many[RECIPIENTS];
    char kids[RECIPIENTS][16];
    struct error error;
    for (size_t i = 0; i < RECIPIENTS; i++) {
        snprintf(kids[i], sizeof kids[i], "key-%zu", i);
        many[i] = (struct jwe_recipient){kids[i], keys[i % KEYS].key};
    }
    struct text jwes[2] = {seal(many, RECIPIENTS, SECRET, AAD), seal(many, RECIPIENTS, SECRET, AAD)};
    cJSON *trees[2];
    const char *seen[2 * (2 * RECIPIENTS + 2)];
    size_t count = 0;
    for (size_t i = 0; i < 2; i++) {
        trees[i] = json_parse(jwes[i].bytes, jwes[i].length, &error);
        const cJSON *each;
        cJSON_ArrayForEach (each, cJSON_GetObjectItem(trees[i], "recipients")) {
            seen[count++] = cJSON_GetObjectItem(each, "encrypted_key")->valuestring;
            seen[count++] = cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(each, "header"), "epk"), "x")->valuestring;
        }
        seen[count++] = cJSON_GetObjectItem(trees[i], "iv")->valuestring;
        seen[count++] = cJSON_GetObjectItem(trees[i], "ciphertext")->valuestring;
    }
    assert_int_equal(count, COUNT(seen));
    qsort(seen, count, sizeof seen[0], compare_strings);
    for (size_t i = 1; i < count; i++)
        assert_string_not_equal(seen[i - 1], seen[i]);
    assert_opens(&many[RECIPIENTS - 1], 1, jwes[0].bytes, AAD, SECRET);
    for (size_t i = 0; i < 2; i++) {
        cJSON_Delete(trees[i]);
        text_free(&jwes[i]);
    }
}

static void keys_that_do_not_suit_seal_nothing(void **state) {
    (void)state;
    static const char *const others[] = {ED_PUBLIC, RSA_PUBLIC, OCT_WRAP};
    for (size_t i = 0; i < COUNT(others) + 1; i++) {
        struct error error = {0};
        struct text jwe = TEXT_EMPTY;
        struct jwe_recipient pair[2] = {keys[0], {"odd", i < COUNT(others) ? key_of(others[i])
                                                                           : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1")}};
        assert_int_equal(jwe_seal(pair, 2, SECRET, strlen(SECRET), AAD, &jwe, &error), -1);
        assert_string_equal(error.message, "Nothing can be sealed for the key \"odd\": it must be on P-256, P-384, P-521 or X25519");
        assert_int_equal(error.code, ERROR_INVALID);
        assert_int_equal(jwe.length, 0);
        EVP_PKEY_free(pair[1].key);
        text_free(&jwe);
    }
    struct error error = {0};
    struct text jwe = TEXT_EMPTY;
    struct jwe_recipient *many = memory_new((JWE_RECIPIENTS_MAX + 1) * sizeof *many);
    for (size_t i = 0; i <= JWE_RECIPIENTS_MAX; i++)
        many[i] = keys[X25519];
    assert_int_equal(jwe_seal(keys, 0, SECRET, strlen(SECRET), AAD, &jwe, &error), -1);
    assert_string_equal(error.message, "A JWE is for 1 to 256 recipients, not 0");
    assert_int_equal(jwe_seal(many, JWE_RECIPIENTS_MAX + 1, SECRET, strlen(SECRET), AAD, &jwe, &error), -1);
    struct text full = seal(many, JWE_RECIPIENTS_MAX, SECRET, AAD);
    assert_opens(&keys[X25519], 1, full.bytes, AAD, SECRET);
    text_free(&full);
    free(many);
}

/* ---- what does not open ---- */

static void who_it_is_for_is_told(void **state) {
    (void)state;
    struct text jwe = seal(keys, 2, SECRET, AAD);
    assert_shut(&keys[P521_KEY], 1, (struct octets){jwe.bytes, jwe.length}, AAD, ERROR_NOT_FOUND,
                "It is sealed for the key p256, p384; the key here is p521");
    assert_shut(NULL, 0, (struct octets){jwe.bytes, jwe.length}, AAD, ERROR_NOT_FOUND, "the key here is none");
    text_free(&jwe);
    struct jwe_recipient many[200];
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = (struct jwe_recipient){"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", keys[X25519].key};
    jwe = seal(many, COUNT(many), SECRET, AAD);
    assert_shut(keys, 1, (struct octets){jwe.bytes, jwe.length}, AAD, ERROR_NOT_FOUND, " and 191 more; the key here is p256");
    text_free(&jwe);
}

static void the_key_and_the_aad_must_be_right(void **state) {
    (void)state;
    struct text jwe = seal(&keys[P256], 1, SECRET, AAD);
    const struct octets octets = {jwe.bytes, jwe.length};
    const struct jwe_recipient other = {"p256", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")}, curve = {"p256", keys[P384].key},
                               unfit = {"p256", key_of(ED_PRIVATE)}, half = {"p256", key_of(EC_PUBLIC)};
    assert_shut(&other, 1, octets, AAD, ERROR_INVALID, "does not open with the key p256: it was changed, or sealed for another key");
    assert_shut(&curve, 1, octets, AAD, ERROR_INVALID, "\"epk\" must be on the curve of the key, P-384");
    assert_shut(&unfit, 1, octets, AAD, ERROR_INVALID, "Nothing can be opened with that key");
    assert_shut(&half, 1, octets, AAD, ERROR_INVALID, "does not open");
    assert_shut(keys, 1, octets, "another identifier", ERROR_INVALID, "bound to something else");
    assert_shut(keys, 1, octets, "", ERROR_INVALID, "bound to something else");
    assert_shut(keys, 1, octets, NULL, ERROR_INVALID, "bound to something else");
    EVP_PKEY_free(other.key);
    EVP_PKEY_free(unfit.key);
    EVP_PKEY_free(half.key);
    text_free(&jwe);
    jwe = seal(&keys[P256], 1, SECRET, NULL);
    assert_shut(keys, 1, (struct octets){jwe.bytes, jwe.length}, AAD, ERROR_INVALID, "bound to something else");
    text_free(&jwe);
}

/* The JWE with a merge patch (RFC 7396) put into the whole, into its recipient, into its recipient's header, or into the
 * protected header. */
enum place { WHOLE, RECIPIENT, HEADER, PROTECTED_HEADER };

static void merge(cJSON *object, const char *patch) {
    struct error error;
    cJSON *changes = json_parse(patch, strlen(patch), &error);
    if (!changes)
        fail_msg("%s: %s", patch, error.message);
    const cJSON *change;
    cJSON_ArrayForEach (change, changes) {
        cJSON_DeleteItemFromObjectCaseSensitive(object, change->string);
        if (!cJSON_IsNull(change))
            cJSON_AddItemToObject(object, change->string, cJSON_Duplicate(change, true));
    }
    cJSON_Delete(changes);
}

static char *changed(const char *jwe, enum place place, const char *patch) {
    struct error error;
    cJSON *tree = json_parse(jwe, strlen(jwe), &error), *at = tree;
    if (place == RECIPIENT || place == HEADER)
        at = cJSON_GetArrayItem(cJSON_GetObjectItem(tree, "recipients"), 0);
    if (place == HEADER)
        at = cJSON_GetObjectItem(at, "header");
    if (place != PROTECTED_HEADER) {
        merge(at, patch);
    } else {
        char encoded[8192];
        base64url_encode((const unsigned char *)patch, strlen(patch), encoded);
        cJSON_ReplaceItemInObject(tree, "protected", cJSON_CreateString(encoded));
    }
    char *text = cJSON_PrintUnformatted(tree);
    cJSON_Delete(tree);
    return text;
}

#define EPK(x, y) "{\"epk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" x "\",\"y\":\"" y "\"}}"
static void what_is_malformed_is_told(void **state) {
    (void)state;
    static const struct {
        enum place place;
        const char *patch, *why;
    } cases[] = {
        {WHOLE, "{\"protected\":null}", "\"protected\""},
        {WHOLE, "{\"protected\":\"\"}", "its protected header"},
        {WHOLE, "{\"protected\":\"eyJlbmMiOiJBMjU2R0NNIn0=\"}", "\"protected\" is too long or no base64url"},
        {WHOLE, "{\"protected\":\"W10\"}", "its protected header is no JSON object"},
        {WHOLE, "{\"recipients\":null}", "\"recipients\""},
        {WHOLE, "{\"recipients\":{}}", "\"recipients\""},
        {WHOLE, "{\"recipients\":[]}", "it must be for 1 to 256 recipients, not 0"},
        {WHOLE, "{\"recipients\":[7]}", "a recipient is no JSON object"},
        {WHOLE, "{\"recipients\":[{\"header\":7}]}", "\"header\""},
        {WHOLE, "{\"header\":{}}", "flattened serialization"},
        {WHOLE, "{\"encrypted_key\":\"AA\"}", "flattened serialization"},
        {WHOLE, "{\"unprotected\":7}", "\"unprotected\""},
        {WHOLE, "{\"unprotected\":{\"kid\":\"p256\"}}", "\"kid\" stands in two of its headers"},
        {WHOLE, "{\"unprotected\":{\"enc\":\"A256GCM\"}}", "\"enc\" stands in two of its headers"},
        {WHOLE, "{\"unprotected\":{\"zip\":\"DEF\"}}", "the header \"zip\", which is not supported"},
        {WHOLE, "{\"unprotected\":{\"crit\":[]}}", "the header \"crit\", which is not supported"},
        {WHOLE, "{\"aad\":7}", "\"aad\""},
        {WHOLE, "{\"aad\":\"\"}", "bound to something else"},
        {WHOLE, "{\"aad\":\"YW4gaWRlbnRpZmllcg==\"}", "bound to something else"},
        {WHOLE, "{\"iv\":null}", "\"iv\""},
        {WHOLE, "{\"iv\":\"AAAA\"}", "\"iv\" must be 12 octets in base64url"},
        {WHOLE, "{\"iv\":\"AAAAAAAAAAAAAAA*\"}", "\"iv\" must be 12 octets in base64url"},
        {WHOLE, "{\"tag\":null}", "\"tag\""},
        {WHOLE, "{\"tag\":\"AAAA\"}", "\"tag\" must be 16 octets in base64url"},
        {WHOLE, "{\"tag\":\"AAAAAAAAAAAAAAAAAAAAAB\"}", "\"tag\" must be 16 octets in base64url"},
        {WHOLE, "{\"tag\":\"AAAAAAAAAAAAAAAAAAAAAA\"}", "does not open"},
        {WHOLE, "{\"ciphertext\":null}", "\"ciphertext\""},
        {WHOLE, "{\"ciphertext\":\"A\"}", "\"ciphertext\" is no base64url"},
        {WHOLE, "{\"ciphertext\":\"\"}", "does not open"},
        {RECIPIENT, "{\"encrypted_key\":null}", "\"encrypted_key\" must be 40 octets in base64url"},
        {RECIPIENT, "{\"encrypted_key\":\"AAAA\"}", "\"encrypted_key\" must be 40 octets in base64url"},
        {RECIPIENT, "{\"encrypted_key\":7}", "\"encrypted_key\" must be 40 octets in base64url"},
        {RECIPIENT, "{\"encrypted_key\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", "does not open"},
        {HEADER, "{\"alg\":null}", "\"alg\" is missing or no string"},
        {HEADER, "{\"alg\":\"ECDH-ES\"}", "sealed with \"ECDH-ES\": it must be ECDH-ES+A256KW"},
        {HEADER, "{\"alg\":\"ECDH-ES+A128KW\"}", "it must be ECDH-ES+A256KW"},
        {HEADER, "{\"alg\":\"dir\"}", "it must be ECDH-ES+A256KW"},
        {HEADER, "{\"enc\":\"A256GCM\"}", "\"enc\" stands in two of its headers"},
        {HEADER, "{\"zip\":\"DEF\"}", "the header \"zip\", which is not supported"},
        {HEADER, "{\"crit\":[\"alg\"]}", "the header \"crit\", which is not supported"},
        {HEADER, "{\"apu\":\"QWxpY2U\"}", "does not open"},
        {HEADER, "{\"apv\":\"*\"}", "\"apv\" is too long or no base64url"},
        {HEADER, "{\"apu\":7}", "\"apu\" is too long or no base64url"},
        {HEADER, "{\"epk\":null}", "\"epk\" is missing"},
        {HEADER, "{\"epk\":\"x\"}", "\"epk\""},
        {HEADER, EPK(EC_X, EC_X), "The point (x, y) is not on the curve P-256"},
        {HEADER, EPK(EC_X, EC_Y), "does not open"},
        {HEADER, "{\"epk\":" P521 "}", "\"epk\" has a private half"},
        {HEADER, "{\"epk\":{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"" P521_X "\",\"y\":\"" P521_Y "\"}}", "must be on the curve of the key, P-256"},
        {HEADER, "{\"epk\":" X25519_BOB "}", "must be on the curve of the key, P-256"},
        {HEADER, "{\"epk\":" RSA_PUBLIC "}", "must be on the curve of the key, P-256"},
        {PROTECTED_HEADER, "{}", "\"enc\""},
        {PROTECTED_HEADER, "{\"enc\":7}", "\"enc\""},
        {PROTECTED_HEADER, "{\"enc\":\"A128GCM\"}", "encrypted with \"A128GCM\": it must be A256GCM"},
        {PROTECTED_HEADER, "{\"enc\":\"A256CBC-HS512\"}", "it must be A256GCM"},
        {PROTECTED_HEADER, "{\"enc\":\"A256GCM\",\"enc\":\"A256GCM\"}", "stands twice"},
        {PROTECTED_HEADER, "{\"enc\":\"A256GCM\",\"zip\":\"DEF\"}", "the header \"zip\""},
        {PROTECTED_HEADER, "{\"enc\":\"A256GCM\",\"crit\":[\"enc\"]}", "the header \"crit\""},
        {PROTECTED_HEADER, "{\"enc\":\"A256GCM\",\"kid\":\"p256\"}", "\"kid\" stands in two of its headers"},
        /* The same header in other words: it is not the one that was encrypted under. */
        {PROTECTED_HEADER, "{\"enc\": \"A256GCM\"}", "does not open"},
    };
    struct text jwe = seal(&keys[P256], 1, SECRET, AAD);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *broken = changed(jwe.bytes, cases[i].place, cases[i].patch);
        assert_shut(keys, 1, (struct octets){broken, strlen(broken)}, AAD, ERROR_INVALID, cases[i].why);
        cJSON_free(broken);
    }
    char *twice = memory_format("%.*s,\"iv\":\"AAAAAAAAAAAAAAAA\"}", (int)jwe.length - 1, jwe.bytes);
    assert_shut(keys, 1, (struct octets){twice, strlen(twice)}, AAD, ERROR_INVALID, "stands twice");
    free(twice);
    assert_shut(keys, 1, (struct octets){"[]", 2}, AAD, ERROR_INVALID, "no JSON object");
    assert_shut(keys, 1, (struct octets){"", 0}, AAD, ERROR_INVALID, "JSON");
    char *other_kid = changed(jwe.bytes, HEADER, "{\"kid\":7}");
    assert_shut(keys, 1, (struct octets){other_kid, strlen(other_kid)}, AAD, ERROR_NOT_FOUND, "for the key (unnamed)");
    cJSON_free(other_kid);
    text_free(&jwe);
}

/* A point of small order would give a secret that everyone knows. */
static void weak_points_of_x25519_are_refused(void **state) {
    (void)state;
    struct text jwe = seal(&keys[X25519], 1, SECRET, AAD);
    char *broken = changed(jwe.bytes, HEADER, "{\"epk\":{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"" ZEROS_32 "\"}}");
    assert_shut(&keys[X25519], 1, (struct octets){broken, strlen(broken)}, AAD, ERROR_INVALID, "\"epk\"");
    cJSON_free(broken);
    text_free(&jwe);
}

static void sizes_have_bounds(void **state) {
    (void)state;
    struct text jwe = seal(&keys[P256], 1, SECRET, AAD);
    size_t size = JWE_SIZE_MAX + 1;
    char *large = memory_new(size);
    memset(large, ' ', size);
    memcpy(large, jwe.bytes, jwe.length);
    assert_shut(keys, 1, (struct octets){large, size}, AAD, ERROR_INVALID, "it is too long");
    free(large);
    struct text patch = TEXT_EMPTY;
    text_add_string(&patch, "{\"recipients\":[");
    for (size_t i = 0; i <= JWE_RECIPIENTS_MAX; i++)
        text_add_string(&patch, i > 0 ? ",{}" : "{}");
    text_add_string(&patch, "]}");
    char *broken = changed(jwe.bytes, WHOLE, patch.bytes);
    assert_shut(keys, 1, (struct octets){broken, strlen(broken)}, AAD, ERROR_INVALID, "recipients, not 257");
    cJSON_free(broken);
    text_reset(&patch);
    text_add_string(&patch, "{\"ciphertext\":\"");
    for (size_t i = 0; i < JWE_PLAINTEXT_MAX / 3 + 1; i++)
        text_add_string(&patch, "AAAA");
    text_add_string(&patch, "\"}");
    broken = changed(jwe.bytes, WHOLE, patch.bytes);
    assert_shut(keys, 1, (struct octets){broken, strlen(broken)}, AAD, ERROR_INVALID, "\"ciphertext\" is too long");
    cJSON_free(broken);
    text_free(&patch);
    text_free(&jwe);
}

/* Whatever is cut off or changed, it does not open; the sanitizers look on. */
static void no_changed_byte_opens(void **state) {
    (void)state;
    struct text jwe = seal(&keys[X25519], 1, SECRET, AAD);
    for (size_t i = 0; i < jwe.length; i++) {
        struct error error;
        struct text plaintext = TEXT_EMPTY;
        assert_int_equal(jwe_open(&keys[X25519], 1, jwe.bytes, i, AAD, &plaintext, &error), -1);
        char before = jwe.bytes[i];
        jwe.bytes[i] = before == 'A' ? 'B' : 'A';
        assert_int_equal(jwe_open(&keys[X25519], 1, jwe.bytes, jwe.length, AAD, &plaintext, &error), -1);
        jwe.bytes[i] = before;
        text_wipe(&plaintext);
    }
    assert_opens(&keys[X25519], 1, jwe.bytes, AAD, SECRET);
    text_free(&jwe);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_derived_as_in_the_rfc),
        cmocka_unit_test(x25519_agrees_as_in_the_rfc),
        cmocka_unit_test(keys_are_wrapped_as_in_the_rfc),
        cmocka_unit_test(content_is_encrypted_as_specified),
        cmocka_unit_test(every_recipient_opens_it),
        cmocka_unit_test(what_another_library_sealed_opens),
        cmocka_unit_test(content_of_every_size_and_none_is_sealed),
        cmocka_unit_test(no_aad_and_an_empty_one_are_the_same),
        cmocka_unit_test(its_form_is_the_general_serialization),
        cmocka_unit_test(nothing_random_is_used_twice),
        cmocka_unit_test(keys_that_do_not_suit_seal_nothing),
        cmocka_unit_test(who_it_is_for_is_told),
        cmocka_unit_test(the_key_and_the_aad_must_be_right),
        cmocka_unit_test(what_is_malformed_is_told),
        cmocka_unit_test(weak_points_of_x25519_are_refused),
        cmocka_unit_test(sizes_have_bounds),
        cmocka_unit_test(no_changed_byte_opens),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
