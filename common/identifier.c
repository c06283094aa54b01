/* Identifiers and digests: what both programs name things by. Random bytes come from the kernel at each call, so that
 * nothing is shared between threads and nothing is left behind in memory by a fork or a snapshot; those of identifiers, which are
 * no secrets, in larger pieces. */
#include "common/identifier.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <time.h>

#include "common/base64url.h"
#include "common/log.h"

static const char HEX[16] __attribute__((nonstring)) = "0123456789abcdef";

static void write_hex(const unsigned char *bytes, size_t size, char *out) {
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = HEX[bytes[i] >> 4];
        out[2 * i + 1] = HEX[bytes[i] & 15];
    }
}

static bool is_hex(char character) {
    return (character >= '0' && character <= '9') || (character >= 'a' && character <= 'f');
}

void random_bytes(void *out, size_t size) {
    unsigned char *next = out;
    while (size > 0) {
        ssize_t got = getrandom(next, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            /* Going on would make tokens and identifiers that can be guessed. */
            log_error("no random bytes", "error", strerror(errno));
            exit(EX_OSERR);
        }
        next += got;
        size -= (size_t)got;
    }
}

/* Random bytes for identifiers, which are no secrets: a reserve per thread saves most of the system calls. */
static void identifier_bytes(void *out, size_t size) {
    static _Thread_local unsigned char reserve[512];
    static _Thread_local size_t left;
    if (left < size) {
        random_bytes(reserve, sizeof reserve);
        left = sizeof reserve;
    }
    left -= size;
    memcpy(out, reserve + left, size);
}

void uuid_new(char out[UUID_SIZE]) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t milliseconds = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    /* RFC 9562 section 6.2 method 3: the 12 bits behind the version hold the fraction of the millisecond, which keeps the
     * thousands of one second in order too. */
    unsigned fraction = (unsigned)((uint64_t)(now.tv_nsec % 1000000) * 4096 / 1000000);

    unsigned char bytes[16];
    for (int i = 0; i < 6; i++)
        bytes[i] = (unsigned char)(milliseconds >> (40 - 8 * i));
    bytes[6] = (unsigned char)(0x70 | fraction >> 8);
    bytes[7] = (unsigned char)fraction;
    identifier_bytes(bytes + 8, 8);
    bytes[8] = (unsigned char)(0x80 | (bytes[8] & 0x3f));

    static const struct {
        unsigned first, size, at;
    } groups[] = {{0, 4, 0}, {4, 2, 9}, {6, 2, 14}, {8, 2, 19}, {10, 6, 24}};
    memset(out, '-', UUID_SIZE - 1);
    out[UUID_SIZE - 1] = '\0';
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        write_hex(bytes + groups[i].first, groups[i].size, out + groups[i].at);
}

bool uuid_is_valid(const char *text) {
    for (size_t i = 0; i < UUID_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        /* A NUL is neither, so this never reads past a shorter text. */
        if (dash ? text[i] != '-' : !is_hex(text[i]))
            return false;
    }
    return text[UUID_SIZE - 1] == '\0';
}

/* Fetched once: a fetch at each digest takes locks of the library's context that all threads share. */
static EVP_MD *sha256_digest;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void sha256_fetch(void) {
    sha256_digest = EVP_MD_fetch(NULL, "SHA256", NULL);
}

void sha256_bytes(const void *bytes, size_t size, unsigned char out[32]) {
    pthread_once(&sha256_once, sha256_fetch);
    unsigned written = 0;
    if (!sha256_digest || !EVP_Digest(bytes, size, out, &written, sha256_digest, NULL) || written != 32) {
        log_error("SHA-256 failed", "error", "the cryptographic library has no SHA-256 or no memory");
        exit(EX_OSERR);
    }
}

void sha256_text(const void *bytes, size_t size, char out[SHA256_TEXT_SIZE]) {
    unsigned char digest[32];
    sha256_bytes(bytes, size, digest);
    base64url_encode(digest, sizeof digest, out);
}

/* Where the parts of "00-<trace id>-<parent id>-<flags>" begin, and their lengths. */
enum { TRACE_ID = 3, TRACE_ID_LENGTH = 32, PARENT_ID = 36, PARENT_ID_LENGTH = 16, FLAGS = 53, TRACEPARENT_LENGTH = 55 };

static bool is_all_zero(const char *text, size_t length) {
    return strspn(text, "0") >= length;
}

/* Whether the first 55 characters are the four fields that every version begins with. */
static bool traceparent_fields_are_valid(const char *text) {
    for (size_t i = 0; i < TRACEPARENT_LENGTH; i++) {
        bool dash = i == TRACE_ID - 1 || i == PARENT_ID - 1 || i == FLAGS - 1;
        if (dash ? text[i] != '-' : !is_hex(text[i]))
            return false;
    }
    return strncmp(text, "ff", 2) != 0 && !is_all_zero(text + TRACE_ID, TRACE_ID_LENGTH) &&
           !is_all_zero(text + PARENT_ID, PARENT_ID_LENGTH);
}

bool traceparent_is_valid(const char *text) {
    return traceparent_fields_are_valid(text) && strncmp(text, "00", 2) == 0 && text[TRACEPARENT_LENGTH] == '\0';
}

/* A later version may have more fields behind ours; its first four are read all the same (section 3.2.4). */
static bool traceparent_is_readable(const char *text) {
    if (!traceparent_fields_are_valid(text))
        return false;
    char next = text[TRACEPARENT_LENGTH];
    return next == '\0' || (next == '-' && strncmp(text, "00", 2) != 0);
}

static void write_random_hex(char *out, size_t length) {
    unsigned char bytes[TRACE_ID_LENGTH / 2];
    identifier_bytes(bytes, length / 2);
    /* All zero is not an identifier; setting one bit is as random as drawing again. */
    bytes[0] |= (unsigned char)(bytes[0] == 0);
    write_hex(bytes, length / 2, out);
}

void traceparent_new(const char *parent, char out[TRACEPARENT_SIZE]) {
    char made[TRACEPARENT_SIZE] = "00-00000000000000000000000000000000-0000000000000000-00";
    if (parent && traceparent_is_readable(parent)) {
        memcpy(made + TRACE_ID, parent + TRACE_ID, TRACE_ID_LENGTH);
        /* Only the sampled flag is passed on: version 00 defines no other. */
        made[FLAGS + 1] = strchr("13579bdf", parent[FLAGS + 1]) ? '1' : '0';
    } else {
        write_random_hex(made + TRACE_ID, TRACE_ID_LENGTH);
    }
    write_random_hex(made + PARENT_ID, PARENT_ID_LENGTH);
    memcpy(out, made, sizeof made);
}
