/* The growing text, its JSON writer, and the modules beneath it: memory and errors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define ALLOCATOR_IS_OURS /* sanitizers have one of their own */
#include <jemalloc/jemalloc.h>
#endif
#include <cjson/cJSON.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/error.h"
#include "common/hash.h"
#include "common/memory.h"
#include "common/text.h"

static void text_grows_and_stays_terminated(void **state) {
    (void)state;
    struct text text = TEXT_EMPTY;
    for (int i = 0; i < 1000; i++)
        text_add(&text, "0123456789", 10);
    assert_int_equal(text.length, 10000);
    assert_int_equal(strlen(text.bytes), 10000);
    size_t capacity = text.capacity;
    text_reset(&text);
    assert_int_equal(text.length, 0);
    assert_int_equal(text.capacity, capacity);
    assert_string_equal(text.bytes, "");
    static char large[5000];
    text_add(&text, large, sizeof large);
    text_free(&text);
    text_add(&text, large, sizeof large); /* many times the first capacity at once */
    assert_memory_equal(text.bytes, large, sizeof large);
    text_reset(&text);
    text_add(&text, "a\0b", 3);
    text_add_string(&text, "c");
    assert_int_equal(text.length, 4);
    assert_memory_equal(text.bytes, "a\0bc", 5);
    text_free(&text);
    assert_null(text.bytes);
    text_free(&text);
}

static void text_formats_at_any_length(void **state) {
    (void)state;
    for (int width = 0; width < 1000; width++) {
        struct text text = TEXT_EMPTY;
        text_add_format(&text, "%*s|", width, "");
        text_add_format(&text, "%s", "");
        text_add_format(&text, "%d%%", 5);
        assert_int_equal(text.length, width + 3);
        assert_string_equal(text.bytes + width, "|5%");
        text_free(&text);
    }
}

static void text_is_handed_over(void **state) {
    (void)state;
    struct text text = TEXT_EMPTY;
    char *taken = text_take(&text);
    assert_string_equal(taken, "");
    free(taken);
    text_add_string(&text, "x");
    taken = text_take(&text);
    assert_string_equal(taken, "x");
    assert_null(text.bytes);
    assert_int_equal(text.length + text.capacity, 0);
    free(taken);
}

static void json_has_its_commas_and_escapes(void **state) {
    (void)state;
    struct text text = TEXT_EMPTY;
    text_json_open(&text, NULL, '{');
    text_json_open(&text, "empty", '{');
    text_json_close(&text, '}');
    text_json_open(&text, "list", '[');
    text_json_integer(&text, NULL, INT64_MIN);
    text_json_integer(&text, NULL, INT64_MAX);
    text_json_open(&text, NULL, '[');
    text_json_close(&text, ']');
    text_json_open(&text, NULL, '{');
    text_json_null(&text, "n");
    text_json_close(&text, '}');
    text_json_close(&text, ']');
    text_json_boolean(&text, "yes", true);
    text_json_boolean(&text, "no", false);
    text_json_string(&text, "none", NULL);
    text_json_raw(&text, "raw", "{\"a\":[1]}");
    text_json_string(&text, "q\"k", "\"\\/\b\f\n\r\t\x01\x1f\x7f\xc3\xa9{[:,");
    text_json_string(&text, "last", "");
    text_json_close(&text, '}');
    assert_string_equal(text.bytes,
                        "{\"empty\":{},\"list\":[-9223372036854775808,9223372036854775807,[],{\"n\":null}],"
                        "\"yes\":true,\"no\":false,\"none\":null,\"raw\":{\"a\":[1]},"
                        "\"q\\\"k\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9{[:,\",\"last\":\"\"}");
    text_free(&text);
}

static void json_values_follow_what_was_written_by_hand(void **state) {
    (void)state;
    struct text text = TEXT_EMPTY;
    text_add_string(&text, "{\"by\\thand\":");
    text_json_integer(&text, NULL, 1);
    text_add_string(&text, ",");
    text_json_integer(&text, "n", 2);
    text_json_close(&text, '}');
    text_add_string(&text, "\n");
    text_json_open(&text, NULL, '{');
    text_json_close(&text, '}');
    assert_string_equal(text.bytes, "{\"by\\thand\":1,\"n\":2}\n{}");
    text_free(&text);
}

