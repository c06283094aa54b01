/* Malformed keys are refused, each with a sentence that names what is wrong and holds nothing secret. */
#include "tests/unit/jwk_support.h"

#include "common/memory.h"
#include "common/text.h"

/* The sum of both: inverse to q as well, but not less than p. */
#define RSA_QI_AND_P \
    "AQ6b_pQuN3ieryuGjNXAboQexFQ_RX9DIKsW19OrIRpnUkcfRBuSoL6cCSC-VmyXzsad0c5Fzz7k6pq8X8UnpacKnLxypyUh2Q43JN4IRc-SOvVh20jhnnB6" \
    "IZPm0aIFsWJP6hCJ5xPD0pkUp4Qxh1WoUM46WuivhzSorofyFcMQ"

static const struct {
    const char *base, *patch, *why;
} malformed[] = {
    /* The type. */
    {RSA_PUBLIC, "{\"kty\":null}", "\"kty\" is required"},
    {RSA_PUBLIC, "{\"kty\":7}", "\"kty\" must be a string"},
    {RSA_PUBLIC, "{\"kty\":\"rsa\"}", "\"rsa\" is not supported"},
    {RSA_PUBLIC, "{\"kty\":\"OCT\"}", "\"OCT\" is not supported"},
    {RSA_PUBLIC, "{\"kty\":\"AKP\"}", "\"AKP\" is not supported"},
    {RSA_PUBLIC, "{\"kty\":\"\"}", "not supported"},
    {RSA_PUBLIC, "{\"kty\":\"EC\"}", "\"crv\" is required"},
    {EC_PUBLIC, "{\"kty\":\"OKP\"}", "\"P-256\" is not supported"},
    /* RSA, public. */
    {RSA_PUBLIC, "{\"n\":null}", "\"n\" is required"},
    {RSA_PUBLIC, "{\"e\":null}", "\"e\" is required"},
    {RSA_PUBLIC, "{\"n\":[]}", "\"n\" must be a string"},
    {RSA_PUBLIC, "{\"n\":\"\"}", "\"n\" is empty"},
    {RSA_PUBLIC, "{\"n\":\"" RSA_N "=\"}", "\"n\" is not canonical base64url"},
    {RSA_PUBLIC, "{\"n\":\"" RSA_N " \"}", "\"n\" is not canonical base64url"},
    {RSA_PUBLIC, "{\"n\":\"a+b/" RSA_N "\"}", "\"n\" is not canonical base64url"},
    {RSA_PUBLIC, "{\"n\":\"AAAA" RSA_N "\"}", "\"n\" begins with a zero octet"},
    {RSA_PUBLIC, "{\"n\":\"" RSA_P "\"}", "1024 bits"},
    {RSA_PUBLIC, "{\"n\":\"AQAB\"}", "17 bits"},
    {RSA_PUBLIC, "{\"n\":\"" RSA_N "AAAA\"}", "small factor"},
    {RSA_PUBLIC, "{\"e\":\"AAEAAQ\"}", "\"e\" begins with a zero octet"},
    {RSA_PUBLIC, "{\"e\":\"AA\"}", "\"e\" begins with a zero octet"},
    {RSA_PUBLIC, "{\"e\":\"AQ\"}", "odd and at least 3"},
    {RSA_PUBLIC, "{\"e\":\"Ag\"}", "odd and at least 3"},
    {RSA_PUBLIC, "{\"e\":\"AQAA\"}", "odd and at least 3"},
    {RSA_PUBLIC, "{\"e\":\"AQAB=\"}", "\"e\" is not canonical base64url"},
    {RSA_PUBLIC, "{\"e\":\"AQABA\"}", "\"e\" is not canonical base64url"},
    {RSA_PUBLIC, "{\"e\":65537}", "\"e\" must be a string"},
    {RSA_PUBLIC, "{\"e\":\"" RSA_P "\"}", "more than 256 bits"},
    /* RSA, private. */
    {RSA_PRIVATE, "{\"d\":null}", "must have the member \"d\""},
    {RSA_PRIVATE, "{\"p\":null}", "\"p\" is missing"},
    {RSA_PRIVATE, "{\"qi\":null}", "\"qi\" is missing"},
    {RSA_PRIVATE, "{\"dp\":null,\"dq\":null,\"qi\":null}", "\"dp\" is missing"},
    {RSA_PRIVATE, "{\"d\":\"" RSA_N "\"}", "not less than n"},
    {RSA_PRIVATE, "{\"d\":\"AQAB\"}", "(d) does not match"},
    {RSA_PRIVATE, "{\"d\":\"AQAB\",\"p\":null,\"q\":null,\"dp\":null,\"dq\":null,\"qi\":null}", "(d) does not match"},
    {RSA_PRIVATE, "{\"d\":\"" RSA_D "=\"}", "\"d\" is not canonical base64url"},
    {RSA_PRIVATE, "{\"p\":\"" RSA_Q "\"}", "p and q do not match n"},
    {RSA_PRIVATE, "{\"p\":\"" RSA_N "\",\"q\":\"AQ\"}", "p and q do not match n"},
    {RSA_PRIVATE, "{\"p\":\"" RSA_DP "\"}", "p and q do not match n"},
    {RSA_COMPOSITE, "{}", "factor p is not a prime"},
    {RSA_PRIVATE, "{\"p\":\"" RSA_Q "\",\"q\":\"" RSA_P "\"}", "\"dp\" does not match"},
    {RSA_PRIVATE, "{\"dp\":\"" RSA_DQ "\"}", "\"dp\" does not match"},
    {RSA_PRIVATE, "{\"dq\":\"" RSA_DP "\"}", "\"dq\" does not match"},
    {RSA_PRIVATE, "{\"qi\":\"" RSA_DP "\"}", "\"qi\" does not match"},
    {RSA_PRIVATE, "{\"qi\":\"" RSA_QI_AND_P "\"}", "\"qi\" does not match"},
    {RSA_PRIVATE, "{\"e\":\"Aw\"}", "(d) does not match"},
    {RSA_PRIVATE, "{\"oth\":[{\"r\":\"AQAB\",\"d\":\"AQAB\",\"t\":\"AQAB\"}]}", "oth"},
    {RSA_PRIVATE, "{\"n\":\"" RSA_P "\"}", "1024 bits"},
    {RSA_PUBLIC, "{\"k\":\"AQAB\"}", "\"k\" does not belong to an RSA key"},
    {RSA_PUBLIC, "{\"DP\":\"AQAB\"}", "\"DP\" must be written \"dp\""},
    {RSA_PRIVATE, "{\"D\":\"AQAB\"}", "\"D\" must be written \"d\""},
    /* EC. */
    {EC_PUBLIC, "{\"crv\":null}", "\"crv\" is required"},
    {EC_PUBLIC, "{\"x\":null}", "\"x\" is required"},
    {EC_PUBLIC, "{\"y\":null}", "\"y\" is required"},
    {EC_PUBLIC, "{\"crv\":\"P-224\"}", "\"P-224\" is not supported"},
    {EC_PUBLIC, "{\"crv\":\"p-256\"}", "\"p-256\" is not supported"},
    {EC_PUBLIC, "{\"crv\":\"Ed25519\"}", "\"Ed25519\" is not supported"},
    {EC_PUBLIC, "{\"crv\":\"P-384\"}", "48 octets"},
    {EC_PUBLIC, "{\"crv\":\"secp256k1\",\"use\":null}", "not on the curve secp256k1"},
    {EC_PUBLIC, "{\"x\":\"" EC_Y "\"}", "not on the curve P-256"},
    {EC_PUBLIC, "{\"x\":\"" ZEROS_32 "\",\"y\":\"" ZEROS_32 "\"}", "not on the curve P-256"},
    {EC_PUBLIC, "{\"x\":\"__________________________________________8\"}", "not on the curve P-256"},
    {EC_PUBLIC, "{\"x\":\"" EC_X "AA\"}", "\"x\" is not canonical base64url"},
    {EC_PUBLIC, "{\"x\":\"AAAA\"}", "\"x\" must have 32 octets"},
    {EC_PUBLIC, "{\"y\":\"" EC_Y "=\"}", "\"y\" is not canonical base64url"},
    {EC_PUBLIC, "{\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D5\"}", "\"x\" is not canonical base64url"},
    {EC_PRIVATE, "{\"d\":\"" EC_X "\"}", "(d) does not match"},
    {EC_PRIVATE, "{\"d\":\"" ZEROS_32 "\"}", "(d) does not match"},
    {EC_PRIVATE, "{\"d\":\"" P256_ORDER "\"}", "(d) does not match"},
    {EC_PRIVATE, P256_OVER, "(d) does not match"},
    {EC_PRIVATE, "{\"d\":\"AQ\"}", "\"d\" must have 32 octets"},
    {EC_PRIVATE, "{\"d\":5}", "\"d\" must be a string"},
    {EC_PRIVATE, "{\"p\":\"AQAB\"}", "\"p\" does not belong to an EC key"},
    {P521, "{\"d\":\"AQ\"}", "\"d\" must have 66 octets"},
    {P521, "{\"x\":\"xoWOBrcEBOnNnj7LZiOVtEKcZIE5BT-1Ifgor2BrTT26oUted-_nWSj-HcEnov-o3jNIs8GFakKb-X5-McLlvWY\"}",
     "\"x\" must have 66 octets"},
    /* OKP. */
    {ED_PUBLIC, "{\"crv\":\"Ed448\"}", "Ed448 is not supported: use Ed25519"},
    {ED_PUBLIC, "{\"crv\":\"X448\"}", "X448 is not supported: use X25519"},
    {ED_PUBLIC, "{\"crv\":\"ed25519\"}", "\"ed25519\" is not supported"},
    {ED_PUBLIC, "{\"crv\":null}", "\"crv\" is required"},
    {ED_PUBLIC, "{\"x\":null}", "\"x\" is required"},
    {ED_PRIVATE, "{\"x\":null}", "\"x\" is required"},
    {ED_PUBLIC, "{\"x\":\"AAAA\"}", "\"x\" must have 32 octets"},
    {ED_PUBLIC, "{\"x\":\"" ED_X "==\"}", "\"x\" is not canonical base64url"},
    {ED_PUBLIC, "{\"x\":\"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", "not a usable point"},
    {ED_PUBLIC, "{\"x\":\"8P_______________________________________38\"}", "not a usable point"},
    {ED_PUBLIC, "{\"x\":\"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", "not a usable point"},
    {ED_PUBLIC, "{\"x\":\"" ZEROS_32 "\"}", "not a usable point"},
    {ED_PUBLIC, "{\"x\":\"JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_IU\"}", "not a usable point"},
    {ED_PUBLIC, "{\"x\":\"xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o\"}", "not a usable point"},
    {ED_PRIVATE, "{\"d\":\"" ED_X "\"}", "(d) does not match"},
    {ED_PRIVATE, "{\"d\":\"AAAA\"}", "\"d\" must have 32 octets"},
    {X25519_BOB, "{\"x\":\"" ZEROS_32 "\"}", "not a usable point"},
    {X25519_EPHEMERAL, "{\"x\":\"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08\"}", "(d) does not match"},
    {ED_PUBLIC, "{\"D\":\"gLtuMlfO-oYWA\"}", "\"D\" must be written \"d\""},
    {EC_PUBLIC, "{\"K\":\"AQAB\"}", "\"K\" does not belong to an EC key"},
    {ED_PUBLIC, "{\"priv\":\"AQAB\"}", "\"priv\" does not belong to an OKP key"},
    /* A private key inside of another member. */
    {ED_PUBLIC, "{\"jwk\":" ED_PRIVATE "}", "\"jwk\" has a private key inside"},
    {ED_PRIVATE, "{\"keys\":[{\"a\":[1," EC_PRIVATE "]}]}", "\"keys\" has a private key inside"},
    {ED_PUBLIC, "{\"a\":{\"kty\":\"oct\",\"K\":\"AQAB\"}}", "\"a\" has a private key inside"},
    {ED_PUBLIC, "{\"y\":\"AAAA\",\"k\":\"AAAA\"}", "\"k\" does not belong to an OKP key"},
    /* oct. */
    {OCT_HMAC, "{\"k\":null}", "\"k\" is required"},
    {OCT_HMAC, "{\"k\":\"\"}", "\"k\" is empty"},
    {OCT_HMAC, "{\"k\":\"AyM1Sy=\"}", "\"k\" is not canonical base64url"},
    {OCT_HMAC, "{\"d\":\"AQAB\"}", "\"d\" does not belong to an oct key"},
    {OCT_HMAC, "{\"x5c\":[\"" X5C_CERTIFICATE "\"]}", "\"x5c\" does not belong to an oct key"},
    {OCT_WRAP, "{\"alg\":\"A256KW\"}", "32 octets, not 16"},
    {OCT_HMAC, "{\"alg\":\"A256KW\"}", "32 octets, not 64"},
    {OCT_WRAP, "{\"alg\":\"HS256\"}", "at least 32 octets, not 16"},
    {OCT_WRAP, "{\"alg\":\"A256GCM\"}", "32 octets, not 16"},
    {OCT_WRAP, "{\"alg\":\"DIR\"}", "\"DIR\" is not known"},
    {OCT_WRAP, "{\"use\":\"sig\"}", "A128KW is for encryption"},
    {OCT_WRAP, "{\"key_ops\":[\"sign\"]}", "(key_ops) are for signatures"},
    /* use, key_ops, alg. */
    {RSA_PUBLIC, "{\"alg\":\"RS257\"}", "\"RS257\" is not known; suitable for an RSA key: RS256"},
    {RSA_PUBLIC, "{\"alg\":\"none\"}", "\"none\" is not known"},
    {RSA_PUBLIC, "{\"alg\":\"\"}", "not known"},
    {RSA_PUBLIC, "{\"alg\":256}", "\"alg\" must be a string"},
    {RSA_PUBLIC, "{\"alg\":\"ES256\"}", "\"ES256\" does not suit the key"},
    {RSA_PUBLIC, "{\"alg\":\"HS256\"}", "\"HS256\" does not suit the key"},
    {RSA_PUBLIC, "{\"use\":\"enc\"}", "RS256 is for signatures, but the key is for encryption"},
    {RSA_PUBLIC, "{\"alg\":\"RSA-OAEP\",\"use\":\"sig\"}", "RSA-OAEP is for encryption"},
    {RSA_PUBLIC, "{\"use\":\"SIGNATURE\"}", "\"SIGNATURE\" is not known: it must be sig or enc"},
    {RSA_PUBLIC, "{\"use\":[\"sig\"]}", "\"use\" must be a string"},
    {RSA_PUBLIC, "{\"key_ops\":\"verify\"}", "\"key_ops\" must be an array"},
    {RSA_PUBLIC, "{\"key_ops\":[1]}", "\"key_ops\" must be an array of strings"},
    {RSA_PUBLIC, "{\"key_ops\":[\"verify\",\"verify\"]}", "verify stands twice"},
    {RSA_PUBLIC, "{\"key_ops\":[\"Verify\"]}", "\"Verify\" is not known"},
    {RSA_PUBLIC, "{\"key_ops\":[\"sign\"]}", "sign needs a private key"},
    {RSA_PUBLIC, "{\"alg\":null,\"key_ops\":[\"verify\",\"encrypt\"]}", "mix signatures and encryption"},
    {RSA_PUBLIC, "{\"alg\":null,\"key_ops\":[\"deriveKey\"]}", "deriveKey does not suit an RSA key"},
    {RSA_PUBLIC, "{\"key_ops\":[\"encrypt\"]}", "(key_ops) are for encryption, but the key is for signatures"},
    {EC_PUBLIC, "{\"key_ops\":[\"verify\"]}", "(key_ops) are for signatures, but the key is for encryption"},
    {EC_PUBLIC, "{\"use\":null,\"key_ops\":[\"encrypt\"]}", "encrypt does not suit an EC key"},
    {EC_PUBLIC, "{\"use\":null,\"alg\":\"ES384\"}", "\"ES384\" does not suit the key; suitable for an EC key on P-256: ES256"},
    {EC_PUBLIC, "{\"use\":null,\"alg\":\"ES256K\"}", "\"ES256K\" does not suit the key"},
    {EC_PUBLIC, "{\"alg\":\"ES256\"}", "ES256 is for signatures"},
    {ED_PUBLIC, "{\"use\":\"enc\"}", "\"enc\" does not suit an OKP key on Ed25519"},
    {ED_PUBLIC, "{\"alg\":\"ES256\"}", "\"ES256\" does not suit the key; suitable for an OKP key on Ed25519: EdDSA, Ed25519"},
    {ED_PUBLIC, "{\"alg\":\"ECDH-ES\"}", "\"ECDH-ES\" does not suit the key"},
    {ED_PUBLIC, "{\"alg\":\"Ed448\"}", "\"Ed448\" is not known"},
    {ED_PUBLIC, "{\"key_ops\":[\"deriveBits\"]}", "but the key is for signatures"},
    {X25519_BOB, "{\"use\":\"sig\"}", "\"sig\" does not suit an OKP key on X25519"},
    {X25519_BOB, "{\"alg\":\"EdDSA\"}", "\"EdDSA\" does not suit the key"},
    /* Certificates. */
    {X5C_KEY, "{\"x5c\":[]}", "\"x5c\" is empty"},
    {X5C_KEY, "{\"x5c\":\"" X5C_CERTIFICATE "\"}", "\"x5c\" must be an array"},
    {X5C_KEY, "{\"x5c\":[7]}", "array of strings"},
    {X5C_KEY, "{\"x5c\":[\"\"]}", "Certificate 1 of x5c is not base64"},
    {X5C_KEY, "{\"x5c\":[\"AQAB\"]}", "Certificate 1 of x5c is not a DER certificate"},
    {X5C_KEY, "{\"x5c\":[\"MII-\"]}", "base64url"},
    {X5C_KEY, "{\"x5c\":[\" " X5C_CERTIFICATE "\"]}", "Certificate 1 of x5c is not base64"},
    {X5C_KEY, "{\"x5c\":[\"AAAA" X5C_CERTIFICATE "\"]}", "not a DER certificate"},
    {X5C_KEY, "{\"n\":\"" RSA_N "\"}", "not the key of the JWK"},
    {X5C_KEY, "{\"e\":\"Aw\"}", "not the key of the JWK"},
    {EC_PUBLIC, "{\"x5c\":[\"" X5C_CERTIFICATE "\"]}", "not the key of the JWK"},
    {X5C_KEY, "{\"x5c\":[\"" X5C_CERTIFICATE "\",\"AQAB\"]}", "Certificate 2 of x5c is not a DER certificate"},
    {X5C_KEY, "{\"x5t\":\"AAAA\"}", "\"x5t\" must have 20 octets"},
    {X5C_KEY, "{\"x5t\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAA\"}", "\"x5t\" is not the thumbprint"},
    {X5C_KEY, "{\"x5t#S256\":\"" ZEROS_32 "\"}", "\"x5t#S256\" is not the thumbprint"},
    {RSA_PUBLIC, "{\"x5t#S256\":\"AAAA\"}", "\"x5t#S256\" must have 32 octets"},
    {RSA_PUBLIC, "{\"x5u\":1}", "\"x5u\" must be a string"},
    /* What else it says. */
    {RSA_PUBLIC, "{\"kid\":\"\"}", "\"kid\" must have 1 to 255 bytes"},
    {RSA_PUBLIC, "{\"kid\":1}", "\"kid\" must be a string"},
    {RSA_PUBLIC, "{\"nbf\":\"1700000000\"}", "\"nbf\" must be an integer"},
    {RSA_PUBLIC, "{\"exp\":1.5}", "\"exp\" must be an integer"},
    {RSA_PUBLIC, "{\"exp\":-1}", "\"exp\" must be from 0"},
    {RSA_PUBLIC, "{\"exp\":1700000000000}", "\"exp\" must be from 0 to 253402300799"},
    {RSA_PUBLIC, "{\"nbf\":1700000000,\"exp\":1700000000}", "never valid"},
};

