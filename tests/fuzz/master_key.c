/* A file of master keys, or what a program prints for one. What is read are different keys, each found by its id; a refusal
 * names a line and repeats nothing of it. */
#define take_line take_line_of_file /* fuzz.h has another */
#include "../../api/master_key.c"   /* for take_lines(), which is nobody else's */
#undef take_line

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct master_keys keys = {.where = memory_string("master key file x")};
    struct text content = TEXT_EMPTY;
    text_add(&content, size ? (const char *)bytes : "", size);
    if (take_lines(&keys, &content, &error)) {
        require_refusal(&error);
        REQUIRE(strncmp(error.message, keys.where, strlen(keys.where)) == 0 && strlen(error.message) < 120);
    } else {
        REQUIRE(keys.count >= 1 && keys.count <= MASTER_KEYS_MAX);
        for (size_t i = 0; i < keys.count; i++)
            REQUIRE(master_keys_find(&keys, keys.items[i].id) == &keys.items[i]);
    }
    text_wipe(&content);
    master_keys_clear(&keys);
    return 0;
}
