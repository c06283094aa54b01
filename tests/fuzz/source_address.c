/* Networks as the configuration writes them: an address is in the network that it makes itself. */
#include "fuzz.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "api/source_address.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    static struct source_networks networks;
    char *text = take_rest(bytes, size);
    if (source_networks_parse(text, &networks, &error)) {
        require_refusal(&error);
    } else {
        REQUIRE(networks.count <= SOURCE_NETWORKS_MAX);
        for (size_t i = 0; i < networks.count; i++) {
            struct sockaddr_in6 address = {.sin6_family = AF_INET6};
            memcpy(&address.sin6_addr, networks.networks[i].address, 16);
            REQUIRE(networks.networks[i].prefix <= 128);
            REQUIRE(source_address_is_allowed((const struct sockaddr *)&address, &networks));
        }
    }
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    static const struct source_networks none;
    if (inet_pton(AF_INET6, text, &six.sin6_addr) == 1)
        REQUIRE(source_address_is_allowed((const struct sockaddr *)&six, &none) ==
                (source_address_kind((const struct sockaddr *)&six) == NULL));
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
        /* An IPv4 address is judged alike as itself and inside an IPv6 one. */
        six.sin6_addr = (struct in6_addr){.s6_addr = {[10] = 0xFF, [11] = 0xFF}};
        memcpy(&six.sin6_addr.s6_addr[12], &four.sin_addr, 4);
        const char *one = source_address_kind((const struct sockaddr *)&four), *other = source_address_kind((const struct sockaddr *)&six);
        REQUIRE((one == NULL) == (other == NULL));
        REQUIRE(!one || strcmp(one, other) == 0);
    }
    free(text);
    return 0;
}
