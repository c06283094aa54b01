/* The Prefer header. */
#include "prefer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* One preference of length bytes: name, and perhaps =value, and perhaps ;parameters. The first of a name counts (RFC 7240
 * section 2). */
static void parse_one(const char *text, size_t length, struct preferences *preferences) {
    while (length && strchr(" \t", text[length - 1]))
        length--;
    size_t end = 0;
    while (end < length && text[end] != ';')
        end++;
    while (end && strchr(" \t", text[end - 1]))
        end--;
    if (end == strlen("respond-async") && strncasecmp(text, "respond-async", end) == 0) {
        preferences->respond_async = true;
        return;
    }
    if (end < 5 || strncasecmp(text, "wait", 4) != 0 || preferences->wait_s >= 0)
        return;
    const char *value = text + 4, *stop = text + end;
    while (value < stop && strchr(" \t", *value))
        value++;
    if (value == stop || *value++ != '=')
        return;
    while (value < stop && strchr(" \t\"", *value))
        value++;
    int64_t seconds = 0;
    const char *digits = value;
    while (value < stop && *value >= '0' && *value <= '9' && seconds <= PREFER_WAIT_MAX_S)
        seconds = seconds * 10 + (*value++ - '0');
    while (value < stop && *value == '"')
        value++;
    if (value == stop && value != digits && seconds <= PREFER_WAIT_MAX_S)
        preferences->wait_s = seconds;
}

void prefer_parse(const char *value, struct preferences *preferences) {
    *preferences = (struct preferences){.wait_s = -1};
    while (*value) {
        value += strspn(value, " \t,");
        size_t length = strcspn(value, ",");
        if (length)
            parse_one(value, length, preferences);
        value += length;
    }
}

void prefer_read(const struct http_request *request, struct preferences *preferences) {
    char *value = http_request_header_list(request, "Prefer");
    prefer_parse(value ? value : "", preferences);
    free(value);
}
