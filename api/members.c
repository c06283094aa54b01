/* Members of a request's body. */
#include "members.h"

#include <stdbool.h>
#include <string.h>

/* What the bodies of this API have as members, whichever of them: an object that some client's one class for all of them was
 * serialised to has the others as null. */
static const char *const names[] = {
    "aliasName",
    "algorithm",
    "certificateName",
    "cryptoKeyInfoEnvironmentList",
    "description",
    "ec",
    "environmentName",
    "file",
    "generate",
    "jwkStr",
    "keyName",
    "keyStoreEnvironmentList",
    "keyStoreName",
    "keyType",
    "kid",
    "name",
    "oct",
    "okp",
    "overlapSeconds",
    "password",
    "privateKey",
    "publicKey",
    "rsa",
    "sourceType",
    "type",
    "updateReferencedJwks",
    "updateScope",
    "url",
    "urlOptionConnectTimeout",
    "urlOptionReadTimeout",
    "urlOptionSizeLimit",
    "useType",
};

static bool is_known(const char *name) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

void members_drop_null(cJSON *object) {
    cJSON *next;
    for (cJSON *member = object ? object->child : NULL; member; member = next) {
        next = member->next;
        if (cJSON_IsNull(member) && member->string && is_known(member->string))
            cJSON_Delete(cJSON_DetachItemViaPointer(object, member));
    }
}
