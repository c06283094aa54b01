/* base64url and base64, strict: a key has one spelling only, so that equal keys compare equal and nothing hides in unused bits.
 *
 * OpenSSL's EVP_DecodeBlock() is no help here: it does not know the URL alphabet and takes padding and loose bits silently. */
#include "common/base64url.h"

static const char URL_ALPHABET[64] __attribute__((nonstring)) =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const unsigned char *bytes, size_t size, char *out) {
    size_t i = 0;
    for (; i + 3 <= size; i += 3) {
        unsigned group = (unsigned)bytes[i] << 16 | (unsigned)bytes[i + 1] << 8 | bytes[i + 2];
        *out++ = URL_ALPHABET[group >> 18];
        *out++ = URL_ALPHABET[group >> 12 & 63];
        *out++ = URL_ALPHABET[group >> 6 & 63];
        *out++ = URL_ALPHABET[group & 63];
    }
    if (size - i == 1) {
        *out++ = URL_ALPHABET[bytes[i] >> 2];
        *out++ = URL_ALPHABET[(bytes[i] & 3) << 4];
    } else if (size - i == 2) {
        unsigned group = (unsigned)bytes[i] << 8 | bytes[i + 1];
        *out++ = URL_ALPHABET[group >> 10];
        *out++ = URL_ALPHABET[group >> 4 & 63];
        *out++ = URL_ALPHABET[(group & 15) << 2];
    }
    *out = '\0';
}

/* The six bits that a character stands for, or -1. `plus` and `slash` are the two characters in which the alphabets differ. */
static int value_of(char character, char plus, char slash) {
    if (character >= 'A' && character <= 'Z')
        return character - 'A';
    if (character >= 'a' && character <= 'z')
        return character - 'a' + 26;
    if (character >= '0' && character <= '9')
        return character - '0' + 52;
    if (character == plus)
        return 62;
    return character == slash ? 63 : -1;
}

/* Collects six bits at a time and gives bytes out as they become whole. */
struct decoder {
    unsigned char *out;
    long size;
    unsigned bits;
    unsigned bit_count;
};

static void decoder_add(struct decoder *decoder, int value) {
    decoder->bits = decoder->bits << 6 | (unsigned)value;
    decoder->bit_count += 6;
    if (decoder->bit_count >= 8) {
        decoder->bit_count -= 8;
        decoder->out[decoder->size++] = (unsigned char)(decoder->bits >> decoder->bit_count);
        decoder->bits &= (1U << decoder->bit_count) - 1;
    }
}

/* Six bits left over are a lone last character; bits that are set would be lost in silence. */
static long decoder_finish(const struct decoder *decoder) {
    return decoder->bit_count == 6 || decoder->bits != 0 ? -1 : decoder->size;
}

long base64url_decode(const char *text, size_t length, unsigned char *out) {
    struct decoder decoder = {.out = out};
    for (size_t i = 0; i < length; i++) {
        int value = value_of(text[i], '-', '_');
        if (value < 0)
            return -1;
        decoder_add(&decoder, value);
    }
    return decoder_finish(&decoder);
}

static int is_space(char character) {
    return character == ' ' || (character >= '\t' && character <= '\r');
}

long base64_decode(const char *text, size_t length, unsigned char *out) {
    struct decoder decoder = {.out = out};
    size_t characters = 0, padding = 0;
    for (size_t i = 0; i < length; i++) {
        if (is_space(text[i]))
            continue;
        characters++;
        if (text[i] == '=') {
            padding++;
            continue;
        }
        int value = value_of(text[i], '+', '/');
        if (value < 0 || padding > 0)
            return -1;
        decoder_add(&decoder, value);
    }
    /* A multiple of four with at most two of padding leaves exactly one possible count of it for each length. */
    if (characters % 4 != 0 || padding > 2)
        return -1;
    return decoder_finish(&decoder);
}
