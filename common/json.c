/* Strict JSON: one pass over the bytes says whether they are I-JSON within our limits, and only then does cJSON build the
 * tree.
 *
 * What cJSON 1.7.15 would do on its own: keep duplicate members, cut a string at NUL, take invalid UTF-8, control
 * characters, a BOM and numbers such as 01 or 1., read at most 63 characters of a number, and stop before trailing bytes. */
#include "common/json.h"

#include <math.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "common/json_plain.h"
#include "common/memory.h"

/* cJSON copies a number into 64 bytes and leaves the rest of a longer one in the input. */
enum { NUMBER_LENGTH_MAX = 63 };
/* Up to here comparing each pair of names is faster than sorting them, and needs no memory. */
enum { PAIRWISE_MAX = 16 };

struct scanner {
    const unsigned char *start, *at, *end;
    struct error *error;
};

/* Refuses the byte at `position`, named by line and column (in bytes, from 1), as editors count. */
static int refuse_at(const struct scanner *scanner, const unsigned char *position, const char *what) {
    size_t line = 1;
    const unsigned char *line_start = scanner->start;
    for (const unsigned char *byte = scanner->start; byte < position; byte++) {
        if (*byte == '\n') {
            line++;
            line_start = byte + 1;
        }
    }
    return error_set(scanner->error, ERROR_INVALID, "Not valid JSON at line %zu, column %zu: %s", line,
                     (size_t)(position - line_start) + 1, what);
}

static int refuse(const struct scanner *scanner, const char *what) {
    return refuse_at(scanner, scanner->at, what);
}

/* The length of the UTF-8 sequence at `at`, or 0 when there is no valid one (RFC 3629: no overlong form, no surrogate, nothing
 * above U+10FFFF). */
static size_t utf8_sequence(const unsigned char *at, const unsigned char *end) {
    unsigned char first = *at;
    size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || (size_t)(end - at) < length)
        return 0;
    if (length == 1)
        return 1;
    unsigned char lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < lowest || at[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    return length;
}

bool json_utf8_is_valid(const char *bytes, size_t length) {
    const unsigned char *at = (const unsigned char *)bytes, *end = at + length;
    while (at < end) {
        size_t sequence = *at == 0 ? 0 : utf8_sequence(at, end);
        if (sequence == 0)
            return false;
        at += sequence;
    }
    return true;
}

