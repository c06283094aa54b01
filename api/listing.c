/* The answer of a list operation. */
#include "listing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/base64url.h"
#include "common/memory.h"

enum {
    PAGE = 500,              /* items of a block of a list that is streamed: tens of kilobytes */
    BLOCK_SIZE = 64 * 1024,  /* bytes handed to the HTTP library at a time */
    CURSOR_MAX = BASE64URL_LENGTH(NAME_LENGTH_MAX + 1),
};

void listing_open(struct text *body) {
    text_json_open(body, NULL, '{');
    text_json_boolean(body, "success", true);
    text_json_open(body, "resultList", '[');
}

void listing_close(struct text *body) {
    text_json_close(body, ']');
    text_json_close(body, '}');
}

bool listing_admit(struct listing *listing, const char *name, int64_t number) {
    if (listing->count == listing->page) {
        listing->more = true;
        return false;
    }
    listing->count++;
    if (name)
        snprintf(listing->name, sizeof listing->name, "%s", name);
    else
        listing->number = number;
    return true;
}

static int read_page(struct listing *listing, struct error *error) {
    struct store *store = readers_take(listing->call->api->readers, error);
    listing->count = 0;
    listing->more = false;
    int status = store ? listing->kind->read(listing, store, error) : -1;
    readers_give(listing->call->api->readers, store);
    return status;
}

/* ---- limit and cursor ---- */

static void write_cursor(const struct listing *listing, char out[CURSOR_MAX + 1]) {
    char text[NAME_LENGTH_MAX + 2];
    int length = listing->kind->by_number ? snprintf(text, sizeof text, "%c%" PRId64, listing->kind->mark, listing->number)
                                          : snprintf(text, sizeof text, "%c%s", listing->kind->mark, listing->name);
    base64url_encode((const unsigned char *)text, (size_t)length, out);
}

/* A decimal number of digits alone; -1 when it is none or above maximum. */
static int64_t parse_digits(const char *text, int64_t maximum) {
    size_t length = strlen(text);
    if (length == 0 || length > 18 || strspn(text, "0123456789") != length)
        return -1;
    int64_t value = strtoll(text, NULL, 10);
    return value <= maximum ? value : -1;
}

int listing_refuse_cursor(struct error *error) {
    return error_set(error, ERROR_INVALID, "cursor is not one that this list has given!");
}

static int read_cursor(struct listing *listing, const char *cursor, struct error *error) {
    unsigned char bytes[NAME_LENGTH_MAX + 8] = {0};
    size_t length = strlen(cursor);
    long size = length <= CURSOR_MAX ? base64url_decode(cursor, length, bytes) : -1;
    const char *key = (const char *)bytes + 1;
    bool valid = size >= 1 && size <= NAME_LENGTH_MAX + 1 && bytes[0] == (unsigned char)listing->kind->mark &&
                 strlen(key) == (size_t)size - 1;
    if (valid && listing->kind->by_number)
        valid = (listing->number = parse_digits(key, INT64_MAX)) >= 0;
    else if (valid)
        memcpy(listing->name, key, (size_t)size);
    return valid ? 0 : listing_refuse_cursor(error);
}

/* Reads both parameters; *limited tells whether there is a limit. */
static int read_query(struct listing *listing, bool *limited, struct error *error) {
    const char *limit = http_request_query(listing->call->request, "limit");
    const char *cursor = http_request_query(listing->call->request, "cursor");
    *limited = limit != NULL;
    listing->page = PAGE;
    if (limit) {
        int64_t number = parse_digits(limit, LISTING_LIMIT_MAX);
        if (number < 1)
            return error_set(error, ERROR_INVALID, "limit must be a number from 1 to %d!", LISTING_LIMIT_MAX);
        listing->page = (int)number;
    }
    return cursor ? read_cursor(listing, cursor, error) : 0;
}

/* ---- streaming ---- */

/* Puts the next page, or the list's end, in the place of what is sent. */
static int refill(struct listing *listing) {
    struct error error;
    text_reset(&listing->body);
    listing->sent = 0;
    if (listing->more) {
        text_add_string(&listing->body, ","); /* behind the page before */
        if (read_page(listing, &error))
            return -1;
        if (listing->count == 0) /* what was there is gone meanwhile */
            text_reset(&listing->body);
    }
    if (!listing->more) {
        listing_close(&listing->body);
        listing->ended = true;
    }
    return 0;
}

/* The HTTP library asks for the next bytes. */
static ssize_t stream(void *context, uint64_t position, char *out, size_t size) {
    struct listing *listing = context;
    (void)position;
    if (listing->sent == listing->body.length) {
        if (listing->ended)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (refill(listing))
            return MHD_CONTENT_READER_END_WITH_ERROR; /* the reader sees a list that is cut off */
    }
    size_t left = listing->body.length - listing->sent, length = left < size ? left : size;
    memcpy(out, listing->body.bytes + listing->sent, length);
    listing->sent += length;
    return (ssize_t)length;
}

static void listing_free(void *context) {
    struct listing *listing = context;
    text_free(&listing->body);
    free(listing);
}

/* ---- the answer ---- */

void listing_answer(struct call *call, const struct listing_kind *kind, int64_t jwk_id) {
    struct listing *listing = memory_new(sizeof *listing);
    struct error error;
    bool limited;
    listing->kind = kind;
    listing->call = call;
    listing->jwk_id = jwk_id;
    listing->number = INT64_MAX;
    if (read_query(listing, &limited, &error))
        goto failed;
    listing_open(&listing->body);
    if (read_page(listing, &error))
        goto failed;
    if (listing->more && !limited) {
        http_respond(call->request, 200,
                     http_response_stream(call->request, "application/json", BLOCK_SIZE, stream, listing, listing_free));
        return;
    }
    text_json_close(&listing->body, ']');
    if (limited) {
        char cursor[CURSOR_MAX + 1];
        write_cursor(listing, cursor);
        text_json_string(&listing->body, "nextCursor", listing->more ? cursor : NULL);
    }
    text_json_close(&listing->body, '}');
    answer_json(call, &listing->body);
    listing_free(listing);
    return;
failed:
    listing_free(listing);
    answer_fail_error(call, &error);
}
