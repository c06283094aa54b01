/* What the store keeps of deployments: results, what positions settle, the outbox and tombstones. */
#include "api/store_republish.h"
#include "api/store_sql.h"
#include "store_fixture.h"

#include "common/clock.h"
#include "common/message.h"

static const char *const environments[] = {"production", "staging"};

static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 2, environments);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

/* The environment's id in a change. */
static int64_t id_of(const struct store_change *change, const char *environment) {
    for (size_t i = 0; i < change->environments->count; i++)
        if (strcmp(change->environments->items[i].name, environment) == 0)
            return change->environments->items[i].id;
    fail();
    return 0;
}

/* ---- results ---- */

static int set_result(struct store_fixture *fixture, const struct store_change *change, const char *environment, enum result_state state,
                      const char *message, const char *replicas, int64_t settled_at, struct error *error) {
    const struct store_outcome outcome = {.sequence = change->sequence, .environment_id = id_of(change, environment),
                                          .deployment_id = change->deployment_id, .environment_name = environment, .state = state,
                                          .message = message, .replicas = replicas, .settled_at = settled_at};
    return store_set_result(fixture->store, &outcome, error);
}

static void check_deployment(void *context, const struct store_deployment *deployment) {
    const struct store_change *change = context;
    assert_string_equal(deployment->uid, change->deployment_id);
    assert_string_equal(deployment->jwk_uid, change->jwk_id);
    assert_string_equal(deployment->jwk_name, "my-jwk");
    assert_string_equal(deployment->actor, "alice");
    assert_string_equal(deployment->event_hash, change->event_hash);
    assert_int_equal(deployment->operation, EVENT_CREATE);
    assert_int_equal(deployment->sequence, change->sequence);
    assert_int_equal(deployment->epoch, 1);
    assert_int_equal(deployment->version, 1);
    assert_true(deployment->created_at > 0);
    assert_int_equal(deployment->result_count, 2);
    assert_string_equal(deployment->results[0].environment_name, "production");
    assert_string_equal(deployment->results[1].environment_name, "staging");
}

static void a_deployment_is_found_by_its_id(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    SUCCEEDS(store_find_deployment(fixture->store, change.deployment_id, check_deployment, &change, &error));
    FAILS(store_find_deployment(fixture->store, "nothing", check_deployment, &change, &error), ERROR_NOT_FOUND,
          "Deployment (id: nothing) is not found!");
    store_change_clear(&change);
}

static void results_are_kept_by_environment(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    SUCCEEDS(set_result(fixture, &change, "staging", RESULT_FAILED, "no room", "{\"edge-1\":\"no room\"}",
                              5, &error));
    expect_result(fixture->store, change.deployment_id, "staging", RESULT_FAILED, "no room");
    expect_result(fixture->store, change.deployment_id, "production", RESULT_PENDING, NULL);
    struct stored_result result = result_of(fixture->store, change.deployment_id, "staging");
    assert_string_equal(result.replicas, "{\"edge-1\":\"no room\"}");
    assert_int_equal(result.settled_at, 5);
    result_free(&result);
    store_change_clear(&change);
}

