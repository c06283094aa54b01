/* Options from all sources, their errors, and the texts made from the tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory.h"
#include "common/options.h"

struct settings {
    char *listen, *data_dir;
    bool verbose, force;
    long threads, timeout, size, unbounded;
    struct option_list properties;
};

static int run_nothing(void *settings, char **operands, int count) {
    (void)settings;
    (void)operands;
    return 10 + count;
}

static const struct option_spec common_options[] = {
    {.name = "data-dir", .letter = 'd', .type = OPTION_STRING, .argument = "DIR", .offset = offsetof(struct settings, data_dir),
     .help = "Where the data is."},
    {.name = "verbose", .letter = 'v', .type = OPTION_FLAG, .offset = offsetof(struct settings, verbose), .help = "Say more."},
    {.name = NULL},
};
static const struct option_spec serve_options[] = {
    {.name = "listen", .letter = 'l', .type = OPTION_STRING, .argument = "ADDRESS", .fallback = "127.0.0.1:8080",
     .offset = offsetof(struct settings, listen),
     .help = "The address on which requests are taken, which is a sentence long enough to be wrapped "
             "at the edge of eighty columns."},
    {.name = "threads", .type = OPTION_INTEGER, .argument = "COUNT", .fallback = "2", .minimum = 1, .maximum = 64,
     .offset = offsetof(struct settings, threads), .help = "Threads."},
    {.name = "deploy-timeout", .type = OPTION_DURATION, .argument = "TIME", .fallback = "10s", .minimum = 1000,
     .maximum = 3600000, .offset = offsetof(struct settings, timeout), .help = "How long an update waits."},
    {.name = "size", .type = OPTION_SIZE, .argument = "BYTES", .fallback = "64k", .offset = offsetof(struct settings, size),
     .help = "A size."},
    {.name = "unbounded", .type = OPTION_INTEGER, .argument = "N", .offset = offsetof(struct settings, unbounded),
     .help = "A number."},
    {.name = "property", .letter = 'X', .type = OPTION_LIST, .argument = "NAME=VALUE",
     .offset = offsetof(struct settings, properties), .help = "A property of librdkafka."},
    {.name = NULL},
};
static const struct option_spec remove_options[] = {
    {.name = "force", .letter = 'f', .type = OPTION_FLAG, .offset = offsetof(struct settings, force), .help = "Do not ask."},
    {.name = NULL},
};
static const struct command_spec commands[] = {
    {.name = "serve", .summary = "Serve requests", .description = "First paragraph.\n\nSecond.\n  kept  as it is",
     .options = serve_options, .run = run_nothing},
    {.name = "project add", .operands = "NAME", .operands_minimum = 1, .operands_maximum = 1, .summary = "Add a project",
     .run = run_nothing},
    {.name = "project remove", .operands = "NAME…", .operands_minimum = 1, .operands_maximum = 3, .summary = "Remove projects",
     .options = remove_options, .run = run_nothing},
    {.name = "status", .operands = "[NAME]", .operands_maximum = 1, .summary = "Show one", .run = run_nothing},
    {.name = "status all", .summary = "Show all", .run = run_nothing},
    {.name = NULL},
};
static const struct option_exception exceptions[] = {{"data-dir", "status all"}, {NULL, NULL}};
static const struct program_spec program = {
    .name = "jwk-test", .version = "1.2.3", .summary = "tests options", .prefix = "JWK_TEST", .options = common_options,
    .exceptions = exceptions,
    .description = ".A paragraph that begins with a dot.\n\n'Another one' with \\ and - in it.", .commands = commands,
    .settings_size = sizeof(struct settings), .files = " /etc/x\n  the file",
    .examples = "Like this:\n\n  jwk-test serve -X a=b\n\nEnd."};

/* What one parse left. */
static struct {
    struct settings settings;
    const struct command_spec *command;
    char **operands;
    int count;
    struct error error;
    char *argv[32];
    bool parsed;
} fixture;

static int reset(void **state) {
    (void)state;
    static const char *const variables[] = {"CONFIG",  "LISTEN",         "DATA_DIR", "VERBOSE",
                                            "THREADS", "DEPLOY_TIMEOUT", "PROPERTY", "PORT"};
    if (fixture.parsed)
        options_free(&program, fixture.command, &fixture.settings);
    memset(&fixture, 0, sizeof fixture);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        char *name = memory_format("JWK_TEST_%s", variables[i]);
        unsetenv(name);
        free(name);
    }
    return 0;
}

/* Parses a command line of words separated by single spaces, with an environment: NAME, VALUE, …, NULL. What an earlier parse
 * of the same test left is forgotten. */
