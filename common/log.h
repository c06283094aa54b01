/* Logging to standard error: one line per event, `key=value` (values quoted when needed) or JSON.
 *
 * Every line starts with time, level and event; the deployment id is on each line that has one. Nothing secret is ever passed
 * to this module. Thread-safe; a line is written with one write(). */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "error.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Call before any thread starts. program (a static string) is on each JSON line. */
void log_init(const char *program, enum log_level level, enum log_format format);
/* The same with what --log-level and --log-format say; ERROR_INVALID names the one that is wrong. */
int log_start(const char *program, const char *level, const char *format, struct error *error) MUST_CHECK;
_Bool log_enabled(enum log_level level);

/* event is a short fixed phrase ("deployment settled"); then pairs of key (a plain word) and string value, ended by NULL.
 * A NULL value leaves the pair out. Numbers: LOG_NUMBER(n). */
void log_write(enum log_level level, const char *event, ...) __attribute__((sentinel));

enum { LOG_NUMBER_SIZE = 24 };
const char *log_number(char out[LOG_NUMBER_SIZE], long long number);
#define LOG_NUMBER(n) log_number((char[LOG_NUMBER_SIZE]){0}, (long long)(n))

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__, NULL)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__, NULL)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__, NULL)
#define log_debug(...)                                                  \
    do {                                                                \
        if (log_enabled(LOG_LEVEL_DEBUG))                               \
            log_write(LOG_LEVEL_DEBUG, __VA_ARGS__, NULL);              \
    } while (0)

#endif
