/* Certificates, keys and keystores in the store, what attaches JWKs to them and to URLs, and what ends that. */
#include "store_fixture.h"

#include "api/store_origin.h"

#define OTHER_KEY "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"kid\":\"two\",\"x\":\"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo\"}"

static const char *const environments[] = {"production", "staging"};

static int set_up(void **state) {
    struct store_fixture *fixture = memory_new(sizeof *fixture);
    fixture_open(fixture, 2, environments);
    SUCCEEDS(store_begin(fixture->store, &error));
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct store_fixture *fixture = *state;
    store_rollback(fixture->store);
    fixture_close(fixture);
    free(fixture);
    return 0;
}

/* ---- short forms ---- */

static void add(struct store_fixture *fixture, const char *name) {
    const struct store_material materials[] = {
        {.environment = "staging", .public_material = "public", .private_material = "private", .details = "{}"},
        {.environment = "production", .type = "PKCS12", .private_material = "file", .password = "password", .details = "[]"}};
    const struct store_new_source source = {
        .kind = SOURCE_KEY, .name = name, .key_type = "EC", .materials = materials, .material_count = 2};
    SUCCEEDS(store_add_source(fixture->store, &fixture->author, &source, &error));
}

static struct store_source find(struct store_fixture *fixture, const char *name) {
    struct store_source source;
    SUCCEEDS(store_find_source(fixture->store, fixture->project.id, SOURCE_KEY, name, &source, &error));
    return source;
}

/* Creates a JWK; *uid is its id. */
static void create_jwk(struct store_fixture *fixture, const char *name, const char *source_id, const char *url,
                       char uid[UUID_SIZE]) {
    struct store_new_jwk jwk = fixture_new_jwk(name);
    struct store_change change;
    jwk.source_type = url ? "URL" : "PUBLIC_KEY";
    jwk.source_id = source_id;
    jwk.source_url = url;
    SUCCEEDS(store_create_jwk(fixture->store, &fixture->author, &jwk, &change, &error));
    memcpy(uid, change.jwk_id, UUID_SIZE);
    store_change_clear(&change);
}

static void attach(struct store_fixture *fixture, const char *name, const struct store_source *source) {
    char uid[UUID_SIZE];
    create_jwk(fixture, name, source->uid, NULL, uid);
    const struct store_origin origin = {.source_uid = source->uid, .source_version = source->version, .algorithm = "EdDSA"};
    SUCCEEDS(store_attach_source(fixture->store, uid, &origin, &error));
}

static void attach_url(struct store_fixture *fixture, const char *name, int64_t due_at) {
    char uid[UUID_SIZE];
    create_jwk(fixture, name, NULL, "https://issuer.example/", uid);
    const struct store_url url = {.connect_timeout = 1, .read_timeout = 2, .size_limit = 3, .etag = "\"v1\"", .due_at = due_at};
    SUCCEEDS(store_attach_url(fixture->store, uid, &url, &error));
}

struct found {
    int count;
    int64_t ids[8], attachments[8];
    char names[256];
};

static void note_attached(void *context, const struct store_attached *attached) {
    struct found *found = context;
    found->attachments[found->count] = attached->attachment;
    found->ids[found->count++] = attached->jwk_id;
    strcat(found->names, attached->jwk_name);
    assert_string_equal(attached->algorithm, "EdDSA");
}

static struct found attached_to(struct store_fixture *fixture, const struct store_source *source, int64_t project_id) {
    struct found found = {0};
    SUCCEEDS(store_each_attached(fixture->store, source->id, project_id, 8, note_attached, &found, &error));
    return found;
}

static void update_jwk(struct store_fixture *fixture, const char *name) {
    struct store_change change;
    SUCCEEDS(store_update_jwk(fixture->store, &fixture->author, name, NULL, "mine", &change, &error));
    store_change_clear(&change);
}

/* ---- sources ---- */

static void note_material(void *context, const struct store_material *material) {
    struct found *found = context;
    found->count++;
    snprintf(found->names + strlen(found->names), 128, "%s:%s,%s,%s;", material->environment,
             material->public_material ? material->public_material : "-",
             material->private_material ? material->private_material : "-", material->password ? material->password : "-");
}

