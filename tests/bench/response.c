/* An HTTP/1.1 answer, read as its bytes come in. */
#include "response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void response_reset(struct response *response) {
    response->kept_length = 0;
    response->body_start = 0;
    response->body_length = 0;
    response->body_seen = 0;
    response->status = 0;
    response->closes = false;
}

/* The value of a header line when its name is this one (ends in ':'), or NULL. */
static const char *header_value(const char *line, const char *end, const char *name) {
    size_t length = strlen(name);
    if ((size_t)(end - line) < length || strncasecmp(line, name, length) != 0)
        return NULL;
    line += length;
    while (line < end && (*line == ' ' || *line == '\t'))
        line++;
    return line;
}

/* Reads status line and headers; the head is complete and ends in an empty line. */
static bool read_head(struct response *response, bool head_request) {
    const char *line = response->kept, *end = response->kept + response->body_start;
    bool has_length = false;
    if (response->body_start < sizeof "HTTP/1.1 200\r\n" - 1 || strncmp(line, "HTTP/1.", 7) != 0)
        return false;
    response->status = (unsigned)strtoul(line + 9, NULL, 10);
    if (response->status < 200 || response->status > 599)
        return false;
    for (const char *next; (next = memchr(line, '\n', (size_t)(end - line))); line = next + 1) {
        const char *value;
        if ((value = header_value(line, next, "Content-Length:"))) {
            response->body_length = strtoull(value, NULL, 10);
            has_length = true;
        } else if ((value = header_value(line, next, "Connection:"))) {
            response->closes = strncasecmp(value, "close", strlen("close")) == 0;
        } else if (header_value(line, next, "Transfer-Encoding:")) {
            return false;
        }
    }
    if (head_request || response->status == 204 || response->status == 304)
        response->body_length = 0;
    else if (!has_length)
        return false;
    return true;
}

enum response_state response_feed(struct response *response, const char *bytes, size_t length, bool head_request) {
    size_t room = sizeof response->kept - response->kept_length, copied = length < room ? length : room;
    memcpy(response->kept + response->kept_length, bytes, copied);
    response->kept_length += copied;
    if (response->body_start == 0) {
        const char *blank = memmem(response->kept, response->kept_length, "\r\n\r\n", 4);
        if (!blank)
            return response->kept_length == sizeof response->kept ? RESPONSE_INVALID : RESPONSE_INCOMPLETE;
        response->body_start = (size_t)(blank - response->kept) + 4;
        if (!read_head(response, head_request))
            return RESPONSE_INVALID;
        response->body_seen = response->kept_length - response->body_start + (length - copied);
    } else {
        response->body_seen += length;
    }
    if (response->body_seen > response->body_length)
        return RESPONSE_INVALID;
    return response->body_seen == response->body_length ? RESPONSE_COMPLETE : RESPONSE_INCOMPLETE;
}

const char *response_body(const struct response *response, size_t *length) {
    *length = response->kept_length - response->body_start;
    return response->kept + response->body_start;
}
