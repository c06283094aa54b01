/* The product's own seals and signatures, to be judged: reads one request per line (JSON) and answers each with one line, as
 * the judges do. See panel/line_judge.py and OurCryptography in it.
 *
 *     seal        recipients (JWKs), payload, aad    -> jwe, a text
 *     open        keys (private JWKs), jwe, aad      -> payload
 *     sign        jwk, payload                       -> token, a compact JWS
 *     verify      jwk, token                         -> payload
 *     sign_batch  jwk, records                       -> headers, a {signature, path} for each of them
 *     check       jwk, record, signature, path       -> verdict, and the reason when it is not "valid"
 *
 * A record has the members key, id, source, type, subject, time, dataschema, traceparent and value; each may be null. An
 * operation that fails is answered with `error`. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/credentials.h"
#include "common/json.h"
#include "common/memory.h"
#include "common/signature_internal.h"

enum { RECORDS_MAX = 256 };

static const char *string_of(const cJSON *object, const char *name) {
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

static struct octets octets_of(const char *text) {
    return (struct octets){text, text ? strlen(text) : 0};
}

static struct jwk *jwk_of(const cJSON *request, struct error *error) {
    return jwk_from_json(cJSON_GetObjectItemCaseSensitive(request, "jwk"), error);
}

/* ---- JWE ---- */

/* The keys of an array, each with its kid; released with release(). */
static int read_keys(const cJSON *array, struct jwe_recipient *keys, size_t *count, struct error *error) {
    const cJSON *each;
    cJSON_ArrayForEach (each, array) {
        struct jwk *jwk = *count < JWE_RECIPIENTS_MAX ? jwk_from_json(each, error) : NULL;
        if (!jwk)
            return -1;
        keys[(*count)++] = (struct jwe_recipient){memory_string(jwk_kid(jwk)), jwk_to_key(jwk)};
        jwk_free(jwk);
    }
    return 0;
}

static void release(struct jwe_recipient *keys, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free((char *)(uintptr_t)keys[i].kid);
        EVP_PKEY_free(keys[i].key);
    }
    free(keys);
}

static int answer_jwe(const cJSON *request, bool opens, cJSON *answer, struct error *error) {
    struct jwe_recipient *keys = memory_new(JWE_RECIPIENTS_MAX * sizeof *keys);
    struct text result = TEXT_EMPTY;
    size_t count = 0;
    const char *aad = string_of(request, "aad"), *input = string_of(request, opens ? "jwe" : "payload");
    int status = read_keys(cJSON_GetObjectItemCaseSensitive(request, opens ? "keys" : "recipients"), keys, &count, error);
    if (status == 0)
        status = opens ? jwe_open(keys, count, input, strlen(input), aad, &result, error)
                       : jwe_seal(keys, count, input, strlen(input), aad, &result, error);
    if (status == 0)
        cJSON_AddStringToObject(answer, opens ? "payload" : "jwe", result.bytes);
    text_wipe(&result);
    release(keys, count);
    return status;
}

static int answer_seal(const cJSON *request, cJSON *answer, struct error *error) {
    return answer_jwe(request, false, answer, error);
}

static int answer_open(const cJSON *request, cJSON *answer, struct error *error) {
    return answer_jwe(request, true, answer, error);
}

/* ---- JWS ---- */

static struct signer *signer_of(const cJSON *request, struct error *error) {
    struct jwk *jwk = jwk_of(request, error);
    struct signer *signer = jwk ? signer_new(jwk, error) : NULL;
    jwk_free(jwk);
    return signer;
}

static struct verifier *verifier_of(const cJSON *request, struct error *error) {
    struct jwk *jwk = jwk_of(request, error);
    struct verifier *verifier = verifier_new();
    if (!jwk || verifier_trust(verifier, jwk, INT64_MAX, error) < 0) {
        verifier_free(verifier);
        verifier = NULL;
    }
    jwk_free(jwk);
    return verifier;
}

static int answer_sign(const cJSON *request, cJSON *answer, struct error *error) {
    const char *payload = string_of(request, "payload");
    struct signer *signer = signer_of(request, error);
    if (!signer)
        return -1;
    char *token = signature_sign_text(signer, payload, strlen(payload));
    cJSON_AddStringToObject(answer, "token", token);
    free(token);
    signer_free(signer);
    return 0;
}

static int answer_verify(const cJSON *request, cJSON *answer, struct error *error) {
    struct octets token = octets_of(string_of(request, "token"));
    struct text payload = TEXT_EMPTY;
    struct verifier *verifier = verifier_of(request, error);
    if (!verifier)
        return -1;
    int status = verifier_check_text(verifier, token.bytes, token.length, 0, &payload, error) == SIGNATURE_VALID ? 0 : -1;
    if (status == 0)
        cJSON_AddStringToObject(answer, "payload", payload.bytes);
    text_free(&payload);
    verifier_free(verifier);
    return status;
}

