/* The bare floor: what one update costs when nothing but SQLite and librdkafka stands on its path.
 *
 * Each slot commits one row (group commit: the writer takes all that wait, one transaction, WAL, synchronous=FULL), produces
 * 500 bytes, lets every consumer produce an ack, and is complete when all acks are consumed; then it starts over. The product
 * does the same with HTTP, JSON, tokens and a durable state of each worker around it: its figures are ratios to these. With
 * --commit each consumer commits a row of its own before it acks, as a worker must. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "floor_kafka.h"
#include "histogram.h"

enum {
    EVENT_BYTES = 500,
    ACK_BYTES = 100,
    CONSUMERS_MAX = 256,
    WRITER = CONSUMERS_MAX, /* instead of a consumer's number */
    ROWS = 10000, /* rows that exist before; each update rewrites one, so that the file does not grow */
    DRAIN_SECONDS = 15,
};

/* Owned by the gatherer, except generation, which the writer reads while the slot is in its queue. */
struct slot {
    uint64_t started_ns;
    uint64_t generation;
    unsigned acks; /* of this generation; the idempotent producer makes no second one of a consumer */
};

/* Slots that wait for the writer. The gatherer appends, the writer takes all; a slot is in it at most once. */
struct queue {
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t filled;
    uint32_t *slots;
    size_t count;
    bool closed;
};

struct floor {
    struct settings settings;
    char events[128], acks[128]; /* topics of this run alone */
    struct slot *slots;
    struct queue queue;
    _Atomic bool consumers_stop;
    uint64_t commits; /* by the writer; read after it is joined */
};

struct consumer {
    struct floor *floor;
    unsigned number;
    pthread_t thread;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

/* ---- The queue between gatherer and writer ---- */

static void queue_append(struct queue *queue, const uint32_t *slots, size_t count) {
    if (count == 0)
        return;
    pthread_mutex_lock(&queue->mutex);
    memcpy(queue->slots + queue->count, slots, count * sizeof *slots);
    queue->count += count;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->mutex);
}

static void queue_close(struct queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    queue->closed = true;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->mutex);
}

/* Waits for slots and takes all; 0 when the queue is closed and empty. */
static size_t queue_take(struct queue *queue, uint32_t *slots) {
    pthread_mutex_lock(&queue->mutex);
    while (queue->count == 0 && !queue->closed)
        pthread_cond_wait(&queue->filled, &queue->mutex);
    size_t count = queue->count;
    memcpy(slots, queue->slots, count * sizeof *slots);
    queue->count = 0;
    pthread_mutex_unlock(&queue->mutex);
    return count;
}

/* ---- The writer ---- */

static void execute(sqlite3 *database, const char *sql) {
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail("%s: %s", sql, sqlite3_errmsg(database));
}

static sqlite3 *database_open(const char *path) {
    sqlite3 *database;
    if (sqlite3_open(path, &database) != SQLITE_OK)
        fail("%s: %s", path, sqlite3_errmsg(database));
    execute(database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                      "CREATE TABLE record(id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;"
                      "WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 9999)"
                      " INSERT INTO record SELECT n, zeroblob(500) FROM number;");
    return database;
}

/* A database and the one statement that changes it. */
struct rows {
    sqlite3 *database;
    sqlite3_stmt *update;
    uint64_t last;
};

/* Number: of the consumer, or WRITER. */
static void rows_path(const char *directory, unsigned number, char path[4096]) {
    snprintf(path, 4096, "%s/floor-%u.db", directory, number);
}

static void rows_open(struct rows *rows, const char *directory, unsigned number) {
    char path[4096];
    rows_path(directory, number, path);
    rows->database = database_open(path);
    rows->last = 0;
    if (sqlite3_prepare_v2(rows->database, "UPDATE record SET body = ?2 WHERE id = ?1", -1, &rows->update, NULL) != SQLITE_OK)
        fail("prepare: %s", sqlite3_errmsg(rows->database));
}

/* Rewrites the next row. A prime step spreads them over the pages, as updates of different keys do. */
static void rows_update(struct rows *rows, const unsigned char body[EVENT_BYTES]) {
    rows->last = (rows->last + 7919) % ROWS;
    sqlite3_bind_int64(rows->update, 1, (sqlite3_int64)rows->last);
    sqlite3_bind_blob(rows->update, 2, body, EVENT_BYTES, SQLITE_STATIC);
    if (sqlite3_step(rows->update) != SQLITE_DONE)
        fail("update: %s", sqlite3_errmsg(rows->database));
    sqlite3_reset(rows->update);
}

