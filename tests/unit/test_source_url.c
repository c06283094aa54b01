/* Fetching from a URL: a real https server on the loopback that does to the client what the internet does. */
#include "tests/unit/source_fixture.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "api/source_url.h"

static pid_t server;
static int server_input; /* closing it ends the server */
static int https_port;
static int http_port;
static char *ca_file;
static struct source_url_settings settings; /* the loopback's first address is allowed */

static int start_server(void **state) {
    int input[2];
    int output[2];

    if (fixture_open(state) < 0 || pipe(input) < 0 || pipe(output) < 0)
        return -1;
    fixture_run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.crt -days 2 "
        "-subj /CN=keys -addext subjectAltName=DNS:localhost,DNS:keys.example,DNS:other.example,IP:127.0.0.1\n"
        "cat server.key server.crt >server.pem\n"
        "echo 'machine 127.0.0.1 login user password secret' >.netrc\n");
    /* All that fetches must not take from its environment. */
    setenv("HOME", fixture_directory, 1);
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);

    char *pem = memory_format("%s/server.pem", fixture_directory);
    ca_file = memory_format("%s/server.crt", fixture_directory);
    server = fork();
    if (server == 0) {
        dup2(input[0], 0);
        dup2(output[1], 1);
        close(input[1]);
        close(output[0]);
        execlp("python3", "python3", "tests/unit/source_server.py", pem, (char *)NULL);
        _exit(127);
    }
    free(pem);
    close(input[0]);
    close(output[1]);
    server_input = input[1];
    FILE *lines = fdopen(output[0], "r");
    int found = fscanf(lines, "%d %d", &https_port, &http_port);
    fclose(lines);
    settings.ca_file = ca_file;
    struct error error;
    return found == 2 ? source_networks_parse("127.0.0.1/32", &settings.allowed, &error) : -1;
}

static int stop_server(void **state) {
    close(server_input);
    waitpid(server, NULL, 0);
    free(ca_file);
    return fixture_close(state);
}

static int fetch_with(const struct source_url_settings *with, const char *host, const char *path,
                      struct source_url_answer *answer, struct error *error) {
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    char *url = memory_format("https://%s:%d%s", host, https_port, path);
    request.url = url;
    error->code = ERROR_NONE;
    error->message[0] = '\0';
    int result = source_url_fetch(with, &request, answer, error);
    free(url);
    return result;
}

static int fetch(const char *path, struct source_url_answer *answer, struct error *error) {
    return fetch_with(&settings, "127.0.0.1", path, answer, error);
}

static void assert_refused(const struct source_url_settings *with, const char *host, const char *path, enum error_code code,
                           const char *message) {
    struct source_url_answer answer;
    struct error error;

    if (fetch_with(with, host, path, &answer, &error) == 0)
        fail_msg("%s is fetched", path);
    if (strstr(error.message, message) == NULL || error.code != code)
        fail_msg("%s: the message is \"%s\" (%d), without \"%s\" (%d)", path, error.message, error.code, message, code);
    assert_null(answer.body);
}

static void test_a_jwk_comes_with_what_its_refresh_needs(void **state) {
    (void)state;
    struct source_url_answer answer;
    struct error error;

    assert_ok(fetch("/jwk", &answer, &error), error);
    assert_string_equal(answer.content_type, "application/jwk+json");
    assert_string_equal(answer.etag, "\"v1\"");
    assert_string_equal(answer.last_modified, "Thu, 01 Jan 2026 00:00:00 GMT");
    assert_int_equal(answer.max_age, 200); /* less its Age */
    assert_false(answer.not_modified);
    struct jwk *jwk = source_url_jwk(&answer, NULL, &error);
    assert_made(jwk, error);
    assert_string_equal(jwk_kid(jwk), "one");
    jwk_free(jwk);
    source_url_answer_free(&answer);

    assert_ok(fetch("/plain", &answer, &error), error);
    assert_int_equal(answer.max_age, -1);
    assert_null(answer.etag);
    source_url_answer_free(&answer);
}

