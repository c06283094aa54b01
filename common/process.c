/* What holds for the whole process. */
#include "process.h"

#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static rlim_t core_limit; /* as it was found; written by process_protect() alone */

static void set_core_limit(rlim_t limit) {
    struct rlimit core;
    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = limit;
        (void)setrlimit(RLIMIT_CORE, &core); /* a lower limit is never refused */
    }
}

void process_protect(void) {
    struct rlimit core;
    umask(077);
    core_limit = getrlimit(RLIMIT_CORE, &core) == 0 ? core.rlim_cur : 0;
    set_core_limit(0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* whose leak detector attaches to its own process */
    prctl(PR_SET_DUMPABLE, 0);
#endif
}

void process_allow_core_dumps(void) {
    set_core_limit(core_limit);
    prctl(PR_SET_DUMPABLE, 1);
}

void process_prepare_sqlite(void) {
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* refused only when it is used already */
}
