/* The addresses at the edges of each special range, and the networks that the configuration allows. */
#include "tests/unit/source_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "api/source_address.h"

static struct sockaddr_storage parse(const char *text) {
    struct sockaddr_storage storage = {0};
    struct sockaddr_in in4 = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &in4.sin_addr) == 1)
        memcpy(&storage, &in4, sizeof in4);
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(&storage, &in6, sizeof in6);
    else
        fail_msg("%s is not an address", text);
    return storage;
}

static void test_each_special_range_ends_where_its_registry_says(void **state) {
    (void)state;
    static const struct {
        const char *address, *kind; /* NULL: public */
    } cases[] = {
        {"0.0.0.0", "unspecified"},
        {"0.255.255.255", "unspecified"},
        {"1.0.0.0", NULL},
        {"1.1.1.1", NULL},
        {"9.255.255.255", NULL},
        {"10.0.0.0", "private"},
        {"10.255.255.255", "private"},
        {"11.0.0.0", NULL},
        {"100.63.255.255", NULL},
        {"100.64.0.0", "shared (CGNAT)"},
        {"100.127.255.255", "shared (CGNAT)"},
        {"100.128.0.0", NULL},
        {"126.255.255.255", NULL},
        {"127.0.0.0", "loopback"},
        {"127.255.255.255", "loopback"},
        {"128.0.0.0", NULL},
        {"169.253.255.255", NULL},
        {"169.254.0.0", "link-local"},
        {"169.254.169.254", "link-local"},
        {"169.255.0.0", NULL},
        {"172.15.255.255", NULL},
        {"172.16.0.0", "private"},
        {"172.31.255.255", "private"},
        {"172.32.0.0", NULL},
        {"191.255.255.255", NULL},
        {"192.0.0.1", "reserved"},
        {"192.0.1.0", NULL},
        {"192.0.2.1", "documentation"},
        {"192.0.3.0", NULL},
        {"192.88.99.1", "reserved"},
        {"192.167.255.255", NULL},
        {"192.168.0.0", "private"},
        {"192.168.255.255", "private"},
        {"192.169.0.0", NULL},
        {"198.17.255.255", NULL},
        {"198.18.0.0", "benchmarking"},
        {"198.19.255.255", "benchmarking"},
        {"198.20.0.0", NULL},
        {"198.51.100.7", "documentation"},
        {"203.0.113.7", "documentation"},
        {"223.255.255.255", NULL},
        {"224.0.0.0", "multicast"},
        {"239.255.255.255", "multicast"},
        {"240.0.0.0", "reserved"},
        {"255.255.255.255", "reserved"},
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"::2", "reserved"},
        {"::7f00:1", "reserved"},
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:10.1.1.1", "private"},
        {"::ffff:1.1.1.1", NULL},
        {"::ffff:0:127.0.0.1", "reserved"},
        {"64:ff9b::8.8.8.8", NULL},
        {"64:ff9b::127.0.0.1", "loopback"},
        {"64:ff9b:1::8.8.8.8", "reserved"},
        {"100::1", "reserved"},
        {"1fff::1", "reserved"},
        {"2001::1", "reserved"},
        {"2001:1ff:ffff::1", "reserved"},
        {"2001:200::1", NULL},
        {"2001:db7::1", NULL},
        {"2001:db8::1", "documentation"},
        {"2001:db9::1", NULL},
        {"2002:7f00:1::", "loopback"},
        {"2002:a00:1::", "private"},
        {"2002:101:101::", NULL},
        {"2606:4700::1111", NULL},
        {"3fff:fff::1", "documentation"},
        {"3fff:1000::1", NULL},
        {"4000::1", "reserved"},
        {"5f00::1", "reserved"},
        {"fbff::1", "reserved"},
        {"fc00::1", "private"},
        {"fdff::1", "private"},
        {"fe7f::1", "reserved"},
        {"fe80::1", "link-local"},
        {"febf::1", "link-local"},
        {"fec0::1", "private"},
        {"ff02::1", "multicast"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sockaddr_storage address = parse(cases[i].address);
        const char *kind = source_address_kind((const struct sockaddr *)&address);
        if ((kind == NULL) != (cases[i].kind == NULL) || (kind != NULL && strcmp(kind, cases[i].kind) != 0))
            fail_msg("%s is %s, not %s", cases[i].address, kind == NULL ? "public" : kind,
                     cases[i].kind == NULL ? "public" : cases[i].kind);
        struct source_networks none = {.count = 0};
        assert_int_equal(source_address_is_allowed((const struct sockaddr *)&address, &none), kind == NULL);
    }
}

static void test_allowed_networks_open_themselves_alone(void **state) {
    (void)state;
    static const struct {
        const char *networks, *address;
        bool allowed;
    } cases[] = {
        {"10.20.0.0/16", "10.20.255.255", true},
        {"10.20.0.0/16", "10.21.0.0", false},
        {"10.20.0.0/16", "::ffff:10.20.0.1", true},
        {"10.20.0.0/16", "8.8.8.8", true},
        {"10.20.0.0/15", "10.21.0.0", true},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {" 192.168.1.0/24 , fd12::/16,127.0.0.1/32", "fd12::1", true},
        {" 192.168.1.0/24 , fd12::/16,127.0.0.1/32", "fd13::1", false},
        {" 192.168.1.0/24 , fd12::/16,127.0.0.1/32", "127.0.0.1", true},
        {"0.0.0.0/0", "127.0.0.1", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "::1", true},
        {"", "127.0.0.1", false},
        {NULL, "127.0.0.1", false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct source_networks networks;
        struct error error = {0};
        struct sockaddr_storage address = parse(cases[i].address);
        assert_ok(source_networks_parse(cases[i].networks, &networks, &error), error);
        if (source_address_is_allowed((const struct sockaddr *)&address, &networks) != cases[i].allowed)
            fail_msg("%s with %s", cases[i].address, cases[i].networks);
    }
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct source_networks networks;
    struct error error = {0};
    assert_ok(source_networks_parse("0.0.0.0/0,::/0", &networks, &error), error);
    assert_false(source_address_is_allowed((const struct sockaddr *)&local, &networks));
}

static void test_what_is_not_a_network_is_named(void **state) {
    (void)state;
    static const char *const cases[] = {"10.0.0.0/33",
                                        "::/129",
                                        "10.0.0.0/",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/8x",
                                        "10.0.0",
                                        "localhost",
                                        "127.0.0.1,,::1",
                                        "10.0.0.0/ 8",
                                        "1.2.3.4/0x8",
                                        "1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1.1"};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct source_networks networks;
        struct error error = {0};
        if (source_networks_parse(cases[i], &networks, &error) == 0)
            fail_msg("%s is taken", cases[i]);
        assert_message(error, "is not a network such as 10.0.0.0/8 or fd00::/8");
    }
    char *many = memory_new(65 * 10 + 1);
    for (size_t i = 0; i < 65; i++)
        strcat(many, "127.0.0.1,");
    struct source_networks networks;
    struct error error = {0};
    assert_int_equal(source_networks_parse(many, &networks, &error), -1);
    assert_message(error, "More than 64 networks");
    free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_special_range_ends_where_its_registry_says),
        cmocka_unit_test(test_allowed_networks_open_themselves_alone),
        cmocka_unit_test(test_what_is_not_a_network_is_named),
    };

    return cmocka_run_group_tests_name("source_address", tests, NULL, NULL);
}
