/* The options on trust and limits that both programs have for their HTTP server: rows for their tables of options, and their
 * way into struct http_server_options. */
#ifndef COMMON_HTTP_SETTINGS_H
#define COMMON_HTTP_SETTINGS_H

#include <stddef.h>

#include "http.h"
#include "options.h"

/* Part of a program's settings. */
struct http_settings {
    char *tls_certificate, *tls_key, *tls_client_ca;
    struct option_list cors_origins;
    long connections_per_address;
    long header_timeout, body_timeout, answer_timeout, idle_timeout; /* ms */
    char *rate_limit_address;
};

#define HTTP_SETTING(base, member) ((base) + offsetof(struct http_settings, member))

/* base: where the struct http_settings is in the program's settings; the defaults of two options as text. */
/* clang-format off */
#define HTTP_OPTIONS(base, default_connections_per_address, default_idle_timeout)                                              \
    {"tls-certificate", 0, OPTION_STRING, "FILE", NULL, 0, 0, HTTP_SETTING(base, tls_certificate),                             \
     "Serve HTTPS with this certificate (PEM, followed by those between it and its root). Loaded again when it changes and on "\
     "SIGHUP."},                                                                                                               \
    {"tls-key", 0, OPTION_STRING, "FILE", NULL, 0, 0, HTTP_SETTING(base, tls_key),                                             \
     "The certificate's private key (PEM, not encrypted). Refused when others may read it."},                                  \
    {"tls-client-ca", 0, OPTION_STRING, "FILE", NULL, 0, 0, HTTP_SETTING(base, tls_client_ca),                                 \
     "Take connections only from clients with a certificate of one of these CAs (PEM)."},                                      \
    {"cors-origin", 0, OPTION_LIST, "ORIGIN", NULL, 0, 0, HTTP_SETTING(base, cors_origins),                                    \
     "Let pages of this origin (https://HOST) read the answers in browsers; repeat it for several; * is every origin."},       \
    {"rate-limit-address", 0, OPTION_STRING, "RATE", "0", 0, 0, HTTP_SETTING(base, rate_limit_address),                        \
     "Requests of one IPv4 address or IPv6 /64, as 100/s, 30/m or 500/h, with :BURST behind for how many may come at once "    \
     "(default: what a second allows); more are answered 429. 0 is no limit: behind a proxy all have one address."},           \
    {"connections-per-address", 0, OPTION_INTEGER, "N", default_connections_per_address, 0, 1000000,                           \
     HTTP_SETTING(base, connections_per_address), "Connections of one IPv4 address or IPv6 /64 at once; 0 is no limit."},      \
    {"header-timeout", 0, OPTION_DURATION, "TIME", "15s", 0, 3600 * 1000, HTTP_SETTING(base, header_timeout),                  \
     "How long a new connection may take until the headers of its first request are in; of a next request, counted from the "  \
     "end of the idle time-out. 0 is for ever."},                                                                              \
    {"body-timeout", 0, OPTION_DURATION, "TIME", "60s", 0, 3600 * 1000, HTTP_SETTING(base, body_timeout),                      \
     "How long a request's body may take as a whole. 0 is for ever."},                                                         \
    {"answer-timeout", 0, OPTION_DURATION, "TIME", "120s", 0, 3600 * 1000, HTTP_SETTING(base, answer_timeout),                 \
     "How long a client may take to read an answer. 0 is for ever."},                                                          \
    {"idle-timeout", 0, OPTION_DURATION, "TIME", default_idle_timeout, 1000, 3600 * 1000, HTTP_SETTING(base, idle_timeout),    \
     "How long a connection may stay without a byte, in whole seconds. One whose request is being answered stays."}
/* clang-format on */

/* Fills what the settings say into options, checked; files and settings must outlive the server. */
int http_settings_apply(const struct http_settings *settings, struct tls_files *files, struct http_server_options *options,
                        struct error *error) MUST_CHECK;

#endif
