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

int creation_read_generate(struct creation *creation, cJSON *body, struct error *error) {
    static const char *const known[] = {"name", "description", "type", "kid", "rsa", "ec", "oct", "okp", NULL};
    creation->source_type = "GENERATE";
    creation->make = make_generated;
    creation->body = body;
    return json_refuse_unknown(body, known, error);
}

void create_generated(struct call *call) {
    struct error error;
    struct creation *creation = memory_new(sizeof *creation);
    creation->call = call;
    cJSON *body = call->body;
    members_drop_null(body);
    int status = creation_read_names(creation, body, &error);
    if (status == 0) {
        call->body = NULL;
        status = creation_read_generate(creation, body, &error);
    }
    if (status) {
        creation_free(creation);
        answer_fail_error(call, &error);
        return;
    }
    creation_begin(creation, call->api->generating);
}
