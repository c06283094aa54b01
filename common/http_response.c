/* Making answers, and percent-encoding. */
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "log.h"
#include "memory.h"

/* Ends the process when there is none: only an allocation can fail in there, and the policy of memory.h applies. */
static struct MHD_Response *with_headers(struct MHD_Response *response, const char *content_type) {
    if (response == NULL) {
        log_error("out of memory", "for", "an HTTP response");
        _Exit(71);
    }
    if (content_type != NULL)
        http_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    http_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    return response;
}

struct MHD_Response *http_response_stream(const char *content_type, size_t block_size, MHD_ContentReaderCallback read,
                                          void *context, MHD_ContentReaderFreeCallback free) {
    return with_headers(MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, block_size, read, context, free), content_type);
}

struct MHD_Response *http_response_take(const char *content_type, char *body, size_t length) {
    struct MHD_Response *response;
    if (body == NULL)
        response = MHD_create_response_from_buffer(0, (void *)"", MHD_RESPMEM_PERSISTENT);
    else
        response = MHD_create_response_from_buffer_with_free_callback(length, body, free);
    return with_headers(response, content_type);
}

void http_response_header(struct MHD_Response *response, const char *name, const char *value) {
    /* libmicrohttpd checks for some control characters only; all of them end or spoil a header for some reader. */
    for (const char *at = value; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            log_warning("header refused", "name", name, "value", value);
            return;
        }
    if (MHD_add_response_header(response, name, value) != MHD_YES)
        log_warning("header refused", "name", name, "value", value);
}

static int hex_value(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

char *http_decode_segment(const char *segment, size_t length) {
    char *decoded = memory_resize(NULL, length + 1), *out = decoded;
    for (size_t i = 0; i < length; i++) {
        int byte = (unsigned char)segment[i];
        if (byte == '%') {
            int high = i + 1 < length ? hex_value(segment[i + 1]) : -1, low = i + 2 < length ? hex_value(segment[i + 2]) : -1;
            byte = high < 0 || low < 0 ? 0 : high * 16 + low;
            i += 2;
        }
        if (byte == 0) {
            free(decoded);
            return NULL;
        }
        *out++ = (char)byte;
    }
    *out = '\0';
    return decoded;
}

char *http_encode_segment(const char *text) {
    static const char hex[] = "0123456789ABCDEF"; /* RFC 3986 section 2.1: upper case */
    char *encoded = memory_resize(NULL, strlen(text) * 3 + 1), *out = encoded;
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z'), digit = byte >= '0' && byte <= '9';
        if (letter || digit || byte == '-' || byte == '.' || byte == '_' || byte == '~') {
            *out++ = (char)byte;
        } else {
            *out++ = '%';
            *out++ = hex[byte >> 4];
            *out++ = hex[byte & 15];
        }
    }
    *out = '\0';
    return encoded;
}
