/* The HTTP plumbing over loopback sockets. The client is written out byte by byte: what matters here is what a well-behaved
 * client library would never send, or would hide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/http.h"
#include "common/http_internal.h"
#include "common/log.h"
#include "common/memory.h"

enum { SMALL_LIMIT = 10, ECHO_LIMIT = 65536, DEFERRED_MAX = 64 };

/* What the handlers below leave for the tests. */
static struct {
    struct http_server *server;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct http_request *deferred[DEFERRED_MAX]; /* guarded by mutex */
    unsigned deferred_count, completed, requests;
    struct MHD_Response *prepared; /* answers /shared */
} fixture = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct MHD_Response *text_response(const char *text) {
    return http_response_take("text/plain", memory_string(text), strlen(text));
}

static void on_headers(void *context, struct http_request *request) {
    const char *path = http_request_path(request);
    assert_ptr_equal(context, &fixture);
    if (strcmp(path, "/deny") == 0)
        http_respond(request, 401, text_response("denied"));
    else if (strcmp(path, "/small") == 0)
        http_request_limit_body(request, SMALL_LIMIT);
    else if (strcmp(path, "/echo") == 0 || strcmp(path, "/defer") == 0)
        http_request_limit_body(request, ECHO_LIMIT);
    http_request_set_data(request, memory_string("kept with the request"));
}

static bool add_name(void *context, const char *name) {
    strcat(context, name);
    strcat(context, ",");
    return true;
}

static const char *or_none(const char *text) {
    return text != NULL ? text : "(none)";
}

static void inspect(struct http_request *request) {
    char peer[64], names[256] = "";
    http_request_peer(request, peer);
    http_request_each_query(request, add_name, names);
    char *answer = memory_format("%s %s from %s; x-one=%s (%u); q=%s empty=%s none=%s; names %s", http_request_method(request),
                                 http_request_path(request), peer, or_none(http_request_header(request, "X-ONE")),
                                 http_request_header_count(request, "x-one"), or_none(http_request_query(request, "q")),
                                 or_none(http_request_query(request, "empty")), or_none(http_request_query(request, "absent")),
                                 names);
    http_respond(request, 200, http_response_take("text/plain", answer, strlen(answer)));
}

/* Leaves the request to the tests, which answer or resume it. */
static void defer(struct http_request *request) {
    http_request_drop_body(request);
    http_request_defer(request);
    pthread_mutex_lock(&fixture.mutex);
    assert_true(fixture.deferred_count < DEFERRED_MAX);
    fixture.deferred[fixture.deferred_count++] = request;
    pthread_cond_broadcast(&fixture.changed);
    pthread_mutex_unlock(&fixture.mutex);
}

static void on_request(void *context, struct http_request *request) {
    const char *path = http_request_path(request);
    size_t length;
    const char *body = http_request_body(request, &length);
    (void)context;
    pthread_mutex_lock(&fixture.mutex);
    fixture.requests++;
    pthread_mutex_unlock(&fixture.mutex);
    if (strcmp(path, "/defer") == 0) {
        defer(request);
    } else if (strcmp(path, "/defer-twice") == 0 && fixture.requests <= 2) {
        defer(request);
    } else if (strcmp(path, "/resume-here") == 0 && fixture.requests == 1) {
        http_request_defer(request);
        http_request_resume(request);
    } else if (strcmp(path, "/defer-here") == 0) {
        http_request_defer(request);
        http_respond(request, 200, text_response("at once"));
    } else if (strcmp(path, "/shared") == 0) {
        http_respond_shared(request, 200, fixture.prepared);
    } else if (strcmp(path, "/twice") == 0) {
        http_respond(request, 200, text_response("first"));
        http_respond(request, 200, text_response("second"));
        http_respond_shared(request, 200, fixture.prepared);
    } else if (strcmp(path, "/forget") == 0) {
        /* A mistake of the handler's: no answer. */
    } else if (strcmp(path, "/echo") == 0 || strcmp(path, "/small") == 0) {
        http_respond(request, 200, http_response_take(NULL, memory_bytes(body, length), length));
    } else {
        inspect(request);
    }
}

static struct MHD_Response *on_error(void *context, const struct http_request *request, unsigned status) {
    (void)context, (void)request;
    char *text = memory_format("error %u", status);
    return http_response_take("text/plain", text, strlen(text));
}

