/* The Prefer header. */
#include "fuzz.h"

#include "api/prefer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct preferences preferences, again;
    char *value = take_rest(bytes, size);
    prefer_parse(value, &preferences);
    REQUIRE(preferences.wait_s >= -1 && preferences.wait_s <= PREFER_WAIT_MAX_S);
    REQUIRE(preferences.wait_s < 0 || strcasestr(value, "wait"));
    REQUIRE(!preferences.respond_async || strcasestr(value, "respond-async"));
    /* A list is read from its front: what follows changes no preference that was there. */
    char *longer = memory_format("%s, wait=1, respond-async", value);
    prefer_parse(longer, &again);
    REQUIRE(again.respond_async);
    REQUIRE(preferences.wait_s < 0 || again.wait_s == preferences.wait_s);
    free(longer);
    free(value);
    return 0;
}
