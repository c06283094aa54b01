/* Members of a request's body that clients send though they mean nothing by them. */
#ifndef API_MEMBERS_H
#define API_MEMBERS_H

#include <cjson/cJSON.h>

/* Removes the members of an object whose value is null, as far as some body has a member of that name: clients that serialise
 * whole objects send those that were not set. Others are left, for the caller to refuse. */
void members_drop_null(cJSON *object);

#endif
