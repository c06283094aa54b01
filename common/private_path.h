/* Where a program keeps what nobody else may see: directories of state (0700) and the files in them (0600). Thread-safe. */
#ifndef COMMON_PRIVATE_PATH_H
#define COMMON_PRIVATE_PATH_H

#include "error.h"

/* Makes an empty file in that directory where there is none. Whoever makes it, it belongs to the directory's owner: root may
 * run a command on what is a service's, and the service must be able to open it afterwards. what names it: "store". */
int private_file_make(const char *what, const char *directory, const char *path, struct error *error) MUST_CHECK;

/* Makes the directory (0700) where there is none; option names it on the command line: "--data-dir". */
int private_directory_make(const char *what, const char *option, const char *path, struct error *error) MUST_CHECK;
/* A directory; a symbolic link to one counts as it, since systemd makes such for StateDirectory= of a dynamic user. ERROR_DENIED
 * with a sentence that says what to do when group or others may do anything with it, or we may not enter it. what names it:
 * "data directory". */
int private_directory_check(const char *what, const char *path, struct error *error) MUST_CHECK;
/* A regular file and no link, alike; one that is missing is fine. */
int private_file_check(const char *what, const char *path, struct error *error) MUST_CHECK;

#endif