static int parse_with(const char *line, ...) {
    static char copy[512];
    int argc = 0;
    va_list variables;
    reset(NULL);
    va_start(variables, line);
    for (const char *name = va_arg(variables, const char *); name != NULL; name = va_arg(variables, const char *))
        setenv(name, va_arg(variables, const char *), 1);
    va_end(variables);
    snprintf(copy, sizeof copy, "jwk-test %s", line);
    for (char *rest = copy, *word; (word = strsep(&rest, " ")) != NULL;)
        fixture.argv[argc++] = word;
    int result = options_parse(&program, argc, fixture.argv, &fixture.settings, &fixture.command, &fixture.operands,
                               &fixture.count, &fixture.error);
    fixture.parsed = result == 0;
    return result;
}

static int parse(const char *line) {
    return parse_with(line, NULL);
}

static char config_path[] = "/tmp/test_options.XXXXXX";

static void write_config(const char *text) {
    FILE *file = fopen(config_path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int make_config(void **state) {
    (void)state;
    int fd = mkstemp(config_path);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int remove_config(void **state) {
    reset(state);
    return unlink(config_path);
}

static void assert_refused(const char *line, const char *message) {
    if (parse(line) == 0)
        fail_msg("\"%s\" was taken", line);
    assert_int_equal(fixture.error.code, ERROR_INVALID);
    assert_string_equal(fixture.error.message, message);
}

static void defaults_fill_what_nobody_sets(void **state) {
    (void)state;
    assert_int_equal(parse("serve"), 0);
    assert_string_equal(fixture.command->name, "serve");
    assert_string_equal(fixture.settings.listen, "127.0.0.1:8080");
    assert_null(fixture.settings.data_dir);
    assert_false(fixture.settings.verbose);
    assert_int_equal(fixture.settings.threads, 2);
    assert_int_equal(fixture.settings.timeout, 10000);
    assert_int_equal(fixture.settings.size, 65536);
    assert_int_equal(fixture.settings.properties.count, 0);
    assert_int_equal(fixture.count, 0);
}

static void every_way_of_writing_an_option_is_taken(void **state) {
    (void)state;
    assert_int_equal(parse("-v --data-dir=/x serve --threads 3 -l:1 -X a=b -Xc=d --property=e=f --deploy-timeout 2m --size=1M "
                           "--unbounded -5"), 0);
    assert_true(fixture.settings.verbose);
    assert_string_equal(fixture.settings.data_dir, "/x");
    assert_int_equal(fixture.settings.threads, 3);
    assert_string_equal(fixture.settings.listen, ":1");
    assert_int_equal(fixture.settings.properties.count, 3);
    assert_string_equal(fixture.settings.properties.items[0], "a=b");
    assert_string_equal(fixture.settings.properties.items[1], "c=d");
    assert_string_equal(fixture.settings.properties.items[2], "e=f");
    assert_int_equal(fixture.settings.timeout, 120000);
    assert_int_equal(fixture.settings.size, 1048576);
    assert_int_equal(fixture.settings.unbounded, -5);
    assert_int_equal(parse("--threads 3 -d /x serve --threads=4 -vd /y"), 0); /* the last one wins; letters together */
    assert_int_equal(fixture.settings.threads, 4);
    assert_string_equal(fixture.settings.data_dir, "/y");
    assert_true(fixture.settings.verbose);
}

static void operands_are_what_is_left(void **state) {
    (void)state;
    assert_int_equal(parse("project -f remove a --verbose b -- -c"), 0);
    assert_string_equal(fixture.command->name, "project remove");
    assert_true(fixture.settings.force);
    assert_int_equal(fixture.count, 3);
    assert_string_equal(fixture.operands[0], "a");
    assert_string_equal(fixture.operands[1], "b");
    assert_string_equal(fixture.operands[2], "-c");
    assert_int_equal(parse("status one"), 0);
    assert_string_equal(fixture.command->name, "status");
    assert_int_equal(parse("status all"), 0); /* the longer name wins */
    assert_string_equal(fixture.command->name, "status all");
}

static void values_have_units_and_ranges(void **state) {
    (void)state;
    static const struct {
        const char *line;
        long timeout, size;
    } good[] = {
        {"serve --deploy-timeout 90s", 90000, 65536},   {"serve --deploy-timeout 1500ms", 1500, 65536},
        {"serve --deploy-timeout 1h", 3600000, 65536},  {"serve --size 2G --deploy-timeout 1s", 1000, 2147483648},
        {"serve --size 3K", 10000, 3072},               {"serve --size 0", 10000, 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(parse(good[i].line), 0);
        assert_int_equal(fixture.settings.timeout, good[i].timeout);
        assert_int_equal(fixture.settings.size, good[i].size);
    }
    assert_refused("serve --threads 0", "Option --threads: \"0\" is out of range: it must be between 1 and 64");
    assert_refused("serve --threads 65", "Option --threads: \"65\" is out of range: it must be between 1 and 64");
    assert_refused("serve --threads 99999999999999999999",
                   "Option --threads: \"99999999999999999999\" is out of range: it must be "
                   "between 1 and 64");
    assert_refused("serve --threads 2x", "Option --threads: \"2x\" is not a whole number");
    assert_refused("serve --threads=", "Option --threads: \"\" is not a whole number");
    assert_refused("serve --deploy-timeout 2h",
                   "Option --deploy-timeout: \"2h\" is out of range: it must be between 1s and 1h");
    assert_refused("serve --deploy-timeout 10",
                   "Option --deploy-timeout: \"10\" is not a duration such as 250ms, 10s, 5m, 2h or 30d");
    assert_refused("serve --deploy-timeout 5x",
                   "Option --deploy-timeout: \"5x\" is not a duration such as 250ms, 10s, 5m, 2h or 30d");
    assert_refused("serve --deploy-timeout -5s",
                   "Option --deploy-timeout: \"-5s\" is not a duration such as 250ms, 10s, 5m, 2h or 30d");
    assert_refused("serve --size 9999999999G", "Option --size: \"9999999999G\" is too large");
    assert_refused("serve --unbounded 99999999999999999999", "Option --unbounded: \"99999999999999999999\" is too large");
    assert_refused("serve --size 1.5M", "Option --size: \"1.5M\" is not a size such as 4096, 64k, 1M or 2G");
}

static void sources_override_each_other_in_order(void **state) {
    (void)state;
    write_config("# a comment\n\n  listen =  file:1  \nthreads=7\nverbose = true\ndata-dir = /file\nproperty = a=1 \"b=2 3\"\n"
                 "property = c=4\nforce = false\n");
    assert_int_equal(parse_with("serve", "JWK_TEST_CONFIG", config_path, NULL), 0);
    assert_string_equal(fixture.settings.listen, "file:1");
    assert_int_equal(fixture.settings.threads, 7);
    assert_true(fixture.settings.verbose);
    assert_int_equal(fixture.settings.properties.count, 3);
    assert_string_equal(fixture.settings.properties.items[1], "b=2 3");
    assert_string_equal(fixture.settings.properties.items[2], "c=4");
    assert_int_equal(parse_with("serve --threads 9", "JWK_TEST_CONFIG", config_path, "JWK_TEST_LISTEN", "variable:1",
                                "JWK_TEST_THREADS", "8", "JWK_TEST_PROPERTY", " x=1\ty=2 ",
                                "JWK_TEST_VERBOSE", "false", "JWK_TEST_DATA_DIR", "",
                                "JWK_TEST_PORT", "tcp://10.0.0.1", NULL), 0);
    assert_string_equal(fixture.settings.listen, "variable:1");
    assert_int_equal(fixture.settings.threads, 9);
    assert_false(fixture.settings.verbose);
    assert_string_equal(fixture.settings.data_dir, "/file");
    assert_int_equal(fixture.settings.properties.count, 2);
    assert_string_equal(fixture.settings.properties.items[1], "y=2");
    assert_int_equal(parse_with("serve -X z=1", "JWK_TEST_CONFIG", config_path, "JWK_TEST_PROPERTY", "x=1", NULL), 0);
    assert_int_equal(fixture.settings.properties.count, 1);
    assert_string_equal(fixture.settings.properties.items[0], "z=1");
    char *line = memory_format("--config %s serve", config_path);
    assert_int_equal(parse_with(line, "JWK_TEST_CONFIG", "/nonexistent", NULL), 0);
    assert_int_equal(fixture.settings.threads, 7);
    free(line);
}

static void errors_name_their_source(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"threads = 3\nlsten = x\n", ":2: Unknown option \"lsten\"; did you mean \"listen\"?"},
        {"threads = many\n", ":1: threads: \"many\" is not a whole number"},
        {"\n\nverbose = yes\n", ":3: verbose: \"yes\" is neither true nor false"},
        {"listen\n", ":1: a line is \"name = value\""},
        {"help = true\n", ":1: \"help\" cannot stand in a file"},
        {"property = \"a b\n", ":1: property: an item begins with a double quote that does not end it"},
        {"property = \"a\"b\n", ":1: property: an item begins with a double quote that does not end it"},
        {" = 5\n", ":1: Unknown option \"\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_config(cases[i].text);
        assert_int_equal(parse_with("serve", "JWK_TEST_CONFIG", config_path, NULL), -1);
        assert_memory_equal(fixture.error.message, config_path, strlen(config_path));
        assert_string_equal(fixture.error.message + strlen(config_path), cases[i].message);
    }
    assert_int_equal(parse_with("serve", "JWK_TEST_THREADS", "x", NULL), -1);
    assert_string_equal(fixture.error.message, "Environment variable JWK_TEST_THREADS: \"x\" is not a whole number");
    assert_int_equal(parse_with("serve", "JWK_TEST_CONFIG", "/nonexistent", NULL), -1);
    assert_string_equal(fixture.error.message, "Cannot read the config file \"/nonexistent\": No such file or directory");
    assert_int_equal(parse_with("serve", "JWK_TEST_CONFIG", "/tmp", NULL), -1);
    assert_string_equal(fixture.error.message, "Cannot read the config file \"/tmp\": Is a directory");
}

/* A loss of power can leave a file of the right length that holds nothing. */
static void a_damaged_file_is_refused(void **state) {
    (void)state;
    FILE *file = fopen(config_path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite("threads = 3\n\0\0\0\0", 1, 16, file), 16);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(parse_with("serve", "JWK_TEST_CONFIG", config_path, NULL), -1);
    assert_non_null(strstr(fixture.error.message, ":2: the line holds the character NUL: the file is damaged"));
}

static void wrong_command_lines_say_what_is_wrong(void **state) {
    (void)state;
    assert_refused("serve --lsten x", "Unknown option \"--lsten\"; did you mean \"--listen\"?");
    assert_refused("serve --deploytimeout=5s", "Unknown option \"--deploytimeout\"; did you mean \"--deploy-timeout\"?");
    assert_refused("serve --nothing-like-it", "Unknown option \"--nothing-like-it\"");
    assert_refused("serve --linen x", "Unknown option \"--linen\""); /* another word, and no slip */
    assert_refused("serve -q", "Unknown option \"-q\"");
    assert_refused("serve --verbose=true", "Option \"--verbose\" takes no value");
    assert_refused("serve --listen", "Option \"--listen\" needs a value (ADDRESS)");
    assert_refused("serve -X", "Option \"-X\" needs a value (NAME=VALUE)");
    assert_refused("serve --listen --verbose", "Option \"--listen\" needs a value (ADDRESS), and \"--verbose\" is an option; if it is meant, write "
                                               "--listen=--verbose");
    assert_refused("serve -X --", "Option \"-X\" needs a value (NAME=VALUE), and \"--\" is an option; if it is meant, write --property=--");
    assert_refused("serve --force", "Option \"--force\" does not go with \"jwk-test serve\"");
    assert_refused("-d /x status all", "Option \"--data-dir\" does not go with \"jwk-test status all\"");
    assert_refused("--verbose", "No command was given; \"jwk-test --help\" lists them");
    assert_refused("frobnicate", "Unknown command \"frobnicate\"; \"jwk-test --help\" lists them");
    assert_refused("serv", "Unknown command \"serv\"; did you mean \"serve\"?");
    assert_refused("project", "\"jwk-test project\" needs one of these behind it: add, remove");
    assert_refused("project rename x", "\"jwk-test project\" needs one of these behind it: add, remove");
    assert_refused("project add", "Something is missing behind the command; usage: jwk-test project add [OPTION]… NAME");
    assert_refused("project add a b", "Unexpected argument \"b\"; usage: jwk-test project add [OPTION]… NAME");
    assert_refused("serve now", "Unexpected argument \"now\"; usage: jwk-test serve [OPTION]…");
}

static char *written_help(const struct command_spec *command) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    options_write_help(&program, command, out);
    fclose(out);
    return text;
}

static void a_group_of_commands_has_a_help_of_its_own(void **state) {
    (void)state;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_true(options_write_group_help(&program, "project", out));
    assert_false(options_write_group_help(&program, "proj", out));
    assert_false(options_write_group_help(&program, "serve", out));
    fclose(out);
    assert_non_null(strstr(text, "Usage: jwk-test project COMMAND"));
    assert_non_null(strstr(text, "  project add NAME\n"));
    assert_non_null(strstr(text, "  project remove"));
    assert_null(strstr(text, "serve"));
    free(text);
}

static void a_command_that_has_no_use_for_a_common_option_does_not_offer_it(void **state) {
    (void)state;
    char *text = written_help(&commands[4]);
    assert_null(strstr(text, "--data-dir"));
    assert_non_null(strstr(text, "--verbose"));
    free(text);
    text = written_help(&commands[3]);
    assert_non_null(strstr(text, "--data-dir"));
    free(text);
    /* Where it is set for all commands, it does no harm. */
    assert_int_equal(parse_with("status all", "JWK_TEST_DATA_DIR", "/x", NULL), 0);
    assert_null(fixture.settings.data_dir);
    write_config("data-dir = /x\nverbose = true\n");
    assert_int_equal(parse_with("status all", "JWK_TEST_CONFIG", config_path, NULL), 0);
    assert_null(fixture.settings.data_dir);
    assert_true(fixture.settings.verbose);
}

static void help_fits_eighty_columns_and_tells_all(void **state) {
    (void)state;
    const struct command_spec *shown[] = {NULL, &commands[0], &commands[1]};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char *text = written_help(shown[i]);
        for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
            size_t columns = 0;
            for (const char *at = line; *at != '\0'; at++)
                columns += ((unsigned char)*at & 0xc0) != 0x80;
            assert_in_range(columns, 0, 80);
        }
        free(text);
    }
    char *text = written_help(&commands[0]);
    assert_non_null(strstr(text, "Usage: jwk-test serve [OPTION]…\n"));
    assert_non_null(strstr(text, "\n  -l, --listen ADDRESS\n"));
    assert_non_null(strstr(text, "\n          [default: 127.0.0.1:8080] [env: JWK_TEST_LISTEN]\n"));
    assert_non_null(strstr(text, "\n  kept  as it is\n"));
    assert_null(strstr(text, "--force"));
    free(text);
    text = written_help(NULL);
    assert_non_null(strstr(text, "\n  project remove NAME…\n"));
    free(text);
}

