/* The chain of an audit trail, judged. */
#include "audit_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base64url.h"
#include "common/memory.h"

enum {
    REMEMBERED = 65536,                  /* hashes of the last lines: far more than what can be sent again after a crash */
    UNSIGNED_MAX = 4 * AUDIT_RECORD_MAX, /* bytes of entries without a signature behind them */
    PLACE_SIZE = 64,
};

struct audit_verifier {
    struct verifier *keys;
    struct audit_known known;
    int64_t first, last;   /* sequences; 0: none yet */
    int64_t last_time;     /* wall ms, of the last entry */
    int64_t signed_to;     /* the last entry that a signature has proved */
    size_t unsigned_bytes; /* of entries behind that */
    struct audit_place last_place;
    char last_hash[SHA256_TEXT_SIZE];
    unsigned char (*hashes)[32]; /* of the last REMEMBERED entries, by sequence */
};

struct audit_verifier *audit_verifier_new(struct verifier *keys, const struct audit_known *known) {
    struct audit_verifier *verifier = memory_new(sizeof *verifier);
    verifier->keys = keys;
    if (known)
        verifier->known = *known;
    verifier->hashes = memory_new(REMEMBERED * sizeof *verifier->hashes);
    return verifier;
}

void audit_verifier_free(struct audit_verifier *verifier) {
    if (!verifier)
        return;
    free(verifier->hashes);
    free(verifier);
}

static const char *place_text(const struct audit_place *place, char out[PLACE_SIZE]) {
    if (place->offset < 0)
        snprintf(out, PLACE_SIZE, "line %lld", (long long)place->line);
    else
        snprintf(out, PLACE_SIZE, "offset %lld, line %lld of the record", (long long)place->offset, (long long)place->line);
    return out;
}

static enum audit_verdict broken(struct error *error, int64_t sequence, const struct audit_place *place, const char *what) {
    char text[PLACE_SIZE];
    error_set(error, ERROR_INVALID, "broken at sequence %lld (%s): %s", (long long)sequence, place_text(place, text), what);
    return AUDIT_BROKEN;
}

/* ---- entries ---- */

static bool is_remembered(const struct audit_verifier *verifier, int64_t sequence) {
    return sequence >= verifier->first && sequence <= verifier->last && sequence > verifier->last - REMEMBERED;
}

static void note(struct audit_verifier *verifier, const struct audit_line *line, const unsigned char hash[32], size_t length,
                 const struct audit_place *place) {
    if (verifier->first == 0)
        verifier->first = line->sequence;
    verifier->last = line->sequence;
    verifier->last_time = line->entry.time;
    verifier->last_place = *place;
    verifier->unsigned_bytes += length;
    memcpy(verifier->hashes[line->sequence % REMEMBERED], hash, 32);
    base64url_encode(hash, 32, verifier->last_hash);
}

/* The first entry of all: the beginning of the trail, or what follows a line that is known. */
static enum audit_verdict take_first(const struct audit_verifier *verifier, const struct audit_line *line,
                                     const struct audit_place *place, struct error *error) {
    const struct audit_known *known = &verifier->known;
    char what[256];
    if (line->sequence == 1)
        return line->previous[0] == '\0' ? AUDIT_NEW : broken(error, 1, place, "the first line names one before it");
    if (known->sequence == line->sequence - 1 && known->hash[0])
        return strcmp(line->previous, known->hash) == 0
                   ? AUDIT_NEW
                   : broken(error, line->sequence, place, "it does not follow the line that --known names");
    snprintf(what, sizeof what,
             "the trail begins here: what is before is missing. Where that is known to be lost or kept elsewhere, go on behind "
             "it with --known %lld:HASH: this line's `previous`, which a dump or a note of before confirms",
             (long long)line->sequence - 1);
    return broken(error, line->sequence, place, what);
}

/* An entry whose sequence was there before. */
static enum audit_verdict take_again(const struct audit_verifier *verifier, const struct audit_line *line,
                                     const unsigned char hash[32], const struct audit_place *place, struct error *error) {
    if (!is_remembered(verifier, line->sequence))
        return broken(error, line->sequence, place, "a line of long ago is here again, out of its order");
    if (memcmp(verifier->hashes[line->sequence % REMEMBERED], hash, 32) != 0)
        return broken(error, line->sequence, place,
                      "there is another line of this sequence before: one of them is not genuine");
    return AUDIT_REPEATED;
}

static enum audit_verdict take_entry(struct audit_verifier *verifier, const struct audit_line *line, const char *bytes,
                                     size_t length, const struct audit_place *place, struct error *error) {
    unsigned char hash[32];
    char hash_text[SHA256_TEXT_SIZE];
    sha256_bytes(bytes, length, hash);
    base64url_encode(hash, sizeof hash, hash_text);
    if (verifier->first && line->sequence <= verifier->last)
        return take_again(verifier, line, hash, place, error);
    if (verifier->first == 0) {
        enum audit_verdict verdict = take_first(verifier, line, place, error);
        if (verdict != AUDIT_NEW)
            return verdict;
    } else if (line->sequence > verifier->last + 1) {
        char what[128];
        snprintf(what, sizeof what, "it follows sequence %lld: what is between is missing or out of its order",
                 (long long)verifier->last);
        return broken(error, line->sequence, place, what);
    } else if (strcmp(line->previous, verifier->last_hash) != 0) {
        /* A line that a signature has proved is not the one that was changed. */
        return verifier->signed_to == verifier->last
                   ? broken(error, line->sequence, place, "it does not follow the line before: it was changed or added")
                   : broken(error, verifier->last, &verifier->last_place,
                            "the next line expects another one here: this one was changed");
    }
    if (verifier->known.sequence == line->sequence && verifier->known.hash[0] && strcmp(verifier->known.hash, hash_text) != 0)
        return broken(error, line->sequence, place, "it is not the line that --known names: the trail was written anew");
    note(verifier, line, hash, length, place);
    if (verifier->unsigned_bytes > UNSIGNED_MAX)
        return broken(error, line->sequence, place, "too many lines without a signature behind them");
    return AUDIT_NEW;
}

