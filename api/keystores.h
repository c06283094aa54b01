/* The operations on the keystores of a project. */
#ifndef API_KEYSTORES_H
#define API_KEYSTORES_H

#include "call.h"

void keystores_list(struct call *call);
void keystores_get(struct call *call);
void keystores_create(struct call *call);
void keystores_update(struct call *call);
void keystores_delete(struct call *call);

#endif