static void manual_page_has_its_sections_and_escapes(void **state) {
    (void)state;
    static const char *const sections[] = {"NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "ENVIRONMENT", "FILES",
                                           "EXIT STATUS", "EXAMPLES"};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    setenv("SOURCE_DATE_EPOCH", "86400", 1);
    options_write_man(&program, out);
    unsetenv("SOURCE_DATE_EPOCH");
    fclose(out);
    assert_memory_equal(text, ".TH JWK-TEST 8 1970-01-02 \"jwk-test 1.2.3\"", 42);
    const char *at = text;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        char *heading = memory_format("\n.SH %s\n", sections[i]);
        at = strstr(at, heading);
        if (at == NULL)
            fail_msg("no section %s, or not in its place", sections[i]);
        free(heading);
    }
    assert_non_null(strstr(text, "\n\\&.A paragraph"));
    assert_non_null(strstr(text, "\n\\(aqAnother one\\(aq with \\e and \\- in it.\n"));
    assert_non_null(strstr(text, ".nf\n  jwk\\-test serve \\-X a=b\n.fi\n"));
    assert_non_null(strstr(text, "\\fBJWK_TEST_DATA_DIR\\fR"));
    assert_non_null(strstr(text, "Where the data is.\nNot of \\fBstatus all\\fR.\n"));
    free(text);
}