static void on_completed(void *context, struct http_request *request) {
    (void)context;
    free(http_request_data(request));
    pthread_mutex_lock(&fixture.mutex);
    fixture.completed++;
    pthread_cond_broadcast(&fixture.changed);
    pthread_mutex_unlock(&fixture.mutex);
}

static struct http_server_options options_for(const char *listen, unsigned threads) {
    return (struct http_server_options){
        .listen = listen, .name = "test", .threads = threads,
        .connection_limit = 200, .connection_memory = 8192, .idle_timeout = 30,
        .context = &fixture, .on_headers = on_headers, .on_request = on_request,
        .on_error = on_error, .on_completed = on_completed,
    };
}

static int start(void **state) {
    (void)state;
    struct error error = {0};
    struct http_server_options options = options_for("127.0.0.1:0", 2);
    fixture.deferred_count = fixture.completed = fixture.requests = 0;
    fixture.server = http_server_start(&options, &error);
    return fixture.server != NULL ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    http_server_stop(fixture.server);
    return 0;
}

/* ---- the client ---- */

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(fixture.server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20}; /* so that a lost answer is a failure and not a hang */
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void send_bytes(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        assert_true(sent > 0);
        bytes += sent;
        length -= (size_t)sent;
    }
}

static void send_text(int fd, const char *text) {
    send_bytes(fd, text, strlen(text));
}

struct answer {
    int status;
    char head[2048];
    char body[ECHO_LIMIT + 1];
    size_t length;
};

static struct answer answer; /* of the last receive(); a static one, as it is large */

/* Reads one answer, and nothing of the next. Returns its status, 0 when the connection ended before it. */
static int receive_for(int fd, bool head_request) {
    size_t used = 0;
    memset(&answer, 0, sizeof answer);
    while (used < sizeof answer.head - 1 && strstr(answer.head, "\r\n\r\n") == NULL) {
        if (recv(fd, answer.head + used, 1, 0) != 1)
            return 0;
        used++;
    }
    assert_int_equal(sscanf(answer.head, "HTTP/1.1 %d", &answer.status), 1);
    const char *length = strcasestr(answer.head, "\r\nContent-Length:");
    size_t wanted = length != NULL && !head_request ? strtoul(length + 17, NULL, 10) : 0;
    assert_true(wanted < sizeof answer.body);
    while (answer.length < wanted) {
        ssize_t got = recv(fd, answer.body + answer.length, wanted - answer.length, 0);
        if (got <= 0)
            return 0;
        answer.length += (size_t)got;
    }
    return answer.status;
}

static int receive(int fd) {
    return receive_for(fd, false);
}

static bool is_closed(int fd) {
    char byte;
    return recv(fd, &byte, 1, 0) <= 0;
}