static void secrets_are_read_when_asked_for_alone(void **state) {
    struct store_fixture *fixture = *state;
    struct found open = {0}, all = {0};
    add(fixture, "a");
    struct store_source source = find(fixture, "a");
    assert_string_equal(source.environments, "[\"production\",\"staging\"]");
    SUCCEEDS(store_each_material(fixture->store, source.id, false, note_material, &open, &error));
    assert_string_equal(open.names, "production:-,-,-;staging:public,-,-;");
    SUCCEEDS(store_each_material(fixture->store, source.id, true, note_material, &all, &error));
    assert_string_equal(all.names, "production:-,file,password;staging:public,private,-;");
    store_source_free(&source);
}

static void a_stale_change_is_refused(void **state) {
    struct store_fixture *fixture = *state;
    const struct store_new_source change = {.kind = SOURCE_KEY, .description = "new"};
    add(fixture, "a");
    struct store_source first = find(fixture, "a");
    SUCCEEDS(store_change_source(fixture->store, &first, &fixture->author, &change, &error));
    FAILS(store_change_source(fixture->store, &first, &fixture->author, &change, &error), ERROR_UNAVAILABLE,
          "Key (name: a) was changed at the same time; try again");
    struct store_source second = find(fixture, "a");
    assert_string_equal(second.description, "new");
    assert_string_equal(second.key_type, "EC");
    /* A JWK that was attached since it was read would not be made again. */
    attach(fixture, "one", &second);
    FAILS(store_change_source(fixture->store, &second, &fixture->author, &change, &error), ERROR_UNAVAILABLE,
          "Key (name: a) was changed at the same time; try again");
    store_source_free(&first);
    store_source_free(&second);
}

static void a_jwk_of_material_that_was_replaced_is_not_attached(void **state) {
    struct store_fixture *fixture = *state;
    const struct store_new_source change = {.kind = SOURCE_KEY, .description = "new"};
    char uid[UUID_SIZE];
    add(fixture, "a");
    struct store_source source = find(fixture, "a");
    SUCCEEDS(store_change_source(fixture->store, &source, &fixture->author, &change, &error));
    create_jwk(fixture, "one", source.uid, NULL, uid);
    const struct store_origin origin = {.source_uid = source.uid, .source_version = source.version};
    FAILS(store_attach_source(fixture->store, uid, &origin, &error), ERROR_UNAVAILABLE,
          "The source was changed at the same time; try again");
    store_source_free(&source);
}

static void deleting_is_refused_while_jwks_are_attached(void **state) {
    struct store_fixture *fixture = *state;
    add(fixture, "a");
    struct store_source source = find(fixture, "a");
    attach(fixture, "one", &source);
    attach(fixture, "two", &source);
    FAILS(store_remove_source(fixture->store, &fixture->author, SOURCE_KEY, "a", &error), ERROR_CONFLICT,
          "Key (name: a) can not be deleted! 2 JWKs are made from it: one, two");
    FAILS(store_remove_project(fixture->store, PROJECT, &error), ERROR_CONFLICT,
          "Project (name: " PROJECT ") has or had JWKs: its history stays");
    update_jwk(fixture, "one");
    struct store_change change;
    SUCCEEDS(store_delete_jwk(fixture->store, &fixture->author, "two", &change, &error));
    store_change_clear(&change);
    SUCCEEDS(store_remove_source(fixture->store, &fixture->author, SOURCE_KEY, "a", &error));
    FAILS(store_remove_source(fixture->store, &fixture->author, SOURCE_KEY, "a", &error), ERROR_NOT_FOUND,
          "Key (name: a) is not found!");
    store_source_free(&source);
}

static void a_project_with_sources_stays(void **state) {
    struct store_fixture *fixture = *state;
    add(fixture, "a");
    FAILS(store_remove_project(fixture->store, PROJECT, &error), ERROR_CONFLICT,
          "Project (name: " PROJECT ") has certificates, keys or keystores: delete them first");
}

/* ---- attached JWKs ---- */

