/* From records to the state: what is no event of ours is skipped, a batch is one transaction, and what it changed is stale at
 * once. */
#include "worker_fixture.h"

#include "common/clock.h"
#include "common/cloudevent.h"
#include "worker/apply.h"
#include "worker/metrics.h"

static struct worker_fixture *fixture;
static struct key_set_cache *cache;
static struct progress *progress;
static struct arena arena;

static int set_up(void **state) {
    if (fixture_set_up(state))
        return -1;
    fixture = *state;
    struct key_set_options options = {.readers = fixture->readers, .memory = 1 << 20, .max_age = 300, .wall_ms = clock_wall_ms};
    cache = key_set_cache_new(&options);
    progress = progress_new();
    progress_start(progress, &(struct position){.partition = 0});
    return 0;
}

static int tear_down(void **state) {
    key_set_cache_free(cache);
    progress_free(progress);
    arena_free(&arena);
    return fixture_tear_down(state);
}

/* A record with what it points to. */
struct made {
    struct apply_record record;
    struct text value;
    struct cloudevent attributes;
};

static struct event event_of(const char *id, const char *name, int64_t version) {
    return (struct event){.operation = version == 1 ? EVENT_CREATE : EVENT_UPDATE,
                          .deployment_id = JWK_C,
                          .epoch = 1,
                          .version = version,
                          .sequence = version,
                          .project_id = PROJECT_ID,
                          .project_name = "MyProject",
                          .jwk_id = id,
                          .name = name,
                          .type = "OKP",
                          .kid = "a",
                          .public_key = PUBLIC_A,
                          .actor = "alice",
                          .time = "2026-01-01T00:00:00.000Z"};
}

static void make(struct made *made, struct event event) {
    *made = (struct made){.attributes = {.id = JWK_B, .type = event_operation_type(event.operation)}};
    event_encode(&event, &made->value);
    made->record = (struct apply_record){.key = event.jwk_id,
                                         .key_length = strlen(event.jwk_id),
                                         .value = made->value.bytes,
                                         .value_length = made->value.length,
                                         .generation = 1,
                                         .attributes = &made->attributes};
}

static void unmake(struct made *made) { text_free(&made->value); }

static struct apply_target target_of(void) {
    return (struct apply_target){.state = fixture->state,
                                 .cache = cache,
                                 .arena = &arena,
                                 .progress = progress,
                                 .contact_ms = 1000000,
                                 .judged_by = "a key"};
}

/* Decodes and applies one event in a batch of its own. */
static enum apply_outcome apply_one(struct event event) {
    struct made made;
    struct error error;
    struct apply_target target = target_of();
    make(&made, event);
    apply_decode(&made.record, &arena);
    assert_int_equal(apply_batch(&target, &made.record, 1, &error), 0);
    enum apply_outcome outcome = made.record.outcome;
    unmake(&made);
    return outcome;
}

static void each_event_has_its_outcome(void **state) {
    (void)state;
    assert_int_equal(apply_one(event_of(JWK_A, "one", 2)), APPLY_NEWER);
    assert_int_equal(apply_one(event_of(JWK_A, "one", 2)), APPLY_EQUAL);
    assert_int_equal(apply_one(event_of(JWK_A, "one", 1)), APPLY_OLDER);
    struct event deleted = event_of(JWK_A, "one", 3);
    deleted.operation = EVENT_DELETE;
    deleted.public_key = NULL;
    assert_int_equal(apply_one(deleted), APPLY_NEWER);
    assert_key_set(fixture, "MyProject", "{\"keys\":[]}");
}

