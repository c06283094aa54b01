/* Refused calls. */
#include "refusals.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/memory.h"
#include "store_audit.h"

enum {
    SORTS = 8,        /* lines of one second: the first so many that differ; what differs from them is only counted */
    PERIOD_MS = 1000, /* between two transactions for refusals */
    PATH_SHOWN = 200, /* bytes of a path: it comes from whoever calls */
    METHOD_SHOWN = 16,
};

/* Refusals that have all in common. */
struct sort {
    unsigned status;
    char address[HTTP_PEER_SIZE], actor[USER_LENGTH_MAX + 1], method[METHOD_SHOWN + 1], path[PATH_SHOWN + 1];
    int64_t count, time; /* wall ms of the first */
};

struct window {
    struct sort sorts[SORTS];
    size_t count;
    int64_t more, more_time; /* that fit no sort */
};

struct refusals {
    struct job job;
    struct writer *writer;
    void (*wake)(void *context);
    void *context;
    int64_t due;           /* monotonic ms of the next transaction; of the submitting thread */
    struct window writing; /* the job's while it is under way */
    pthread_mutex_t lock;  /* guards the two below */
    struct window gathering;
    bool busy; /* the job is under way */
};

struct refusals *refusals_new(void) {
    struct refusals *refusals = memory_new(sizeof *refusals);
    pthread_mutex_init(&refusals->lock, NULL);
    return refusals;
}

void refusals_free(struct refusals *refusals) {
    if (!refusals)
        return;
    pthread_mutex_destroy(&refusals->lock);
    free(refusals);
}

static bool is_empty(const struct window *window) {
    return window->count == 0 && window->more == 0;
}

/* ---- gathering ---- */

/* Copies what may be shown of text: bytes that are not printable ASCII as '?'. */
static void copy_shown(char *out, size_t size, const char *text) {
    size_t i = 0;
    for (; text[i] && i + 1 < size; i++)
        out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    out[i] = '\0';
}

static bool is_same(const struct sort *a, const struct sort *b) {
    return a->status == b->status && strcmp(a->address, b->address) == 0 && strcmp(a->actor, b->actor) == 0 &&
           strcmp(a->method, b->method) == 0 && strcmp(a->path, b->path) == 0;
}

static void add(struct window *window, const struct sort *sort) {
    for (size_t i = 0; i < window->count; i++)
        if (is_same(&window->sorts[i], sort)) {
            window->sorts[i].count++;
            return;
        }
    if (window->count < SORTS) {
        window->sorts[window->count++] = *sort;
        return;
    }
    if (window->more++ == 0)
        window->more_time = sort->time;
}

void refusals_note(struct refusals *refusals, const struct call *call, unsigned status) {
    struct sort sort = {.status = status, .count = 1, .time = clock_wall_ms()};
    http_request_peer(call->request, sort.address);
    memcpy(sort.actor, call->token.user, sizeof sort.actor);
    copy_shown(sort.method, sizeof sort.method, http_request_method(call->request));
    copy_shown(sort.path, sizeof sort.path, http_request_path(call->request));
    pthread_mutex_lock(&refusals->lock);
    bool first = is_empty(&refusals->gathering);
    add(&refusals->gathering, &sort);
    pthread_mutex_unlock(&refusals->lock);
    if (first && refusals->wake)
        refusals->wake(refusals->context);
}

/* ---- writing ---- */

static int write_sort(struct store *store, const struct sort *sort, struct error *error) {
    const struct audit_entry entry = {.type = AUDIT_REFUSAL,
                                      .time = sort->time,
                                      .actor = sort->actor[0] ? sort->actor : NULL,
                                      .status = sort->status,
                                      .count = sort->count,
                                      .address = sort->address,
                                      .method = sort->method,
                                      .path = sort->path};
    return store_audit(store, &entry, error);
}

static int write_window(struct store *store, const struct window *window, struct error *error) {
    for (size_t i = 0; i < window->count; i++)
        if (write_sort(store, &window->sorts[i], error))
            return -1;
    const struct audit_entry more = {.type = AUDIT_REFUSAL, .time = window->more_time, .count = window->more};
    return window->more ? store_audit(store, &more, error) : 0;
}

static int run(struct job *job, struct store *store, struct error *error) {
    return write_window(store, &((struct refusals *)job)->writing, error);
}

int refusals_write_rest(struct refusals *refusals, struct store *store, struct error *error) {
    pthread_mutex_lock(&refusals->lock);
    struct window rest = refusals->gathering;
    refusals->gathering = (struct window){0};
    pthread_mutex_unlock(&refusals->lock);
    return write_window(store, &rest, error);
}

static void done(struct job *job, int status, const struct error *error) {
    struct refusals *refusals = (struct refusals *)job;
    if (status != 0)
        log_warning("refusals are not in the audit trail", "reason", error->message);
    pthread_mutex_lock(&refusals->lock);
    refusals->busy = false;
    pthread_mutex_unlock(&refusals->lock);
}

int64_t refusals_submit(struct refusals *refusals, int64_t now_ms) {
    pthread_mutex_lock(&refusals->lock);
    bool waits = !is_empty(&refusals->gathering), submit = waits && !refusals->busy && now_ms >= refusals->due;
    if (submit) {
        refusals->writing = refusals->gathering;
        refusals->gathering = (struct window){0};
        refusals->busy = true;
        refusals->due = now_ms + PERIOD_MS;
        if (writer_defer(refusals->writer, &refusals->job))
            abort(); /* a deferred job is never refused */
    }
    pthread_mutex_unlock(&refusals->lock);
    return !waits || submit ? INT64_MAX : now_ms < refusals->due ? refusals->due : now_ms + PERIOD_MS;
}

void refusals_attach(struct refusals *refusals, struct writer *writer, void (*wake)(void *context), void *context) {
    refusals->job = (struct job){.run = run, .done = done};
    refusals->writer = writer;
    refusals->wake = wake;
    refusals->context = context;
}