static void an_update_detaches_and_a_remake_does_not(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    add(fixture, "a");
    struct store_source source = find(fixture, "a");
    attach(fixture, "one", &source);
    attach(fixture, "two", &source);
    struct found found = attached_to(fixture, &source, fixture->project.id);
    assert_string_equal(found.names, "onetwo");
    assert_int_equal(attached_to(fixture, &source, fixture->project.id + 1).count, 0);
    struct store_remade remade = {
        .jwk_id = found.ids[0], .attachment = found.attachments[0], .type = "OKP", .kid = "two", .public_key = OTHER_KEY};
    SUCCEEDS(store_remake_jwk(fixture->store, &fixture->author, &remade, &change, &error));
    assert_int_equal(change.version, 2);
    assert_int_equal(change.environments->count, 2);
    store_change_clear(&change);
    assert_string_equal(attached_to(fixture, &source, 0).names, "onetwo");
    update_jwk(fixture, "one");
    assert_string_equal(attached_to(fixture, &source, 0).names, "two");
    FAILS(store_remake_jwk(fixture->store, &fixture->author, &remade, &change, &error), ERROR_NOT_FOUND,
          "The JWK is not attached to its source any more");
    store_source_free(&source);
}

/* A JWK that was rotated meanwhile, to a later state of the same source too, is not made from what was read before. */
static void a_remake_that_was_under_way_does_not_undo_a_rotation(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    add(fixture, "a");
    struct store_source source = find(fixture, "a");
    attach(fixture, "one", &source);
    struct found before = attached_to(fixture, &source, 0);
    struct store_new_jwk new_jwk = fixture_new_jwk(NULL);
    new_jwk.source_type = "PUBLIC_KEY";
    new_jwk.source_id = source.uid;
    SUCCEEDS(store_rotate_jwk(fixture->store, &fixture->author, "one", &new_jwk, 0, &change, &error));
    const struct store_origin origin = {.source_uid = source.uid, .source_version = source.version, .algorithm = "EdDSA"};
    SUCCEEDS(store_attach_source(fixture->store, change.jwk_id, &origin, &error));
    store_change_clear(&change);
    struct store_remade remade = {
        .jwk_id = before.ids[0], .attachment = before.attachments[0], .type = "OKP", .kid = "two", .public_key = OTHER_KEY};
    FAILS(store_remake_jwk(fixture->store, &fixture->author, &remade, &change, &error), ERROR_NOT_FOUND,
          "The JWK is not attached to its source any more");
    remade.attachment = attached_to(fixture, &source, 0).attachments[0];
    SUCCEEDS(store_remake_jwk(fixture->store, &fixture->author, &remade, &change, &error));
    store_change_clear(&change);
    store_source_free(&source);
}

struct due {
    int count;
    int64_t ids[8], failures, attachment;
};

static void note_due(void *context, const struct store_url_due *due) {
    struct due *found = context;
    found->ids[found->count++] = due->jwk_id;
    found->failures = due->failures;
    found->attachment = due->attachment;
    assert_string_equal(due->url, "https://issuer.example/");
    assert_true(uuid_is_valid(due->jwk_uid));
}

static struct due due_at(struct store_fixture *fixture, int64_t now, int64_t horizon, int limit, int64_t *next) {
    struct due due = {0};
    SUCCEEDS(store_each_due(fixture->store, now, horizon, 0, limit, note_due, &due, next, &error));
    return due;
}

static void what_is_due_is_found_the_longest_overdue_first(void **state) {
    struct store_fixture *fixture = *state;
    int64_t next;
    assert_int_equal(due_at(fixture, 1000, 5000, 8, &next).count, 0);
    assert_true(next == INT64_MAX);
    attach_url(fixture, "a", 300);
    attach_url(fixture, "b", 100);
    attach_url(fixture, "c", 2000);
    attach_url(fixture, "d", 9000); /* from before the clock was set back */
    struct due due = due_at(fixture, 1000, 5000, 8, &next);
    assert_int_equal(due.count, 3);
    assert_true(due.ids[0] == due.ids[1] + 1 && due.ids[2] == due.ids[1] + 3);
    assert_int_equal(next, 2000);
    assert_int_equal(due_at(fixture, 1000, INT64_MAX, 1, &next).count, 1);
    assert_int_equal(due_at(fixture, 100, INT64_MAX, 8, &next).count, 1); /* due at that very time */
    assert_int_equal(next, 300);
    struct due others = {0};
    SUCCEEDS(store_each_due(fixture->store, 1000, 5000, fixture->author.project_id, 8, note_due, &others, &next, &error));
    assert_int_equal(others.count, 0);
}

