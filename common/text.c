/* The growing text and the JSON writer. Both are on the path of every event, hence no tree and no second pass. */
#include "text.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_plain.h"
#include "memory.h"

enum { FIRST_CAPACITY = 256 }; /* most JSON objects here fit into two doublings of it */

/* Makes room for length more bytes and a NUL. */
static void reserve(struct text *text, size_t length) {
    size_t needed = text->length + length + 1;
    if (needed <= text->capacity)
        return;
    size_t capacity = text->capacity > 0 ? text->capacity : FIRST_CAPACITY;
    while (capacity < needed)
        capacity *= 2;
    text->bytes = memory_resize(text->bytes, capacity);
    text->capacity = capacity;
}

void text_add(struct text *text, const char *bytes, size_t length) {
    reserve(text, length);
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = '\0';
}

void text_add_string(struct text *text, const char *string) {
    text_add(text, string, strlen(string));
}

void text_add_format(struct text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    reserve(text, 64);
    size_t room = text->capacity - text->length;
    int length = vsnprintf(text->bytes + text->length, room, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length >= room) {
        reserve(text, (size_t)length);
        vsnprintf(text->bytes + text->length, (size_t)length + 1, format, again);
    }
    va_end(again);
    if (length > 0)
        text->length += (size_t)length;
    text->bytes[text->length] = '\0';
}

void text_reserve_secret(struct text *text, size_t length) {
    size_t needed = text->length + length + 1;
    if (needed <= text->capacity)
        return;
    struct text larger = {.bytes = memory_new(needed), .length = text->length, .capacity = needed};
    if (text->length > 0)
        memcpy(larger.bytes, text->bytes, text->length);
    text_wipe(text);
    *text = larger;
}

void text_reset(struct text *text) {
    text->length = 0;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

void text_free(struct text *text) {
    free(text->bytes);
    *text = TEXT_EMPTY;
}

void text_wipe(struct text *text) {
    /* The whole block: an earlier, longer content may stand behind a reset one's end. */
    if (text->bytes != NULL)
        OPENSSL_cleanse(text->bytes, text->capacity);
    text_free(text);
}

char *text_take(struct text *text) {
    if (text->bytes == NULL)
        text_add(text, "", 0);
    char *bytes = text->bytes;
    *text = TEXT_EMPTY;
    return bytes;
}

static void add_character(struct text *text, char character) {
    reserve(text, 1);
    text->bytes[text->length++] = character;
    text->bytes[text->length] = '\0';
}

/* Appends an escape for a byte that may not stand in a string as it is. */
static void add_escape(struct text *text, unsigned char byte) {
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', (char)byte, '0', '0', '0', '0'};
    size_t length = 2;
    switch (byte) {
        case '"': case '\\': break;
        case '\b': escape[1] = 'b'; break;
        case '\f': escape[1] = 'f'; break;
        case '\n': escape[1] = 'n'; break;
        case '\r': escape[1] = 'r'; break;
        case '\t': escape[1] = 't'; break;
        default:
            escape[1] = 'u';
            escape[4] = hex[byte >> 4];
            escape[5] = hex[byte & 15];
            length = 6;
    }
    text_add(text, escape, length);
}

/* Writes a quoted string: runs that need no escape are copied as they are. */
static void add_quoted(struct text *text, const char *value) {
    const char *run = value, *at = value, *end = value + strlen(value);
    add_character(text, '"');
    while ((at += json_plain_length(at, (size_t)(end - at))) < end) {
        unsigned char byte = (unsigned char)*at++;
        if (byte >= 0x80)
            continue; /* of UTF-8 */
        text_add(text, run, (size_t)(at - 1 - run));
        add_escape(text, byte);
        run = at;
    }
    text_add(text, run, (size_t)(end - run));
    add_character(text, '"');
}

/* Puts a comma when something stands before at this level, then the name. What was written last tells which: behind an opening
 * bracket, a colon, a line end (of JSON lines) or nothing at all, a value is the first of its level. */
static void begin_value(struct text *text, const char *name) {
    if (text->length > 0) {
        char last = text->bytes[text->length - 1];
        if (last != '{' && last != '[' && last != ':' && last != ',' && last != '\n')
            add_character(text, ',');
    }
    if (name != NULL) {
        add_quoted(text, name);
        add_character(text, ':');
    }
}

void text_json_open(struct text *text, const char *name, char bracket) {
    begin_value(text, name);
    add_character(text, bracket);
}

void text_json_close(struct text *text, char bracket) {
    add_character(text, bracket);
}

void text_json_string(struct text *text, const char *name, const char *value) {
    if (value == NULL) {
        text_json_null(text, name);
        return;
    }
    begin_value(text, name);
    add_quoted(text, value);
}

void text_json_integer(struct text *text, const char *name, int64_t value) {
    char digits[sizeof "-9223372036854775808"], *end = digits + sizeof digits, *at = end;
    uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + rest % 10);
    while ((rest /= 10) > 0);
    if (value < 0)
        *--at = '-';
    begin_value(text, name);
    text_add(text, at, (size_t)(end - at));
}

void text_json_boolean(struct text *text, const char *name, bool value) {
    text_json_raw(text, name, value ? "true" : "false");
}

void text_json_null(struct text *text, const char *name) {
    text_json_raw(text, name, "null");
}

void text_json_raw(struct text *text, const char *name, const char *value) {
    begin_value(text, name);
    text_add_string(text, value);
}
