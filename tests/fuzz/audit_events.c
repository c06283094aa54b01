/* Events of the topic against changes of a trail, a line each: a line that begins with { is one of the trail; any other is a
 * record, "id time payload", whose attributes stand for those that cloudevent_read() finds (which has a target of its own). */
#include "fuzz.h"

#include <librdkafka/rdkafka.h>

#include "common/cloudevent.h"
#include "common/identifier.h"

static int attributes_of(const rd_kafka_message_t *record, struct cloudevent_storage *storage, struct cloudevent *attributes,
                         struct error *error);
#define cloudevent_read            attributes_of
#define rd_kafka_topic_name(topic) "jwk.events"
#include "../../api/audit_events.c"
#undef cloudevent_read
#undef rd_kafka_topic_name

/* Of the record at hand; NULL: it has none. */
static const char *record_id, *record_time;

static int attributes_of(const rd_kafka_message_t *record, struct cloudevent_storage *storage, struct cloudevent *attributes,
                         struct error *error) {
    (void)record, (void)storage;
    *attributes = (struct cloudevent){.id = record_id, .time = record_time, .source = "urn:fuzz", .type = "jwk.updated.v1"};
    return record_id ? 0 : error_set(error, ERROR_INVALID, "there is no id");
}

static void take_record(struct audit_events *events, char *line, int64_t offset) {
    char *rest = line;
    const char *id = strsep(&rest, " "), *time = rest ? strsep(&rest, " ") : NULL;
    record_id = *id ? id : NULL;
    record_time = time && *time ? time : NULL;
    rd_kafka_message_t record = {
        .payload = rest, .len = rest ? strlen(rest) : 0, .partition = (int32_t)(offset % 4), .offset = offset};
    take(events, &record);
}

static void take_change(struct audit_events *events, const char *text) {
    struct error error = {0};
    struct audit_line line;
    int64_t same, gone, same_after, gone_after;
    if (audit_line_read(text, strlen(text), &line, &error))
        return;
    if (!line.jws && line.entry.type == AUDIT_CHANGE) {
        audit_events_count(events, &same, &gone);
        int status = audit_events_check(events, &line, &error);
        audit_events_count(events, &same_after, &gone_after);
        /* Each change is one of three: the same, gone, or another one. */
        REQUIRE(same_after - same + gone_after - gone == (status ? 0 : 1));
        struct seen_event *event;
        HASH_FIND_STR(events->events, line.entry.event_id, event);
        REQUIRE((gone_after > gone) == (event == NULL));
        REQUIRE(!event || event->recorded);
        if (status)
            require_refusal(&error);
    }
    audit_line_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct audit_events *events = memory_new(sizeof *events);
    for (int64_t offset = 0; size; offset++) {
        char *line = take_line(&bytes, &size);
        if (*line == '{')
            take_change(events, line);
        else if (*line)
            take_record(events, line, offset);
        free(line);
    }
    if (audit_events_end(events, &error))
        require_refusal(&error);
    audit_events_free(events);
    return 0;
}
