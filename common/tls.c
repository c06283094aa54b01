/* Credentials with a count of who uses them, replaced as a whole.
 *
 * libmicrohttpd would take certificates through a callback of its own and the clients' CA once for ever; a session's
 * credentials can be exchanged until its handshake begins, which covers both. */
#include "tls.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "clock.h"
#include "http.h"
#include "log.h"
#include "log_limit.h"
#include "memory.h"
#include "metrics.h"
#include "secret_file.h"
#include "text.h"

enum { FILES = 3 };
static const int64_t CHECK_INTERVAL_MS = 2000;

struct tls_credentials {
    gnutls_certificate_credentials_t certificate;
    bool asks_client;
    atomic_uint references;
};

/* By what a changed file is known. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

struct tls {
    struct tls_files files;
    _Atomic int64_t checked_ms;
    pthread_mutex_t mutex; /* guards all below */
    struct tls_credentials *current;
    struct stamp stamps[FILES]; /* at the last attempt to load */
};

static struct metric loads[] = {
    {.name = "jwk_tls_loads_total", .labels = "result=\"loaded\"", .help = "Times that certificate and key were loaded."},
    {.name = "jwk_tls_loads_total", .labels = "result=\"failed\""},
};
static struct metric expiry = {.name = "jwk_tls_certificate_expiry_seconds",
                               .help = "When the server's certificate expires, in seconds since 1970; 0 without TLS.",
                               .type = METRIC_GAUGE};
static struct metric refused_clients = {.name = "jwk_tls_client_certificates_refused_total",
                                        .help = "Handshakes refused for the client's certificate, or for want of one."};
static struct metric failed_handshakes = {.name = "jwk_tls_handshakes_failed_total",
                                          .help = "Connections that ended before their TLS handshake was complete."};

__attribute__((constructor)) static void register_metrics(void) {
    metrics_register(&loads[0]);
    metrics_register(&loads[1]);
    metrics_register(&expiry);
    metrics_register(&refused_clients);
    metrics_register(&failed_handshakes);
}

void tls_count_failed_handshake(void) {
    metric_add(&failed_handshakes, 1);
}

/* ---- files ---- */

static const char *file_of(const struct tls_files *files, int index) {
    return index == 0 ? files->certificate : index == 1 ? files->key : files->client_ca;
}

static struct stamp stamp_of(const char *path) {
    struct stat status;
    if (path == NULL || stat(path, &status) != 0)
        return (struct stamp){0};
    return (struct stamp){status.st_dev, status.st_ino, status.st_size, status.st_mtim, status.st_ctim};
}

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b) {
    return a->device == b->device && a->inode == b->inode && a->size == b->size && same_time(a->modified, b->modified) &&
           same_time(a->changed, b->changed);
}

/* Reads a file of certificates, all of which can be parsed. The functions of GnuTLS 3.7 that these bytes go to later leak
 * memory where one cannot. The caller frees out->data with gnutls_free(). */
static int read_certificates(const char *what, const char *path, gnutls_datum_t *out, struct error *error) {
    gnutls_x509_crt_t *list = NULL;
    unsigned count = 0;
    errno = 0;
    if (gnutls_load_file(path, out) != GNUTLS_E_SUCCESS)
        return error_set(error, ERROR_INVALID, "The %s %s can not be read: %s", what, path, strerror(errno));
    int result = gnutls_x509_crt_list_import2(&list, &count, out, GNUTLS_X509_FMT_PEM, 0);
    if (result < 0) {
        gnutls_free(out->data);
        out->data = NULL;
        return error_set(error, ERROR_INVALID, "The %s %s can not be read: %s", what, path, gnutls_strerror(result));
    }
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    return 0;
}

/* ---- the client's certificate ---- */

static void describe_peer(gnutls_session_t session, char out[HTTP_PEER_SIZE]) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getpeername(gnutls_transport_get_int(session), (struct sockaddr *)&address, &size) != 0)
        size = 0;
    http_address_text(size > 0 ? (struct sockaddr *)&address : NULL, out);
}

