/* A record's value in the topic of acks: what is decoded is encoded to the same, and decoded again. */
#include "fuzz.h"

#include "common/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct ack ack, same;
    char *value = take_rest(bytes, size);
    int status = ack_decode(value, size, &ack, &error);
    free(value); /* what was decoded owns what it points to */
    if (status) {
        require_refusal(&error);
        return 0;
    }
    struct text first = TEXT_EMPTY, second = TEXT_EMPTY;
    ack_encode(&ack, &first);
    REQUIRE(ack_decode(first.bytes, first.length, &same, &error) == 0);
    ack_encode(&same, &second);
    REQUIRE(strcmp(first.bytes, second.bytes) == 0);
    text_free(&first);
    text_free(&second);
    ack_free(&same);
    ack_free(&ack);
    return 0;
}
