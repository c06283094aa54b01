/* A file that tells where a program listens, for whoever started it on port 0. */
#ifndef COMMON_ADDRESS_FILE_H
#define COMMON_ADDRESS_FILE_H

#include "error.h"

/* Writes "address\n" to path atomically: the file is there whole or not at all. */
int address_file_write(const char *path, const char *address, struct error *error) MUST_CHECK;
/* The same with the host of listen ("127.0.0.1:0", "[::1]:0", "*:0" as 127.0.0.1) and the port really bound. */
int address_file_write_bound(const char *path, const char *listen, unsigned port, struct error *error) MUST_CHECK;

#endif
