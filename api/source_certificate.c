/* Reading X.509 strictly, and what a JWK says of a certificate (RFC 7517 sections 4.7 and 4.9). */
#include "api/source_certificate.h"

#include <ctype.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/identifier.h"
#include "common/memory.h"

static const char label[] = "Certificate";

void source_certificate_clear(struct source_certificate *certificate) {
    source_key_clear(&certificate->key);
    for (size_t i = 0; i < certificate->count; i++)
        free(certificate->x5c[i]);
    free(certificate->subject);
    free(certificate->issuer);
    free(certificate->serial);
    *certificate = SOURCE_CERTIFICATE_EMPTY;
}

bool source_certificate_is_expired(const struct source_certificate *certificate, int64_t now_seconds) {
    return now_seconds > certificate->not_after;
}

static int read_time(const ASN1_TIME *time, int64_t *seconds) {
    struct tm broken_down = {0};

    if (ASN1_TIME_to_tm(time, &broken_down) != 1)
        return -1;
    *seconds = (int64_t)timegm(&broken_down);
    return 0;
}

/* Standard base64 of the certificate's DER (RFC 7517 section 4.7), and its SHA-256. */
static char *encode(X509 *x509, char thumbprint[SHA256_TEXT_SIZE]) {
    unsigned char *der = NULL;
    int size = i2d_X509(x509, &der);

    if (size <= 0)
        return NULL;
    char *text = memory_new((size_t)size * 4 / 3 + 5);
    EVP_EncodeBlock((unsigned char *)text, der, size);
    if (thumbprint != NULL)
        sha256_text(der, (size_t)size, thumbprint);
    OPENSSL_free(der);
    return text;
}

static char *read_name(const X509_NAME *name) {
    BIO *out = BIO_new(BIO_s_mem());
    char *bytes = NULL;

    if (out == NULL || X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) < 0) {
        BIO_free(out);
        return memory_string("");
    }
    long length = BIO_get_mem_data(out, &bytes);
    char *text = memory_bytes(length > 0 ? bytes : "", length > 0 ? (size_t)length : 0);
    BIO_free(out);
    return text;
}

static char *read_serial(const X509 *x509) {
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x509), NULL);
    char *digits = number == NULL ? NULL : BN_bn2hex(number);
    char *text = memory_string(digits == NULL ? "" : digits);

    OPENSSL_free(digits);
    BN_free(number);
    return text;
}

/* Each certificate must be certified by the next (RFC 7517 section 4.7). */
static int check_chain(X509 *const *chain, size_t count, struct error *error) {
    for (size_t i = 0; i + 1 < count; i++) {
        EVP_PKEY *issuer_key = X509_get0_pubkey(chain[i + 1]);
        if (X509_check_issued(chain[i + 1], chain[i]) != X509_V_OK || issuer_key == NULL ||
            X509_verify(chain[i], issuer_key) != 1)
            return error_set(
                error, ERROR_INVALID,
                "Certificate %zu of the chain is not issued by certificate %zu! The key's own certificate comes first, "
                "then its issuer.",
                i + 1, i + 2);
    }
    return 0;
}

int source_certificate_from_chain(X509 *const *chain, size_t count, struct source_certificate *certificate,
                                  struct error *error) {
    *certificate = SOURCE_CERTIFICATE_EMPTY;
    EVP_PKEY *pkey = X509_get_pubkey(chain[0]);
    if (pkey == NULL) {
        error_set(error, ERROR_INVALID, "Certificate has a public key that is damaged or of a type that is not supported!");
        goto failed;
    }
    if (source_key_take("Certificate's public key", pkey, false, &certificate->key, error) < 0 ||
        check_chain(chain, count, error) < 0)
        goto failed;
    for (size_t i = 0; i < count; i++) {
        certificate->x5c[i] = encode(chain[i], i == 0 ? certificate->x5t_s256 : NULL);
        if (certificate->x5c[i] == NULL) {
            error_set(error, ERROR_INVALID, "Certificate is damaged!");
            goto failed;
        }
        certificate->count++;
    }
    if (read_time(X509_get0_notBefore(chain[0]), &certificate->not_before) < 0 ||
        read_time(X509_get0_notAfter(chain[0]), &certificate->not_after) < 0) {
        error_set(error, ERROR_INVALID, "Certificate has no readable validity!");
        goto failed;
    }
    if (certificate->not_after < certificate->not_before) {
        error_set(error, ERROR_INVALID, "Certificate ends before it begins!");
        goto failed;
    }
    certificate->subject = read_name(X509_get_subject_name(chain[0]));
    certificate->issuer = read_name(X509_get_issuer_name(chain[0]));
    certificate->serial = read_serial(chain[0]);
    ERR_clear_error();
    return 0;
failed:
    ERR_clear_error();
    source_certificate_clear(certificate);
    return -1;
}

