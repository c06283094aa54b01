/* Members of a request's body that clients send though they mean nothing by them. */
#ifndef API_MEMBERS_H
#define API_MEMBERS_H

#include <cjson/cJSON.h>

/* Removes the members of an object whose value is null: clients that serialise whole objects send those that were not set. */
void members_drop_null(cJSON *object);

#endif
