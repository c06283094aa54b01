/* From the command line, the environment and the config file to a program's settings and its command. */
#include "options.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "memory.h"
#include "options_internal.h"

enum { EXIT_USAGE = 2, SUGGESTION_LENGTH_MAX = 48 };

const struct option_spec options_builtin[] = {
    {.name = "help", .letter = 'h', .type = OPTION_FLAG, .help = "Show this help; behind a command, that command's."},
    {.name = "version", .letter = 'V', .type = OPTION_FLAG, .help = "Show the version."},
    {.name = "config",
     .type = OPTION_STRING,
     .argument = "FILE",
     .help = "Read options from FILE: lines of \"name = value\", with the names used here, and comments that begin with #. "
             "The command line and the environment override it."},
    {.name = "man", .type = OPTION_FLAG, .help = "Write the manual page in roff to standard output."},
    {.name = NULL},
};

/* One option as it stood on the command line. */
struct given {
    const struct option_spec *option; /* of whichever command has one of that name */
    const char *value;                /* NULL for a flag */
};

struct command_line {
    struct given *given;
    size_t given_count;
    char **words; /* what is neither an option nor its argument */
    int word_count;
    bool help, version, man;
    const char *config; /* NULL when --config is not there */
};

/* One line of the config file. */
struct entry {
    const struct option_spec *option;
    char *value;
    unsigned line;
};

struct config_file {
    const char *path;
    struct entry *entries;
    size_t count;
};

/* ---- tables ---- */

static const struct option_spec no_options[] = {{.name = NULL}};

const struct option_spec *options_table(const struct program_spec *program, size_t index) {
    if (index == 0)
        return options_builtin;
    if (index == 1)
        return program->options != NULL ? program->options : no_options;
    const struct command_spec *command = &program->commands[index - 2];
    if (command->name == NULL)
        return NULL;
    return command->options != NULL ? command->options : no_options;
}

bool options_takes_common(const struct program_spec *program, const struct command_spec *command,
                          const struct option_spec *option) {
    const struct option_exception *exception = command != NULL ? program->exceptions : NULL;
    for (; exception != NULL && exception->option != NULL; exception++)
        if (strcmp(exception->option, option->name) == 0 && strcmp(exception->command, command->name) == 0)
            return false;
    return true;
}

bool options_has_commands(const struct program_spec *program) {
    return program->commands[0].name != NULL && program->commands[0].name[0] != '\0';
}

const char *option_variable(const struct program_spec *program, const char *name, char out[OPTION_TEXT_SIZE]) {
    snprintf(out, OPTION_TEXT_SIZE, "%s_%s", program->prefix, name);
    for (char *at = out; *at != '\0'; at++) {
        if (*at == '-')
            *at = '_';
        else if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
    }
    return out;
}

static bool has_name(const struct option_spec *option, const char *name, size_t length) {
    return strlen(option->name) == length && memcmp(option->name, name, length) == 0;
}

static const struct option_spec *find_in(const struct option_spec *table, const char *name, size_t length, char letter) {
    for (const struct option_spec *option = table; option->name != NULL; option++)
        if (name != NULL ? has_name(option, name, length) : option->letter == letter)
            return option;
    return NULL;
}

/* Options may stand before the command's words, so an option is looked for in all commands at first. */
static const struct option_spec *find_anywhere(const struct program_spec *program, const char *name, size_t length,
                                               char letter) {
    const struct option_spec *table, *found = NULL;
    for (size_t i = 0; found == NULL && (table = options_table(program, i)) != NULL; i++)
        found = find_in(table, name, length, letter);
    return found;
}

static const struct option_spec *find_applicable(const struct program_spec *program, const struct command_spec *command,
                                                 const char *name) {
    const struct option_spec *found = find_in(options_table(program, 1), name, strlen(name), 0);
    if (found != NULL && !options_takes_common(program, command, found))
        return NULL;
    if (found == NULL && command->options != NULL)
        found = find_in(command->options, name, strlen(name), 0);
    return found;
}

/* ---- suggestions ---- */

static size_t smallest(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Levenshtein's distance. */
static size_t distance(const char *a, size_t length, const char *b) {
    size_t row[SUGGESTION_LENGTH_MAX + 1], b_length = strlen(b);
    if (b_length > SUGGESTION_LENGTH_MAX)
        return b_length;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= length; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_length];
}

