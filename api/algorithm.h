/* Algorithms under the names that the management API knows them by, and what create and generate need to know of each. Which
 * one suits which key is jwk_algorithm_suits()'s to judge.
 *
 * The management API writes the names of a generated key with underscores (`RSA_OAEP_256`, and `RSA256` for RS256), those of a
 * key made from a source as they are registered; each place takes both. In the JWK only registered names stand.
 * Sources: RFC 7518 sections 3.1 and 4.1, RFC 8037, RFC 8812, RFC 9864, draft-madden-jose-ecdh-1pu. */
#ifndef API_ALGORITHM_H
#define API_ALGORITHM_H

#include <stdbool.h>

#include "common/error.h"
#include "common/jwk.h"

enum algorithm_use { ALGORITHM_USE_NONE, ALGORITHM_USE_SIGNATURE, ALGORITHM_USE_ENCRYPTION };

struct algorithm {
    const char *name;          /* as registered, the `alg` of the JWK */
    const char *generate_name; /* as the Generate operation writes it */
    enum algorithm_use use;
    const char *curve; /* the one curve that it works on; NULL: none, or several */
    unsigned bits_min; /* of an oct key; 0: any */
    unsigned bits_max; /* of an oct key; 0: any */
    bool password;     /* PBES2: the key is a password, salt length and iteration count apply */
};

/* The algorithm of that name, registered or the Generate operation's; NULL when there is none. */
const struct algorithm *algorithm_find(const char *name);

/* Reads `useType` or `keyUseType` (member names the field in the error): SIGNATURE or ENCRYPTION. NULL and "" are
 * ALGORITHM_USE_NONE. */
int algorithm_use_parse(const char *member, const char *name, enum algorithm_use *use, struct error *error) MUST_CHECK;
/* The `use` of the JWK: "sig", "enc", or NULL for ALGORITHM_USE_NONE. */
const char *algorithm_use_name(enum algorithm_use use);

/* What an algorithm is held against. */
struct algorithm_key {
    enum jwk_type type;
    const char *curve; /* the registered name; NULL for RSA and oct */
    unsigned bits;     /* of an oct key; not looked at for others */
};

/* Whether the algorithm (NULL: none was asked for) suits the key and the use; ERROR_INVALID with a sentence that lists what
 * would suit. *use ALGORITHM_USE_NONE is filled in from the algorithm when there is one. */
int algorithm_check(const struct algorithm *algorithm, const struct algorithm_key *key, enum algorithm_use *use,
                    struct error *error) MUST_CHECK;

/* What `create` asks of a key made from a certificate, a key or a keystore; all may be NULL. */
struct algorithm_request {
    const char *use_type;  /* SIGNATURE or ENCRYPTION; absent: that of the algorithm, without one no `use` */
    const char *algorithm; /* absent: no `alg`, so the key stays usable with each that suits it */
};

struct algorithm_choice {
    const char *use;       /* static; NULL: none */
    const char *algorithm; /* static; NULL: none */
};

/* Checks a request against a key and says what the JWK gets. */
int algorithm_choose(const struct algorithm_request *request, const struct algorithm_key *key, struct algorithm_choice *choice,
                     struct error *error) MUST_CHECK;

#endif