static void malformed_keys_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(malformed); i++) {
        char *text = patched(malformed[i].base, malformed[i].patch);
        assert_refused(text, NULL, malformed[i].why);
        cJSON_free(text);
    }
}

static void texts_that_are_no_key_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "JSON"},
        {"null", "must be a JSON object"},
        {"[]", "must be a JSON object"},
        {"\"eyJhbGciOiJub25lIn0\"", "must be a JSON object"},
        {"{}", "\"kty\" is required"},
        {"<html></html>", "Not valid JSON"},
        {"-----BEGIN PUBLIC KEY-----", "It is PEM and not a JWK"},
        {" \r\n-----BEGIN CERTIFICATE-----\n", "It is PEM and not a JWK"},
        {"-----BEGIN", "Not valid JSON"},
        {"{\"kty\":\"oct\",\"k\":\"AAAA\",\"k\":\"AAAB\"}", "\"k\" stands twice"},
        {"{\"kty\":\"oct\",\"k\":\"AAAA\",\"\\u006b\":\"AAAB\"}", "\"k\" stands twice"},
        {"{\"kty\":\"oct\",\"k\":\"AA\\u0000AA\"}", "NUL"},
        {"{\"kty\":\"oct\",\"kid\":null,\"k\":\"AAAA\"}", "\"kid\" must be a string"},
        {"{\"kty\":\"RSA\",\"exp\":1e999}", "2^53"},
        {"{\"keys\":{}}", "\"keys\" of a JWK Set must be an array"},
        {"{\"keys\":[]}", "no keys"},
        {"{\"keys\":[7]}", "must be a JSON object"},
    };
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_refused(cases[i].text, NULL, cases[i].why);
    char *long_kid = memory_format("{\"kid\":\"%0256d\"}", 0), *text = patched(RSA_PUBLIC, long_kid);
    assert_refused(text, NULL, "\"kid\" must have 1 to 255 bytes");
    cJSON_free(text);
    free(long_kid);
}

