/* If-Match and If-None-Match: a list that holds the tag names it, and only one that has the tag in it can. */
#include "fuzz.h"

#include "api/etag.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct store_jwk jwk = {.epoch = 1, .version = 7, .uid = "01890000-0000-7000-8000-00000000000a"};
    char etag[ETAG_SIZE], shown[ETAG_SIZE];
    etag_write(&jwk, 0, etag);
    etag_write(&jwk, 42, shown);
    char *list = take_rest(bytes, size);
    bool strong = etag_list_names(list, etag, ETAG_STATE), weak = etag_list_names(list, etag, ETAG_WEAK);
    bool any = list[strspn(list, " \t")] == '*';
    REQUIRE(!strong || any || strstr(list, "\"1-7-01890000-0000-7000-8000-00000000000a"));
    REQUIRE(!weak || any || strstr(list, etag));
    /* What is shown beside the state is no part of what a change is made on condition of. */
    REQUIRE(etag_list_names(list, shown, ETAG_STATE) == strong);
    char *longer = memory_format("%s, %s", etag, list);
    REQUIRE(etag_list_names(longer, etag, ETAG_STATE) && etag_list_names(longer, etag, ETAG_WEAK));
    free(longer);
    free(list);
    return 0;
}
