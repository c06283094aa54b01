/* The requests of a load. */
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *memory_grow(void *block, size_t size) {
    void *grown = realloc(block, size);
    if (!grown) {
        fputs("load: out of memory\n", stderr);
        exit(2);
    }
    return grown;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void targets_init(struct targets *targets, const struct load_plan *plan) {
    targets->count = (uint64_t)plan->projects * plan->keys;
    targets->stride = 1;
    if (plan->sequential)
        return;
    /* Near the golden ratio of the count, successive targets lie far apart: no page of a store is helped by its neighbour. */
    targets->stride = (uint64_t)((double)targets->count * 0.6180339887) | 1u;
    while (greatest_common_divisor(targets->stride, targets->count) != 1)
        targets->stride += 2;
}

static void append(struct request *request, const char *bytes, size_t length) {
    size_t needed = request->length + length;
    if (needed > request->capacity) {
        request->capacity = needed + 512;
        request->bytes = memory_grow(request->bytes, request->capacity);
    }
    memcpy(request->bytes + request->length, bytes, length);
    request->length = needed;
}

static void append_text(struct request *request, const char *text) {
    append(request, text, strlen(text));
}

struct numbers {
    uint64_t project, key, serial;
};

/* Writes number in decimal, right-aligned into digits, and returns where it starts. */
static const char *decimal(uint64_t number, char digits[24]) {
    char *first = digits + 23;
    *first = '\0';
    do
        *--first = (char)('0' + number % 10);
    while (number /= 10);
    return first;
}

static void append_pattern(struct request *request, const char *pattern, const struct numbers *numbers) {
    for (const char *mark; (mark = strchr(pattern, '%')); ) {
        char digits[24];
        append(request, pattern, (size_t)(mark - pattern));
        pattern = mark + 2;
        switch (mark[1]) {
        case 'p': append_text(request, decimal(numbers->project, digits)); break;
        case 'k': append_text(request, decimal(numbers->key, digits)); break;
        case 'n': append_text(request, decimal(numbers->serial, digits)); break;
        default: /* a percent-encoded byte of a path */
            append(request, "%", 1);
            pattern = mark + 1;
        }
    }
    append_text(request, pattern);
}

void request_build(struct request *request, const struct load_plan *plan, const struct targets *targets, uint64_t serial) {
    static const char length_name[] = "Content-Length: ", length_room[] = "00000000", end_of_head[] = "\r\n\r\n";
    uint64_t target = serial % targets->count * targets->stride % targets->count;
    /* Neighbours lie in different projects, as the updates of different users do. */
    struct numbers numbers = {.project = target % plan->projects, .key = target / plan->projects, .serial = serial};
    request->length = 0;
    append_text(request, plan->method);
    append(request, " ", 1);
    append_pattern(request, plan->path, &numbers);
    append_text(request, " HTTP/1.1\r\nHost: ");
    append_text(request, plan->address);
    append_text(request, "\r\n");
    for (unsigned i = 0; i < plan->header_count; i++) {
        append_pattern(request, plan->headers[i], &numbers);
        append_text(request, "\r\n");
    }
    if (!plan->body) {
        append_text(request, "\r\n");
        return;
    }
    append_text(request, length_name);
    size_t length_end = request->length + sizeof length_room - 1;
    append_text(request, length_room);
    append_text(request, end_of_head);
    size_t body = request->length;
    append_pattern(request, plan->body, &numbers);
    /* The length is known now; its leading zeros are allowed (RFC 9110, 8.6: 1*DIGIT). */
    char digits[24];
    const char *length = decimal(request->length - body, digits);
    memcpy(request->bytes + length_end - strlen(length), length, strlen(length));
}
