/* A record's value in the topic of workers: what is decoded is encoded to the same. The first line is its ce_type. */
#include "fuzz.h"

#include "common/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct presence presence, same;
    enum presence_kind kind = PRESENCE_HELLO;
    char *type = take_line(&bytes, &size), *value = take_rest(bytes, size);
    for (enum presence_kind i = PRESENCE_HELLO; i <= PRESENCE_GOODBYE; i++)
        if (strcmp(type, presence_kind_type(i)) == 0)
            kind = i;
    int status = presence_decode(value, size, kind, &presence, &error);
    free(value);
    free(type);
    if (status) {
        require_refusal(&error);
        return 0;
    }
    REQUIRE(presence.kind == kind && presence.position_count <= POSITION_COUNT_MAX && presence.failing_count <= FAILING_COUNT_MAX);
    struct text first = TEXT_EMPTY, second = TEXT_EMPTY;
    presence_encode(&presence, &first);
    REQUIRE(presence_decode(first.bytes, first.length, kind, &same, &error) == 0);
    presence_encode(&same, &second);
    REQUIRE(strcmp(first.bytes, second.bytes) == 0);
    text_free(&first);
    text_free(&second);
    presence_free(&same);
    presence_free(&presence);
    return 0;
}
