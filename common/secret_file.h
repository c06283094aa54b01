/* Files that hold secrets: read only when nobody else may read them, written for their owner alone. Thread-safe. */
#ifndef COMMON_SECRET_FILE_H
#define COMMON_SECRET_FILE_H

#include <stddef.h>

#include "error.h"
#include "text.h"

enum { SECRET_FILE_MAX = 256 * 1024 }; /* bytes */

/* Appends the content of a regular file. Refused, with a sentence that says what to do: one that group or others may read or
 * write, one that neither we nor root own, an empty or too large one. what names it in the sentence ("master key file"). The
 * caller wipes the text. */
int secret_file_read(const char *what, const char *path, struct text *content, struct error *error) MUST_CHECK;
/* Makes a new file (0600) and fsyncs it; ERROR_CONFLICT when there is one already. */
int secret_file_write_new(const char *what, const char *path, const char *content, size_t length,
                          struct error *error) MUST_CHECK;

#endif