static void what_is_of_an_earlier_epoch_is_told_and_changes_nothing(void **state) {
    (void)state;
    struct made made;
    struct error error;
    struct apply_target target = target_of();
    struct event adopted = event_of(JWK_A, "one", 2);
    adopted.epoch = 3;
    assert_int_equal(apply_one(adopted), APPLY_NEWER);
    int64_t before = metric_value(&metric_events_past_epoch), duplicates = metric_value(&metric_events_duplicate);
    struct event event = event_of(JWK_A, "one", 9);
    event.epoch = 2;
    event.public_key = PUBLIC_B;
    make(&made, event);
    made.record.live = true;
    apply_decode(&made.record, &arena);
    assert_int_equal(apply_batch(&target, &made.record, 1, &error), 0);
    assert_int_equal(made.record.outcome, APPLY_PAST_EPOCH);
    assert_string_equal(made.record.refusal, "this replica follows a store that was adopted later (epoch 3, the change is of epoch "
                                             "2): another jwk-api has taken over");
    unmake(&made);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    assert_int_equal(metric_value(&metric_events_past_epoch), before + 1);
    assert_int_equal(metric_value(&metric_events_duplicate), duplicates);
    /* What is read again is of before the adoption: nobody is to be stopped for it. */
    event.epoch = 1;
    assert_int_equal(apply_one(event), APPLY_PAST_EPOCH);
    assert_int_equal(metric_value(&metric_events_past_epoch), before + 1);
    assert_int_equal(metric_value(&metric_events_duplicate), duplicates + 1);
    adopted.version = 1; /* superseded by its own store */
    assert_int_equal(apply_one(adopted), APPLY_OLDER);
}

static void what_is_of_an_earlier_epoch_than_the_deletion_is_told_too(void **state) {
    (void)state;
    struct error error;
    struct apply_target target = target_of();
    struct event event = event_of(JWK_A, "one", 2);
    event.epoch = 3;
    apply_one(event);
    struct apply_record tombstone = {.key = JWK_A, .key_length = UUID_SIZE - 1};
    apply_decode(&tombstone, &arena);
    assert_int_equal(apply_batch(&target, &tombstone, 1, &error), 0);
    event.version = 1;
    assert_int_equal(apply_one(event), APPLY_OLDER);
    event.epoch = 2;
    event.version = 9;
    assert_int_equal(apply_one(event), APPLY_PAST_EPOCH);
    assert_int_equal(state_keys(fixture->state), 0);
}

static enum apply_outcome decode(struct made *made) {
    apply_decode(&made->record, &arena);
    return made->record.outcome;
}

static void what_does_not_fit_is_malformed(void **state) {
    (void)state;
    struct made made;
    struct event event = event_of(JWK_A, "one", 1);
    make(&made, event);
    assert_int_equal(decode(&made), APPLY_PENDING);
    unmake(&made);
    make(&made, event);
    made.record.attributes = NULL;
    made.record.problem = "header ce_id is missing";
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
    make(&made, event);
    made.attributes.type = EVENT_TYPE_DELETED;
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
    make(&made, event);
    made.attributes.id = "not a UUID";
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
    make(&made, event);
    made.record.key = JWK_B;
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
    make(&made, event);
    made.record.key = NULL;
    made.record.key_length = 0;
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
    make(&made, event);
    made.record.value_length--;
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
    make(&made, event);
    made.record.key = "\377\376";
    made.record.key_length = 2;
    made.record.value = "{";
    made.record.value_length = 1;
    assert_int_equal(decode(&made), APPLY_MALFORMED);
    unmake(&made);
}

static void private_halves_and_symmetric_keys_are_refused(void **state) {
    (void)state;
    static const char *const keys[] = {
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\",\"d\":\"AAAA\"}",
        "{\"kty\":\"RSA\",\"n\":\"AAAA\",\"e\":\"AQAB\",\"qi\":\"AAAA\"}",
        "{\"kty\":\"oct\"}",
        "{\"kty\":\"OKP\",\"k\":\"AAAA\"}",
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        struct made made;
        struct event event = event_of(JWK_A, "one", 1);
        event.public_key = keys[i];
        make(&made, event);
        assert_int_equal(decode(&made), APPLY_MALFORMED);
        unmake(&made);
    }
}

static void exp_is_read_from_the_public_key(void **state) {
    (void)state;
    struct made made;
    struct event event = event_of(JWK_A, "one", 1);
    event.public_key = "{\"kty\":\"OKP\",\"exp\":2000}";
    make(&made, event);
    assert_int_equal(decode(&made), APPLY_PENDING);
    assert_int_equal(made.record.expires, 2000);
    unmake(&made);
}

