/* Filling struct error: whatever the arguments are, a message is always one line of valid UTF-8. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The octets of the well-formed UTF-8 character (RFC 3629) at the start of text; 0 when there is none, -1 when the text ends
 * within it. */
static int character_size(const unsigned char *text) {
    static const struct {
        unsigned char first, last; /* the lead octet */
        unsigned char low, high;   /* the second octet: no overlong form, no surrogate, nothing beyond U+10FFFF */
        int size;
    } forms[] = {{0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                 {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                 {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last)
            continue;
        for (int at = 1; at < forms[i].size; at++) {
            if (text[at] == '\0')
                return -1;
            if (text[at] < (at == 1 ? forms[i].low : 0x80) || text[at] > (at == 1 ? forms[i].high : 0xbf))
                return 0;
        }
        return forms[i].size;
    }
    return 0;
}

/* Drops a character that the end has cut, and puts '?' for each octet within that is part of none and for each control
 * character: an argument may be cut by a precision in the format, or come from a file or a request. */
static void keep_line(char *message) {
    size_t from = 0, to = 0;
    while (message[from] != '\0') {
        int size = character_size((const unsigned char *)message + from);
        if (size < 0)
            break;
        if (size == 0 || (size == 1 && ((unsigned char)message[from] < ' ' || message[from] == 0x7f))) {
            message[to++] = '?';
            from++;
            continue;
        }
        memmove(message + to, message + from, (size_t)size);
        to += (size_t)size;
        from += (size_t)size;
    }
    message[to] = '\0';
}

/* Writes the message; "" when it can not be formatted. */
__attribute__((format(printf, 3, 0))) static void format_message(char *message, size_t capacity, const char *format,
                                                                 va_list arguments) {
    if (vsnprintf(message, capacity, format, arguments) < 0)
        message[0] = '\0';
    keep_line(message);
}

int error_set(struct error *error, enum error_code code, const char *format, ...) {
    if (error == NULL)
        return -1;
    /* The arguments may point into *error itself, so the text is made beside it. */
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    format_message(message, sizeof message, format, arguments);
    va_end(arguments);
    error->code = code;
    memcpy(error->message, message, sizeof message);
    return -1;
}

int error_prefix(struct error *error, const char *format, ...) {
    if (error == NULL)
        return -1;
    char prefix[sizeof error->message], message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    format_message(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    size_t prefix_length = strlen(prefix), length = strlen(error->message), used = 0;
    memcpy(message, prefix, prefix_length);
    used = prefix_length;
    /* The room left is counted here rather than by snprintf(), whose truncation the compiler would warn of. */
    for (const char *part = ": "; *part != '\0' && used < sizeof message - 1; part++)
        message[used++] = *part;
    size_t room = sizeof message - 1 - used, taken = length < room ? length : room;
    memcpy(message + used, error->message, taken);
    message[used + taken] = '\0';
    keep_line(message);
    memcpy(error->message, message, sizeof message);
    return -1;
}

enum error_code error_code_of(int number) {
    static const int passing[] = {ENOSPC, EDQUOT, EIO, EROFS, EMFILE, ENFILE, ENOMEM, EAGAIN, EINTR};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (passing[i] == number)
            return ERROR_UNAVAILABLE;
    return ERROR_INVALID;
}
