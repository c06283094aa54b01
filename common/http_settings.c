/* Settings of the HTTP server: from what the operator wrote to what the server takes. */
#include "http_settings.h"

int http_settings_apply(const struct http_settings *settings, struct tls_files *files, struct http_server_options *options,
                        struct error *error) {
    if ((settings->tls_certificate == NULL) != (settings->tls_key == NULL))
        return error_set(error, ERROR_INVALID, "--tls-certificate and --tls-key go together");
    if (settings->tls_client_ca != NULL && settings->tls_certificate == NULL)
        return error_set(error, ERROR_INVALID, "--tls-client-ca needs --tls-certificate and --tls-key");
    if (rate_parse(settings->rate_limit_address, &options->address_rate, error))
        return error_prefix(error, "--rate-limit-address");
    if (settings->tls_certificate != NULL) {
        *files = (struct tls_files){settings->tls_certificate, settings->tls_key, settings->tls_client_ca};
        options->tls = files;
    }
    options->cors.origins = settings->cors_origins.items;
    options->cors.count = settings->cors_origins.count;
    options->connections_per_address = (unsigned)settings->connections_per_address;
    options->header_timeout_ms = settings->header_timeout;
    options->body_timeout_ms = settings->body_timeout;
    options->answer_timeout_ms = settings->answer_timeout;
    options->idle_timeout = (unsigned)((settings->idle_timeout + 999) / 1000);
    return 0;
}
