/* The audit trail to Kafka. */
#include "audit_publisher.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/cloudevent.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/message.h"
#include "common/metrics.h"
#include "operator.h"

enum {
    PACE_MS = 50,    /* between two records, so that many transactions share a signature and a produce request */
    RETRY_MS = 1000, /* after a record that was not delivered */
};

static struct metric published = {.name = "jwk_api_audit_lines_published_total",
                                  .help = "Lines of the audit trail delivered to Kafka.",
                                  .type = METRIC_COUNTER};
static struct metric last_published = {.name = "jwk_api_audit_last_sequence",
                                       .help = "Sequence of the last line of the audit trail that is in Kafka.",
                                       .type = METRIC_GAUGE};
static struct metric losses = {.name = "jwk_api_audit_topic_losses_total",
                               .help = "Times that the audit topic was found without lines that had been sent.",
                               .type = METRIC_COUNTER};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&published);
    metrics_register(&last_published);
    metrics_register(&losses);
}

/* The deferred job that tells the stop in the trail. */
struct stop_job {
    struct job job;
    struct audit_publisher *audit;
};

/* The deferred job that removes delivered rows; one is under way at most. */
struct mark_job {
    struct job job;
    struct audit_publisher *audit;
    int64_t sequence;
};

struct audit_publisher {
    struct audit_publisher_options options;
    struct store *reader;
    struct writer *writer;
    struct publisher *publisher;
    char *source; /* ce_source */
    pthread_t thread;
    bool started;
    int64_t last_sent; /* sequence of the last line delivered; of the thread */
    bool failing;      /* the last record was not delivered, and that was told; of the thread */
    struct stop_job stop;
    struct mark_job mark;
    pthread_mutex_t lock;       /* guards all below */
    pthread_cond_t wake;        /* on CLOCK_MONOTONIC */
    bool pending;               /* there may be rows above last_sent */
    bool refusing;              /* refusals wait */
    bool in_flight;             /* a record is with the producer … */
    rd_kafka_resp_err_t result; /* … and this came of the last one */
    int64_t next_offset;        /* behind the last record delivered by this process; 0: none yet */
    bool made_again;            /* a record went to an offset that was given before: another topic of that name */
    int64_t delivered;          /* rows up to here are to be removed */
    bool marking;
    bool stop_told;  /* the line about the stop is committed, or can not be */
    int64_t stop_at; /* monotonic ms at which the thread ends at the latest; 0: no stop yet */
};

/* ---- marks ---- */

static int run_mark(struct job *job, struct store *store, struct error *error) {
    return store_audit_remove(store, ((struct mark_job *)job)->sequence, error);
}

static void submit_mark(struct audit_publisher *audit);

static void done_mark(struct job *job, int status, const struct error *error) {
    struct mark_job *mark = (struct mark_job *)job;
    if (status != 0) /* at the stop only: the rows stay and are sent again, which auditors expect */
        log_warning("delivered lines of the audit trail are not marked", "reason", error->message);
    pthread_mutex_lock(&mark->audit->lock);
    mark->audit->marking = false;
    submit_mark(mark->audit);
    pthread_mutex_unlock(&mark->audit->lock);
}

/* Hands the removal to the writer unless it has one already. The lock is held. */
static void submit_mark(struct audit_publisher *audit) {
    if (audit->marking || audit->delivered <= audit->mark.sequence)
        return;
    audit->mark = (struct mark_job){.job = {.run = run_mark, .done = done_mark}, .audit = audit, .sequence = audit->delivered};
    audit->marking = true;
    if (writer_defer(audit->writer, &audit->mark.job))
        abort(); /* a deferred job is never refused */
}

/* ---- one record ---- */

void audit_publisher_note_loss(const char *topic, const char *reason) {
    metric_add(&losses, 1);
    log_error("audit topic has lost lines: the trail goes on, but what it held is only where auditors have kept it", "topic",
              topic, "reason", reason);
}

/* Called in the publisher's thread. */
static void on_delivered(void *context, const rd_kafka_message_t *record) {
    struct audit_publisher *audit = context;
    pthread_mutex_lock(&audit->lock);
    audit->in_flight = false;
    audit->result = record->err;
    if (!record->err && record->offset >= 0) {
        audit->made_again = record->offset < audit->next_offset;
        audit->next_offset = record->offset + 1;
    }
    pthread_cond_signal(&audit->wake);
    pthread_mutex_unlock(&audit->lock);
}

/* Lines that go out as one record. */
struct content {
    struct text lines;
    int64_t first, last; /* sequences; 0: none */
    bool full;
};

static bool collect_row(void *context, int64_t sequence, const char *lines, size_t length) {
    struct content *content = context;
    if (content->lines.length && content->lines.length + length > AUDIT_RECORD_MAX) {
        content->full = true;
        return false;
    }
    if (content->first == 0)
        content->first = audit_line_sequence(lines);
    text_add(&content->lines, lines, length);
    text_add(&content->lines, "\n", 1);
    content->last = sequence;
    return true;
}