static void rows_close(struct rows *rows) {
    sqlite3_finalize(rows->update);
    sqlite3_close(rows->database);
}

static void *writer_run(void *argument) {
    struct floor *floor = argument;
    const struct settings *settings = &floor->settings;
    struct rows rows;
    rows_open(&rows, settings->directory, WRITER);
    rd_kafka_t *producer = client_new(settings, RD_KAFKA_PRODUCER);
    int partitions = partitions_of(producer, floor->events);
    rd_kafka_topic_t *topic = topic_new(producer, floor->events);
    uint32_t *slots = allocate(settings->in_flight, sizeof *slots);
    unsigned char event[EVENT_BYTES];
    memset(event, 'e', sizeof event);
    size_t count;
    while ((count = queue_take(&floor->queue, slots)) > 0) {
        execute(rows.database, "BEGIN IMMEDIATE");
        for (size_t i = 0; i < count; i++) {
            struct record record = {.slot = slots[i], .generation = floor->slots[slots[i]].generation};
            memcpy(event, &record, sizeof record);
            rows_update(&rows, event);
        }
        execute(rows.database, "COMMIT");
        floor->commits++;
        for (size_t i = 0; i < count; i++) {
            struct record record = {.slot = slots[i], .generation = floor->slots[slots[i]].generation};
            memcpy(event, &record, sizeof record);
            record_produce(producer, topic, (int32_t)(slots[i] % (uint32_t)partitions), event, sizeof event);
        }
        rd_kafka_poll(producer, 0);
    }
    free(slots);
    rd_kafka_flush(producer, ADMIN_TIMEOUT_MS);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
    rows_close(&rows);
    return NULL;
}

/* ---- The consumers ---- */

/* One transaction for all that was taken. */
static void commit_rows(struct rows *rows, rd_kafka_message_t *const *messages, size_t count) {
    unsigned char body[EVENT_BYTES];
    memset(body, 'c', sizeof body);
    execute(rows->database, "BEGIN IMMEDIATE");
    for (size_t i = 0; i < count; i++) {
        memcpy(body, messages[i]->payload, messages[i]->len < sizeof body ? messages[i]->len : sizeof body);
        rows_update(rows, body);
    }
    execute(rows->database, "COMMIT");
}

static void *consumer_run(void *argument) {
    const struct consumer *consumer = argument;
    struct floor *floor = consumer->floor;
    bool commit = floor->settings.commit;
    struct rows rows;
    if (commit)
        rows_open(&rows, floor->settings.directory, consumer->number);
    rd_kafka_queue_t *queue;
    rd_kafka_t *reader = reader_new(&floor->settings, floor->events, &queue);
    rd_kafka_t *producer = client_new(&floor->settings, RD_KAFKA_PRODUCER);
    rd_kafka_topic_t *topic = topic_new(producer, floor->acks);
    rd_kafka_message_t *messages[BATCH];
    unsigned char ack[ACK_BYTES];
    memset(ack, 'a', sizeof ack);
    while (!atomic_load_explicit(&floor->consumers_stop, memory_order_relaxed)) {
        size_t count = reader_take(queue, messages);
        if (commit && count > 0)
            commit_rows(&rows, messages, count);
        for (size_t i = 0; i < count; i++) {
            struct record record;
            if (record_read(messages[i], floor->events, &record)) {
                record.consumer = consumer->number;
                memcpy(ack, &record, sizeof record);
                record_produce(producer, topic, 0, ack, sizeof ack);
            }
            rd_kafka_message_destroy(messages[i]);
        }
        rd_kafka_poll(producer, 0);
    }
    rd_kafka_flush(producer, ADMIN_TIMEOUT_MS);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(producer);
    reader_close(reader, queue);
    if (commit)
        rows_close(&rows);
    return NULL;
}

/* ---- The gatherer: the main thread ---- */

struct measurement {
    struct histogram latency;
    uint64_t completed; /* all, warm-up included */
    double seconds;     /* of the measured part */
    size_t lost;        /* slots that never got all acks */
};

