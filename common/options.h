/* One table of options per program drives the command line, the environment variables, the config file, --help and the man
 * page.
 *
 * Precedence: command line, then environment (PREFIX_NAME, upper case, - as _; empty counts as not set), then the config file
 * (`name = value` lines, # comments; named by --config or PREFIX_CONFIG), then the default. An unknown name, a value of the
 * wrong kind or out of range is an error that names option and source. Unknown environment variables of the prefix are no
 * error: container platforms make such up (JWK_API_PORT for a service of that name). */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "error.h"

enum option_type {
    OPTION_FLAG,     /* bool; no argument on the command line, true/false elsewhere */
    OPTION_STRING,   /* char *, owned by the settings */
    OPTION_INTEGER,  /* long, within minimum..maximum */
    OPTION_DURATION, /* long milliseconds; "250ms", "10s", "5m", "2h", "30d"; 0 alone needs no unit */
    OPTION_SIZE,     /* long bytes; "64k", "1M", "2G" (powers of 1024) or a bare number of bytes */
    OPTION_LIST,     /* struct option_list, may be repeated; in the environment and the file separated by white space, with
                      * double quotes around an item that holds some. Items of a higher source replace those of a lower one */
};

struct option_list {
    char **items;
    size_t count;
};

struct option_spec {
    const char *name;     /* "listen": --listen, JWK_API_LISTEN, listen = … */
    char letter;          /* 'X' for -X, 0 for none */
    enum option_type type;
    const char *argument; /* shown in the help: "ADDRESS"; NULL for a flag */
    const char *fallback; /* default, as text; NULL for none */
    long minimum, maximum; /* of OPTION_INTEGER, OPTION_DURATION (ms) and OPTION_SIZE (bytes); maximum 0: no upper bound */
    size_t offset;        /* offsetof() in the program's settings struct */
    const char *help;     /* one or more sentences */
};

struct command_spec {
    const char *name;      /* words: "serve", "token create"; "" for a program without subcommands */
    const char *operands;  /* "PROJECT NAME", or NULL; shown in the usage line */
    int operands_minimum, operands_maximum;
    const char *summary;     /* half a sentence for lists */
    const char *description; /* paragraphs for --help and the man page; may be NULL */
    const struct option_spec *options; /* ended by one with a NULL name; options common to all commands are in the program. One
                                        * that several commands have takes an argument in all of them or in none */
    int (*run)(void *settings, char **operands, int count); /* returns the exit status */
};

/* A command that has no use for a common option, and does not take it. */
struct option_exception {
    const char *option, *command; /* their names */
};

struct program_spec {
    const char *name;        /* "jwk-api" */
    const char *version;
    const char *summary;     /* half a sentence */
    const char *description; /* paragraphs, separated by blank lines */
    const char *prefix;      /* of environment variables: "JWK_API" */
    const struct option_spec *options;   /* common to all commands; ended by one with a NULL name */
    const struct option_exception *exceptions; /* ended by one with a NULL option; NULL: there are none */
    const struct command_spec *commands; /* ended by one with a NULL name */
    size_t settings_size;
    /* Called with the settings before the command; an error ends the program as a wrong command line does. NULL: nothing to do. */
    int (*prepare)(const void *settings, const struct command_spec *command, struct error *error);
    const char *files, *examples; /* sections of the man page; may be NULL. As in all texts here, lines that begin with a space
                                   * are kept as they are */
    const char *exit_status; /* paragraph on statuses beyond 0, 1, 2 and 71; may be NULL */
};

/* Parses everything, answers --help, --version and --man (the man page in roff, for the Makefile) on its own, runs the chosen
 * command and returns its exit status; 2 with one clear line on standard error when the command line is wrong. Options may
 * stand before or behind the subcommand's words; "--" ends them. */
int options_run(const struct program_spec *program, int argc, char **argv);

/* The parts, for tests. settings is zeroed memory of settings_size bytes; options_free() frees what parsing put there. The
 * operands are gathered at the front of argv, which keeps them. */
int options_parse(const struct program_spec *program, int argc, char **argv, void *settings,
                  const struct command_spec **command, char ***operands, int *count, struct error *error) MUST_CHECK;
void options_free(const struct program_spec *program, const struct command_spec *command, void *settings);
void options_write_help(const struct program_spec *program, const struct command_spec *command, FILE *out);
/* What the commands are that begin with this word ("token"); false, and nothing is written, when none does. */
bool options_write_group_help(const struct program_spec *program, const char *group, FILE *out) MUST_CHECK;
void options_write_man(const struct program_spec *program, FILE *out);

#endif