/* Keeps the nearer one of *best and candidate, where near is a mistyped letter or, in a long name, two or three. */
static void consider(const char *candidate, const char *name, size_t length, const char **best, size_t *best_distance) {
    size_t found = distance(name, length, candidate);
    if (found < *best_distance && found <= 1 + length / 6) {
        *best = candidate;
        *best_distance = found;
    }
}

static const char *nearest_option(const struct program_spec *program, const char *name, size_t length) {
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;
    const struct option_spec *table;
    for (size_t i = 0; (table = options_table(program, i)) != NULL; i++)
        for (const struct option_spec *option = table; option->name != NULL; option++)
            consider(option->name, name, length, &best, &best_distance);
    return best;
}

static int refuse_unknown(const struct program_spec *program, const char *dashes, const char *name, size_t length,
                          struct error *error) {
    const char *nearest = length > 1 ? nearest_option(program, name, length) : NULL;
    if (nearest != NULL)
        return error_set(error, ERROR_INVALID, "Unknown option \"%s%.*s\"; did you mean \"%s%s\"?", dashes, (int)length, name,
                         dashes, nearest);
    return error_set(error, ERROR_INVALID, "Unknown option \"%s%.*s\"", dashes, (int)length, name);
}

/* ---- the command line ---- */

static void note(struct command_line *line, const struct option_spec *option, const char *value) {
    if (option == &options_builtin[0])
        line->help = true;
    else if (option == &options_builtin[1])
        line->version = true;
    else if (option == &options_builtin[2])
        line->config = value;
    else if (option == &options_builtin[3])
        line->man = true;
    else
        line->given[line->given_count++] = (struct given){option, value};
}

/* The word behind an option is its value, but for one that begins as an option does: the value was forgotten as a rule. NULL
 * when there is none. */
static const char *next_value(const struct option_spec *option, const char *given, char **argv, int *index,
                              struct error *error) {
    const char *value = argv[*index + 1];
    if (value != NULL && strncmp(value, "--", 2) != 0)
        return argv[++*index];
    if (value != NULL)
        error_set(error, ERROR_INVALID,
                  "Option \"%s\" needs a value (%s), and \"%s\" is an option; if it is meant, write --%s=%s", given,
                  option->argument, value, option->name, value);
    else
        error_set(error, ERROR_INVALID, "Option \"%s\" needs a value (%s)", given, option->argument);
    return NULL;
}

/* "--name", "--name=value" or "--name value". */
static int scan_long(const struct program_spec *program, char **argv, int *index, struct command_line *line,
                     struct error *error) {
    const char *name = argv[*index] + 2, *value = strchr(name, '=');
    size_t length = value != NULL ? (size_t)(value++ - name) : strlen(name);
    const struct option_spec *option = find_anywhere(program, name, length, 0);
    if (option == NULL)
        return refuse_unknown(program, "--", name, length, error);
    if (option->type == OPTION_FLAG && value != NULL)
        return error_set(error, ERROR_INVALID, "Option \"--%s\" takes no value", option->name);
    if (option->type != OPTION_FLAG && value == NULL && (value = next_value(option, argv[*index], argv, index, error)) == NULL)
        return -1;
    note(line, option, value);
    return 0;
}

/* "-X value", "-Xvalue", and letters of flags in one word. */
static int scan_letters(const struct program_spec *program, char **argv, int *index, struct command_line *line,
                        struct error *error) {
    for (const char *letter = argv[*index] + 1; *letter != '\0'; letter++) {
        const struct option_spec *option = find_anywhere(program, NULL, 0, *letter);
        if (option == NULL)
            return refuse_unknown(program, "-", letter, 1, error);
        if (option->type == OPTION_FLAG) {
            note(line, option, NULL);
            continue;
        }
        const char given[] = {'-', *letter, '\0'};
        const char *value = letter[1] != '\0' ? letter + 1 : next_value(option, given, argv, index, error);
        if (value == NULL)
            return -1;
        note(line, option, value);
        return 0;
    }
    return 0;
}