/* Every byte that UTF-8 allows alone comes back from an independent parser as it went in. */
static void json_strings_survive_a_parser(void **state) {
    (void)state;
    char value[130] = {0};
    for (int i = 1; i < 128; i++)
        value[i - 1] = (char)i;
    struct text text = TEXT_EMPTY;
    text_json_open(&text, NULL, '[');
    text_json_string(&text, NULL, value);
    text_json_close(&text, ']');
    cJSON *tree = cJSON_ParseWithLength(text.bytes, text.length);
    assert_non_null(tree);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetArrayItem(tree, 0)), value);
    cJSON_Delete(tree);
    text_wipe(&text);
    assert_null(text.bytes);
}

/* A replacement whose blocks are not zero. */
static void *allocate_dirty(void *block, size_t size) {
    void *result = realloc(block, size);
    if (block == NULL && result != NULL)
        memset(result, 0xa5, size);
    return result;
}

static void memory_is_zeroed_and_copied(void **state) {
    (void)state;
    void *(*real)(void *, size_t) = memory_allocate;
    for (int pass = 0; pass < 2; pass++) {
        memory_allocate = pass == 0 ? real : allocate_dirty;
        unsigned char *block = memory_new(1000);
        for (size_t i = 0; i < 1000; i++)
            assert_int_equal(block[i], 0);
        free(block);
        free(memory_new(0));
    }
    memory_allocate = real;
    assert_null(memory_string(NULL));
    assert_null(memory_bytes(NULL, 3));
    char *copy = memory_bytes("a\0b", 3);
    assert_memory_equal(copy, "a\0b", 4);
    free(copy);
    copy = memory_format("%s-%d", "x", 7);
    assert_string_equal(copy, "x-7");
    memory_wipe_string(copy);
    memory_wipe_string(NULL);
}

static void *fail_to_allocate(void *block, size_t size) {
    (void)block;
    (void)size;
    return NULL;
}

/* Runs what allocates in a child without memory; it must end with status 71 and one line. */
static void assert_exits(void (*allocate)(void)) {
    int ends[2], status;
    char line[256] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        memory_allocate = fail_to_allocate;
        allocate();
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 71);
    assert_non_null(strstr(line, "out of memory: could not allocate "));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void allocate_new(void) {
    free(memory_new(10));
}

static void allocate_table(void) {
    struct item {
        int key;
        UT_hash_handle hh;
    } item = {.key = 1}, *table = NULL;
    HASH_ADD_INT(table, key, &item);
}

static void allocate_text(void) {
    struct text text = TEXT_EMPTY;
    text_add_string(&text, "x");
    text_free(&text);
}

/* An allocator of SQLite that has no large block. */
enum { LARGE = 1 << 20 };
static sqlite3_mem_methods sqlite;

static void *allocate_small(int size) {
    return size < LARGE ? sqlite.xMalloc(size) : NULL;
}

static void *resize_small(void *block, int size) {
    return size < LARGE ? sqlite.xRealloc(block, size) : NULL;
}

static void let_sqlite_allocate_small_blocks(void) {
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sqlite), SQLITE_OK);
    sqlite3_mem_methods small = sqlite;
    small.xMalloc = allocate_small;
    small.xRealloc = resize_small;
    assert_int_equal(sqlite3_config(SQLITE_CONFIG_MALLOC, &small), SQLITE_OK);
}

static void allocate_in_sqlite(void) {
    sqlite3_free(sqlite3_malloc(LARGE));
}

static void resize_in_sqlite(void) {
    sqlite3_free(sqlite3_realloc(sqlite3_malloc(1), LARGE));
}

static void allocate_json(void) {
    cJSON_Delete(cJSON_Parse("{\"a\":1}"));
}

/* Too much for any allocator, also for one that works. */
static void allocate_too_much(void) {
    memory_allocate = allocate_dirty;
    free(memory_bytes("x", SIZE_MAX));
}

static void running_out_of_memory_is_a_clear_exit(void **state) {
    (void)state;
    assert_exits(allocate_new);
    assert_exits(allocate_text);
    assert_exits(allocate_table);
    assert_exits(allocate_json);
    assert_exits(allocate_in_sqlite);
    assert_exits(resize_in_sqlite);
    assert_exits(allocate_too_much);
}