static void a_pending_result_never_takes_back_a_success(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture_create(fixture, "my-jwk", &change);
    SUCCEEDS(set_result(fixture, &change, "production", RESULT_PENDING, "Timed out", NULL, 0, &error));
    expect_result(fixture->store, change.deployment_id, "production", RESULT_PENDING, "Timed out");
    SUCCEEDS(set_result(fixture, &change, "production", RESULT_SUCCEEDED, NULL, NULL, 5, &error));
    SUCCEEDS(set_result(fixture, &change, "production", RESULT_PENDING, "Timed out", NULL, 0, &error));
    expect_result(fixture->store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    SUCCEEDS(set_result(fixture, &change, "production", RESULT_FAILED, "later", NULL, 6, &error));
    expect_result(fixture->store, change.deployment_id, "production", RESULT_FAILED, "later");
    SUCCEEDS(set_result(fixture, &change, "production", RESULT_PENDING, NULL, NULL, 0, &error));
    expect_result(fixture->store, change.deployment_id, "production", RESULT_PENDING, NULL);
    store_change_clear(&change);
}

/* ---- positions ---- */

enum { JWKS = 12 };

static char *standard_sentence(void *context, const struct store_success *success) {
    (void)context, (void)success;
    return NULL;
}

/* Settles with the same sequence in every partition; returns how many calls it took. */
static int settle(struct store *store, const char *environment, int64_t sequence, const char *const *except, size_t except_count, int limit,
                  int64_t *left) {
    struct position positions[4];
    const struct store_coverage coverage = {.environment = environment, .positions = positions, .position_count = 4,
                                            .except = except, .except_count = except_count};
    int64_t after = 0;
    bool more = true;
    int calls = 0;
    for (int i = 0; i < 4; i++)
        positions[i] = (struct position){.partition = i, .offset = 0, .sequence = sequence};
    for (*left = 0; more; calls++)
        SUCCEEDS(store_settle_pending(store, &coverage, 9, standard_sentence, NULL, limit, &after, &more, left, &error));
    return calls;
}

static void create_many(struct store_fixture *fixture, struct store_change changes[JWKS]) {
    for (int i = 0; i < JWKS; i++) {
        char name[32];
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_create(fixture, name, &changes[i]);
    }
}

static void clear_many(struct store_change changes[JWKS]) {
    for (int i = 0; i < JWKS; i++)
        store_change_clear(&changes[i]);
}

static void positions_settle_what_they_cover_in_that_environment(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[JWKS];
    int64_t left;
    create_many(fixture, changes);
    assert_int_equal(settle(fixture->store, "production", changes[7].sequence, NULL, 0, 5, &left), 3);
    assert_int_equal(left, JWKS - 8);
    for (int i = 0; i < JWKS; i++) {
        expect_result(fixture->store, changes[i].deployment_id, "production", i <= 7 ? RESULT_SUCCEEDED : RESULT_PENDING, NULL);
        expect_result(fixture->store, changes[i].deployment_id, "staging", RESULT_PENDING, NULL);
    }
    settle(fixture->store, "production", INT64_MAX, NULL, 0, 1000, &left);
    assert_int_equal(left, 0);
    assert_int_equal(settle(fixture->store, "nowhere", INT64_MAX, NULL, 0, 1000, &left), 1);
    clear_many(changes);
}

static void an_environment_that_was_removed_and_added_again_is_settled_as_itself(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change before, change;
    int64_t left;
    fixture_create(fixture, "before", &before);
    struct store *administration = fixture_connect(fixture, STORE_WRITE);
    SUCCEEDS(store_remove_environment(administration, "production", &error));
    SUCCEEDS(store_add_environment(administration, "production", NULL, &error));
    store_close(administration);
    fixture_create(fixture, "my-jwk", &change);
    settle(fixture->store, "production", INT64_MAX, NULL, 0, 1000, &left);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(fixture->store, before.deployment_id, "production", RESULT_PENDING, NULL);
    store_change_clear(&before);
    store_change_clear(&change);
}

static void each_partition_counts_for_itself_and_one_that_is_not_told_covers_nothing(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[JWKS];
    const struct position position = {.partition = 2, .sequence = INT64_MAX};
    const struct store_coverage coverage = {.environment = "production", .positions = &position, .position_count = 1};
    int64_t after = 0, left = 0;
    bool more;
    create_many(fixture, changes);
    SUCCEEDS(store_settle_pending(fixture->store, &coverage, 9, standard_sentence, NULL, 1000, &after, &more, &left, &error));
    for (int i = 0; i < JWKS; i++)
        expect_result(fixture->store, changes[i].deployment_id, "production", changes[i].partition == 2 ? RESULT_SUCCEEDED : RESULT_PENDING,
                      NULL);
    clear_many(changes);
}

static void jwks_whose_hook_fails_are_left_out(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[JWKS];
    int64_t left;
    create_many(fixture, changes);
    const char *const except[] = {changes[3].jwk_id, changes[5].jwk_id};
    settle(fixture->store, "production", INT64_MAX, except, 2, 1000, &left);
    assert_int_equal(left, 2);
    for (int i = 0; i < JWKS; i++)
        expect_result(fixture->store, changes[i].deployment_id, "production", i == 3 || i == 5 ? RESULT_PENDING : RESULT_SUCCEEDED, NULL);
    clear_many(changes);
}

static void clear_change(void *context, struct store_change *change) {
    (void)context;
    store_change_clear(change);
}

static void a_failure_is_corrected_by_a_position_unless_it_goes_on(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    int64_t left;
    fixture_create(fixture, "my-jwk", &change);
    SUCCEEDS(set_result(fixture, &change, "production", RESULT_FAILED, "x", NULL, 5, &error));
    const char *const failing[] = {change.jwk_id};
    settle(fixture->store, "production", INT64_MAX, failing, 1, 1000, &left);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_FAILED, "x");
    settle(fixture->store, "production", INT64_MAX, NULL, 0, 1000, &left);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&change);
}

