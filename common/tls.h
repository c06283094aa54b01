/* TLS of the HTTP servers: certificate, key and the CA of clients, read from files and read again when these change.
 *
 * Each connection keeps what it began with; a new one gets what was loaded last. Files that cannot be used are reported and
 * what was loaded before stays in use. */
#ifndef COMMON_TLS_H
#define COMMON_TLS_H

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdint.h>

#include "error.h"

/* TLS 1.2 and 1.3, with forward secrecy and authenticated encryption only, the server's order first: what RFC 9325 section 4.2
 * recommends. */
#define TLS_PRIORITIES                                                                                                        \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA:-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:" \
    "+AES-128-GCM:-MAC-ALL:+AEAD:%SERVER_PRECEDENCE"

struct tls_files {
    const char *certificate; /* PEM: the server's certificate, then those between it and a root */
    const char *key;         /* PEM, unencrypted, readable for its owner alone */
    const char *client_ca;   /* PEM: who signs the certificates that clients must show; NULL: none are asked for */
};

struct tls;
struct tls_credentials; /* what was loaded at one time */

/* Loads the files; the paths must outlive it. NULL with an error that names the file and what to do. */
struct tls *tls_open(const struct tls_files *files, struct error *error) MUST_CHECK;
void tls_close(struct tls *tls);
/* Loads the files again now. Logs what came of it. Thread-safe. */
void tls_reload(struct tls *tls);
/* Sets a session up before its handshake, with files loaded again if they have changed (looked at once every two seconds at
 * most). Returns what is to be given back when the session has ended. Thread-safe. */
struct tls_credentials *tls_attach(struct tls *tls, gnutls_session_t session, int64_t now_ms);
void tls_credentials_give(struct tls_credentials *credentials);

/* A gnutls_certificate_retrieve_function2 that finds none: libmicrohttpd wants some source of certificates at its start, and
 * every session gets its own from tls_attach(). */
int tls_no_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int issuer_count,
                       const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **certificates,
                       unsigned *certificate_count, gnutls_privkey_t *key);

/* Counts a connection that ended before its handshake was complete. */
void tls_count_failed_handshake(void);

#endif
