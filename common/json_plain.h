/* Text of JSON strings that stands for itself: read and written as it is, eight bytes at a time. */
#ifndef COMMON_JSON_PLAIN_H
#define COMMON_JSON_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Whether one of eight bytes needs a look: a quote, a backslash, a control character or the beginning of UTF-8. The test
 * may say yes for a harmless neighbour of one, never no for a special byte. */
static inline bool json_word_has_special(uint64_t word) {
    const uint64_t ones = 0x0101010101010101U, tops = 0x8080808080808080U;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t control = (word - ones * 0x20) & ~word;
    return ((((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | control | word) & tops) != 0;
}

static inline bool json_is_plain(unsigned char byte) {
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* How many bytes from the beginning are plain. */
static inline size_t json_plain_length(const void *bytes, size_t length) {
    const unsigned char *at = bytes, *end = at + length;
    uint64_t word;
    while (end - at >= 8 && (memcpy(&word, at, 8), !json_word_has_special(word)))
        at += 8;
    while (at < end && json_is_plain(*at))
        at++;
    return (size_t)(at - (const unsigned char *)bytes);
}

#endif
