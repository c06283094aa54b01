/* Merkle trees, built level by level: pairing from the left and letting the odd one go up gives the tree that RFC 9162 section
 * 2.1.1 defines by splitting at the largest power of two, without its recursion. */
#include "common/merkle.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "common/log.h"
#include "common/memory.h"

/* Fetched once: a fetch at each digest takes locks of the library's context that all threads share. */
static EVP_MD *digest;
static pthread_once_t digest_once = PTHREAD_ONCE_INIT;

static void fetch_digest(void) {
    digest = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* A hash that can not be computed can not be done without either: going on would sign, or believe, something else. */
static void need(bool done) {
    if (done)
        return;
    log_error("SHA-256 failed", "error", "the cryptographic library has no SHA-256 or no memory");
    exit(EX_OSERR);
}

enum {
    PIECES_SIZE = 1024, /* most records: their many short members are not worth a call of the library each */
    /* Nodes that are remembered, powers of two: twice as many as the largest batch that was seen has, so that two batches that
     * come by turns fit in, within these bounds. */
    KNOWN_MIN = 32,
    KNOWN_MAX = 1024,
};

/* A node as it was computed. No hash is all zeros: the slot is free then. */
struct known {
    unsigned char children[2][MERKLE_HASH_SIZE], node[MERKLE_HASH_SIZE];
};

struct merkle_hasher {
    EVP_MD_CTX *context;
    unsigned char pieces[PIECES_SIZE]; /* of a leaf, not yet hashed */
    size_t length;                     /* of pieces */
    struct known *known;               /* each in the slot that its left child names */
    size_t known_count;
};

struct merkle_hasher *merkle_hasher_new(void) {
    pthread_once(&digest_once, fetch_digest);
    struct merkle_hasher *hasher = memory_resize(NULL, sizeof *hasher);
    hasher->context = EVP_MD_CTX_new();
    hasher->length = 0;
    hasher->known = NULL;
    hasher->known_count = 0;
    need(digest && hasher->context);
    return hasher;
}

void merkle_hasher_free(struct merkle_hasher *hasher) {
    if (!hasher)
        return;
    EVP_MD_CTX_free(hasher->context);
    free(hasher->known);
    free(hasher);
}

static void begin(struct merkle_hasher *hasher) {
    need(EVP_DigestInit_ex2(hasher->context, digest, NULL) == 1);
}

static void update(struct merkle_hasher *hasher, const void *bytes, size_t length) {
    need(EVP_DigestUpdate(hasher->context, bytes, length) == 1);
}

static void finish(struct merkle_hasher *hasher, unsigned char *hash) {
    need(EVP_DigestFinal_ex(hasher->context, hash, NULL) == 1);
}

void merkle_leaf_begin(struct merkle_hasher *hasher) {
    begin(hasher);
    hasher->pieces[0] = 0x00;
    hasher->length = 1;
}

void merkle_leaf_add(struct merkle_hasher *hasher, const void *bytes, size_t length) {
    if (length > sizeof hasher->pieces - hasher->length) {
        update(hasher, hasher->pieces, hasher->length);
        hasher->length = 0;
    }
    if (length > sizeof hasher->pieces) {
        update(hasher, bytes, length);
        return;
    }
    memcpy(hasher->pieces + hasher->length, bytes, length);
    hasher->length += length;
}

void merkle_leaf_finish(struct merkle_hasher *hasher, unsigned char leaf[MERKLE_HASH_SIZE]) {
    update(hasher, hasher->pieces, hasher->length);
    finish(hasher, leaf);
}

static void hash_node(struct merkle_hasher *hasher, const unsigned char *left, const unsigned char *right, unsigned char *node) {
    unsigned char input[1 + 2 * MERKLE_HASH_SIZE] = {0x01};
    memcpy(input + 1, left, MERKLE_HASH_SIZE);
    memcpy(input + 1 + MERKLE_HASH_SIZE, right, MERKLE_HASH_SIZE);
    begin(hasher);
    update(hasher, input, sizeof input);
    finish(hasher, node);
}

/* A batch of one has no nodes: what verifies nothing else, as presence, needs no room for them. */
static void make_room(struct merkle_hasher *hasher, size_t count) {
    size_t wanted = KNOWN_MIN;
    while (wanted < KNOWN_MAX && wanted < 2 * count)
        wanted *= 2;
    if (count < 2 || wanted <= hasher->known_count)
        return;
    free(hasher->known);
    hasher->known = memory_new(wanted * sizeof *hasher->known);
    hasher->known_count = wanted;
}

/* The same node, without hashing when it was the last one whose left child fell into this slot. node may be left or right. */
static void find_node(struct merkle_hasher *hasher, const unsigned char *left, const unsigned char *right, unsigned char *node) {
    struct known *known = &hasher->known[(size_t)(left[0] | left[1] << 8) % hasher->known_count];
    if (memcmp(known->children[0], left, MERKLE_HASH_SIZE) != 0 || memcmp(known->children[1], right, MERKLE_HASH_SIZE) != 0) {
        memcpy(known->children[0], left, MERKLE_HASH_SIZE);
        memcpy(known->children[1], right, MERKLE_HASH_SIZE);
        hash_node(hasher, known->children[0], known->children[1], known->node);
    }
    memcpy(node, known->node, MERKLE_HASH_SIZE);
}

/* In a level of that width; only the last node of an odd one has none. */
static bool has_sibling(size_t index, size_t width) {
    return (index ^ 1) < width;
}

size_t merkle_node_count(size_t count) {
    size_t total = count;
    for (size_t width = count; width > 1;) {
        width = (width + 1) / 2;
        total += width;
    }
    return total;
}

void merkle_build(struct merkle_hasher *hasher, unsigned char (*nodes)[MERKLE_HASH_SIZE], size_t count) {
    for (size_t width = count; width > 1;) {
        unsigned char(*above)[MERKLE_HASH_SIZE] = nodes + width;
        for (size_t i = 0; i < width; i += 2) {
            if (has_sibling(i, width))
                hash_node(hasher, nodes[i], nodes[i + 1], above[i / 2]);
            else
                memcpy(above[i / 2], nodes[i], MERKLE_HASH_SIZE);
        }
        nodes = above;
        width = (width + 1) / 2;
    }
}

size_t merkle_path_length(size_t index, size_t count) {
    size_t length = 0;
    for (size_t width = count; width > 1; width = (width + 1) / 2, index /= 2)
        length += has_sibling(index, width);
    return length;
}

size_t merkle_path(const unsigned char (*nodes)[MERKLE_HASH_SIZE], size_t index, size_t count,
                   unsigned char path[MERKLE_PATH_MAX][MERKLE_HASH_SIZE]) {
    size_t length = 0;
    for (size_t width = count; width > 1; width = (width + 1) / 2, index /= 2) {
        if (has_sibling(index, width))
            memcpy(path[length++], nodes[index ^ 1], MERKLE_HASH_SIZE);
        nodes += width;
    }
    return length;
}

void merkle_root(struct merkle_hasher *hasher, const unsigned char leaf[MERKLE_HASH_SIZE], size_t index, size_t count,
                 const unsigned char (*path)[MERKLE_HASH_SIZE], unsigned char root[MERKLE_HASH_SIZE]) {
    make_room(hasher, count);
    memcpy(root, leaf, MERKLE_HASH_SIZE);
    for (size_t width = count; width > 1; width = (width + 1) / 2, index /= 2) {
        if (!has_sibling(index, width))
            continue;
        if (index % 2 == 1)
            find_node(hasher, *path++, root, root);
        else
            find_node(hasher, root, *path++, root);
    }
}