static void a_tombstone_needs_a_uuid_as_its_key(void **state) {
    (void)state;
    struct error error;
    struct apply_target target = target_of();
    apply_one(event_of(JWK_A, "one", 1));
    struct apply_record records[] = {
        {.key = JWK_A, .key_length = UUID_SIZE - 1, .generation = 1}, {.key = "nonsense", .key_length = 8}, {.key = NULL}};
    for (size_t i = 0; i < 3; i++)
        apply_decode(&records[i], &arena);
    assert_int_equal(records[0].outcome, APPLY_TOMBSTONE);
    assert_int_equal(records[1].outcome, APPLY_MALFORMED);
    assert_int_equal(records[2].outcome, APPLY_MALFORMED);
    assert_int_equal(apply_batch(&target, records, 3, &error), 0);
    assert_int_equal(state_keys(fixture->state), 0);
}

static void a_batch_is_applied_whole_or_not_at_all(void **state) {
    (void)state;
    struct made good, bad;
    struct error error;
    struct apply_target target = target_of();
    char *file = memory_format("%s/state.db", fixture->state_directory);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(file, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other,
                                  "CREATE TRIGGER refuse BEFORE INSERT ON jwk WHEN NEW.name = 'bad' BEGIN SELECT RAISE(ABORT, "
                                  "'refused'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    make(&good, event_of(JWK_A, "good", 1));
    make(&bad, event_of(JWK_B, "bad", 1));
    struct apply_record records[] = {good.record, bad.record};
    apply_decode(&records[0], &arena);
    apply_decode(&records[1], &arena);
    progress_pass(progress, 0, 5, 1);
    assert_int_equal(apply_batch(&target, records, 2, &error), -1);
    assert_int_equal(error.code, ERROR_UNAVAILABLE);
    assert_int_equal(state_keys(fixture->state), 0);
    assert_key_set(fixture, "MyProject", "");
    assert_true(progress_is_dirty(progress)); /* the position was not stored either, and is still to be */
    assert_int_equal(sqlite3_exec(other, "DROP TRIGGER refuse", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(apply_batch(&target, records, 2, &error), 0);
    assert_int_equal(records[0].outcome, APPLY_NEWER);
    assert_int_equal(records[1].outcome, APPLY_NEWER);
    assert_int_equal(state_keys(fixture->state), 2);
    assert_false(progress_is_dirty(progress));
    unmake(&good);
    unmake(&bad);
    free(file);
}

static void positions_of_a_failed_transaction_are_stored_by_the_next(void **state) {
    (void)state;
    struct error error;
    struct apply_target target = target_of();
    char *file = memory_format("%s/state.db", fixture->state_directory);
    sqlite3 *other;
    assert_int_equal(sqlite3_open(file, &other), SQLITE_OK);
    /* The contact is stored last, after the positions were taken. */
    assert_int_equal(sqlite3_exec(other,
                                  "CREATE TRIGGER refuse BEFORE UPDATE ON replica BEGIN SELECT RAISE(ABORT, 'refused'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    progress_pass(progress, 0, 5, 1);
    assert_int_equal(apply_positions(&target, &error), -1);
    assert_true(progress_is_dirty(progress));
    assert_int_equal(apply_batch(&target, NULL, 0, &error), -1);
    assert_true(progress_is_dirty(progress));
    assert_int_equal(sqlite3_exec(other, "DROP TRIGGER refuse", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(apply_positions(&target, &error), 0);
    assert_false(progress_is_dirty(progress));
    free(file);
}

static void a_change_is_served_when_the_batch_returns(void **state) {
    (void)state;
    struct error error;
    const struct key_set *before, *after;
    apply_one(event_of(JWK_A, "one", 1));
    assert_int_equal(key_set_get(cache, "MyProject", &before, &error), 0);
    struct event event = event_of(JWK_A, "one", 2);
    event.public_key = PUBLIC_B;
    apply_one(event);
    assert_int_equal(key_set_get(cache, "MyProject", &after, &error), 0);
    assert_string_not_equal(before->etag, after->etag);
    key_set_release(cache, before);
    key_set_release(cache, after);
}

static void acked_positions_go_with_the_next_batch(void **state) {
    (void)state;
    struct error error;
    struct state_position position = {.position = {.partition = 0}, .generation = 1, .sweep_offset = -1}, *positions;
    size_t count;
    assert_int_equal(state_begin(fixture->state, &error), 0);
    assert_int_equal(state_store_position(fixture->state, &position, &error), 0);
    assert_int_equal(state_commit(fixture->state, &error), 0);
    uint64_t ticket = progress_add(progress, 0, 1, 1);
    apply_one(event_of(JWK_A, "one", 1));
    assert_int_equal(state_load_positions(fixture->state, &positions, &count, &error), 0);
    assert_int_equal(positions[0].position.offset, 0);
    free(positions);
    progress_ack(progress, ticket);
    apply_one(event_of(JWK_A, "one", 2));
    assert_int_equal(state_load_positions(fixture->state, &positions, &count, &error), 0);
    assert_int_equal(positions[0].position.offset, 1);
    free(positions);
    assert_int_equal(state_last_contact(fixture->state), 1000000);
}

/* Else the state would be taken for young until the clock is there once more, however long it is out of touch. */
static void a_contact_follows_the_clock_that_is_put_back(void **state) {
    (void)state;
    struct error error;
    struct apply_target target = target_of();
    assert_int_equal(apply_positions(&target, &error), 0);
    target.contact_ms -= 1;
    assert_int_equal(apply_positions(&target, &error), 0);
    assert_int_equal(state_last_contact(fixture->state), target.contact_ms);
}

static void a_project_that_was_renamed_is_stale_under_both_names(void **state) {
    (void)state;
    struct error error;
    const struct key_set *set;
    apply_one(event_of(JWK_A, "one", 1));
    assert_int_equal(key_set_get(cache, "MyProject", &set, &error), 0);
    key_set_release(cache, set);
    struct event event = event_of(JWK_A, "one", 2);
    event.project_name = "Renamed";
    apply_one(event);
    assert_int_equal(key_set_get(cache, "MyProject", &set, &error), 0);
    assert_null(set);
    assert_int_equal(key_set_get(cache, "Renamed", &set, &error), 0);
    assert_non_null(set);
    key_set_release(cache, set);
}

/* ---- signatures ---- */

/* Decodes and applies a record with a verdict, in a batch of its own; what it left is in the record. */
static struct apply_record apply_judged(struct event event, enum signature_verdict verdict, bool live) {
    struct made made;
    struct error error;
    struct apply_target target = target_of();
    make(&made, event);
    made.record.verified = true;
    made.record.verdict = verdict;
    made.record.refusal = verdict == SIGNATURE_VALID ? NULL : "it is not signed";
    made.record.live = live;
    apply_decode(&made.record, &arena);
    assert_int_equal(apply_batch(&target, &made.record, 1, &error), 0);
    unmake(&made);
    return made.record;
}

static void what_was_refused_changes_nothing(void **state) {
    (void)state;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true);
    for (enum signature_verdict verdict = SIGNATURE_MISSING; verdict <= SIGNATURE_WRONG; verdict++) {
        int64_t before = metric_value(&metric_events_refused[verdict]);
        struct apply_record record = apply_judged(event_of(JWK_A, "forged", 2), verdict, true);
        assert_int_equal(record.outcome, APPLY_REFUSED);
        assert_int_equal(metric_value(&metric_events_refused[verdict]), before + 1);
        assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    }
    struct apply_record tombstone = {.key = JWK_A, .key_length = UUID_SIZE - 1, .verdict = SIGNATURE_MISSING, .refusal = "no"};
    struct error error;
    struct apply_target target = target_of();
    apply_decode(&tombstone, &arena);
    assert_int_equal(tombstone.outcome, APPLY_REFUSED);
    assert_int_equal(apply_batch(&target, &tombstone, 1, &error), 0);
    assert_int_equal(state_keys(fixture->state), 1);
}

static struct event delete_of(const char *id, int64_t version) {
    struct event event = event_of(id, "one", version);
    event.operation = EVENT_DELETE;
    event.public_key = NULL;
    return event;
}

static void an_unsigned_delete_is_followed_for_what_was_taken_unsigned_alone(void **state) {
    (void)state;
    int64_t count;
    struct error error;
    apply_one(event_of(JWK_A, "one", 1)); /* as without credentials */
    assert_int_equal(apply_judged(event_of(JWK_A, "forged", 2), SIGNATURE_MISSING, true).outcome, APPLY_REFUSED);
    assert_int_equal(apply_judged(delete_of(JWK_A, 2), SIGNATURE_WRONG, true).outcome, APPLY_REFUSED);
    assert_int_equal(apply_judged(delete_of(JWK_A, 2), SIGNATURE_UNKNOWN_KEY, true).outcome, APPLY_REFUSED);
    assert_int_equal(state_count_unproven(fixture->state, &count, &error), 0);
    assert_int_equal(count, 1);
    assert_int_equal(apply_judged(delete_of(JWK_A, 9), SIGNATURE_MISSING, true).outcome, APPLY_NEWER);
    assert_key_set(fixture, "MyProject", "{\"keys\":[]}");
    assert_int_equal(state_count_unproven(fixture->state, &count, &error), 0);
    assert_int_equal(count, 0);
    /* It was forged: what is signed comes back, though its version is an earlier one. */
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 3), SIGNATURE_VALID, true).outcome, APPLY_NEWER);
    assert_int_equal(apply_judged(delete_of(JWK_A, 4), SIGNATURE_MISSING, true).outcome, APPLY_REFUSED);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    assert_int_equal(apply_judged(delete_of(JWK_B, 4), SIGNATURE_MISSING, true).outcome, APPLY_REFUSED);
}

/* Renames another project, if it were believed, and outruns all that comes after it. */
static struct event forged_delete(void) {
    struct event event = delete_of(JWK_A, INT64_C(1) << 50);
    event.project_id = JWK_C;
    event.project_name = "Taken";
    event.name = "somebody else's";
    event.type = "EC";
    event.kid = "forged";
    event.epoch = 1000;
    event.sequence = INT64_C(1) << 50;
    return event;
}

static void an_unsigned_delete_that_is_followed_is_believed_nothing_but_its_id(void **state) {
    (void)state;
    struct event other = event_of(JWK_B, "other", 1);
    other.project_id = JWK_C;
    other.project_name = "Other";
    other.public_key = PUBLIC_B;
    apply_judged(other, SIGNATURE_VALID, true);
    struct event own = event_of(JWK_A, "one", 1);
    own.retiring = &(struct event_retiring){.public_key = PUBLIC_B, .until = INT64_C(4102444800)};
    own.retiring_count = 1;
    apply_one(own); /* as without credentials */
    struct apply_record record = apply_judged(forged_delete(), SIGNATURE_MISSING, true);
    assert_int_equal(record.outcome, APPLY_NEWER);
    assert_true(record.is_unproven);
    assert_true(record.is_opened);
    assert_string_equal(record.event.project_id, PROJECT_ID);
    assert_string_equal(record.event.project_name, "MyProject");
    assert_string_equal(record.event.name, "one");
    assert_string_equal(record.event.type, "OKP");
    assert_string_equal(record.event.kid, "a");
    assert_int_equal(record.event.epoch, 1);
    assert_int_equal(record.event.version, 1);
    assert_int_equal(record.event.sequence, 1);
    assert_key_set(fixture, "MyProject", "{\"keys\":[]}");
    assert_key_set(fixture, "Other", "{\"keys\":[" PUBLIC_B "]}");
    assert_key_set(fixture, "Taken", "");
    assert_int_equal(state_epoch(fixture->state), 1);
    assert_int_equal(state_keys(fixture->state), 1);
    assert_int_equal(fixture_count(fixture, "SELECT count(*) FROM jwk_retiring"), 0);
    assert_int_equal(fixture_count(fixture, "SELECT version FROM jwk WHERE id = '" JWK_A "'"), 1);
    /* What is signed comes back, whatever its version. */
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true).outcome, APPLY_NEWER);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
}

static void an_unsigned_delete_that_is_followed_is_counted_once_as_what_it_is(void **state) {
    (void)state;
    int64_t refused = metric_value(&metric_events_refused[SIGNATURE_MISSING]),
            followed = metric_value(&metric_deletes_unproven);
    apply_one(event_of(JWK_A, "one", 1));
    int64_t applied = metric_value(&metric_events_applied), duplicate = metric_value(&metric_events_duplicate);
    apply_judged(forged_delete(), SIGNATURE_MISSING, true);
    assert_int_equal(metric_value(&metric_deletes_unproven), followed + 1);
    assert_int_equal(metric_value(&metric_events_duplicate), duplicate);
    /* After a restart before its hook has run it comes again. */
    struct apply_record again = apply_judged(forged_delete(), SIGNATURE_MISSING, false);
    assert_int_equal(again.outcome, APPLY_EQUAL);
    assert_true(again.is_unproven);
    assert_string_equal(again.event.project_name, "MyProject");
    assert_int_equal(metric_value(&metric_events_duplicate), duplicate + 1);
    assert_int_equal(metric_value(&metric_deletes_unproven), followed + 1);
    assert_int_equal(metric_value(&metric_events_applied), applied);
    assert_int_equal(metric_value(&metric_events_refused[SIGNATURE_MISSING]), refused);
    assert_int_equal(state_keys(fixture->state), 0);
}

static void only_what_is_not_applied_is_a_failure(void **state) {
    (void)state;
    apply_judged(event_of(JWK_A, "one", 3), SIGNATURE_VALID, true);
    assert_false(apply_judged(event_of(JWK_A, "one", 3), SIGNATURE_MISSING, true).is_failure);
    assert_false(apply_judged(event_of(JWK_A, "one", 2), SIGNATURE_WRONG, true).is_failure);
    assert_int_equal(state_refused_count(fixture->state), 0);
    assert_true(apply_judged(event_of(JWK_A, "one", 4), SIGNATURE_WRONG, true).is_failure);
    assert_true(apply_judged(event_of(JWK_A, "one", 4), SIGNATURE_MISSING, true).is_failure);
    assert_int_equal(state_refused_count(fixture->state), 0); /* no key would make it good */
    assert_true(apply_judged(event_of(JWK_A, "one", 4), SIGNATURE_UNKNOWN_KEY, true).is_failure);
    assert_int_equal(state_refused_count(fixture->state), 1);
    struct apply_record unreadable = {
        .key = JWK_B, .key_length = UUID_SIZE - 1, .value = "{", .value_length = 1, .verdict = SIGNATURE_WRONG, .refusal = "no"};
    struct error error;
    struct apply_target target = target_of();
    apply_decode(&unreadable, &arena);
    assert_int_equal(apply_batch(&target, &unreadable, 1, &error), 0);
    assert_false(unreadable.is_failure);
}

static void what_other_keys_would_take_is_remembered_and_made_good(void **state) {
    (void)state;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_WRONG, true);
    assert_string_equal(state_refused_by(fixture->state), "");
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_UNKNOWN_KEY, true);
    assert_string_equal(state_refused_by(fixture->state), "a key");
    struct apply_record record = apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, false);
    assert_int_equal(record.outcome, APPLY_NEWER);
    assert_true(record.made_good);
    assert_int_equal(state_refused_count(fixture->state), 0);
    assert_false(apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, false).made_good);
}