static gnutls_alert_description_t alert_for(int result, unsigned status) {
    if (result == GNUTLS_E_NO_CERTIFICATE_FOUND)
        return GNUTLS_A_CERTIFICATE_REQUIRED;
    if (status & GNUTLS_CERT_EXPIRED)
        return GNUTLS_A_CERTIFICATE_EXPIRED;
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return GNUTLS_A_UNKNOWN_CA;
    return GNUTLS_A_BAD_CERTIFICATE;
}

/* Anybody can cause such lines. */
static void tell_refused(gnutls_session_t session, int result, unsigned status) {
    static struct log_limit limit;
    char peer[HTTP_PEER_SIZE];
    gnutls_datum_t reason = {0};
    int64_t suppressed;
    if (!log_limit_allows(&limit, clock_monotonic_ms(), &suppressed))
        return;
    describe_peer(session, peer);
    if (result == GNUTLS_E_SUCCESS)
        gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &reason, 0);
    log_info("client certificate refused", "peer", peer, "reason",
             reason.data != NULL ? (const char *)reason.data : gnutls_strerror(result), LOG_SUPPRESSED(suppressed));
    gnutls_free(reason.data);
}

/* Called in the handshake when the client's certificate is in, or known to be missing. */
static int verify_client(gnutls_session_t session) {
    gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
    unsigned status = 0;
    int result = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
    if (result == GNUTLS_E_SUCCESS && status == 0)
        return 0;
    tell_refused(session, result, status);
    metric_add(&refused_clients, 1);
    /* libmicrohttpd sends no alerts, and without one the client could not tell its user why. */
    gnutls_alert_send(session, GNUTLS_AL_FATAL, alert_for(result, status));
    return GNUTLS_E_CERTIFICATE_ERROR;
}

/* ---- loading ---- */

static void credentials_free(struct tls_credentials *credentials) {
    if (credentials->certificate != NULL)
        gnutls_certificate_free_credentials(credentials->certificate);
    free(credentials);
}

void tls_credentials_give(struct tls_credentials *credentials) {
    if (credentials != NULL && atomic_fetch_sub(&credentials->references, 1) == 1)
        credentials_free(credentials);
}

/* When the certificate expires, or -1. */
static int64_t expiry_of(const struct tls_credentials *credentials) {
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    if (gnutls_certificate_get_x509_crt(credentials->certificate, 0, &chain, &count) != GNUTLS_E_SUCCESS)
        return -1;
    int64_t result = count > 0 ? (int64_t)gnutls_x509_crt_get_expiration_time(chain[0]) : -1;
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return result;
}

static int set_certificate(struct tls_credentials *credentials, const struct tls_files *files, struct error *error) {
    gnutls_datum_t certificate = {0};
    struct text key = TEXT_EMPTY;
    if (secret_file_read("TLS key", files->key, &key, error))
        return -1;
    int status = read_certificates("TLS certificate", files->certificate, &certificate, error);
    if (status == 0) {
        gnutls_datum_t bytes = {(unsigned char *)key.bytes, (unsigned)key.length};
        int result =
            gnutls_certificate_set_x509_key_mem2(credentials->certificate, &certificate, &bytes, GNUTLS_X509_FMT_PEM, NULL, 0);
        if (result < 0)
            status = error_set(error, ERROR_INVALID, "The TLS certificate %s and the key %s can not be used: %s",
                               files->certificate, files->key, gnutls_strerror(result));
    }
    text_wipe(&key);
    gnutls_free(certificate.data);
    return status;
}

static int set_client_ca(struct tls_credentials *credentials, const char *path, struct error *error) {
    gnutls_datum_t bytes = {0};
    if (read_certificates("CA of clients", path, &bytes, error))
        return -1;
    int result = gnutls_certificate_set_x509_trust_mem(credentials->certificate, &bytes, GNUTLS_X509_FMT_PEM);
    gnutls_free(bytes.data);
    if (result < 0)
        return error_set(error, ERROR_INVALID, "The CA of clients %s can not be used: %s", path, gnutls_strerror(result));
    credentials->asks_client = true;
    gnutls_certificate_set_verify_function(credentials->certificate, verify_client);
    return 0;
}

