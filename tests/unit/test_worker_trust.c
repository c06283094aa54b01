/* What a worker believes: whose events, whose presence, which private halves; and how it learns of other keys. */
#include "kafka_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/credentials.h"
#include "common/json.h"
#include "common/memory.h"
#include "worker/batch.h"
#include "worker/trust.h"

#define JWK_ID "01890000-0000-7000-8000-00000000000a"
#define OTHER_ID "01890000-0000-7000-8000-00000000000b"
#define WORKER_ID "01890000-0000-7000-8000-00000000000c"
#define NOW 1800000000
#define PUBLIC_HALF "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"kid\":\"a\"}"
#define WHOLE                                                                                                                  \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\","                              \
    "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"

static struct kafka_fixture kafka;
static rd_kafka_t *reader;
static char directory[64], *credentials_path, *api_keys_path;
static struct signer *api;                /* a key of the API */
static struct text credentials, public_keys; /* of production */

static void write_file(const char *path, const char *content, mode_t mode) {
    char *fresh = memory_format("%s.new", path);
    FILE *file = fopen(fresh, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    assert_int_equal(chmod(fresh, mode), 0);
    assert_int_equal(rename(fresh, path), 0);
    free(fresh);
}

static char *key_set_of(const struct signer *signer, const struct signer *other) {
    return memory_format("{\"keys\":[%s%s%s]}", signer_public_key(signer), other ? "," : "",
                         other ? signer_public_key(other) : "");
}

static int set_up(void **state) {
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test-worker-trust-XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    credentials_path = memory_format("%s/credentials", directory);
    api_keys_path = memory_format("%s/api-keys.json", directory);
    api = signer_generate();
    char *keys = key_set_of(api, NULL);
    credentials_generate("production", keys, &credentials, &public_keys);
    write_file(credentials_path, credentials.bytes, 0600);
    free(keys);
    kafka_open(&kafka);
    reader = kafka_reader(&kafka, kafka.topics.events, KAFKA_EVENT_PARTITIONS);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    kafka_client_free(reader);
    rd_kafka_flush(kafka.producer, KAFKA_WAIT_MS);
    kafka_close(&kafka);
    signer_free(api);
    text_wipe(&credentials);
    text_free(&public_keys);
    free(credentials_path);
    free(api_keys_path);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static struct trust *opened(void) {
    struct error error;
    struct trust *trust = trust_open("production", credentials_path, NULL, &error);
    if (!trust)
        fail_msg("%s", error.message);
    return trust;
}

static void assert_refused_at_start(const char *environment, const char *api_keys, const char *part) {
    struct error error = {.message = ""};
    assert_null(trust_open(environment, credentials_path, api_keys, &error));
    assert_non_null(strstr(error.message, part));
}

/* ---- start ---- */

static void credentials_that_do_not_suit_are_refused_with_what_to_do(void **state) {
    (void)state;
    assert_refused_at_start("staging", NULL, "those of environment production");
    assert_int_equal(chmod(credentials_path, 0640), 0);
    assert_refused_at_start("production", NULL, "chmod");
    write_file(credentials_path, "{}", 0600);
    assert_refused_at_start("production", NULL, credentials_path);
    unlink(credentials_path);
    assert_refused_at_start("production", NULL, credentials_path);
}

static void without_a_key_of_the_api_nothing_could_be_believed(void **state) {
    (void)state;
    struct text without = TEXT_EMPTY, ignored = TEXT_EMPTY;
    credentials_generate("production", "{\"keys\":[]}", &without, &ignored);
    write_file(credentials_path, without.bytes, 0600);
    assert_refused_at_start("production", NULL, "--api-keys");
    char *keys = key_set_of(api, NULL);
    const mode_t too_open[] = {0666, 0664, 0646};
    for (size_t i = 0; i < sizeof too_open / sizeof *too_open; i++) {
        write_file(api_keys_path, keys, too_open[i]);
        assert_refused_at_start("production", api_keys_path, "chmod go-w");
    }
    write_file(api_keys_path, keys, 0644);
    struct error error;
    struct trust *trust = trust_open("production", credentials_path, api_keys_path, &error);
    assert_non_null(trust);
    trust_close(trust);
    free(keys);
    text_wipe(&without);
    text_free(&ignored);
}

/* ---- events ---- */

static struct cloudevent attributes_of(const char *type) {
    return (struct cloudevent){.id = JWK_ID, .source = "urn:test", .type = type, .subject = JWK_ID,
                               .time = "2026-01-31T12:00:00.000Z", .dataschema = "urn:schema"};
}

/* Writes a record signed by signer (NULL: not at all) over signed_value, with value in its place, and judges what is read. */
static enum signature_verdict judge_event(struct trust *trust, struct signer *signer, const char *signed_value, const char *value,
                                          int64_t now, struct error *error) {
    struct cloudevent attributes = attributes_of("jwk.updated.v1"), read;
    struct cloudevent_storage storage;
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    if (signer) {
        unsigned char leaf[1][32];
        signature_leaf(JWK_ID, &attributes, signed_value, signed_value ? strlen(signed_value) : 0, leaf[0]);
        struct signed_batch *batch = signature_sign(signer, (const unsigned char(*)[32])leaf, 1);
        signature_add_headers(batch, 0, headers);
        signed_batch_free(batch);
    }
    rd_kafka_resp_err_t result =
        rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.events), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(JWK_ID, strlen(JWK_ID)),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)value, value ? strlen(value) : 0), RD_KAFKA_V_HEADERS(headers),
                          RD_KAFKA_V_END);
    assert_int_equal(result, RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_message_t *record = kafka_read(reader);
    assert_int_equal(cloudevent_read(record, &storage, &read, error), 0);
    enum signature_verdict verdict = trust_check_event(trust, 0, record, &read, now, error);
    rd_kafka_message_destroy(record);
    return verdict;
}

