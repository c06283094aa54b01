/* One fetch with libcurl, every option set for a URL that is not trusted. */
#include "api/source_url.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/text.h"

enum {
    REDIRECTS_MAX = 5,
    BODY_CAPACITY = 16 * 1024,    /* bytes to begin with: a private key is not left behind by growing, as most documents fit */
    HEADERS_SIZE_MAX = 64 * 1024, /* bytes of all header fields of a fetch, those of redirects included */
};

/* The state of one fetch, shared with libcurl's callbacks, which all run on the thread that fetches. */
struct fetch {
    const struct source_url_settings *settings;
    const struct source_url_request *request;
    struct text body;
    size_t headers_size;
    const char *refused_kind; /* of the address that was refused last; NULL: none was */
    bool too_large;
    bool headers_too_large;
    bool cancelled;
    struct source_url_answer answer; /* what the fields of the latest answer said */
    int64_t max_age;                 /* as said, -1: not */
    int64_t age;                     /* seconds that it lay in caches */
    bool no_store;
};

static void init_curl(void) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort(); /* only out of memory; memory.h's policy is a clear end */
}

/* The address that is about to be connected to: the only place where a check can not be got round. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
    struct fetch *fetch = user;

    if (purpose != CURLSOCKTYPE_IPCXN || !source_address_is_allowed(&address->addr, &fetch->settings->allowed)) {
        fetch->refused_kind = source_address_kind(&address->addr);
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t write_body(char *bytes, size_t size, size_t count, void *user) {
    struct fetch *fetch = user;
    size_t length = size * count;

    if (length > (size_t)fetch->request->size_limit - fetch->body.length) {
        fetch->too_large = true;
        return 0; /* libcurl ends the transfer */
    }
    text_add(&fetch->body, bytes, length);
    return length;
}

/* A directive's number of seconds; -1 when the text does not begin with one. */
static int64_t read_seconds(const char *text) {
    char *end;

    while (*text == ' ' || *text == '"')
        text++;
    if (*text < '0' || *text > '9')
        return -1;
    long long seconds = strtoll(text, &end, 10); /* saturates */
    return seconds > INT32_MAX ? INT32_MAX : seconds;
}

/* Source: RFC 9111 section 5.2.2. */
static void read_cache_control(struct fetch *fetch, char *value) {
    char *rest = NULL;

    for (char *directive = strtok_r(value, ",", &rest); directive != NULL; directive = strtok_r(NULL, ",", &rest)) {
        directive += strspn(directive, " \t");
        if (strncasecmp(directive, "max-age=", 8) == 0)
            fetch->max_age = read_seconds(directive + 8);
        else if (strncasecmp(directive, "no-store", 8) == 0 || strncasecmp(directive, "no-cache", 8) == 0)
            fetch->no_store = true;
    }
}

/* A field's value, replacing what an earlier field of that name said. */
static void keep(char **place, const char *value) {
    free(*place);
    *place = memory_string(value);
}

/* A redirect's fields say nothing of the answer that it leads to. */
static void forget_fields(struct fetch *fetch) {
    free(fetch->answer.content_type);
    free(fetch->answer.etag);
    free(fetch->answer.last_modified);
    fetch->answer = SOURCE_URL_ANSWER_EMPTY;
    fetch->max_age = -1;
    fetch->age = 0;
    fetch->no_store = false;
}

static size_t read_header(char *bytes, size_t size, size_t count, void *user) {
    struct fetch *fetch = user;
    size_t length = size * count;

    fetch->headers_size += length;
    if (fetch->headers_size > HEADERS_SIZE_MAX) {
        fetch->headers_too_large = true;
        return 0;
    }
    if (length >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        forget_fields(fetch);
        return length;
    }
    char *line = memory_bytes(bytes, length);
    char *value = strchr(line, ':');
    if (value != NULL) {
        *value++ = '\0';
        value += strspn(value, " \t");
        value[strcspn(value, "\r\n")] = '\0';
        if (strcasecmp(line, "Content-Type") == 0)
            keep(&fetch->answer.content_type, value);
        else if (strcasecmp(line, "ETag") == 0)
            keep(&fetch->answer.etag, value);
        else if (strcasecmp(line, "Last-Modified") == 0)
            keep(&fetch->answer.last_modified, value);
        else if (strcasecmp(line, "Age") == 0)
            fetch->age = read_seconds(value) < 0 ? 0 : read_seconds(value);
        else if (strcasecmp(line, "Cache-Control") == 0)
            read_cache_control(fetch, value);
    }
    free(line);
    return length;
}