static void positions_tell_nothing_of_what_is_to_be_published_again(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change, newer;
    int64_t left;
    bool more;
    fixture_create(fixture, "my-jwk", &change);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_republish_begin(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    fixture_create(fixture, "newer", &newer);
    settle(fixture->store, "production", newer.sequence, NULL, 0, 1000, &left);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_PENDING, NULL);
    expect_result(fixture->store, newer.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_republish_next(fixture->store, 100, clear_change, NULL, &more, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    settle(fixture->store, "production", newer.sequence, NULL, 0, 1000, &left);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_PENDING, NULL);
    /* Its own event, though that of another JWK follows: that one may lie in another partition. */
    settle(fixture->store, "production", newer.sequence + 1, NULL, 0, 1000, &left);
    expect_result(fixture->store, change.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&change);
    store_change_clear(&newer);
}

/* Publishes again what is left of it, in chunks of that size; returns whether something is left. */
static bool publish_again(struct store *store, int limit) {
    bool left;
    SUCCEEDS(store_begin(store, &error));
    SUCCEEDS(store_republish_next(store, limit, clear_change, NULL, &left, &error));
    SUCCEEDS(store_commit(store, &error));
    return left;
}

static void until_all_is_published_again_no_position_tells_of_before_not_even_a_later_change(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[JWKS], later, last;
    int64_t left;
    create_many(fixture, changes);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_republish_begin(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_true(publish_again(fixture->store, JWKS / 2));
    fixture_update(fixture, "jwk-0", NULL, "later", &later);
    settle(fixture->store, "production", later.sequence, NULL, 0, 1000, &left);
    expect_result(fixture->store, changes[0].deployment_id, "production", RESULT_PENDING, NULL);
    expect_result(fixture->store, later.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    while (publish_again(fixture->store, JWKS / 2))
        ;
    /* Of its own JWK the latest counts, and that one is behind what was published again. */
    fixture_update(fixture, "jwk-0", NULL, "last", &last);
    settle(fixture->store, "production", last.sequence - 1, NULL, 0, 1000, &left);
    expect_result(fixture->store, changes[0].deployment_id, "production", RESULT_PENDING, NULL);
    expect_result(fixture->store, changes[1].deployment_id, "production", RESULT_SUCCEEDED, NULL);
    settle(fixture->store, "production", last.sequence, NULL, 0, 1000, &left);
    expect_result(fixture->store, changes[0].deployment_id, "production", RESULT_SUCCEEDED, NULL);
    assert_int_equal(left, 0);
    store_change_clear(&later);
    store_change_clear(&last);
    clear_many(changes);
}

static void a_deletion_that_is_waited_for_is_published_again(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change created, confirmed, deleted, other, end;
    int64_t left;
    fixture_create(fixture, "gone", &created);
    fixture_create(fixture, "other", &other);
    store_change_clear(&created);
    fixture_create(fixture, "confirmed", &created);
    fixture_delete(fixture, "confirmed", &confirmed);
    settle(fixture->store, "production", confirmed.sequence, NULL, 0, 1000, &left);
    settle(fixture->store, "staging", confirmed.sequence, NULL, 0, 1000, &left);
    fixture_delete(fixture, "gone", &deleted);
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_republish_begin(fixture->store, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_false(publish_again(fixture->store, 100));
    fixture_create(fixture, "end", &end);
    assert_int_equal(end.sequence, deleted.sequence + 3); /* behind those of "gone" and "other" */
    settle(fixture->store, "production", deleted.sequence, NULL, 0, 1000, &left);
    expect_result(fixture->store, deleted.deployment_id, "production", RESULT_PENDING, NULL);
    /* Its own event, though that of another JWK follows: that one may lie in another partition. */
    settle(fixture->store, "production", deleted.sequence + 1, NULL, 0, 1000, &left);
    expect_result(fixture->store, deleted.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&created);
    store_change_clear(&confirmed);
    store_change_clear(&deleted);
    store_change_clear(&other);
    store_change_clear(&end);
}

static void settle_superseded(struct store_fixture *fixture, const struct store_change *change, store_success_message *message,
                              void *context) {
    const struct store_outcome success = {.sequence = change->sequence, .environment_id = id_of(change, "production"),
                                          .environment_name = "production", .settled_at = 5};
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_settle_superseded(fixture->store, &success, message, context, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
}

/* Says what it was asked for. */
static char *telling_sentence(void *context, const struct store_success *success) {
    return memory_format("%s %d %d %lld %lld %s %s", (const char *)context, (int)success->operation, success->partition,
                         (long long)success->epoch, (long long)success->sequence, success->jwk_id,
                         success->replicas ? success->replicas : "none");
}

static void a_success_that_nobody_waited_for_is_stored_with_its_own_sentence(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change first, second;
    char expected[256];
    int64_t after = 0, left = 0;
    bool more;
    fixture_create(fixture, "my-jwk", &first);
    fixture_delete(fixture, "my-jwk", &second);
    SUCCEEDS(set_result(fixture, &first, "production", RESULT_PENDING, "Timed out", "{\"edge-1\":\"\"}", 0, &error));
    settle_superseded(fixture, &second, telling_sentence, "earlier");
    snprintf(expected, sizeof expected, "earlier %d %d 1 %lld %s {\"edge-1\":\"\"}", EVENT_CREATE, first.partition,
             (long long)first.sequence, first.jwk_id);
    expect_result(fixture->store, first.deployment_id, "production", RESULT_SUCCEEDED, expected);
    const struct position position = {.partition = second.partition, .sequence = second.sequence};
    const struct store_coverage coverage = {.environment = "production", .positions = &position, .position_count = 1};
    SUCCEEDS(store_settle_pending(fixture->store, &coverage, 9, telling_sentence, "covered", 1000, &after, &more, &left, &error));
    snprintf(expected, sizeof expected, "covered %d %d 1 %lld %s none", EVENT_DELETE, second.partition, (long long)second.sequence,
             second.jwk_id);
    expect_result(fixture->store, second.deployment_id, "production", RESULT_SUCCEEDED, expected);
    store_change_clear(&first);
    store_change_clear(&second);
}

enum { MANY = 1100 };

/* A JWK with many versions; the caller clears the last one. */
static void make_many(struct store_fixture *fixture, struct store_change *last) {
    fixture_create(fixture, "my-jwk", last);
    SUCCEEDS(store_begin(fixture->store, &error));
    for (int i = 0; i < MANY; i++) {
        store_change_clear(last);
        SUCCEEDS(store_update_jwk(fixture->store, &fixture->author, "my-jwk", NULL, "text", last, &error));
    }
    SUCCEEDS(store_commit(fixture->store, &error));
}

static void however_many_earlier_versions_there_are_they_are_settled(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    make_many(fixture, &change);
    settle_superseded(fixture, &change, standard_sentence, NULL);
    int64_t left;
    settle(fixture->store, "production", 0, NULL, 0, 1000, &left);
    assert_int_equal(left, 1); /* the last one itself */
    store_change_clear(&change);
}

static int count_steps(void *context) {
    ++*(int *)context;
    return 0;
}

/* Else each late ack of a JWK that was changed for years keeps all other changes waiting. */
static void earlier_versions_that_are_settled_are_not_looked_at_again(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change before, change;
    int steps = 0;
    make_many(fixture, &before);
    settle_superseded(fixture, &before, standard_sentence, NULL);
    SUCCEEDS(set_result(fixture, &before, "production", RESULT_PENDING, NULL, NULL, 0, &error));
    fixture_update(fixture, "my-jwk", NULL, "last", &change);
    sqlite3_progress_handler(fixture->store->db, 1, count_steps, &steps);
    settle_superseded(fixture, &change, standard_sentence, NULL);
    sqlite3_progress_handler(fixture->store->db, 0, NULL, NULL);
    assert_in_range(steps, 1, MANY); /* of SQLite's virtual machine */
    expect_result(fixture->store, before.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&before);
    store_change_clear(&change);
}

static void a_later_version_settles_the_earlier_ones_of_its_jwk(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change first, second, third, other;
    fixture_create(fixture, "my-jwk", &first);
    fixture_create(fixture, "other", &other);
    fixture_update(fixture, "my-jwk", NULL, "2", &second);
    fixture_update(fixture, "my-jwk", NULL, "3", &third);
    SUCCEEDS(set_result(fixture, &first, "staging", RESULT_FAILED, "no room", NULL, 4, &error));
    settle_superseded(fixture, &second, standard_sentence, NULL);
    expect_result(fixture->store, first.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    expect_result(fixture->store, first.deployment_id, "staging", RESULT_FAILED, "no room");
    expect_result(fixture->store, second.deployment_id, "production", RESULT_PENDING, NULL);
    expect_result(fixture->store, third.deployment_id, "production", RESULT_PENDING, NULL);
    expect_result(fixture->store, other.deployment_id, "production", RESULT_PENDING, NULL);
    store_change_clear(&first);
    store_change_clear(&second);
    store_change_clear(&third);
    store_change_clear(&other);
}

/* Else a failure that is over would be told for ever. */
static void a_later_version_corrects_the_failure_of_an_earlier_one(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change first, second;
    fixture_create(fixture, "my-jwk", &first);
    fixture_update(fixture, "my-jwk", NULL, "2", &second);
    SUCCEEDS(set_result(fixture, &first, "production", RESULT_FAILED, "no room", NULL, 4, &error));
    settle_superseded(fixture, &second, standard_sentence, NULL);
    expect_result(fixture->store, first.deployment_id, "production", RESULT_SUCCEEDED, NULL);
    store_change_clear(&first);
    store_change_clear(&second);
}

/* ---- outbox ---- */

struct rows {
    int64_t ids[64];
    size_t count, tombstones;
    char last_key[UUID_SIZE];
};

static void note_row(void *context, struct store_outgoing *outgoing) {
    struct rows *rows = context;
    rows->ids[rows->count++] = outgoing->outbox_id;
    rows->tombstones += outgoing->value == NULL;
    memcpy(rows->last_key, outgoing->key, UUID_SIZE);
    store_outgoing_free(outgoing);
}

static struct rows rows_above(struct store *store, int64_t after, int limit) {
    struct rows rows = {0};
    SUCCEEDS(store_each_outgoing(store, after, limit, note_row, &rows, &error));
    return rows;
}

static void compare_row(void *context, struct store_outgoing *outgoing) {
    const struct store_outgoing *wanted = context;
    assert_int_equal(outgoing->outbox_id, wanted->outbox_id);
    assert_int_equal(outgoing->partition, wanted->partition);
    assert_string_equal(outgoing->key, wanted->key);
    assert_string_equal(outgoing->event_id, wanted->event_id);
    assert_string_equal(outgoing->event_type, wanted->event_type);
    assert_string_equal(outgoing->subject, wanted->subject);
    assert_int_equal(outgoing->time, wanted->time);
    assert_string_equal(outgoing->traceparent, wanted->traceparent);
    assert_int_equal(outgoing->value_length, wanted->value_length);
    assert_string_equal(outgoing->value, wanted->value);
    store_outgoing_free(outgoing);
}

/* Sent again after a restart it must be byte for byte the same, with the same id. */
static void an_event_is_read_back_as_it_was_recorded(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    fixture->author.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    fixture_create(fixture, "mein schlüssel", &change);
    SUCCEEDS(store_each_outgoing(fixture->store, 0, 10, compare_row, change.outgoing, &error));
    store_change_clear(&change);
}

static void the_outbox_is_read_in_order_and_cleared_by_ranges(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[JWKS];
    create_many(fixture, changes);
    struct rows rows = rows_above(fixture->store, 0, 5);
    assert_int_equal(rows.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(rows.ids[i], changes[i].outbox_id);
    rows = rows_above(fixture->store, changes[9].outbox_id, 50);
    assert_int_equal(rows.count, 2);
    SUCCEEDS(store_remove_outgoing(fixture->store, changes[2].outbox_id, changes[9].outbox_id, &error));
    rows = rows_above(fixture->store, 0, 50);
    assert_int_equal(rows.count, 4);
    assert_int_equal(rows.ids[1], changes[1].outbox_id);
    assert_int_equal(rows.ids[2], changes[10].outbox_id);
    clear_many(changes);
}

/* An id that was published must never come again, or the publisher would take the new row for the old one. */
static void ids_of_the_outbox_are_not_used_again(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change first, second;
    fixture_create(fixture, "first", &first);
    SUCCEEDS(store_remove_outgoing(fixture->store, 0, INT64_MAX, &error));
    fixture_create(fixture, "second", &second);
    assert_true(second.outbox_id > first.outbox_id);
    store_change_clear(&first);
    store_change_clear(&second);
}

/* ---- tombstones ---- */

static int add_tombstones(struct store *store, int64_t before, int limit) {
    int added;
    SUCCEEDS(store_begin(store, &error));
    SUCCEEDS(store_add_tombstones(store, before, limit, &added, &error));
    SUCCEEDS(store_commit(store, &error));
    return added;
}

static void a_deleted_jwk_gets_one_tombstone_when_it_is_due(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change created, deleted;
    fixture_create(fixture, "my-jwk", &created);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 10), 0);
    int64_t before = clock_wall_ms();
    fixture_delete(fixture, "my-jwk", &deleted);
    assert_int_equal(add_tombstones(fixture->store, before, 10), 0);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 10), 1);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 10), 0);
    struct rows rows = rows_above(fixture->store, deleted.outbox_id, 10);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.tombstones, 1);
    assert_string_equal(rows.last_key, created.jwk_id);
    store_change_clear(&created);
    store_change_clear(&deleted);
}

