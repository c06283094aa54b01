/* What the files of the option handling share; nothing else includes this. */
#ifndef COMMON_OPTIONS_INTERNAL_H
#define COMMON_OPTIONS_INTERNAL_H

#include "options.h"

enum { OPTION_TEXT_SIZE = 128 };

/* --help, --version, --config and --man, which every program has; ended by one with a NULL name. */
extern const struct option_spec options_builtin[];

/* The tables of a program one after the other: the built-in one, the common one, then each command's; NULL behind the last. */
const struct option_spec *options_table(const struct program_spec *program, size_t index);
/* Whether a command takes an option of the common table; NULL stands for the program as a whole. */
bool options_takes_common(const struct program_spec *program, const struct command_spec *command,
                          const struct option_spec *option);
/* Whether the program has subcommands at all. */
bool options_has_commands(const struct program_spec *program);
/* The environment variable of an option: "JWK_API_DATA_DIR". */
const char *option_variable(const struct program_spec *program, const char *name, char out[OPTION_TEXT_SIZE]);
/* "jwk-api token create [OPTION]… NAME"; a new string. */
char *options_usage(const struct program_spec *program, const struct command_spec *command);

/* Values, in options_value.c. The errors say what is wrong with the text, not where it came from. */

/* Whether text is a value of the option's kind and range. */
int option_value_check(const struct option_spec *option, const char *text, struct error *error) MUST_CHECK;
/* Stores it in the settings. A list gets one item more. */
int option_value_store(const struct option_spec *option, const char *text, void *settings, struct error *error) MUST_CHECK;
/* As option_value_store() for the environment and the config file, where a list's items stand in one text. */
int option_value_split(const struct option_spec *option, const char *text, void *settings, struct error *error) MUST_CHECK;
/* Frees what the settings own of it and zeroes it. */
void option_value_free(const struct option_spec *option, void *settings);
/* "between 1s and 1h", "at least 1", or "" when there are no bounds. */
const char *option_value_bounds(const struct option_spec *option, char out[OPTION_TEXT_SIZE]);

#endif
