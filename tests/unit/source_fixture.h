/* What the tests of the sources share: fixtures made by the openssl command in a directory of their own, and short checks. */
#ifndef TESTS_UNIT_SOURCE_FIXTURE_H
#define TESTS_UNIT_SOURCE_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cjson/cJSON.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/jwk.h"
#include "common/memory.h"

#define UNUSED __attribute__((unused))

static char fixture_directory[] = "/tmp/jwk-source-XXXXXX";

/* Runs a shell script in the fixtures' directory; its output is shown only when it fails. */
UNUSED static void fixture_run(const char *script) {
    char *command = memory_format("cd '%s' && { set -e\n%s\n} >log 2>&1", fixture_directory, script);
    int status = system(command);
    free(command);
    if (status != 0) {
        command = memory_format("cat '%s/log' >&2", fixture_directory);
        status = system(command);
        free(command);
        fail_msg("a fixture could not be made");
    }
}

UNUSED static int fixture_open(void **state) {
    (void)state;
    return mkdtemp(fixture_directory) == NULL ? -1 : 0;
}

UNUSED static int fixture_close(void **state) {
    (void)state;
    char *command = memory_format("rm -rf '%s'", fixture_directory);
    int status = system(command);
    free(command);
    return status;
}

/* A file of the directory; *size may be NULL. Freed by the caller. */
UNUSED static char *fixture_read(const char *name, size_t *size) {
    char *path = memory_format("%s/%s", fixture_directory, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("%s is missing", path);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    char *bytes = memory_new((size_t)length + 1);
    assert_int_equal(fread(bytes, 1, (size_t)length, file), length);
    fclose(file);
    free(path);
    if (size != NULL)
        *size = (size_t)length;
    return bytes;
}

#define assert_message(error, part)                                                                                            \
    do {                                                                                                                       \
        if (strstr((error).message, (part)) == NULL)                                                                           \
            fail_msg("the message is \"%s\", without \"%s\"", (error).message, (part));                                        \
        assert_int_equal((error).code, ERROR_INVALID);                                                                         \
    } while (0)

#define assert_ok(result, error)                                                                                               \
    do {                                                                                                                       \
        if ((result) != 0)                                                                                                     \
            fail_msg("refused: %s", (error).message);                                                                          \
    } while (0)

#define assert_made(pointer, error)                                                                                            \
    do {                                                                                                                       \
        if ((pointer) == NULL)                                                                                                 \
            fail_msg("refused: %s", (error).message);                                                                          \
    } while (0)

/* A member of the JWK: a string, or NULL. Valid until the tree is deleted. */
UNUSED static const char *member(const cJSON *tree, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(tree, name));
}

UNUSED static bool has_member(const cJSON *tree, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(tree, name) != NULL;
}

UNUSED static int64_t number(const cJSON *tree, const char *name) {
    return (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(tree, name));
}

UNUSED static cJSON *jwk_tree(const struct jwk *jwk) {
    cJSON *tree = cJSON_Parse(jwk_text(jwk));
    assert_non_null(tree);
    return tree;
}

#endif