static void outcomes_are_remembered_until_the_jwk_is_detached(void **state) {
    struct store_fixture *fixture = *state;
    struct store_url_status status;
    int64_t next, failing;
    attach_url(fixture, "a", 100);
    int64_t id = due_at(fixture, 100, INT64_MAX, 8, &next).ids[0];
    for (int i = 1; i <= 2; i++) {
        const struct store_url_outcome failure = {
            .jwk_id = id, .attachment = 1, .checked_at = 100, .due_at = 200, .error = "broken"};
        SUCCEEDS(store_set_url_outcome(fixture->store, &failure, &error));
        SUCCEEDS(store_find_url_status(fixture->store, id, &status, &error));
        assert_int_equal(status.failures, i);
        assert_string_equal(status.error, "broken");
        free(status.error);
    }
    SUCCEEDS(store_count_failing(fixture->store, &failing, &error));
    assert_int_equal(failing, 1);
    struct due due = due_at(fixture, 200, INT64_MAX, 8, &next);
    assert_int_equal(due.failures, 2);
    assert_int_equal(due.attachment, 1);
    const struct store_url_outcome success = {
        .jwk_id = id, .attachment = 1, .checked_at = 200, .due_at = 300, .etag = "\"v2\""};
    SUCCEEDS(store_set_url_outcome(fixture->store, &success, &error));
    SUCCEEDS(store_find_url_status(fixture->store, id, &status, &error));
    assert_null(status.error);
    assert_int_equal(status.failures, 0);
    update_jwk(fixture, "a");
    FAILS(store_find_url_status(fixture->store, id, &status, &error), ERROR_NOT_FOUND, "The JWK is attached to no URL");
    assert_int_equal(due_at(fixture, 1000, INT64_MAX, 8, &next).count, 0);
    SUCCEEDS(
        store_set_url_outcome(fixture->store, &success, &error)); /* of a fetch that was under way: nothing is there any more */
}

static void a_refresh_changes_what_has_changed_alone(void **state) {
    struct store_fixture *fixture = *state;
    struct store_change change;
    int64_t next;
    attach_url(fixture, "a", 100);
    int64_t id = due_at(fixture, 100, INT64_MAX, 8, &next).ids[0];
    struct store_remade same = {
        .jwk_id = id, .attachment = 1, .type = "OKP", .kid = "key-1", .public_key = PUBLIC_KEY, .private_key = PRIVATE_KEY};
    SUCCEEDS(store_refresh_jwk(fixture->store, &fixture->author, &same, &change, &error));
    assert_null(change.environments);
    same.private_key = NULL; /* the private half alone is gone */
    SUCCEEDS(store_refresh_jwk(fixture->store, &fixture->author, &same, &change, &error));
    assert_int_equal(change.version, 2);
    store_change_clear(&change);
    update_jwk(fixture, "a");
    same.public_key = OTHER_KEY;
    SUCCEEDS(store_refresh_jwk(fixture->store, &fixture->author, &same, &change, &error));
    assert_null(change.environments);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(secrets_are_read_when_asked_for_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stale_change_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_jwk_of_material_that_was_replaced_is_not_attached, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deleting_is_refused_while_jwks_are_attached, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_project_with_sources_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_update_detaches_and_a_remake_does_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_remake_that_was_under_way_does_not_undo_a_rotation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_due_is_found_the_longest_overdue_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(outcomes_are_remembered_until_the_jwk_is_detached, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refresh_changes_what_has_changed_alone, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("store_source", tests, NULL, NULL);
}
