/* Roles by name, and tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "api/access.h"

static void roles_are_known_by_their_exact_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum role role;
    } roles[] = {{"ROLE_API_SECURITY", ROLE_API_SECURITY},
                 {"ROLE_DEPLOY_UNDEPLOY_PROXIES", ROLE_DEPLOY_UNDEPLOY_PROXIES},
                 {"ROLE_ADMIN", ROLE_ADMIN}};
    enum role role;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(role_parse(roles[i].name, &role), 0);
        assert_int_equal(role, roles[i].role);
        assert_string_equal(role_name(roles[i].role), roles[i].name);
    }
    static const char *const wrong[] = {"", "role_admin", "ROLE_ADMIN ", "ROLE_ADMINS", "ADMIN", "ROLE_API"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(role_parse(wrong[i], &role), -1);
}

static void every_needed_role_must_be_held_unless_admin(void **state) {
    (void)state;
    const int both = ROLE_API_SECURITY | ROLE_DEPLOY_UNDEPLOY_PROXIES;
    assert_true(roles_allow(both, both));
    assert_true(roles_allow(both, ROLE_API_SECURITY));
    assert_true(roles_allow(ROLE_ADMIN, both));
    assert_true(roles_allow(ROLE_ADMIN, ROLE_ADMIN));
    assert_false(roles_allow(ROLE_API_SECURITY, both));
    assert_false(roles_allow(ROLE_DEPLOY_UNDEPLOY_PROXIES, both));
    assert_false(roles_allow(0, ROLE_API_SECURITY));
    assert_false(roles_allow(both, ROLE_ADMIN));
}

static void tokens_are_long_random_and_fit_a_header(void **state) {
    (void)state;
    char one[TOKEN_SIZE], other[TOKEN_SIZE];
    token_new(one);
    token_new(other);
    assert_int_equal(strlen(one), TOKEN_SIZE - 1);
    assert_memory_equal(one, "jwk_", 4);
    assert_int_equal(strspn(one, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), TOKEN_SIZE - 1);
    assert_string_not_equal(one, other);
}

/* FIPS 180-2, appendix B.1. */
static void a_token_is_stored_as_its_sha_256(void **state) {
    (void)state;
    static const unsigned char abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                          0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    unsigned char hash[32];
    token_hash("abc", hash);
    assert_memory_equal(hash, abc, 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roles_are_known_by_their_exact_names),
        cmocka_unit_test(every_needed_role_must_be_held_unless_admin),
        cmocka_unit_test(tokens_are_long_random_and_fit_a_header),
        cmocka_unit_test(a_token_is_stored_as_its_sha_256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
