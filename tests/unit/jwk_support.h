/* The keys of the RFCs' examples and others made for the tests (their private members are public knowledge), and what the tests
 * of JWKs do with them. */
#ifndef TESTS_UNIT_JWK_SUPPORT_H
#define TESTS_UNIT_JWK_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>

#include "common/jwk.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* RFC 7517 appendix A.2; without the private members these are the keys of A.1 and of RFC 7638 section 3.1. */
#define RSA_N \
    "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64" \
    "tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91C" \
    "bOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
#define RSA_D \
    "X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-HLLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3" \
    "RTzlBaCxWp4doFk5N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7xojPLu4sbg1U2jx4" \
    "IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q"
#define RSA_P \
    "83i-7IvMGXoMXCskv73TKr8637FiO7Z27zv8oj6pbWUQyLPQBQxtPVnwD20R-60eTDmD2ujnMt5PoqMrm8RfmNhVWDtjjMmCMjOpSXicFHj7XOuVIYQyqVW" \
    "lWEh6dN36GVZYk93N8Bc9vY41xy8B9RzzOGVQzXvNEvn7O0nVbfs"
#define RSA_Q \
    "3dfOR9cuYq-0S-mkFLzgItgMEfFzB2q3hWehMuG0oCuqnb3vobLyumqjVZQO1dIrdwgTnCdpYzBcOfW5r370AFXjiWft_NGEiovonizhKpo9VVS78TzFgxk" \
    "IdrecRezsZ-1kYd_s1qDbxtkDEgfAITAG9LUnADun4vIcb6yelxk"
#define RSA_DP \
    "G4sPXkc6Ya9y8oJW9_ILj4xuppu0lzi_H7VTkS8xj5SdX3coE0oimYwxIi2emTAue0UOa5dpgFGyBJ4c8tQ2VF402XRugKDTP8akYhFo5tAA77Qe_NmtuYZ" \
    "c3C3m3I24G2GvR5sSDxUyAN2zq8Lfn9EUms6rY3Ob8YeiKkTiBj0"
#define RSA_DQ \
    "s9lAH9fggBsoFR8Oac2R_E2gw282rT2kGOAhvIllETE1efrA6huUUvMfBcMpn8lqeW6vzznYY5SSQF7pMdC_agI3nG8Ibp1BUb0JUiraRNqUfLhcQb_d9GF" \
    "4Dh7e74WbRsobRonujTYN1xCaP6TO61jvWrX-L18txXw494Q_cgk"
#define RSA_QI \
    "GyM_p6JrXySiz1toFgKbWV-JdI3jQ4ypu9rbMWx3rQJBfmt0FoYzgUIZEVFEcOqwemRN81zoDAaa-Bk0KWNGDjJHZDdDmFhW3AN7lI-puxk_mHZGJ11rxyR" \
    "8O55XLSe3SPmRfKwZI6yU24ZxvQKFYItdldUKGzO6Ia6zTKhAVRU"
#define RSA_PRIVATE \
    "{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"d\":\"" RSA_D "\",\"p\":\"" RSA_P "\",\"q\":\"" RSA_Q \
    "\",\"dp\":\"" RSA_DP "\",\"dq\":\"" RSA_DQ "\",\"qi\":\"" RSA_QI "\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}"
#define RSA_PUBLIC "{\"kty\":\"RSA\",\"n\":\"" RSA_N "\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}"
#define EC_X "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"
#define EC_Y "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"
#define EC_D "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
#define EC_PRIVATE \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"d\":\"" EC_D \
    "\",\"use\":\"enc\",\"kid\":\"1\"}"
#define EC_PUBLIC "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" EC_X "\",\"y\":\"" EC_Y "\",\"use\":\"enc\",\"kid\":\"1\"}"
/* RFC 7517 appendix A.3. */
#define OCT_WRAP "{\"kty\":\"oct\",\"alg\":\"A128KW\",\"k\":\"GawgguFyGrWKav7AX4VKUg\"}"
#define OCT_HMAC \
    "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\",\"kid" \
    "\":\"HMAC key used in JWS spec Appendix A.1 example\"}"
