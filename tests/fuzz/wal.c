/* A write-ahead log as a damaged disk may leave it. One that is sound stays so when its end is missing, as a loss of power
 * leaves it. */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/wal.h"

static int judge(const uint8_t *bytes, size_t size) {
    char path[64];
    int file = memfd_create("wal", 0);
    REQUIRE(file >= 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    REQUIRE(write(file, bytes, size) == (ssize_t)size);
    int status = wal_is_damaged(path);
    close(file);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    int status = judge(bytes, size);
    REQUIRE(status == 0 || status == 1);
    for (size_t length = size; status == 0 && length > 0; length /= 2)
        REQUIRE(judge(bytes, length - 1) == 0);
    return 0;
}
