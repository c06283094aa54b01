/* Reading SQLite's write-ahead log: sqlite.org/fileformat2.html, section 4. */
#include "wal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { LOG_HEADER_BYTES = 32, FRAME_HEADER_BYTES = 24, PAGE_BYTES_MAX = 65536, LOG_MAGIC = 0x377f0682 };

struct log_reader {
    FILE *file;
    uint32_t page_size;
    bool big_endian; /* of the checksums' words */
    unsigned char salts[8];
    uint32_t checksum[2]; /* up to where it was read */
};

static uint32_t read_word(const unsigned char *bytes, bool big_endian) {
    return big_endian ? (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3]
                      : (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 | bytes[0];
}

/* Goes on with the checksum over bytes, a multiple of 8 of them. */
static void add_checksum(const struct log_reader *reader, const unsigned char *bytes, size_t size, uint32_t sum[2]) {
    for (size_t i = 0; i < size; i += 8) {
        sum[0] += read_word(bytes + i, reader->big_endian) + sum[1];
        sum[1] += read_word(bytes + i + 4, reader->big_endian) + sum[0];
    }
}

/* 1 when there is a header, 0 when there is none yet, -1 when it is damaged. */
static int read_header(struct log_reader *reader) {
    unsigned char header[LOG_HEADER_BYTES];
    size_t got = fread(header, 1, sizeof header, reader->file);
    bool is_empty = true;
    for (size_t i = 0; i < got; i++)
        is_empty &= header[i] == 0;
    if (got < sizeof header || is_empty)
        return 0;
    uint32_t magic = read_word(header, true);
    reader->big_endian = magic & 1;
    reader->page_size = read_word(header + 8, true);
    memcpy(reader->salts, header + 16, sizeof reader->salts);
    add_checksum(reader, header, 24, reader->checksum);
    bool is_sound = (magic & ~1u) == LOG_MAGIC && reader->page_size >= 512 && reader->page_size <= PAGE_BYTES_MAX &&
                    reader->checksum[0] == read_word(header + 24, true) && reader->checksum[1] == read_word(header + 28, true);
    return is_sound ? 1 : -1;
}

/* Whether the log goes on behind a frame that is not sound. A commit is synced before anything is written behind it: where a
 * sound frame follows a commit, everything before was on the disk, and what is not sound now was damaged since. */
static bool is_damaged(struct log_reader *reader) {
    unsigned char frame[FRAME_HEADER_BYTES + PAGE_BYTES_MAX];
    bool is_broken = false, has_commit = false;
    while (fread(frame, 1, FRAME_HEADER_BYTES + reader->page_size, reader->file) == FRAME_HEADER_BYTES + reader->page_size) {
        uint32_t sum[2] = {reader->checksum[0], reader->checksum[1]};
        add_checksum(reader, frame, 8, sum);
        add_checksum(reader, frame + FRAME_HEADER_BYTES, reader->page_size, sum);
        reader->checksum[0] = read_word(frame + 16, true);
        reader->checksum[1] = read_word(frame + 20, true);
        bool is_ours = memcmp(frame + 8, reader->salts, sizeof reader->salts) == 0;
        if (!is_ours || sum[0] != reader->checksum[0] || sum[1] != reader->checksum[1]) {
            is_broken = true; /* the next is held against the checksum that this one states */
            continue;
        }
        if (is_broken && has_commit)
            return true;
        has_commit |= is_broken && read_word(frame + 4, true) != 0;
    }
    return false;
}

int wal_is_damaged(const char *path) {
    struct log_reader reader = {.file = fopen(path, "re")};
    if (!reader.file)
        return errno == ENOENT ? 0 : -1;
    int header = read_header(&reader);
    bool has_damage = header < 0 || (header > 0 && is_damaged(&reader));
    fclose(reader.file);
    return has_damage;
}
