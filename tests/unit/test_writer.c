/* Group commit: jobs share a transaction, a failing one takes back its own work alone, and nobody is told of a commit that was none. */
#include "store_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "api/store_sql.h"
#include "api/writer.h"

static const char *const environments[] = {"production"};

enum { JOBS = 200 };

/* A job that adds a project of its name, and then does what its test wants. */
struct test_job {
    struct job job;
    char name[32];
    int (*then)(struct test_job *job, struct store *store, struct error *error);
    sem_t *entered, *go; /* run() posts the one and waits for the other, when there are any */
    sem_t *finished;     /* posted by done() */
    int runs, dones, status;
    enum error_code code;
    char message[sizeof((struct error *)0)->message];
};

static int order[JOBS], order_count; /* in which done() was called; of the writer's thread */

static int run(struct job *base, struct store *store, struct error *error) {
    struct test_job *job = (struct test_job *)base;
    job->runs++;
    if (job->entered) {
        sem_post(job->entered);
        sem_wait(job->go);
    }
    if (job->name[0] && store_add_project(store, job->name, error))
        return -1;
    return job->then ? job->then(job, store, error) : 0;
}

static void done(struct job *base, int status, const struct error *error) {
    struct test_job *job = (struct test_job *)base;
    job->dones++;
    job->status = status;
    if (status != 0) {
        job->code = error->code;
        snprintf(job->message, sizeof job->message, "%s", error->message);
    }
    if (order_count < JOBS)
        sscanf(job->name, "job-%d", &order[order_count++]);
    if (job->finished)
        sem_post(job->finished);
}

static struct test_job job_of(int number) {
    struct test_job job = {.job = {.run = run, .done = done}};
    snprintf(job.name, sizeof job.name, "job-%d", number);
    return job;
}

static int fail_after_writing(struct test_job *job, struct store *store, struct error *error) {
    (void)job, (void)store;
    return error_set(error, ERROR_CONFLICT, "this one is refused");
}

static void expect_done(const struct test_job *job, int status) {
    assert_int_equal(job->dones, 1);
    assert_int_equal(job->status, status);
}

static void append_name(void *context, const struct store_item *item) { text_add_format(context, "%s,", item->name); }

/* Expects these projects beside that of the fixture. */
static void expect_projects(const struct store_fixture *fixture, const char *wanted) {
    struct text names = TEXT_EMPTY;
    struct store *reader = fixture_connect(fixture, STORE_READ);
    SUCCEEDS(store_each_project(reader, append_name, &names, &error));
    assert_string_equal(names.bytes, wanted);
    text_free(&names);
    store_close(reader);
}

/* A writer whose thread stands in a first job until it is let go, so that what is submitted meanwhile makes one batch. */
struct held {
    struct store_fixture fixture;
    struct writer *writer;
    struct test_job gate;
    sem_t entered, go, finished;
};

static void hold(struct held *held) {
    order_count = 0;
    fixture_open(&held->fixture, 1, environments);
    held->writer = writer_new(held->fixture.store);
    sem_init(&held->entered, 0, 0);
    sem_init(&held->go, 0, 0);
    sem_init(&held->finished, 0, 0);
    held->gate = (struct test_job){.job = {.run = run, .done = done}, .entered = &held->entered, .go = &held->go};
    assert_int_equal(writer_submit(held->writer, &held->gate.job), 0);
    sem_wait(&held->entered);
}

/* Lets it go and waits until it has ended. */
static void finish(struct held *held) {
    sem_post(&held->go);
    writer_free(held->writer);
    expect_done(&held->gate, 0);
}

static void release(struct held *held) {
    fixture_remove(&held->fixture);
    sem_destroy(&held->entered);
    sem_destroy(&held->go);
    sem_destroy(&held->finished);
}

static void all_jobs_are_run_and_told_in_order(void **state) {
    (void)state;
    struct held held;
    static struct test_job jobs[JOBS - 1];
    hold(&held);
    for (int i = 0; i < JOBS - 1; i++) {
        jobs[i] = job_of(i);
        assert_int_equal(writer_submit(held.writer, &jobs[i].job), 0);
    }
    finish(&held);
    for (int i = 0; i < JOBS - 1; i++) {
        expect_done(&jobs[i], 0);
        assert_int_equal(jobs[i].runs, 1);
        assert_int_equal(order[i + 1], i);
    }
    release(&held);
}

static int told_at_flush[JOBS], flushes;

static void note_flush(void *context) {
    (void)context;
    told_at_flush[flushes++] = order_count;
}

