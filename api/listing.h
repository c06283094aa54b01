/* The answer of a list operation: a page where the caller asks with `limit` and `cursor`, or all there is.
 *
 * What does not fit into one block is made while it is sent, page by page in the order of keys, so that the longest list takes
 * no more memory than a short one and holds no transaction open for a slow reader. */
#ifndef API_LISTING_H
#define API_LISTING_H

#include "call.h"

enum { LISTING_LIMIT_MAX = 1000 };

struct listing;

/* One kind of list. */
struct listing_kind {
    char mark;      /* the first character of its cursors' text: a cursor of another list is refused */
    bool by_number; /* keys are sequences, newest first; else names */
    /* Reads up to listing->page + 1 items from behind the position on, and appends each that listing_admit() lets in to
     * listing->body. */
    int (*read)(struct listing *listing, struct store *store, struct error *error);
};

struct listing {
    const struct listing_kind *kind;
    const struct call *call;        /* lives until the answer is sent */
    int64_t jwk_id;                 /* for lists that are about one; 0: none */
    char name[NAME_LENGTH_MAX + 1]; /* position: the last item's name, "" at the start … */
    int64_t number;                 /* … or its number, INT64_MAX at the start */
    int page;                       /* items to read at a time */
    int count;                      /* items of the present page */
    bool more;                      /* there are items behind it */
    struct text body;
    size_t sent; /* of body */
    bool ended;  /* body holds the list's end */
};

/* Whether the present page has room for another item, whose key becomes the position: by name, or by number with a NULL name.
 */
bool listing_admit(struct listing *listing, const char *name, int64_t number);
/* For a kind that finds no such item where the cursor says: -1 with the error. */
int listing_refuse_cursor(struct error *error);
/* Answers the call with the list. */
void listing_answer(struct call *call, const struct listing_kind *kind, int64_t jwk_id);

/* The frame of all answers with a resultList: {"success":true,"resultList":[ … ]}. */
void listing_open(struct text *body);
void listing_close(struct text *body);

#endif