/* As adopting does with what an API of a later store has brought back: else its delete would stay on the topic for ever. */
static void what_is_deleted_once_more_gets_a_tombstone_once_more(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change created, deleted;
    fixture_create(fixture, "my-jwk", &created);
    fixture_delete(fixture, "my-jwk", &deleted);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 10), 1);
    const struct event event = {.jwk_id = created.jwk_id,
                                .project_id = fixture->project.uid,
                                .project_name = PROJECT,
                                .name = "my-jwk",
                                .type = "OKP",
                                .version = 9};
    SUCCEEDS(store_begin(fixture->store, &error));
    SUCCEEDS(store_delete_unknown(fixture->store, &event, created.partition, &error));
    SUCCEEDS(store_commit(fixture->store, &error));
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 10), 1);
    assert_int_equal(fixture_number(fixture, "SELECT version FROM jwk"), 10);
    store_change_clear(&created);
    store_change_clear(&deleted);
}

static void tombstones_are_added_a_bounded_number_at_a_time(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change changes[JWKS];
    create_many(fixture, changes);
    clear_many(changes);
    for (int i = 0; i < JWKS; i++) {
        char name[32];
        snprintf(name, sizeof name, "jwk-%d", i);
        fixture_delete(fixture, name, &changes[i]);
    }
    clear_many(changes);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 5), 5);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 5), 5);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 5), 2);
    assert_int_equal(rows_above(fixture->store, 0, 64).tombstones, JWKS);
}

