/* Certificates: multipart forms in, with one file that is the same in each environment of the list. */
#include "certificates.h"

#include <stdlib.h>
#include <string.h>

#include "answer.h"
#include "common/clock.h"
#include "common/memory.h"
#include "form.h"
#include "source_certificate.h"
#include "source_object.h"

enum { ALIAS_MAX = 255, PEM_LINE = 64 }; /* bytes of an alias; characters of a line of PEM (RFC 7468 section 2) */

/* ---- reading the form ---- */

/* Reads a comma-separated list of environments; blanks around a name are not part of it. */
static int read_environments(char *list, struct source_input *input, struct error *error) {
    char *rest = list, *name;
    while ((name = strsep(&rest, ","))) {
        name += strspn(name, " \t");
        for (size_t length = strlen(name); length && strchr(" \t", name[length - 1]); length--)
            name[length - 1] = '\0';
        if (!source_input_add(input, name, error))
            return -1;
    }
    return 0;
}

static int read_fields(const struct form *form, struct source_input *input, struct error *error) {
    const struct form_field *file = form_find(form, "pemEncodedFile");
    char *list = NULL, *scope = NULL;
    int status = -1;
    if (form_get_text(form, "certificateName", &input->name, error) || form_get_text(form, "alias", &input->alias, error) ||
        form_get_text(form, "certificateDescription", &input->description, error) ||
        form_get_text(form, "environmentList", &list, error) ||
        form_get_boolean(form, "updateReferencedJwks", &input->update_referenced, error) ||
        form_get_text(form, "updateScope", &scope, error) || source_input_read_scope(scope, input, error) ||
        (list && read_environments(list, input, error)))
        goto out;
    if (input->alias && strlen(input->alias) > ALIAS_MAX) {
        error_set(error, ERROR_INVALID, "Certificate alias can not be longer than %d bytes!", ALIAS_MAX);
        goto out;
    }
    if (file) {
        input->file = memory_bytes(file->bytes, file->length);
        input->file_size = file->length;
    }
    status = 0;
out:
    free(list);
    free(scope);
    return status;
}

/* Answers and returns NULL when the body is not such a form. */
static struct source_input *read_form(struct call *call) {
    static const char *const known[] = {"certificateName", "alias",          "certificateDescription", "environmentList",
                                        "pemEncodedFile",  "updateReferencedJwks", "updateScope", NULL};
    struct error error;
    size_t length;
    const char *body = http_request_body(call->request, &length);
    struct form *form = memory_new(sizeof *form);
    struct source_input *input = source_input_new();
    if (form_parse(http_request_header(call->request, "Content-Type"), body ? body : "", length, form, &error) ||
        form_refuse_unknown(form, known, &error) || read_fields(form, input, &error)) {
        source_input_free(input);
        input = NULL;
        answer_fail_error(call, &error);
    }
    free(form);
    return input;
}

/* ---- validating ---- */

/* The chain as PEM and nothing else: whatever text or encoding it came in. */
static char *write_pem(const struct source_certificate *certificate) {
    struct text pem = TEXT_EMPTY;
    for (size_t i = 0; i < certificate->count; i++) {
        text_add_string(&pem, "-----BEGIN CERTIFICATE-----\n");
        for (const char *at = certificate->x5c[i]; *at;) {
            size_t length = strnlen(at, PEM_LINE);
            text_add(&pem, at, length);
            text_add_string(&pem, "\n");
            at += length;
        }
        text_add_string(&pem, "-----END CERTIFICATE-----\n");
    }
    return text_take(&pem);
}

static char *write_facts(const struct source_certificate *certificate) {
    char time[CLOCK_TEXT_SIZE];
    struct text facts = TEXT_EMPTY;
    text_json_open(&facts, NULL, '{');
    text_json_string(&facts, "subject", certificate->subject);
    text_json_string(&facts, "issuer", certificate->issuer);
    text_json_string(&facts, "serialNumber", certificate->serial);
    text_json_string(&facts, "notBeforeTime", clock_format(certificate->not_before * 1000, time));
    text_json_string(&facts, "expirationTime", clock_format(certificate->not_after * 1000, time));
    text_json_string(&facts, "type", jwk_type_name(certificate->key.type));
    text_json_string(&facts, "thumbprint", certificate->x5t_s256);
    text_json_integer(&facts, "chainLength", (int64_t)certificate->count);
    text_json_close(&facts, '}');
    return text_take(&facts);
}

/* Gives each environment of the input, or else each that there was, the certificate. */
static int spread(struct source_input *input, const struct origin_materials *stored,
                  const struct source_certificate *certificate, struct error *error) {
    for (size_t i = 0; input->materials.count < stored->count && i < stored->count; i++)
        if (!source_input_add(input, stored->items[i].environment, error))
            return -1;
    for (size_t i = 0; i < input->materials.count; i++) {
        input->materials.items[i].public_material = write_pem(certificate);
        input->materials.items[i].details = write_facts(certificate);
    }
    return 0;
}

static int complete(struct source_input *input, const struct origin_materials *stored, struct error *error) {
    bool has_list = input->materials.count > 0;
    if (!input->is_new && !input->file && !has_list)
        return 0;
    if (input->is_new && !has_list)
        return error_set(error, ERROR_INVALID, "Environment list can not be empty!");
    if (input->is_new && !input->file)
        return error_set(error, ERROR_INVALID, "Certificate file is required!");
    struct source_certificate certificate = SOURCE_CERTIFICATE_EMPTY;
    if (!input->file && stored->count == 0)
        return error_set(error, ERROR_INVALID, "Certificate file is required!");
    const char *bytes = input->file ? input->file : stored->items[0].public_material;
    static const struct origin_materials none;
    int status = source_certificate_read(bytes, input->file ? input->file_size : strlen(bytes), &certificate, error);
    if (status == 0)
        status = spread(input, has_list ? &none : stored, &certificate, error);
    source_certificate_clear(&certificate);
    return status;
}

/* ---- writing ---- */

static void write_item(struct text *body, const struct store_source *source) {
    text_json_string(body, "certificateName", source->name);
    text_json_string(body, "alias", source->alias);
    text_json_string(body, "certificateDescription", source->description);
    text_json_raw(body, "environmentList", source->environments);
}

static void write_details(struct text *body, const struct origin_materials *materials) {
    bool any = materials->count > 0;
    if (any)
        text_json_raw(body, "certificateInfo", materials->items[0].details);
    else
        text_json_null(body, "certificateInfo");
    text_json_string(body, "pemEncodedFile", any ? materials->items[0].public_material : NULL);
}

static const struct source_kind_operations operations = {
    .kind = SOURCE_CERTIFICATE,
    .listing = {.mark = 'c', .read = source_object_read_list},
    .name_label = "Certificate",
    .complete = complete,
    .write_item = write_item,
    .write_details = write_details,
};

void certificates_list(struct call *call) { source_object_list(call, &operations); }
void certificates_get(struct call *call) { source_object_get(call, &operations); }
void certificates_delete(struct call *call) { source_object_delete(call, &operations); }

void certificates_create(struct call *call) {
    struct source_input *input = read_form(call);
    if (input)
        source_object_create(call, &operations, input);
}

void certificates_update(struct call *call) {
    struct source_input *input = read_form(call);
    if (input)
        source_object_update(call, &operations, input);
}
