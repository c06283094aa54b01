/* An audit trail as an auditor gets it: a file of lines, of which each may be anything. A line that is read is told without
 * control characters and can be written again. Nobody signs anything by chance: a trail that is whole by the signatures ends
 * with a line that was signed, and what is whole with them is whole without them. */
#include "fuzz.h"

#include "api/audit_read.h"
#include "common/text.h"

/* The key of RFC 8037 appendix A; it has signed the ends of the trail in corpus/audit. */
static const char PUBLIC_KEY[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
static const struct audit_known GENUINE[] = {{4, "-YJ-jR3sY1UNQRTPg2eZeKMZqY4sugggYURgW7EPqXU"},
                                             {8, "pHz2U21sT74RyftxK28NU_ghGw-YfZmtj6ntfos8VwI"}};

static struct verifier *keys(void) {
    static struct verifier *made;
    if (!made) {
        struct error error;
        struct jwk *key = jwk_from_text(PUBLIC_KEY, sizeof PUBLIC_KEY - 1, NULL, &error);
        made = verifier_new();
        REQUIRE(key && verifier_trust(made, key, INT64_MAX, &error) == 0);
        jwk_free(key);
    }
    return made;
}

/* What was read of a line of ours, written as we do. */
static void write_again(const struct audit_line *line, struct text *out) {
    audit_line_write(out, line->sequence, line->previous, &line->entry);
}

/* What is written of a line that was read tells the same, but for how its time is spelt. */
static void check_written(const struct audit_line *line) {
    struct text once = TEXT_EMPTY, twice = TEXT_EMPTY, told = TEXT_EMPTY, told_again = TEXT_EMPTY;
    struct error error;
    struct audit_line again, respelt = *line;
    write_again(line, &once);
    REQUIRE(audit_line_read(once.bytes, once.length, &again, &error) == 0);
    REQUIRE(again.sequence == line->sequence && strcmp(again.previous, line->previous) == 0);
    write_again(&again, &twice);
    REQUIRE(strcmp(once.bytes, twice.bytes) == 0);
    respelt.time = again.time;
    audit_line_tell(&respelt, &told);
    audit_line_tell(&again, &told_again);
    REQUIRE(strcmp(told.bytes, told_again.bytes) == 0);
    audit_line_free(&again);
    text_free(&once);
    text_free(&twice);
    text_free(&told);
    text_free(&told_again);
}

static void check_line(const struct audit_line *line) {
    struct text told = TEXT_EMPTY;
    audit_line_tell(line, &told);
    require_sentence(told.bytes);
    REQUIRE(strlen(told.bytes) == told.length);
    REQUIRE(!strstr(told.bytes, "\xc2\x9b")); /* a control character of two bytes */
    text_free(&told);
    if (line->entry.type != AUDIT_OTHER)
        check_written(line);
}

/* ---- the whole trail ---- */

struct reading {
    struct audit_verifier *verifier;
    int64_t proved; /* the last entry that was shown */
};

static int take(void *context, const char *bytes, size_t length, const struct audit_place *place, struct error *error) {
    struct reading *reading = context;
    struct audit_line line;
    struct audit_known last;
    switch (audit_verifier_take(reading->verifier, bytes, length, place, &line, error)) {
    case AUDIT_NEW:
        check_line(&line);
        audit_line_free(&line);
        return 0;
    case AUDIT_REPEATED: return 0;
    case AUDIT_SIGNED:
        audit_verifier_last(reading->verifier, &last);
        reading->proved = last.sequence;
        return 0;
    default: require_refusal(error); return -1;
    }
}

static int end(void *context, struct error *error) {
    struct reading *reading = context;
    if (audit_verifier_end(reading->verifier, error) == 0)
        return 0;
    require_refusal(error);
    return -1;
}

/* Whether the trail is whole; *last gets its end. */
static bool is_whole(const uint8_t *bytes, size_t size, struct verifier *trusted, const struct audit_known *known,
                     struct audit_known *last, int64_t *proved) {
    struct error error = {0};
    struct reading reading = {.verifier = audit_verifier_new(trusted, known)};
    const struct audit_reading functions = {.line = take, .end = end, .context = &reading};
    FILE *file = fmemopen((void *)(uintptr_t)bytes, size, "r");
    REQUIRE(file != NULL);
    int status = audit_read_file(file, &functions, &error);
    fclose(file);
    audit_verifier_last(reading.verifier, last);
    *proved = reading.proved;
    audit_verifier_free(reading.verifier);
    return status == 0;
}

static void check_trail(const uint8_t *bytes, size_t size) {
    struct audit_known signed_last, last;
    int64_t signed_proved, proved;
    bool is_signed = is_whole(bytes, size, keys(), NULL, &signed_last, &signed_proved);
    bool is_chain = is_whole(bytes, size, NULL, NULL, &last, &proved);
    REQUIRE(signed_proved <= GENUINE[1].sequence);
    REQUIRE(!is_signed || is_chain);
    REQUIRE(!is_signed || (last.sequence == signed_last.sequence && strcmp(last.hash, signed_last.hash) == 0));
    bool is_genuine = false;
    for (size_t i = 0; i < sizeof GENUINE / sizeof *GENUINE; i++)
        is_genuine =
            is_genuine || (signed_last.sequence == GENUINE[i].sequence && strcmp(signed_last.hash, GENUINE[i].hash) == 0);
    REQUIRE(!is_signed || is_genuine);
    /* Whoever knows the end of a whole trail finds it whole again. */
    REQUIRE(!is_chain || is_whole(bytes, size, NULL, &last, &last, &proved));
}

static void check_signed(const char *bytes, size_t size) {
    int64_t sequence;
    char hash[SHA256_TEXT_SIZE];
    struct error error = {0};
    if (audit_signed_read(bytes, size, &sequence, hash, &error))
        require_refusal(&error);
    else
        REQUIRE(sequence > 0 && strlen(hash) == SHA256_TEXT_SIZE - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size == 0)
        return 0;
    check_trail(bytes, size);
    while (size) {
        struct error error = {0};
        struct audit_line read;
        char *line = take_line(&bytes, &size);
        check_signed(line, strlen(line));
        if (audit_line_read(line, strlen(line), &read, &error)) {
            require_refusal(&error);
        } else {
            if (!read.jws)
                check_line(&read);
            audit_line_free(&read);
        }
        free(line);
    }
    return 0;
}