static void what_a_batch_has_gathered_is_flushed_once_behind_all_of_it(void **state) {
    (void)state;
    struct held held;
    static struct test_job jobs[JOBS - 1];
    hold(&held);
    flushes = 0;
    writer_after_batch(held.writer, note_flush, NULL);
    for (int i = 0; i < JOBS - 1; i++) {
        jobs[i] = job_of(i);
        assert_int_equal(writer_submit(held.writer, &jobs[i].job), 0);
    }
    finish(&held);
    assert_int_equal(flushes, 2);
    assert_int_equal(told_at_flush[0], 1); /* of the job that was held */
    assert_int_equal(told_at_flush[1], JOBS);
    release(&held);
}

/* Each done() must find its work committed: the caller is told of what survives a power cut. */
static int64_t count_committed(const char *directory) {
    struct error error;
    struct store *reader = store_open(directory, STORE_READ, &error);
    struct text names = TEXT_EMPTY;
    int64_t count = -1;
    if (reader && store_each_project(reader, append_name, &names, &error) == 0) {
        count = 0;
        for (size_t i = 0; i < names.length; i++)
            count += names.bytes[i] == ',';
    }
    text_free(&names);
    store_close(reader);
    return count;
}

static const char *watched_directory;
static int64_t committed_when_told;

static void done_counting(struct job *base, int status, const struct error *error) {
    if (committed_when_told < 0)
        committed_when_told = count_committed(watched_directory);
    done(base, status, error);
}

static void nobody_is_told_before_the_commit(void **state) {
    (void)state;
    struct held held;
    struct test_job one = job_of(1), two = job_of(2);
    hold(&held);
    watched_directory = held.fixture.directory;
    committed_when_told = -1;
    one.job.done = two.job.done = done_counting;
    assert_int_equal(writer_submit(held.writer, &one.job), 0);
    assert_int_equal(writer_submit(held.writer, &two.job), 0);
    finish(&held);
    assert_int_equal(committed_when_told, 3); /* both, in one transaction, and the fixture's */
    release(&held);
}

static void a_failing_job_takes_back_its_own_work_alone(void **state) {
    (void)state;
    struct held held;
    struct test_job one = job_of(1), two = job_of(2), three = job_of(3);
    hold(&held);
    two.then = fail_after_writing;
    assert_int_equal(writer_submit(held.writer, &one.job), 0);
    assert_int_equal(writer_submit(held.writer, &two.job), 0);
    assert_int_equal(writer_submit(held.writer, &three.job), 0);
    finish(&held);
    expect_done(&one, 0);
    expect_done(&two, -1);
    assert_int_equal(two.code, ERROR_CONFLICT);
    assert_string_equal(two.message, "this one is refused");
    expect_done(&three, 0);
    expect_projects(&held.fixture, "job-1,job-3,my-project,");
    release(&held);
}

/* One that promised to check first and fails before it writes spoils nothing. */
static void a_job_that_checks_first_and_fails_spoils_nothing(void **state) {
    (void)state;
    struct held held;
    struct test_job one = job_of(1), again = job_of(1), two = job_of(2);
    hold(&held);
    again.job.checks_first = true;
    assert_int_equal(writer_submit(held.writer, &one.job), 0);
    assert_int_equal(writer_submit(held.writer, &again.job), 0);
    assert_int_equal(writer_submit(held.writer, &two.job), 0);
    finish(&held);
    expect_done(&one, 0);
    expect_done(&again, -1);
    assert_string_equal(again.message, "Project (name: job-1) is already exist!");
    expect_done(&two, 0);
    expect_projects(&held.fixture, "job-1,job-2,my-project,");
    release(&held);
}

/* One that breaks the promise costs its neighbours the transaction, and they are not told of its reason. */
static void a_job_that_fails_after_writing_without_a_savepoint_gives_up_the_transaction(void **state) {
    (void)state;
    struct held held;
    struct test_job one = job_of(1), two = job_of(2), three = job_of(3);
    hold(&held);
    two.job.checks_first = true;
    two.then = fail_after_writing;
    assert_int_equal(writer_submit(held.writer, &one.job), 0);
    assert_int_equal(writer_submit(held.writer, &two.job), 0);
    assert_int_equal(writer_submit(held.writer, &three.job), 0);
    finish(&held);
    expect_done(&one, -1);
    assert_int_equal(one.code, ERROR_UNAVAILABLE);
    assert_string_equal(one.message, "The store can not be used now; try again later");
    expect_done(&two, -1);
    expect_done(&three, -1);
    assert_int_equal(three.runs, 0);
    expect_projects(&held.fixture, "my-project,");
    release(&held);
}

