/* Log lines as a reader of standard error sees them, and the metrics page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/metrics.h"

enum { TIME_LENGTH = 24, CAPTURE_SIZE = 1 << 20 };

static int saved_stderr = -1, captured = -1;

/* Standard error goes to a file between these two. */
static int begin(void **state) {
    char path[] = "/tmp/test_log.XXXXXX";
    (void)state;
    saved_stderr = dup(STDERR_FILENO);
    captured = mkstemp(path);
    if (captured < 0 || saved_stderr < 0)
        return -1;
    unlink(path);
    fcntl(captured, F_SETFL, O_APPEND);
    return dup2(captured, STDERR_FILENO) < 0 ? -1 : 0;
}

static int end(void **state) {
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(captured);
    return 0;
}

/* What was written since the last call. */
static const char *written(void) {
    static char text[CAPTURE_SIZE];
    ssize_t length = pread(captured, text, sizeof text - 1, 0);
    assert_true(length >= 0);
    text[length] = '\0';
    assert_int_equal(ftruncate(captured, 0), 0);
    return text;
}

/* One line whose time is a time, without it. */
static const char *line_behind_time(void) {
    const char *text = written();
    char time[TIME_LENGTH + 1];
    int64_t ms;
    assert_true(strlen(text) > TIME_LENGTH);
    memcpy(time, text, TIME_LENGTH);
    time[TIME_LENGTH] = '\0';
    assert_int_equal(clock_parse(time, &ms), 0);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    return text + TIME_LENGTH;
}

static void text_lines_quote_what_needs_it(void **state) {
    (void)state;
    log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_info("settled", "deployment", "0190-ab", "count", LOG_NUMBER(-12), "absent", NULL, "empty", "", "path", "/a/b");
    assert_string_equal(line_behind_time(), " info event=settled deployment=0190-ab count=-12 empty=\"\" path=/a/b\n");
    log_warning("two words", "a", "x y", "b", "q\"q", "c", "a=b", "d", "back\\slash", "e", "line\nend\ttab", "f", "\xc3\xa9");
    assert_string_equal(line_behind_time(), " warning event=\"two words\" a=\"x y\" b=\"q\\\"q\" c=\"a=b\" d=\"back\\\\slash\" "
                                            "e=\"line\\nend\\u0009tab\" f=\"\xc3\xa9\"\n");
}

static void terminals_and_parsers_are_safe_from_values(void **state) {
    (void)state;
    log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_error("x", "escape", "\x1b[31m", "delete", "\x7f", "c1", "\xc2\x9b",
              "bad", "a\xff\xc3(\xed\xa0\x80", "cut", "\xe2\x82");
    assert_string_equal(line_behind_time(), " error event=x escape=\"\\u001b[31m\" delete=\"\\u007f\" c1=\"\\u009b\" "
                                            "bad=\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\" "
                                            "cut=\"\xef\xbf\xbd\xef\xbf\xbd\"\n");
}

static void json_lines_parse(void **state) {
    (void)state;
    log_init("jwk-test", LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_debug("an event", "k", "v\"\\\n\x1b\xff", "n", LOG_NUMBER(5), "absent", NULL);
    cJSON *line = cJSON_Parse(written());
    assert_non_null(line);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "level")), "debug");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "program")), "jwk-test");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "event")), "an event");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "k")), "v\"\\\n\x1b\xef\xbf\xbd");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(line, "n")), "5");
    assert_int_equal(cJSON_GetArraySize(line), 6);
    cJSON_Delete(line);
}

/* Whatever the length of a value, its line is at most 4,096 bytes, whole and parsable. */
static void long_lines_are_cut_and_stay_whole(void **state) {
    (void)state;
    static char value[6000];
    static const char *const characters[] = {"a", "\n", "\"", "\xe2\x82\xac", "\xff", " a"};
    for (size_t c = 0; c < sizeof characters / sizeof *characters; c++)
        for (size_t target = 3900; target < 4200; target += c == 0 ? 1 : 13) {
            value[0] = '\0';
            size_t length = 0, step = strlen(characters[c]);
            while (length + step <= target) {
                memcpy(value + length, characters[c], step + 1);
                length += step;
            }
            log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_JSON);
            log_info("e", "long", value, "behind", "it");
            const char *text = written();
            assert_in_range(strlen(text), 100, 4096);
            assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
            cJSON *line = cJSON_Parse(text);
            assert_non_null(line);
            cJSON_Delete(line);
            log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
            log_info("e", "long", value, "behind", "it");
            text = line_behind_time();
            assert_in_range(strlen(text), 3900, 4096);
            log_info(value, value, value); /* even where there is no room for anything */
            assert_in_range(strlen(line_behind_time()), 1, 4096);
        }
}

