/* The strictness pass and the parser behind it: what is taken is written again as the same document, exactly. */
#include "fuzz.h"

#include "common/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    char *text = take_rest(bytes, size);
    cJSON *tree = json_parse(text, size, &error);
    free(text);
    if (!tree) {
        require_refusal(&error);
        return 0;
    }
    struct text written = TEXT_EMPTY, again = TEXT_EMPTY;
    json_write(&written, NULL, tree);
    REQUIRE(written.length < json_written_bound(tree));
    REQUIRE(json_utf8_is_valid(written.bytes, written.length));
    cJSON *same = json_parse(written.bytes, written.length, &error);
    REQUIRE(same != NULL);
    REQUIRE(cJSON_Compare(tree, same, true));
    json_write(&again, NULL, same);
    REQUIRE(strcmp(written.bytes, again.bytes) == 0);
    text_free(&written);
    text_free(&again);
    json_wipe(same);
    json_wipe(tree);
    return 0;
}
