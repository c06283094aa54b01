/* A file that tells where a program listens. */
#include "address_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

int address_file_write(const char *path, const char *address, struct error *error) {
    char *temporary = memory_format("%s.new", path);
    /* Not through a symbolic link: somebody else may have put one there, to a file of ours. */
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    bool written = file && fprintf(file, "%s\n", address) >= 0;
    int status = 0;
    if (file && fclose(file) != 0)
        written = false;
    if (!written || rename(temporary, path) != 0)
        status = error_set(error, error_code_of(errno), "writing %s: %s", path, strerror(errno));
    free(temporary);
    return status;
}

int address_file_write_bound(const char *path, const char *listen, unsigned port, struct error *error) {
    const char *colon = strrchr(listen, ':');
    size_t host_length = colon ? (size_t)(colon - listen) : strlen(listen);
    char *address = host_length == 1 && listen[0] == '*' ? memory_format("127.0.0.1:%u", port)
                                                         : memory_format("%.*s:%u", (int)host_length, listen, port);
    int status = address_file_write(path, address, error);
    free(address);
    return status;
}
