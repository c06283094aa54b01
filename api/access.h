/* Who may do what: roles and what a token stands for. */
#ifndef API_ACCESS_H
#define API_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

enum role {
    ROLE_API_SECURITY = 1 << 0,            /* every JWK, certificate, key and keystore operation */
    ROLE_DEPLOY_UNDEPLOY_PROXIES = 1 << 1, /* also needed by those that deploy or undeploy */
    ROLE_ADMIN = 1 << 2,                   /* has them all, and the operations marked admin */
};

/* "ROLE_API_SECURITY", … ; -1 when there is no role of that name. */
int role_parse(const char *name, enum role *role);
/* The name of one role (one bit). */
const char *role_name(enum role role);
/* Whether `held` allows what needs all of `needed`. */
static inline bool roles_allow(int held, int needed) {
    return (held & ROLE_ADMIN) || (held & needed) == needed;
}

enum { TOKEN_SIZE = 48, USER_LENGTH_MAX = 255 }; /* bytes: a token's text with its NUL; a user name's without */

/* A new token: "jwk_" and 32 random bytes in base64url. */
void token_new(char out[TOKEN_SIZE]);
/* The SHA-256 by which a token is stored and found. */
void token_hash(const char *token, unsigned char out[32]);

#endif
