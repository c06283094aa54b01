/* Making answers, and percent-encoding. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_internal.h"
#include "log.h"
#include "memory.h"

/* Written by http_server_start(), before there are threads that make answers; pairs of name and value, ended by NULL. */
static const char *policy[16] = {
    MHD_HTTP_HEADER_X_CONTENT_TYPE_OPTIONS,       "nosniff",         MHD_HTTP_HEADER_CONTENT_SECURITY_POLICY,
    "default-src 'none'; frame-ancestors 'none'", "Referrer-Policy", "no-referrer",
};
enum { POLICY_ALWAYS = 6 }; /* entries of it that are always there */

void http_response_set_policy(bool strict, const char *const *constant) {
    size_t count = POLICY_ALWAYS;
    if (strict) {
        policy[count++] = MHD_HTTP_HEADER_STRICT_TRANSPORT_SECURITY;
        policy[count++] = "max-age=31536000";
    }
    while (*constant != NULL && count + 1 < sizeof policy / sizeof *policy)
        policy[count++] = *constant++;
    policy[count] = NULL;
}

void http_response_secure(struct MHD_Response *response) {
    for (const char *const *pair = policy; *pair != NULL; pair += 2)
        MHD_add_response_header(response, pair[0], pair[1]);
}

/* Ends the process when there is none: only an allocation can fail in there, and the policy of memory.h applies. */
static struct MHD_Response *existing(struct MHD_Response *response) {
    if (response == NULL) {
        log_error("out of memory", "for", "an HTTP response");
        _Exit(71);
    }
    return response;
}

struct MHD_Response *http_response_view(const char *body, size_t length) {
    struct MHD_Response *response =
        existing(MHD_create_response_from_buffer(length, (void *)(uintptr_t)body, MHD_RESPMEM_PERSISTENT));
    http_response_secure(response);
    return response;
}

static struct MHD_Response *with_headers(struct MHD_Response *response, const char *content_type) {
    existing(response);
    if (content_type != NULL)
        http_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    http_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    http_response_secure(response);
    return response;
}

struct MHD_Response *http_response_stream(const struct http_request *request, const char *content_type, size_t block_size,
                                          MHD_ContentReaderCallback read, void *context, MHD_ContentReaderFreeCallback free) {
    struct MHD_Response *response =
        with_headers(MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, block_size, read, context, free), content_type);
    /* libmicrohttpd (0.9.75) ends chunks also where none were sent, and a client would take that for the next answer. Without
     * chunks it ends the connection. */
    if (strcmp(http_request_method(request), MHD_HTTP_METHOD_HEAD) == 0)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    return response;
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

void http_response_retry_after(struct MHD_Response *response, int64_t wait_us) {
    char text[24];
    snprintf(text, sizeof text, "%lld", wait_us > 1000000 ? (long long)(wait_us / 1000000 + (wait_us % 1000000 != 0)) : 1LL);
    http_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
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
