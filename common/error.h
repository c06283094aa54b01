/* The one way in which a function tells its caller what went wrong.
 *
 * A function that can fail returns 0 or -1 (or NULL for a pointer) and fills a struct error. The message says what was
 * attempted and on what, and is fit to be shown to whoever made the request: it never holds key material or a token. */
#ifndef COMMON_ERROR_H
#define COMMON_ERROR_H

enum error_code {
    ERROR_NONE = 0,
    ERROR_INVALID,     /* the input breaks a rule; the caller can mend it */
    ERROR_NOT_FOUND,   /* what was named does not exist */
    ERROR_CONFLICT,    /* the name is taken, or the state is not the one that was expected */
    ERROR_DENIED,      /* not allowed */
    ERROR_PRECONDITION, /* the state is not the one that the caller has made a condition */
    ERROR_UNAVAILABLE, /* cannot be done now; trying again later makes sense */
    ERROR_INTERNAL,    /* our fault: details go to the log, never to a client */
};

struct error {
    enum error_code code;
    char message[768]; /* one line of UTF-8, cut at a character's edge when longer */
};

#define MUST_CHECK __attribute__((warn_unused_result))

/* Fills *error (which may be NULL) and returns -1, so that `return error_set(…)` reads well. Thread-safe. */
int error_set(struct error *error, enum error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message that *error holds already; returns -1. */
int error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ERROR_UNAVAILABLE for an errno that passes without anything being changed on the side of whoever called: no space, no
 * descriptors, no memory, a disk that fails or is read-only until it is mended. ERROR_INVALID for any other: who is started
 * again and again would meet the same. */
enum error_code error_code_of(int number) __attribute__((const));

#endif