static void expect_end(struct store *store, int partition, int64_t sequence) {
    int64_t ends[4]; /* partitions of the fixture */
    SUCCEEDS(store_read_published_ends(store, ends, 4, &error));
    assert_int_equal(ends[partition], sequence);
}

static void the_end_of_a_partition_is_the_last_event_that_is_published_and_stays(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change created, updated, deleted;
    fixture_create(fixture, "my-jwk", &created);
    int partition = created.outgoing->partition;
    expect_end(fixture->store, partition, 0);
    SUCCEEDS(store_remove_outgoing(fixture->store, 0, created.outbox_id, &error));
    expect_end(fixture->store, partition, created.sequence);
    expect_end(fixture->store, (partition + 1) % 4, 0);
    fixture_update(fixture, "my-jwk", NULL, "x", &updated);
    expect_end(fixture->store, partition, created.sequence);
    fixture_delete(fixture, "my-jwk", &deleted);
    SUCCEEDS(store_remove_outgoing(fixture->store, 0, deleted.outbox_id, &error));
    expect_end(fixture->store, partition, deleted.sequence);
    assert_int_equal(add_tombstones(fixture->store, INT64_MAX, 10), 1);
    SUCCEEDS(store_remove_outgoing(fixture->store, 0, INT64_MAX, &error));
    expect_end(fixture->store, partition, 0);
    store_change_clear(&created);
    store_change_clear(&updated);
    store_change_clear(&deleted);
}

