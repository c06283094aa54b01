/* Sending acks: what this replica did with one event, told once it is durable and served.
 *
 * Acks are collected and signed as one batch, so that a thousand cost one signature, here and at the API. An ack that the
 * broker refuses is sent again; the position in jwk.events follows only over acks that were delivered (progress.h). Used by one
 * thread. */
#ifndef WORKER_ACK_H
#define WORKER_ACK_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

#include "common/error.h"
#include "common/message.h"
#include "common/signature.h"

enum { ACK_WAITING_MS = 100 };

struct ack_sender;

struct ack_options {
    rd_kafka_t *producer;
    const char *topic, *environment, *replica, *worker;
    struct signer *signer; /* the replica key; NULL: acks are not signed */
};
struct ack_sender *ack_sender_new(const struct ack_options *options, struct error *error) MUST_CHECK;
void ack_sender_free(struct ack_sender *sender); /* before the producer is destroyed; NULL is allowed */
/* Acks from now on belong to this incarnation. */
void ack_sender_set_incarnation(struct ack_sender *sender, int64_t incarnation);

/* What is told when an ack was delivered. A tag is a kind and a number below 2^56 (a progress ticket), carried by the record.
 */
enum ack_kind {
    ACK_KIND_NONE,      /* nobody waits for its delivery */
    ACK_KIND_EVENT,     /* the number is a ticket of progress.h */
    ACK_KIND_RECOVERED, /* the number is the caller's */
};

/* The event that is acked. Strings are borrowed; traceparent may be NULL. */
struct ack_subject {
    const char *deployment_id, *event_id, *event_hash, *traceparent, *jwk_id;
    int64_t epoch, version, sequence;
};
/* Collects one. message: of ACK_FAILED, one line; else NULL. */
void ack_send(struct ack_sender *sender, const struct ack_subject *subject, enum ack_status status, const char *message,
              enum ack_kind kind, uint64_t number);

/* Signs and sends what was collected, unless acks are on their way: what comes meanwhile goes out with one signature in one
 * request. To be called before waiting for anything, after delivery reports, and when nothing was reported for ACK_WAITING_MS:
 * then it waits no longer. */
void ack_flush(struct ack_sender *sender);

/* Whether something waits for acks on their way. */
_Bool ack_is_waiting(const struct ack_sender *sender);

/* To be called for each delivery report of an ack (ack_owns() tells them from others). Returns its kind when it was delivered
 * and ACK_KIND_NONE when not: then it is kept and sent again by ack_resend(). */
_Bool ack_owns(const rd_kafka_message_t *record);
enum ack_kind ack_delivered(struct ack_sender *sender, const rd_kafka_message_t *record, uint64_t *number);
/* Sends again what was refused, in its order: the first, once a second, until it is delivered, then all. Returns how many still
 * wait. */
size_t ack_resend(struct ack_sender *sender);

#endif
