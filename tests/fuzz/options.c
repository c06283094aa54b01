/* Command line, environment and configuration file of a program: lines of the input that begin with "arg " and "env " are the
 * first two, all others the file. What is taken lies within the bounds of its option. */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "common/options.h"

struct settings {
    char *listen;
    bool verbose;
    long threads, timeout, size;
    struct option_list properties;
};

static int run_nothing(void *settings, char **operands, int count) {
    (void)settings, (void)operands, (void)count;
    return 0;
}

static const struct option_spec common_options[] = {
    {.name = "verbose", .letter = 'v', .type = OPTION_FLAG, .offset = offsetof(struct settings, verbose), .help = "Say more."},
    {.name = NULL},
};
static const struct option_spec serve_options[] = {
    {.name = "listen", .letter = 'l', .type = OPTION_STRING, .argument = "ADDRESS", .fallback = "127.0.0.1:8080",
     .offset = offsetof(struct settings, listen), .help = "The address."},
    {.name = "threads", .type = OPTION_INTEGER, .argument = "COUNT", .fallback = "2", .minimum = 1, .maximum = 64,
     .offset = offsetof(struct settings, threads), .help = "Threads."},
    {.name = "timeout", .type = OPTION_DURATION, .argument = "TIME", .fallback = "10s", .minimum = 1000, .maximum = 3600000,
     .offset = offsetof(struct settings, timeout), .help = "A time."},
    {.name = "size", .type = OPTION_SIZE, .argument = "BYTES", .fallback = "64k", .offset = offsetof(struct settings, size),
     .help = "A size."},
    {.name = "property", .letter = 'X', .type = OPTION_LIST, .argument = "NAME=VALUE",
     .offset = offsetof(struct settings, properties), .help = "A property."},
    {.name = NULL},
};
static const struct command_spec commands[] = {
    {.name = "serve", .summary = "Serve", .options = serve_options, .run = run_nothing},
    {.name = "project add", .operands = "NAME", .operands_minimum = 1, .operands_maximum = 1, .summary = "Add", .run = run_nothing},
    {.name = NULL},
};
static const struct program_spec program = {.name = "jwk-fuzz", .version = "1", .summary = "is fuzzed", .prefix = "JWK_FUZZ",
                                            .options = common_options, .commands = commands,
                                            .settings_size = sizeof(struct settings)};

enum { ARGUMENTS_MAX = 16 };

/* A file that has no name on disk. */
static int open_file(char path[64]) {
    int file = memfd_create("config", 0);
    REQUIRE(file >= 0);
    snprintf(path, 64, "/proc/self/fd/%d", file);
    return file;
}

static void check(const struct settings *settings) {
    REQUIRE(settings->listen != NULL);
    REQUIRE(settings->threads >= 1 && settings->threads <= 64);
    REQUIRE(settings->timeout >= 1000 && settings->timeout <= 3600000);
    REQUIRE(settings->size >= 0);
    for (size_t i = 0; i < settings->properties.count; i++)
        REQUIRE(settings->properties.items[i] != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct error error = {0};
    struct settings settings = {0};
    const struct command_spec *command = NULL;
    char path[64], *argv[ARGUMENTS_MAX + 5], *lines[ARGUMENTS_MAX], **operands = NULL;
    char name[] = "jwk-fuzz", serve[] = "serve", config[] = "--config";
    int argc = 0, count = 0, line_count = 0, file = open_file(path);
    argv[argc++] = name;
    argv[argc++] = serve;
    argv[argc++] = config;
    argv[argc++] = path;
    while (size) {
        char *line = take_line(&bytes, &size);
        if (strncmp(line, "arg ", 4) == 0 && line_count < ARGUMENTS_MAX) {
            argv[argc++] = line + 4;
            lines[line_count++] = line;
            continue;
        }
        if (strncmp(line, "env ", 4) == 0)
            setenv("JWK_FUZZ_PROPERTY", line + 4, 1), setenv("JWK_FUZZ_TIMEOUT", line + 4, 1);
        else
            REQUIRE(dprintf(file, "%s\n", line) >= 0);
        free(line);
    }
    argv[argc] = NULL;
    if (options_parse(&program, argc, argv, &settings, &command, &operands, &count, &error) == 0) {
        REQUIRE(count >= 0 && count <= argc);
        if (command && strcmp(command->name, "serve") == 0)
            check(&settings);
        options_free(&program, command, &settings);
    } else {
        REQUIRE(error.code == ERROR_INVALID && error.message[0]);
    }
    unsetenv("JWK_FUZZ_PROPERTY");
    unsetenv("JWK_FUZZ_TIMEOUT");
    for (int i = 0; i < line_count; i++)
        free(lines[i]);
    close(file);
    return 0;
}
