/* Merkle trees as in RFC 9162 section 2.1, over SHA-256: one root stands for a list of entries, and a short path proves that an
 * entry is in it. A leaf is SHA-256(0x00 || entry), a node SHA-256(0x01 || left || right); a node without a sibling goes up a
 * level as it is. All functions may be called from several threads, each with a hasher of its own. */
#ifndef COMMON_MERKLE_H
#define COMMON_MERKLE_H

#include <stddef.h>

enum {
    MERKLE_HASH_SIZE = 32,
    MERKLE_LEAVES_MAX = 4096,
    MERKLE_PATH_MAX = 12, /* hashes: the tree of that many leaves has so many levels of nodes */
};

/* What hashes, to be used again and again. merkle_hasher_new() never gives NULL: without SHA-256, or memory, the process exits with
 * a message. */
struct merkle_hasher;
struct merkle_hasher *merkle_hasher_new(void);
void merkle_hasher_free(struct merkle_hasher *hasher);

/* A leaf is hashed in pieces: begun, given bytes any number of times, finished. */
void merkle_leaf_begin(struct merkle_hasher *hasher);
void merkle_leaf_add(struct merkle_hasher *hasher, const void *bytes, size_t length);
void merkle_leaf_finish(struct merkle_hasher *hasher, unsigned char leaf[MERKLE_HASH_SIZE]);

/* The hashes that a tree over count leaves (1 to MERKLE_LEAVES_MAX) has in all. */
size_t merkle_node_count(size_t count);
/* nodes has room for merkle_node_count() hashes and begins with the count leaves; the levels above are put behind them. The
 * root is the last one. */
void merkle_build(struct merkle_hasher *hasher, unsigned char (*nodes)[MERKLE_HASH_SIZE], size_t count);
/* How many hashes the path from leaf index (less than count) to the root has. */
size_t merkle_path_length(size_t index, size_t count);
/* Copies the path out of a tree that merkle_build() made: the siblings, from the leaf's to the one under the root. Returns
 * their number. */
size_t merkle_path(const unsigned char (*nodes)[MERKLE_HASH_SIZE], size_t index, size_t count,
                   unsigned char path[MERKLE_PATH_MAX][MERKLE_HASH_SIZE]);
/* The root to which a leaf leads by its path of merkle_path_length() hashes. The hasher remembers nodes: the leaves of one tree, one
 * after the other, cost about one hash each. */
void merkle_root(struct merkle_hasher *hasher, const unsigned char leaf[MERKLE_HASH_SIZE], size_t index, size_t count,
                 const unsigned char (*path)[MERKLE_HASH_SIZE], unsigned char root[MERKLE_HASH_SIZE]);

#endif