static void events_are_believed_of_the_api_alone(void **state) {
    (void)state;
    struct error error;
    struct trust *trust = opened();
    struct signer *forger = signer_generate();
    assert_int_equal(judge_event(trust, api, "{}", "{}", NOW, &error), SIGNATURE_VALID);
    assert_int_equal(judge_event(trust, api, NULL, NULL, NOW, &error), SIGNATURE_VALID); /* a tombstone */
    assert_int_equal(judge_event(trust, api, "{}", NULL, NOW, &error), SIGNATURE_WRONG);
    assert_int_equal(judge_event(trust, api, "{}", "{ }", NOW, &error), SIGNATURE_WRONG);
    assert_int_equal(judge_event(trust, NULL, NULL, "{}", NOW, &error), SIGNATURE_MISSING);
    assert_int_equal(judge_event(trust, forger, "{}", "{}", NOW, &error), SIGNATURE_UNKNOWN_KEY);
    assert_non_null(strstr(error.message, "signing-key export"));
    assert_int_equal(judge_event(NULL, NULL, NULL, "{}", NOW, &error), SIGNATURE_VALID);
    signer_free(forger);
    trust_close(trust);
}

static void many_are_read_each_on_its_own(void **state) {
    (void)state;
    enum { MANY = 101 };
    struct trust *trust = opened();
    struct cloudevent attributes = attributes_of("jwk.updated.v1");
    struct event event = {.operation = EVENT_UPDATE, .deployment_id = OTHER_ID, .epoch = 1, .version = 2, .project_id = WORKER_ID,
                          .project_name = "p", .jwk_id = JWK_ID, .type = "OKP", .kid = "a", .public_key = PUBLIC_HALF, .actor = "a",
                          .time = "2026-01-31T12:00:00.000Z"};
    unsigned char leaves[MANY][32];
    char names[MANY][16];
    struct text values[MANY] = {0};
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        event.name = names[i];
        event.sequence = i + 1;
        event_encode(&event, &values[i]);
        signature_leaf(JWK_ID, &attributes, values[i].bytes, values[i].length, leaves[i]);
    }
    struct signed_batch *signatures = signature_sign(api, (const unsigned char(*)[32])leaves, MANY);
    for (int i = 0; i < MANY; i++) {
        rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
        signature_add_headers(signatures, (size_t)i, headers);
        size_t length = i % 7 == 3 ? values[i].length - 1 : values[i].length; /* every seventh was altered */
        assert_int_equal(rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.events), RD_KAFKA_V_PARTITION(0),
                                           RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(JWK_ID, strlen(JWK_ID)),
                                           RD_KAFKA_V_VALUE(values[i].bytes, length), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END),
                         0);
    }
    signed_batch_free(signatures);
    struct batch *batch = memory_new(sizeof *batch);
    for (; batch->count < MANY; batch->count++) {
        rd_kafka_message_t *record = kafka_read(reader);
        batch->messages[batch->count] = record;
        batch->records[batch->count] = (struct apply_record){.key = record->key, .key_length = record->key_len,
                                                             .value = record->payload, .value_length = record->len};
    }
    for (size_t count = 1; count <= MANY; count += 25) {
        batch->count = count;
        batch_read(batch, trust);
        for (size_t i = 0; i < count; i++) {
            const struct apply_record *record = &batch->records[i];
            assert_int_equal(record->verdict, i % 7 == 3 ? SIGNATURE_WRONG : SIGNATURE_VALID);
            assert_int_equal(record->outcome, i % 7 == 3 ? APPLY_REFUSED : APPLY_PENDING);
            if (i % 7 != 3)
                assert_string_equal(record->event.name, names[i]);
        }
    }
    batch->count = MANY;
    batch_free(batch);
    for (int i = 0; i < MANY; i++)
        text_free(&values[i]);
    trust_close(trust);
}