static void errors_carry_code_and_message(void **state) {
    (void)state;
    struct error error = {0};
    assert_int_equal(error_set(&error, ERROR_CONFLICT, "%s is %d", "x", 5), -1);
    assert_int_equal(error.code, ERROR_CONFLICT);
    assert_string_equal(error.message, "x is 5");
    assert_int_equal(error_prefix(&error, "line %d", 3), -1);
    assert_string_equal(error.message, "line 3: x is 5");
    assert_int_equal(error.code, ERROR_CONFLICT);
    error_set(&error, ERROR_INVALID, "again: %s", error.message); /* the message as its own argument */
    assert_string_equal(error.message, "again: line 3: x is 5");
    assert_int_equal(error_set(NULL, ERROR_INVALID, "x"), -1);
    assert_int_equal(error_prefix(NULL, "x"), -1);
}

static bool is_whole_utf8(const char *text) {
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t length = *at < 0x80 ? 1 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
        for (size_t i = 1; i < length; i++)
            if ((at[i] & 0xc0) != 0x80)
                return false;
        at += length;
    }
    return true;
}

static void long_errors_are_cut_between_characters(void **state) {
    (void)state;
    static const char *const characters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x94\x91"};
    for (size_t c = 0; c < sizeof characters / sizeof *characters; c++)
        for (int shift = 0; shift < 5; shift++) {
            struct text text = TEXT_EMPTY;
            struct error error;
            while (text.length < 1000)
                text_add_string(&text, characters[c]);
            error_set(&error, ERROR_INVALID, "%.*s%s", shift, "aaaaa", text.bytes);
            assert_true(is_whole_utf8(error.message));
            assert_in_range(strlen(error.message), sizeof error.message - 4, sizeof error.message - 1);
            error_prefix(&error, "%.*s", shift, "bbbbb");
            assert_true(is_whole_utf8(error.message));
            assert_in_range(strlen(error.message), sizeof error.message - 4, sizeof error.message - 1);
            error_prefix(&error, "%s", text.bytes);
            assert_true(is_whole_utf8(error.message));
            text_free(&text);
        }
}

#ifdef ALLOCATOR_IS_OURS
static size_t resident(void) {
    uint64_t epoch = 1;
    size_t bytes, size = sizeof bytes;
    assert_int_equal(mallctl("epoch", NULL, NULL, &epoch, sizeof epoch), 0); /* the figures of now */
    assert_int_equal(mallctl("stats.resident", &bytes, &size, NULL, 0), 0);
    return bytes;
}

/* Nobody allocates in between: what was freed long ago goes back when somebody looks. */
static void freed_memory_is_given_back(void **state) {
    (void)state;
    enum { BLOCKS = 1000, BLOCK = 64 << 10, MOST_TRIES = 200 };
    static char *blocks[BLOCKS];
    ssize_t decay_ms = 200;
    assert_int_equal(mallctl("arena.0.dirty_decay_ms", NULL, NULL, &decay_ms, sizeof decay_ms), 0);
    size_t before = resident();
    for (size_t i = 0; i < BLOCKS; i++)
        memset(blocks[i] = memory_resize(NULL, BLOCK), 'x', BLOCK);
    assert_true(resident() > before + (size_t)BLOCKS * BLOCK / 2);
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    for (int tries = 0; resident() > before + (size_t)BLOCKS * BLOCK / 8; tries++) {
        assert_in_range(tries, 0, MOST_TRIES);
        usleep(100000);
        memory_give_back();
    }
}
#endif

int main(void) {
    let_sqlite_allocate_small_blocks();
    memory_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_stays_terminated),
        cmocka_unit_test(text_formats_at_any_length),
        cmocka_unit_test(text_is_handed_over),
        cmocka_unit_test(json_has_its_commas_and_escapes),
        cmocka_unit_test(json_values_follow_what_was_written_by_hand),
        cmocka_unit_test(json_strings_survive_a_parser),
        cmocka_unit_test(memory_is_zeroed_and_copied),
        cmocka_unit_test(running_out_of_memory_is_a_clear_exit),
#ifdef ALLOCATOR_IS_OURS
        cmocka_unit_test(freed_memory_is_given_back),
#endif
        cmocka_unit_test(errors_carry_code_and_message),
        cmocka_unit_test(long_errors_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
