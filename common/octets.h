/* Bytes that are borrowed: not NUL-terminated; bytes is NULL where there are none at all. */
#ifndef COMMON_OCTETS_H
#define COMMON_OCTETS_H

#include <stddef.h>

struct octets {
    const void *bytes;
    size_t length;
};

#endif
