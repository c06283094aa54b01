/* Hash tables: uthash with the allocation of memory.h, so that running out of memory ends the process as it does everywhere. On its
 * own uthash calls exit(-1). */
#ifndef COMMON_HASH_H
#define COMMON_HASH_H

#include <stdlib.h>

#include "memory.h"

#define uthash_malloc(size)      memory_new(size)
#define uthash_free(block, size) free(block)
#include <uthash.h>

#endif
