/* Read connections to the store. There are never more than threads that ask at the same time. */
#include "readers.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/memory.h"

struct readers {
    char *directory;
    struct sealing *sealing;
    pthread_mutex_t lock; /* guards the two below */
    struct store **idle;
    size_t count;
};

struct readers *readers_new(const char *directory, struct sealing *sealing) {
    struct readers *readers = memory_new(sizeof *readers);
    readers->directory = memory_string(directory);
    readers->sealing = sealing;
    pthread_mutex_init(&readers->lock, NULL);
    return readers;
}

static struct store *open_reader(struct readers *readers, struct error *error) {
    struct store *store = store_open(readers->directory, STORE_READ, error);
    if (store && readers->sealing && store_use_sealing(store, readers->sealing, error)) {
        store_close(store);
        return NULL;
    }
    return store;
}

struct store *readers_take(struct readers *readers, struct error *error) {
    struct store *store = NULL;
    pthread_mutex_lock(&readers->lock);
    if (readers->count)
        store = readers->idle[--readers->count];
    pthread_mutex_unlock(&readers->lock);
    return store ? store : open_reader(readers, error);
}

void readers_give(struct readers *readers, struct store *store) {
    if (!store)
        return;
    pthread_mutex_lock(&readers->lock);
    readers->idle = memory_resize(readers->idle, (readers->count + 1) * sizeof *readers->idle);
    readers->idle[readers->count++] = store;
    pthread_mutex_unlock(&readers->lock);
}

void readers_free(struct readers *readers) {
    for (size_t i = 0; i < readers->count; i++)
        store_close(readers->idle[i]);
    free(readers->idle);
    free(readers->directory);
    pthread_mutex_destroy(&readers->lock);
    free(readers);
}
