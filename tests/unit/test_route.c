/* The routing table: which path and method is which operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "api/jwks.h"
#include "api/route.h"

struct found {
    enum route_result result;
    const struct operation *operation;
    char *parameters[PATH_PARAMETERS_MAX];
    char allow[64];
};

static struct found find(const char *method, const char *path) {
    struct found found = {0};
    found.result = route_find(method, path, &found.operation, found.parameters, found.allow);
    return found;
}

static void release(struct found *found) {
    for (size_t i = 0; i < PATH_PARAMETERS_MAX; i++)
        free(found->parameters[i]);
}

static void update_jwk_is_found_with_its_parameters(void **state) {
    (void)state;
    static const char *const paths[] = {"/apiops/projects/my-project/jwks/my-jwk/", "/apiops/projects/my-project/jwks/my-jwk"};
    for (size_t i = 0; i < 2; i++) {
        struct found found = find("PUT", paths[i]);
        assert_int_equal(found.result, ROUTE_FOUND);
        assert_ptr_equal(found.operation->handle, jwks_update);
        assert_int_equal(found.operation->roles, ROLE_API_SECURITY | ROLE_DEPLOY_UNDEPLOY_PROXIES);
        assert_true(route_has_project(found.operation));
        assert_string_equal(found.parameters[0], "my-project");
        assert_string_equal(found.parameters[1], "my-jwk");
        assert_null(found.parameters[2]);
        release(&found);
    }
}

static void segments_are_percent_decoded_once(void **state) {
    (void)state;
    struct found found = find("GET", "/apiops/projects/a%20b/jwks/100%2525%2Fx/");
    assert_int_equal(found.result, ROUTE_FOUND);
    assert_string_equal(found.parameters[0], "a b");
    assert_string_equal(found.parameters[1], "100%25/x");
    release(&found);
}

static void a_percent_sign_that_is_none_is_malformed(void **state) {
    (void)state;
    static const char *const paths[] = {
        "/apiops/projects/%/jwks/", "/apiops/projects/p/jwks/%2/", "/apiops/projects/p/jwks/%zz", "/apiops/projects/p%00q/jwks/j/"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct found found = find("GET", paths[i]);
        if (found.result != ROUTE_MALFORMED)
            fail_msg("%s: %d", paths[i], found.result);
        release(&found);
    }
}

static void other_methods_are_told_what_is_allowed(void **state) {
    (void)state;
    struct found found = find("PATCH", "/apiops/projects/p/jwks/j/");
    assert_int_equal(found.result, ROUTE_METHOD);
    assert_string_equal(found.allow, "GET, HEAD, PUT, DELETE");
    for (size_t i = 0; i < PATH_PARAMETERS_MAX; i++)
        assert_null(found.parameters[i]);
    found = find("DELETE", "/healthz");
    assert_int_equal(found.result, ROUTE_METHOD);
    assert_string_equal(found.allow, "GET, HEAD");
}

static void head_is_routed_as_get(void **state) {
    (void)state;
    struct found found = find("HEAD", "/apiops/projects/p/jwks/");
    assert_int_equal(found.result, ROUTE_FOUND);
    assert_ptr_equal(found.operation->handle, jwks_list);
    assert_false(found.operation->roles == OPERATION_OPEN);
    release(&found);
}

static void health_and_metrics_need_no_token(void **state) {
    (void)state;
    static const char *const paths[] = {"/healthz", "/readyz", "/metrics", "/healthz/"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct found found = find("GET", paths[i]);
        assert_int_equal(found.result, ROUTE_FOUND);
        assert_int_equal(found.operation->roles, OPERATION_OPEN);
        assert_false(route_has_project(found.operation));
    }
}

static void other_paths_are_unknown(void **state) {
    (void)state;
    static const char *const paths[] = {
        "/", "", "*", "/apiops", "/apiops/", "/apiops/projects/p", "/apiops/projects/p/jwks/j/x",
        "/apiops/projects/p/jwks/j//", "//apiops/projects/p/jwks/", "/Apiops/projects/p/jwks/", "/apiops/projects/p/jwk/", "/healthz//",
        "/healthzz", "/healthz/x", "/apiops/projects/p/jwks/../jwks/",
    };
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct found found = find("GET", paths[i]);
        if (found.result != ROUTE_UNKNOWN)
            fail_msg("%s: %d", paths[i], found.result);
        release(&found);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(update_jwk_is_found_with_its_parameters),
        cmocka_unit_test(segments_are_percent_decoded_once),
        cmocka_unit_test(a_percent_sign_that_is_none_is_malformed),
        cmocka_unit_test(other_methods_are_told_what_is_allowed),
        cmocka_unit_test(head_is_routed_as_get),
        cmocka_unit_test(health_and_metrics_need_no_token),
        cmocka_unit_test(other_paths_are_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