/* That the connection still takes requests. */
static void assert_keeps_alive(int fd) {
    send_text(fd, "GET /again HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_non_null(strstr(answer.body, "GET /again"));
}

static void wait_for(const unsigned *counter, unsigned value) {
    pthread_mutex_lock(&fixture.mutex);
    while (*counter < value)
        pthread_cond_wait(&fixture.changed, &fixture.mutex);
    pthread_mutex_unlock(&fixture.mutex);
}

/* Answers all deferred requests once there are count of them; the body of a thread of its own. */
static void *answer_deferred(void *argument) {
    unsigned count = *(unsigned *)argument;
    wait_for(&fixture.deferred_count, count);
    for (unsigned i = 0; i < count; i++) {
        pthread_mutex_lock(&fixture.mutex);
        struct http_request *request = fixture.deferred[i];
        pthread_mutex_unlock(&fixture.mutex);
        http_respond(request, 200, text_response("later"));
    }
    return NULL;
}

/* ---- tests ---- */

static void request_is_read_as_it_was_sent(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "PROPFIND /a%2Fb/%C3%A9//c?q=1%2B1+2%26&empty&Q=no HTTP/1.1\r\nHost: x\r\nX-One: 1\r\nx-one: 2\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_string_equal(answer.body, "PROPFIND /a%2Fb/%C3%A9//c from 127.0.0.1; x-one=1 (2); q=1+1 2& empty= none=(none); "
                                     "names q,empty,Q,");
    assert_non_null(strstr(answer.head, "Cache-Control: no-store"));
    send_text(fd, "GET http://host.example:1/x%20y?q=%zz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_non_null(strstr(answer.body, "GET /x%20y from"));
    assert_non_null(strstr(answer.body, "q=%zz"));
    close(fd);
}

static void head_has_the_length_and_no_body(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "HEAD /inspect HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive_for(fd, true), 200);
    assert_non_null(strstr(answer.head, "Content-Length: "));
    assert_null(strstr(answer.head, "Content-Length: 0\r\n"));
    assert_keeps_alive(fd);
    close(fd);
}

static void body_comes_back_whole(void **state) {
    (void)state;
    static char body[ECHO_LIMIT];
    int fd = dial();
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 26);
    send_text(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n");
    send_bytes(fd, body, 1);
    send_bytes(fd, body + 1, sizeof body - 1);
    assert_int_equal(receive(fd), 200);
    assert_int_equal(answer.length, sizeof body);
    assert_memory_equal(answer.body, body, sizeof body);
    send_text(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_int_equal(answer.length, 0);
    close(fd);
}

static void chunked_body_comes_back_whole(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n");
    send_text(fd, "6;ext=1\r\npedia!\r\n0\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_string_equal(answer.body, "wikipedia!");
    assert_keeps_alive(fd);
    close(fd);
}

static void body_over_the_limit_is_413_and_the_connection_goes_on(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n12345678901");
    assert_int_equal(receive(fd), 413);
    assert_string_equal(answer.body, "error 413");
    assert_keeps_alive(fd);
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    send_text(fd, "8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n");
    assert_int_equal(receive(fd), 413);
    assert_keeps_alive(fd);
    send_text(fd, "PUT /takes-no-body HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1");
    assert_int_equal(receive(fd), 413);
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1234567890");
    assert_int_equal(receive(fd), 200);
    close(fd);
}

static void length_beyond_all_bounds_is_refused_before_the_body(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000000000000\r\n\r\n");
    assert_int_equal(receive(fd), 413);
    assert_string_equal(answer.body, "error 413");
    assert_true(is_closed(fd));
    close(fd);
}

static void endless_chunks_are_cut_off(void **state) {
    (void)state;
    static char chunk[65536 + 16];
    int fd = dial();
    size_t head = (size_t)sprintf(chunk, "10000\r\n"), sent = 0;
    memset(chunk + head, 'x', 65536);
    memcpy(chunk + head + 65536, "\r\n", 2);
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    /* The kernel's buffers take some megabytes beyond what the server reads. */
    while (sent < ((size_t)256 << 20) && send(fd, chunk, head + 65536 + 2, MSG_NOSIGNAL) > 0)
        sent += 65536;
    assert_true(sent < (size_t)256 << 20);
    close(fd);
    wait_for(&fixture.completed, 1);
}

static void early_answer_without_expect_drains_the_body(void **state) {
    (void)state;
    static char body[200000];
    int fd = dial();
    memset(body, 'x', sizeof body);
    send_text(fd, "PUT /deny HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
    send_bytes(fd, body, sizeof body);
    assert_int_equal(receive(fd), 401);
    assert_string_equal(answer.body, "denied");
    assert_keeps_alive(fd);
    send_text(fd, "GET /deny HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive(fd), 401);
    assert_keeps_alive(fd);
    send_text(fd, "PUT /deny HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_int_equal(receive(fd), 401);
    assert_keeps_alive(fd);
    close(fd);
}

static void early_answer_with_expect_comes_instead_of_continue(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "PUT /deny HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n");
    assert_int_equal(receive(fd), 401);
    assert_true(is_closed(fd));
    close(fd);
    fd = dial();
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n");
    assert_int_equal(receive(fd), 413);
    close(fd);
    fd = dial();
    send_text(fd, "PUT /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_int_equal(receive(fd), 100);
    send_text(fd, "abc");
    assert_int_equal(receive(fd), 200);
    assert_string_equal(answer.body, "abc");
    close(fd);
}

static void ambiguous_framing_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"PUT /small HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"PUT /small HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400},
        {"PUT /small HTTP/1.1\r\nHost: x\r\nContent-Length : 3\r\n\r\n", 400},
        {"PUT /small HTTP/1.1\r\nHost: x\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
        {"GET /small HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n", 400},
        {"PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"PUT /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"GET elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = dial();
        send_text(fd, cases[i].request);
        assert_int_equal(receive(fd), cases[i].status);
        assert_memory_equal(answer.body, "error ", 6);
        assert_true(is_closed(fd));
        close(fd);
    }
}

static void deferred_requests_are_answered_by_another_thread(void **state) {
    (void)state;
    unsigned count = 40;
    int fds[40];
    pthread_t thread;
    pthread_create(&thread, NULL, answer_deferred, &count);
    for (unsigned i = 0; i < count; i++) {
        fds[i] = dial();
        send_text(fds[i], "PUT /defer HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    }
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(receive(fds[i]), 200);
        assert_string_equal(answer.body, "later");
        assert_keeps_alive(fds[i]);
        close(fds[i]);
    }
    pthread_join(thread, NULL);
}

static void answering_inside_the_deferring_handler_works(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "GET /defer-here HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_string_equal(answer.body, "at once");
    assert_keeps_alive(fd);
    close(fd);
}

static void resumed_requests_are_handled_again(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "GET /defer-twice HTTP/1.1\r\nHost: x\r\n\r\n");
    for (unsigned i = 0; i < 2; i++) {
        wait_for(&fixture.deferred_count, i + 1);
        http_request_resume(fixture.deferred[i]);
    }
    assert_int_equal(receive(fd), 200);
    assert_non_null(strstr(answer.body, "GET /defer-twice"));
    assert_int_equal(fixture.requests, 3);
    assert_keeps_alive(fd);
    close(fd);
}

static void resuming_inside_the_deferring_handler_works(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "GET /resume-here HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive(fd), 200);
    assert_non_null(strstr(answer.body, "GET /resume-here"));
    assert_int_equal(fixture.requests, 2);
    assert_keeps_alive(fd);
    close(fd);
}

static void pipelined_requests_are_answered_in_order(void **state) {
    (void)state;
    unsigned count = 1;
    pthread_t thread;
    int fd = dial();
    send_text(fd, "PUT /defer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nxGET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    pthread_create(&thread, NULL, answer_deferred, &count);
    assert_int_equal(receive(fd), 200);
    assert_string_equal(answer.body, "later");
    assert_int_equal(receive(fd), 200);
    assert_non_null(strstr(answer.body, "GET /second"));
    pthread_join(thread, NULL);
    close(fd);
}

/* Without it libmicrohttpd asks again and again for the answer, which looks the same from outside but for the heat. */
static void deferred_connection_is_suspended(void **state) {
    (void)state;
    unsigned count = 1;
    int fd = dial();
    send_text(fd, "PUT /defer HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    wait_for(&fixture.deferred_count, 1);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(fixture.deferred[0]->connection, MHD_CONNECTION_INFO_CONNECTION_SUSPENDED);
    assert_int_equal(info->suspended, MHD_YES);
    assert_null(fixture.deferred[0]->body);
    answer_deferred(&count);
    assert_int_equal(receive(fd), 200);
    close(fd);
}

static void requests_that_break_http_are_refused(void **state) {
    (void)state;
    static const char *const requests[] = {"GET /inspect HTTP/1.1\r\n\r\n", "GET /in spect HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        int fd = dial();
        send_text(fd, requests[i]);
        int status = receive(fd);
        assert_true(status == 400 || status == 0);
        close(fd);
    }
    assert_int_equal(fixture.requests, 0);
}

static void client_that_leaves_while_deferred_is_cleaned_up(void **state) {
    (void)state;
    unsigned count = 1;
    int fd = dial();
    send_text(fd, "PUT /defer HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    wait_for(&fixture.deferred_count, 1);
    assert_int_equal(http_server_active(fixture.server), 1);
    /* A reset rather than a close: the write of the answer fails too. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    answer_deferred(&count);
    wait_for(&fixture.completed, 1);
    assert_true(http_server_wait_idle(fixture.server, 20000));
}

static void client_that_leaves_before_its_body_is_cleaned_up(void **state) {
    (void)state;
    int fd = dial();
    /* The interim answer shows that the headers were read: libmicrohttpd 0.9.75 overlooks an end of stream that comes together
     * with the bytes before it, until the connection's idle timeout. */
    send_text(fd, "PUT /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n");
    assert_int_equal(receive(fd), 100);
    close(fd);
    wait_for(&fixture.completed, 1);
    assert_int_equal(fixture.requests, 0);
}

static void prepared_response_serves_many_and_stays_the_callers(void **state) {
    (void)state;
    fixture.prepared = text_response("prepared");
    for (int i = 0; i < 3; i++) {
        int fd = dial();
        send_text(fd, "GET /shared HTTP/1.1\r\nHost: x\r\n\r\nGET /twice HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(receive(fd), 200);
        assert_string_equal(answer.body, "prepared");
        assert_int_equal(receive(fd), 200);
        assert_string_equal(answer.body, "first"); /* a second answer is a mistake that changes nothing */
        close(fd);
    }
    MHD_destroy_response(fixture.prepared);
}

static void forgotten_answer_is_500(void **state) {
    (void)state;
    int fd = dial();
    send_text(fd, "GET /forget HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(receive(fd), 500);
    assert_string_equal(answer.body, "error 500");
    close(fd);
}

static void quiet_server_refuses_new_connections_and_finishes_old_ones(void **state) {
    (void)state;
    unsigned count = 1;
    int idle = dial(), waiting = dial();
    assert_keeps_alive(idle);
    send_text(waiting, "PUT /defer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    wait_for(&fixture.deferred_count, 1);
    http_server_quiesce(fixture.server);
    assert_int_equal(dial(), -1);
    assert_false(http_server_wait_idle(fixture.server, 1));
    answer_deferred(&count);
    assert_int_equal(receive(waiting), 200);
    assert_true(http_server_wait_idle(fixture.server, 20000));
    assert_int_equal(http_server_active(fixture.server), 0);
    assert_keeps_alive(idle);
    close(idle);
    close(waiting);
}

static void stop_right_after_the_answer_is_safe(void **state) {
    (void)state;
    unsigned count = 1;
    int fd = dial();
    send_text(fd, "PUT /defer HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    wait_for(&fixture.deferred_count, 1);
    answer_deferred(&count);
    http_server_stop(fixture.server); /* the resume may not have been seen yet */
    fixture.server = NULL;
    assert_int_equal(fixture.completed, 1);
    close(fd);
}

static void listen_addresses_are_understood_or_named(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "8080", "127.0.0.1", ":8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "[::1]8080", "[::1:8080", "::1:8080",
        "192.0.2.1:0", /* an address of nobody (RFC 5737) */
    };
    static const char *const right[] = {"*:0", "localhost:0", "127.0.0.1:0"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct error error = {0};
        struct http_server_options options = options_for(wrong[i], 1);
        assert_null(http_server_start(&options, &error));
        assert_non_null(strstr(error.message, wrong[i]));
    }
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        struct error error = {0};
        struct http_server_options options = options_for(right[i], 1);
        fixture.server = http_server_start(&options, &error);
        assert_non_null(fixture.server);
        int fd = dial();
        assert_keeps_alive(fd);
        assert_non_null(strstr(answer.body, "from 127.0.0.1;"));
        char *taken = memory_format("127.0.0.1:%u", http_server_port(fixture.server));
        struct http_server_options second = options_for(taken, 1);
        assert_null(http_server_start(&second, &error));
        assert_int_equal(error.code, ERROR_CONFLICT);
        free(taken);
        close(fd);
        http_server_stop(fixture.server);
    }
}

static void segments_are_decoded_once_and_encoded(void **state) {
    (void)state;
    static const char *const refused[] = {"%", "%2", "%zz", "a%00b", "%-1", "a%"};
    char *text = http_decode_segment("a%2Fb%252F+%c3%A9zzz", 17);
    assert_string_equal(text, "a/b%2F+\xc3\xa9");
    free(text);
    text = http_decode_segment("", 0);
    assert_string_equal(text, "");
    free(text);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_null(http_decode_segment(refused[i], strlen(refused[i])));
    assert_null(http_decode_segment("a%20", 3));
    text = http_encode_segment("a-Z_0.~/ %\xc3\xa9");
    assert_string_equal(text, "a-Z_0.~%2F%20%25%C3%A9");
    free(text);
}

static void read_key(const char *text, unsigned char key[RATE_KEY_SIZE]) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    if (inet_pton(AF_INET6, text, &six.sin6_addr) == 1)
        http_address_key((struct sockaddr *)&six, key);
    else if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
        http_address_key((struct sockaddr *)&four, key);
    else
        fail_msg("%s is no address", text);
}

static void addresses_of_one_customer_are_one_and_others_are_not(void **state) {
    (void)state;
    static const struct {
        const char *one, *other;
        bool same;
    } pairs[] = {
        {"192.0.2.1", "192.0.2.1", true},        {"192.0.2.1", "192.0.2.2", false},
        {"192.0.2.1", "::ffff:192.0.2.1", true}, {"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
        {"2001:db8::1", "2001:db8::2", true},    {"2001:db8:0:0:ffff::1", "2001:db8::", true},
        {"2001:db8::1", "2001:db8:0:1::1", false},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        unsigned char one[RATE_KEY_SIZE], other[RATE_KEY_SIZE];
        read_key(pairs[i].one, one);
        read_key(pairs[i].other, other);
        assert_int_equal(memcmp(one, other, sizeof one) == 0, pairs[i].same);
    }
}

static void retry_after_is_in_whole_seconds_and_never_none(void **state) {
    (void)state;
    static const struct {
        int64_t wait_us;
        const char *text;
    } waits[] = {{0, "1"}, {1, "1"}, {1000000, "1"}, {1000001, "2"}, {3599999999, "3600"}};
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        struct MHD_Response *response = http_response_take(NULL, NULL, 0);
        http_response_retry_after(response, waits[i].wait_us);
        assert_string_equal(MHD_get_response_header(response, "Retry-After"), waits[i].text);
        MHD_destroy_response(response);
    }
}

static void headers_with_line_ends_are_refused(void **state) {
    (void)state;
    struct MHD_Response *response = http_response_take(NULL, NULL, 0);
    http_response_header(response, "X-Good", "v");
    http_response_header(response, "X-Bad", "a\r\nSet-Cookie: x");
    assert_string_equal(MHD_get_response_header(response, "X-Good"), "v");
    assert_null(MHD_get_response_header(response, "X-Bad"));
    MHD_destroy_response(response);
}

int main(void) {
    log_init("test_http", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, stop)
    const struct CMUnitTest tests[] = {
        SERVED(request_is_read_as_it_was_sent),
        SERVED(head_has_the_length_and_no_body),
        SERVED(body_comes_back_whole),
        SERVED(chunked_body_comes_back_whole),
        SERVED(body_over_the_limit_is_413_and_the_connection_goes_on),
        SERVED(length_beyond_all_bounds_is_refused_before_the_body),
        SERVED(endless_chunks_are_cut_off),
        SERVED(early_answer_without_expect_drains_the_body),
        SERVED(early_answer_with_expect_comes_instead_of_continue),
        SERVED(ambiguous_framing_is_refused),
        SERVED(deferred_requests_are_answered_by_another_thread),
        SERVED(answering_inside_the_deferring_handler_works),
        SERVED(resumed_requests_are_handled_again),
        SERVED(resuming_inside_the_deferring_handler_works),
        SERVED(pipelined_requests_are_answered_in_order),
        SERVED(deferred_connection_is_suspended),
        SERVED(requests_that_break_http_are_refused),
        SERVED(client_that_leaves_while_deferred_is_cleaned_up),
        SERVED(client_that_leaves_before_its_body_is_cleaned_up),
        SERVED(prepared_response_serves_many_and_stays_the_callers),
        SERVED(forgotten_answer_is_500),
        SERVED(quiet_server_refuses_new_connections_and_finishes_old_ones),
        SERVED(stop_right_after_the_answer_is_safe),
        cmocka_unit_test(listen_addresses_are_understood_or_named),
        cmocka_unit_test(segments_are_decoded_once_and_encoded),
        cmocka_unit_test(headers_with_line_ends_are_refused),
        cmocka_unit_test(addresses_of_one_customer_are_one_and_others_are_not),
        cmocka_unit_test(retry_after_is_in_whole_seconds_and_never_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
