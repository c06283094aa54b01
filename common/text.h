/* A growing text, and a writer of compact JSON into it.
 *
 * JSON is parsed by cJSON (see json.h) and written by this: one pass, no tree. */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *bytes;     /* NUL-terminated once anything was appended; NULL before that */
    size_t length;   /* bytes, without the NUL */
    size_t capacity; /* bytes allocated */
};

#define TEXT_EMPTY ((struct text){0})

void text_add(struct text *text, const char *bytes, size_t length);
void text_add_string(struct text *text, const char *string);
void text_add_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for length more bytes without leaving a copy of the content in freed memory: for texts that hold a secret. */
void text_reserve_secret(struct text *text, size_t length);
/* Keeps the memory, forgets the content. */
void text_reset(struct text *text);
void text_free(struct text *text);
/* Wipes the content before freeing it: for texts that held a secret. */
void text_wipe(struct text *text);
/* Hands the bytes over to the caller (who frees them with free()) and empties the text. Never NULL. */
char *text_take(struct text *text);

/* JSON. Commas are put where they belong: a value that follows a value gets one. name is NULL inside an array or at the
 * top. Strings must be valid UTF-8; they are escaped as RFC 8259 asks, with nothing escaped that need not be. */
void text_json_open(struct text *text, const char *name, char bracket); /* '{' or '[' */
void text_json_close(struct text *text, char bracket);                  /* '}' or ']' */
void text_json_string(struct text *text, const char *name, const char *value); /* NULL value: null */
void text_json_integer(struct text *text, const char *name, int64_t value);
void text_json_boolean(struct text *text, const char *name, bool value);
void text_json_null(struct text *text, const char *name);
/* value is JSON already (compact, trusted) and is put in as it is. */
void text_json_raw(struct text *text, const char *name, const char *value);

#endif
