/* An audit trail is whole, or the first break is named: each is planted into a sound trail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/audit_verify.h"
#include "common/json.h"
#include "common/memory.h"

enum { RECORDS = 4, PER_RECORD = 3, LINES = RECORDS * (PER_RECORD + 1), ROOM = LINES + 8 };

/* A trail of records, each with three entries (1 to 3, 4 to 6, …) and their signature: lines 0 to 2 and 3, 4 to 6 and 7, … */
struct trail {
    struct signer *signer;
    struct verifier *keys;
    char *lines[ROOM];
    size_t count;
};

static struct verifier *trusting(const struct signer *signer) {
    struct error error = {0};
    struct verifier *keys = verifier_new();
    struct jwk *key = jwk_from_text(signer_public_key(signer), strlen(signer_public_key(signer)), NULL, &error);
    if (!key || verifier_trust(keys, key, INT64_MAX, &error))
        fail_msg("%s", error.message);
    jwk_free(key);
    return keys;
}

static char *signature_line(struct signer *signer, int64_t sequence, const char *hash) {
    struct text payload = TEXT_EMPTY;
    audit_signed_write(&payload, sequence, hash);
    char *jws = signature_sign_text(signer, payload.bytes, payload.length), *line = memory_format("{\"jws\":\"%s\"}", jws);
    free(jws);
    text_free(&payload);
    return line;
}

/* An entry that follows one of that hash, which becomes its own. */
static char *entry_line(int64_t sequence, char hash[SHA256_TEXT_SIZE], const char *detail) {
    struct text line = TEXT_EMPTY;
    const struct audit_entry entry = {.type = AUDIT_ADMINISTRATION, .time = 1790000000000 + sequence, .actor = "root", .command = "project add",
                                      .object = "my-project", .detail = detail};
    audit_line_write(&line, sequence, hash, &entry);
    sha256_text(line.bytes, line.length, hash);
    return text_take(&line);
}

static int make_trail(void **state) {
    struct trail *trail = memory_new(sizeof *trail);
    char hash[SHA256_TEXT_SIZE] = "";
    trail->signer = signer_generate();
    trail->keys = trusting(trail->signer);
    for (int64_t sequence = 1; sequence <= RECORDS * PER_RECORD; sequence++) {
        trail->lines[trail->count++] = entry_line(sequence, hash, "genuine");
        if (sequence % PER_RECORD == 0)
            trail->lines[trail->count++] = signature_line(trail->signer, sequence, hash);
    }
    *state = trail;
    return 0;
}

static int free_trail(void **state) {
    struct trail *trail = *state;
    for (size_t i = 0; i < trail->count; i++)
        free(trail->lines[i]);
    verifier_free(trail->keys);
    signer_free(trail->signer);
    free(trail);
    return 0;
}

/* ---- judging ---- */

static int verify_with(const struct trail *trail, struct verifier *keys, const struct audit_known *known, struct audit_known *last,
                       struct error *error) {
    struct audit_verifier *verifier = audit_verifier_new(keys, known);
    int status = 0;
    for (size_t i = 0; status == 0 && i < trail->count; i++) {
        struct audit_line line;
        const struct audit_place place = {.offset = -1, .line = (int64_t)i + 1};
        enum audit_verdict verdict = audit_verifier_take(verifier, trail->lines[i], strlen(trail->lines[i]), &place, &line, error);
        if (verdict == AUDIT_NEW)
            audit_line_free(&line);
        status = verdict == AUDIT_BROKEN ? -1 : 0;
    }
    if (status == 0)
        status = audit_verifier_end(verifier, error);
    if (last)
        audit_verifier_last(verifier, last);
    audit_verifier_free(verifier);
    return status;
}

static void is_whole(const struct trail *trail) {
    struct error error = {0};
    if (verify_with(trail, trail->keys, NULL, NULL, &error))
        fail_msg("%s", error.message);
}

static void breaks_with(const struct trail *trail, const struct audit_known *known, const char *sentence) {
    struct error error = {0};
    assert_int_equal(verify_with(trail, trail->keys, known, NULL, &error), -1);
    if (!strstr(error.message, sentence))
        fail_msg("\"%s\" is not in \"%s\"", sentence, error.message);
}

static void breaks(const struct trail *trail, const char *sentence) {
    breaks_with(trail, NULL, sentence);
}

/* ---- planting ---- */

static void replace(struct trail *trail, size_t index, char *line) {
    free(trail->lines[index]);
    trail->lines[index] = line;
}

