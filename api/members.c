/* Members of a request's body. */
#include "members.h"

void members_drop_null(cJSON *object) {
    cJSON *next;
    for (cJSON *member = object ? object->child : NULL; member; member = next) {
        next = member->next;
        if (cJSON_IsNull(member))
            cJSON_Delete(cJSON_DetachItemViaPointer(object, member));
    }
}
