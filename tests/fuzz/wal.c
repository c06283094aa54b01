/* A write-ahead log as a damaged disk may leave it. The checksums, which nobody guesses, are put right behind the first byte: 1
 * for that of the header, 2 for those of the frames, too. A log that is sound stays so when its end is missing, as a loss of
 * power leaves it. */
#include "../../common/wal.c" /* for add_checksum(), which is nobody else's */

#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

static void write_sum(const uint32_t sum[2], uint8_t out[8]) {
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(sum[i / 4] >> (24 - 8 * (i % 4)));
}

/* Puts the header's checksum right, and those of all frames; returns whether the log is one that can only be sound. */
static bool repair(uint8_t *log, size_t size, bool with_frames) {
    struct log_reader reader = {0};
    if (size < LOG_HEADER_BYTES)
        return false;
    reader.big_endian = log[3] & 1;
    reader.page_size = read_word(log + 8, true);
    add_checksum(&reader, log, 24, reader.checksum);
    write_sum(reader.checksum, log + 24);
    if (!with_frames || (read_word(log, true) & ~1u) != LOG_MAGIC || reader.page_size < 512 ||
        reader.page_size > PAGE_BYTES_MAX || reader.page_size % 8)
        return false;
    for (size_t at = LOG_HEADER_BYTES; at + FRAME_HEADER_BYTES + reader.page_size <= size;
         at += FRAME_HEADER_BYTES + reader.page_size) {
        memcpy(log + at + 8, log + 16, 8); /* the salts */
        add_checksum(&reader, log + at, 8, reader.checksum);
        add_checksum(&reader, log + at + FRAME_HEADER_BYTES, reader.page_size, reader.checksum);
        write_sum(reader.checksum, log + at + 16);
    }
    return true;
}

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
    if (size == 0)
        return 0;
    uint8_t *log = (uint8_t *)take_rest(bytes + 1, --size);
    bool is_sound = bytes[0] & 3 && repair(log, size, bytes[0] & 2);
    int status = judge(log, size);
    REQUIRE(status == 0 || status == 1);
    REQUIRE(status == 0 || !is_sound);
    for (size_t length = size; status == 0 && length > 0; length /= 2)
        REQUIRE(judge(log, length - 1) == 0);
    free(log);
    return 0;
}