static void levels_filter_and_have_names(void **state) {
    (void)state;
    struct error error;
    assert_int_equal(log_start("test", "error", "json", &error), 0);
    log_warning("not shown");
    log_error("shown");
    assert_non_null(strstr(written(), "\"event\":\"shown\""));
    assert_int_equal(log_start("test", "loud", "text", &error), -1);
    assert_string_equal(error.message, "--log-level loud: use error, warning, info or debug");
    assert_int_equal(log_start("test", "info", "xml", &error), -1);
    assert_string_equal(error.message, "--log-format xml: use text or json");
    assert_int_equal(log_start("test", "warning", "text", &error), 0);
    assert_true(log_enabled(LOG_LEVEL_ERROR) && log_enabled(LOG_LEVEL_WARNING));
    assert_false(log_enabled(LOG_LEVEL_INFO) || log_enabled(LOG_LEVEL_DEBUG));
    log_info("not shown");
    log_debug("not shown");
    assert_string_equal(written(), "");
}

enum { THREADS = 4, LINES = 500 };

static void *write_lines(void *argument) {
    for (int i = 0; i < LINES; i++)
        log_info("line of a thread", "thread", argument, "number", LOG_NUMBER(i));
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state) {
    (void)state;
    static char names[THREADS][2] = {"0", "1", "2", "3"};
    int next[THREADS] = {0};
    pthread_t threads[THREADS];
    log_init("test", LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    char *copy = strdup(written()), *rest = copy, *line;
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        int thread, number, used = 0;
        static const char form[] = " info event=\"line of a thread\" thread=%d number=%d%n";
        assert_int_equal(sscanf(line + TIME_LENGTH, form, &thread, &number, &used), 2);
        assert_int_equal(line[TIME_LENGTH + used], '\0');
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(number, next[thread]++);
    }
    free(copy);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES);
}

static void metrics_are_in_the_prometheus_format(void **state) {
    (void)state;
    static struct metric applied = {
        .name = "jwk_total", .labels = "result=\"applied\"", .help = "Back\\slash\nline.", .type = METRIC_COUNTER};
    static struct metric failed = {.name = "jwk_total", .labels = "result=\"failed\"", .help = "", .type = METRIC_COUNTER};
    static struct metric waiting = {.name = "jwk_waiting", .help = "Waiting.", .type = METRIC_GAUGE};
    struct text page = TEXT_EMPTY;
    metrics_register(&applied);
    metrics_register(&failed);
    metrics_register(&waiting);
    metric_add(&applied, 2);
    metric_add(&applied, 1);
    metric_set(&waiting, -4);
    assert_int_equal(metric_value(&applied), 3);
    metrics_write(&page);
    static const char expected[] = "# HELP jwk_total Back\\\\slash\\nline.\n# TYPE jwk_total counter\n"
                                   "jwk_total{result=\"applied\"} 3\njwk_total{result=\"failed\"} 0\n"
                                   "# HELP jwk_waiting Waiting.\n# TYPE jwk_waiting gauge\njwk_waiting -4\n";
    assert_memory_equal(page.bytes, expected, sizeof expected - 1);
    static const char *const own[] = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                                      "process_start_time_seconds"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        char line[64];
        snprintf(line, sizeof line, "\n%s ", own[i]);
        const char *at = strstr(page.bytes, line);
        assert_non_null(at);
        assert_true(strtod(at + strlen(line), NULL) > 0);
    }
    assert_int_equal(page.bytes[page.length - 1], '\n');
    text_free(&page);
}

static void values_of_labels_may_be_any_text(void **state) {
    (void)state;
    struct text page = TEXT_EMPTY;
    metrics_write_head(&page, "jwk_some", "\"Some\".", METRIC_GAUGE);
    metrics_write_value(&page, "jwk_some", (const char *const[]){"name", "a \"b\" \\ \n {c}", "state", "\xc3\xa9", NULL}, 5);
    metrics_write_value(&page, "jwk_some", NULL, -1);
    assert_string_equal(page.bytes, "# HELP jwk_some \"Some\".\n# TYPE jwk_some gauge\n"
                                    "jwk_some{name=\"a \\\"b\\\" \\\\ \\n {c}\",state=\"\xc3\xa9\"} 5\njwk_some -1\n");
    text_free(&page);
}

int main(void) {
#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        CAPTURED(text_lines_quote_what_needs_it),
        CAPTURED(terminals_and_parsers_are_safe_from_values),
        CAPTURED(json_lines_parse),
        CAPTURED(long_lines_are_cut_and_stay_whole),
        CAPTURED(levels_filter_and_have_names),
        CAPTURED(lines_of_threads_do_not_mix),
        cmocka_unit_test(metrics_are_in_the_prometheus_format),
        cmocka_unit_test(values_of_labels_may_be_any_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
