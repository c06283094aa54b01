/* --man: the tables as a manual page in roff with the man macros, which groff and mandoc both read.
 * Source: man(7), groff_man(7). */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory.h"
#include "options_internal.h"

enum { SOURCE_WIDTH = 66 }; /* before escaping; mandoc -Tlint asks for 80 */

/* A character of UTF-8 as groff's and mandoc's \[uXXXX], which needs no encoding to be agreed on. Returns its length. */
static size_t write_unicode(FILE *out, const unsigned char *text) {
    size_t length = text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;
    unsigned long code = text[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (text[i] == '\0')
            return i;
        code = code << 6 | (text[i] & 0x3f);
    }
    fprintf(out, "\\[u%04lX]", code);
    return length;
}

/* Writes length bytes so that roff shows just these: '-' is a hyphen unless escaped, and so on. */
static void write_escaped(FILE *out, const char *text, size_t length) {
    for (size_t i = 0; i < length;) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x80) {
            i += write_unicode(out, (const unsigned char *)text + i);
            continue;
        }
        switch (c) {
            case '\\': fputs("\\e", out); break;
            case '-': fputs("\\-", out); break;
            case '\'': fputs("\\(aq", out); break;
            case '"': fputs("\\(dq", out); break;
            case '`': fputs("\\(ga", out); break;
            case '^': fputs("\\(ha", out); break;
            case '~': fputs("\\(ti", out); break;
            case '.': fputs(i == 0 ? "\\&." : ".", out); break; /* at the beginning of a line it would be a request */
            default: fputc(c, out);
        }
        i++;
    }
}

static void write_string(FILE *out, const char *text) {
    write_escaped(out, text, strlen(text));
}

static void write_bold(FILE *out, const char *text) {
    fputs("\\fB", out);
    write_string(out, text);
    fputs("\\fR", out);
}

static void write_italic(FILE *out, const char *text) {
    fputs("\\fI", out);
    write_string(out, text);
    fputs("\\fR", out);
}

/* Writes the words of one line of text, on lines that are short enough for tools that show the source. */
static void write_words(FILE *out, const char *text, size_t length) {
    const char *end = text + length;
    size_t column = 0;
    while (text < end) {
        text += strspn(text, " ");
        size_t word = strcspn(text, " \n");
        if (text >= end || word == 0)
            break;
        if (column > 0 && column + 1 + word > SOURCE_WIDTH) {
            fputc('\n', out);
            column = 0;
        } else if (column > 0) {
            fputc(' ', out);
            column++;
        }
        write_escaped(out, text, word);
        column += word;
        text += word;
    }
    fputc('\n', out);
}

/* Text as in options_help.c: paragraphs, and lines that begin with a space, which are kept. break_macro begins each further
 * paragraph. */
static void write_text(FILE *out, const char *text, const char *break_macro) {
    bool verbatim = false, first = true, pending = false;
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        bool blank = strspn(text, " ") >= length, keep = !blank && text[0] == ' ';
        if (verbatim && !keep && !blank) {
            fputs(".fi\n", out);
            verbatim = false;
            pending = true;
        }
        if (blank) {
            pending = true;
        } else {
            if (!verbatim && !first && (pending || keep))
                fprintf(out, "%s\n", break_macro);
            else if (verbatim && pending)
                fputs(".sp\n", out);
            if (keep && !verbatim) {
                fputs(".nf\n", out);
                verbatim = true;
            }
            if (keep) {
                write_escaped(out, text, length);
                fputc('\n', out);
            } else {
                write_words(out, text, length);
            }
            first = pending = false;
        }
        text += length + (text[length] == '\n');
    }
    if (verbatim)
        fputs(".fi\n", out);
}

static void write_usage(FILE *out, const struct program_spec *program, const struct command_spec *command) {
    write_bold(out, program->name);
    if (command->name[0] != '\0') {
        fputc(' ', out);
        write_bold(out, command->name);
    }
    fputs(" [\\fIOPTION\\fR]\\[u2026]", out);
    if (command->operands != NULL) {
        fputc(' ', out);
        write_italic(out, command->operands);
    }
    fputc('\n', out);
}

static void write_option(FILE *out, const struct option_spec *option) {
    char bounds[OPTION_TEXT_SIZE];
    fputs(".TP\n", out);
    if (option->letter != 0)
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", out);
    write_string(out, option->name);
    fputs("\\fR", out);
    if (option->argument != NULL) {
        fputc(' ', out);
        write_italic(out, option->argument);
    }
    fputc('\n', out);
    write_text(out, option->help, ".IP");
    bool numeric = option->type == OPTION_INTEGER || option->type == OPTION_DURATION || option->type == OPTION_SIZE;
    if (numeric && option->maximum != 0) {
        fputs("The value is ", out);
        write_string(out, option_value_bounds(option, bounds));
        fputs(".\n", out);
    }
    if (option->fallback != NULL) {
        fputs("The default is ", out);
        write_bold(out, option->fallback);
        fputs(".\n", out);
    }
}

static void write_table(FILE *out, const struct option_spec *table) {
    for (const struct option_spec *option = table; option != NULL && option->name != NULL; option++)
        write_option(out, option);
}

/* Names the commands that do not take a common option. */
static void write_exceptions(FILE *out, const struct program_spec *program, const struct option_spec *option) {
    bool first = true;
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        if (options_takes_common(program, command, option))
            continue;
        fputs(first ? "Not of " : ",\n", out);
        write_bold(out, command->name);
        first = false;
    }
    if (!first)
        fputs(".\n", out);
}

