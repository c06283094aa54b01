/* Read connections to the store, lent to HTTP threads for one request at a time. */
#ifndef API_READERS_H
#define API_READERS_H

#include "store_sealing.h"

struct readers;

/* sealing: what they open secrets with; it outlives them. NULL: they open none. */
struct readers *readers_new(const char *directory, struct sealing *sealing);
/* Lends a connection, opening one when none is free. NULL with an error when the store cannot be opened. Thread-safe. */
struct store *readers_take(struct readers *readers, struct error *error) MUST_CHECK;
void readers_give(struct readers *readers, struct store *store); /* NULL is allowed */
void readers_free(struct readers *readers);

#endif