/* Goes on behind a wrong option, so that --help is seen wherever it stands; the first error is the one reported. */
static int scan(const struct program_spec *program, int argc, char **argv, struct command_line *line, struct error *error) {
    int result = 0;
    bool ended = false;
    /* More than one option can stand in one word ("-abc"), never more than there are letters. */
    size_t letters = 0;
    for (int i = 0; i < argc; i++)
        letters += strlen(argv[i]);
    line->given = memory_new((letters + 1) * sizeof *line->given);
    line->words = memory_new(((size_t)argc + 1) * sizeof *line->words);
    for (int i = 1; i < argc; i++) {
        struct error found = {0};
        int scanned = 0;
        if (!ended && strcmp(argv[i], "--") == 0)
            ended = true;
        else if (!ended && argv[i][0] == '-' && argv[i][1] == '-')
            scanned = scan_long(program, argv, &i, line, &found);
        else if (!ended && argv[i][0] == '-' && argv[i][1] != '\0')
            scanned = scan_letters(program, argv, &i, line, &found);
        else
            line->words[line->word_count++] = argv[i];
        if (scanned != 0 && result == 0) {
            *error = found;
            result = -1;
        }
    }
    return result;
}

static void command_line_free(struct command_line *line) {
    free(line->given);
    free(line->words);
}

/* ---- the command ---- */

/* How many of the words are the command's name; -1 when they are not. */
static int match_words(const char *name, char **words, int count) {
    int matched = 0;
    while (*name != '\0') {
        size_t length = strcspn(name, " ");
        if (matched == count || strlen(words[matched]) != length || memcmp(words[matched], name, length) != 0)
            return -1;
        matched++;
        name += length + (name[length] == ' ');
    }
    return matched;
}

static const struct command_spec *find_command(const struct program_spec *program, const struct command_line *line, int *used) {
    const struct command_spec *best = NULL;
    *used = -1;
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        int matched = match_words(command->name, line->words, line->word_count);
        if (matched > *used) {
            *used = matched;
            best = command;
        }
    }
    return best;
}

/* Says what is wrong with words that name no command. */
static int refuse_command(const struct program_spec *program, const struct command_line *line, struct error *error) {
    if (line->word_count == 0)
        return error_set(error, ERROR_INVALID, "No command was given; \"%s --help\" lists them", program->name);
    const char *word = line->words[0], *nearest = NULL;
    size_t length = strlen(word), nearest_distance = SIZE_MAX;
    char following[256] = "";
    for (const struct command_spec *command = program->commands; command->name != NULL; command++) {
        if (strncmp(command->name, word, length) == 0 && command->name[length] == ' ') {
            size_t used = strlen(following);
            snprintf(following + used, sizeof following - used, "%s%s", used > 0 ? ", " : "", command->name + length + 1);
        }
        char first[SUGGESTION_LENGTH_MAX];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(command->name, " "), command->name);
        const char *before = nearest;
        consider(first, word, length, &nearest, &nearest_distance);
        if (nearest != before)
            nearest = command->name;
    }
    if (following[0] != '\0')
        return error_set(error, ERROR_INVALID, "\"%s %s\" needs one of these behind it: %s", program->name, word, following);
    if (nearest != NULL)
        return error_set(error, ERROR_INVALID, "Unknown command \"%s\"; did you mean \"%.*s\"?", word,
                         (int)strcspn(nearest, " "), nearest);
    return error_set(error, ERROR_INVALID, "Unknown command \"%s\"; \"%s --help\" lists them", word, program->name);
}

static int check_operands(const struct program_spec *program, const struct command_spec *command, int count, char **operands,
                          struct error *error) {
    char *usage = options_usage(program, command);
    int result = 0;
    if (count < command->operands_minimum)
        result = error_set(error, ERROR_INVALID, "Something is missing behind the command; usage: %s", usage);
    else if (count > command->operands_maximum)
        result = error_set(error, ERROR_INVALID, "Unexpected argument \"%s\"; usage: %s", operands[command->operands_maximum],
                           usage);
    free(usage);
    return result;
}

/* ---- the config file ---- */

static char *trim(char *text) {
    static const char white[] = " \t\r\n";
    text += strspn(text, white);
    size_t length = strlen(text);
    while (length > 0 && strchr(white, text[length - 1]) != NULL)
        text[--length] = '\0';
    return text;
}