static int watch(void *user, curl_off_t total_down, curl_off_t down, curl_off_t total_up, curl_off_t up) {
    struct fetch *fetch = user;

    (void)total_down, (void)down, (void)total_up, (void)up;
    fetch->cancelled = fetch->request->cancel != NULL && atomic_load(fetch->request->cancel);
    return fetch->cancelled;
}

static int check_option(const char *name, int64_t value, int64_t maximum, struct error *error) {
    if (value >= 1 && value <= maximum)
        return 0;
    return error_set(error, ERROR_INVALID, "%s (%lld) must be from 1 to %lld!", name, (long long)value, (long long)maximum);
}

static int check_url(const struct source_url_settings *settings, const char *text, struct error *error) {
    CURLU *url = NULL;
    char *scheme = NULL;
    char *host = NULL;
    char *user = NULL;
    int result = -1;

    if (text == NULL || *text == '\0')
        return error_set(error, ERROR_INVALID, "URL is required for URL source type!");
    if (strlen(text) > SOURCE_URL_LENGTH_MAX)
        return error_set(error, ERROR_INVALID, "URL is longer than %d bytes!", SOURCE_URL_LENGTH_MAX);
    for (const char *at = text; *at != '\0'; at++)
        if ((unsigned char)*at <= ' ' || *at == 0x7F)
            return error_set(error, ERROR_INVALID, "URL is not valid!");

    /* Parsed by the library that fetches, so that both understand the same host. */
    url = curl_url();
    if (url == NULL || curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK || *host == '\0')
        error_set(error, ERROR_INVALID, "URL is not valid!");
    else if (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || !settings->allow_http))
        error_set(error, ERROR_INVALID,
                  settings->allow_http ? "URL must begin with https:// or http://!" : "URL must begin with https://!");
    else if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
        error_set(error, ERROR_INVALID, "URL must not have a user name or password in it!");
    else
        result = 0;
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(url);
    return result;
}

int source_url_check(const struct source_url_settings *settings, const struct source_url_request *request,
                     struct error *error) {
    if (check_url(settings, request->url, error) < 0 ||
        check_option("urlOptionConnectTimeout", request->connect_timeout_ms, SOURCE_URL_TIMEOUT_MS_MAX, error) < 0 ||
        check_option("urlOptionReadTimeout", request->read_timeout_ms, SOURCE_URL_TIMEOUT_MS_MAX, error) < 0 ||
        check_option("urlOptionSizeLimit", request->size_limit, SOURCE_URL_SIZE_LIMIT_MAX, error) < 0)
        return -1;
    return 0;
}

/* Adds a header field; a value with a line break in it can not come from an answer and is left out. */
static struct curl_slist *add_field(struct curl_slist *fields, const char *name, const char *value) {
    if (value == NULL || *value == '\0' || strpbrk(value, "\r\n") != NULL)
        return fields;
    char *line = memory_format("%s: %s", name, value);
    struct curl_slist *longer = curl_slist_append(fields, line);
    free(line);
    return longer == NULL ? fields : longer;
}

