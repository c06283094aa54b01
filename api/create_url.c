/* Create from a URL: fetched once now, and again on a schedule while the JWK is attached to it (refresh.h). */
#include <string.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "creation.h"
#include "refresh.h"
#include "store_origin.h"

static int make_fetched(struct creation *creation, struct error *error) {
    const struct api *api = creation->call->api;
    struct source_url_request request = creation->options;
    struct source_url_answer answer;
    request.url = creation->url;
    request.cancel = workpool_stopping(api->fetching);
    if (source_url_fetch(&api->sources.settings, &request, &answer, error)) {
        /* What another server did is the caller's to know, and no reason to call this one unavailable. */
        if (error->code == ERROR_UNAVAILABLE && !atomic_load(request.cancel))
            error->code = ERROR_INVALID;
        return -1;
    }
    creation->jwk = source_url_jwk(&answer, creation->kid, error);
    if (creation->jwk) {
        creation->etag = memory_string(answer.etag);
        creation->last_modified = memory_string(answer.last_modified);
        creation->due_at = refresh_due(&api->sources, clock_wall_ms(), answer.max_age);
    }
    source_url_answer_free(&answer);
    return creation->jwk ? 0 : -1;
}

static int attach_url(struct creation *creation, struct store *store, const char *jwk_uid, struct error *error) {
    struct store_url url = {.kid = creation->kid,
                            .connect_timeout = creation->options.connect_timeout_ms,
                            .read_timeout = creation->options.read_timeout_ms,
                            .size_limit = creation->options.size_limit,
                            .etag = creation->etag,
                            .last_modified = creation->last_modified,
                            .due_at = creation->due_at};
    return store_attach_url(store, jwk_uid, &url, error);
}

int creation_read_url(struct creation *creation, const cJSON *body, struct error *error) {
    const char *url = NULL, *kid = NULL;
    struct source_url_request *options = &creation->options;
    *options = SOURCE_URL_REQUEST_DEFAULT;
    /* The ranges are source_url_check()'s to tell. */
    if (json_get_string(body, "url", false, &url, error) || json_get_string(body, "kid", false, &kid, error) ||
        json_get_integer(body, "urlOptionConnectTimeout", false, 0, INT32_MAX, &options->connect_timeout_ms, error) ||
        json_get_integer(body, "urlOptionReadTimeout", false, 0, INT32_MAX, &options->read_timeout_ms, error) ||
        json_get_integer(body, "urlOptionSizeLimit", false, 0, INT32_MAX, &options->size_limit, error))
        return -1;
    struct source_url_request request = *options;
    request.url = url;
    if (source_url_check(&creation->call->api->sources.settings, &request, error))
        return -1;
    creation->url = memory_string(url);
    creation->kid = kid && *kid ? memory_string(kid) : NULL;
    creation->make = make_fetched;
    creation->attach = attach_url;
    return 0;
}
