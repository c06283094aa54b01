/* A record's value in the topic of events: what is decoded is encoded to the same, and decoded again. */
#include "fuzz.h"

#include "common/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct event event, same;
    char *value = take_rest(bytes, size);
    int status = event_decode(value, size, &event, &error);
    free(value); /* what was decoded owns what it points to */
    if (status) {
        require_refusal(&error);
        return 0;
    }
    struct text first = TEXT_EMPTY, second = TEXT_EMPTY;
    event_encode(&event, &first);
    REQUIRE(event_decode(first.bytes, first.length, &same, &error) == 0);
    event_encode(&same, &second);
    REQUIRE(strcmp(first.bytes, second.bytes) == 0);
    text_free(&first);
    text_free(&second);
    event_free(&same);
    event_free(&event);
    return 0;
}