/* As when somebody puts it on the topic again. */
static void an_earlier_version_that_comes_again_does_not_make_up_for_what_was_refused(void **state) {
    (void)state;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true);
    apply_judged(event_of(JWK_A, "one", 2), SIGNATURE_UNKNOWN_KEY, true);
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true).outcome, APPLY_EQUAL);
    assert_int_equal(state_refused_count(fixture->state), 1);
    assert_true(apply_judged(event_of(JWK_A, "one", 2), SIGNATURE_VALID, false).made_good);
    assert_int_equal(state_refused_count(fixture->state), 0);
}

/* Applies an event whose value is cut, as one that can not be read. */
static enum apply_outcome apply_cut(const char *id, enum signature_verdict verdict, int64_t generation) {
    struct made made;
    struct error error;
    struct apply_target target = target_of();
    make(&made, event_of(id, "one", 2));
    made.record.value_length--;
    made.record.live = true;
    made.record.generation = generation;
    made.record.verdict = verdict;
    made.record.refusal = "no";
    apply_decode(&made.record, &arena);
    assert_int_equal(apply_batch(&target, &made.record, 1, &error), 0);
    unmake(&made);
    return made.record.outcome;
}

/* Its position goes on: without that the deployment would be told to have succeeded. */
static void a_signed_event_that_can_not_be_read_is_failing_until_one_is_applied(void **state) {
    (void)state;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true);
    assert_int_equal(apply_cut(JWK_B, SIGNATURE_WRONG, 1), APPLY_REFUSED);
    assert_int_equal(state_refused_count(fixture->state), 0); /* anybody can write that */
    assert_int_equal(apply_cut(JWK_A, SIGNATURE_VALID, 1), APPLY_MALFORMED);
    assert_int_equal(state_refused_count(fixture->state), 1);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
    assert_string_equal(state_refused_by(fixture->state), ""); /* no key would make it good */
    /* What comes again of before does not make up for it. */
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true).outcome, APPLY_EQUAL);
    assert_int_equal(state_refused_count(fixture->state), 1);
    struct apply_record record = apply_judged(event_of(JWK_A, "one", 3), SIGNATURE_VALID, true);
    assert_int_equal(record.outcome, APPLY_NEWER);
    assert_false(record.made_good); /* nobody was told that it had failed */
    assert_int_equal(state_refused_count(fixture->state), 0);
    /* Read again from the start, with what made it good behind it. */
    assert_int_equal(apply_cut(JWK_A, SIGNATURE_VALID, 1), APPLY_MALFORMED);
    assert_int_equal(state_refused_count(fixture->state), 1);
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 3), SIGNATURE_VALID, false).outcome, APPLY_EQUAL);
    assert_int_equal(state_refused_count(fixture->state), 0);
}