static void a_retired_key_is_believed_until_its_end(void **state) {
    (void)state;
    struct error error;
    struct jwk *key = jwk_from_text(signer_public_key(api), strlen(signer_public_key(api)), NULL, &error);
    struct signer *next = signer_generate();
    cJSON *retired = json_parse(jwk_text(key), strlen(jwk_text(key)), &error);
    cJSON_AddNumberToObject(retired, "exp", NOW);
    char *text = cJSON_PrintUnformatted(retired), *keys = memory_format("{\"keys\":[%s,%s]}", signer_public_key(next), text);
    write_file(api_keys_path, keys, 0644);
    struct trust *trust = trust_open("production", credentials_path, api_keys_path, &error);
    assert_int_equal(judge_event(trust, api, "{}", "{}", NOW - 1, &error), SIGNATURE_VALID);
    assert_int_equal(judge_event(trust, api, "{}", "{}", NOW, &error), SIGNATURE_EXPIRED_KEY);
    assert_int_equal(judge_event(trust, next, "{}", "{}", NOW, &error), SIGNATURE_VALID);
    trust_close(trust);
    signer_free(next);
    cJSON_Delete(retired);
    free(text);
    free(keys);
    jwk_free(key);
}

static void only_verdicts_of_missing_trust_may_change(void **state) {
    (void)state;
    assert_true(trust_verdict_may_change(SIGNATURE_MISSING));
    assert_true(trust_verdict_may_change(SIGNATURE_UNKNOWN_KEY));
    assert_true(trust_verdict_may_change(SIGNATURE_EXPIRED_KEY));
    assert_false(trust_verdict_may_change(SIGNATURE_WRONG));
    assert_false(trust_verdict_may_change(SIGNATURE_MALFORMED));
    assert_false(trust_verdict_may_change(SIGNATURE_VALID));
}

/* ---- other keys ---- */