/* One certificate, and nothing behind it. */
static X509 *read_der(const unsigned char *bytes, size_t size, struct error *error) {
    const unsigned char *at = bytes;
    X509 *x509 = d2i_X509(NULL, &at, (long)size);

    ERR_clear_error();
    if (x509 == NULL) {
        error_set(error, ERROR_INVALID, "Certificate is not PEM or DER encoded X.509, or is truncated or damaged!");
    } else if (at != bytes + size) {
        error_set(error, ERROR_INVALID, "Certificate has other bytes behind its end!");
        X509_free(x509);
        x509 = NULL;
    }
    return x509;
}

static bool rest_is_blank(BIO *input) {
    char *rest = NULL;
    long length = BIO_get_mem_data(input, &rest);

    for (long i = 0; i < length; i++)
        if (!isspace((unsigned char)rest[i]))
            return false;
    return true;
}

/* Reads the PEM block that comes next. 1: read, 0: nothing is left, -1: an error. */
static int read_pem_block(BIO *input, X509 **x509, struct error *error) {
    char *name = NULL;
    char *header = NULL;
    unsigned char *data = NULL;
    long length = 0;
    int result = -1;

    if (rest_is_blank(input))
        return 0;
    if (PEM_read_bio(input, &name, &header, &data, &length) != 1)
        error_set(error, ERROR_INVALID, "Certificate is truncated or damaged PEM, or has other text behind its end!");
    else if (strstr(name, "KEY") != NULL)
        error_set(error, ERROR_INVALID, "Certificate file holds a key (%.64s)! Hand in the certificate alone.", name);
    else if (strcmp(name, "CERTIFICATE") != 0 && strcmp(name, "X509 CERTIFICATE") != 0)
        error_set(error, ERROR_INVALID, "Certificate is PEM of type %.64s! It must be CERTIFICATE.", name);
    else if ((*x509 = read_der(data, (size_t)length, error)) != NULL)
        result = 1;
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(data, (size_t)length); /* it may have been a private key */
    ERR_clear_error();
    return result;
}

static int read_pem(const void *bytes, size_t size, X509 **chain, size_t *count, struct error *error) {
    BIO *input = BIO_new_mem_buf(bytes, (int)size);
    X509 *x509 = NULL;
    int result = -1;

    if (input == NULL)
        return error_set(error, ERROR_INTERNAL, "Memory for reading a certificate is not to be had");
    while ((result = read_pem_block(input, &x509, error)) == 1) {
        if (*count == SOURCE_CERTIFICATE_CHAIN_MAX) {
            X509_free(x509);
            result = error_set(error, ERROR_INVALID, "Certificate chain is longer than %d!", SOURCE_CERTIFICATE_CHAIN_MAX);
            break;
        }
        chain[(*count)++] = x509;
    }
    BIO_free(input);
    return result;
}

int source_certificate_read(const void *bytes, size_t size, struct source_certificate *certificate, struct error *error) {
    X509 *chain[SOURCE_CERTIFICATE_CHAIN_MAX] = {NULL};
    size_t count = 0;
    int result;

    *certificate = SOURCE_CERTIFICATE_EMPTY;
    if (size == 0)
        return error_set(error, ERROR_INVALID, "%s can not be empty!", label);
    if (size > SOURCE_CERTIFICATE_SIZE_MAX)
        return error_set(error, ERROR_INVALID, "%s is larger than %d KB!", label, SOURCE_CERTIFICATE_SIZE_MAX / 1024);
    if (memmem(bytes, size, "-----BEGIN ", 11) != NULL) {
        result = read_pem(bytes, size, chain, &count, error);
    } else {
        chain[0] = read_der(bytes, size, error);
        count = chain[0] == NULL ? 0 : 1;
        result = chain[0] == NULL ? -1 : 0;
    }
    if (result == 0)
        result = source_certificate_from_chain(chain, count, certificate, error);
    for (size_t i = 0; i < count; i++)
        X509_free(chain[i]);
    return result;
}

struct source_key_certificates source_certificate_members(const struct source_certificate *certificate) {
    return (struct source_key_certificates){
        .x5c = (const char *const *)certificate->x5c,
        .count = certificate->count,
        .x5t_s256 = certificate->x5t_s256,
        .not_before = certificate->not_before,
        .not_after = certificate->not_after,
    };
}

struct jwk *source_certificate_jwk(const struct source_certificate *certificate, const struct algorithm_request *request,
                                   struct error *error) {
    struct source_key_certificates members = source_certificate_members(certificate);

    return source_key_jwk(&certificate->key, false, request, &members, error);
}
