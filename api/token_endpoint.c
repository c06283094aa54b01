/* A token for a client. */
#include "token_endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "answer.h"
#include "change.h"
#include "common/base64url.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "common/log_limit.h"
#include "common/memory.h"
#include "store_client.h"

enum { FORM_FIELDS = 3 };
static const char *const field_names[FORM_FIELDS] = {"grant_type", "client_id", "client_secret"};
enum { GRANT_TYPE, CLIENT_ID, CLIENT_SECRET };

/* ---- the form ---- */

/* Decodes a name or value: '+' is a space, then percent-decoding. A new string, NULL when it is not well-formed. */
static char *decode(const char *text, size_t length) {
    char *copy = memory_bytes(text, length);
    for (char *at = copy; *at; at++)
        if (*at == '+')
            *at = ' ';
    char *decoded = http_decode_segment(copy, length);
    memory_wipe_string(copy);
    if (decoded && json_utf8_is_valid(decoded, strlen(decoded)))
        return decoded;
    memory_wipe_string(decoded);
    return NULL;
}

/* Takes one "name=value" in. Unknown names are ignored (RFC 6749 section 3.2). */
static int take_pair(const char *pair, size_t length, char *fields[FORM_FIELDS], struct error *error) {
    const char *equals = memchr(pair, '=', length);
    size_t name_length = equals ? (size_t)(equals - pair) : length;
    char *name = decode(pair, name_length);
    int status = name ? 0 : error_set(error, ERROR_INVALID, "Request body is not a well-formed form");
    for (int i = 0; name && status == 0 && i < FORM_FIELDS; i++) {
        if (strcmp(name, field_names[i]) != 0)
            continue;
        if (fields[i])
            status = error_set(error, ERROR_INVALID, "%s is given more than once!", field_names[i]);
        else if (!(fields[i] = decode(equals ? equals + 1 : "", equals ? length - name_length - 1 : 0)))
            status = error_set(error, ERROR_INVALID, "Request body is not a well-formed form");
    }
    free(name);
    return status;
}

static int read_form(const char *body, size_t length, char *fields[FORM_FIELDS], struct error *error) {
    const char *end = body ? body + length : NULL;
    int status = 0;
    for (const char *at = body; at && at < end && status == 0;) {
        const char *next = memchr(at, '&', (size_t)(end - at));
        size_t pair = next ? (size_t)(next - at) : (size_t)(end - at);
        if (pair)
            status = take_pair(at, pair, fields, error);
        at += pair + 1;
    }
    return status;
}

/* ---- the header ---- */

/* What stands behind "Basic" in an Authorization header (RFC 7617 section 2), or NULL. Another scheme is no client's. */
static const char *basic_credentials(const char *header) {
    return header && strncasecmp(header, "Basic ", 6) == 0 ? header + 6 + strspn(header + 6, " ") : NULL;
}

/* Takes id and secret from "id:secret" in base64, in which both are written as in a form (RFC 6749 section 2.3.1). Some client
 * libraries send the id in the form as well, which is no second way to authenticate as long as it is the same. */
static int take_basic(const char *credentials, char *fields[FORM_FIELDS], struct error *error) {
    size_t length = strlen(credentials);
    char *pair = memory_new(length + 1), *id = NULL, *secret = NULL;
    long size = base64_decode(credentials, length, (unsigned char *)pair);
    const char *colon = size > 0 ? memchr(pair, ':', (size_t)size) : NULL;
    if (colon) {
        id = decode(pair, (size_t)(colon - pair));
        secret = decode(colon + 1, (size_t)(pair + size - colon - 1));
    }
    int status = 0;
    if (!id || !secret)
        status = error_set(error, ERROR_INVALID, "Authorization header holds no well-formed Basic credentials");
    else if (fields[CLIENT_SECRET] || (fields[CLIENT_ID] && strcmp(fields[CLIENT_ID], id) != 0))
        status = error_set(error, ERROR_INVALID,
                           "Client credentials are in the form and in the Authorization header: use one of them!");
    if (status == 0) {
        free(fields[CLIENT_ID]);
        fields[CLIENT_ID] = id;
        fields[CLIENT_SECRET] = secret;
    } else {
        memory_wipe_string(id);
        memory_wipe_string(secret);
    }
    explicit_bzero(pair, length);
    free(pair);
    return status;
}

/* Reads what is asked for from body and header; basic: NULL when there are no such credentials. */
static int read_request(const char *basic, const char *body, size_t length, char *fields[FORM_FIELDS], struct error *error) {
    static const char *const missing[FORM_FIELDS] = {"Grant type is required!", "Client id is required!",
                                                     "Client secret is required!"};
    if (read_form(body, length, fields, error) || (basic && take_basic(basic, fields, error)))
        return -1;
    for (int i = 0; i < FORM_FIELDS; i++)
        if (!fields[i] || !*fields[i])
            return error_set(error, ERROR_INVALID, "%s", missing[i]);
    if (strcmp(fields[GRANT_TYPE], "client_credentials") != 0)
        return error_set(error, ERROR_INVALID, "Grant type is not supported! It is one of: client_credentials");
    return 0;
}