/* Returns what the first option that libcurl refused said: an option that is not set might be a check that is not done. */
static CURLcode set_options(CURL *curl, struct fetch *fetch, struct curl_slist *fields, struct curl_slist *resolve) {
    const struct source_url_request *request = fetch->request;
    const char *protocols = fetch->settings->allow_http ? "https,http" : "https";
    CURLcode code = CURLE_OK;

#define SET(option, value)                                                                                                     \
    do {                                                                                                                       \
        if (code == CURLE_OK)                                                                                                  \
            code = curl_easy_setopt(curl, (option), (value));                                                                  \
    } while (0)
    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_PROTOCOLS_STR, protocols);
    SET(CURLOPT_REDIR_PROTOCOLS_STR, protocols);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L); /* of a redirect too */
    SET(CURLOPT_FOLLOWLOCATION, 1L);
    SET(CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, fetch);
    SET(CURLOPT_PROXY, ""); /* not even from the environment */
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (fetch->settings->ca_file != NULL) {
        SET(CURLOPT_CAINFO, fetch->settings->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }
    if (resolve != NULL)
        SET(CURLOPT_RESOLVE, resolve);
    SET(CURLOPT_NOSIGNAL, 1L); /* signals and threads do not mix */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)(request->connect_timeout_ms + request->read_timeout_ms));
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->size_limit);
    SET(CURLOPT_WRITEFUNCTION, write_body);
    SET(CURLOPT_WRITEDATA, fetch);
    SET(CURLOPT_HEADERFUNCTION, read_header);
    SET(CURLOPT_HEADERDATA, fetch);
    SET(CURLOPT_NOPROGRESS, 0L);
    SET(CURLOPT_XFERINFOFUNCTION, watch);
    SET(CURLOPT_XFERINFODATA, fetch);
    SET(CURLOPT_USERAGENT, "jwk-api");
    SET(CURLOPT_HTTPHEADER, fields);
#undef SET
    return code;
}

/* The sentence for a transfer that did not end well. */
static int explain(CURL *curl, const struct fetch *fetch, CURLcode code, struct error *error) {
    curl_off_t ready = 0; /* microseconds until the latest connection could carry a request */

    if (code == CURLE_ABORTED_BY_CALLBACK && fetch->cancelled)
        return error_set(error, ERROR_UNAVAILABLE, "URL was not fetched: the program is stopping");
    if (fetch->too_large || code == CURLE_FILESIZE_EXCEEDED)
        return error_set(error, ERROR_INVALID, "URL answered with more than %lld bytes, the size limit!",
                         (long long)fetch->request->size_limit);
    if (fetch->headers_too_large)
        return error_set(error, ERROR_INVALID, "URL answered with more than %d KB of header fields!", HEADERS_SIZE_MAX / 1024);
    switch (code) {
    case CURLE_COULDNT_CONNECT:
        if (fetch->refused_kind != NULL)
            return error_set(error, ERROR_INVALID, "URL leads to a %s address, which is not allowed!", fetch->refused_kind);
        return error_set(error, ERROR_UNAVAILABLE, "URL could not be fetched: the connection was refused!");
    case CURLE_OPERATION_TIMEDOUT:
        if (curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &ready) == CURLE_OK && ready == 0)
            return error_set(error, ERROR_UNAVAILABLE, "URL could not be connected to within %lld ms!",
                             (long long)fetch->request->connect_timeout_ms);
        return error_set(error, ERROR_UNAVAILABLE, "URL could not be fetched within %lld ms!",
                         (long long)(fetch->request->connect_timeout_ms + fetch->request->read_timeout_ms));
    case CURLE_TOO_MANY_REDIRECTS:
        return error_set(error, ERROR_INVALID, "URL is redirected more than %d times!", REDIRECTS_MAX);
    case CURLE_UNSUPPORTED_PROTOCOL:
        return error_set(error, ERROR_INVALID, "URL is redirected to another scheme than %s!",
                         fetch->settings->allow_http ? "https and http" : "https");
    case CURLE_LOGIN_DENIED:
    case CURLE_URL_MALFORMAT:
        return error_set(error, ERROR_INVALID, "URL is redirected to a URL that is not valid!");
    case CURLE_COULDNT_RESOLVE_HOST:
        return error_set(error, ERROR_UNAVAILABLE, "URL could not be fetched: its host name is not found!");
    case CURLE_PEER_FAILED_VERIFICATION:
        return error_set(error, ERROR_INVALID, "URL could not be fetched: the server's certificate is not trusted!");
    case CURLE_SSL_CONNECT_ERROR:
        return error_set(error, ERROR_UNAVAILABLE, "URL could not be fetched: the TLS handshake failed!");
    default:
        return error_set(error, ERROR_UNAVAILABLE, "URL could not be fetched: %s!", curl_easy_strerror(code));
    }
}

