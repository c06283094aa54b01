/* Small texts with a form of their own: UUIDs, trace contexts, times, base64, names, path segments, request targets. */
#include "fuzz.h"

#include "common/base64url.h"
#include "common/clock.h"
#include "common/http.h"
#include "common/http_internal.h"
#include "common/identifier.h"
#include "common/message.h"

static void check_time(const char *text) {
    int64_t time, again;
    char shown[CLOCK_TEXT_SIZE];
    if (clock_parse(text, &time))
        return;
    clock_format(time, shown);
    REQUIRE(clock_parse(shown, &again) == 0);
    REQUIRE(again == time);
}

/* Only canonical base64url is taken, so that a text stands for one value and a value for one text. */
static void check_base64(const char *text, size_t length) {
    unsigned char *bytes = memory_new(length + 1);
    long size = base64url_decode(text, length, bytes);
    if (size >= 0) {
        char *again = memory_new(BASE64URL_LENGTH((size_t)size) + 1);
        base64url_encode(bytes, (size_t)size, again);
        REQUIRE(strlen(again) == length && memcmp(again, text, length) == 0);
        free(again);
    }
    size = base64_decode(text, length, bytes);
    REQUIRE(size <= (long)(length * 3 / 4));
    free(bytes);
}

static void check_segment(const char *text, size_t length) {
    char *decoded = http_decode_segment(text, length);
    if (!decoded)
        return;
    char *encoded = http_encode_segment(decoded), *again = http_decode_segment(encoded, strlen(encoded));
    REQUIRE(again != NULL && strcmp(again, decoded) == 0);
    free(again);
    free(encoded);
    free(decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    char *text = take_rest(bytes, size);
    if (uuid_is_valid(text))
        REQUIRE(strlen(text) == UUID_SIZE - 1);
    if (traceparent_is_valid(text)) {
        char child[TRACEPARENT_SIZE];
        REQUIRE(strlen(text) == TRACEPARENT_SIZE - 1 || strlen(text) > TRACEPARENT_SIZE);
        traceparent_new(text, child);
        REQUIRE(traceparent_is_valid(child));
        REQUIRE(strncmp(child + 3, text + 3, 32) == 0);
    }
    if (name_check("Name", text, &error) == 0)
        REQUIRE(*text && strlen(text) <= NAME_LENGTH_MAX && json_utf8_is_valid(text, strlen(text)) && !strchr(text, '/'));
    else
        require_refusal(&error);
    check_time(text);
    check_base64(text, size);
    check_segment(text, strlen(text));
    const char *path = http_path_of_target(text);
    REQUIRE(!path || *path == '/');
    free(text);
    return 0;
}
