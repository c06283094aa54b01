#include "logging.h"

#include "common/log.h"
#include "common/process.h"

int logging_start(const struct settings *settings, struct error *error) {
    enum log_level level;
    enum log_format format;
    if (log_level_parse(settings->log_level, &level))
        return error_set(error, ERROR_INVALID, "--log-level %s: use error, warning, info or debug", settings->log_level);
    if (log_format_parse(settings->log_format, &format))
        return error_set(error, ERROR_INVALID, "--log-format %s: use text or json", settings->log_format);
    log_init("jwk-api", level, format);
    if (settings->core_dumps)
        process_allow_core_dumps();
    return 0;
}
