/* Time. Deadlines use the monotonic clock of this process; wall-clock times are only shown and stored. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t clock_monotonic_ms(void);
/* Microseconds of CLOCK_MONOTONIC, for measuring durations. */
int64_t clock_monotonic_us(void);
/* Milliseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ms(void);

/* Makes a condition whose timed waits are until a moment of CLOCK_MONOTONIC: a turned clock neither ends nor prolongs them. */
void clock_condition_init(pthread_cond_t *condition);
/* That moment, of so many monotonic ms. */
struct timespec clock_moment(int64_t monotonic_ms);

enum { CLOCK_TEXT_SIZE = 32 };
/* Writes wall_ms as RFC 3339 UTC with milliseconds ("2026-01-31T12:00:00.000Z") into text and returns text. */
const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]);
/* Reads an RFC 3339 / ISO 8601 date-time with offset or Z (fraction optional). Returns 0, or -1 when it is not one. */
int clock_parse(const char *text, int64_t *wall_ms);

#endif