/* ---- the token ---- */

struct issue {
    struct job job;
    struct call *call;
    bool is_basic; /* the client has used the header */
    int64_t client_id;
    char token[TOKEN_SIZE];
};

static int run(struct job *job, struct store *store, struct error *error) {
    struct issue *issue = (struct issue *)job;
    unsigned char hash[32];
    char peer[HTTP_PEER_SIZE];
    int64_t now = clock_wall_ms();
    token_hash(issue->token, hash);
    http_request_peer(issue->call->request, peer);
    return store_issue_token(store, issue->client_id, hash, peer, now, now + issue->call->api->limits.token_lifetime_ms, error);
}

/* The challenge is of the scheme that the client has used (RFC 6749 section 5.2). */
static void refuse(struct call *call, bool is_basic) {
    refusals_note(call->api->refusals, call, 401);
    struct MHD_Response *response = answer_error(401, "Bad credentials");
    http_response_header(response, "WWW-Authenticate", is_basic ? "Basic realm=\"jwk-api\"" : "Bearer realm=\"jwk-api\"");
    http_respond(call->request, 401, response);
}

static void answer_token(struct call *call, const char *token) {
    struct text body = TEXT_EMPTY;
    text_json_open(&body, NULL, '{');
    text_json_string(&body, "access_token", token);
    text_json_string(&body, "token_type", "Bearer");
    text_json_integer(&body, "expires_in", call->api->limits.token_lifetime_ms / 1000);
    text_json_close(&body, '}');
    size_t length = body.length;
    struct MHD_Response *response = http_response_take("application/json", text_take(&body), length);
    http_response_header(response, "Pragma", "no-cache"); /* RFC 6749 section 5.1 */
    http_respond(call->request, 200, response);
}

static void done(struct job *job, int status, const struct error *error) {
    struct issue *issue = (struct issue *)job;
    if (status == 0)
        answer_token(issue->call, issue->token);
    else if (error->code == ERROR_DENIED)
        refuse(issue->call, issue->is_basic);
    else
        answer_fail_error(issue->call, error);
    explicit_bzero(issue->token, sizeof issue->token);
    free(issue);
}

/* Hands the making of a token to the writer; the call is answered after the commit. */
static void submit(struct call *call, bool is_basic, int64_t client_id) {
    if (change_admit(call))
        return;
    struct issue *issue = memory_new(sizeof *issue);
    issue->job = (struct job){.run = run, .done = done};
    issue->call = call;
    issue->is_basic = is_basic;
    issue->client_id = client_id;
    token_new(issue->token);
    if (writer_submit(call->api->writer, &issue->job)) {
        free(issue);
        answer_fail(call, 503, "The service is stopping");
    }
}

/* Anybody can cause such lines, from one address after the other. */
static void tell_refused(const struct call *call) {
    static struct log_limit limit;
    char peer[HTTP_PEER_SIZE];
    int64_t suppressed;
    if (!log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
        return;
    http_request_peer(call->request, peer);
    log_info("client refused", "peer", peer, LOG_SUPPRESSED(suppressed));
}

void token_endpoint_issue(struct call *call) {
    struct error error;
    char *fields[FORM_FIELDS] = {NULL};
    int64_t client_id = 0, wait_us;
    if (!throttle_admits(call->api->throttle, call->request, NULL, &wait_us)) {
        answer_too_many(call, wait_us);
        return;
    }
    const char *basic = basic_credentials(http_request_header(call->request, "Authorization"));
    size_t length;
    const char *body = http_request_body(call->request, &length);
    int status = http_request_header_count(call->request, "Authorization") > 1
                     ? error_set(&error, ERROR_INVALID, "Authorization header is given more than once!")
                     : read_request(basic, body, length, fields, &error);
    http_request_drop_body(call->request);
    if (status == 0) {
        unsigned char hash[32];
        token_hash(fields[CLIENT_SECRET], hash);
        struct store *store = readers_take(call->api->readers, &error);
        status = store ? store_find_client(store, fields[CLIENT_ID], hash, &client_id, &error) : -1;
        readers_give(call->api->readers, store);
    }
    for (int i = 0; i < FORM_FIELDS; i++)
        memory_wipe_string(fields[i]);
    if (status == 0) {
        submit(call, basic != NULL, client_id);
    } else if (error.code == ERROR_DENIED) {
        tell_refused(call);
        throttle_failed(call->api->throttle, call->request);
        refuse(call, basic != NULL);
    } else {
        answer_fail_error(call, &error);
    }
}
