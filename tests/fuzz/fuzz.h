/* What the fuzz targets share.
 *
 * A target is one file of this folder: it defines LLVMFuzzerTestOneInput() (https://llvm.org/docs/LibFuzzer.html), which hands
 * its bytes to one reader of foreign bytes and then holds what came out against what must be true of it. A lie found that way
 * ends the process like a step beyond a buffer does, and the input is kept. Seeds are in corpus/TARGET, words worth trying in
 * TARGET.dict; a seed named *.base64 is decoded first. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/error.h"
#include "common/json.h"
#include "common/log.h"
#include "common/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What must be true; on a failure the process ends and the fuzzer writes the input. */
#define REQUIRE(condition)                                                                      \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: this must be true: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

/* A message as a client or the log may get it: valid UTF-8 without control characters. */
static inline void require_sentence(const char *message) {
    REQUIRE(message[0] != '\0');
    REQUIRE(json_utf8_is_valid(message, strlen(message)));
    for (const char *at = message; *at; at++)
        REQUIRE((unsigned char)*at >= ' ' && *at != 0x7F);
}

/* A refusal: invalid input, said in a sentence. */
static inline void require_refusal(const struct error *error) {
    REQUIRE(error->code == ERROR_INVALID);
    require_sentence(error->message);
}

/* The input's next line as a new string without its line end (and cut at a NUL, as strings are); "" when nothing is left. */
static inline char *take_line(const uint8_t **bytes, size_t *size) {
    const uint8_t *end = *size ? memchr(*bytes, '\n', *size) : NULL;
    size_t length = end ? (size_t)(end - *bytes) : *size;
    char *line = memory_bytes(*bytes ? (const char *)*bytes : "", length);
    size_t taken = end ? length + 1 : length;
    *bytes += taken;
    *size -= taken;
    return line;
}

/* The rest of the input as a new string of exactly its size and a NUL: AddressSanitizer sees a step beyond it. */
static inline char *take_rest(const uint8_t *bytes, size_t size) { return memory_bytes(size ? (const char *)bytes : "", size); }

__attribute__((constructor)) static void fuzz_start(void) {
    memory_init();
    log_init("fuzz", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
}

#endif