/* Adds the line that signs the last one. */
static void sign(struct audit_publisher *audit, struct content *content) {
    const char *end = content->lines.bytes + content->lines.length - 1;
    const char *before = memrchr(content->lines.bytes, '\n', (size_t)(end - content->lines.bytes));
    const char *last = before ? before + 1 : content->lines.bytes;
    char hash[SHA256_TEXT_SIZE];
    sha256_text(last, (size_t)(end - last), hash);
    struct text payload = TEXT_EMPTY;
    audit_signed_write(&payload, content->last, hash);
    char *jws = signing_sign_text(audit->options.signing, payload.bytes, payload.length);
    text_free(&payload);
    text_json_open(&content->lines, NULL, '{');
    text_json_string(&content->lines, "jws", jws);
    text_json_close(&content->lines, '}');
    free(jws);
}

static int produce(struct audit_publisher *audit, struct content *content, struct error *error) {
    char id[UUID_SIZE], time[CLOCK_TEXT_SIZE];
    uuid_new(id);
    struct cloudevent attributes = {.id = id,
                                    .source = audit->source,
                                    .type = AUDIT_TYPE,
                                    .time = clock_format(clock_wall_ms(), time),
                                    .dataschema = "urn:jwk-api:schema:jwk-audit:1",
                                    .content_type = "application/x-ndjson"};
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    pthread_mutex_lock(&audit->lock);
    audit->in_flight = true;
    pthread_mutex_unlock(&audit->lock);
    size_t length = content->lines.length;
    char *value = text_take(&content->lines);
    if (publisher_produce(audit->publisher, audit->options.topic, value, length, headers, on_delivered, audit, error) == 0)
        return 0;
    rd_kafka_headers_destroy(headers);
    free(value);
    pthread_mutex_lock(&audit->lock);
    audit->in_flight = false;
    pthread_mutex_unlock(&audit->lock);
    return -1;
}

/* Waits on the condition until due (monotonic ms). The lock is held. */
static void wait_until(struct audit_publisher *audit, int64_t due) {
    if (due == INT64_MAX) {
        pthread_cond_wait(&audit->wake, &audit->lock);
        return;
    }
    struct timespec when = clock_moment(due);
    pthread_cond_timedwait(&audit->wake, &audit->lock, &when);
}

static bool is_over(const struct audit_publisher *audit) {
    return audit->stop_at && clock_monotonic_ms() >= audit->stop_at;
}

/* Hands refusals to the writer when it is time; returns when that is next. The lock is held. */
static int64_t serve_refusals(struct audit_publisher *audit) {
    if (!audit->refusing)
        return INT64_MAX;
    int64_t next = refusals_submit(audit->options.refusals, clock_monotonic_ms());
    audit->refusing = next != INT64_MAX;
    return next;
}

/* Waits for the delivery; the result, or a time-out when the thread is to end before. */
static rd_kafka_resp_err_t await_delivery(struct audit_publisher *audit) {
    pthread_mutex_lock(&audit->lock);
    while (audit->in_flight && !is_over(audit)) {
        int64_t due = serve_refusals(audit);
        wait_until(audit, audit->stop_at && audit->stop_at < due ? audit->stop_at : due);
    }
    rd_kafka_resp_err_t result = audit->in_flight ? RD_KAFKA_RESP_ERR__TIMED_OUT : audit->result;
    bool made_again = audit->made_again;
    audit->made_again = false;
    pthread_mutex_unlock(&audit->lock);
    if (made_again)
        audit_publisher_note_loss(audit->options.topic, "it was made again");
    return result;
}

static void note_delivered(struct audit_publisher *audit, const struct content *content) {
    metric_add(&published, content->last - content->first + 1);
    metric_set(&last_published, content->last);
    audit->last_sent = content->last;
    audit->failing = false;
    pthread_mutex_lock(&audit->lock);
    audit->delivered = content->last;
    submit_mark(audit);
    pthread_mutex_unlock(&audit->lock);
}

enum sent { SENT_ALL, SENT_SOME, SENT_NOTHING };

/* Sends the next record, if there is anything. SENT_NOTHING: it failed, and is to be tried again. */
static enum sent send_next(struct audit_publisher *audit) {
    struct error error = {0};
    struct content content = {.lines = TEXT_EMPTY};
    rd_kafka_resp_err_t result = RD_KAFKA_RESP_ERR_NO_ERROR;
    int status = store_audit_each(audit->reader, audit->last_sent, collect_row, &content, &error);
    if (status == 0 && content.first) {
        sign(audit, &content);
        status = produce(audit, &content, &error);
        if (status == 0 && (result = await_delivery(audit)) != RD_KAFKA_RESP_ERR_NO_ERROR)
            status = error_set(&error, ERROR_UNAVAILABLE, "%s", rd_kafka_err2str(result));
        if (status == 0)
            note_delivered(audit, &content);
    }
    text_free(&content.lines);
    if (status == 0)
        return content.full ? SENT_SOME : SENT_ALL;
    if (!audit->failing)
        log_error("audit trail is not delivered", "topic", audit->options.topic, "reason", error.message);
    audit->failing = true;
    if (result && result != RD_KAFKA_RESP_ERR__TIMED_OUT && audit->options.restore)
        audit->options.restore(audit->options.context);
    return SENT_NOTHING;
}