/* Exchanges some text of a line for one of the same length. */
static void change(struct trail *trail, size_t index, const char *old, const char *new) {
    char *at = strstr(trail->lines[index], old);
    assert_non_null(at);
    assert_int_equal(strlen(old), strlen(new));
    memcpy(at, new, strlen(new));
}

static void take_out(struct trail *trail, size_t index, size_t count) {
    for (size_t i = index; i < index + count; i++)
        free(trail->lines[i]);
    memmove(trail->lines + index, trail->lines + index + count, (trail->count - index - count) * sizeof *trail->lines);
    trail->count -= count;
}

static void put_in(struct trail *trail, size_t index, char *line) {
    assert_true(trail->count < ROOM);
    memmove(trail->lines + index + 1, trail->lines + index, (trail->count - index) * sizeof *trail->lines);
    trail->lines[index] = line;
    trail->count++;
}

static void hash_of(const struct trail *trail, size_t index, char hash[SHA256_TEXT_SIZE]) {
    sha256_text(trail->lines[index], strlen(trail->lines[index]), hash);
}

/* ---- a sound trail ---- */

static void a_sound_trail_is_whole_and_tells_its_last_line(void **state) {
    struct trail *trail = *state;
    struct audit_known last;
    struct error error;
    char hash[SHA256_TEXT_SIZE];
    assert_int_equal(verify_with(trail, trail->keys, NULL, &last, &error), 0);
    hash_of(trail, LINES - 2, hash);
    assert_int_equal(last.sequence, RECORDS * PER_RECORD);
    assert_string_equal(last.hash, hash);
    assert_int_equal(verify_with(trail, NULL, NULL, NULL, &error), 0);
}

static void records_that_are_sent_again_in_whatever_cut_are_no_break(void **state) {
    struct trail *trail = *state;
    put_in(trail, 8, memory_string(trail->lines[5])); /* 5, 6, their signature, and the next ones under a signature of their own */
    put_in(trail, 9, memory_string(trail->lines[6]));
    put_in(trail, 10, memory_string(trail->lines[7]));
    is_whole(trail);
    put_in(trail, 8, memory_string(trail->lines[3])); /* an older signature alone */
    is_whole(trail);
}

static void what_lies_between_records_needs_no_signature_of_its_own(void **state) {
    struct trail *trail = *state;
    take_out(trail, 3, 1);
    is_whole(trail);
}

static void a_line_of_a_later_version_is_taken(void **state) {
    struct trail *trail = *state;
    char hash[SHA256_TEXT_SIZE];
    hash_of(trail, LINES - 2, hash);
    char *line = memory_format("{\"sequence\":13,\"previous\":\"%s\",\"time\":\"2026-01-31T12:00:00.000Z\",\"type\":\"ceremony\",\"new\":[1]}", hash);
    sha256_text(line, strlen(line), hash);
    put_in(trail, LINES, line);
    put_in(trail, LINES + 1, signature_line(trail->signer, 13, hash));
    is_whole(trail);
}

/* ---- changed ---- */

static void a_changed_line_is_named_whichever_it_is(void **state) {
    struct trail *trail = *state;
    for (size_t i = 0; i < LINES; i++) {
        if (i % (PER_RECORD + 1) == PER_RECORD)
            continue;
        char *genuine = memory_string(trail->lines[i]), sentence[128];
        int64_t sequence = audit_line_sequence(genuine);
        change(trail, i, "\"my-project\"", "\"mY-project\"");
        snprintf(sentence, sizeof sentence, "broken at sequence %lld (line %zu)", (long long)sequence, i + 1);
        breaks(trail, sentence);
        replace(trail, i, genuine);
    }
    is_whole(trail);
}

static void a_line_that_is_changed_without_keys_is_named_too(void **state) {
    struct trail *trail = *state;
    struct error error;
    change(trail, 4, "genuine", "Genuine");
    assert_int_equal(verify_with(trail, NULL, NULL, NULL, &error), -1);
    assert_non_null(strstr(error.message, "broken at sequence 4 (line 5)"));
}

