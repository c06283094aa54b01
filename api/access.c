/* Roles by name, and tokens. */
#include "access.h"

#include <string.h>

#include "common/base64url.h"
#include "common/identifier.h"

static const struct {
    const char *name;
    enum role role;
} roles[] = {
    {"ROLE_API_SECURITY", ROLE_API_SECURITY},
    {"ROLE_DEPLOY_UNDEPLOY_PROXIES", ROLE_DEPLOY_UNDEPLOY_PROXIES},
    {"ROLE_ADMIN", ROLE_ADMIN},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

int role_parse(const char *name, enum role *role) {
    for (size_t i = 0; i < COUNT(roles); i++)
        if (strcmp(roles[i].name, name) == 0)
            return *role = roles[i].role, 0;
    return -1;
}

const char *role_name(enum role role) {
    for (size_t i = 0; i < COUNT(roles); i++)
        if (roles[i].role == role)
            return roles[i].name;
    return "?";
}

void token_new(char out[TOKEN_SIZE]) {
    unsigned char bytes[32];
    random_bytes(bytes, sizeof bytes);
    memcpy(out, "jwk_", 4); /* the rest has the NUL: NOLINT(bugprone-not-null-terminated-result) */
    base64url_encode(bytes, sizeof bytes, out + 4);
    explicit_bzero(bytes, sizeof bytes);
}

void token_hash(const char *token, unsigned char out[32]) { sha256_bytes(token, strlen(token), out); }