static void test_a_set_needs_a_kid_that_it_has(void **state) {
    (void)state;
    struct source_url_answer answer;
    struct error error;

    assert_ok(fetch("/jwks", &answer, &error), error);
    assert_int_equal(answer.max_age, 0); /* no-store */
    struct jwk *jwk = source_url_jwk(&answer, "two", &error);
    assert_made(jwk, error);
    assert_int_equal(jwk_type(jwk), JWK_OKP);
    jwk_free(jwk);
    assert_null(source_url_jwk(&answer, "three", &error));
    assert_message(error, "one");
    assert_message(error, "two");
    assert_null(source_url_jwk(&answer, NULL, &error));
    assert_message(error, "two");
    source_url_answer_free(&answer);
}

static void test_what_is_not_a_jwk_says_what_it_is(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"/html", "URL answered with an HTML page, not with a JWK or JWK Set!"},
        {"/text", "URL answered with something else"},
        {"/empty", "URL answered with nothing!"},
        {"/headers", "URL answered with a document that can not be used"},
    };

    for (size_t i = 0; i < 4; i++) {
        struct source_url_answer answer;
        struct error error;
        assert_ok(fetch(cases[i][0], &answer, &error), error);
        assert_null(source_url_jwk(&answer, NULL, &error));
        assert_message(error, cases[i][1]);
        source_url_answer_free(&answer);
    }
}

static void test_an_unchanged_answer_is_not_sent_again(void **state) {
    (void)state;
    static const struct {
        const char *etag, *last_modified;
        bool not_modified;
    } cases[] = {
        {"\"v1\"", NULL, true}, {NULL, "Thu, 01 Jan 2026 00:00:00 GMT", true}, {"\"v0\"", NULL, false}, {NULL, NULL, false}};
    char *url = memory_format("https://127.0.0.1:%d/conditional", https_port);

    for (size_t i = 0; i < 4; i++) {
        struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
        struct source_url_answer answer;
        struct error error;
        request.url = url;
        request.etag = cases[i].etag;
        request.last_modified = cases[i].last_modified;
        assert_ok(source_url_fetch(&settings, &request, &answer, &error), error);
        assert_int_equal(answer.not_modified, cases[i].not_modified);
        assert_string_equal(answer.etag, "\"v1\"");
        assert_int_equal(answer.body == NULL, cases[i].not_modified);
        assert_int_equal(answer.max_age, cases[i].not_modified ? 7 : -1);
        source_url_answer_free(&answer);
    }
    free(url);
    assert_refused(&settings, "127.0.0.1", "/status/304", ERROR_INVALID, "URL answered with status 304!"); /* not asked for */
}

static void test_only_what_is_meant_is_sent(void **state) {
    (void)state;
    struct source_url_answer answer;
    struct error error;

    assert_ok(fetch("/headers", &answer, &error), error);
    cJSON *fields = cJSON_Parse(answer.body);
    assert_string_equal(member(fields, "accept"), "application/jwk-set+json, application/jwk+json, application/json;q=0.9");
    assert_string_equal(member(fields, "user-agent"), "jwk-api");
    assert_false(has_member(fields, "authorization"));
    assert_false(has_member(fields, "accept-encoding")); /* a compressed body would get round the bound */
    assert_int_equal(cJSON_GetArraySize(fields), 3);
    cJSON_Delete(fields);
    source_url_answer_free(&answer);
}

static void test_the_body_is_bounded(void **state) {
    (void)state;
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    struct source_url_answer answer;
    struct error error;

    assert_refused(&settings, "127.0.0.1", "/declared", ERROR_INVALID,
                   "URL answered with more than 1048576 bytes, the size limit!");
    assert_refused(&settings, "127.0.0.1", "/endless", ERROR_INVALID,
                   "URL answered with more than 1048576 bytes, the size limit!");
    assert_refused(&settings, "127.0.0.1", "/fields", ERROR_INVALID, "URL answered with more than 64 KB of header fields!");
    assert_refused(&settings, "127.0.0.1", "/short", ERROR_UNAVAILABLE, "URL could not be fetched");

    /* exactly as long as the limit, and a byte less */
    assert_ok(fetch("/plain", &answer, &error), error);
    request.size_limit = (int64_t)answer.size;
    source_url_answer_free(&answer);
    char *url = memory_format("https://127.0.0.1:%d/plain", https_port);
    request.url = url;
    assert_ok(source_url_fetch(&settings, &request, &answer, &error), error);
    source_url_answer_free(&answer);
    request.size_limit--;
    assert_int_equal(source_url_fetch(&settings, &request, &answer, &error), -1);
    assert_message(error, "the size limit!");
    free(url);
}