static void gather(struct floor *floor, struct measurement *measurement) {
    const struct settings *settings = &floor->settings;
    rd_kafka_queue_t *queue;
    rd_kafka_t *reader = reader_new(settings, floor->acks, &queue);
    rd_kafka_message_t *messages[BATCH];
    uint32_t *again = allocate(settings->in_flight, sizeof *again);
    size_t in_flight = settings->in_flight;
    uint64_t begin = monotonic_ns();
    for (uint32_t i = 0; i < settings->in_flight; i++) {
        floor->slots[i].started_ns = begin;
        again[i] = i;
    }
    queue_append(&floor->queue, again, settings->in_flight);
    uint64_t measured_from = begin + (uint64_t)(settings->warm_up_s * 1e9);
    uint64_t end = measured_from + (uint64_t)(settings->duration_s * 1e9), now = begin;
    while (in_flight > 0 && now < end + (uint64_t)DRAIN_SECONDS * 1000000000u && !delivery_has_failed()) {
        size_t count = reader_take(queue, messages), restarts = 0;
        for (size_t i = 0; i < count; i++) {
            struct record record;
            bool valid = record_read(messages[i], floor->acks, &record);
            rd_kafka_message_destroy(messages[i]);
            struct slot *slot = valid && record.slot < settings->in_flight ? &floor->slots[record.slot] : NULL;
            if (!slot || record.generation != slot->generation)
                continue;
            if (++slot->acks < settings->consumers)
                continue;
            now = monotonic_ns();
            measurement->completed++;
            if (now >= measured_from && now < end)
                histogram_record(&measurement->latency, now - slot->started_ns);
            *slot = (struct slot){.started_ns = now, .generation = slot->generation + 1};
            if (now < end && !interrupted)
                again[restarts++] = record.slot;
            else
                in_flight--;
        }
        queue_append(&floor->queue, again, restarts);
        if (count == 0)
            now = monotonic_ns();
    }
    measurement->seconds = settings->duration_s;
    measurement->lost = in_flight;
    free(again);
    reader_close(reader, queue);
}

static void report(const struct floor *floor, const struct measurement *measurement, double cpu_seconds) {
    const struct settings *settings = &floor->settings;
    double rate = (double)measurement->latency.total / measurement->seconds;
    double cpu_us = measurement->completed ? cpu_seconds * 1e6 / (double)measurement->completed : 0;
    double per_commit = floor->commits ? (double)measurement->completed / (double)floor->commits : 0;
    if (settings->json) {
        printf("{\"in_flight\":%u,\"consumers\":%u,\"partitions\":%u,\"seconds\":%.3f,", settings->in_flight,
               settings->consumers, settings->partitions, measurement->seconds);
        printf("\"updates\":%" PRIu64 ",\"completed\":%" PRIu64 ",\"lost\":%zu,\"rate\":%.1f,", measurement->latency.total,
               measurement->completed, measurement->lost, rate);
        histogram_write_json(&measurement->latency, stdout);
        printf(",\"cpu_us_per_update\":%.2f,\"updates_per_commit\":%.1f}\n", cpu_us, per_commit);
    } else {
        printf("%u in flight, %u consumers: %.0f updates/s, %.1f us CPU each, %.1f a commit, %zu lost\n", settings->in_flight,
               settings->consumers, rate, cpu_us, per_commit, measurement->lost);
        histogram_write_text(&measurement->latency, stdout);
    }
}

static void run(struct floor *floor, struct measurement *measurement) {
    const struct settings *settings = &floor->settings;
    rd_kafka_t *admin = client_new(settings, RD_KAFKA_PRODUCER);
    topics_create(admin, settings, floor->events, floor->acks);
    partitions_of(admin, floor->events);
    partitions_of(admin, floor->acks);
    struct consumer *consumers = allocate(settings->consumers, sizeof *consumers);
    pthread_t writer;
    if (pthread_create(&writer, NULL, writer_run, floor))
        fail("cannot start a thread");
    pthread_setname_np(writer, "writer");
    for (unsigned i = 0; i < settings->consumers; i++) {
        consumers[i] = (struct consumer){.floor = floor, .number = i};
        if (pthread_create(&consumers[i].thread, NULL, consumer_run, &consumers[i]))
            fail("cannot start a thread");
        pthread_setname_np(consumers[i].thread, "consumer");
    }
    gather(floor, measurement);
    queue_close(&floor->queue);
    pthread_join(writer, NULL);
    atomic_store(&floor->consumers_stop, true);
    for (unsigned i = 0; i < settings->consumers; i++)
        pthread_join(consumers[i].thread, NULL);
    free(consumers);
    topics_delete(admin, floor->events, floor->acks);
    rd_kafka_destroy(admin);
}

static void usage(FILE *out) {
    fputs("Usage: floor --brokers HOST:PORT [options]\n"
          "  --brokers HOST:PORT   the Kafka brokers\n"
          "  --in-flight N         updates under way at any time (1)\n"
          "  --consumers N         consumers that each ack every update (2)\n"
          "  --commit              each consumer commits a row of its own before it acks\n"
          "  --partitions N        partitions of the topic of events (1: the quickest on one broker)\n"
          "  --duration SECONDS    measured time (5)\n"
          "  --warm-up SECONDS     time before it that is not measured (1)\n"
          "  --dir DIRECTORY       where a directory for the database is made and removed (.)\n"
          "  --topic-prefix TEXT   the two topics of a run start with it and are deleted at the end (floor)\n"
          "  -X name=value         a librdkafka property for every client\n"
          "  --json                print one JSON object\n",
          out);
}

