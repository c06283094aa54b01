/* Reading the clocks, and times as text. The calendar is computed here: timegm() depends on the C library's time zone lock, and
 * strptime() takes much that RFC 3339 does not. */
#include "clock.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

enum { MS_PER_SECOND = 1000, SECONDS_PER_DAY = 86400 };
/* The years 0000 to 9999, which is all that RFC 3339 can write. */
static const int64_t FIRST_MS = -62167219200000, LAST_MS = 253402300799999;

static int64_t read_us(clockid_t which) {
    struct timespec now;
    clock_gettime(which, &now); /* cannot fail for the clocks used here */
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_monotonic_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_monotonic_ms(void) {
    return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_wall_ms(void) {
    return read_us(CLOCK_REALTIME) / 1000;
}

void clock_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct timespec clock_moment(int64_t monotonic_ms) {
    return (struct timespec){.tv_sec = monotonic_ms / MS_PER_SECOND, .tv_nsec = monotonic_ms % MS_PER_SECOND * 1000000};
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar, whose year is taken to begin in March so that the leap
 * day is the last of it. */
static int64_t days_from_date(int64_t year, int month, int day) {
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int *year, int *month, int *day) {
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153; /* months since March */
    *day = (int)(day_of_year - (153 * shifted + 2) / 5 + 1);
    *month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

/* Writes value as width digits; snprintf() would be the slowest part of writing an event. */
static char *put_digits(char *out, int value, int width) {
    for (int i = width - 1; i >= 0; i--, value /= 10)
        out[i] = (char)('0' + value % 10);
    return out + width;
}

const char *clock_format(int64_t wall_ms, char text[CLOCK_TEXT_SIZE]) {
    if (wall_ms < FIRST_MS)
        wall_ms = FIRST_MS;
    if (wall_ms > LAST_MS)
        wall_ms = LAST_MS;
    int64_t seconds = wall_ms / MS_PER_SECOND, fraction = wall_ms % MS_PER_SECOND;
    if (fraction < 0) {
        fraction += MS_PER_SECOND;
        seconds--;
    }
    int64_t days = seconds / SECONDS_PER_DAY, of_day = seconds % SECONDS_PER_DAY;
    if (of_day < 0) {
        of_day += SECONDS_PER_DAY;
        days--;
    }
    int year, month, day;
    date_from_days(days, &year, &month, &day);
    char *out = put_digits(text, year, 4);
    *out++ = '-';
    out = put_digits(out, month, 2);
    *out++ = '-';
    out = put_digits(out, day, 2);
    *out++ = 'T';
    out = put_digits(out, (int)(of_day / 3600), 2);
    *out++ = ':';
    out = put_digits(out, (int)(of_day / 60 % 60), 2);
    *out++ = ':';
    out = put_digits(out, (int)(of_day % 60), 2);
    *out++ = '.';
    out = put_digits(out, (int)fraction, 3);
    *out++ = 'Z';
    *out = '\0';
    return text;
}

/* Takes exactly width digits; the value is checked against the bounds. */
static bool take_number(const char **at, int width, int minimum, int maximum, int *value) {
    int number = 0;
    for (int i = 0; i < width; i++, (*at)++) {
        if (**at < '0' || **at > '9')
            return false;
        number = number * 10 + (**at - '0');
    }
    *value = number;
    return number >= minimum && number <= maximum;
}

static bool take_character(const char **at, char wanted) {
    if (**at != wanted)
        return false;
    (*at)++;
    return true;
}

static int days_in_month(int year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Takes "Z" or an offset; ISO 8601 also knows "+0100" and "+01", which clients do send. */
static bool take_offset(const char **at, int *offset_minutes) {
    *offset_minutes = 0;
    if (take_character(at, 'Z') || take_character(at, 'z'))
        return true;
    int sign = **at == '-' ? -1 : 1, hours, minutes = 0;
    if (!take_character(at, '+') && !take_character(at, '-'))
        return false;
    if (!take_number(at, 2, 0, 23, &hours))
        return false;
    if (take_character(at, ':') || **at != '\0') {
        if (!take_number(at, 2, 0, 59, &minutes))
            return false;
    }
    *offset_minutes = sign * (hours * 60 + minutes);
    return true;
}

int clock_parse(const char *text, int64_t *wall_ms) {
    int year, month, day, hour, minute, second, fraction = 0, offset_minutes;
    const char *at = text;
    if (!take_number(&at, 4, 0, 9999, &year) || !take_character(&at, '-') || !take_number(&at, 2, 1, 12, &month) ||
        !take_character(&at, '-') || !take_number(&at, 2, 1, days_in_month(year, month), &day))
        return -1;
    if (!take_character(&at, 'T') && !take_character(&at, 't') && !take_character(&at, ' '))
        return -1;
    /* A leap second (60) is taken as the first moment of the next minute, as POSIX counts. */
    if (!take_number(&at, 2, 0, 23, &hour) || !take_character(&at, ':') || !take_number(&at, 2, 0, 59, &minute) ||
        !take_character(&at, ':') || !take_number(&at, 2, 0, 60, &second))
        return -1;
    if (take_character(&at, '.') || take_character(&at, ',')) {
        if (*at < '0' || *at > '9')
            return -1;
        for (int scale = 100; *at >= '0' && *at <= '9'; at++, scale /= 10)
            fraction += scale * (*at - '0'); /* finer than a millisecond: scale is 0 by then */
    }
    if (!take_offset(&at, &offset_minutes) || *at != '\0')
        return -1;
    int64_t seconds = days_from_date(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second;
    *wall_ms = (seconds - (int64_t)offset_minutes * 60) * MS_PER_SECOND + fraction;
    return 0;
}
