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

EVP_MD_CTX *merkle_context_new(void) {
    pthread_once(&digest_once, fetch_digest);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    need(digest && context);
    return context;
}

void merkle_leaf_begin(EVP_MD_CTX *context) {
    static const unsigned char prefix = 0x00;
    need(EVP_DigestInit_ex2(context, digest, NULL) == 1 && EVP_DigestUpdate(context, &prefix, 1) == 1);
}

void merkle_leaf_add(EVP_MD_CTX *context, const void *bytes, size_t length) {
    need(EVP_DigestUpdate(context, bytes, length) == 1);
}

void merkle_leaf_finish(EVP_MD_CTX *context, unsigned char leaf[MERKLE_HASH_SIZE]) {
    need(EVP_DigestFinal_ex(context, leaf, NULL) == 1);
}

/* node may be left or right. */
static void hash_node(EVP_MD_CTX *context, const unsigned char *left, const unsigned char *right, unsigned char *node) {
    unsigned char input[1 + 2 * MERKLE_HASH_SIZE] = {0x01};
    memcpy(input + 1, left, MERKLE_HASH_SIZE);
    memcpy(input + 1 + MERKLE_HASH_SIZE, right, MERKLE_HASH_SIZE);
    need(EVP_DigestInit_ex2(context, digest, NULL) == 1 && EVP_DigestUpdate(context, input, sizeof input) == 1 &&
         EVP_DigestFinal_ex(context, node, NULL) == 1);
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

void merkle_build(EVP_MD_CTX *context, unsigned char (*nodes)[MERKLE_HASH_SIZE], size_t count) {
    for (size_t width = count; width > 1;) {
        unsigned char(*above)[MERKLE_HASH_SIZE] = nodes + width;
        for (size_t i = 0; i < width; i += 2) {
            if (has_sibling(i, width))
                hash_node(context, nodes[i], nodes[i + 1], above[i / 2]);
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

void merkle_root(EVP_MD_CTX *context, const unsigned char leaf[MERKLE_HASH_SIZE], size_t index, size_t count,
                 const unsigned char (*path)[MERKLE_HASH_SIZE], unsigned char root[MERKLE_HASH_SIZE]) {
    memcpy(root, leaf, MERKLE_HASH_SIZE);
    for (size_t width = count; width > 1; width = (width + 1) / 2, index /= 2) {
        if (!has_sibling(index, width))
            continue;
        if (index % 2 == 1)
            hash_node(context, *path++, root, root);
        else
            hash_node(context, root, *path++, root);
    }
}