static void a_file_is_read_again_when_it_has_changed(void **state) {
    (void)state;
    struct error error;
    struct signer *next = signer_generate();
    char *first = key_set_of(api, NULL), *both = key_set_of(next, api);
    write_file(api_keys_path, first, 0644);
    struct trust *trust = trust_open("production", credentials_path, api_keys_path, &error);
    char *names = memory_string(trust_keys(trust));
    assert_false(trust_look(trust));
    assert_int_equal(judge_event(trust, next, "{}", "{}", NOW, &error), SIGNATURE_UNKNOWN_KEY);
    write_file(api_keys_path, both, 0644);
    assert_true(trust_look(trust));
    assert_false(trust_look(trust));
    assert_int_equal(judge_event(trust, next, "{}", "{}", NOW, &error), SIGNATURE_VALID);
    assert_int_equal(judge_event(trust, api, "{}", "{}", NOW, &error), SIGNATURE_VALID);
    assert_int_equal(trust_generation(trust), 1);
    assert_string_not_equal(names, trust_keys(trust));
    trust_close(trust);
    signer_free(next);
    free(names);
    free(first);
    free(both);
}

static void what_can_not_be_read_again_leaves_what_was_believed(void **state) {
    (void)state;
    struct error error;
    struct trust *trust = opened();
    write_file(credentials_path, "{", 0600);
    assert_int_equal(trust_reload(trust, &error), -1);
    assert_int_equal(trust_generation(trust), 0);
    assert_int_equal(judge_event(trust, api, "{}", "{}", NOW, &error), SIGNATURE_VALID);
    write_file(credentials_path, credentials.bytes, 0600);
    assert_int_equal(trust_reload(trust, &error), 0);
    assert_int_equal(trust_generation(trust), 1);
    trust_close(trust);
}

static void names_do_not_depend_on_the_order_of_the_keys(void **state) {
    (void)state;
    struct error error;
    struct signer *other = signer_generate();
    char *one = key_set_of(api, other), *two = key_set_of(other, api);
    write_file(api_keys_path, one, 0644);
    struct trust *trust = trust_open("production", credentials_path, api_keys_path, &error);
    char *names = memory_string(trust_keys(trust));
    write_file(api_keys_path, two, 0644);
    assert_int_equal(trust_reload(trust, &error), 0);
    assert_string_equal(names, trust_keys(trust));
    assert_string_equal(trust_keys(NULL), "none");
    trust_close(trust);
    signer_free(other);
    free(names);
    free(one);
    free(two);
}

static void a_key_is_named_with_its_end_where_it_has_one(void **state) {
    (void)state;
    struct error error;
    cJSON *key = cJSON_Parse(signer_public_key(api));
    char *keys = key_set_of(api, NULL);
    write_file(api_keys_path, keys, 0644);
    struct trust *trust = trust_open("production", credentials_path, api_keys_path, &error);
    assert_non_null(trust);
    assert_string_equal(trust_keys(trust), signer_kid(api));
    free(keys);
    cJSON_AddNumberToObject(key, "exp", 1767225600);
    char *text = cJSON_PrintUnformatted(key), *expected = memory_format("%s until 2026-01-01T00:00:00.000Z", signer_kid(api));
    keys = memory_format("{\"keys\":[%s]}", text);
    write_file(api_keys_path, keys, 0644);
    assert_int_equal(trust_reload(trust, &error), 0);
    assert_string_equal(trust_keys(trust), expected);
    trust_close(trust);
    cJSON_Delete(key);
    free(keys);
    free(text);
    free(expected);
}

/* ---- presence ---- */

