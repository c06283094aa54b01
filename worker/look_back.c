/* Looking back.
 *
 * A topic that was deleted and made again may grow past the place where a replica is before that asks for more: then no offset
 * is out of range, and what lies before that place is missed without a word. But sequences only grow, in one topic and the
 * next. So an event that lies before that place and is younger than what was applied up to there is another topic's. But an API
 * whose store another was adopted in the place of counts on by itself: its events prove nothing. */
#include "worker/look_back.h"

#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/message.h"

int64_t look_back_sequence(struct trust *trust, const rd_kafka_message_t *record, int64_t epoch) {
    struct cloudevent_storage storage;
    struct cloudevent attributes;
    struct event event;
    struct error ignored;
    if (!record->payload || cloudevent_read(record, &storage, &attributes, &ignored) ||
        trust_check_event(trust, 0, record, &attributes, clock_wall_ms() / 1000, &ignored) != SIGNATURE_VALID ||
        event_decode(record->payload, record->len, &event, &ignored))
        return 0;
    int64_t sequence = event.epoch < epoch ? 0 : event.sequence;
    event_free(&event);
    return sequence;
}
