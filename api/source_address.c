/* The special-purpose address registries as a table, looked at for the very address that is connected to. */
#include "api/source_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct range4 {
    uint32_t address;
    unsigned prefix;
    const char *kind;
} ranges4[] = {
    {0x00000000, 8, "unspecified"},     /* 0.0.0.0/8, reaches the host itself on Linux */
    {0x0A000000, 8, "private"},         /* 10.0.0.0/8 */
    {0x64400000, 10, "shared (CGNAT)"}, /* 100.64.0.0/10 */
    {0x7F000000, 8, "loopback"},        /* 127.0.0.0/8 */
    {0xA9FE0000, 16, "link-local"},     /* 169.254.0.0/16, clouds' metadata services */
    {0xAC100000, 12, "private"},        /* 172.16.0.0/12 */
    {0xC0000000, 24, "reserved"},       /* 192.0.0.0/24, protocol assignments */
    {0xC0000200, 24, "documentation"},  /* 192.0.2.0/24 */
    {0xC0586300, 24, "reserved"},       /* 192.88.99.0/24, 6to4 relays */
    {0xC0A80000, 16, "private"},        /* 192.168.0.0/16 */
    {0xC6120000, 15, "benchmarking"},   /* 198.18.0.0/15 */
    {0xC6336400, 24, "documentation"},  /* 198.51.100.0/24 */
    {0xCB007100, 24, "documentation"},  /* 203.0.113.0/24 */
    {0xE0000000, 4, "multicast"},       /* 224.0.0.0/4 */
    {0xF0000000, 4, "reserved"},        /* 240.0.0.0/4 with the broadcast address */
};

/* Only 2000::/3 is given out as global unicast; these parts of it, and of the rest those whose kind is worth telling. */
static const struct range6 {
    unsigned char address[16];
    unsigned prefix;
    const char *kind;
} ranges6[] = {
    {{[15] = 1}, 128, "loopback"},
    {{0}, 128, "unspecified"},
    {{0xFC}, 7, "private"},
    {{0xFE, 0x80}, 10, "link-local"},
    {{0xFE, 0xC0}, 10, "private"},
    {{0xFF}, 8, "multicast"},
    {{0x20, 0x01}, 23, "reserved"}, /* protocol assignments, with Teredo and ORCHID */
    {{0x20, 0x01, 0x0D, 0xB8}, 32, "documentation"},
    {{0x3F, 0xFF}, 20, "documentation"},
};

static const unsigned char mapped_prefix[12] = {[10] = 0xFF, [11] = 0xFF};
static const unsigned char nat64_prefix[12] = {0x00, 0x64, 0xFF, 0x9B};

static bool prefix_equal(const unsigned char *left, const unsigned char *right, unsigned bits) {
    unsigned bytes = bits / 8;
    unsigned rest = bits % 8;

    if (memcmp(left, right, bytes) != 0)
        return false;
    return rest == 0 || ((left[bytes] ^ right[bytes]) >> (8 - rest)) == 0;
}

static const char *kind4(uint32_t address) {
    for (size_t i = 0; i < sizeof ranges4 / sizeof ranges4[0]; i++)
        if ((address ^ ranges4[i].address) >> (32 - ranges4[i].prefix) == 0)
            return ranges4[i].kind;
    return NULL;
}

static uint32_t read32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static const char *kind6(const unsigned char address[16]) {
    if (memcmp(address, mapped_prefix, sizeof mapped_prefix) == 0 || memcmp(address, nat64_prefix, sizeof nat64_prefix) == 0)
        return kind4(read32(address + 12));
    if (address[0] == 0x20 && address[1] == 0x02)
        return kind4(read32(address + 2)); /* 6to4 */
    for (size_t i = 0; i < sizeof ranges6 / sizeof ranges6[0]; i++)
        if (prefix_equal(address, ranges6[i].address, ranges6[i].prefix))
            return ranges6[i].kind;
    return address[0] >> 5 == 1 ? NULL : "reserved";
}

/* The address as 16 bytes; false when it is neither IPv4 nor IPv6. */
static bool widen(const struct sockaddr *address, unsigned char out[16]) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in4;
        memcpy(&in4, address, sizeof in4);
        memcpy(out, mapped_prefix, sizeof mapped_prefix);
        memcpy(out + 12, &in4.sin_addr, 4);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        memcpy(out, &in6.sin6_addr, 16);
        return true;
    }
    return false;
}

const char *source_address_kind(const struct sockaddr *address) {
    unsigned char bytes[16];

    return widen(address, bytes) ? kind6(bytes) : "reserved";
}

bool source_address_is_allowed(const struct sockaddr *address, const struct source_networks *networks) {
    unsigned char bytes[16];

    if (!widen(address, bytes))
        return false;
    if (kind6(bytes) == NULL)
        return true;
    for (size_t i = 0; i < networks->count; i++)
        if (prefix_equal(bytes, networks->networks[i].address, networks->networks[i].prefix))
            return true;
    return false;
}

/* One part of the list: an address, or an address and a prefix length. */
static int parse_network(const char *part, struct source_network *network) {
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(part, '/');
    size_t length = slash == NULL ? strlen(part) : (size_t)(slash - part);
    unsigned width;

    if (length >= sizeof address)
        return -1;
    memcpy(address, part, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, network->address + 12) == 1) {
        memcpy(network->address, mapped_prefix, sizeof mapped_prefix);
        width = 32;
    } else if (inet_pton(AF_INET6, address, network->address) == 1) {
        width = 128;
    } else {
        return -1;
    }
    unsigned prefix = width;
    if (slash != NULL) {
        int end = 0;
        /* NOLINTNEXTLINE(cert-err34-c): three digits at most do not overflow */
        if (slash[1] < '0' || slash[1] > '9' || sscanf(slash + 1, "%3u%n", &prefix, &end) != 1 || slash[1 + end] != '\0' ||
            prefix > width)
            return -1;
    }
    network->prefix = prefix + 128 - width;
    return 0;
}

int source_networks_parse(const char *text, struct source_networks *networks, struct error *error) {
    networks->count = 0;
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",");
        size_t start = strspn(text, " ");
        char part[64] = "";

        if (start < length && length - start < sizeof part)
            memcpy(part, text + start, length - start);
        part[strcspn(part, " ")] = '\0';
        if (networks->count == SOURCE_NETWORKS_MAX)
            return error_set(error, ERROR_INVALID, "More than %d networks are allowed for sources", SOURCE_NETWORKS_MAX);
        if (parse_network(part, &networks->networks[networks->count]) < 0)
            return error_set(error, ERROR_INVALID, "\"%.*s\" is not a network such as 10.0.0.0/8 or fd00::/8", (int)length,
                             text);
        networks->count++;
        text += length;
        text += *text == ',';
    }
    return 0;
}
