/* What a fetch is told and what it reads: the URL in the first line, the answer's header fields up to an empty line, its body.
 * No connection is made: the fields go to the function that libcurl would hand them to. */
#include "../../api/source_url.c" /* for that function, which is nobody else's */

#include "fuzz.h"

static void check_body(struct source_url_answer *answer, char *body, size_t size) {
    struct error error = {0};
    answer->body = body;
    answer->size = size;
    struct jwk *jwk = source_url_jwk(answer, NULL, &error);
    if (!jwk)
        require_refusal(&error);
    jwk_free(jwk);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    const struct source_url_settings settings = {.allow_http = true};
    char *url = take_line(&bytes, &size);
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    request.url = url;
    if (source_url_check(&settings, &request, &error))
        require_refusal(&error);
    else
        REQUIRE(strncasecmp(url, "http", 4) == 0);

    struct fetch fetch = {.settings = &settings, .request = &request, .answer = SOURCE_URL_ANSWER_EMPTY, .max_age = -1};
    size_t taken = 1;
    while (size && taken) {
        const uint8_t *end = memchr(bytes, '\n', size);
        size_t length = end ? (size_t)(end - bytes) + 1 : size;
        char *line = memory_bytes(bytes, length);
        taken = read_header(line, 1, length, &fetch);
        REQUIRE(taken == length || (taken == 0 && fetch.headers_too_large));
        bytes += length;
        size -= length;
        bool empty = *line == '\n' || *line == '\r';
        free(line);
        if (empty)
            break;
    }
    REQUIRE(fetch.age >= 0 && fetch.max_age >= -1);
    REQUIRE(freshness(&fetch) >= -1);
    check_body(&fetch.answer, take_rest(bytes, size), size);
    source_url_answer_free(&fetch.answer);
    free(url);
    return 0;
}
