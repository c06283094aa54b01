/* Noticing what administration has changed in the store while the API serves from it.
 *
 * A command that has committed sends one byte to the socket DATA_DIR/notify.sock; the API then lets all who are concerned look
 * at the store. A byte that was lost loses nothing: they look from time to time as well. */
#ifndef API_NOTIFY_H
#define API_NOTIFY_H

#include "store.h"
#include "writer.h"

enum { NOTIFY_PERIOD_MS = 30000 }; /* they look at least so often */

/* One who is concerned. Both functions are called in the writer's thread and are cheap when nothing is new. */
struct notify_subscriber {
    const char *name; /* for the log: "signing key" */
    /* Within a transaction: reads what is new, writes nothing. When it fails the others look all the same. */
    int (*look)(void *context, struct store *store, struct error *error);
    void (*act)(void *context); /* after it, when look has succeeded */
    void *context;
};

struct notify;

/* Listens, and begins with one look. The subscribers are copied. ERROR_INVALID when the socket can not be made. */
struct notify *notify_new(const char *data_directory, struct writer *writer, const struct notify_subscriber *subscribers,
                          size_t count, struct error *error) MUST_CHECK;
void notify_stop(struct notify *notify); /* nobody is noticed from then on; NULL is allowed */
void notify_free(struct notify *notify); /* after the writer has ended; NULL is allowed */

/* Tells the API that serves from this directory, if one does, that something was committed. Thread-safe. */
void notify_send(const char *data_directory);

#endif
