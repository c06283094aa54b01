/* Filling struct error: the formatting and the cut at a character's edge, so that a message is always valid UTF-8. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message that did not fit ends in the middle of nothing: drops the bytes of a character whose rest was cut off. */
static void cut_at_character(char *message, size_t capacity, int wanted) {
    if (wanted < 0) {
        message[0] = '\0';
        return;
    }
    if ((size_t)wanted < capacity)
        return;
    size_t end = strlen(message), start = end;
    while (start > 0 && end - start < 3 && ((unsigned char)message[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)message[start - 1];
    size_t needed = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (needed > end - start + 1)
        message[start - 1] = '\0';
}

int error_set(struct error *error, enum error_code code, const char *format, ...) {
    if (error == NULL)
        return -1;
    /* The arguments may point into *error itself, so the text is made beside it. */
    char message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    int wanted = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    cut_at_character(message, sizeof message, wanted);
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
    int wanted = vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    cut_at_character(prefix, sizeof prefix, wanted);
    size_t prefix_length = strlen(prefix), length = strlen(error->message), used = 0;
    memcpy(message, prefix, prefix_length);
    used = prefix_length;
    /* The room left is counted here rather than by snprintf(), whose truncation the compiler would warn of. */
    for (const char *part = ": "; *part != '\0' && used < sizeof message - 1; part++)
        message[used++] = *part;
    size_t room = sizeof message - 1 - used, taken = length < room ? length : room;
    memcpy(message + used, error->message, taken);
    message[used + taken] = '\0';
    cut_at_character(message, sizeof message, (int)(prefix_length + 2 + length));
    memcpy(error->message, message, sizeof message);
    return -1;
}