static void a_jwk_whose_event_can_not_be_read_is_not_swept(void **state) {
    (void)state;
    struct error error;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true);
    apply_cut(JWK_A, SIGNATURE_VALID, 2);
    struct state_position position = {.position = {.partition = 0}, .generation = 2, .sweep_offset = 0};
    struct apply_target target = target_of();
    assert_int_equal(apply_sweep(&target, &position, NULL, NULL, &error), 0);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
}

static void what_can_not_be_judged_is_not_swept(void **state) {
    (void)state;
    struct error error;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true);
    apply_judged(event_of(JWK_B, "two", 1), SIGNATURE_VALID, true);
    enum signature_verdict verdicts[] = {SIGNATURE_UNKNOWN_KEY, SIGNATURE_WRONG};
    const char *ids[] = {JWK_A, JWK_B};
    for (int i = 0; i < 2; i++) {
        struct made made;
        struct apply_target target = target_of();
        make(&made, event_of(ids[i], "one", 2));
        made.record.verdict = verdicts[i];
        made.record.refusal = "no";
        made.record.generation = 2;
        apply_decode(&made.record, &arena);
        assert_int_equal(apply_batch(&target, &made.record, 1, &error), 0);
        unmake(&made);
    }
    struct state_position position = {.position = {.partition = 0}, .generation = 2, .sweep_offset = 0};
    struct apply_target target = target_of();
    assert_int_equal(apply_sweep(&target, &position, NULL, NULL, &error), 0);
    assert_int_equal(state_keys(fixture->state), 1);
    assert_key_set(fixture, "MyProject", "{\"keys\":[" PUBLIC_A "]}");
}

