/* The kinds of option values: their text, their range, their place in the settings. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "options_internal.h"

struct unit {
    const char *name;
    long factor;
};

/* Largest first, so that a bound is shown in the largest unit that fits. A bare number is in the last one. */
static const struct unit duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {{"G", 1L << 30}, {"M", 1L << 20}, {"k", 1L << 10}, {"K", 1L << 10}, {"", 1}};
static const struct unit plain_units[] = {{"", 1}};

static const struct unit *units_of(const struct option_spec *option, size_t *count) {
    switch (option->type) {
        case OPTION_DURATION: *count = sizeof duration_units / sizeof *duration_units; return duration_units;
        case OPTION_SIZE: *count = sizeof size_units / sizeof *size_units; return size_units;
        default: *count = 1; return plain_units;
    }
}

static void *place_of(const struct option_spec *option, void *settings) {
    return (char *)settings + option->offset;
}

static long minimum_of(const struct option_spec *option) {
    /* A table that sets no bounds for an integer means none. */
    return option->type == OPTION_INTEGER && option->minimum == 0 && option->maximum == 0 ? LONG_MIN : option->minimum;
}

static long maximum_of(const struct option_spec *option) {
    return option->maximum == 0 ? LONG_MAX : option->maximum;
}

static void write_number(const struct option_spec *option, long number, char *out, size_t size) {
    size_t count, i = 0;
    const struct unit *units = units_of(option, &count);
    while (i + 1 < count && (number == 0 || number % units[i].factor != 0))
        i++;
    snprintf(out, size, "%ld%s", number / units[i].factor, units[i].name);
}

const char *option_value_bounds(const struct option_spec *option, char out[OPTION_TEXT_SIZE]) {
    char low[32], high[32];
    long minimum = minimum_of(option), maximum = maximum_of(option);
    write_number(option, minimum, low, sizeof low);
    write_number(option, maximum, high, sizeof high);
    if (maximum != LONG_MAX)
        snprintf(out, OPTION_TEXT_SIZE, "between %s and %s", low, high);
    else if (minimum != LONG_MIN)
        snprintf(out, OPTION_TEXT_SIZE, "at least %s", low);
    else
        out[0] = '\0';
    return out;
}

static const char *kind_of(const struct option_spec *option) {
    switch (option->type) {
        case OPTION_DURATION: return "a duration such as 250ms, 10s, 5m, 2h or 30d";
        case OPTION_SIZE: return "a size such as 4096, 64k, 1M or 2G";
        default: return "a whole number";
    }
}

/* Digits, then one of the units; a bare number has the factor 1, but a duration other than 0 must say its unit. */
static bool read_number(const struct option_spec *option, const char *text, long *number, bool *overflows) {
    char *end;
    bool negative = option->type == OPTION_INTEGER && text[0] == '-';
    if (text[negative] < '0' || text[negative] > '9')
        return false;
    errno = 0;
    *number = strtol(text, &end, 10);
    *overflows = errno == ERANGE;
    if (*end == '\0')
        return option->type != OPTION_DURATION || *number == 0;
    size_t count;
    const struct unit *units = units_of(option, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(end, units[i].name) == 0) {
            *overflows = *overflows || __builtin_mul_overflow(*number, units[i].factor, number);
            return true;
        }
    return false;
}

static int parse_number(const struct option_spec *option, const char *text, long *number, struct error *error) {
    char bounds[OPTION_TEXT_SIZE];
    bool overflows = false;
    if (!read_number(option, text, number, &overflows))
        return error_set(error, ERROR_INVALID, "\"%s\" is not %s", text, kind_of(option));
    if (overflows && maximum_of(option) == LONG_MAX)
        return error_set(error, ERROR_INVALID, "\"%s\" is too large", text);
    if (overflows || *number < minimum_of(option) || *number > maximum_of(option))
        return error_set(error, ERROR_INVALID, "\"%s\" is out of range: it must be %s", text,
                         option_value_bounds(option, bounds));
    return 0;
}

static int parse_flag(const char *text, bool *flag, struct error *error) {
    *flag = strcmp(text, "true") == 0;
    if (!*flag && strcmp(text, "false") != 0)
        return error_set(error, ERROR_INVALID, "\"%s\" is neither true nor false", text);
    return 0;
}

int option_value_check(const struct option_spec *option, const char *text, struct error *error) {
    bool flag;
    long number;
    switch (option->type) {
        case OPTION_FLAG: return parse_flag(text, &flag, error);
        case OPTION_STRING:
        case OPTION_LIST: return 0;
        default: return parse_number(option, text, &number, error);
    }
}

int option_value_store(const struct option_spec *option, const char *text, void *settings, struct error *error) {
    void *place = place_of(option, settings);
    switch (option->type) {
        case OPTION_FLAG: return parse_flag(text, place, error);
        case OPTION_STRING:
            option_value_free(option, settings);
            *(char **)place = memory_string(text);
            return 0;
        case OPTION_LIST: {
            struct option_list *list = place;
            list->items = memory_resize(list->items, (list->count + 1) * sizeof *list->items);
            list->items[list->count++] = memory_string(text);
            return 0;
        }
        default: return parse_number(option, text, place, error);
    }
}

int option_value_split(const struct option_spec *option, const char *text, void *settings, struct error *error) {
    static const char white[] = " \t\r\n";
    if (option->type != OPTION_LIST)
        return option_value_store(option, text, settings, error);
    for (const char *at = text + strspn(text, white); *at != '\0'; at += strspn(at, white)) {
        bool quoted = *at == '"';
        at += quoted;
        size_t length = strcspn(at, quoted ? "\"" : white);
        if (quoted && (at[length] == '\0' || strchr(white, at[length + 1]) == NULL))
            return error_set(error, ERROR_INVALID, "an item begins with a double quote that does not end it");
        char *item = memory_bytes(at, length);
        int result = option_value_store(option, item, settings, error);
        free(item);
        if (result != 0)
            return result;
        at += length + quoted;
    }
    return 0;
}

void option_value_free(const struct option_spec *option, void *settings) {
    void *place = place_of(option, settings);
    /* Strings may be passwords (of the broker, for one), hence the wiping. */
    if (option->type == OPTION_STRING) {
        memory_wipe_string(*(char **)place);
        *(char **)place = NULL;
    } else if (option->type == OPTION_LIST) {
        struct option_list *list = place;
        for (size_t i = 0; i < list->count; i++)
            memory_wipe_string(list->items[i]);
        free(list->items);
        *list = (struct option_list){0};
    }
}
