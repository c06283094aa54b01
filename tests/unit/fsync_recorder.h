/* An fsync() in the place of the C library's in the program that includes this: it tells what was brought to the disk. */
#ifndef TESTS_UNIT_FSYNC_RECORDER_H
#define TESTS_UNIT_FSYNC_RECORDER_H

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/text.h"

/* What was done in which order, a letter each: d for a directory, f for a file. The test frees it. */
static struct text done;

int fsync(int file) {
    int (*real)(int);
    struct stat status;
    *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    if (fstat(file, &status) == 0)
        text_add_string(&done, S_ISDIR(status.st_mode) ? "d" : "f");
    return real(file);
}

#endif