static void test_a_server_that_hangs_is_left(void **state) {
    (void)state;
    static const char *const paths[] = {"/hang", "/drip"};
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    struct source_url_answer answer;
    struct error error;

    request.read_timeout_ms = 200;
    request.connect_timeout_ms = 2000;
    for (size_t i = 0; i < 2; i++) {
        char *url = memory_format("https://127.0.0.1:%d%s", https_port, paths[i]);
        request.url = url;
        assert_int_equal(source_url_fetch(&settings, &request, &answer, &error), -1);
        assert_string_equal(error.message, "URL could not be fetched within 2200 ms!");
        assert_int_equal(error.code, ERROR_UNAVAILABLE);
        free(url);
    }

    /* A peer that takes the connection and never begins TLS. */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    char *url = memory_format("https://127.0.0.1:%d/", ntohs(address.sin_port));
    request.url = url;
    request.connect_timeout_ms = 200;
    request.read_timeout_ms = 60000;
    alarm(30); /* ends the test when it is the whole time-out that ends the fetch */
    assert_int_equal(source_url_fetch(&settings, &request, &answer, &error), -1);
    alarm(0);
    assert_string_equal(error.message, "URL could not be connected to within 200 ms!");
    close(listener);

    /* Nobody listens there now. */
    assert_int_equal(source_url_fetch(&settings, &request, &answer, &error), -1);
    assert_string_equal(error.message, "URL could not be fetched: the connection was refused!");
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    free(url);
}

static void test_a_fetch_can_be_cancelled(void **state) {
    (void)state;
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    struct source_url_answer answer;
    struct error error;
    atomic_bool cancel = true;
    char *url = memory_format("https://127.0.0.1:%d/hang", https_port);

    request.url = url;
    request.cancel = &cancel;
    assert_int_equal(source_url_fetch(&settings, &request, &answer, &error), -1);
    assert_string_equal(error.message, "URL was not fetched: the program is stopping");
    free(url);
}

static void test_redirects_are_bounded_and_each_is_checked(void **state) {
    (void)state;
    struct source_url_answer answer;
    struct error error;

    assert_ok(fetch("/hops/5", &answer, &error), error);
    assert_null(answer.etag); /* that of a redirect says nothing of the answer */
    assert_int_equal(answer.max_age, -1);
    source_url_answer_free(&answer);
    assert_refused(&settings, "127.0.0.1", "/hops/6", ERROR_INVALID, "URL is redirected more than 5 times!");
    assert_refused(&settings, "127.0.0.1", "/loop", ERROR_INVALID, "URL is redirected more than 5 times!");
    assert_refused(&settings, "127.0.0.1", "/to/http://127.0.0.1:HTTP/plain", ERROR_INVALID,
                   "URL is redirected to another scheme than https!");
    assert_refused(&settings, "127.0.0.1", "/to/file:///etc/passwd", ERROR_INVALID,
                   "URL is redirected to another scheme than https!");
    assert_refused(&settings, "127.0.0.1", "/to/ftp://127.0.0.1/", ERROR_INVALID,
                   "URL is redirected to another scheme than https!");
    assert_refused(&settings, "127.0.0.1", "/to/https://127.0.0.2:HTTPS/plain", ERROR_INVALID,
                   "URL leads to a loopback address, which is not allowed!");
    assert_refused(&settings, "127.0.0.1", "/to/https://169.254.169.254/latest", ERROR_INVALID,
                   "URL leads to a link-local address, which is not allowed!");
    assert_refused(&settings, "127.0.0.1", "/to/https://user:secret@127.0.0.1:HTTPS/plain", ERROR_INVALID,
                   "URL is redirected to a URL that is not valid!");
}

