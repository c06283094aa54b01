/* Who runs this process, for the audit trail: the user of the system, and who had logged in before any su or sudo. */
#ifndef API_OPERATOR_H
#define API_OPERATOR_H

#include <stdint.h>

int64_t operator_id(void);        /* the real user id */
const char *operator_name(void);  /* its name, or the number as text where it has none; static */
const char *operator_login(void); /* name (or number) of the login user id as the kernel keeps it; NULL when it is the same or
                                   * not told; static */

#endif