static struct tls_credentials *load(const struct tls_files *files, struct error *error) {
    struct tls_credentials *credentials = memory_new(sizeof *credentials);
    atomic_init(&credentials->references, 1);
    int status = 0;
    if (gnutls_certificate_allocate_credentials(&credentials->certificate) != GNUTLS_E_SUCCESS)
        status = error_set(error, ERROR_UNAVAILABLE, "out of memory for TLS credentials");
    if (status == 0)
        status = set_certificate(credentials, files, error);
    if (status == 0 && files->client_ca != NULL)
        status = set_client_ca(credentials, files->client_ca, error);
    if (status == 0)
        return credentials;
    credentials_free(credentials);
    return NULL;
}

/* With the mutex held, or before there are threads. Stamps are taken first: a file that changes while it is read is read again.
 */
static int load_current(struct tls *tls, struct error *error) {
    for (int i = 0; i < FILES; i++)
        tls->stamps[i] = stamp_of(file_of(&tls->files, i));
    struct tls_credentials *credentials = load(&tls->files, error);
    metric_add(&loads[credentials == NULL], 1);
    if (credentials == NULL)
        return -1;
    tls_credentials_give(tls->current);
    tls->current = credentials;
    int64_t expires = expiry_of(credentials);
    char text[CLOCK_TEXT_SIZE];
    metric_set(&expiry, expires);
    clock_format(expires * 1000, text);
    if (expires * 1000 <= clock_wall_ms())
        log_warning("TLS certificate has expired", "file", tls->files.certificate, "expires", text);
    else
        log_info("TLS certificate loaded", "file", tls->files.certificate, "expires", text);
    return 0;
}

/* With the mutex held. */
static void load_again(struct tls *tls) {
    struct error error;
    if (load_current(tls, &error))
        log_error("TLS certificate not loaded, the one before stays in use", "reason", error.message);
}

struct tls *tls_open(const struct tls_files *files, struct error *error) {
    struct tls *tls = memory_new(sizeof *tls);
    tls->files = *files;
    pthread_mutex_init(&tls->mutex, NULL);
    if (load_current(tls, error)) {
        if (error->code != ERROR_UNAVAILABLE)
            error->code = ERROR_INVALID; /* whatever is wrong with the files: for the operator to mend */
        tls_close(tls);
        return NULL;
    }
    return tls;
}

void tls_close(struct tls *tls) {
    if (tls == NULL)
        return;
    tls_credentials_give(tls->current);
    pthread_mutex_destroy(&tls->mutex);
    free(tls);
}

void tls_reload(struct tls *tls) {
    pthread_mutex_lock(&tls->mutex);
    load_again(tls);
    pthread_mutex_unlock(&tls->mutex);
}

int tls_no_certificate(gnutls_session_t session, const gnutls_datum_t *issuers, int issuer_count,
                       const gnutls_pk_algorithm_t *algorithms, int algorithm_count, gnutls_pcert_st **certificates,
                       unsigned *certificate_count, gnutls_privkey_t *key) {
    (void)session, (void)issuers, (void)issuer_count, (void)algorithms, (void)algorithm_count;
    *certificates = NULL;
    *certificate_count = 0;
    *key = NULL;
    return -1;
}

/* Whether it is this caller's turn to look at the files. */
static bool is_time_to_check(struct tls *tls, int64_t now_ms) {
    int64_t checked = atomic_load(&tls->checked_ms);
    return now_ms - checked >= CHECK_INTERVAL_MS && atomic_compare_exchange_strong(&tls->checked_ms, &checked, now_ms);
}

static bool files_changed(const struct tls *tls) {
    for (int i = 0; i < FILES; i++) {
        struct stamp stamp = stamp_of(file_of(&tls->files, i));
        if (!same_stamp(&stamp, &tls->stamps[i]))
            return true;
    }
    return false;
}

struct tls_credentials *tls_attach(struct tls *tls, gnutls_session_t session, int64_t now_ms) {
    bool check = is_time_to_check(tls, now_ms);
    pthread_mutex_lock(&tls->mutex);
    if (check && files_changed(tls))
        load_again(tls);
    struct tls_credentials *credentials = tls->current;
    atomic_fetch_add(&credentials->references, 1);
    pthread_mutex_unlock(&tls->mutex);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials->certificate);
    /* Asked for and not required: then verify_client() gets to tell why. It refuses those who show none. */
    if (credentials->asks_client)
        gnutls_certificate_server_set_request(session, GNUTLS_CERT_REQUEST);
    return credentials;
}