static void leaf_of(const cJSON *record, unsigned char leaf[MERKLE_HASH_SIZE]) {
    const struct cloudevent attributes = {
        .id = string_of(record, "id"),
        .source = string_of(record, "source"),
        .type = string_of(record, "type"),
        .subject = string_of(record, "subject"),
        .time = string_of(record, "time"),
        .dataschema = string_of(record, "dataschema"),
        .traceparent = string_of(record, "traceparent"),
    };
    struct octets value = octets_of(string_of(record, "value"));
    signature_leaf(string_of(record, "key"), &attributes, value.bytes, value.length, leaf);
}

static void add_header(cJSON *object, const char *member, const rd_kafka_headers_t *headers, const char *name) {
    const void *value;
    size_t length;
    if (rd_kafka_header_get_last(headers, name, &value, &length) == RD_KAFKA_RESP_ERR_NO_ERROR)
        cJSON_AddStringToObject(object, member, value);
}

static int answer_sign_batch(const cJSON *request, cJSON *answer, struct error *error) {
    unsigned char leaves[RECORDS_MAX][MERKLE_HASH_SIZE];
    const cJSON *records = cJSON_GetObjectItemCaseSensitive(request, "records"), *each;
    size_t count = 0;
    cJSON_ArrayForEach (each, records) {
        if (count == RECORDS_MAX)
            return error_set(error, ERROR_INVALID, "more than %d records", RECORDS_MAX);
        leaf_of(each, leaves[count++]);
    }
    struct signer *signer = signer_of(request, error);
    if (!signer)
        return -1;
    struct signed_batch *batch = signature_sign(signer, (const unsigned char(*)[MERKLE_HASH_SIZE])leaves, count);
    cJSON *array = cJSON_AddArrayToObject(answer, "headers");
    for (size_t i = 0; i < count; i++) {
        rd_kafka_headers_t *headers = rd_kafka_headers_new(2);
        cJSON *object = cJSON_CreateObject();
        signature_add_headers(batch, i, headers);
        add_header(object, "signature", headers, SIGNATURE_HEADER);
        add_header(object, "path", headers, SIGNATURE_PATH_HEADER);
        cJSON_AddItemToArray(array, object);
        rd_kafka_headers_destroy(headers);
    }
    signed_batch_free(batch);
    signer_free(signer);
    return 0;
}

static int answer_check(const cJSON *request, cJSON *answer, struct error *error) {
    unsigned char leaf[MERKLE_HASH_SIZE];
    struct verifier *verifier = verifier_of(request, error);
    if (!verifier)
        return -1;
    leaf_of(cJSON_GetObjectItemCaseSensitive(request, "record"), leaf);
    enum signature_verdict verdict = signature_check_leaf(verifier, leaf, octets_of(string_of(request, "signature")),
                                                          octets_of(string_of(request, "path")), 0, NULL, error);
    cJSON_AddStringToObject(answer, "verdict", signature_verdict_name(verdict));
    if (verdict != SIGNATURE_VALID)
        cJSON_AddStringToObject(answer, "reason", error->message);
    verifier_free(verifier);
    return 0;
}

/* ---- lines ---- */

static const struct {
    const char *name;
    int (*answer)(const cJSON *request, cJSON *answer, struct error *error);
} operations[] = {
    {"seal", answer_seal},
    {"open", answer_open},
    {"sign", answer_sign},
    {"verify", answer_verify},
    {"sign_batch", answer_sign_batch},
    {"check", answer_check},
};

static void answer_line(const char *line, size_t length) {
    struct error error = {0};
    cJSON *answer = cJSON_CreateObject(), *request = json_parse(line, length, &error);
    const char *name = string_of(request, "op");
    int status = request ? error_set(&error, ERROR_INVALID, "no such operation") : -1;
    for (size_t i = 0; name && i < sizeof operations / sizeof operations[0]; i++) {
        if (strcmp(operations[i].name, name) == 0)
            status = operations[i].answer(request, answer, &error);
    }
    if (status < 0)
        cJSON_AddStringToObject(answer, "error", error.message);
    char *text = cJSON_PrintUnformatted(answer);
    puts(text);
    fflush(stdout);
    free(text);
    cJSON_Delete(answer);
    cJSON_Delete(request);
}

int main(void) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    memory_init();
    while ((length = getline(&line, &capacity, stdin)) > 0)
        answer_line(line, (size_t)length);
    free(line);
    return 0;
}