static unsigned parse_number(const char *text, const char *name, unsigned maximum) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || value < 1 || value > maximum)
        fail("--%s takes a number from 1 to %u", name, maximum);
    return (unsigned)value;
}

static double parse_seconds(const char *text, const char *name) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 86400))
        fail("--%s takes seconds", name);
    return value;
}

static void parse_arguments(int argc, char **argv, struct settings *settings) {
    static const struct option options[] = {
        {"brokers", required_argument, NULL, 'b'},      {"in-flight", required_argument, NULL, 'n'},
        {"consumers", required_argument, NULL, 'c'},    {"partitions", required_argument, NULL, 'p'},
        {"duration", required_argument, NULL, 'd'},     {"warm-up", required_argument, NULL, 'w'},
        {"dir", required_argument, NULL, 'D'},          {"topic-prefix", required_argument, NULL, 't'},
        {"commit", no_argument, NULL, 'C'},             {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},               {NULL, 0, NULL, 0},
    };
    *settings = (struct settings){.directory = ".", .topic_prefix = "floor", .in_flight = 1, .consumers = 2, .partitions = 1,
                                  .duration_s = 5, .warm_up_s = 1};
    for (int option; (option = getopt_long(argc, argv, "X:", options, NULL)) != -1;) {
        switch (option) {
        case 'b': settings->brokers = optarg; break;
        case 'n': settings->in_flight = parse_number(optarg, "in-flight", 50000); break;
        case 'c': settings->consumers = parse_number(optarg, "consumers", CONSUMERS_MAX); break;
        case 'p': settings->partitions = parse_number(optarg, "partitions", 1000); break;
        case 'd': settings->duration_s = parse_seconds(optarg, "duration"); break;
        case 'w': settings->warm_up_s = parse_seconds(optarg, "warm-up"); break;
        case 'D': settings->directory = optarg; break;
        case 't': settings->topic_prefix = optarg; break;
        case 'C': settings->commit = true; break;
        case 'j': settings->json = true; break;
        case 'X':
            if (settings->property_count == PROPERTIES_MAX)
                fail("at most %d of -X", PROPERTIES_MAX);
            settings->properties[settings->property_count++] = optarg;
            break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (!settings->brokers || optind != argc || settings->duration_s <= 0) {
        usage(stderr);
        exit(2);
    }
}

/* The directory of this run; removed whatever ends the program. */
static char run_directory[3072];

static void run_directory_remove(void) {
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (unsigned number = 0; number <= WRITER; number++) {
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
            char path[4096 + 8];
            rows_path(run_directory, number, path);
            strcat(path, suffixes[i]);
            unlink(path);
        }
    }
    rmdir(run_directory);
}

int main(int argc, char **argv) {
    struct floor floor = {.queue = {.mutex = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER}};
    parse_arguments(argc, argv, &floor.settings);
    struct sigaction action = {.sa_handler = interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    snprintf(run_directory, sizeof run_directory, "%s/floor-XXXXXX", floor.settings.directory);
    if (!mkdtemp(run_directory))
        fail("%s: %s", run_directory, strerror(errno));
    atexit(run_directory_remove);
    floor.settings.directory = run_directory;
    /* The directory's suffix is unique, and so are the topics: a run never sees another's records. */
    const char *suffix = strrchr(run_directory, '-') + 1;
    snprintf(floor.events, sizeof floor.events, "%s.%s.events", floor.settings.topic_prefix, suffix);
    snprintf(floor.acks, sizeof floor.acks, "%s.%s.acks", floor.settings.topic_prefix, suffix);
    floor.slots = allocate(floor.settings.in_flight, sizeof *floor.slots);
    floor.queue.slots = allocate(floor.settings.in_flight, sizeof *floor.queue.slots);
    struct measurement *measurement = allocate(1, sizeof *measurement);
    double cpu_before = process_cpu_seconds();
    run(&floor, measurement);
    report(&floor, measurement, process_cpu_seconds() - cpu_before);
    bool failed = measurement->lost > 0 || delivery_has_failed();
    if (failed)
        fprintf(stderr, "floor: %zu updates never got all acks\n", measurement->lost);
    free(measurement);
    free(floor.queue.slots);
    free(floor.slots);
    return failed;
}
