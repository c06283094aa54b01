/* What was delivered, and its rows in the outbox: ids are gathered here and handed to the writer as ranges, one deferred job at a
 * time, so that a busy outbox is cleared in few statements. Until then a row may be sent once more, which workers take for what
 * it is. Thread-safe. */
#ifndef API_DELIVERED_H
#define API_DELIVERED_H

#include <stdbool.h>
#include <stdint.h>

#include "writer.h"

struct delivered;

/* cleared (may be NULL) is called in the writer's thread when rows are cleared, with no lock held. writer and context are
 * borrowed. */
struct delivered *delivered_new(struct writer *writer, void (*cleared)(void *context), void *context);
/* Adds an outbox id. Ids come nearly in order. */
void delivered_add(struct delivered *delivered, int64_t id);
/* Hands what was added to the writer, unless it still has some: then that goes on by itself. */
void delivered_clear(struct delivered *delivered);
/* Whether some of what was added is in the outbox yet. */
bool delivered_is_pending(struct delivered *delivered);
/* Once the writer has ended; NULL is allowed. What it was not handed stays in the outbox, and is sent again after the next
 * start. */
void delivered_free(struct delivered *delivered);

#endif
