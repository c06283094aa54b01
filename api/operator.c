/* Who runs this process. Looked up once: the name service may be slow, and both stay the same. */
#include "operator.h"

#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/json.h"

enum { NAME_SIZE = 256 };
#define LOGIN_FILE "/proc/self/loginuid" /* proc(5): set at login, not changed by su and sudo; 4294967295 for nobody */

static char name[NAME_SIZE], login[NAME_SIZE];
static pthread_once_t once = PTHREAD_ONCE_INIT; /* guards the two above */

static void write_name(uid_t id, char out[NAME_SIZE]) {
    char buffer[4096];
    struct passwd entry, *found = NULL;
    if (getpwuid_r(id, &entry, buffer, sizeof buffer, &found) == 0 && found && found->pw_name[0] &&
        json_utf8_is_valid(found->pw_name, strnlen(found->pw_name, NAME_SIZE)))
        snprintf(out, NAME_SIZE, "%s", found->pw_name);
    else
        snprintf(out, NAME_SIZE, "%lu", (unsigned long)id);
}

static void look_up(void) {
    unsigned long id;
    write_name(getuid(), name);
    FILE *file = fopen(LOGIN_FILE, "re");
    /* NOLINTNEXTLINE(cert-err34-c): the kernel's own number */
    if (file && fscanf(file, "%lu", &id) == 1 && id != (uid_t)-1 && id != getuid())
        write_name((uid_t)id, login);
    if (file)
        fclose(file);
}

int64_t operator_id(void) {
    return getuid();
}

const char *operator_name(void) {
    pthread_once(&once, look_up);
    return name;
}

const char *operator_login(void) {
    pthread_once(&once, look_up);
    return login[0] ? login : NULL;
}
