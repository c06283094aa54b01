/* For the static analyzers, which look at one file at a time: what they cannot know of functions of other files. It is read
 * before each file that is analyzed (but error.c), and compiled into nothing. */
#ifndef TESTS_LINT_MODEL_H
#define TESTS_LINT_MODEL_H

#include "common/error.h"

/* They fail always: without that each path on which a function refused something goes on as if it had not. */
#define error_set(...) __extension__({ (error_set)(__VA_ARGS__); -1; })
#define error_prefix(...) __extension__({ (error_prefix)(__VA_ARGS__); -1; })

/* What the Makefile tells the compiler. */
#define JWK_VERSION "lint"

#endif
