/* A certificate file, PEM or DER: what is taken gives a public JWK that stands alone, and the file that is stored of it gives
 * the same one. */
#include "fuzz.h"

#include "api/source_certificate.h"
#include "common/text.h"

static struct jwk *make(const struct source_certificate *certificate) {
    struct error error = {0};
    const struct algorithm_request none = {0};
    struct jwk *jwk = source_certificate_jwk(certificate, &none, &error);
    if (!jwk)
        require_refusal(&error); /* a weak key, or a kind of use that the certificate does not allow */
    return jwk;
}

/* The chain as it is stored. */
static void write_pem(const struct source_certificate *certificate, struct text *pem) {
    for (size_t i = 0; i < certificate->count; i++)
        text_add_format(pem, "-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n", certificate->x5c[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct source_certificate certificate = SOURCE_CERTIFICATE_EMPTY, again = SOURCE_CERTIFICATE_EMPTY;
    char *file = take_rest(bytes, size);
    int status = source_certificate_read(file, size, &certificate, &error);
    free(file);
    if (status) {
        require_refusal(&error);
        source_certificate_clear(&certificate);
        return 0;
    }
    REQUIRE(certificate.count >= 1 && certificate.count <= SOURCE_CERTIFICATE_CHAIN_MAX);
    REQUIRE(json_utf8_is_valid(certificate.subject, strlen(certificate.subject)));
    REQUIRE(json_utf8_is_valid(certificate.issuer, strlen(certificate.issuer)));
    struct text pem = TEXT_EMPTY;
    write_pem(&certificate, &pem);
    REQUIRE(source_certificate_read(pem.bytes, pem.length, &again, &error) == 0);
    REQUIRE(strcmp(again.x5t_s256, certificate.x5t_s256) == 0);
    struct jwk *jwk = make(&certificate), *same = make(&again);
    REQUIRE((jwk == NULL) == (same == NULL));
    if (jwk) {
        REQUIRE(!jwk_has_private(jwk));
        REQUIRE(strcmp(jwk_text(jwk), jwk_text(same)) == 0);
    }
    jwk_free(jwk);
    jwk_free(same);
    text_free(&pem);
    source_certificate_clear(&again);
    source_certificate_clear(&certificate);
    return 0;
}