/* The four hex digits of \uXXXX, or -1. */
static long scan_hex(const unsigned char *at, const unsigned char *end) {
    if (end - at < 4)
        return -1;
    long value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = OPENSSL_hexchar2int(at[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* An escape; at stands on its backslash. */
static int scan_escape(struct scanner *scanner) {
    const unsigned char *escape = scanner->at++;
    if (scanner->at == scanner->end)
        return refuse(scanner, "a string is not closed");
    unsigned char kind = *scanner->at++;
    if (kind != 'u')
        return kind != 0 && strchr("\"\\/bfnrt", kind) ? 0 : refuse_at(scanner, escape, "an unknown escape in a string");

    long value = scan_hex(scanner->at, scanner->end);
    if (value < 0)
        return refuse_at(scanner, escape, "\\u is not followed by four hex digits");
    if (value == 0)
        return refuse_at(scanner, escape, "a string holds a NUL character");
    scanner->at += 4;
    if (value >= 0xdc00 && value <= 0xdfff)
        return refuse_at(scanner, escape, "a string holds a lone surrogate");
    if (value >= 0xd800 && value <= 0xdbff) {
        long low = scanner->end - scanner->at >= 2 && scanner->at[0] == '\\' && scanner->at[1] == 'u'
                       ? scan_hex(scanner->at + 2, scanner->end)
                       : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return refuse_at(scanner, escape, "a string holds a lone surrogate");
        scanner->at += 6;
    }
    return 0;
}

/* A string; at stands on its opening quote, and behind its closing one afterwards. */
static int scan_string(struct scanner *scanner) {
    const unsigned char *opening = scanner->at++;
    while (scanner->at < scanner->end) {
        scanner->at += json_plain_length(scanner->at, (size_t)(scanner->end - scanner->at));
        if (scanner->at == scanner->end)
            break;
        unsigned char byte = *scanner->at;
        if (byte == '"') {
            scanner->at++;
            return 0;
        }
        if (byte == '\\') {
            if (scan_escape(scanner) < 0)
                return -1;
            continue;
        }
        if (byte < 0x20)
            return refuse(scanner, byte == 0 ? "a string holds a NUL character" : "a string holds a raw control character");
        size_t sequence = utf8_sequence(scanner->at, scanner->end);
        if (sequence == 0)
            return refuse(scanner, "invalid UTF-8");
        scanner->at += sequence;
    }
    return refuse_at(scanner, opening, "a string is not closed");
}

static bool is_digit(const struct scanner *scanner) {
    return scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9';
}

/* Whether a number of valid grammar is at most 2^53 - 1 in magnitude and does not vanish in a double: judged by its digits,
 * since a conversion would have rounded already. Its exponent has at most NUMBER_LENGTH_MAX digits. */
static bool number_fits(const unsigned char *number, const unsigned char *end) {
    enum { DIGITS = 16, SMALLEST = -300 };
    uint64_t significant = 0; /* the first 16 digits from the first that is not zero on */
    bool rest = false;        /* whether one behind them is not zero */
    int digits = 0;
    long integer_digits = 0;  /* where the decimal point stands, counted from that first digit */
    bool fraction = false;
    for (; number < end && *number != 'e' && *number != 'E'; number++) {
        if (*number == '.') {
            fraction = true;
        } else if (*number != '-') {
            if (digits > 0 || *number != '0') {
                if (digits < DIGITS)
                    significant = significant * 10 + (uint64_t)(*number - '0');
                else
                    rest |= *number != '0';
                digits++;
                integer_digits += !fraction;
            } else {
                integer_digits -= fraction;
            }
        }
    }
    if (digits == 0)
        return true;
    long exponent = 0;
    if (number < end) {
        bool negative = number[1] == '-';
        for (number += 1 + (number[1] == '-' || number[1] == '+'); number < end; number++)
            exponent = exponent > 100000 ? exponent : exponent * 10 + (*number - '0');
        exponent = negative ? -exponent : exponent;
    }
    integer_digits += exponent;
    for (; digits < DIGITS; digits++)
        significant *= 10;
    return integer_digits > SMALLEST &&
           (integer_digits < DIGITS || (integer_digits == DIGITS && significant + rest <= 9007199254740991U));
}

static int scan_number(struct scanner *scanner) {
    const unsigned char *number = scanner->at;
    scanner->at += *scanner->at == '-';
    if (!is_digit(scanner))
        return refuse_at(scanner, number, "a number has no digits");
    if (*scanner->at == '0') {
        scanner->at++;
        if (is_digit(scanner))
            return refuse_at(scanner, number, "a number begins with a needless 0");
    }
    while (is_digit(scanner))
        scanner->at++;
    if (scanner->at < scanner->end && *scanner->at == '.') {
        scanner->at++;
        if (!is_digit(scanner))
            return refuse_at(scanner, number, "a number has no digit behind its decimal point");
        while (is_digit(scanner))
            scanner->at++;
    }
    if (scanner->at < scanner->end && (*scanner->at | 0x20) == 'e') {
        scanner->at++;
        if (scanner->at < scanner->end && (*scanner->at == '+' || *scanner->at == '-'))
            scanner->at++;
        if (!is_digit(scanner))
            return refuse_at(scanner, number, "a number has no digit in its exponent");
        while (is_digit(scanner))
            scanner->at++;
    }
    if (scanner->at - number > NUMBER_LENGTH_MAX)
        return refuse_at(scanner, number, "a number has too many digits");
    if (!number_fits(number, scanner->at))
        return refuse_at(scanner, number, "a number is beyond what every reader keeps exactly (2^53 - 1)");
    return 0;
}

static int scan_literal(struct scanner *scanner, const char *literal) {
    size_t length = strlen(literal);
    if ((size_t)(scanner->end - scanner->at) < length || memcmp(scanner->at, literal, length) != 0)
        return refuse(scanner, "a value is expected");
    scanner->at += length;
    return 0;
}

/* A value that holds no others. */
static int scan_scalar(struct scanner *scanner) {
    switch (*scanner->at) {
    case '"':
        return scan_string(scanner);
    case 't':
        return scan_literal(scanner, "true");
    case 'f':
        return scan_literal(scanner, "false");
    case 'n':
        return scan_literal(scanner, "null");
    default:
        if (*scanner->at == '-' || is_digit(scanner))
            return scan_number(scanner);
        return refuse(scanner, "a value is expected");
    }
}

static void skip_space(struct scanner *scanner) {
    while (scanner->at < scanner->end &&
           (*scanner->at == ' ' || *scanner->at == '\n' || *scanner->at == '\r' || *scanner->at == '\t'))
        scanner->at++;
}

/* A member's name and its colon. */
static int scan_name(struct scanner *scanner) {
    if (scanner->at == scanner->end || *scanner->at != '"')
        return refuse(scanner, "a member's name is expected");
    if (scan_string(scanner) < 0)
        return -1;
    skip_space(scanner);
    if (scanner->at == scanner->end || *scanner->at != ':')
        return refuse(scanner, "a colon is expected");
    scanner->at++;
    skip_space(scanner);
    return 0;
}

/* One text. The open objects and arrays are kept in a small array instead of on the call stack: their depth is bounded
 * anyway. */
static int scan(struct scanner *scanner) {
    struct {
        unsigned char closing;
        int count;
    } open[JSON_DEPTH_MAX];
    int depth = 0, values = 0;

    if (scanner->end - scanner->at >= 3 && memcmp(scanner->at, "\xef\xbb\xbf", 3) == 0)
        return refuse(scanner, "it begins with a byte order mark");
    skip_space(scanner);
    for (;;) {
        /* Here a value begins. */
        if (scanner->at == scanner->end)
            return refuse(scanner, "it ends where a value is expected");
        if (values++ == JSON_VALUES_MAX)
            return refuse(scanner, "it has too many values");
        if (*scanner->at == '{' || *scanner->at == '[') {
            if (depth == JSON_DEPTH_MAX)
                return refuse(scanner, "it is nested too deep");
            open[depth].closing = *scanner->at == '{' ? '}' : ']';
            open[depth].count = 1;
            scanner->at++;
            skip_space(scanner);
            if (scanner->at == scanner->end || *scanner->at != open[depth].closing) {
                if (open[depth].closing == '}' && scan_name(scanner) < 0)
                    return -1;
                depth++;
                continue;
            }
            scanner->at++;
        } else if (scan_scalar(scanner) < 0) {
            return -1;
        }

        /* Here a value has ended: close what ends with it, or go on behind a comma. */
        for (;;) {
            skip_space(scanner);
            if (depth == 0)
                return scanner->at == scanner->end ? 0 : refuse(scanner, "something stands behind its end");
            if (scanner->at == scanner->end)
                return refuse(scanner, open[depth - 1].closing == '}' ? "an object is not closed" : "an array is not closed");
            if (*scanner->at != open[depth - 1].closing)
                break;
            scanner->at++;
            depth--;
        }
        if (*scanner->at != ',')
            return refuse(scanner, open[depth - 1].closing == '}' ? "a comma or } is expected" : "a comma or ] is expected");
        if (open[depth - 1].count++ == JSON_MEMBERS_MAX)
            return refuse(scanner, "an object or array has too many entries");
        scanner->at++;
        skip_space(scanner);
        if (open[depth - 1].closing == '}' && scan_name(scanner) < 0)
            return -1;
    }
}

const char *json_shown(const char *text, char out[JSON_SHOWN_SIZE]) {
    static const char dots[] = "...";
    size_t length = 0;
    for (; length < JSON_SHOWN_SIZE - sizeof dots && text[length]; length++)
        out[length] = (unsigned char)text[length] < 0x20 || text[length] == 0x7f ? '?' : text[length];
    if (text[length]) {
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
            length--;
        memcpy(out + length, dots, sizeof dots);
    } else {
        out[length] = '\0';
    }
    return out;
}

static int refuse_duplicate(const char *name, struct error *error) {
    char shown[JSON_SHOWN_SIZE];
    return error_set(error, ERROR_INVALID, "Not valid JSON: the member \"%s\" stands twice in one object",
                     json_shown(name, shown));
}

static int compare_names(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static int refuse_duplicates_sorted(const cJSON *object, size_t count, struct error *error) {
    const char **names = memory_new(count * sizeof *names);
    size_t next = 0;
    const cJSON *member;
    cJSON_ArrayForEach (member, object)
        names[next++] = member->string;
    qsort(names, count, sizeof *names, compare_names);
    int result = 0;
    for (size_t i = 1; i < count && result == 0; i++) {
        if (strcmp(names[i - 1], names[i]) == 0)
            result = refuse_duplicate(names[i], error);
    }
    free(names);
    return result;
}

/* Looks for duplicate names in the tree, where escapes are resolved: "kid" and "\u006bid" are one name. */
static int refuse_duplicates(const cJSON *value, struct error *error) {
    size_t count = 0;
    const cJSON *member;
    cJSON_ArrayForEach (member, value) {
        count++;
        if (member->child && refuse_duplicates(member, error) < 0)
            return -1;
    }
    if (!cJSON_IsObject(value))
        return 0;
    if (count > PAIRWISE_MAX)
        return refuse_duplicates_sorted(value, count, error);
    cJSON_ArrayForEach (member, value) {
        for (const cJSON *other = value->child; other != member; other = other->next) {
            /* Most names differ in their first letter already, and the call is what costs. */
            if (other->string[0] == member->string[0] && strcmp(other->string, member->string) == 0)
                return refuse_duplicate(member->string, error);
        }
    }
    return 0;
}

cJSON *json_parse(const char *bytes, size_t length, struct error *error) {
    struct scanner scanner = {.start = (const unsigned char *)bytes, .error = error};
    scanner.at = scanner.start;
    scanner.end = scanner.start + length;
    if (scan(&scanner) < 0)
        return NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(bytes, length, NULL, false);
    if (!tree) {
        error_set(error, ERROR_INVALID, "Not valid JSON");
        return NULL;
    }
    if (refuse_duplicates(tree, error) < 0) {
        json_wipe(tree);
        return NULL;
    }
    return tree;
}

static void wipe_strings(cJSON *value) {
    for (; value; value = value->next) {
        if (value->valuestring)
            OPENSSL_cleanse(value->valuestring, strlen(value->valuestring));
        wipe_strings(value->child);
    }
}

void json_wipe(cJSON *tree) {
    wipe_strings(tree);
    cJSON_Delete(tree);
}

/* The member, when it is there. Absent and required is the error that it returns. */
static int find_member(const cJSON *object, const char *name, bool required, const cJSON **member, struct error *error) {
    *member = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!*member && required)
        return error_set(error, ERROR_INVALID, "Member \"%s\" is required", name);
    return 0;
}

static int refuse_type(const char *name, const char *type, struct error *error) {
    return error_set(error, ERROR_INVALID, "Member \"%s\" must be %s", name, type);
}

int json_get_string(const cJSON *object, const char *name, bool required, const char **value, struct error *error) {
    const cJSON *member;
    if (find_member(object, name, required, &member, error) < 0)
        return -1;
    if (!member)
        return 0;
    if (!cJSON_IsString(member))
        return refuse_type(name, "a string", error);
    *value = member->valuestring;
    return 0;
}

int json_get_integer(const cJSON *object, const char *name, bool required, int64_t minimum, int64_t maximum, int64_t *value,
                     struct error *error) {
    const cJSON *member;
    if (find_member(object, name, required, &member, error) < 0)
        return -1;
    if (!member)
        return 0;
    if (!cJSON_IsNumber(member) || trunc(member->valuedouble) != member->valuedouble)
        return refuse_type(name, "an integer", error);
    /* Exact: json_parse() has refused whatever a double does not hold. */
    int64_t integer = (int64_t)member->valuedouble;
    if (integer < minimum || integer > maximum)
        return error_set(error, ERROR_INVALID, "Member \"%s\" must be from %lld to %lld", name, (long long)minimum,
                         (long long)maximum);
    *value = integer;
    return 0;
}

int json_get_boolean(const cJSON *object, const char *name, bool required, bool *value, struct error *error) {
    const cJSON *member;
    if (find_member(object, name, required, &member, error) < 0)
        return -1;
    if (!member)
        return 0;
    if (!cJSON_IsBool(member))
        return refuse_type(name, "true or false", error);
    *value = cJSON_IsTrue(member);
    return 0;
}

int json_get_object(const cJSON *object, const char *name, bool required, const cJSON **value, struct error *error) {
    const cJSON *member;
    if (find_member(object, name, required, &member, error) < 0)
        return -1;
    if (!member)
        return 0;
    if (!cJSON_IsObject(member))
        return refuse_type(name, "an object", error);
    *value = member;
    return 0;
}

int json_get_array(const cJSON *object, const char *name, bool required, const cJSON **value, struct error *error) {
    const cJSON *member;
    if (find_member(object, name, required, &member, error) < 0)
        return -1;
    if (!member)
        return 0;
    if (!cJSON_IsArray(member))
        return refuse_type(name, "an array", error);
    *value = member;
    return 0;
}

int json_refuse_unknown(const cJSON *object, const char *const *known, struct error *error) {
    const cJSON *member;
    cJSON_ArrayForEach (member, object) {
        const char *const *name = known;
        while (*name && strcmp(*name, member->string) != 0)
            name++;
        if (!*name) {
            char shown[JSON_SHOWN_SIZE];
            return error_set(error, ERROR_INVALID, "Unknown member \"%s\"", json_shown(member->string, shown));
        }
    }
    return 0;
}
