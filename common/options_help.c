/* --help: the tables as text for a terminal of 80 columns. */
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "options_internal.h"

enum { WIDTH = 80, HELP_INDENT = 10 };

/* Columns of a text, as UTF-8: the bytes that begin a character. */
static size_t columns(const char *text, size_t length) {
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

/* Writes words until a blank line or a line that begins with a space, both of which end a paragraph. Returns what is left. */
static const char *write_paragraph(FILE *out, const char *text, int indent) {
    size_t column = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, " \n"), width = columns(text, length);
        if (column > 0 && column + 1 + width > WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        if (column == 0)
            column = (size_t)fprintf(out, "%*s", indent, "");
        else
            column += (size_t)fprintf(out, " ");
        fwrite(text, 1, length, out);
        column += width;
        text += length;
        if (text[0] == '\n' && (text[1] == '\n' || text[1] == ' ' || text[1] == '\0')) {
            text++;
            break;
        }
        text += strspn(text, " ");
        if (*text == '\n')
            text++;
    }
    fputc('\n', out);
    return text;
}

/* Paragraphs are wrapped; lines that begin with a space are kept as they are. */
static void write_text(FILE *out, const char *text, int indent) {
    while (*text != '\0') {
        if (*text == '\n') {
            fputc('\n', out);
            text++;
        } else if (*text == ' ') {
            size_t length = strcspn(text, "\n");
            fprintf(out, "%*s%.*s\n", indent, "", (int)length, text);
            text += length + (text[length] == '\n');
        } else {
            text = write_paragraph(out, text, indent);
        }
    }
}

char *options_usage(const struct program_spec *program, const struct command_spec *command) {
    if (command == NULL)
        return memory_format("%s [OPTION]… COMMAND …", program->name);
    bool named = command->name[0] != '\0', takes = command->operands != NULL;
    return memory_format("%s%s%s [OPTION]…%s%s", program->name, named ? " " : "", command->name, takes ? " " : "",
                         takes ? command->operands : "");
}

static void write_option(const struct program_spec *program, const struct option_spec *option, bool builtin, FILE *out) {
    if (option->letter != 0)
        fprintf(out, "  -%c, --%s", option->letter, option->name);
    else
        fprintf(out, "      --%s", option->name);
    if (option->argument != NULL)
        fprintf(out, " %s", option->argument);
    fputc('\n', out);
    write_text(out, option->help, HELP_INDENT);
    bool variable_too = !builtin || option->type != OPTION_FLAG;
    if (option->fallback == NULL && !variable_too)
        return;
    fprintf(out, "%*s", HELP_INDENT, "");
    if (option->fallback != NULL)
        fprintf(out, "[default: %s]%s", option->fallback, variable_too ? " " : "");
    char variable[OPTION_TEXT_SIZE];
    if (variable_too)
        fprintf(out, "[env: %s]", option_variable(program, option->name, variable));
    fputc('\n', out);
}

static void write_table(const struct program_spec *program, const struct option_spec *table, bool builtin, FILE *out) {
    for (const struct option_spec *option = table; option != NULL && option->name != NULL; option++)
        write_option(program, option, builtin, out);
}

/* Whether the command is "GROUP something". */
static bool is_of_group(const struct command_spec *command, const char *group) {
    size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

/* All of them, or those of a group. */
static void write_commands(const struct program_spec *program, const char *group, FILE *out) {
    fputs("\nCommands:\n", out);
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        if (group != NULL && !is_of_group(command, group))
            continue;
        fprintf(out, "  %s%s%s\n", command->name, command->operands != NULL ? " " : "",
                command->operands != NULL ? command->operands : "");
        write_text(out, command->summary, HELP_INDENT);
    }
}

void options_write_help(const struct program_spec *program, const struct command_spec *command, FILE *out) {
    char *usage = options_usage(program, command);
    fprintf(out, "Usage: %s\n\n", usage);
    free(usage);
    bool whole = command == NULL || command->name[0] == '\0';
    char *title = memory_format("%s: %s", program->name, program->summary);
    write_text(out, whole ? title : command->summary, 0);
    free(title);
    const char *description = whole ? program->description : command->description;
    if (description != NULL) {
        fputc('\n', out);
        write_text(out, description, 0);
    }
    if (command == NULL)
        write_commands(program, NULL, out);
    fputs("\nOptions:\n", out);
    if (command != NULL)
        write_table(program, command->options, false, out);
    for (const struct option_spec *option = options_table(program, 1); option->name != NULL; option++)
        if (options_takes_common(program, command, option))
            write_option(program, option, false, out);
    write_table(program, options_builtin, true, out);
    if (command == NULL)
        fprintf(out, "\n\"%s COMMAND --help\" shows the options of a command.\n", program->name);
}

bool options_write_group_help(const struct program_spec *program, const char *group, FILE *out) {
    const struct command_spec *command = program->commands;
    while (command->name != NULL && !is_of_group(command, group))
        command++;
    if (command->name == NULL)
        return false;
    fprintf(out, "Usage: %s %s COMMAND …\n", program->name, group);
    write_commands(program, group, out);
    fprintf(out, "\n\"%s %s COMMAND --help\" shows the options of a command.\n", program->name, group);
    return true;
}
