/* Looking into a request: headers, query, body, peer. */
#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "http_cors.h"
#include "http_internal.h"
#include "memory.h"
#include "text.h"

const char *http_request_method(const struct http_request *request) {
    return request->method;
}

const char *http_request_path(const struct http_request *request) {
    return request->path;
}

const char *http_path_of_target(const char *target) {
    if (target[0] == '/')
        return target;
    const char *authority = strstr(target, "://");
    if (authority == NULL || authority == target)
        return NULL;
    for (const char *at = target; at < authority; at++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.", *at) == NULL)
            return NULL;
    const char *path = strchr(authority + 3, '/');
    return path != NULL ? path : "/";
}

const char *http_request_header(const struct http_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct header_list {
    const char *name;
    struct text values;
};

static enum MHD_Result join_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct header_list *list = context;
    (void)kind;
    if (strcasecmp(name, list->name) != 0)
        return MHD_YES;
    if (list->values.bytes != NULL)
        text_add_string(&list->values, ", ");
    text_add_string(&list->values, value != NULL ? value : "");
    return MHD_YES;
}

char *http_request_header_list(const struct http_request *request, const char *name) {
    struct header_list list = {.name = name};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, join_header, &list);
    return list.values.bytes; /* NULL when nothing was appended */
}

struct header_count {
    const char *name;
    unsigned count;
};

static enum MHD_Result count_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct header_count *counted = context;
    (void)kind;
    (void)value;
    counted->count += strcasecmp(name, counted->name) == 0;
    return MHD_YES;
}

unsigned http_request_header_count(const struct http_request *request, const char *name) {
    struct header_count counted = {.name = name};
    MHD_get_connection_values(request->connection, MHD_HEADER_KIND, count_header, &counted);
    return counted.count;
}

/* What is not valid percent-encoding stays as it is: an unknown name is then refused, a value judged by its own rules.
 * libmicrohttpd has turned '+' into a space already, before this. */
static char *decode_parameter(const char *text) {
    char *decoded = http_decode_segment(text, strlen(text));
    return decoded != NULL ? decoded : memory_string(text);
}

static enum MHD_Result add_parameter(void *context, enum MHD_ValueKind kind, const char *name, const char *value) {
    struct http_parameter ***last = context;
    (void)kind;
    if (*name == '\0' && (value == NULL || *value == '\0'))
        return MHD_YES; /* nothing between two '&' */
    struct http_parameter *parameter = memory_new(sizeof *parameter);
    parameter->name = decode_parameter(name);
    parameter->value = decode_parameter(value != NULL ? value : "");
    **last = parameter;
    *last = &parameter->next;
    return MHD_YES;
}

static const struct http_parameter *parameters_of(struct http_request *request) {
    if (!request->parameters_read) {
        struct http_parameter **last = &request->parameters;
        MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, add_parameter, &last);
        request->parameters_read = true;
    }
    return request->parameters;
}

const char *http_request_query(struct http_request *request, const char *name) {
    for (const struct http_parameter *parameter = parameters_of(request); parameter != NULL; parameter = parameter->next)
        if (strcmp(parameter->name, name) == 0)
            return parameter->value;
    return NULL;
}

void http_request_each_query(struct http_request *request, bool (*visit)(void *context, const char *name), void *context) {
    for (const struct http_parameter *parameter = parameters_of(request); parameter != NULL; parameter = parameter->next)
        if (!visit(context, parameter->name))
            return;
}

int http_header_parameter(const char *value, const char *end, const char *name, char *out, size_t out_size) {
    size_t name_length = strlen(name);
    const char *at = memchr(value, ';', (size_t)(end - value));
    while (at) {
        at++;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        const char *key = at;
        while (at < end && *at != '=' && *at != ';')
            at++;
        size_t key_length = (size_t)(at - key), length = 0;
        if (key_length == 0 && (at == end || *at == ';')) {
            at = at == end ? NULL : at;
            continue;
        }
        if (at == end || *at == ';')
            return -1;
        at++;
        bool quoted = at < end && *at == '"', wanted = key_length == name_length && strncasecmp(key, name, name_length) == 0;
        at += quoted;
        const char *text = at;
        while (at < end && (quoted ? *at != '"' : !strchr("; \t", *at)))
            at++;
        length = (size_t)(at - text);
        if (quoted && (at == end || *at++ != '"'))
            return -1;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if (at < end && *at != ';')
            return -1;
        if (wanted) {
            if (length >= out_size)
                return -1;
            memcpy(out, text, length);
            out[length] = '\0';
            return 1;
        }
        if (at == end)
            at = NULL;
    }
    return 0;
}

const char *http_request_body(const struct http_request *request, size_t *length) {
    *length = request->body_length;
    return request->body;
}

void http_request_drop_body(struct http_request *request) {
    if (request->body != NULL)
        OPENSSL_cleanse(request->body, request->body_capacity);
    free(request->body);
    request->body = NULL;
    request->body_length = request->body_capacity = 0;
}

void http_request_limit_body(struct http_request *request, size_t bytes) {
    request->body_limit = bytes;
}

size_t http_request_body_limit(const struct http_request *request) {
    return request->body_limit;
}

/* Grows with what really arrived: a declared length alone takes no memory. A block that is left behind is wiped, which is why
 * this is not realloc(). */
void http_request_store(struct http_request *request, const char *bytes, size_t length) {
    size_t needed = request->body_length + length;
    if (needed + 1 > request->body_capacity) {
        size_t capacity = request->body_capacity * 2 > needed + 1 ? request->body_capacity * 2 : needed + 1;
        char *body = memory_resize(NULL, capacity);
        if (request->body != NULL) {
            memcpy(body, request->body, request->body_length);
            OPENSSL_cleanse(request->body, request->body_capacity);
            free(request->body);
        }
        request->body = body;
        request->body_capacity = capacity;
    }
    memcpy(request->body + request->body_length, bytes, length);
    request->body_length = needed;
    request->body[needed] = '\0';
}

void http_request_clear(struct http_request *request) {
    http_request_drop_body(request);
    for (struct http_parameter *parameter = request->parameters, *next; parameter != NULL; parameter = next) {
        next = parameter->next;
        free(parameter->name);
        free(parameter->value);
        free(parameter);
    }
    request->parameters = NULL;
}

void http_address_text(const struct sockaddr *address, char out[HTTP_PEER_SIZE]) {
    strcpy(out, "unknown");
    if (address == NULL)
        return;
    if (address->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, out, HTTP_PEER_SIZE);
    } else if (address->sa_family == AF_INET6) {
        const struct in6_addr *whole = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        /* On a socket for both families an IPv4 peer shows as ::ffff:192.0.2.1. */
        if (IN6_IS_ADDR_V4MAPPED(whole))
            inet_ntop(AF_INET, &whole->s6_addr[12], out, HTTP_PEER_SIZE);
        else
            inet_ntop(AF_INET6, whole, out, HTTP_PEER_SIZE);
    }
}

void http_request_peer(const struct http_request *request, char out[HTTP_PEER_SIZE]) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    http_address_text(info != NULL ? info->client_addr : NULL, out);
}

const unsigned char *http_request_address(const struct http_request *request) {
    return http_connection_address(request->peer);
}

bool http_request_is_cross_origin(const struct http_request *request) {
    return http_cors_origin(http_server_cors(request->server), request) != NULL;
}

void http_request_set_data(struct http_request *request, void *data) {
    request->data = data;
}

void *http_request_data(const struct http_request *request) {
    return request->data;
}
