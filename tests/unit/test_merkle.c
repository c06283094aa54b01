/* Merkle trees: the roots of Certificate Transparency's published tree, and every path of trees of all shapes against the
 * recursive definition of RFC 9162 section 2.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>

#include "common/identifier.h"
#include "common/memory.h"
#include "common/merkle.h"

typedef unsigned char hash_t[MERKLE_HASH_SIZE];

static void assert_hex(const hash_t hash, const char *hex) {
    char text[2 * MERKLE_HASH_SIZE + 1];
    for (size_t i = 0; i < MERKLE_HASH_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    assert_string_equal(text, hex);
}

/* The entries of the reference tree, and the root over the first of them, the first two, … */
static const struct {
    size_t length;
    const char *entry, *root;
} reference[] = {
    {0, "", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
    {1, "\x00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"},
    {1, "\x10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"},
    {2, "\x20\x21", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"},
    {2, "\x30\x31", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"},
    {4, "\x40\x41\x42\x43", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"},
    {8, "\x50\x51\x52\x53\x54\x55\x56\x57", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"},
    {16, "\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
     "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"},
};
enum { REFERENCE_COUNT = sizeof reference / sizeof reference[0] };

static void roots_are_those_of_the_reference_tree(void **state) {
    (void)state;
    struct merkle_hasher *hasher = merkle_hasher_new();
    for (size_t count = 1; count <= REFERENCE_COUNT; count++) {
        hash_t nodes[4 * REFERENCE_COUNT];
        for (size_t i = 0; i < count; i++) {
            merkle_leaf_begin(hasher);
            /* In two pieces, which must not matter. */
            merkle_leaf_add(hasher, reference[i].entry, reference[i].length / 2);
            merkle_leaf_add(hasher, reference[i].entry + reference[i].length / 2, reference[i].length - reference[i].length / 2);
            merkle_leaf_finish(hasher, nodes[i]);
        }
        merkle_build(hasher, nodes, count);
        assert_hex(nodes[merkle_node_count(count) - 1], reference[count - 1].root);
    }
    merkle_hasher_free(hasher);
}

static void a_leaf_may_come_in_pieces_of_any_size(void **state) {
    (void)state;
    enum { LONGEST = 4096 };
    static const size_t pieces[] = {1, 7, 64, 1000, 1023, 1024, 1025, 2048, LONGEST};
    unsigned char entry[1 + LONGEST] = {0}; /* with the prefix of a leaf */
    for (size_t i = 1; i < sizeof entry; i++)
        entry[i] = (unsigned char)(i * 31 + i / 256);
    struct merkle_hasher *hasher = merkle_hasher_new();
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        for (size_t length = 0; length <= LONGEST; length += length < 1000 || length > 1050 ? 97 : 1) {
            hash_t leaf, expected;
            merkle_leaf_begin(hasher);
            for (size_t at = 0; at < length; at += pieces[i])
                merkle_leaf_add(hasher, entry + 1 + at, length - at < pieces[i] ? length - at : pieces[i]);
            merkle_leaf_finish(hasher, leaf);
            sha256_bytes(entry, 1 + length, expected);
            assert_memory_equal(leaf, expected, sizeof leaf);
        }
    }
    merkle_hasher_free(hasher);
}

/* RFC 9162 section 2.1.1, as it stands there. */
static void defined_root(const hash_t *leaves, size_t count, hash_t root) {
    if (count == 1) {
        memcpy(root, leaves[0], sizeof(hash_t));
        return;
    }
    size_t left = 1;
    while (2 * left < count)
        left *= 2;
    unsigned char input[1 + 2 * sizeof(hash_t)] = {1};
    defined_root(leaves, left, input + 1);
    defined_root(leaves + left, count - left, input + 1 + sizeof(hash_t));
    sha256_bytes(input, sizeof input, root);
}

/* RFC 9162 section 2.1.3.1. */
static size_t defined_path(const hash_t *leaves, size_t index, size_t count, hash_t *path) {
    if (count == 1)
        return 0;
    size_t left = 1, length;
    while (2 * left < count)
        left *= 2;
    if (index < left) {
        length = defined_path(leaves, index, left, path);
        defined_root(leaves + left, count - left, path[length]);
    } else {
        length = defined_path(leaves + left, index - left, count - left, path);
        defined_root(leaves, left, path[length]);
    }
    return length + 1;
}

static hash_t *tree_of(struct merkle_hasher *hasher, size_t count) {
    hash_t *nodes = memory_new(merkle_node_count(count) * sizeof *nodes);
    for (size_t i = 0; i < count; i++)
        sha256_bytes(&i, sizeof i, nodes[i]);
    merkle_build(hasher, nodes, count);
    return nodes;
}

static void check_path(struct merkle_hasher *hasher, const hash_t *nodes, size_t index, size_t count, bool by_definition) {
    hash_t path[MERKLE_PATH_MAX], defined[MERKLE_PATH_MAX], root;
    size_t length = merkle_path(nodes, index, count, path);
    assert_int_equal(length, merkle_path_length(index, count));
    if (by_definition) {
        assert_int_equal(length, defined_path(nodes, index, count, defined));
        assert_memory_equal(path, defined, length * sizeof path[0]);
    }
    merkle_root(hasher, nodes[index], index, count, (const hash_t *)path, root);
    assert_memory_equal(root, nodes[merkle_node_count(count) - 1], sizeof root);
    /* No other leaf, no other place and no other sibling leads there. */
    hash_t other;
    merkle_root(hasher, root, index, count, (const hash_t *)path, other);
    if (length > 0) {
        assert_memory_not_equal(other, root, sizeof root);
        merkle_root(hasher, nodes[index], index ^ 1, count, (const hash_t *)path, other);
        assert_memory_not_equal(other, root, sizeof root);
        path[length - 1][0] ^= 1;
        merkle_root(hasher, nodes[index], index, count, (const hash_t *)path, other);
        assert_memory_not_equal(other, root, sizeof root);
    }
}

static void every_leaf_of_every_shape_leads_to_the_root(void **state) {
    (void)state;
    struct merkle_hasher *hasher = merkle_hasher_new();
    for (size_t count = 1; count <= 67; count++) {
        hash_t *nodes = tree_of(hasher, count), root;
        defined_root((const hash_t *)nodes, count, root);
        assert_memory_equal(root, nodes[merkle_node_count(count) - 1], sizeof root);
        for (size_t index = 0; index < count; index++)
            check_path(hasher, (const hash_t *)nodes, index, count, true);
        free(nodes);
    }
    merkle_hasher_free(hasher);
}

static void the_largest_trees_fit(void **state) {
    (void)state;
    static const size_t counts[] = {2047, 2049, MERKLE_LEAVES_MAX - 1, MERKLE_LEAVES_MAX};
    struct merkle_hasher *hasher = merkle_hasher_new();
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        hash_t *nodes = tree_of(hasher, counts[i]);
        for (size_t index = 0; index < counts[i]; index += 61)
            check_path(hasher, (const hash_t *)nodes, index, counts[i], false);
        check_path(hasher, (const hash_t *)nodes, counts[i] - 1, counts[i], true);
        free(nodes);
    }
    merkle_hasher_free(hasher);
    assert_int_equal(merkle_path_length(0, MERKLE_LEAVES_MAX), MERKLE_PATH_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots_are_those_of_the_reference_tree),
        cmocka_unit_test(a_leaf_may_come_in_pieces_of_any_size),
        cmocka_unit_test(every_leaf_of_every_shape_leads_to_the_root),
        cmocka_unit_test(the_largest_trees_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