/* ---- a disk that is full ---- */

static void limit_pages(struct store *store, const char *sql) {
    assert_int_equal(sqlite3_exec(store->db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* Needs more room than there is: SQLite takes back the whole transaction, and not this job's work alone. */
static int write_much(struct test_job *job, struct store *store, struct error *error) {
    (void)job;
    sqlite3_exec(store->db, "CREATE TEMP TABLE IF NOT EXISTS unused (x)", NULL, NULL, NULL);
    int result = sqlite3_exec(store->db, "INSERT INTO outbox (partition, key, event_id, event_type, subject, time, value)"
                                         " VALUES (0, 'k', 'e', 't', 's', 0, hex(zeroblob(4000000)))", NULL, NULL, NULL);
    return result == SQLITE_OK ? 0 : store_failed(store, "writing much", error);
}

static void expect_nothing_of_a_batch_that_met_a_full_disk(bool checks_first) {
    struct held held;
    struct test_job one = job_of(1), much = job_of(2), three = job_of(3);
    hold(&held);
    limit_pages(held.fixture.store, "PRAGMA max_page_count = 200");
    much.then = write_much;
    much.name[0] = '\0';
    much.job.checks_first = checks_first;
    three.job.checks_first = checks_first;
    assert_int_equal(writer_submit(held.writer, &one.job), 0);
    assert_int_equal(writer_submit(held.writer, &much.job), 0);
    assert_int_equal(writer_submit(held.writer, &three.job), 0);
    finish(&held);
    expect_done(&much, -1);
    assert_int_equal(much.code, ERROR_UNAVAILABLE);
    /* Either SQLite took back this job's work alone, or all of it: what is told must be what is stored. */
    struct text wanted = TEXT_EMPTY;
    if (one.status == 0)
        text_add_string(&wanted, "job-1,");
    if (three.status == 0)
        text_add_string(&wanted, "job-3,");
    text_add_string(&wanted, "my-project,");
    expect_projects(&held.fixture, wanted.bytes);
    text_free(&wanted);
    release(&held);
}

static void what_is_told_after_a_full_disk_is_what_is_stored(void **state) {
    (void)state;
    expect_nothing_of_a_batch_that_met_a_full_disk(false);
    expect_nothing_of_a_batch_that_met_a_full_disk(true);
}

/* As SQLite does by itself on some errors. */
static int lose_transaction(struct test_job *job, struct store *store, struct error *error) {
    (void)job;
    assert_int_equal(sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    return error_set(error, ERROR_UNAVAILABLE, "disk full");
}

static void nothing_is_committed_behind_a_transaction_that_is_gone(void **state) {
    (void)state;
    for (int checks_first = 0; checks_first < 2; checks_first++) {
        struct held held;
        struct test_job one = job_of(1), loser = job_of(2), three = job_of(3);
        hold(&held);
        loser.name[0] = '\0';
        loser.then = lose_transaction;
        loser.job.checks_first = three.job.checks_first = checks_first;
        assert_int_equal(writer_submit(held.writer, &one.job), 0);
        assert_int_equal(writer_submit(held.writer, &loser.job), 0);
        assert_int_equal(writer_submit(held.writer, &three.job), 0);
        finish(&held);
        expect_done(&one, -1);
        expect_done(&loser, -1);
        expect_done(&three, -1);
        assert_int_equal(three.runs, 0);
        expect_projects(&held.fixture, "my-project,");
        release(&held);
    }
}

/* The log cannot grow: the commit itself fails. */
static void a_commit_that_fails_is_a_failure_of_all_its_jobs(void **state) {
    (void)state;
    struct held held;
    struct test_job one = job_of(1), two = job_of(2), later = job_of(3);
    struct rlimit before, none;
    hold(&held);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    none = before;
    none.rlim_cur = 1;
    one.finished = two.finished = later.finished = &held.finished;
    assert_int_equal(writer_submit(held.writer, &one.job), 0);
    assert_int_equal(writer_submit(held.writer, &two.job), 0);
    setrlimit(RLIMIT_FSIZE, &none);
    sem_post(&held.go);
    sem_wait(&held.finished);
    sem_wait(&held.finished);
    setrlimit(RLIMIT_FSIZE, &before);
    expect_done(&one, -1);
    assert_int_equal(one.code, ERROR_UNAVAILABLE);
    assert_string_equal(one.message, "The store can not be used now; try again later");
    expect_done(&two, -1);
    assert_int_equal(writer_submit(held.writer, &later.job), 0);
    writer_free(held.writer);
    expect_done(&later, 0);
    expect_projects(&held.fixture, "job-3,my-project,");
    release(&held);
}

/* ---- deferred jobs ---- */

static void deferred_jobs_ride_with_the_next_transaction(void **state) {
    (void)state;
    struct held held;
    struct test_job deferred = job_of(1), urgent = job_of(2);
    hold(&held);
    assert_int_equal(writer_defer(held.writer, &deferred.job), 0);
    assert_int_equal(writer_submit(held.writer, &urgent.job), 0);
    finish(&held);
    expect_done(&deferred, 0);
    expect_done(&urgent, 0);
    release(&held);
}

static void a_deferred_job_is_run_without_an_urgent_one(void **state) {
    (void)state;
    struct held held;
    struct test_job deferred = job_of(1);
    hold(&held);
    sem_post(&held.go);
    deferred.finished = &held.finished;
    assert_int_equal(writer_defer(held.writer, &deferred.job), 0);
    sem_wait(&held.finished);
    expect_done(&deferred, 0);
    writer_free(held.writer);
    release(&held);
}

static int fail_once(struct test_job *job, struct store *store, struct error *error) {
    (void)store;
    return job->runs == 1 ? error_set(error, ERROR_UNAVAILABLE, "not now") : 0;
}

static void a_deferred_job_that_can_not_be_done_now_is_run_again_in_its_order(void **state) {
    (void)state;
    struct held held;
    struct test_job first = job_of(1), second = job_of(2);
    hold(&held);
    first.then = fail_once;
    first.finished = second.finished = &held.finished;
    assert_int_equal(writer_defer(held.writer, &first.job), 0);
    sem_post(&held.go);
    sem_wait(&held.finished);
    assert_int_equal(writer_defer(held.writer, &second.job), 0);
    sem_wait(&held.finished);
    writer_free(held.writer);
    expect_done(&first, 0);
    assert_int_equal(first.runs, 2);
    expect_done(&second, 0);
    expect_projects(&held.fixture, "job-1,job-2,my-project,");
    release(&held);
}

static int fail_always(struct test_job *job, struct store *store, struct error *error) {
    (void)job, (void)store;
    return error_set(error, ERROR_UNAVAILABLE, "never");
}

static void a_stop_does_not_wait_for_a_deferred_job_that_never_succeeds(void **state) {
    (void)state;
    struct held held;
    struct test_job deferred = job_of(1);
    hold(&held);
    deferred.then = fail_always;
    assert_int_equal(writer_defer(held.writer, &deferred.job), 0);
    finish(&held);
    expect_done(&deferred, -1);
    assert_string_equal(deferred.message, "never");
    expect_projects(&held.fixture, "my-project,");
    release(&held);
}

static void a_stop_runs_what_was_handed_over(void **state) {
    (void)state;
    struct held held;
    struct test_job urgent = job_of(1), deferred = job_of(2);
    hold(&held);
    assert_int_equal(writer_defer(held.writer, &deferred.job), 0);
    assert_int_equal(writer_submit(held.writer, &urgent.job), 0);
    finish(&held);
    expect_done(&urgent, 0);
    expect_done(&deferred, 0);
    expect_projects(&held.fixture, "job-1,job-2,my-project,");
    release(&held);
}

/* ---- many threads ---- */

struct submitter {
    struct writer *writer;
    int first;
    struct test_job jobs[JOBS];
};

/* ---- gathering ---- */

static const int64_t FOR_EVER_US = 3600 * (int64_t)1000000;

static struct test_job finishing_job_of(int number, sem_t *finished) {
    struct test_job job = job_of(number);
    job.finished = finished;
    return job;
}

static void a_transaction_waits_for_as_many_as_are_on_their_way(void **state) {
    (void)state;
    struct held held;
    atomic_int admitted = 1;
    fixture_open(&held.fixture, 1, environments);
    held.writer = writer_new(held.fixture.store);
    writer_after_batch(held.writer, note_flush, NULL);
    writer_gather(held.writer, &admitted, FOR_EVER_US);
    sem_init(&held.finished, 0, 0);
    flushes = 0;
    struct test_job alone = finishing_job_of(0, &held.finished);
    assert_int_equal(writer_submit(held.writer, &alone.job), 0);
    sem_wait(&held.finished); /* nothing is on its way */
    atomic_store(&admitted, 6);
    struct test_job jobs[3];
    for (int i = 0; i < 3; i++) {
        jobs[i] = finishing_job_of(1 + i, &held.finished);
        assert_int_equal(writer_submit(held.writer, &jobs[i].job), 0);
        for (int turns = 0; i < 2 && turns < 1000; turns++)
            sched_yield(); /* what did not wait would run now */
        assert_true(i == 2 || sem_trywait(&held.finished) != 0);
    }
    for (int i = 0; i < 3; i++)
        sem_wait(&held.finished);
    writer_free(held.writer);
    assert_int_equal(flushes, 2);
    fixture_remove(&held.fixture);
    sem_destroy(&held.finished);
}

static void a_transaction_does_not_wait_for_ever(void **state) {
    (void)state;
    struct store_fixture fixture;
    sem_t finished;
    atomic_int admitted = 100;
    fixture_open(&fixture, 1, environments);
    struct writer *writer = writer_new(fixture.store);
    writer_gather(writer, &admitted, 1000);
    sem_init(&finished, 0, 0);
    struct test_job job = finishing_job_of(1, &finished);
    assert_int_equal(writer_submit(writer, &job.job), 0);
    sem_wait(&finished);
    writer_free(writer);
    expect_done(&job, 0);
    fixture_remove(&fixture);
    sem_destroy(&finished);
}

static void a_stop_ends_the_gathering(void **state) {
    (void)state;
    struct store_fixture fixture;
    atomic_int admitted = 100;
    fixture_open(&fixture, 1, environments);
    struct writer *writer = writer_new(fixture.store);
    writer_gather(writer, &admitted, FOR_EVER_US);
    struct test_job job = job_of(1);
    assert_int_equal(writer_submit(writer, &job.job), 0);
    writer_free(writer);
    expect_done(&job, 0);
    fixture_remove(&fixture);
}

static void *submit_all(void *context) {
    struct submitter *submitter = context;
    for (int i = 0; i < JOBS; i++) {
        submitter->jobs[i] = job_of(submitter->first + i);
        int refused = i % 3 ? writer_submit(submitter->writer, &submitter->jobs[i].job)
                            : writer_defer(submitter->writer, &submitter->jobs[i].job);
        if (refused)
            abort();
    }
    return NULL;
}

static void many_threads_submit_at_once(void **state) {
    (void)state;
    struct store_fixture fixture;
    static struct submitter submitters[4];
    pthread_t threads[4];
    order_count = JOBS; /* not noted */
    fixture_open(&fixture, 1, environments);
    struct writer *writer = writer_new(fixture.store);
    for (int i = 0; i < 4; i++) {
        submitters[i].writer = writer;
        submitters[i].first = i * JOBS;
        assert_int_equal(pthread_create(&threads[i], NULL, submit_all, &submitters[i]), 0);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    writer_free(writer);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < JOBS; j++)
            expect_done(&submitters[i].jobs[j], 0);
    assert_int_equal(count_committed(fixture.directory), 4 * JOBS + 1);
    fixture_remove(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_jobs_are_run_and_told_in_order),
        cmocka_unit_test(what_a_batch_has_gathered_is_flushed_once_behind_all_of_it),
        cmocka_unit_test(nobody_is_told_before_the_commit),
        cmocka_unit_test(a_failing_job_takes_back_its_own_work_alone),
        cmocka_unit_test(a_job_that_checks_first_and_fails_spoils_nothing),
        cmocka_unit_test(a_job_that_fails_after_writing_without_a_savepoint_gives_up_the_transaction),
        cmocka_unit_test(what_is_told_after_a_full_disk_is_what_is_stored),
        cmocka_unit_test(nothing_is_committed_behind_a_transaction_that_is_gone),
        cmocka_unit_test(a_commit_that_fails_is_a_failure_of_all_its_jobs),
        cmocka_unit_test(deferred_jobs_ride_with_the_next_transaction),
        cmocka_unit_test(a_deferred_job_is_run_without_an_urgent_one),
        cmocka_unit_test(a_deferred_job_that_can_not_be_done_now_is_run_again_in_its_order),
        cmocka_unit_test(a_stop_does_not_wait_for_a_deferred_job_that_never_succeeds),
        cmocka_unit_test(a_stop_runs_what_was_handed_over),
        cmocka_unit_test(a_transaction_waits_for_as_many_as_are_on_their_way),
        cmocka_unit_test(a_transaction_does_not_wait_for_ever),
        cmocka_unit_test(a_stop_ends_the_gathering),
        cmocka_unit_test(many_threads_submit_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