/* RFC 7517 appendix B. */
#define X5C_CERTIFICATE \
    "MIIDQjCCAiqgAwIBAgIGATz/FuLiMA0GCSqGSIb3DQEBBQUAMGIxCzAJBgNVBAYTAlVTMQswCQYDVQQIEwJDTzEPMA0GA1UEBxMGRGVudmVyMRwwGgYDVQQ" \
    "KExNQaW5nIElkZW50aXR5IENvcnAuMRcwFQYDVQQDEw5CcmlhbiBDYW1wYmVsbDAeFw0xMzAyMjEyMzI5MTVaFw0xODA4MTQyMjI5MTVaMGIxCzAJBgNVBA" \
    "YTAlVTMQswCQYDVQQIEwJDTzEPMA0GA1UEBxMGRGVudmVyMRwwGgYDVQQKExNQaW5nIElkZW50aXR5IENvcnAuMRcwFQYDVQQDEw5CcmlhbiBDYW1wYmVsb" \
    "DCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAL64zn8/QnHYMeZ0LncoXaEde1fiLm1jHjmQsF/449IYALM9if6amFtPDy2yvz3YlRij66s5gyLC" \
    "yO7ANuVRJx1NbgizcAblIgjtdf/u3WG7K+IiZhtELto/A7Fck9Ws6SQvzRvOE8uSirYbgmj6He4iO8NCyvaK0jIQRMMGQwsU1quGmFgHIXPLfnpnfajr1rV" \
    "TAwtgV5LEZ4Iel+W1GC8ugMhyr4/p1MtcIM42EA8BzE6ZQqC7VPqPvEjZ2dbZkaBhPbiZAS3YeYBRDWm1p1OZtWamT3cEvqqPpnjL1XyW+oyVVkaZdklLQp" \
    "2Btgt9qr21m42f4wTw+Xrp6rCKNb0CAwEAATANBgkqhkiG9w0BAQUFAAOCAQEAh8zGlfSlcI0o3rYDPBB07aXNswb4ECNIKG0CETTUxmXl9KUL+9gGlqCz5" \
    "iWLOgWsnrcKcY0vXPG9J1r9AqBNTqNgHq2G03X09266X5CpOe1zFo+Owb1zxtp3PehFdfQJ610CDLEaS9V9Rqp17hCyybEpOGVwe8fnk+fbEL2Bo3UPGrps" \
    "HzUoaGpDftmWssZkhpBJKVMJyf/RuP2SmmaIzmnw9JiSlYhzo4tpzd5rFXhjRbg4zW9C+2qok+2+qDM1iJ684gPHMIY8aLWrdgQTxkumGmTqgawR+N5MDtd" \
    "PTEQ0XfIBc2cJEUyMTY5MPvACWpkA6SdS4xSvdXK3IVfOWA=="
#define X5C_KEY \
    "{\"kty\":\"RSA\",\"use\":\"sig\",\"kid\":\"1b94c\",\"n\":\"vrjOfz9Ccdgx5nQudyhdoR17V-IubWMeOZCwX_jj0hgAsz2J_pqYW08PLbK_" \
    "PdiVGKPrqzmDIsLI7sA25VEnHU1uCLNwBuUiCO11_-7dYbsr4iJmG0Qu2j8DsVyT1azpJC_NG84Ty5KKthuCaPod7iI7w0LK9orSMhBEwwZDCxTWq4aYWAc" \
    "hc8t-emd9qOvWtVMDC2BXksRngh6X5bUYLy6AyHKvj-nUy1wgzjYQDwHMTplCoLtU-o-8SNnZ1tmRoGE9uJkBLdh5gFENabWnU5m1ZqZPdwS-qo-meMvVfJ" \
    "b6jJVWRpl2SUtCnYG2C32qvbWbjZ_jBPD5eunqsIo1vQ\",\"e\":\"AQAB\",\"x5c\":[\"" X5C_CERTIFICATE "\"]}"