static void test_no_inner_address_is_connected_to_by_default(void **state) {
    (void)state;
    static const char *const hosts[][2] = {
        {"127.0.0.1", "loopback"},
        {"localhost", "loopback"},
        {"127.1", "loopback"},
        {"2130706433", "loopback"},
        {"0x7f.0.0.1", "loopback"},
        {"0.0.0.0", "unspecified"},
        {"10.0.0.1", "private"},
        {"172.16.0.1", "private"},
        {"192.168.1.1", "private"},
        {"169.254.169.254", "link-local"},
        {"100.64.0.1", "shared (CGNAT)"},
        {"224.0.0.1", "multicast"},
        {"255.255.255.255", "reserved"},
        {"[::1]", "loopback"},
        {"[::]", "unspecified"},
        {"[::ffff:127.0.0.1]", "loopback"},
        {"[fe80::1]", "link-local"},
        {"[fc00::1]", "private"},
        {"[64:ff9b::7f00:1]", "loopback"},
    };
    struct source_url_settings strict = {.ca_file = ca_file};

    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char *message = memory_format("URL leads to a %s address, which is not allowed!", hosts[i][1]);
        assert_refused(&strict, hosts[i][0], "/plain", ERROR_INVALID, message);
        free(message);
    }
}

/* The check is on the address that is connected to: what a name resolved to before does not count. */
static void test_a_name_that_turns_to_an_inner_address_is_refused(void **state) {
    (void)state;
    struct source_url_answer answer;
    struct error error;
    char *entries[4];
    entries[0] = memory_format("keys.example:%d:127.0.0.1", https_port);
    entries[1] = memory_format("other.example:%d:127.0.0.2", https_port);
    entries[2] = memory_format("both.example:%d:10.255.255.1,127.0.0.1", https_port);
    entries[3] = NULL;
    struct source_url_settings strict = {.ca_file = ca_file, .resolve = (const char *const *)entries};
    struct source_url_settings allowing = settings;
    allowing.resolve = (const char *const *)entries;

    assert_refused(&strict, "keys.example", "/plain", ERROR_INVALID, "URL leads to a loopback address, which is not allowed!");
    assert_ok(fetch_with(&allowing, "keys.example", "/plain", &answer, &error), error);
    source_url_answer_free(&answer);
    char *path = memory_format("/to/https://other.example:%d/plain", https_port);
    assert_refused(&allowing, "keys.example", path, ERROR_INVALID, "URL leads to a loopback address, which is not allowed!");
    free(path);
    /* One refused address of a name does not stand in the way of another; here only the certificate does. */
    assert_refused(&allowing, "both.example", "/plain", ERROR_INVALID, "the server's certificate is not trusted!");
    for (size_t i = 0; i < 3; i++)
        free(entries[i]);
}

static void test_the_certificate_is_checked(void **state) {
    (void)state;
    struct source_url_settings untrusting = settings;
    untrusting.ca_file = NULL;
    assert_refused(&untrusting, "127.0.0.1", "/plain", ERROR_INVALID, "the server's certificate is not trusted!");
}

static void test_http_is_for_those_who_allow_it(void **state) {
    (void)state;
    struct source_url_settings allowing = settings;
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    struct source_url_answer answer;
    struct error error;
    char *url = memory_format("http://127.0.0.1:%d/plain", http_port);

    request.url = url;
    assert_int_equal(source_url_fetch(&settings, &request, &answer, &error), -1);
    assert_message(error, "URL must begin with https://!");
    allowing.allow_http = true;
    assert_ok(source_url_fetch(&allowing, &request, &answer, &error), error);
    source_url_answer_free(&answer);
    free(url);
    assert_ok(fetch_with(&allowing, "127.0.0.1", "/to/http://127.0.0.1:HTTP/plain", &answer, &error), error);
    source_url_answer_free(&answer);
    assert_refused(&allowing, "127.0.0.1", "/to/file:///etc/passwd", ERROR_INVALID, "another scheme than https and http!");
}

static void test_other_statuses_are_told(void **state) {
    (void)state;
    assert_refused(&settings, "127.0.0.1", "/status/404", ERROR_INVALID, "URL answered with status 404!");
    assert_refused(&settings, "127.0.0.1", "/status/401", ERROR_INVALID, "URL answered with status 401!");
    assert_refused(&settings, "127.0.0.1", "/status/204", ERROR_INVALID, "URL answered with status 204!");
    assert_refused(&settings, "127.0.0.1", "/status/429", ERROR_UNAVAILABLE, "URL answered with status 429!");
    assert_refused(&settings, "127.0.0.1", "/status/503", ERROR_UNAVAILABLE, "URL answered with status 503!");
}