static int judge_status(const struct fetch *fetch, long status, struct error *error) {
    bool conditional = fetch->request->etag != NULL || fetch->request->last_modified != NULL;

    if (status == 200 || (status == 304 && conditional))
        return 0;
    bool passes = status == 408 || status == 429 || status >= 500;
    return error_set(error, passes ? ERROR_UNAVAILABLE : ERROR_INVALID, "URL answered with status %ld!", status);
}

/* How long the answer may be taken for the current one; -1: it does not say. Source: RFC 9111 section 4.2. */
static int64_t freshness(const struct fetch *fetch) {
    if (fetch->no_store)
        return 0;
    if (fetch->max_age < 0)
        return -1;
    return fetch->max_age > fetch->age ? fetch->max_age - fetch->age : 0;
}

int source_url_fetch(const struct source_url_settings *settings, const struct source_url_request *request,
                     struct source_url_answer *answer, struct error *error) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct fetch fetch = {.settings = settings, .request = request, .answer = SOURCE_URL_ANSWER_EMPTY, .max_age = -1};
    struct curl_slist *fields = NULL;
    struct curl_slist *resolve = NULL;
    CURL *curl = NULL;
    long status = 0;
    int result = -1;

    pthread_once(&once, init_curl);
    *answer = SOURCE_URL_ANSWER_EMPTY;
    if (source_url_check(settings, request, error) < 0)
        return -1;
    fetch.body = (struct text){.bytes = memory_new(BODY_CAPACITY), .capacity = BODY_CAPACITY};
    fields = add_field(fields, "Accept", "application/jwk-set+json, application/jwk+json, application/json;q=0.9");
    fields = add_field(fields, "If-None-Match", request->etag);
    fields = add_field(fields, "If-Modified-Since", request->last_modified);
    for (const char *const *entry = settings->resolve; entry != NULL && *entry != NULL; entry++)
        resolve = curl_slist_append(resolve, *entry);

    curl = curl_easy_init(); /* a handle of its own for each fetch: no connection of another one is used again */
    CURLcode code = curl == NULL ? CURLE_OUT_OF_MEMORY : set_options(curl, &fetch, fields, resolve);
    if (code != CURLE_OK) {
        error_set(error, ERROR_INTERNAL, "libcurl can not be set up: %s", curl_easy_strerror(code));
        goto out;
    }
    code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        explain(curl, &fetch, code, error);
        goto out;
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (judge_status(&fetch, status, error) < 0)
        goto out;
    fetch.answer.not_modified = status == 304;
    if (status == 200) {
        fetch.answer.size = fetch.body.length;
        fetch.answer.body = text_take(&fetch.body);
    }
    fetch.answer.max_age = freshness(&fetch);
    *answer = fetch.answer;
    fetch.answer = SOURCE_URL_ANSWER_EMPTY;
    result = 0;
out:
    source_url_answer_free(&fetch.answer);
    text_wipe(&fetch.body);
    curl_easy_cleanup(curl);
    curl_slist_free_all(fields);
    curl_slist_free_all(resolve);
    return result;
}

void source_url_answer_free(struct source_url_answer *answer) {
    if (answer->body != NULL)
        OPENSSL_cleanse(answer->body, answer->size);
    free(answer->body);
    free(answer->content_type);
    free(answer->etag);
    free(answer->last_modified);
    *answer = SOURCE_URL_ANSWER_EMPTY;
}

struct jwk *source_url_jwk(const struct source_url_answer *answer, const char *kid, struct error *error) {
    size_t blank = strspn(answer->body, " \t\r\n");

    if (blank == answer->size) {
        error_set(error, ERROR_INVALID, "URL answered with nothing!");
        return NULL;
    }
    /* The media type is often wrong and not judged; the first character is not. */
    if (answer->body[blank] != '{') {
        bool html = answer->body[blank] == '<';
        error_set(error, ERROR_INVALID, "URL answered with %s, not with a JWK or JWK Set!",
                  html ? "an HTML page" : "something else");
        return NULL;
    }
    struct jwk *jwk = jwk_from_text(answer->body, answer->size, kid, error);
    if (jwk == NULL)
        error_prefix(error, "URL answered with a document that can not be used");
    return jwk;
}
