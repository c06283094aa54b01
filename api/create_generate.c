/* Generate: a new key, which generate.h makes. */
#include "answer.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/memory.h"
#include "create.h"
#include "creation.h"
#include "generate.h"
#include "members.h"

static int make_generated(struct creation *creation, struct error *error) {
    creation->jwk = generate_jwk(creation->body, clock_wall_ms(), error);
    return creation->jwk ? 0 : -1;
}

static int read_body(struct creation *creation, const cJSON *body, struct error *error) {
    static const char *const known[] = {"name", "description", "type", "kid", "rsa", "ec", "oct", "okp", NULL};
    return creation_read_names(creation, body, error) || json_refuse_unknown(body, known, error) ? -1 : 0;
}

void create_generated(struct call *call) {
    struct error error;
    struct creation *creation = memory_new(sizeof *creation);
    creation->call = call;
    creation->source_type = "GENERATE";
    creation->make = make_generated;
    members_drop_null(call->body);
    if (read_body(creation, call->body, &error)) {
        creation_free(creation);
        answer_fail_error(call, &error);
        return;
    }
    creation->body = call->body;
    call->body = NULL;
    creation_begin(creation, call->api->generating);
}