static int read_line(const struct program_spec *program, struct config_file *file, char *text, unsigned number,
                     struct error *error) {
    text = trim(text);
    if (*text == '\0' || *text == '#')
        return 0;
    char *value = strchr(text, '=');
    if (value == NULL)
        return error_set(error, ERROR_INVALID, "%s:%u: a line is \"name = value\"", file->path, number);
    *value++ = '\0';
    char *name = trim(text);
    const struct option_spec *option = find_anywhere(program, name, strlen(name), 0);
    if (option == NULL) {
        refuse_unknown(program, "", name, strlen(name), error);
        return error_prefix(error, "%s:%u", file->path, number);
    }
    if (find_in(options_builtin, name, strlen(name), 0) != NULL)
        return error_set(error, ERROR_INVALID, "%s:%u: \"%s\" cannot stand in a file", file->path, number, name);
    value = trim(value);
    if (option_value_check(option, value, error) != 0)
        return error_prefix(error, "%s:%u: %s", file->path, number, name);
    file->entries = memory_resize(file->entries, (file->count + 1) * sizeof *file->entries);
    file->entries[file->count++] = (struct entry){option, memory_string(value), number};
    return 0;
}

enum { CONFIG_SIZE_MAX = 1 << 20 };

static int read_config(const struct program_spec *program, struct config_file *file, struct error *error) {
    FILE *stream = fopen(file->path, "re");
    if (stream == NULL)
        return error_set(error, ERROR_INVALID, "Cannot read the config file \"%s\": %s", file->path, strerror(errno));
    char *text = NULL;
    size_t capacity = 0;
    int result = 0;
    errno = 0;
    struct stat status;
    if (fstat(fileno(stream), &status) == 0 &&
        (S_ISCHR(status.st_mode) || (S_ISREG(status.st_mode) && status.st_size > CONFIG_SIZE_MAX)))
        result = error_set(error, ERROR_INVALID, "Cannot read the config file \"%s\": it is a device or larger than %d bytes",
                           file->path, CONFIG_SIZE_MAX);
    ssize_t length;
    for (unsigned number = 1; result == 0 && (length = getline(&text, &capacity, stream)) >= 0; number++)
        /* What stands behind a NUL would count for nothing; a loss of power can leave a file of nothing else. */
        result =
            memchr(text, '\0', (size_t)length)
                ? error_set(error, ERROR_INVALID,
                            "%s:%u: the line holds the character NUL: the file is damaged, write it again", file->path, number)
                : read_line(program, file, text, number, error);
    if (result == 0 && ferror(stream))
        result = error_set(error, ERROR_INVALID, "Cannot read the config file \"%s\": %s", file->path, strerror(errno));
    free(text);
    fclose(stream);
    return result;
}

static void config_free(struct config_file *file) {
    for (size_t i = 0; i < file->count; i++)
        memory_wipe_string(file->entries[i].value);
    free(file->entries);
}

/* ---- putting it together ---- */

/* Takes an option's value from the highest source that has one. */
static int settle(const struct program_spec *program, const struct option_spec *option, const struct command_line *line,
                  const struct config_file *file, void *settings, struct error *error) {
    bool found = false;
    for (size_t i = 0; i < line->given_count; i++) {
        const struct given *given = &line->given[i];
        if (strcmp(given->option->name, option->name) != 0)
            continue;
        found = true;
        if (option_value_store(option, given->value != NULL ? given->value : "true", settings, error) != 0)
            return error_prefix(error, "Option --%s", option->name);
    }
    if (found)
        return 0;
    char variable[OPTION_TEXT_SIZE];
    const char *value = getenv(option_variable(program, option->name, variable));
    if (value != NULL && *value != '\0') {
        if (option_value_split(option, value, settings, error) != 0)
            return error_prefix(error, "Environment variable %s", variable);
        return 0;
    }
    for (size_t i = 0; i < file->count; i++) {
        const struct entry *entry = &file->entries[i];
        if (strcmp(entry->option->name, option->name) != 0)
            continue;
        found = true;
        if (option_value_split(option, entry->value, settings, error) != 0)
            return error_prefix(error, "%s:%u: %s", file->path, entry->line, option->name);
    }
    if (!found && option->fallback != NULL && option_value_split(option, option->fallback, settings, error) != 0)
        return error_prefix(error, "Default of --%s", option->name);
    return 0;
}