static void write_commands(FILE *out, const struct program_spec *program) {
    fputs(".SH COMMANDS\n", out);
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        fputs(".TP\n", out);
        write_usage(out, program, command);
        write_text(out, command->summary, ".IP");
        if (command->description != NULL) {
            fputs(".IP\n", out);
            write_text(out, command->description, ".IP");
        }
    }
}

static void write_options(FILE *out, const struct program_spec *program) {
    fputs(".SH OPTIONS\n", out);
    if (!options_has_commands(program)) {
        write_table(out, program->commands[0].options);
        write_table(out, program->options);
        write_table(out, options_builtin);
        return;
    }
    fputs(".SS Options of every command\n", out);
    for (const struct option_spec *option = options_table(program, 1); option->name != NULL; option++) {
        write_option(out, option);
        write_exceptions(out, program, option);
    }
    write_table(out, options_builtin);
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        if (command->options == NULL || command->options[0].name == NULL)
            continue;
        fputs(".SS Options of ", out);
        write_string(out, command->name);
        fputc('\n', out);
        write_table(out, command->options);
    }
}

/* Whether an earlier table has an option of that name: the variable is then listed already. */
static bool is_listed_before(const struct program_spec *program, size_t index, const char *name) {
    for (size_t i = 1; i < index; i++)
        for (const struct option_spec *option = options_table(program, i); option->name != NULL; option++)
            if (strcmp(option->name, name) == 0)
                return true;
    return false;
}

static void write_environment(FILE *out, const struct program_spec *program) {
    char variable[OPTION_TEXT_SIZE];
    const struct option_spec *table;
    fputs(".SH ENVIRONMENT\n"
          "Each option can also be given by an environment variable,\n"
          "which the command line overrides; one that is empty counts as not set.\n"
          "A flag is \\fBtrue\\fR or \\fBfalse\\fR;\n"
          "the items of an option that may be repeated are separated by white space,\n"
          "with double quotes around an item that holds some.\n",
          out);
    fputs(".TP\n", out);
    write_bold(out, option_variable(program, "config", variable));
    fputs("\nThe file of \\fB\\-\\-config\\fR.\n", out);
    for (size_t i = 1; (table = options_table(program, i)) != NULL; i++)
        for (const struct option_spec *option = table; option->name != NULL; option++) {
            if (is_listed_before(program, i, option->name))
                continue;
            fputs(".TP\n", out);
            write_bold(out, option_variable(program, option->name, variable));
            fputs("\nThe value of \\fB\\-\\-", out);
            write_string(out, option->name);
            fputs("\\fR.\n", out);
        }
}

static void write_files(FILE *out, const struct program_spec *program) {
    fputs(".SH FILES\n"
          "The file named by \\fB\\-\\-config\\fR holds lines of\n"
          "\\(dq\\fIname\\fR = \\fIvalue\\fR\\(dq,\n"
          "where a name is that of an option without the dashes.\n"
          "Empty lines and lines that begin with # are skipped.\n"
          "An option that may be repeated can stand on several lines,\n"
          "whose items add up.\n"
          "The environment and the command line override the file.\n",
          out);
    if (program->files != NULL) {
        fputs(".PP\n", out);
        write_text(out, program->files, ".PP");
    }
}

static void write_exit_status(FILE *out, const struct program_spec *program) {
    fputs(".SH EXIT STATUS\n"
          ".TP\n\\fB0\\fR\nSuccess.\n"
          ".TP\n\\fB1\\fR\nThe command failed; standard error says why.\n"
          ".TP\n\\fB2\\fR\nThe command line, the environment or the config file is wrong, or "
          "something that stays so until somebody mends it: a damaged store, a master key that does not fit.\n"
          ".TP\n\\fB71\\fR\nOut of memory.\n",
          out);
    if (program->exit_status != NULL) {
        fputs(".PP\n", out);
        write_text(out, program->exit_status, ".PP");
    }
}

/* The page's date: that of the build, which packagers fix by SOURCE_DATE_EPOCH so that builds can be repeated. */
static void write_title(FILE *out, const struct program_spec *program) {
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    time_t now = fixed != NULL && *fixed != '\0' ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm date = {0};
    char day[32];
    gmtime_r(&now, &date);
    strftime(day, sizeof day, "%Y-%m-%d", &date);
    fputs(".TH ", out);
    for (const char *at = program->name; *at != '\0'; at++)
        fputc(*at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at, out);
    fprintf(out, " 8 %s \"%s %s\" \"System Administration\"\n", day, program->name, program->version);
}

void options_write_man(const struct program_spec *program, FILE *out) {
    write_title(out, program);
    fputs(".SH NAME\n", out);
    write_string(out, program->name);
    fputs(" \\- ", out);
    write_string(out, program->summary);
    fputs("\n.SH SYNOPSIS\n", out);
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        if (command != program->commands)
            fputs(".br\n", out);
        write_usage(out, program, command);
    }
    fputs(".SH DESCRIPTION\n", out);
    write_text(out, program->description, ".PP");
    if (options_has_commands(program))
        write_commands(out, program);
    write_options(out, program);
    write_environment(out, program);
    write_files(out, program);
    write_exit_status(out, program);
    if (program->examples != NULL) {
        fputs(".SH EXAMPLES\n", out);
        write_text(out, program->examples, ".PP");
    }
}
