/* Identifiers: UUIDs (RFC 9562), random tokens, SHA-256, W3C trace context. Thread-safe. */
#ifndef COMMON_IDENTIFIER_H
#define COMMON_IDENTIFIER_H

#include <stdbool.h>
#include <stddef.h>

enum { UUID_SIZE = 37, SHA256_TEXT_SIZE = 44, TRACEPARENT_SIZE = 56 }; /* bytes, each with its NUL */

/* A version 7 UUID (time-ordered, so that an index grows at its end), lower case. */
void uuid_new(char out[UUID_SIZE]);
/* Whether text is a UUID in lower-case canonical form. */
bool uuid_is_valid(const char *text);
/* SHA-256 of the bytes, as base64url without padding. */
void sha256_text(const void *bytes, size_t size, char out[SHA256_TEXT_SIZE]);
/* SHA-256 of the bytes. */
void sha256_bytes(const void *bytes, size_t size, unsigned char out[32]);
/* size random bytes from the system; exits when the system has none. */
void random_bytes(void *out, size_t size);
/* A new version-00 traceparent with the sampled flag off, or a copy of `parent`'s trace id with a new parent id when parent
 * is a valid one. Source: W3C Trace Context section 3.2. */
void traceparent_new(const char *parent, char out[TRACEPARENT_SIZE]);
bool traceparent_is_valid(const char *text);

#endif
