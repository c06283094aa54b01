/* From method and path to operation. */
#ifndef API_ROUTE_H
#define API_ROUTE_H

#include "call.h"

enum route_result { ROUTE_FOUND, ROUTE_UNKNOWN, ROUTE_METHOD, ROUTE_MALFORMED };

/* Finds the operation of method (HEAD counts as GET) and path (raw, with or without its last '/'), and fills parameters with
 * new strings, each percent-decoded once. ROUTE_METHOD: the path is known and allow tells the methods it has. ROUTE_MALFORMED:
 * a % that is none. */
enum route_result route_find(const char *method, const char *path, const struct operation **operation,
                             char *parameters[PATH_PARAMETERS_MAX], char allow[64]);
/* Whether the operation takes a query parameter of that name. */
bool route_takes_query(const struct operation *operation, const char *name);
/* Whether the path of an operation names a project. */
bool route_has_project(const struct operation *operation);

#endif
