/* A tree back to compact JSON, with every number as it was.
 *
 * cJSON 1.7.15 prints numbers to fifteen digits when that is "equal" within its own tolerance: 9007199254740991 comes out as
 * 9.00719925474099e+15, another number. Its buffer also grows by realloc(), which leaves pieces of a secret behind. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/text.h"

enum { NUMBER_SIZE = 32 };

/* The shortest text that reads back as the same double. */
static void write_number(struct text *out, const char *name, double value) {
    char digits[NUMBER_SIZE];
    if (value == trunc(value) && fabs(value) <= 9007199254740992.0) {
        snprintf(digits, sizeof digits, "%.0f", value);
    } else {
        int precision = 15;
        do
            snprintf(digits, sizeof digits, "%.*g", precision, value);
        while (precision++ < 17 && strtod(digits, NULL) != value);
    }
    text_json_raw(out, name, digits);
}

void json_write(struct text *out, const char *name, const cJSON *value) {
    if (cJSON_IsString(value)) {
        text_json_string(out, name, value->valuestring);
    } else if (cJSON_IsNumber(value)) {
        write_number(out, name, value->valuedouble);
    } else if (cJSON_IsBool(value)) {
        text_json_boolean(out, name, cJSON_IsTrue(value));
    } else if (cJSON_IsNull(value)) {
        text_json_null(out, name);
    } else {
        bool is_object = cJSON_IsObject(value);
        const cJSON *child;
        text_json_open(out, name, is_object ? '{' : '[');
        cJSON_ArrayForEach (child, value)
            json_write(out, is_object ? child->string : NULL, child);
        text_json_close(out, is_object ? '}' : ']');
    }
}

size_t json_written_bound(const cJSON *value) {
    enum { PUNCTUATION = 4, ESCAPED = 6 };
    size_t bound = NUMBER_SIZE;
    const char *const strings[] = {value->string, value->valuestring};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        bound += PUNCTUATION;
        for (const char *at = strings[i]; at && *at; at++)
            bound += (unsigned char)*at < 0x20 || *at == '"' || *at == '\\' ? ESCAPED : 1;
    }
    const cJSON *child;
    cJSON_ArrayForEach (child, value)
        bound += json_written_bound(child);
    return bound;
}
