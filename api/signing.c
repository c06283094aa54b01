/* The key that the API signs with. */
#include "signing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/memory.h"
#include "store_signing.h"

struct signing {
    pthread_mutex_t lock; /* guards the signer */
    struct signer *signer;
};

struct signing *signing_new(struct signer *signer) {
    struct signing *signing = memory_new(sizeof *signing);
    pthread_mutex_init(&signing->lock, NULL);
    signing->signer = signer;
    return signing;
}

void signing_free(struct signing *signing) {
    if (!signing)
        return;
    signer_free(signing->signer);
    pthread_mutex_destroy(&signing->lock);
    free(signing);
}

void signing_replace(struct signing *signing, struct signer *signer) {
    pthread_mutex_lock(&signing->lock);
    struct signer *old = signing->signer;
    signing->signer = signer;
    pthread_mutex_unlock(&signing->lock);
    signer_free(old);
}

static void trust_key(void *context, const struct store_signing_key *key) {
    struct error ignored;
    struct jwk *jwk = jwk_from_text(key->public_key, strlen(key->public_key), NULL, &ignored);
    if (!jwk || verifier_trust(context, jwk, INT64_MAX, &ignored))
        log_error("a signing key can not be read", "kid", key->kid, "reason", ignored.message);
    jwk_free(jwk);
}

int signing_trust_own(struct verifier *verifier, struct store *store, struct error *error) {
    return store_each_signing_key(store, trust_key, verifier, error);
}

void signing_kid(struct signing *signing, char kid[SHA256_TEXT_SIZE]) {
    pthread_mutex_lock(&signing->lock);
    strcpy(kid, signer_kid(signing->signer)); /* a thumbprint, of that size */
    pthread_mutex_unlock(&signing->lock);
}

struct signed_batch *signing_sign(struct signing *signing, const unsigned char (*leaves)[32], size_t count) {
    pthread_mutex_lock(&signing->lock);
    struct signed_batch *batch = signature_sign(signing->signer, leaves, count);
    pthread_mutex_unlock(&signing->lock);
    return batch;
}

char *signing_sign_text(struct signing *signing, const char *payload, size_t length) {
    pthread_mutex_lock(&signing->lock);
    char *jws = signature_sign_text(signing->signer, payload, length);
    pthread_mutex_unlock(&signing->lock);
    return jws;
}

/* ---- following the store ---- */

struct signing_watch {
    struct signing *signing;
    struct signer *found; /* the store's active key, when it is another one */
};

struct signing_watch *signing_watch_new(struct signing *signing) {
    struct signing_watch *watch = memory_new(sizeof *watch);
    watch->signing = signing;
    return watch;
}

void signing_watch_free(struct signing_watch *watch) {
    if (!watch)
        return;
    signer_free(watch->found);
    free(watch);
}

int signing_watch_look(void *context, struct store *store, struct error *error) {
    struct signing_watch *watch = context;
    char present[SHA256_TEXT_SIZE];
    signing_kid(watch->signing, present);
    return store_load_other_signer(store, present, &watch->found, error);
}

void signing_watch_act(void *context) {
    struct signing_watch *watch = context;
    if (!watch->found)
        return;
    log_info("events are signed with another key", "kid", signer_kid(watch->found));
    signing_replace(watch->signing, watch->found);
    watch->found = NULL;
}