static void what_was_swept_is_served_no_more_and_is_not_to_be_swept_again(void **state) {
    (void)state;
    struct error error;
    const struct key_set *set;
    struct state_position position = {.position = {.partition = 0}, .generation = 2, .sweep_offset = 0}, *positions;
    struct apply_target target = target_of();
    size_t count;
    apply_one(event_of(JWK_A, "one", 1));
    assert_int_equal(key_set_get(cache, "MyProject", &set, &error), 0);
    assert_non_null(strstr(set->body, "AAAA"));
    key_set_release(cache, set);
    assert_int_equal(apply_sweep(&target, &position, NULL, NULL, &error), 0);
    assert_int_equal(key_set_get(cache, "MyProject", &set, &error), 0);
    assert_null(strstr(set->body, "AAAA"));
    key_set_release(cache, set);
    assert_int_equal(state_load_positions(fixture->state, &positions, &count, &error), 0);
    assert_int_equal(count, 1);
    assert_int_equal(positions[0].generation, 2);
    assert_int_equal(positions[0].sweep_offset, -1);
    free(positions);
}

static void an_event_of_before_the_tombstone_counts_as_replayed_when_it_is_live(void **state) {
    (void)state;
    struct error error;
    struct apply_target target = target_of();
    struct event deleted = event_of(JWK_A, "one", 2);
    deleted.operation = EVENT_DELETE;
    deleted.public_key = NULL;
    apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true);
    apply_judged(deleted, SIGNATURE_VALID, true);
    struct apply_record tombstone = {.key = JWK_A, .key_length = UUID_SIZE - 1};
    apply_decode(&tombstone, &arena);
    assert_int_equal(apply_batch(&target, &tombstone, 1, &error), 0);
    int64_t before = metric_value(&metric_events_replayed);
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, false).outcome, APPLY_OLDER);
    assert_int_equal(apply_judged(deleted, SIGNATURE_VALID, true).outcome, APPLY_OLDER);
    assert_int_equal(metric_value(&metric_events_replayed), before);
    assert_int_equal(apply_judged(event_of(JWK_A, "one", 1), SIGNATURE_VALID, true).outcome, APPLY_OLDER);
    assert_int_equal(metric_value(&metric_events_replayed), before + 1);
    assert_int_equal(state_keys(fixture->state), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(each_event_has_its_outcome),
        TEST(what_is_of_an_earlier_epoch_is_told_and_changes_nothing),
        TEST(what_is_of_an_earlier_epoch_than_the_deletion_is_told_too),
        TEST(what_does_not_fit_is_malformed),
        TEST(private_halves_and_symmetric_keys_are_refused),
        TEST(exp_is_read_from_the_public_key),
        TEST(a_tombstone_needs_a_uuid_as_its_key),
        TEST(a_batch_is_applied_whole_or_not_at_all),
        TEST(positions_of_a_failed_transaction_are_stored_by_the_next),
        TEST(a_change_is_served_when_the_batch_returns),
        TEST(acked_positions_go_with_the_next_batch),
        TEST(a_contact_follows_the_clock_that_is_put_back),
        TEST(a_project_that_was_renamed_is_stale_under_both_names),
        TEST(what_was_refused_changes_nothing),
        TEST(an_unsigned_delete_is_followed_for_what_was_taken_unsigned_alone),
        TEST(an_unsigned_delete_that_is_followed_is_believed_nothing_but_its_id),
        TEST(an_unsigned_delete_that_is_followed_is_counted_once_as_what_it_is),
        TEST(only_what_is_not_applied_is_a_failure),
        TEST(what_other_keys_would_take_is_remembered_and_made_good),
        TEST(an_earlier_version_that_comes_again_does_not_make_up_for_what_was_refused),
        TEST(a_signed_event_that_can_not_be_read_is_failing_until_one_is_applied),
        TEST(a_jwk_whose_event_can_not_be_read_is_not_swept),
        TEST(what_can_not_be_judged_is_not_swept),
        TEST(what_was_swept_is_served_no_more_and_is_not_to_be_swept_again),
        TEST(an_event_of_before_the_tombstone_counts_as_replayed_when_it_is_live),
    };
    return cmocka_run_group_tests_name("worker apply", tests, NULL, NULL);
}