static char *repeated(const char *before, int count, const char *after) {
    struct text text = TEXT_EMPTY;
    for (int i = 0; i < count; i++)
        text_add_string(&text, before);
    text_add_string(&text, "1");
    for (int i = 0; i < count; i++)
        text_add_string(&text, after);
    return text_take(&text);
}

/* Unknown members: as many and as deep as an event can carry, and no more. */
static void a_key_is_bounded_in_values_and_depth(void **state) {
    (void)state;
    enum { OWN = 5 }; /* kty, crv, x, and the list with its first value */
    char *at_most = repeated("1,", JWK_VALUES_MAX - OWN, ""), *deep = repeated("[", JWK_DEPTH_MAX - 1, "]");
    char *many = memory_format("{\"a\":[%s]}", at_most), *more = memory_format("{\"a\":[1,%s]}", at_most);
    char *deepest = memory_format("{\"a\":%s}", deep), *deeper = memory_format("{\"a\":[%s]}", deep);
    static const char bare[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" ED_X "\"}";
    char *texts[] = {patched(bare, many), patched(bare, deepest), patched(bare, more), patched(bare, deeper)};
    assert_reads(texts[0]);
    assert_reads(texts[1]);
    assert_refused(texts[2], NULL, "A JWK can have at most 4096 values");
    assert_refused(texts[3], NULL, "Member \"a\" is nested too deep: a JWK can have 16 levels");
    for (size_t i = 0; i < COUNT(texts); i++)
        cJSON_free(texts[i]);
    free(at_most), free(deep), free(many), free(more), free(deepest), free(deeper);
}

/* One character of a key replaced: nothing crashes or leaks, and what is still taken is what its text says. */
static void every_changed_byte_is_survived(void **state) {
    (void)state;
    static const char *const bases[] = {EC_PRIVATE, ED_PRIVATE, X25519_EPHEMERAL, OCT_WRAP};
    static const char bytes[] = "\"A_-=/\\{}[],:9 \x01\x80";
    for (size_t i = 0; i < COUNT(bases); i++) {
        size_t length = strlen(bases[i]);
        char *changed = memory_string(bases[i]);
        for (size_t at = 0; at < length; at++) {
            for (const char *byte = bytes; *byte; byte++) {
                changed[at] = *byte;
                struct error error = {0};
                struct jwk *jwk = jwk_from_text(changed, length, NULL, &error);
                assert_true(jwk || error.code == ERROR_INVALID);
                if (jwk)
                    assert_reads(jwk_text(jwk));
                jwk_free(jwk);
            }
            changed[at] = bases[i][at];
        }
        free(changed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_keys_are_refused),
        cmocka_unit_test(texts_that_are_no_key_are_refused),
        cmocka_unit_test(a_key_is_bounded_in_values_and_depth),
        cmocka_unit_test(every_changed_byte_is_survived),
    };
    return cmocka_run_group_tests_name("jwk malformed", tests, NULL, NULL);
}
