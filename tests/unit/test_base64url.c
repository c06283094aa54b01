/* base64url and base64: every length both ways, and nothing but the one canonical spelling is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "common/base64url.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void encodes_the_vectors_of_rfc_4648(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text;
    } vectors[] = {{"", ""}, {"f", "Zg"}, {"fo", "Zm8"}, {"foo", "Zm9v"}, {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"},
                   {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < COUNT(vectors); i++) {
        char text[16];
        unsigned char bytes[16];
        base64url_encode((const unsigned char *)vectors[i].bytes, strlen(vectors[i].bytes), text);
        assert_string_equal(text, vectors[i].text);
        assert_int_equal(BASE64URL_LENGTH(strlen(vectors[i].bytes)), strlen(text));
        assert_int_equal(base64url_decode(text, strlen(text), bytes), strlen(vectors[i].bytes));
        assert_memory_equal(bytes, vectors[i].bytes, strlen(vectors[i].bytes));
    }
}

static void encodes_the_vector_of_rfc_7515(void **state) {
    (void)state;
    static const unsigned char bytes[] = {3, 236, 255, 224, 193};
    char text[BASE64URL_LENGTH(sizeof bytes) + 1];
    base64url_encode(bytes, sizeof bytes, text);
    assert_string_equal(text, "A-z_4ME");
}

static void decodes_what_it_encodes_at_every_length(void **state) {
    (void)state;
    unsigned char bytes[259];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 181 + 7);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        /* Exact allocations, so that a sanitizer sees one byte too many. */
        char *text = malloc(BASE64URL_LENGTH(size) + 1);
        base64url_encode(bytes, size, text);
        size_t length = strlen(text);
        assert_int_equal(length, BASE64URL_LENGTH(size));
        unsigned char *decoded = malloc(length * 3 / 4 + (length == 0));
        assert_int_equal(base64url_decode(text, length, decoded), size);
        assert_memory_equal(decoded, bytes, size);
        free(decoded);
        free(text);
    }
}

static void refuses_any_other_spelling(void **state) {
    (void)state;
    static const char *const texts[] = {
        "A", "AAAAA",         /* a lone last character */
        "Zh", "Zm9", "AB",    /* unused bits that are set */
        "Zg==", "Zm8=", "=",  /* padding */
        "Zm 9v", "Zm9v\n", " Zm9v", "Zm+v", "Zm/v", "Zm9v.", "Z\xc3\xa9m", "Zm\x80v",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        unsigned char out[16];
        if (base64url_decode(texts[i], strlen(texts[i]), out) != -1)
            fail_msg("\"%s\" was read", texts[i]);
    }
    unsigned char out[16];
    assert_int_equal(base64url_decode("Zm\0v", 4, out), -1);
}

static void reads_base64_with_padding_and_space(void **state) {
    (void)state;
    static const struct {
        const char *text, *bytes;
    } vectors[] = {{"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9v\r\nYmFy\n", "foobar"}, {" Z g = = ", "f"},
                   {"+/+/", "\xfb\xff\xbf"}};
    for (size_t i = 0; i < COUNT(vectors); i++) {
        unsigned char out[32];
        assert_int_equal(base64_decode(vectors[i].text, strlen(vectors[i].text), out), strlen(vectors[i].bytes));
        assert_memory_equal(out, vectors[i].bytes, strlen(vectors[i].bytes));
    }
}

static void refuses_what_is_not_base64(void **state) {
    (void)state;
    static const char *const texts[] = {"Z",    "Zg",   "Zg=",  "Zg===", "Zm8", "Zm9v=", "====", "=",       "==",
                                        "Zh==", "Zm9=", "Zm=v", "Zm=w", "Z===",  "Z-==", "Z_==",  "Zg==Zg==", "Zm9v!", "A==="};
    for (size_t i = 0; i < COUNT(texts); i++) {
        unsigned char out[16];
        if (base64_decode(texts[i], strlen(texts[i]), out) != -1)
            fail_msg("\"%s\" was read", texts[i]);
    }
}

static void reads_what_openssl_writes(void **state) {
    (void)state;
    unsigned char bytes[64];
    for (size_t size = 0; size <= sizeof bytes; size++) {
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)(i * 97 + size);
        unsigned char text[128], out[96];
        int length = EVP_EncodeBlock(text, bytes, (int)size);
        assert_int_equal(base64_decode((const char *)text, (size_t)length, out), size);
        assert_memory_equal(out, bytes, size);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_the_vectors_of_rfc_4648),
        cmocka_unit_test(encodes_the_vector_of_rfc_7515),
        cmocka_unit_test(decodes_what_it_encodes_at_every_length),
        cmocka_unit_test(refuses_any_other_spelling),
        cmocka_unit_test(reads_base64_with_padding_and_space),
        cmocka_unit_test(refuses_what_is_not_base64),
        cmocka_unit_test(reads_what_openssl_writes),
    };
    return cmocka_run_group_tests_name("base64url", tests, NULL, NULL);
}