/* A hello signed by signer, of a worker that tells this enrolment and replica key. */
static enum signature_verdict judge_hello(struct trust *trust, struct signer *signer, const char *replica_key,
                                          const char *enrolment, const char *replica, const char *worker) {
    struct error error;
    struct presence hello = {.kind = PRESENCE_HELLO, .environment = "production", .replica = replica, .worker = worker,
                             .incarnation = -1, .interval_ms = 3000, .version = "test", .replica_key = replica_key,
                             .enrolment = enrolment, .time = "2026-01-31T12:00:00.000Z"};
    struct text value = TEXT_EMPTY;
    presence_encode(&hello, &value);
    struct cloudevent attributes = attributes_of(PRESENCE_TYPE_HELLO), read;
    struct cloudevent_storage storage;
    rd_kafka_headers_t *headers = cloudevent_headers(&attributes);
    unsigned char leaf[1][32];
    signature_leaf("production/edge-1", &attributes, value.bytes, value.length, leaf[0]);
    struct signed_batch *batch = signature_sign(signer, (const unsigned char(*)[32])leaf, 1);
    signature_add_headers(batch, 0, headers);
    signed_batch_free(batch);
    rd_kafka_resp_err_t result =
        rd_kafka_producev(kafka.producer, RD_KAFKA_V_TOPIC(kafka.topics.events), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY("production/edge-1", 17),
                          RD_KAFKA_V_VALUE(value.bytes, value.length), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    assert_int_equal(result, RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_message_t *record = kafka_read(reader);
    struct presence decoded;
    assert_int_equal(cloudevent_read(record, &storage, &read, &error), 0);
    assert_int_equal(presence_decode(record->payload, record->len, PRESENCE_HELLO, &decoded, &error), 0);
    enum signature_verdict verdict = trust_check_presence(trust, record, &read, &decoded, NOW, &error);
    presence_free(&decoded);
    rd_kafka_message_destroy(record);
    text_free(&value);
    return verdict;
}

static void presence_needs_a_key_that_the_environment_has_enrolled(void **state) {
    (void)state;
    struct trust *trust = opened();
    struct signer *replica = signer_generate(), *stranger = signer_generate();
    char *enrolment = trust_enrol(trust, "edge-1", WORKER_ID, signer_public_key(replica));
    const char *key = signer_public_key(replica);
    assert_int_equal(judge_hello(trust, replica, key, enrolment, "edge-1", WORKER_ID), SIGNATURE_VALID);
    assert_int_equal(judge_hello(trust, replica, NULL, NULL, "edge-1", WORKER_ID), SIGNATURE_MISSING);
    assert_int_equal(judge_hello(trust, stranger, key, enrolment, "edge-1", WORKER_ID), SIGNATURE_UNKNOWN_KEY);
    assert_int_equal(judge_hello(trust, replica, key, enrolment, "edge-2", WORKER_ID), SIGNATURE_WRONG);
    assert_int_equal(judge_hello(trust, replica, key, enrolment, "edge-1", OTHER_ID), SIGNATURE_WRONG);
    /* A key of its own beside an enrolment that was seen on the topic. */
    assert_int_equal(judge_hello(trust, stranger, signer_public_key(stranger), enrolment, "edge-1", WORKER_ID), SIGNATURE_WRONG);
    free(enrolment);
    /* Enrolled by another environment. */
    struct text theirs = TEXT_EMPTY, ignored = TEXT_EMPTY;
    char *keys = key_set_of(api, NULL);
    credentials_generate("production", keys, &theirs, &ignored);
    write_file(api_keys_path, theirs.bytes, 0600);
    struct error error;
    struct trust *other = trust_open("production", api_keys_path, NULL, &error);
    enrolment = trust_enrol(other, "edge-1", WORKER_ID, key);
    assert_int_equal(judge_hello(trust, replica, key, enrolment, "edge-1", WORKER_ID), SIGNATURE_UNKNOWN_KEY);
    trust_close(other);
    free(enrolment);
    free(keys);
    text_wipe(&theirs);
    text_free(&ignored);
    signer_free(replica);
    signer_free(stranger);
    trust_close(trust);
}

/* ---- private halves ---- */

static char *sealed_for(const struct text *keys_text, const char *plaintext, const char *aad) {
    struct environment_keys keys;
    struct error error;
    struct text sealed = TEXT_EMPTY;
    assert_int_equal(environment_keys_parse(keys_text->bytes, keys_text->length, &keys, &error), 0);
    assert_int_equal(jwe_seal(keys.encryption, keys.encryption_count, plaintext, strlen(plaintext), aad, &sealed, &error), 0);
    environment_keys_clear(&keys);
    return text_take(&sealed);
}

/* Public halves that differ from that of WHOLE in one member each. */
#define X "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""
static const char *const of_others[] = {
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}",       "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}",
    "{\"kty\":\"OKP\",\"crv\":\"X25519\"," X "}",                 "{\"kty\":\"EC\",\"crv\":\"Ed25519\"," X "}",
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," X ",\"y\":\"AAAA\"}", "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," X ",\"n\":\"AAAA\"}",
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," X ",\"e\":\"AQAB\"}",
};

