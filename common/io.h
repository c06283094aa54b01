/* Writing whole what write(2) may write in part. Thread-safe. */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include <stddef.h>

/* Writes all bytes to a descriptor that blocks, through interruptions. -1 with errno: an unknown part of them is written. */
int io_write_all(int descriptor, const void *bytes, size_t length) __attribute__((warn_unused_result));

#endif