static void run_returns_the_status_of_the_command(void **state) {
    (void)state;
    char *argv[] = {(char *)"jwk-test", (char *)"project", (char *)"remove", (char *)"a", (char *)"b", NULL};
    assert_int_equal(options_run(&program, 5, argv), 12);
    argv[1] = NULL;
    assert_int_equal(options_run(&program, 1, argv), 2);
}

int main(void) {
    memory_init();
#define TEST(test) cmocka_unit_test_setup_teardown(test, reset, reset)
    const struct CMUnitTest tests[] = {
        TEST(defaults_fill_what_nobody_sets),
        TEST(every_way_of_writing_an_option_is_taken),
        TEST(operands_are_what_is_left),
        TEST(values_have_units_and_ranges),
        TEST(sources_override_each_other_in_order),
        TEST(errors_name_their_source),
        TEST(a_damaged_file_is_refused),
        TEST(wrong_command_lines_say_what_is_wrong),
        TEST(a_group_of_commands_has_a_help_of_its_own),
        TEST(a_command_that_has_no_use_for_a_common_option_does_not_offer_it),
        TEST(help_fits_eighty_columns_and_tells_all),
        TEST(manual_page_has_its_sections_and_escapes),
        TEST(run_returns_the_status_of_the_command),
    };
    return cmocka_run_group_tests(tests, make_config, remove_config);
}