static void test_a_url_and_its_options_are_checked_before_anything(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {NULL, "URL is required for URL source type!"},
        {"", "URL is required for URL source type!"},
        {"keys", "URL is not valid!"},
        {"https://", "URL is not valid!"},
        {"https://a b/", "URL is not valid!"},
        {"https://a/\n", "URL is not valid!"},
        {"https://a:99999/", "URL is not valid!"},
        {"file:///etc/passwd", "URL"},
        {"gopher://127.0.0.1/", "URL must begin with https://!"},
        {"ftp://127.0.0.1/", "URL must begin with https://!"},
        {"https://user:secret@example.com/", "URL must not have a user name or password in it!"},
        {"https://user@example.com/", "URL must not have a user name or password in it!"},
    };
    struct source_url_request request = SOURCE_URL_REQUEST_DEFAULT;
    struct error error;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        request.url = cases[i][0];
        assert_int_equal(source_url_check(&settings, &request, &error), -1);
        assert_message(error, cases[i][1]);
    }
    char *long_url = memory_format("https://example.com/%02048d", 0);
    request.url = long_url;
    assert_int_equal(source_url_check(&settings, &request, &error), -1);
    assert_message(error, "URL is longer than 2048 bytes!");
    free(long_url);

    request.url = "HTTPS://example.com/jwks?a=b";
    assert_ok(source_url_check(&settings, &request, &error), error);
    request.connect_timeout_ms = 0;
    assert_int_equal(source_url_check(&settings, &request, &error), -1);
    assert_message(error, "urlOptionConnectTimeout (0) must be from 1 to 60000!");
    request = SOURCE_URL_REQUEST_DEFAULT;
    request.url = "https://example.com/";
    request.read_timeout_ms = 60001;
    assert_int_equal(source_url_check(&settings, &request, &error), -1);
    assert_message(error, "urlOptionReadTimeout (60001) must be from 1 to 60000!");
    request.read_timeout_ms = 1;
    request.size_limit = -1;
    assert_int_equal(source_url_check(&settings, &request, &error), -1);
    assert_message(error, "urlOptionSizeLimit (-1) must be from 1 to 16777216!");
}

static void *fetch_often(void *failures) {
    for (int i = 0; i < 5; i++) {
        struct source_url_answer answer;
        struct error error;
        if (fetch("/jwk", &answer, &error) == 0)
            source_url_answer_free(&answer);
        else
            atomic_fetch_add((atomic_int *)failures, 1);
    }
    return NULL;
}

static void test_threads_fetch_at_once(void **state) {
    (void)state;
    atomic_int failures = 0;
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fetch_often, &failures), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_jwk_comes_with_what_its_refresh_needs),
        cmocka_unit_test(test_a_set_needs_a_kid_that_it_has),
        cmocka_unit_test(test_what_is_not_a_jwk_says_what_it_is),
        cmocka_unit_test(test_an_unchanged_answer_is_not_sent_again),
        cmocka_unit_test(test_only_what_is_meant_is_sent),
        cmocka_unit_test(test_the_body_is_bounded),
        cmocka_unit_test(test_a_server_that_hangs_is_left),
        cmocka_unit_test(test_a_fetch_can_be_cancelled),
        cmocka_unit_test(test_redirects_are_bounded_and_each_is_checked),
        cmocka_unit_test(test_no_inner_address_is_connected_to_by_default),
        cmocka_unit_test(test_a_name_that_turns_to_an_inner_address_is_refused),
        cmocka_unit_test(test_the_certificate_is_checked),
        cmocka_unit_test(test_http_is_for_those_who_allow_it),
        cmocka_unit_test(test_other_statuses_are_told),
        cmocka_unit_test(test_a_url_and_its_options_are_checked_before_anything),
        cmocka_unit_test(test_threads_fetch_at_once),
    };

    return cmocka_run_group_tests_name("source_url", tests, start_server, stop_server);
}
