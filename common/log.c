/* One line per event to standard error. The line is built in a buffer on the stack and written at once, so that lines of
 * several threads and processes never mix, and so that logging needs no lock and no memory. */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

/* Set by log_init() before threads start, only read afterwards. */
static struct {
    const char *program;
    enum log_level level;
    enum log_format format;
} settings = {"", LOG_LEVEL_INFO, LOG_FORMAT_TEXT};

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const format_names[] = {"text", "json"};

/* Longer lines are cut: PIPE_BUF is what a pipe takes at once without mixing. */
enum { LINE_SIZE = 4096 };

struct line {
    char bytes[LINE_SIZE];
    size_t length;
    size_t limit; /* room is kept behind it for what closes the line: a quote may stand there already */
    bool cut;
};

void log_init(const char *program, enum log_level level, enum log_format format) {
    settings.program = program;
    settings.level = level;
    settings.format = format;
}

static int find_name(const char *const *names, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

int log_start(const char *program, const char *level, const char *format, struct error *error) {
    int level_found = find_name(level_names, sizeof level_names / sizeof *level_names, level);
    int format_found = find_name(format_names, sizeof format_names / sizeof *format_names, format);
    if (level_found < 0)
        return error_set(error, ERROR_INVALID, "--log-level %s: use error, warning, info or debug", level);
    if (format_found < 0)
        return error_set(error, ERROR_INVALID, "--log-format %s: use text or json", format);
    log_init(program, (enum log_level)level_found, (enum log_format)format_found);
    return 0;
}

_Bool log_enabled(enum log_level level) {
    return level <= settings.level;
}

const char *log_number(char out[LOG_NUMBER_SIZE], long long number) {
    snprintf(out, LOG_NUMBER_SIZE, "%lld", number);
    return out;
}

/* Adds all of the bytes or none, so that an escape or a character is never cut in half. */
static void put(struct line *line, const char *bytes, size_t length) {
    if (line->cut || line->length + length > line->limit) {
        line->cut = true;
        return;
    }
    memcpy(line->bytes + line->length, bytes, length);
    line->length += length;
}

static void put_string(struct line *line, const char *string) {
    put(line, string, strlen(string));
}

/* The length of the well-formed UTF-8 character at text (RFC 3629), or 0. */
static size_t character_length(const unsigned char *text) {
    unsigned char lead = text[0], low = 0x80, high = 0xbf;
    size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xbf)
        if (text[i] < low || text[i] > high) /* a NUL ends here too */
            return 0;
    return length;
}

/* Values come from outside (a client's user agent, a broker's message): whatever they hold, a line stays one line of valid
 * UTF-8, and a terminal is never sent a control character. */
static void put_escaped(struct line *line, const char *value) {
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0' && !line->cut;) {
        size_t length = character_length(at);
        char escape[8];
        if (length == 0) {
            put_string(line, "\xef\xbf\xbd"); /* U+FFFD */
            length = 1;
        } else if (*at == '"' || *at == '\\') {
            escape[0] = '\\';
            escape[1] = (char)*at;
            put(line, escape, 2);
        } else if (*at == '\n') {
            put(line, "\\n", 2);
        } else if (*at < 0x20 || *at == 0x7f) {
            snprintf(escape, sizeof escape, "\\u%04x", *at);
            put(line, escape, 6);
        } else if (length == 2 && at[0] == 0xc2 && at[1] < 0xa0) { /* C1 control characters */
            snprintf(escape, sizeof escape, "\\u%04x", at[1]);
            put(line, escape, 6);
        } else {
            put(line, (const char *)at, length);
        }
        at += length;
    }
}

static bool needs_quotes(const char *value) {
    if (*value == '\0')
        return true;
    for (; *value != '\0'; value++)
        if (*value <= ' ' || *value >= 0x7f || *value == '"' || *value == '\\' || *value == '=')
            return true; /* char is signed here: bytes beyond ASCII are below ' ' */
    return false;
}

/* Writes the value between quotes, behind what begins at before. When not even the opening quote went in, all of it is taken
 * back; otherwise a value that was cut is closed, for which room is kept behind the limit. */
static void put_quoted(struct line *line, const char *value, size_t before) {
    put(line, "\"", 1);
    if (line->cut) {
        line->length = before;
        return;
    }
    put_escaped(line, value);
    line->bytes[line->length++] = '"';
}

static void put_text_pair(struct line *line, const char *key, const char *value) {
    size_t before = line->length;
    put(line, " ", 1);
    put_string(line, key);
    put(line, "=", 1);
    /* A value that is too long for the line takes the quoted way, which can cut it. */
    if (!line->cut && !needs_quotes(value) && line->length + strlen(value) <= line->limit)
        put_string(line, value);
    else
        put_quoted(line, value, before);
}

static void put_json_pair(struct line *line, const char *key, const char *value) {
    size_t before = line->length;
    put_string(line, line->length > 1 ? ",\"" : "\"");
    put_string(line, key);
    put_string(line, "\":");
    put_quoted(line, value, before);
}

/* Standard error may be a pipe that is full and non-blocking: waits for room rather than losing half a line. */
static void write_line(const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, bytes, length);
        if (written >= 0) {
            bytes += written;
            length -= (size_t)written;
        } else if (errno == EAGAIN) {
            poll(&(struct pollfd){.fd = STDERR_FILENO, .events = POLLOUT}, 1, -1);
        } else if (errno != EINTR) {
            return; /* nobody reads the log any more, and there is nowhere else to say so */
        }
    }
}

void log_write(enum log_level level, const char *event, ...) {
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    struct line line = {.limit = LINE_SIZE - 16};
    char time[CLOCK_TEXT_SIZE];
    bool json = settings.format == LOG_FORMAT_JSON;
    void (*put_pair)(struct line *, const char *, const char *) = json ? put_json_pair : put_text_pair;
    clock_format(clock_wall_ms(), time);
    if (json) {
        put(&line, "{", 1);
        put_pair(&line, "time", time);
        put_pair(&line, "level", level_names[level]);
        put_pair(&line, "program", settings.program);
        put_pair(&line, "event", event);
    } else {
        put_string(&line, time);
        put(&line, " ", 1);
        put_string(&line, level_names[level]);
        put_pair(&line, "event", event);
    }
    va_list pairs;
    va_start(pairs, event);
    for (const char *key = va_arg(pairs, const char *); key != NULL && !line.cut; key = va_arg(pairs, const char *)) {
        const char *value = va_arg(pairs, const char *);
        if (value != NULL)
            put_pair(&line, key, value);
    }
    va_end(pairs);
    if (json)
        line.bytes[line.length++] = '}';
    line.bytes[line.length++] = '\n';
    write_line(line.bytes, line.length);
    errno = saved_errno;
}
