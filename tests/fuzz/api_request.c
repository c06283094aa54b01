/* Whole requests to jwk-api over a socket: request line, headers, token, path, query and body, through libmicrohttpd to the
 * operations, with the program itself in this process, a broker of librdkafka's, a project "p" and no environment, so that
 * nothing waits for an ack. What must hold: there is an answer, it is no failure of ours (500), and JSON where it says so.
 *
 * The input is a request as request.h sends it. The token is "fuzz-token". What earlier inputs have made is there: a finding may need a few of them. */
#define source_url_fetch source_url_fetch_really
#include "../../api/source_url.c"
#undef source_url_fetch
int source_url_fetch(const struct source_url_settings *settings, const struct source_url_request *request,
                     struct source_url_answer *answer, struct error *error);
int api_main(int argc, char **argv);
#define main api_main
#include "../../api/main.c"
#undef main

#include <openssl/crypto.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/store.h"
#include "fuzz.h"
#include "request.h"

enum { ANSWER_MAX = 1 << 20, START_TRIES = 6000, START_PAUSE_US = 10000 };

static char directory[] = "/tmp/jwk-api-fuzz-XXXXXX", *data_dir, *address_file, *master_key;
static struct sockaddr_in address = {.sin_family = AF_INET};

/* No input connects to anywhere. */
int source_url_fetch(const struct source_url_settings *settings, const struct source_url_request *request,
                     struct source_url_answer *answer, struct error *error) {
    static const char set[] = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"a\","
                              "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    *answer = SOURCE_URL_ANSWER_EMPTY;
    if (source_url_check(settings, request, error))
        return -1;
    answer->body = memory_string(set);
    answer->size = sizeof set - 1;
    return 0;
}

static void *serve(void *context) {
    char *arguments[] = {(char[]){"jwk-api"}, (char[]){"serve"}, (char[]){"--data-dir"}, data_dir,
                         (char[]){"--master-key-file"}, master_key,
                         (char[]){"--listen"}, (char[]){"127.0.0.1:0"}, (char[]){"--address-file"}, address_file,
                         (char[]){"--brokers"}, context, (char[]){"--log-level"}, (char[]){"error"},
                         (char[]){"--rate-limit-token"}, (char[]){"0"}, (char[]){"--rate-limit-failures"}, (char[]){"0"}, NULL};
    int status = api_main(sizeof arguments / sizeof *arguments - 1, arguments);
    fprintf(stderr, "jwk-api has ended with status %d\n", status);
    abort();
}

static void make_master_key(void) {
    char *arguments[] = {(char[]){"jwk-api"}, (char[]){"master-key"}, (char[]){"generate"}, (char[]){"--output"}, master_key, NULL};
    REQUIRE(api_main(5, arguments) == 0);
}

static void fill_store(void) {
    struct error error = {0};
    char uid[UUID_SIZE];
    unsigned char hash[32];
    const struct store_new_token token = {.user = "fuzz", .roles = ROLE_ADMIN};
    struct store *store = store_open(data_dir, STORE_MAKE, &error);
    REQUIRE(store != NULL);
    token_hash("fuzz-token", hash);
    REQUIRE(store_add_project(store, "p", &error) == 0);
    REQUIRE(store_add_token(store, &token, hash, uid, &error) == 0);
    store_close(store);
}

static char *start_broker(void) {
    char text[256];
    rd_kafka_t *host = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof text);
    REQUIRE(host != NULL);
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(host, 1);
    REQUIRE(rd_kafka_mock_topic_create(cluster, "jwk.events", 4, 1) == 0);
    REQUIRE(rd_kafka_mock_topic_create(cluster, "jwk.acks", 1, 1) == 0);
    REQUIRE(rd_kafka_mock_topic_create(cluster, "jwk.workers", 1, 1) == 0);
    return memory_string(rd_kafka_mock_cluster_bootstraps(cluster));
}

/* librdkafka's threads work while an input is looked at: what one of them is just passing on may look lost. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:librdkafka\n";
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
    pthread_t thread;
    unsigned port = 0;
    FILE *file = NULL;
    REQUIRE(mkdtemp(directory) != NULL);
    atexit(remove_directory);
    data_dir = memory_format("%s/data", directory);
    address_file = memory_format("%s/address", directory);
    /* The API's threads still run when the fuzzer ends: OpenSSL must not be taken away from them. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    master_key = memory_format("%s/master.key", directory);
    make_master_key();
    fill_store();
    REQUIRE(pthread_create(&thread, NULL, serve, start_broker()) == 0);
    for (int i = 0; i < START_TRIES && !(file = fopen(address_file, "r")); i++)
        usleep(START_PAUSE_US); /* the file appears whole */
    REQUIRE(file && fscanf(file, "127.0.0.1:%u", &port) == 1);
    fclose(file);
    address.sin_port = htons((uint16_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return 0;
}

static void check_answer(const char *answer, size_t size) {
    int status = 0;
    if (size == 0)
        return; /* nothing that could be answered */
    REQUIRE(sscanf(answer, "HTTP/1.%*1[01] %3d", &status) == 1);
    REQUIRE(status >= 100 && status < 600 && status != 500);
    const char *body = strstr(answer, "\r\n\r\n"), *next = body ? strstr(body, "\r\nHTTP/1.1 ") : NULL;
    const char *type = strstr(answer, "Content-Type: application/json");
    if (!body || next || !type || type > body || strstr(answer, "Transfer-Encoding"))
        return;
    body += 4;
    size_t length = size - (size_t)(body - answer);
    const char *told = strstr(answer, "Content-Length: ");
    if (!told || told > body || strtoul(told + 16, NULL, 10) != length)
        return; /* an answer to HEAD, or several answers */
    struct error error = {0};
    cJSON *tree = json_parse(body, length, &error);
    REQUIRE(tree != NULL);
    json_wipe(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static char answer[ANSWER_MAX + 1];
    size_t length = request_exchange(&address, bytes, size, answer, ANSWER_MAX);
    answer[length] = '\0';
    check_answer(answer, length);
    return 0;
}