/* ---- the thread ---- */

static void *audit_main(void *context) {
    struct audit_publisher *audit = context;
    pthread_setname_np(pthread_self(), "audit");
    int64_t next_send = 0;
    pthread_mutex_lock(&audit->lock);
    while (!is_over(audit)) {
        int64_t due = serve_refusals(audit), now = clock_monotonic_ms();
        bool hurry = audit->stop_at && !audit->failing;
        if (audit->pending && (now >= next_send || hurry)) {
            audit->pending = false;
            pthread_mutex_unlock(&audit->lock);
            enum sent sent = send_next(audit);
            pthread_mutex_lock(&audit->lock);
            audit->pending = audit->pending || sent != SENT_ALL;
            next_send = sent == SENT_SOME ? 0 : clock_monotonic_ms() + (sent == SENT_NOTHING ? RETRY_MS : PACE_MS);
            continue;
        }
        if (audit->stop_told && !audit->pending)
            break;
        if (audit->pending && next_send < due)
            due = next_send;
        wait_until(audit, audit->stop_at && audit->stop_at < due ? audit->stop_at : due);
    }
    pthread_mutex_unlock(&audit->lock);
    return NULL;
}

void audit_publisher_look(void *context) {
    struct audit_publisher *audit = context;
    pthread_mutex_lock(&audit->lock);
    if (!audit->pending) {
        audit->pending = true;
        pthread_cond_signal(&audit->wake);
    }
    pthread_mutex_unlock(&audit->lock);
}

static void wake_for_refusals(void *context) {
    struct audit_publisher *audit = context;
    pthread_mutex_lock(&audit->lock);
    audit->refusing = true;
    pthread_cond_signal(&audit->wake);
    pthread_mutex_unlock(&audit->lock);
}

/* ---- life ---- */

struct audit_publisher *audit_publisher_new(const struct audit_publisher_options *options, struct store *reader,
                                            struct error *error) {
    struct audit_publisher *audit = memory_new(sizeof *audit);
    struct store_identity identity;
    *audit = (struct audit_publisher){.options = *options, .reader = reader, .pending = true};
    pthread_mutex_init(&audit->lock, NULL);
    clock_condition_init(&audit->wake);
    if (store_read_identity(reader, &identity, error)) {
        audit_publisher_free(audit);
        return NULL;
    }
    audit->source = memory_format("urn:jwk-api:%s", identity.uid);
    return audit;
}

void audit_publisher_start(struct audit_publisher *audit, struct writer *writer, struct publisher *publisher) {
    audit->writer = writer;
    audit->publisher = publisher;
    refusals_attach(audit->options.refusals, writer, wake_for_refusals, audit);
    if (pthread_create(&audit->thread, NULL, audit_main, audit) != 0)
        abort(); /* no threads at start: nothing can work */
    audit->started = true;
}

static int run_stop(struct job *job, struct store *store, struct error *error) {
    struct audit_publisher *audit = ((struct stop_job *)job)->audit;
    const struct audit_entry entry = {
        .type = AUDIT_STOP, .actor = operator_name(), .user_id = operator_id(), .login = operator_login()};
    return refusals_write_rest(audit->options.refusals, store, error) || store_audit(store, &entry, error) ? -1 : 0;
}

static void done_stop(struct job *job, int status, const struct error *error) {
    struct audit_publisher *audit = ((struct stop_job *)job)->audit;
    if (status != 0)
        log_warning("the stop is not in the audit trail", "reason", error->message);
    pthread_mutex_lock(&audit->lock);
    audit->stop_told = true;
    pthread_cond_signal(&audit->wake);
    pthread_mutex_unlock(&audit->lock);
}

void audit_publisher_stop(struct audit_publisher *audit, int timeout_ms) {
    if (!audit->started)
        return;
    audit->stop = (struct stop_job){.job = {.run = run_stop, .done = done_stop}, .audit = audit};
    pthread_mutex_lock(&audit->lock);
    audit->stop_at = clock_monotonic_ms() + timeout_ms;
    pthread_cond_signal(&audit->wake);
    pthread_mutex_unlock(&audit->lock);
    if (writer_defer(audit->writer, &audit->stop.job))
        abort(); /* a deferred job is never refused */
    pthread_join(audit->thread, NULL);
    audit->started = false;
}

void audit_publisher_free(struct audit_publisher *audit) {
    if (!audit)
        return;
    store_close(audit->reader);
    free(audit->source);
    pthread_cond_destroy(&audit->wake);
    pthread_mutex_destroy(&audit->lock);
    free(audit);
}