/* ---- signatures ---- */

/* Holds what was signed against the entry that it names. */
static enum audit_verdict take_signed(struct audit_verifier *verifier, const struct text *payload,
                                      const struct audit_place *place, struct error *error) {
    int64_t sequence;
    char hash[SHA256_TEXT_SIZE], remembered[SHA256_TEXT_SIZE];
    struct error reason;
    if (audit_signed_read(payload->bytes, payload->length, &sequence, hash, &reason))
        return broken(error, verifier->last, place, "what the signature signs is not the end of a trail");
    if (!is_remembered(verifier, sequence))
        return broken(error, sequence, place,
                      "the signature is over a line that is not here: it is missing or out of its order");
    base64url_encode(verifier->hashes[sequence % REMEMBERED], 32, remembered);
    if (strcmp(hash, remembered) != 0)
        return sequence == verifier->last
                   ? broken(error, sequence, &verifier->last_place, "it is not the line that was signed: it was changed")
                   : broken(error, sequence, place, "the signature is over another line of this sequence");
    if (sequence > verifier->signed_to)
        verifier->signed_to = sequence;
    if (sequence == verifier->last)
        verifier->unsigned_bytes = 0;
    return AUDIT_SIGNED;
}

/* The payload of a compact JWS, which nobody has judged. */
static bool read_payload(const char *jws, struct text *payload) {
    const char *begin = strchr(jws, '.'), *end = begin ? strchr(begin + 1, '.') : NULL;
    if (!end)
        return false;
    size_t length = (size_t)(end - begin - 1);
    unsigned char *bytes = memory_new(length + 1);
    long size = base64url_decode(begin + 1, length, bytes);
    if (size > 0)
        text_add(payload, (const char *)bytes, (size_t)size);
    free(bytes);
    return size > 0;
}

static enum audit_verdict take_signature(struct audit_verifier *verifier, const struct audit_line *line,
                                         const struct audit_place *place, struct error *error) {
    struct text payload = TEXT_EMPTY;
    struct error reason = {0};
    enum audit_verdict verdict;
    if (verifier->keys) {
        enum signature_verdict judged =
            verifier_check_text(verifier->keys, line->jws, strlen(line->jws), verifier->last_time / 1000, &payload, &reason);
        if (judged == SIGNATURE_UNKNOWN_KEY) {
            /* As a rule the API has another key by now than when the file was written. */
            char text[PLACE_SIZE];
            error_set(error, ERROR_INVALID,
                      "sequence %lld (%s) is not proved: it is signed with a key that --api-keys lacks (%s: %s). Give "
                      "--api-keys the output of 'jwk-api signing-key export --all' as it is now; if the key is not in there, "
                      "the line is forged",
                      (long long)verifier->last, place_text(place, text), signature_verdict_name(judged), reason.message);
            verdict = AUDIT_BROKEN;
        } else if (judged != SIGNATURE_VALID) {
            char what[512];
            snprintf(what, sizeof what, "the signature behind it is not valid (%s): %.400s", signature_verdict_name(judged),
                     reason.message);
            verdict = broken(error, verifier->last, place, what);
        } else {
            verdict = take_signed(verifier, &payload, place, error);
        }
    } else {
        verdict = read_payload(line->jws, &payload) ? take_signed(verifier, &payload, place, error)
                                                    : broken(error, verifier->last, place, "the signature behind it is no JWS");
    }
    text_free(&payload);
    return verdict;
}

/* ---- all ---- */

enum audit_verdict audit_verifier_take(struct audit_verifier *verifier, const char *bytes, size_t length,
                                       const struct audit_place *place, struct audit_line *line, struct error *error) {
    struct error reason;
    if (length > AUDIT_LINE_MAX)
        return broken(error, verifier->last + 1, place, "the line is longer than any of an audit trail");
    if (audit_line_read(bytes, length, line, &reason)) {
        char what[512];
        snprintf(what, sizeof what, "this is no line of an audit trail: %.400s", reason.message);
        return broken(error, verifier->last + 1, place, what);
    }
    enum audit_verdict verdict =
        line->jws ? take_signature(verifier, line, place, error) : take_entry(verifier, line, bytes, length, place, error);
    if (verdict != AUDIT_NEW)
        audit_line_free(line);
    return verdict;
}

int audit_verifier_end(const struct audit_verifier *verifier, struct error *error) {
    if (verifier->last < verifier->known.sequence)
        return error_set(error, ERROR_INVALID,
                         "cut: the trail ends with sequence %lld, and %lld is known to be in it: its end is missing",
                         (long long)verifier->last, (long long)verifier->known.sequence);
    if (verifier->last == 0)
        return error_set(error, ERROR_INVALID, "there is no trail: not one line");
    if (verifier->signed_to == verifier->last)
        return 0;
    broken(error, verifier->last, &verifier->last_place, "there is no signature behind it: the end was cut off, or added");
    return -1;
}

void audit_verifier_last(const struct audit_verifier *verifier, struct audit_known *last) {
    last->sequence = verifier->last;
    memcpy(last->hash, verifier->last_hash, sizeof last->hash);
}

int64_t audit_verifier_entries(const struct audit_verifier *verifier) {
    return verifier->first ? verifier->last - verifier->first + 1 : 0;
}
