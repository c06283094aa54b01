/* Which addresses a fetch may connect to: public ones, and the networks that the configuration allows. */
#ifndef API_SOURCE_ADDRESS_H
#define API_SOURCE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/error.h"

/* A network in CIDR notation. IPv4 is kept as ::ffff:a.b.c.d, so that one comparison serves both. */
struct source_network {
    unsigned char address[16];
    unsigned prefix; /* bits, of the 128 */
};

enum { SOURCE_NETWORKS_MAX = 64 };

struct source_networks {
    struct source_network networks[SOURCE_NETWORKS_MAX];
    size_t count;
};

/* Reads a comma-separated list such as "10.20.0.0/16, 127.0.0.1, fd00::/8"; NULL and "" are an empty one. ERROR_INVALID names
 * the part that is not a network. */
int source_networks_parse(const char *text, struct source_networks *networks, struct error *error) MUST_CHECK;

/* What an address is when it is not a public one ("loopback", "private"...); NULL for a public one. Addresses that carry an
 * IPv4 one (mapped, NAT64, 6to4) are judged by it. Source: the IANA special-purpose address registries (RFC 6890 and its
 * successors). Thread-safe. */
const char *source_address_kind(const struct sockaddr *address);

/* Whether a fetch may connect there: public, or in one of the networks. */
bool source_address_is_allowed(const struct sockaddr *address, const struct source_networks *networks);

#endif