/* RFC 8037 appendices A.1, A.2 and A.6. */
#define ED_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define ED_D "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
#define ED_PRIVATE "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"" ED_D "\",\"x\":\"" ED_X "\"}"
#define ED_PUBLIC "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" ED_X "\"}"
#define X25519_BOB "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"kid\":\"Bob\",\"x\":\"3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08\"}"
#define X25519_EPHEMERAL \
    "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"d\":\"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo\",\"x\":\"hSDwCYkwp1R0i33ctD73W" \
    "g2_Og0mOBr066SpjqqbTmo\"}"

/* A P-521 key whose numbers all begin with zeros, so that each size matters: d is 1, and the point is the generator. */
#define P521_X "AMaFjga3BATpzZ4-y2YjlbRCnGSBOQU_tSH4KK9ga009uqFLXnfv51ko_h3BJ6L_qN4zSLPBhWpCm_l-fjHC5b1m"
#define P521_Y "ARg5KWp4mjvABFyKX7QsfRvZmPVESVebRGgXr70XJz5mLJfucple9CZAxVC5AT-tB2E1PHCGonLCQIi-lHaf0WZQ"
#define P521_D "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
#define P521 "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"" P521_X "\",\"y\":\"" P521_Y "\",\"d\":\"" P521_D "\"}"
#define ZEROS_32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
/* The order of P-256, which is one too many for d. */
#define P256_ORDER "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE"

/* The generator, and a d that gives it but is beyond the order. */
#define P256_OVER \
    "{\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\",\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"," \
    "\"d\":\"_____wAAAAD__________7zm-q2nF56E87nKwvxjJVI\"}"
/* All numbers of this one fit together, but p is the product of two primes. */
#define RSA_COMPOSITE \
    "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"nA0ZLvmNzZC3HScDS7NUdfQXFDxkeLVRdfLHKP8FadrupbnPOy8J-x-OwPnXFgg9-whQr-mAmF3UKe" \
    "xo7vJs0ASLb1kBjYKTLfKCr9n_bPwmCRmWgi1OlOFInwQMA17uo1E74W4ui-mFpw-KrV76Fuz4MFPvy-ySH8HyOfowhCE5Zx39pfXRRUR32An1IMLWUc5k" \
    "drDGt7umKoQQov6OLGToQML4no91b-18vE3fAWkm9RLT8pjV8ffHk4dG3_N03x79ZDeB6j6IRvH828zIOWuZj8c7PpC5I9H75ZajrgYOAEGhTsboqMcdz4" \
    "19UVWYOTyolb6oMwOy0yX7HskNSQ\",\"d\":\"CG7GxRyUNp8S3h7tFSqoLkWV97B5x3IY6FRJwePiEYHUspzzX2Hf2rOuXaxCnLyuSMH-xjrKibFMVUW" \
    "iuALesXEFbetz44dCV9HKkSEpJeUMUyKQWRGEtRPlfj5UPdxj7exmXXy8RDBG2ivDVTIUNqfwk3_9rdnnXZL3-X0VIRaqpkAOPmclLE0AkK4Hn6HYBC0jY" \
    "-jKQXYx2M3JQJL45EoYikrYCxdl5patJ2biJUkxRU6r1aL_xQ9BAWOU0H2Z0yfrZeH92-p3I2kgbFIHVdLUA5vjjScGKtWaKEJzN__KK4b0Xm5d_HpWcwm" \
    "5_P-HwWHoo5HNGR0hYqGe9NOidw\",\"p\":\"qf_jAaXVQoCkOAU0Rm7O0TmueeU9KBcKm2-Kcqd9QCXnkXUsLGn_B74YF_9qPO2tKp4q9-HrxHakNQgh" \
    "7Rt-zfxSRO3Fv8qebHeYglxb3q7WNYpbmUKOMR10Lmle8Gnfyj3FEofOPXLGrHRvJJcAL2i6AQwh1KFiY6TDGWt5Kys\",\"q\":\"6v7Mfvw7VYWLQo6p" \
    "kPAVzYFKDdcV_2Zuzkyxi06CUbqpqZtPf-mSartepYlPhCN32i85msTS_SpK23hzZUFxoRWikvXto3sm4ao_bndP-ZA1xLU59fo7wjBhj-hirPsj5zYGvU" \
    "0nHk0S2EOBKMlCYURWH_eZhnt1QE670qs1n1s\",\"dp\":\"QvJ7on19M5hXk5wxDv-6QNkXZfeqEuyoB7hwbGCbSbTjsfvT7pW7koABGwpB-0aaaGsrf" \
    "r0gzRjv59aRDcBDOrmAaJa-xp3zr8GVdNkMcPCneSRImF2Gg78WruReOA1pzUpwHrEOvlJB_U5JKr6wmvsCLUFq3ULE7XrIPm19pUs\",\"dq\":\"YDfn" \
    "327DlKbTeHMVduT26GgxvCz_Ms3sPMgmQhXpQjGd2nZfPM6URuNlQ35PcplbL5j6iyZgBYzVjbtp9GGxdvV21Zmgrbl1GB0vT7nGozaq7VoO22qUIVTR_a" \
    "x3CsDh2H_EjqoShFOmjapGLj8J0O28Heaxk-DlB2m1efLkR9U\",\"qi\":\"aT0XzE2KEr9vegCpqwhuoWfXaVZHCJcz2JLlxX9GolESJ518WPSBve4Lj" \
    "HPHqsRcuscP7LJ2E7nQUM6UiNxWJvNSsALvJbab3Wm6snWa3WYGTDrq_fyhwNqGq3y-8mFZaLm89ijwudHLnnrQWq4p-Bsm8K0gpM8ge7i2y0iS1is\"}"

