/* From the outbox to Kafka: an idempotent producer. What it has delivered is cleared from the outbox (delivered.h).
 *
 * What goes out together is signed together: the events of one commit, those of several that were made while others were on
 * their way, or a chunk of the outbox.
 *
 * Order is kept per JWK: events go out in the order of commits, and once one had to stay in the outbox (too many in flight),
 * all later ones wait behind it there. What was not known to be delivered when the process ended is sent again at the next
 * start, in order and through the latest. */
#ifndef API_PUBLISHER_H
#define API_PUBLISHER_H

#include "common/kafka.h"
#include "signing.h"
#include "store.h"
#include "writer.h"

struct publisher;

/* reader is a STORE_READ connection of its own, taken. The thread starts with publisher_start(): first it sends what the outbox
 * holds. signing is shared and outlives it. */
struct publisher *publisher_new(const struct kafka_settings *settings, const char *topic, struct store *reader,
                                struct writer *writer, struct signing *signing, struct error *error) MUST_CHECK;
/* What to do about the topic itself, both called in the publisher's thread: make it when it is missing, before a producer is
 * made again; and when an event went to an offset that was given before, so that the topic is another one. Before the start. */
void publisher_watch_topic(struct publisher *publisher, void (*restore)(void *context), void (*made_again)(void *context),
                           void *context);
void publisher_start(struct publisher *publisher);
/* Gathers a committed event for the next flush; takes outgoing. Called in the order of commits, from one thread (the writer). */
void publisher_send(struct publisher *publisher, struct store_outgoing *outgoing);
/* Signs and sends what was gathered, lets it wait for what is on its way, or leaves it to the outbox. From the same
 * thread, behind each commit (writer_after_batch()). */
void publisher_flush(struct publisher *publisher);
/* Makes the thread look into the outbox: something was written there that is not offered by publisher_send(). Thread-safe. */
void publisher_look(struct publisher *publisher);
/* Names the topic of another outbox, borrowed, so that its first record waits for no look-up. Before the start. */
void publisher_add_topic(struct publisher *publisher, const char *topic);
/* Sends a record of another outbox through the same producer, to partition 0. Takes value and headers when successful; delivered()
 * is then called once, in the publisher's thread, whatever came of it: a record that was not delivered is the caller's to send
 * again. One at a time. Thread-safe, between start and stop. */
int publisher_produce(struct publisher *publisher, const char *topic, char *value, size_t length, rd_kafka_headers_t *headers,
                      void (*delivered)(void *context, const rd_kafka_message_t *record), void *context,
                      struct error *error) MUST_CHECK;
/* Waits up to timeout_ms for what is in flight and ends the thread. What is not delivered then is in the outbox. */
void publisher_stop(struct publisher *publisher, int timeout_ms);
/* Frees it; only after the writer has ended, whose last jobs still refer to it. NULL is allowed. */
void publisher_free(struct publisher *publisher);

#endif
