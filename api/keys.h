/* The operations on the keys of a project. */
#ifndef API_KEYS_H
#define API_KEYS_H

#include "call.h"

void keys_list(struct call *call);
void keys_get(struct call *call);
void keys_create(struct call *call);
void keys_update(struct call *call);
void keys_delete(struct call *call);

#endif
