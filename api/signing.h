/* The key that the API signs with: its events and its audit trail.
 *
 * Shared by the threads that sign (the writer and the publisher's thread): a mutex makes the one-thread signer one at a time,
 * for the 15 microseconds that a signature takes. Another key may take its place at any moment; what is signed from then on
 * has the new one's kid. All functions are thread-safe. */
#ifndef API_SIGNING_H
#define API_SIGNING_H

#include "common/signature.h"
#include "store.h"

struct signing;

/* Takes the signer. */
struct signing *signing_new(struct signer *signer);
void signing_free(struct signing *signing); /* NULL is allowed */
/* Takes the signer, which signs from now on. */
void signing_replace(struct signing *signing, struct signer *signer);
/* Copies the kid of the present key. */
void signing_kid(struct signing *signing, char kid[SHA256_TEXT_SIZE]);

/* As signature_sign(). */
struct signed_batch *signing_sign(struct signing *signing, const unsigned char (*leaves)[32], size_t count);
/* As signature_sign_text(): a compact JWS with its payload attached, freed with free(). */
char *signing_sign_text(struct signing *signing, const char *payload, size_t length) MUST_CHECK;

/* Has the verifier trust every key that the store ever had, without end. */
int signing_trust_own(struct verifier *verifier, struct store *store, struct error *error) MUST_CHECK;

/* Following the store's active key while serving (notify.h). */
struct signing_watch;
struct signing_watch *signing_watch_new(struct signing *signing);
void signing_watch_free(struct signing_watch *watch); /* after the writer has ended; NULL is allowed */
int signing_watch_look(void *watch, struct store *store, struct error *error) MUST_CHECK;
void signing_watch_act(void *watch);

#endif
