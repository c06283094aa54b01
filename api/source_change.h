/* A change of a certificate, key or keystore on its way: what takes long on a thread of the pool, then a change of the store,
 * in which the JWKs that are attached to it are made again when that was asked for. */
#ifndef API_SOURCE_CHANGE_H
#define API_SOURCE_CHANGE_H

#include "source_object.h"

/* Takes the input. The call is answered later. */
void source_change_begin(struct call *call, const struct source_kind_operations *operations, struct source_input *input);
void source_change_delete(struct call *call, const struct source_kind_operations *operations);

#endif