#define WITH_STORE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_STORE(a_deployment_is_found_by_its_id),
        WITH_STORE(results_are_kept_by_environment),
        WITH_STORE(a_pending_result_never_takes_back_a_success),
        WITH_STORE(positions_settle_what_they_cover_in_that_environment),
        WITH_STORE(an_environment_that_was_removed_and_added_again_is_settled_as_itself),
        WITH_STORE(each_partition_counts_for_itself_and_one_that_is_not_told_covers_nothing),
        WITH_STORE(jwks_whose_hook_fails_are_left_out),
        WITH_STORE(a_failure_is_corrected_by_a_position_unless_it_goes_on),
        WITH_STORE(positions_tell_nothing_of_what_is_to_be_published_again),
        WITH_STORE(until_all_is_published_again_no_position_tells_of_before_not_even_a_later_change),
        WITH_STORE(a_deletion_that_is_waited_for_is_published_again),
        WITH_STORE(a_later_version_settles_the_earlier_ones_of_its_jwk),
        WITH_STORE(a_later_version_corrects_the_failure_of_an_earlier_one),
        WITH_STORE(a_success_that_nobody_waited_for_is_stored_with_its_own_sentence),
        WITH_STORE(however_many_earlier_versions_there_are_they_are_settled),
        WITH_STORE(earlier_versions_that_are_settled_are_not_looked_at_again),
        WITH_STORE(an_event_is_read_back_as_it_was_recorded),
        WITH_STORE(the_outbox_is_read_in_order_and_cleared_by_ranges),
        WITH_STORE(ids_of_the_outbox_are_not_used_again),
        WITH_STORE(a_deleted_jwk_gets_one_tombstone_when_it_is_due),
        WITH_STORE(what_is_deleted_once_more_gets_a_tombstone_once_more),
        WITH_STORE(tombstones_are_added_a_bounded_number_at_a_time),
        WITH_STORE(the_end_of_a_partition_is_the_last_event_that_is_published_and_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
