/* Forms: what is one, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "api/form.h"
#include "common/text.h"

#define TYPE "multipart/form-data; boundary=b"
#define PART(name, value) "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static int parse(const char *type, const char *body, size_t length, struct form *form) {
    struct error error = {0};
    /* On the heap, so that AddressSanitizer sees a step beyond its end. */
    char *copy = malloc(length + 1);
    memcpy(copy, body, length);
    copy = realloc(copy, length ? length : 1);
    int status = form_parse(type, copy, length, form, &error);
    if (status == 0)
        for (size_t i = 0; i < form->count; i++)
            form->fields[i].bytes = body + (form->fields[i].bytes - copy);
    else {
        assert_int_equal(error.code, ERROR_INVALID);
        assert_non_null(strstr(error.message, "not a valid form"));
    }
    free(copy);
    return status;
}

#define PARSE(body, form) parse(TYPE, body, sizeof(body) - 1, form)

static void check(const struct form *form, const char *name, const char *value) {
    const struct form_field *field = form_find(form, name);
    assert_non_null(field);
    assert_int_equal(field->length, strlen(value));
    assert_memory_equal(field->bytes, value, strlen(value));
}

static void fields_are_found_by_name(void **state) {
    (void)state;
    struct form form;
    assert_int_equal(PARSE(PART("a", "one") PART("b", "") PART("c", "\r\n--x\r\n") "--b--\r\n", &form), 0);
    assert_int_equal(form.count, 3);
    check(&form, "a", "one");
    check(&form, "b", "");
    check(&form, "c", "\r\n--x\r\n");
    assert_null(form_find(&form, "d"));
}

static void what_looks_like_a_boundary_is_content(void **state) {
    (void)state;
    struct form form;
    assert_int_equal(PARSE(PART("a", "x\r\n--bb\r\n--b-\r\n--b--y") "--b--", &form), 0);
    check(&form, "a", "x\r\n--bb\r\n--b-\r\n--b--y");
}

static void an_empty_form_is_one(void **state) {
    (void)state;
    struct form form;
    assert_int_equal(PARSE("--b--", &form), 0);
    assert_int_equal(form.count, 0);
    assert_int_equal(PARSE("--b--\r\n", &form), 0);
}

static void headers_are_read_without_regard_to_case(void **state) {
    (void)state;
    struct form form;
    assert_int_equal(PARSE("--b \t\r\nX: y\r\ncontent-disposition:Form-Data;filename=\"a;name=z\"; NAME=n\r\n"
                           "CONTENT-TRANSFER-ENCODING: 8bit\r\n\r\nv\r\n--b--", &form), 0);
    check(&form, "n", "v");
}

static void boundaries_are_read_as_rfc_2046_has_them(void **state) {
    (void)state;
    struct form form;
    static const char body[] = "--a b:c\r\nContent-Disposition: form-data; name=n\r\n\r\nv\r\n--a b:c--";
    assert_int_equal(parse("multipart/form-data; charset=utf-8; boundary=\"a b:c\"", body, sizeof body - 1, &form), 0);
    check(&form, "n", "v");
    static const char *const types[] = {
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"",
        "multipart/form-data; boundary=\"b",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=\"b \"",
        "multipart/form-data; boundary=b{",
        "multipart/form-data; boundary=\"b\"x",
        "multipart/form-data; boundary=01234567890123456789012345678901234567890123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        assert_int_equal(parse(types[i], "--b--", 5, &form), -1);
}

static void what_is_no_form_is_refused(void **state) {
    (void)state;
    static const char *const bodies[] = {
        "",
        "-",
        "--",
        "--b",
        "--bx",
        "--b\r",
        "--b\r\n",
        "x--b--",
        "--b--x",
        "--b--\r\nx",
        "--b\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nv",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--",
        "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nv\r\n--b",
        "--b\r\nContent-Disposition: form-data; name=a",
        "--b\r\nContent-Disposition: form-data; name=a\r\n--b--",
        "--b\r\nno colon\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: attachment; name=a\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"a\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\nv\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nv\r\n--b--",
        PART("a", "1") PART("a", "2") "--b--"};
    struct form form;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        if (parse(TYPE, bodies[i], strlen(bodies[i]), &form) != -1)
            fail_msg("taken: %s", bodies[i]);
}

static void every_prefix_is_refused_and_read_within_its_end(void **state) {
    (void)state;
    static const char body[] = PART("a", "one") PART("b", "two") "--b--";
    struct form form;
    for (size_t length = 0; length < sizeof body - 1; length++)
        assert_int_equal(parse(TYPE, body, length, &form), -1);
    assert_int_equal(PARSE(PART("a", "one") PART("b", "two") "--b--", &form), 0);
}

static void the_number_of_fields_is_bounded(void **state) {
    (void)state;
    struct text body = TEXT_EMPTY;
    struct form form;
    for (int i = 0; i <= FORM_PARTS_MAX; i++) {
        struct text whole = TEXT_EMPTY;
        text_add_format(&whole, "%s--b--", body.length ? body.bytes : "");
        assert_int_equal(parse(TYPE, whole.bytes, whole.length, &form), 0);
        text_free(&whole);
        text_add_format(&body, "--b\r\nContent-Disposition: form-data; name=f%d\r\n\r\nv\r\n", i);
    }
    text_add_string(&body, "--b--");
    assert_int_equal(parse(TYPE, body.bytes, body.length, &form), -1);
    text_free(&body);
}

static void values_are_typed(void **state) {
    (void)state;
    struct form form;
    struct error error;
    char *text;
    bool value = false;
    static const char body[] =
        PART("t", "text") PART("n", "\xff") PART("z", "a\0b") PART("yes", "true") PART("no", "false") PART("x", "TRUE") "--b--";
    assert_int_equal(form_parse(TYPE, body, sizeof body - 1, &form, &error), 0);
    assert_int_equal(form_get_text(&form, "t", &text, &error), 0);
    assert_string_equal(text, "text");
    free(text);
    assert_int_equal(form_get_text(&form, "absent", &text, &error), 0);
    assert_null(text);
    assert_int_equal(form_get_text(&form, "n", &text, &error), -1);
    assert_int_equal(form_get_text(&form, "z", &text, &error), -1);
    assert_int_equal(form_get_boolean(&form, "yes", &value, &error), 0);
    assert_true(value);
    assert_int_equal(form_get_boolean(&form, "absent", &value, &error), 0);
    assert_true(value);
    assert_int_equal(form_get_boolean(&form, "no", &value, &error), 0);
    assert_false(value);
    assert_int_equal(form_get_boolean(&form, "x", &value, &error), -1);
    static const char *const known[] = {"t", "n", "z", "yes", "no", NULL};
    assert_int_equal(form_refuse_unknown(&form, known, &error), -1);
    assert_string_equal(error.message, "\"x\" is not known here");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_by_name),
        cmocka_unit_test(what_looks_like_a_boundary_is_content),
        cmocka_unit_test(an_empty_form_is_one),
        cmocka_unit_test(headers_are_read_without_regard_to_case),
        cmocka_unit_test(boundaries_are_read_as_rfc_2046_has_them),
        cmocka_unit_test(what_is_no_form_is_refused),
        cmocka_unit_test(every_prefix_is_refused_and_read_within_its_end),
        cmocka_unit_test(the_number_of_fields_is_bounded),
        cmocka_unit_test(values_are_typed),
    };
    return cmocka_run_group_tests_name("form", tests, NULL, NULL);
}