static int settle_all(const struct program_spec *program, const struct command_spec *command, const struct option_spec *table,
                      const struct command_line *line, const struct config_file *file, void *settings, struct error *error) {
    for (const struct option_spec *option = table; option != NULL && option->name != NULL; option++)
        if ((table != program->options || options_takes_common(program, command, option)) &&
            settle(program, option, line, file, settings, error) != 0)
            return -1;
    return 0;
}

/* Everything behind the scan. On an error the settings hold nothing that must be freed. */
static int resolve(const struct program_spec *program, char **argv, const struct command_line *line, void *settings,
                   const struct command_spec **command, char ***operands, int *count, struct error *error) {
    int used, result = -1;
    char variable[OPTION_TEXT_SIZE];
    struct config_file file = {.path = line->config};
    if (file.path == NULL)
        file.path = getenv(option_variable(program, "config", variable));
    const struct command_spec *found = find_command(program, line, &used);
    if (found == NULL)
        return refuse_command(program, line, error);
    for (size_t i = 0; i < line->given_count; i++)
        if (find_applicable(program, found, line->given[i].option->name) == NULL)
            return error_set(error, ERROR_INVALID, "Option \"--%s\" does not go with \"%s %s\"", line->given[i].option->name,
                             program->name, found->name);
    *command = found;
    *count = line->word_count - used;
    *operands = argv + 1;
    for (int i = 0; i < *count; i++)
        argv[1 + i] = line->words[used + i];
    if (check_operands(program, found, *count, *operands, error) != 0)
        return -1;
    if (file.path != NULL && *file.path != '\0' && read_config(program, &file, error) != 0)
        goto out;
    if (settle_all(program, found, program->options, line, &file, settings, error) != 0 ||
        settle_all(program, found, found->options, line, &file, settings, error) != 0) {
        options_free(program, found, settings);
        goto out;
    }
    result = 0;
out:
    config_free(&file);
    return result;
}

int options_parse(const struct program_spec *program, int argc, char **argv, void *settings,
                  const struct command_spec **command, char ***operands, int *count, struct error *error) {
    struct command_line line = {0};
    int result = scan(program, argc, argv, &line, error);
    if (result == 0)
        result = resolve(program, argv, &line, settings, command, operands, count, error);
    command_line_free(&line);
    return result;
}

static void free_table(const struct option_spec *table, void *settings) {
    for (const struct option_spec *option = table; option != NULL && option->name != NULL; option++)
        option_value_free(option, settings);
}

void options_free(const struct program_spec *program, const struct command_spec *command, void *settings) {
    free_table(program->options, settings);
    free_table(command->options, settings);
}

/* Output that could not be written (a full disk, a closed pipe) is a failure, also of --help. */
static int finish_output(void) {
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void write_help(const struct program_spec *program, const struct command_line *line) {
    int used;
    const struct command_spec *command = find_command(program, line, &used);
    if (command != NULL || line->word_count == 0 || !options_write_group_help(program, line->words[0], stdout))
        options_write_help(program, command, stdout);
}

int options_run(const struct program_spec *program, int argc, char **argv) {
    struct command_line line = {0};
    struct error error = {0};
    const struct command_spec *command = NULL;
    char **operands = NULL;
    int count = 0, status = EXIT_USAGE;
    int scanned = scan(program, argc, argv, &line, &error);
    if (line.help || line.version || line.man) {
        if (line.help)
            write_help(program, &line);
        else if (line.version)
            printf("%s %s\n", program->name, program->version);
        else
            options_write_man(program, stdout);
        status = finish_output();
        goto out;
    }
    void *settings = memory_new(program->settings_size);
    bool resolved = scanned == 0 && resolve(program, argv, &line, settings, &command, &operands, &count, &error) == 0;
    if (resolved && (program->prepare == NULL || program->prepare(settings, command, &error) == 0))
        status = command->run(settings, operands, count);
    else
        fprintf(stderr, "%s: %s\n", program->name, error.message);
    if (resolved)
        options_free(program, command, settings);
    free(settings);
out:
    command_line_free(&line);
    return status;
}
