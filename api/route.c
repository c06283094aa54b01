/* The table of operations. */
#include "route.h"

#include <stdlib.h>
#include <string.h>

#include "certificates.h"
#include "create.h"
#include "deployments.h"
#include "drift.h"
#include "health.h"
#include "inventory.h"
#include "jwks.h"
#include "rotate.h"
#include "token_endpoint.h"
#include "keys.h"
#include "keystores.h"

#define SECURITY ROLE_API_SECURITY
#define DEPLOY   (ROLE_API_SECURITY | ROLE_DEPLOY_UNDEPLOY_PROXIES)

static const struct operation operations[] = {
    {"GET", "/apiops/projects/{?limit,cursor}", SECURITY, BODY_NONE, inventory_projects},
    {"GET", "/apiops/environments/{?limit,cursor}", ROLE_ADMIN, BODY_NONE, inventory_environments},
    {"GET", "/apiops/environments/{projectName}/{?limit,cursor}", SECURITY, BODY_NONE, inventory_environments},
    {"GET", "/apiops/projects/{projectName}/jwks/{?limit,cursor}", SECURITY, BODY_NONE, jwks_list},
    {"POST", "/apiops/projects/{projectName}/jwks/", DEPLOY, BODY_JSON, create_jwk},
    {"POST", "/apiops/projects/{projectName}/jwks/generate/", DEPLOY, BODY_JSON, create_generated},
    {"POST", "/apiops/projects/{projectName}/jwks/parse-from-url/", DEPLOY, BODY_JSON, create_from_url},
    {"POST", "/apiops/projects/{projectName}/jwks/parse-from-clipboard/", DEPLOY, BODY_JSON, create_from_clipboard},
    {"POST", "/apiops/projects/{projectName}/jwks/parse-from-certificate/", DEPLOY, BODY_JSON, create_from_certificate},
    {"POST", "/apiops/projects/{projectName}/jwks/parse-from-key/", DEPLOY, BODY_JSON, create_from_key},
    {"POST", "/apiops/projects/{projectName}/jwks/parse-from-keystore/", DEPLOY, BODY_JSON, create_from_keystore},
    {"GET", "/apiops/projects/{projectName}/jwks/{jwkName}/", SECURITY, false, jwks_get},
    {"PUT", "/apiops/projects/{projectName}/jwks/{jwkName}/", DEPLOY, true, jwks_update},
    {"DELETE", "/apiops/projects/{projectName}/jwks/{jwkName}/", DEPLOY, false, jwks_delete},
    {"POST", "/apiops/projects/{projectName}/jwks/{jwkName}/redeploy/", DEPLOY, BODY_OPTIONAL, jwks_redeploy},
    {"POST", "/apiops/projects/{projectName}/jwks/{jwkName}/rotate/", DEPLOY, BODY_JSON, rotate_jwk},
    {"GET", "/apiops/projects/{projectName}/jwks/{jwkName}/deployments/{?limit,cursor}", SECURITY, BODY_NONE,
     deployments_list_of_jwk},
    {"GET", "/apiops/projects/{projectName}/deployments/{?limit,cursor,jwkId}", SECURITY, BODY_NONE, deployments_list},
    {"GET", "/apiops/projects/{projectName}/deployments/{deploymentId}/", SECURITY, false, deployments_get},
    {"GET", "/apiops/projects/{projectName}/certificates/{?limit,cursor}", SECURITY, BODY_NONE, certificates_list},
    {"POST", "/apiops/projects/{projectName}/certificates/", SECURITY, BODY_MULTIPART, certificates_create},
    {"GET", "/apiops/projects/{projectName}/certificates/{certificateName}/", SECURITY, BODY_NONE, certificates_get},
    {"PUT", "/apiops/projects/{projectName}/certificates/{certificateName}/", SECURITY, BODY_MULTIPART, certificates_update},
    {"DELETE", "/apiops/projects/{projectName}/certificates/{certificateName}/", SECURITY, BODY_NONE, certificates_delete},
    {"GET", "/apiops/projects/{projectName}/keys/{?limit,cursor}", SECURITY, BODY_NONE, keys_list},
    {"POST", "/apiops/projects/{projectName}/keys/", SECURITY, BODY_JSON, keys_create},
    {"GET", "/apiops/projects/{projectName}/keys/{keyName}/", SECURITY, BODY_NONE, keys_get},
    {"PUT", "/apiops/projects/{projectName}/keys/{keyName}/", SECURITY, BODY_JSON, keys_update},
    {"DELETE", "/apiops/projects/{projectName}/keys/{keyName}/", SECURITY, BODY_NONE, keys_delete},
    {"GET", "/apiops/projects/{projectName}/keystores/{?limit,cursor}", SECURITY, BODY_NONE, keystores_list},
    {"POST", "/apiops/projects/{projectName}/keystores/", SECURITY, BODY_JSON, keystores_create},
    {"GET", "/apiops/projects/{projectName}/keystores/{keyStoreName}/", SECURITY, BODY_NONE, keystores_get},
    {"PUT", "/apiops/projects/{projectName}/keystores/{keyStoreName}/", SECURITY, BODY_JSON, keystores_update},
    {"DELETE", "/apiops/projects/{projectName}/keystores/{keyStoreName}/", SECURITY, BODY_NONE, keystores_delete},
    {"GET", "/apiops/projects/{projectName}/drift/", SECURITY, BODY_NONE, drift_get},
    {"POST", "/apiops/auth/token/", OPERATION_OPEN, BODY_FORM, token_endpoint_issue},
    {"GET", "/healthz/", OPERATION_OPEN, false, health_live},
    {"GET", "/readyz/", OPERATION_OPEN, false, health_ready},
    {"GET", "/metrics/", OPERATION_OPEN, false, health_metrics},
};

