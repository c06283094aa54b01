/* Rotation of a JWK: a new key in the place of the present one, which is served beside it for the time of the overlap. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "store_deployment.h"
#include "store_origin.h"
#include "store_sql.h"

static bool differ(const char *one, const char *other) { return !one != !other || (one && strcmp(one, other) != 0); }

/* A verifier finds a key by its kid; where there is none it tries each, and equal ones are one. */
static bool is_confused(const char *kid, const char *public_key, const struct store_new_jwk *new_jwk) {
    return kid || new_jwk->kid ? !differ(kid, new_jwk->kid) : !differ(public_key, new_jwk->public_key);
}

/* until: when the other one leaves; NULL: it is the present one. */
static int refuse_confusion(const struct store_jwk *jwk, const char *kid, const char *until, struct error *error) {
    char shown[JSON_SHOWN_SIZE];
    return error_set(error, ERROR_CONFLICT,
                     "The new key of JWK (name: %s) %s%s%s stays served until %s: verifiers could not tell them apart!%s",
                     jwk->name, kid ? "has the kid \"" : "is one that", kid ? json_shown(kid, shown) : "",
                     kid ? "\" of a key that" : "", until ? until : "the overlap ends",
                     until ? "" : " Give it another kid, or overlapSeconds 0.");
}

/* Whether the rotation may be: overlaps tells that the present key stays for a time. */
static int check_rotation(const struct store_jwk *jwk, const struct store_new_jwk *new_jwk, bool overlaps,
                          const struct store_retiring *retiring, struct error *error) {
    char time[CLOCK_TEXT_SIZE];
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < retiring->count; i++) {
        if (new_jwk->public_key && is_confused(retiring->kids[i], retiring->public_keys[i], new_jwk))
            return refuse_confusion(jwk, retiring->kids[i], clock_format(retiring->items[i].until * 1000, time), error);
        if (retiring->items[i].until < first)
            first = retiring->items[i].until;
    }
    if (overlaps && new_jwk->public_key && is_confused(jwk->kid, jwk->public_key, new_jwk))
        return refuse_confusion(jwk, jwk->kid, NULL, error);
    if (overlaps && retiring->count == RETIRING_COUNT_MAX)
        return error_set(
            error, ERROR_CONFLICT,
            "JWK (name: %s) has %d keys that are still served beside its present one; the first of them leaves at %s!",
            jwk->name, RETIRING_COUNT_MAX, clock_format(first * 1000, time));
    return 0;
}

static int write_key(struct store *store, const struct store_jwk *jwk, const struct store_new_jwk *new_jwk,
                     struct error *error) {
    sqlite3_stmt *statement = store_statement(
        store,
        "UPDATE jwk SET type = ?2, kid = ?3, source_type = ?4, source_id = ?5, source_url = ?6 WHERE id = ?1",
        error);
    sqlite3_stmt *material =
        store_statement(store, "UPDATE jwk_material SET public_key = ?2, private_key = ?3 WHERE jwk_id = ?1", error);
    if (!statement || !material)
        return -1;
    store_bind_integer(statement, 1, jwk->id);
    store_bind_text(statement, 2, new_jwk->type);
    store_bind_text(statement, 3, new_jwk->kid);
    store_bind_text(statement, 4, new_jwk->source_type);
    store_bind_text(statement, 5, new_jwk->source_id);
    store_bind_text(statement, 6, new_jwk->source_url);
    store_bind_integer(material, 1, jwk->id);
    store_bind_text(material, 2, new_jwk->public_key);
    return store_bind_sealed(store, material, 3, PRIVATE_KEY_PLACE, jwk->uid, new_jwk->private_key, error) ||
                   store_run(store, statement, "rotating a JWK", error) ||
                   store_run(store, material, "storing a JWK's material", error) || store_detach(store, jwk->id, error)
               ? -1
               : 0;
}

enum { CHANGED_SIZE = 96 };

/* The fields that the rotation changes, for the history. */
static const char *name_changes(const struct store_jwk *before, const struct store_new_jwk *after, bool overlaps,
                                char out[CHANGED_SIZE]) {
    snprintf(out, CHANGED_SIZE, "%s%s%s%s%smaterial%s", differ(before->type, after->type) ? "type," : "",
             differ(before->kid, after->kid) ? "kid," : "",
             differ(before->source_type, after->source_type) ? "sourceType," : "",
             differ(before->source_id, after->source_id) ? "sourceId," : "",
             differ(before->source_url, after->source_url) ? "sourceUrl," : "", overlaps ? ",retiring" : "");
    return out;
}

int store_rotate_jwk(struct store *store, const struct store_author *author, const char *jwk_name,
                     const struct store_new_jwk *new_jwk, int64_t overlap_s, struct store_change *change, struct error *error) {
    struct store_jwk jwk;
    if (store_find_jwk(store, author->project_id, jwk_name, &jwk, error)) {
        if (error->code == ERROR_NOT_FOUND)
            error_set(error, ERROR_NOT_FOUND, "JWK (name: %s) is not found! Try create operation.", jwk_name);
        return -1;
    }
    int status = -1;
    char changed[CHANGED_SIZE];
    struct store_retiring retiring = {0};
    int64_t now = clock_wall_ms(), until = (now / 1000 + (now % 1000 != 0) + overlap_s) * 1000;
    bool overlaps = overlap_s > 0 && jwk.public_key;
    if ((author->precondition && author->precondition(author->precondition_context, &jwk, error)) ||
        store_retiring_take(store, jwk.id, jwk.retiring_until, now, &retiring, error) ||
        check_rotation(&jwk, new_jwk, overlaps, &retiring, error) || write_key(store, &jwk, new_jwk, error) ||
        (overlaps && store_retiring_add(store, &jwk, jwk.version + 1, until, &retiring, error)))
        goto out;
    struct deployment_subject subject = {.operation = EVENT_UPDATE,
                                         .id = jwk.id,
                                         .uid = jwk.uid,
                                         .version = jwk.version + 1,
                                         .partition = jwk.partition,
                                         .name = jwk.name,
                                         .description = jwk.description,
                                         .type = new_jwk->type,
                                         .kid = new_jwk->kid,
                                         .public_key = new_jwk->public_key,
                                         .is_new_key = true,
                                         .private_key = new_jwk->private_key,
                                         .retiring = &retiring,
                                         .updated_at = now,
                                         .now = now,
                                         .changed = name_changes(&jwk, new_jwk, overlaps, changed)};
    status = store_record_deployment(store, author, &subject, change, error);
out:
    store_retiring_clear(&retiring);
    store_jwk_free(&jwk);
    return status;
}
