/* The operations on the certificates of a project. */
#ifndef API_CERTIFICATES_H
#define API_CERTIFICATES_H

#include "call.h"

void certificates_list(struct call *call);
void certificates_get(struct call *call);
void certificates_create(struct call *call);
void certificates_update(struct call *call);
void certificates_delete(struct call *call);

#endif
