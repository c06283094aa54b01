/* Reading master keys, and making one. */
#include "master_key.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base64url.h"
#include "common/clock.h"
#include "common/identifier.h"
#include "common/memory.h"
#include "common/secret_file.h"
#include "common/spawn.h"

#define DEFAULT_CREDENTIAL "master-key"
#define ID_PREFIX          "jwk-api master key"

enum { KEY_LENGTH = BASE64URL_LENGTH(MASTER_KEY_BYTES) };

struct master_key_source master_key_source_of(const struct settings *settings) {
    return (struct master_key_source){.file = settings->master_key_file,
                                      .command = settings->master_key_command,
                                      .credential = settings->master_key_credential};
}

/* The path of a credential that systemd has handed over, or NULL. */
static char *credential_path(const char *name) {
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    return directory && *directory ? memory_format("%s/%s", directory, name) : NULL;
}

bool master_key_source_is_given(const struct master_key_source *source) {
    if (source->file || source->command || source->credential)
        return true;
    char *path = credential_path(DEFAULT_CREDENTIAL);
    bool given = path && access(path, F_OK) == 0;
    free(path);
    return given;
}

/* ---- the program ---- */

/* Reads all that the program prints, up to the end of its output. 0, -1 when the time is over, -2 when it is too much. */
static int read_output(int output, int64_t deadline, char *bytes, size_t *length) {
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        struct pollfd polled = {.fd = output, .events = POLLIN};
        if (left <= 0)
            return -1;
        int ready = poll(&polled, 1, (int)left);
        if (ready <= 0)
            continue;
        ssize_t got = read(output, bytes + *length, SECRET_FILE_MAX + 1 - *length);
        if (got == 0)
            return 0;
        if (got > 0)
            *length += (size_t)got;
        if (*length > SECRET_FILE_MAX)
            return -2;
    }
}

/* Waits for the program's end; false when the time is over. */
static bool await_end(int process, int64_t deadline) {
    for (;;) {
        int64_t left = deadline - clock_monotonic_ms();
        struct pollfd polled = {.fd = process, .events = POLLIN};
        if (left <= 0)
            return false;
        if (poll(&polled, 1, (int)left) > 0)
            return true;
    }
}

static int judge_end(const char *program, int end, struct error *error) {
    if (WIFEXITED(end) && WEXITSTATUS(end) == 0)
        return 0;
    if (WIFEXITED(end))
        return error_set(error, ERROR_INVALID, "master key command %s ended with status %d", program, WEXITSTATUS(end));
    return error_set(error, ERROR_INVALID, "master key command %s was ended by signal %d", program, WTERMSIG(end));
}

static int run_command(const char *program, struct text *content, struct error *error) {
    int output[2];
    struct spawned spawned;
    if (pipe2(output, O_CLOEXEC) != 0)
        return error_set(error, ERROR_UNAVAILABLE, "starting the master key command: %s", strerror(errno));
    /* What it has to say of a failure goes where our log goes. */
    const struct spawn_streams streams = {.input = -1, .output = output[1], .messages = STDERR_FILENO};
    int status = spawn_start("master key command", program, NULL, &streams, &spawned, error);
    close(output[1]);
    if (status != 0) {
        close(output[0]);
        return -1;
    }
    int64_t deadline = clock_monotonic_ms() + MASTER_KEY_TIMEOUT_MS;
    char *bytes = memory_new(SECRET_FILE_MAX + 1);
    size_t length = 0;
    status = read_output(output[0], deadline, bytes, &length);
    close(output[0]);
    if (status == 0 && !await_end(spawned.process, deadline))
        status = -1;
    int end = spawn_end(&spawned, status != 0);
    if (status == -1)
        error_set(error, ERROR_INVALID, "master key command %s did not end within %d s", program, MASTER_KEY_TIMEOUT_MS / 1000);
    else if (status == -2)
        error_set(error, ERROR_INVALID, "master key command %s prints more than %d bytes", program, SECRET_FILE_MAX);
    else if ((status = judge_end(program, end, error)) == 0)
        text_add(content, bytes, length);
    OPENSSL_cleanse(bytes, SECRET_FILE_MAX + 1);
    free(bytes);
    return status ? -1 : 0;
}

/* ---- reading ---- */

static int read_source(const struct master_key_source *source, char **where, struct text *content, struct error *error) {
    const char *credential = source->credential ? source->credential : DEFAULT_CREDENTIAL;
    if ((source->file != NULL) + (source->command != NULL) + (source->credential != NULL) > 1)
        return error_set(error, ERROR_INVALID,
                         "Give one of --master-key-file, --master-key-command and --master-key-credential, not several");
    if (source->file) {
        *where = memory_format("master key file %s", source->file);
        return secret_file_read("master key file", source->file, content, error);
    }
    if (source->command) {
        *where = memory_format("master key command %s", source->command);
        return run_command(source->command, content, error);
    }
    if (!master_key_source_is_given(source))
        return error_set(error, ERROR_INVALID, "%s", MASTER_KEY_MISSING);
    if (*credential == '\0' || strchr(credential, '/'))
        return error_set(error, ERROR_INVALID, "--master-key-credential %s: a name is wanted, without a slash", credential);
    char *path = credential_path(credential);
    if (!path)
        return error_set(error, ERROR_INVALID,
                         "--master-key-credential %s: there are no credentials here ($CREDENTIALS_DIRECTORY is not set); let "
                         "systemd hand it over with LoadCredential=%s:FILE",
                         credential, credential);
    *where = memory_format("credential %s", credential);
    int status = secret_file_read("credential", path, content, error);
    free(path);
    return status;
}