static void a_line_that_names_another_one_before_it_is_found(void **state) {
    struct trail *trail = *state;
    char hash[SHA256_TEXT_SIZE] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    replace(trail, 4, entry_line(4, hash, "genuine"));
    breaks(trail, "broken at sequence 4 (line 5)");
    strcpy(hash, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    replace(trail, 0, entry_line(1, hash, "genuine"));
    breaks(trail, "the first line names one before it");
}

static void a_chain_written_anew_breaks_at_its_signature(void **state) {
    struct trail *trail = *state;
    char hash[SHA256_TEXT_SIZE];
    hash_of(trail, 2, hash);
    for (size_t i = 4; i < LINES; i++)
        if (i % (PER_RECORD + 1) != PER_RECORD)
            replace(trail, i, entry_line(audit_line_sequence(trail->lines[i]), hash, "written anew"));
    breaks(trail, "broken at sequence 6");
}

static void a_chain_written_anew_by_the_key_itself_breaks_at_what_is_known(void **state) {
    struct trail *trail = *state;
    struct audit_known known = {.sequence = 5};
    char hash[SHA256_TEXT_SIZE] = "";
    hash_of(trail, 5, known.hash);
    for (size_t i = 0; i < LINES; i++) {
        int64_t sequence = (int64_t)(i - i / (PER_RECORD + 1) + 1);
        replace(trail, i, i % (PER_RECORD + 1) == PER_RECORD ? signature_line(trail->signer, sequence - 1, hash)
                                                             : entry_line(sequence, hash, "written anew"));
    }
    is_whole(trail);
    breaks_with(trail, &known, "broken at sequence 5 (line 6): it is not the line that --known names");
}

/* ---- missing, added, moved ---- */

static void a_missing_line_is_named(void **state) {
    struct trail *trail = *state;
    take_out(trail, 5, 1);
    breaks(trail, "broken at sequence 6 (line 6): it follows sequence 4");
}

static void the_last_line_of_a_record_that_is_missing_is_found(void **state) {
    struct trail *trail = *state;
    take_out(trail, 6, 1);
    breaks(trail, "broken at sequence 6 (line 7): the signature is over a line that is not here");
}

static void a_missing_record_is_named(void **state) {
    struct trail *trail = *state;
    take_out(trail, 4, PER_RECORD + 1);
    breaks(trail, "broken at sequence 7 (line 5): it follows sequence 3");
}

static void records_out_of_order_are_found(void **state) {
    struct trail *trail = *state;
    for (size_t i = 0; i < PER_RECORD + 1; i++) {
        char *line = trail->lines[4 + i];
        trail->lines[4 + i] = trail->lines[8 + i];
        trail->lines[8 + i] = line;
    }
    breaks(trail, "broken at sequence 7 (line 5)");
}

static void lines_out_of_order_are_found(void **state) {
    struct trail *trail = *state;
    char *line = trail->lines[1];
    trail->lines[1] = trail->lines[2];
    trail->lines[2] = line;
    breaks(trail, "broken at sequence 3 (line 2)");
}

static void an_added_line_is_found(void **state) {
    struct trail *trail = *state;
    char hash[SHA256_TEXT_SIZE];
    hash_of(trail, 4, hash);
    put_in(trail, 5, entry_line(5, hash, "added"));
    breaks(trail, "broken at sequence 5 (line 7): there is another line of this sequence before");
}

static void a_repeated_line_that_differs_is_found(void **state) {
    struct trail *trail = *state;
    put_in(trail, 8, memory_string(trail->lines[4]));
    change(trail, 8, "genuine", "Genuine");
    breaks(trail, "broken at sequence 4 (line 9): there is another line of this sequence before");
}

static void lines_added_at_the_end_without_a_signature_are_found(void **state) {
    struct trail *trail = *state;
    char hash[SHA256_TEXT_SIZE];
    hash_of(trail, LINES - 2, hash);
    put_in(trail, LINES, entry_line(13, hash, "added"));
    breaks(trail, "broken at sequence 13 (line 17): there is no signature behind it");
}

static void more_than_a_record_without_a_signature_is_refused(void **state) {
    struct trail *trail = *state;
    struct audit_verifier *verifier = audit_verifier_new(trail->keys, NULL);
    const struct audit_place place = {.offset = 7, .line = 1};
    struct error error = {0};
    char hash[SHA256_TEXT_SIZE] = "";
    enum audit_verdict verdict = AUDIT_NEW;
    int64_t sequence = 0;
    while (verdict == AUDIT_NEW && sequence < 1000000) {
        struct audit_line line;
        char *text = entry_line(++sequence, hash, "without end");
        verdict = audit_verifier_take(verifier, text, strlen(text), &place, &line, &error);
        if (verdict == AUDIT_NEW)
            audit_line_free(&line);
        free(text);
    }
    assert_int_equal(verdict, AUDIT_BROKEN);
    assert_non_null(strstr(error.message, "(offset 7, line 1 of the record): too many lines without a signature"));
    audit_verifier_free(verifier);
}

/* Memory is bounded: what is too long ago to compare is no repetition. */
static void a_line_of_long_ago_is_out_of_its_order(void **state) {
    struct trail *trail = *state;
    struct audit_verifier *verifier = audit_verifier_new(trail->keys, NULL);
    const struct audit_place place = {.offset = 9, .line = 2};
    struct error error = {0};
    struct audit_line line;
    char hash[SHA256_TEXT_SIZE] = "", *first = NULL;
    for (int64_t sequence = 1; sequence <= 70000; sequence++) {
        char *text = entry_line(sequence, hash, "genuine");
        assert_int_equal(audit_verifier_take(verifier, text, strlen(text), &place, &line, &error), AUDIT_NEW);
        audit_line_free(&line);
        if (first)
            free(text);
        else
            first = text;
        if (sequence % 500 == 0) {
            text = signature_line(trail->signer, sequence, hash);
            assert_int_equal(audit_verifier_take(verifier, text, strlen(text), &place, &line, &error), AUDIT_SIGNED);
            free(text);
        }
    }
    assert_int_equal(audit_verifier_take(verifier, first, strlen(first), &place, &line, &error), AUDIT_BROKEN);
    assert_string_equal(error.message,
                        "broken at sequence 1 (offset 9, line 2 of the record): a line of long ago is here again, out of its order");
    free(first);
    audit_verifier_free(verifier);
}

/* ---- both ends ---- */

static void an_end_that_is_cut_within_a_record_is_found(void **state) {
    struct trail *trail = *state;
    take_out(trail, LINES - 1, 1);
    breaks(trail, "broken at sequence 12 (line 15): there is no signature behind it");
}

static void an_end_that_is_cut_between_records_shows_where_more_is_known(void **state) {
    struct trail *trail = *state;
    struct audit_known known = {.sequence = 12};
    struct error error;
    take_out(trail, LINES - PER_RECORD - 1, PER_RECORD + 1);
    is_whole(trail);
    breaks_with(trail, &known, "cut: the trail ends with sequence 9, and 12 is known to be in it");
    known.sequence = 9;
    assert_int_equal(verify_with(trail, trail->keys, &known, NULL, &error), 0);
}

static void a_beginning_that_is_missing_is_found_unless_what_is_before_is_known(void **state) {
    struct trail *trail = *state;
    struct audit_known known = {.sequence = 3};
    struct error error;
    hash_of(trail, 2, known.hash);
    take_out(trail, 0, PER_RECORD + 1);
    breaks(trail, "broken at sequence 4 (line 1): the trail begins here: what is before is missing");
    assert_int_equal(verify_with(trail, trail->keys, &known, NULL, &error), 0);
    known.hash[0] = known.hash[0] == 'A' ? 'B' : 'A';
    breaks_with(trail, &known, "it does not follow the line that --known names");
    known.hash[0] = '\0';
    breaks_with(trail, &known, "the trail begins here");
}

static void nothing_is_no_trail(void **state) {
    struct trail *trail = *state;
    take_out(trail, 0, LINES);
    breaks(trail, "there is no trail");
}

/* ---- signatures ---- */

static void a_signature_by_another_key_is_found(void **state) {
    struct trail *trail = *state;
    struct signer *other = signer_generate();
    char hash[SHA256_TEXT_SIZE];
    hash_of(trail, 6, hash);
    replace(trail, 7, signature_line(other, 6, hash));
    breaks(trail, "sequence 6 (line 8) is not proved: it is signed with a key that --api-keys lacks (unknown-key");
    signer_free(other);
}

static void a_forged_signature_is_found(void **state) {
    struct trail *trail = *state;
    char *dot = strrchr(trail->lines[7], '.');
    dot[1] = dot[1] == 'A' ? 'B' : 'A';
    breaks(trail, "broken at sequence 6 (line 8): the signature behind it is not valid (wrong)");
}

static void a_signature_without_an_algorithm_is_found(void **state) {
    struct trail *trail = *state;
    char *jws = strstr(trail->lines[7], ":\"") + 2, *payload = strchr(jws, '.'), *end = strrchr(jws, '.');
    /* {"alg":"none"} */
    replace(trail, 7, memory_format("{\"jws\":\"eyJhbGciOiJub25lIn0%.*s.\"}", (int)(end - payload), payload));
    breaks(trail, "broken at sequence 6 (line 8): the signature behind it is not valid (malformed)");
}

static void a_genuine_signature_over_another_hash_is_found(void **state) {
    struct trail *trail = *state;
    char hash[SHA256_TEXT_SIZE];
    hash_of(trail, 5, hash);
    replace(trail, 7, signature_line(trail->signer, 6, hash));
    breaks(trail, "broken at sequence 6");
    replace(trail, 7, signature_line(trail->signer, 5, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    breaks(trail, "broken at sequence 5 (line 8): the signature is over another line");
}

static void a_key_whose_time_was_over_is_judged_by_the_time_of_what_it_signs(void **state) {
    struct trail *trail = *state;
    struct error error = {0};
    struct verifier *keys = verifier_new();
    struct jwk *key = jwk_from_text(signer_public_key(trail->signer), strlen(signer_public_key(trail->signer)), NULL, &error);
    assert_int_equal(verifier_trust(keys, key, 1790000001, &error), 0); /* long ago for us, later than each line */
    assert_int_equal(verify_with(trail, keys, NULL, NULL, &error), 0);
    assert_int_equal(verifier_trust(keys, key, 1789999999, &error), 0);
    assert_int_equal(verify_with(trail, keys, NULL, NULL, &error), -1);
    assert_non_null(strstr(error.message, "(expired-key)"));
    jwk_free(key);
    verifier_free(keys);
}

/* ---- what is no line ---- */

static void what_is_no_line_is_found(void **state) {
    struct trail *trail = *state;
    static const char *const lines[] = {
        "x", "", "[]", "{}", "{\"jws\":1}", "{\"jws\":\"a\",\"b\":1}",
        "{\"sequence\":5,\"sequence\":5,\"previous\":\"\",\"time\":\"2026-01-31T12:00:00.000Z\",\"type\":\"stop\"}",
        "{\"sequence\":5,\"previous\":\"\",\"time\":\"yesterday\",\"type\":\"stop\"}",
        "{\"sequence\":5,\"previous\":\"\",\"time\":\"2026-01-31T12:00:00.000Z\",\"type\":\"outcome\"}",
        "{\"sequence\":5.5,\"previous\":\"\",\"time\":\"2026-01-31T12:00:00.000Z\",\"type\":\"stop\"}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        replace(trail, 5, memory_string(lines[i]));
        breaks(trail, "broken at sequence 5 (line 6): this is no line of an audit trail");
    }
    char *huge = memory_new(AUDIT_LINE_MAX + 2);
    memset(huge, ' ', AUDIT_LINE_MAX + 1);
    replace(trail, 5, huge);
    breaks(trail, "broken at sequence 5 (line 6): the line is longer");
}

#define test(name) cmocka_unit_test_setup_teardown(name, make_trail, free_trail)

int main(void) {
    const struct CMUnitTest tests[] = {
        test(a_sound_trail_is_whole_and_tells_its_last_line),
        test(records_that_are_sent_again_in_whatever_cut_are_no_break),
        test(what_lies_between_records_needs_no_signature_of_its_own),
        test(a_line_of_a_later_version_is_taken),
        test(a_changed_line_is_named_whichever_it_is),
        test(a_line_that_is_changed_without_keys_is_named_too),
        test(a_line_that_names_another_one_before_it_is_found),
        test(a_chain_written_anew_breaks_at_its_signature),
        test(a_chain_written_anew_by_the_key_itself_breaks_at_what_is_known),
        test(a_missing_line_is_named),
        test(the_last_line_of_a_record_that_is_missing_is_found),
        test(a_missing_record_is_named),
        test(records_out_of_order_are_found),
        test(lines_out_of_order_are_found),
        test(an_added_line_is_found),
        test(a_repeated_line_that_differs_is_found),
        test(lines_added_at_the_end_without_a_signature_are_found),
        test(more_than_a_record_without_a_signature_is_refused),
        test(a_line_of_long_ago_is_out_of_its_order),
        test(an_end_that_is_cut_within_a_record_is_found),
        test(an_end_that_is_cut_between_records_shows_where_more_is_known),
        test(a_beginning_that_is_missing_is_found_unless_what_is_before_is_known),
        test(nothing_is_no_trail),
        test(a_signature_by_another_key_is_found),
        test(a_forged_signature_is_found),
        test(a_signature_without_an_algorithm_is_found),
        test(a_genuine_signature_over_another_hash_is_found),
        test(a_key_whose_time_was_over_is_judged_by_the_time_of_what_it_signs),
        test(what_is_no_line_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
