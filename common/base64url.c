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

/* What a letter or digit stands for, plus one; 0 is no such character. */
static const unsigned char VALUES[256] = {
    ['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,  ['I'] = 9,  ['J'] = 10,
    ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16, ['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20,
    ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24, ['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30,
    ['e'] = 31, ['f'] = 32, ['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
    ['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48, ['w'] = 49, ['x'] = 50,
    ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56, ['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60,
    ['8'] = 61, ['9'] = 62,
};

/* The six bits that a character stands for, or -1. `plus` and `slash` are the two characters in which the alphabets differ. */
static int value_of(char character, char plus, char slash) {
    int value = VALUES[(unsigned char)character];
    if (value > 0)
        return value - 1;
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
    size_t i = 0;
    /* Whole groups at once: the paths of signatures make up much of what is decoded. */
    for (; length - i >= 4; i += 4) {
        int one = value_of(text[i], '-', '_'), two = value_of(text[i + 1], '-', '_'), three = value_of(text[i + 2], '-', '_'),
            four = value_of(text[i + 3], '-', '_');
        if ((one | two | three | four) < 0)
            return -1;
        out[decoder.size++] = (unsigned char)(one << 2 | two >> 4);
        out[decoder.size++] = (unsigned char)(two << 4 | three >> 2);
        out[decoder.size++] = (unsigned char)(three << 6 | four);
    }
    for (; i < length; i++) {
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