static void name_key(struct master_key *key) {
    unsigned char input[sizeof ID_PREFIX - 1 + MASTER_KEY_BYTES], hash[32];
    char text[BASE64URL_LENGTH(sizeof hash) + 1];
    memcpy(input, ID_PREFIX, sizeof ID_PREFIX - 1);
    memcpy(input + sizeof ID_PREFIX - 1, key->bytes, MASTER_KEY_BYTES);
    sha256_bytes(input, sizeof input, hash);
    base64url_encode(hash, sizeof hash, text);
    memcpy(key->id, text, sizeof key->id - 1);
    key->id[sizeof key->id - 1] = '\0';
    OPENSSL_cleanse(input, sizeof input);
}

/* Takes a line without its white space. The key itself is in no sentence. */
static int take_line(struct master_keys *keys, const char *line, size_t length, int number, struct error *error) {
    unsigned char bytes[KEY_LENGTH * 3 / 4 + 1];
    int status = -1;
    if (length != KEY_LENGTH || base64url_decode(line, length, bytes) != MASTER_KEY_BYTES) {
        error_set(error, ERROR_INVALID, "%s: line %d is no master key: %d bytes in base64url (%d characters) are wanted",
                  keys->where, number, MASTER_KEY_BYTES, KEY_LENGTH);
        goto out;
    }
    if (keys->count == MASTER_KEYS_MAX) {
        error_set(error, ERROR_INVALID, "%s: more than %d keys", keys->where, MASTER_KEYS_MAX);
        goto out;
    }
    struct master_key *key = &keys->items[keys->count];
    memcpy(key->bytes, bytes, MASTER_KEY_BYTES);
    name_key(key);
    if (master_keys_find(keys, key->id)) {
        error_set(error, ERROR_INVALID, "%s: line %d holds the key %s once more", keys->where, number, key->id);
        goto out;
    }
    keys->count++;
    status = 0;
out:
    OPENSSL_cleanse(bytes, sizeof bytes);
    return status;
}

static bool is_blank(char character) {
    return character == ' ' || character == '\t' || character == '\r';
}

static int take_lines(struct master_keys *keys, const struct text *content, struct error *error) {
    const char *line = content->bytes, *end = content->bytes + content->length;
    for (int number = 1; line && line < end; number++) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = newline ? newline : end, *next = line_end + 1;
        while (line < line_end && is_blank(*line))
            line++;
        while (line < line_end && is_blank(line_end[-1]))
            line_end--;
        if (line < line_end && *line != '#' && take_line(keys, line, (size_t)(line_end - line), number, error))
            return -1;
        line = next;
    }
    return keys->count ? 0 : error_set(error, ERROR_INVALID, "%s holds no key", keys->where);
}

int master_keys_read(const struct master_key_source *source, struct master_keys *keys, struct error *error) {
    struct text content = TEXT_EMPTY;
    *keys = (struct master_keys){0};
    int status = read_source(source, &keys->where, &content, error);
    if (status == 0)
        status = take_lines(keys, &content, error);
    text_wipe(&content);
    if (status == 0)
        return 0;
    /* A file that is not there, or not for us alone, is for the operator to mend: trying again does not help. */
    if (error->code == ERROR_NOT_FOUND || error->code == ERROR_DENIED)
        error->code = ERROR_INVALID;
    master_keys_clear(keys);
    return -1;
}

void master_keys_clear(struct master_keys *keys) {
    free(keys->where);
    OPENSSL_cleanse(keys, sizeof *keys);
    *keys = (struct master_keys){0};
}

const struct master_key *master_keys_find(const struct master_keys *keys, const char *id) {
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->items[i].id, id) == 0)
            return &keys->items[i];
    return NULL;
}

/* ---- jwk-api master-key generate ---- */

int master_key_generate_run(void *context, char **operands, int count) {
    (void)operands, (void)count;
    const struct settings *settings = context;
    struct master_key key;
    char line[KEY_LENGTH + 2];
    struct error error;
    random_bytes(key.bytes, sizeof key.bytes);
    name_key(&key);
    base64url_encode(key.bytes, sizeof key.bytes, line);
    line[KEY_LENGTH] = '\n';
    line[KEY_LENGTH + 1] = '\0';
    int status =
        settings->output ? secret_file_write_new("master key file", settings->output, line, KEY_LENGTH + 1, &error) : 0;
    if (status != 0)
        fprintf(stderr, "jwk-api: %s\n", error.message);
    else if (!settings->output && (fputs(line, stdout) < 0 || fflush(stdout) != 0)) {
        fprintf(stderr, "jwk-api: the key can not be written to standard output\n");
        status = -1;
    } else {
        fprintf(stderr, "Master key %s. Keep a copy of it apart from the backups: without it nothing in them can be opened.\n",
                key.id);
    }
    OPENSSL_cleanse(&key, sizeof key);
    OPENSSL_cleanse(line, sizeof line);
    return status == 0 ? 0 : 1;
}
