/* The one place that allocates, so that running out of memory has one outcome. */
#include "memory.h"

#include <cjson/cJSON.h>
#include <jemalloc/jemalloc.h>
#include <openssl/crypto.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

enum {
    EXIT_OUT_OF_MEMORY = 71, /* EX_OSERR of sysexits.h */
    GIVE_BACK_MS = 1000,     /* between two looks for memory to give back */
};

/* jemalloc, which the programs are linked with, reads this when the process starts. Most blocks here are freed by another thread
 * than the one that asked for them: instead of glibc's allocator it gave 1,000 updates in flight 17 % more updates a second. One
 * arena for all threads, and few free blocks kept with each of them, cost nothing measurable and 1.5 MB less in a process that
 * has 40 threads. */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:1,tcache_max:1024,tcache_nslots_small_max:32,dirty_decay_ms:3000";

static void *allocate_by_realloc(void *block, size_t size) {
    return realloc(block, size);
}

void *(*memory_allocate)(void *block, size_t size) = allocate_by_realloc;

/* Neither stdio nor the log is used: both may allocate. _exit() because an exit handler may need memory too. */
static _Noreturn void exit_out_of_memory(size_t size) {
    char line[96];
    int length = snprintf(line, sizeof line, "out of memory: could not allocate %zu bytes\n", size);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    (void)ignored;
    _exit(EXIT_OUT_OF_MEMORY);
}

void *memory_resize(void *block, size_t size) {
    void *resized = memory_allocate(block, size > 0 ? size : 1);
    if (resized == NULL)
        exit_out_of_memory(size);
    return resized;
}

void *memory_new(size_t size) {
    /* calloc() takes large blocks from the kernel zeroed already; a test's allocator gets every call all the same. */
    size_t wanted = size > 0 ? size : 1;
    void *block = memory_allocate == allocate_by_realloc ? calloc(1, wanted) : memory_allocate(NULL, wanted);
    if (block == NULL)
        exit_out_of_memory(size);
    if (memory_allocate != allocate_by_realloc)
        memset(block, 0, size);
    return block;
}

char *memory_string(const char *text) {
    return text == NULL ? NULL : memory_bytes(text, strlen(text));
}

char *memory_bytes(const void *bytes, size_t size) {
    if (bytes == NULL)
        return NULL;
    if (size == SIZE_MAX)
        exit_out_of_memory(size);
    char *copy = memory_resize(NULL, size + 1);
    memcpy(copy, bytes, size);
    copy[size] = '\0';
    return copy;
}

char *memory_format(const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    /* A negative length means a conversion that cannot be done, which only a wrong format brings about. */
    size_t size = length < 0 ? 1 : (size_t)length + 1;
    char *text = memory_resize(NULL, size);
    text[0] = '\0';
    if (length >= 0)
        vsnprintf(text, size, format, again);
    va_end(again);
    return text;
}

void memory_wipe_string(char *secret) {
    if (secret == NULL)
        return;
    OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

static void *allocate_for_cjson(size_t size) {
    return memory_resize(NULL, size);
}

static sqlite3_mem_methods sqlite; /* its own; written by memory_init() alone */

static void *allocate_for_sqlite(int size) {
    void *block = sqlite.xMalloc(size);
    if (block == NULL)
        exit_out_of_memory((size_t)size);
    return block;
}

static void *reallocate_for_sqlite(void *block, int size) {
    void *resized = sqlite.xRealloc(block, size);
    if (resized == NULL)
        exit_out_of_memory((size_t)size);
    return resized;
}

/* crypto/mem.c of OpenSSL leaves blocks of no size to whoever takes its place: they are NULL, and no failure. */
static void *allocate_for_openssl(size_t size, const char *file, int line) {
    (void)file, (void)line;
    return size > 0 ? memory_resize(NULL, size) : NULL;
}

static void free_for_openssl(void *block, const char *file, int line) {
    (void)file, (void)line;
    free(block);
}

static void *reallocate_for_openssl(void *block, size_t size, const char *file, int line) {
    if (size > 0)
        return memory_resize(block, size);
    free_for_openssl(block, file, line);
    return NULL;
}

/* Not there in a program that is not linked with jemalloc: one under a sanitizer. */
#pragma weak mallctl

/* jemalloc does it by itself only while there is enough to do. Its background thread (5.3.0) slept over 20 MB in two of five
 * workers: when it was busy at the moment in which most of them were freed, nobody woke it again. */
void memory_give_back(void) {
    static int64_t next;
    int64_t now = clock_monotonic_ms();
    if (!mallctl || now < next)
        return;
    next = now + GIVE_BACK_MS;
    (void)mallctl("arena.0.decay", NULL, NULL, NULL, 0);
}

void memory_init(void) {
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = allocate_for_cjson, .free_fn = free});
    (void)CRYPTO_set_mem_functions(allocate_for_openssl, reallocate_for_openssl, free_for_openssl);
    sqlite3_mem_methods methods;
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &methods) != SQLITE_OK || methods.xMalloc == allocate_for_sqlite)
        return; /* it is used already, or this was called before */
    sqlite = methods;
    methods.xMalloc = allocate_for_sqlite;
    methods.xRealloc = reallocate_for_sqlite;
    (void)sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}