/* Steps over one segment ("/abc") of a path; false at its end, where a last '/' alone counts as the end too, as does the query
 * of a pattern. */
static bool next_segment(const char **path, const char **segment, size_t *length) {
    if (**path != '/' || (*path)[1] == '\0' || strncmp(*path, "/{?", 3) == 0)
        return false;
    *segment = *path + 1;
    *length = strcspn(*segment, "/");
    *path = *segment + *length;
    return true;
}

/* Compares a path with a pattern; the spans of the parameters are written as far as they match. */
static bool matches(const char *pattern, const char *path, const char *spans[PATH_PARAMETERS_MAX],
                    size_t lengths[PATH_PARAMETERS_MAX]) {
    const char *want, *have;
    size_t want_length, have_length;
    int count = 0;
    for (;;) {
        bool more = next_segment(&pattern, &want, &want_length);
        if (more != next_segment(&path, &have, &have_length))
            return false;
        if (!more)
            return *path == '\0' || strcmp(path, "/") == 0;
        if (*want == '{') {
            spans[count] = have;
            lengths[count++] = have_length;
        } else if (want_length != have_length || memcmp(want, have, have_length) != 0) {
            return false;
        }
    }
}

bool route_has_project(const struct operation *operation) {
    return strstr(operation->path, "/{projectName}/") != NULL;
}

bool route_takes_query(const struct operation *operation, const char *name) {
    size_t length = strlen(name);
    const char *at = strstr(operation->path, "{?");
    if (!at || length == 0)
        return false;
    for (at += 2; *at; at += strcspn(at, ",}") + 1)
        if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '}'))
            return true;
    return false;
}

enum route_result route_find(const char *method, const char *path, const struct operation **operation,
                             char *parameters[PATH_PARAMETERS_MAX], char allow[64]) {
    const char *spans[PATH_PARAMETERS_MAX] = {NULL};
    size_t lengths[PATH_PARAMETERS_MAX];
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    allow[0] = '\0';
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (!matches(operations[i].path, path, spans, lengths))
            continue;
        if (strcmp(operations[i].method, method) != 0) {
            if (allow[0])
                strcat(allow, ", ");
            strcat(allow, strcmp(operations[i].method, "GET") == 0 ? "GET, HEAD" : operations[i].method);
            memset(spans, 0, sizeof spans);
            continue;
        }
        for (int j = 0; j < PATH_PARAMETERS_MAX && spans[j]; j++)
            if (!(parameters[j] = http_decode_segment(spans[j], lengths[j])))
                return ROUTE_MALFORMED;
        *operation = &operations[i];
        return ROUTE_FOUND;
    }
    return allow[0] ? ROUTE_METHOD : ROUTE_UNKNOWN;
}