static inline struct jwk *read_key(const char *text) {
    struct error error = {0};
    struct jwk *jwk = jwk_from_text(text, strlen(text), NULL, &error);
    if (!jwk)
        fail_msg("%.100s was refused: %s", text, error.message);
    return jwk;
}

static inline void assert_reads(const char *text) {
    jwk_free(read_key(text));
}

/* The key with the members of a JSON merge patch (RFC 7396) put in; null takes one away. */
static inline char *patched(const char *base, const char *patch) {
    struct error error;
    cJSON *key = json_parse(base, strlen(base), &error), *changes = json_parse(patch, strlen(patch), &error);
    if (!key || !changes)
        fail_msg("%s: %s", patch, error.message);
    const cJSON *change;
    cJSON_ArrayForEach (change, changes) {
        cJSON_DeleteItemFromObjectCaseSensitive(key, change->string);
        if (!cJSON_IsNull(change))
            cJSON_AddItemToObject(key, change->string, cJSON_Duplicate(change, true));
    }
    char *text = cJSON_PrintUnformatted(key);
    cJSON_Delete(key);
    cJSON_Delete(changes);
    return text;
}

static inline void assert_refused(const char *text, const char *kid, const char *why) {
    struct error error = {0};
    struct jwk *jwk = jwk_from_text(text, strlen(text), kid, &error);
    if (jwk)
        fail_msg("%.200s was taken", text);
    assert_int_equal(error.code, ERROR_INVALID);
    if (!strstr(error.message, why))
        fail_msg("expected \"%s\", got: %s", why, error.message);
    assert_true(strlen(error.message) < sizeof error.message - 1);
    /* Nothing of a private member, not even its beginning. */
    static const char *const secrets[] = {RSA_D, RSA_P, RSA_Q, RSA_DP, RSA_DQ, RSA_QI, EC_D, ED_D, "AyM1Sys", "GawgguFy"};
    for (size_t i = 0; i < COUNT(secrets); i++) {
        char head[8] = "";
        memcpy(head, secrets[i], 7);
        assert_null(strstr(error.message, head));
    }
    assert_int_equal(ERR_peek_error(), 0);
}

#endif
