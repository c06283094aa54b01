/* base64url without padding (RFC 4648 section 5, RFC 7515 appendix C), and plain base64 as PEM and JSON fields carry it. */
#ifndef COMMON_BASE64URL_H
#define COMMON_BASE64URL_H

#include <stddef.h>

/* Characters needed for size bytes, without the NUL. */
#define BASE64URL_LENGTH(size) (((size) * 4 + 2) / 3)

/* Writes BASE64URL_LENGTH(size) characters and a NUL into out. */
void base64url_encode(const unsigned char *bytes, size_t size, char *out);
/* Decodes length characters strictly: no padding, no other characters, unused bits zero. out holds length * 3 / 4 bytes.
 * Returns the number of bytes, or -1 when the text is not canonical base64url. */
long base64url_decode(const char *text, size_t length, unsigned char *out);
/* Decodes standard base64 (RFC 4648 section 4; padding required, ASCII white space between characters skipped).
 * Returns the number of bytes, or -1. out holds length * 3 / 4 bytes. */
long base64_decode(const char *text, size_t length, unsigned char *out);

#endif
