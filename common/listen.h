/* A listening TCP socket from the text that an operator writes. */
#ifndef COMMON_LISTEN_H
#define COMMON_LISTEN_H

#include "error.h"

/* ERROR_INVALID when the text is no address at all; nothing is looked up. */
int listen_check(const char *address, struct error *error) MUST_CHECK;
/* Binds and listens on "127.0.0.1:8080", "[::1]:8080", "*:8080" (all addresses, IPv6 and IPv4) or "name:8080"; port 0 picks a
 * free one. Returns the descriptor (non-blocking, close-on-exec), which the caller owns, and the port really bound; -1 with an
 * error that names the address: ERROR_INVALID when another start would end the same way. */
int listen_open(const char *address, unsigned *port, struct error *error) MUST_CHECK;

#endif
