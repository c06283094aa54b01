/* Making a new key as the Generate operation asks for it.
 *
 * What the operation's body leaves open is decided here:
 * - the object named after the type may be left out, and each of its members; an object of another type is an error, so is a
 *   member that is not known;
 * - keySize: rsa 2048; oct what the algorithm needs (256 without one; HS384 and HS512 need 384 and 512 bits by RFC 7518
 *   section 3.2, so these two sizes are taken as well);
 * - curveType: the algorithm's curve; without one P256, and ED25519 for SIGNATURE or X25519 for ENCRYPTION;
 * - keyUseType: that of the algorithm; without one SIGNATURE, for X25519 ENCRYPTION;
 * - algorithm: none, so that the JWK has no `alg` and stays usable with each that suits it; registered names are taken too;
 * - kid: a given one is taken as it is. Otherwise keyIdType makes it: TIMESTAMP "sig-1767225600000" (`use`, milliseconds since
 *   1970), ISO_DATE "sig-2026-01-01T00:00:00.000Z" (no two of one process are equal), SHA256 and SHA1 the RFC 7638 thumbprint
 *   with that hash, NONE no kid;
 * - notBeforeTime and expirationTime: RFC 3339; without an offset, and as a bare date (its midnight), in UTC. The default of
 *   the latter is a calendar year after the former. It must be later than that and than now;
 * - passwordSaltLength (8 to 1024 bytes) and passwordIterationCount (1000 to 10000000) are checked always, as clients send
 *   their defaults, and become members of the JWK for the PBES2 algorithms alone, where they tell the encrypting side its p2s
 *   and p2c. */
#ifndef API_GENERATE_H
#define API_GENERATE_H

#include <cjson/cJSON.h>
#include <stdint.h>

#include "common/error.h"
#include "common/jwk.h"

/* Makes a key from the operation's body, of which it reads `type`, `kid` and the objects `rsa`, `ec`, `oct` and `okp`. now_ms
 * is the time that defaults are made from (milliseconds since 1970). ERROR_INVALID with a sentence in the operation's voice. An
 * RSA key of 4096 bits takes up to seconds of processor time: not for a thread that serves others. Thread-safe. */
struct jwk *generate_jwk(const cJSON *body, int64_t now_ms, struct error *error) MUST_CHECK;

#endif
