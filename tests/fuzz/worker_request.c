/* Whole requests to jwk-worker over a socket: request line, path, query and headers, through libmicrohttpd to what is served.
 * The state has a project "p" with the JWKs "a" and "schlüssel". What must hold: there is an answer, it is one of those that a
 * worker gives and no failure of its own, JSON where it says so, and only what is public; what is served as the set is that
 * set. */
#include "fuzz.h"

#include <openssl/crypto.h>

#include "common/clock.h"
#include "common/identifier.h"
#include "request.h"
#include "worker/serve.h"

enum { ANSWER_MAX = 1 << 20, CACHE_BYTES = 1 << 20 };

#define PUBLIC_A "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"kid\":\"a\"}"
#define PUBLIC_B "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"kid\":\"b\"}"
#define SEALED   "\"ciphertext\":\"not-to-be-served\""
#define SET      "{\"keys\":[" PUBLIC_A "," PUBLIC_B "]}"

static char directory[] = "/tmp/jwk-worker-fuzz-XXXXXX";
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct serve_status status = {.ready = true};
static char *origins[] = {(char[]){"https://console.example.com"}};
static struct http_settings http = {
    .cors_origins = {.items = origins, .count = 1}, .idle_timeout = 30000, .rate_limit_address = (char[]){"0"}};

static void put(struct state *state, const char *id, const char *name, const char *public_key, int64_t sequence) {
    struct error error;
    struct state_outcome outcome;
    const struct state_jwk jwk = {.id = id,
                                  .project_id = "01890000-0000-7000-8000-0000000000aa",
                                  .project_name = "p",
                                  .name = name,
                                  .type = "OKP",
                                  .kid = "a",
                                  .public_key = public_key,
                                  .sealed = "{" SEALED "}",
                                  .epoch = 1,
                                  .version = 1,
                                  .sequence = sequence,
                                  .expires = INT64_MAX,
                                  .generation = 1,
                                  .verified = true};
    REQUIRE(state_begin(state, &error) == 0 && state_put(state, &jwk, &outcome, NULL, &error) == 0 &&
            state_commit(state, &error) == 0);
}

static void remove_directory(void) {
    char *command = memory_format("rm -rf '%s'", directory);
    if (system(command) != 0) /* NOLINT(cert-env33-c): a path of our own */
        fprintf(stderr, "%s stays\n", directory);
    free(command);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    struct error error;
    REQUIRE(mkdtemp(directory) != NULL);
    atexit(remove_directory);
    /* The server's threads still run when the fuzzer ends: OpenSSL must not be taken away from them. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    static struct state *state;
    static struct state_reader_pool *readers;
    static struct key_set_cache *cache;
    static struct server *server;
    state = state_open(directory, "production", "edge-1", &error);
    REQUIRE(state != NULL);
    put(state, "01890000-0000-7000-8000-00000000000a", "a", PUBLIC_A, 1);
    put(state, "01890000-0000-7000-8000-00000000000b", "schlüssel", PUBLIC_B, 2);
    readers = state_reader_pool_new(state);
    const struct key_set_options cached = {.readers = readers, .memory = CACHE_BYTES, .max_age = 60, .wall_ms = clock_wall_ms};
    cache = key_set_cache_new(&cached);
    const struct serve_options options = {.listen = "127.0.0.1:0",
                                          .threads = 1,
                                          .connection_limit = 100,
                                          .http = &http,
                                          .cache = cache,
                                          .readers = readers,
                                          .status = &status};
    server = server_start(&options, &error);
    REQUIRE(server != NULL);
    address.sin_port = htons((uint16_t)server_port(server));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return 0;
}

static bool is_one_of_ours(int code) {
    static const int codes[] = {100, 200, 204, 304, 400, 404, 405, 413, 414, 431, 501, 505};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i] == code)
            return true;
    return false;
}

/* A body that is there as a whole, in an answer that is the only one. */
static void check_body(const char *answer, const char *body, size_t length) {
    struct error error = {0};
    const char *type = strstr(answer, "Content-Type: application/j"), *told = strstr(answer, "Content-Length: ");
    if (!type || type > body || !told || told > body || strtoul(told + 16, NULL, 10) != length)
        return; /* text, or an answer to HEAD */
    cJSON *tree = json_parse(body, length, &error);
    REQUIRE(tree != NULL);
    if (cJSON_GetObjectItemCaseSensitive(tree, "keys"))
        REQUIRE(strcmp(body, SET) == 0);
    if (cJSON_GetObjectItemCaseSensitive(tree, "kty"))
        REQUIRE(strcmp(body, PUBLIC_A) == 0 || strcmp(body, PUBLIC_B) == 0);
    json_wipe(tree);
}

static void check_answer(const char *answer, size_t size) {
    int code = 0;
    if (size == 0)
        return; /* nothing that could be answered */
    REQUIRE(sscanf(answer, "HTTP/1.%*1[01] %3d", &code) == 1);
    REQUIRE(is_one_of_ours(code));
    REQUIRE(!strstr(answer, SEALED)); /* a name that is told has its quotes escaped */
    const char *body = strstr(answer, "\r\n\r\n");
    if (body && !strstr(body, "\r\nHTTP/1.1 ") && strlen(answer) == size)
        check_body(answer, body + 4, size - (size_t)(body + 4 - answer));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static char answer[ANSWER_MAX + 1];
    /* A head without an end would be waited for: it gets one. */
    uint8_t *request = memory_new(size + 2);
    if (size)
        memcpy(request, bytes, size);
    memcpy(request + size, "\n\n", 2);
    bool ends =
        request_head_length((const char *)request, size) < size || (size > 2 && memcmp(request + size - 2, "\n\n", 2) == 0);
    size_t length = request_exchange(&address, request, ends ? size : size + 2, answer, ANSWER_MAX);
    free(request);
    answer[length] = '\0';
    check_answer(answer, length);
    return 0;
}