static void a_private_half_is_opened_and_held_against_the_public_one(void **state) {
    (void)state;
    struct error error;
    struct trust *trust = opened();
    struct text out = TEXT_EMPTY;
    char *sealed = sealed_for(&public_keys, WHOLE, JWK_ID);
    assert_int_equal(trust_open_private(trust, JWK_ID, "OKP", PUBLIC_HALF, sealed, &out, &error), 0);
    assert_string_equal(out.bytes, WHOLE);
    text_reset(&out);
    assert_int_equal(trust_open_private(trust, OTHER_ID, "OKP", PUBLIC_HALF, sealed, &out, &error), -1);
    for (size_t i = 0; i < sizeof of_others / sizeof *of_others; i++) {
        assert_int_equal(trust_open_private(trust, JWK_ID, "OKP", of_others[i], sealed, &out, &error), -1);
        assert_non_null(strstr(error.message, "does not fit"));
    }
    assert_int_equal(trust_open_private(trust, JWK_ID, "OKP", NULL, sealed, &out, &error), -1);
    free(sealed);
    sealed = sealed_for(&public_keys, PUBLIC_HALF, JWK_ID);
    assert_int_equal(trust_open_private(trust, JWK_ID, "OKP", PUBLIC_HALF, sealed, &out, &error), -1);
    free(sealed);
    sealed = sealed_for(&public_keys, "{\"kty\":\"oct\",\"k\":\"AAAA\"}", JWK_ID);
    assert_int_equal(trust_open_private(trust, JWK_ID, "OCT", NULL, sealed, &out, &error), 0);
    assert_int_equal(trust_open_private(trust, JWK_ID, "OKP", NULL, sealed, &out, &error), -1);
    free(sealed);
    text_wipe(&out);
    trust_close(trust);
}

static void a_private_half_of_another_environment_is_told_with_the_keys(void **state) {
    (void)state;
    struct error error;
    struct trust *trust = opened();
    struct text theirs = TEXT_EMPTY, their_keys = TEXT_EMPTY, out = TEXT_EMPTY;
    credentials_generate("staging", "{\"keys\":[]}", &theirs, &their_keys);
    struct environment_keys keys;
    assert_int_equal(environment_keys_parse(their_keys.bytes, their_keys.length, &keys, &error), 0);
    char *sealed = sealed_for(&their_keys, WHOLE, JWK_ID);
    assert_int_equal(trust_open_private(trust, JWK_ID, "OKP", PUBLIC_HALF, sealed, &out, &error), -1);
    assert_int_equal(error.code, ERROR_NOT_FOUND);
    assert_non_null(strstr(error.message, keys.encryption[0].kid));
    assert_non_null(strstr(error.message, "give this worker the credentials of its environment"));
    assert_int_equal(out.length, 0);
    free(sealed);
    environment_keys_clear(&keys);
    text_wipe(&theirs);
    text_free(&their_keys);
    text_free(&out);
    trust_close(trust);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(credentials_that_do_not_suit_are_refused_with_what_to_do),
        TEST(without_a_key_of_the_api_nothing_could_be_believed),
        TEST(events_are_believed_of_the_api_alone),
        TEST(many_are_read_each_on_its_own),
        TEST(a_retired_key_is_believed_until_its_end),
        TEST(only_verdicts_of_missing_trust_may_change),
        TEST(a_file_is_read_again_when_it_has_changed),
        TEST(what_can_not_be_read_again_leaves_what_was_believed),
        TEST(a_key_is_named_with_its_end_where_it_has_one),
        TEST(names_do_not_depend_on_the_order_of_the_keys),
        TEST(presence_needs_a_key_that_the_environment_has_enrolled),
        TEST(a_private_half_is_opened_and_held_against_the_public_one),
        TEST(a_private_half_of_another_environment_is_told_with_the_keys),
    };
    return cmocka_run_group_tests_name("worker trust", tests, NULL, NULL);
}
