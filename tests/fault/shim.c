/* Stands between a program under test and the kernel (LD_PRELOAD), so that what is rare happens when a test wants it: death at the
 * n-th write, sync or produce request, a disk that is full or lies, a clock that jumps, memory that runs out, and a network whose
 * every connection goes through a proxy. Each write below the watched directory is also noted in a journal before it is done, with the
 * syncs that made it durable, so that a power loss can be played afterwards.
 *
 * The test sets the fields of struct control in a file that both map; shim.py names them in the same order. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum operation { WRITE, SYNC_BEGIN, SYNC_END, PRODUCE_BEGIN, PRODUCE_END, RECEIVE_END, OPERATIONS };
enum action { ACT_NOTHING, ACT_KILL, ACT_STOP, ACT_FAIL_WRITES, ACT_FAIL_SYNCS }; /* the last two from then on */

struct control {
    int64_t counts[OPERATIONS];
    /* The trigger: once `first` has happened first_left times, the left-th `then` acts. */
    int64_t first, first_left, then, left, action, fired;
    int64_t write_error, write_short, sync_error; /* errno values and a flag */
    int64_t clock_offset_ms;                      /* of the wall clock */
    int64_t connect_port;                         /* where every connection goes; 0: where it was meant to */
    /* The allocation that fails, of the program's own or of a library's; 0: none; -1: all (where all behind it are to fail). */
    int64_t allocation_left, allocation_of, allocation_continues;
    int64_t harmed; /* how often something has failed, was shortened or told a wrong time by all of this */
};

struct note { /* one entry of the journal; the name and, for 'W', the data follow */
    uint32_t kind, name_length;
    int64_t offset, length;
};

static struct control *control;
static struct control idle;
static int journal = -1;
static char directory[PATH_MAX];
static size_t directory_length;
static struct text { /* what asks for memory: the program itself, and libraries whose failures it must see */
    const char *name;
    uintptr_t begin, end;
} texts[] = {{.name = ""}, {.name = "/libsqlite3."}, {.name = "/libcrypto."}};
static pthread_mutex_t file_lock = PTHREAD_MUTEX_INITIALIZER; /* the journal's order is that of the writes */

static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*next_sendmsg)(int, const struct msghdr *, int);
static ssize_t (*next_recvmsg)(int, struct msghdr *, int);
static int (*next_open)(const char *, int, ...);
static int (*next_fdatasync)(int), (*next_fsync)(int), (*next_ftruncate)(int, off_t), (*next_unlink)(const char *);
static int (*next_connect)(int, const struct sockaddr *, socklen_t), (*next_socket)(int, int, int);
static int (*next_accept4)(int, struct sockaddr *, socklen_t *, int);
static int (*next_clock_gettime)(clockid_t, struct timespec *);

static void *(*next_malloc)(size_t), *(*next_calloc)(size_t, size_t), *(*next_realloc)(void *, size_t);

/* Memory is asked for before the constructor below runs. What the program allocates with is found as it is found elsewhere: its
 * free() gets the blocks. */
#define resolve(next, name)                                                                                                    \
    do {                                                                                                                       \
        if (!(next))                                                                                                           \
            *(void **)&(next) = dlsym(RTLD_NEXT, name);                                                                        \
    } while (0)

static int note_text(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size, (void)context;
    struct text *text = texts; /* the first one is the program */
    for (size_t i = 1; texts[0].end && text == texts && i < sizeof texts / sizeof *texts; i++)
        text = strstr(info->dlpi_name, texts[i].name) ? &texts[i] : text;
    if (text->end)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && part->p_flags & PF_X) {
            text->begin = info->dlpi_addr + part->p_vaddr;
            text->end = text->begin + part->p_memsz;
        }
    }
    return 0;
}

__attribute__((constructor)) static void start(void) {
    *(void **)&next_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    *(void **)&next_open = dlsym(RTLD_NEXT, "open64");
    *(void **)&next_sendmsg = dlsym(RTLD_NEXT, "sendmsg");
    *(void **)&next_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    *(void **)&next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    *(void **)&next_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&next_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    *(void **)&next_unlink = dlsym(RTLD_NEXT, "unlink");
    *(void **)&next_connect = dlsym(RTLD_NEXT, "connect");
    *(void **)&next_socket = dlsym(RTLD_NEXT, "socket");
    *(void **)&next_accept4 = dlsym(RTLD_NEXT, "accept4");
    *(void **)&next_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    dl_iterate_phdr(note_text, NULL);
    const char *path = getenv("FAULT_CONTROL"), *where = getenv("FAULT_DIRECTORY"), *log = getenv("FAULT_JOURNAL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped = file >= 0 ? mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
    control = mapped == MAP_FAILED ? &idle : mapped;
    if (file >= 0)
        close(file);
    if (where && realpath(where, directory))
        directory_length = strlen(directory);
    if (log)
        journal = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    unsetenv("LD_PRELOAD"); /* a hook that the program runs is not under test */
}

static int64_t get(const int64_t *field) { return __atomic_load_n(field, __ATOMIC_SEQ_CST); }

static void note_harm(void) { __atomic_add_fetch(&control->harmed, 1, __ATOMIC_SEQ_CST); }

/* Counts one down; true for the caller that reaches zero. */
static bool count_down(int64_t *field) {
    return get(field) > 0 && __atomic_sub_fetch(field, 1, __ATOMIC_SEQ_CST) == 0;
}

static void happened(enum operation operation) {
    if (!control)
        return;
    __atomic_add_fetch(&control->counts[operation], 1, __ATOMIC_SEQ_CST);
    if (get(&control->action) == ACT_NOTHING)
        return;
    if (get(&control->first_left) > 0) {
        if (get(&control->first) == operation)
            count_down(&control->first_left);
        return;
    }
    if (get(&control->then) != operation || !count_down(&control->left))
        return;
    int64_t action = __atomic_exchange_n(&control->action, ACT_NOTHING, __ATOMIC_SEQ_CST);
    __atomic_store_n(&control->fired, 1, __ATOMIC_SEQ_CST);
    if (action == ACT_FAIL_WRITES)
        __atomic_store_n(&control->write_error, ENOSPC, __ATOMIC_SEQ_CST);
    else if (action == ACT_FAIL_SYNCS)
        __atomic_store_n(&control->sync_error, EIO, __ATOMIC_SEQ_CST);
    else
        kill(getpid(), action == ACT_KILL ? SIGKILL : SIGSTOP);
    while (action == ACT_KILL)
        pause(); /* nothing more is done by this thread */
}

/* ---- files ---- */

/* The name of a watched file, or NULL. The shared index of a write-ahead log is memory, not disk. */
static const char *watched(int file, char path[PATH_MAX]) {
    char link[32] = "/proc/self/fd/";
    char digits[12];
    size_t length = 0, end = strlen(link);
    if (!directory_length || file < 0)
        return NULL;
    for (unsigned rest = (unsigned)file; length == 0 || rest; rest /= 10)
        digits[length++] = (char)('0' + rest % 10);
    while (length)
        link[end++] = digits[--length];
    link[end] = '\0';
    ssize_t count = readlink(link, path, PATH_MAX - 1);
    if (count <= (ssize_t)directory_length + 1)
        return NULL;
    path[count] = '\0';
    if (memcmp(path, directory, directory_length) != 0 || path[directory_length] != '/')
        return NULL;
    const char *name = path + directory_length + 1;
    size_t size = strlen(name);
    return strchr(name, '/') || (size > 4 && strcmp(name + size - 4, "-shm") == 0) ? NULL : name;
}

static int64_t journal_end(void) { return journal < 0 ? 0 : lseek(journal, 0, SEEK_END); }

static void note(char kind, const char *name, int64_t offset, const void *data, int64_t length) {
    if (journal < 0)
        return;
    struct note entry = {.kind = (uint32_t)kind, .name_length = (uint32_t)strlen(name), .offset = offset, .length = length};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)name, entry.name_length}, {(void *)data, data ? (size_t)length : 0}};
    if (writev(journal, parts, 3) < 0)
        abort(); /* the test's own disk is full */
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    char path[PATH_MAX];
    const char *name = watched(file, path);
    if (!name)
        return next_pwrite(file, data, size, offset);
    happened(WRITE);
    int64_t failure = get(&control->write_error);
    bool is_short = get(&control->write_short) && size > 1;
    if (is_short)
        size = (size_t)(offset % 3 == 0 ? 1 : size / 2);
    if (failure || is_short)
        note_harm();
    if (failure) {
        errno = (int)failure;
        return -1;
    }
    pthread_mutex_lock(&file_lock);
    note('W', name, offset, data, (int64_t)size);
    ssize_t written = next_pwrite(file, data, size, offset);
    pthread_mutex_unlock(&file_lock);
    return written;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) { return pwrite64(file, data, size, offset); }

int ftruncate64(int file, off64_t size) {
    char path[PATH_MAX];
    const char *name = watched(file, path);
    if (!name)
        return next_ftruncate(file, size);
    int64_t failure = get(&control->write_error);
    if (failure) {
        note_harm();
        errno = (int)failure;
        return -1;
    }
    pthread_mutex_lock(&file_lock);
    note('T', name, size, NULL, 0);
    int status = next_ftruncate(file, size);
    pthread_mutex_unlock(&file_lock);
    return status;
}

int ftruncate(int file, off_t size) { return ftruncate64(file, size); }

/* A full disk makes no file, and one that is read-only opens none to be written. */
static bool refuses_open(const char *path, int flags) {
    int64_t failure = control ? get(&control->write_error) : 0;
    if (!failure || !directory_length || strncmp(path, directory, directory_length) != 0 || path[directory_length] != '/')
        return false;
    bool makes = flags & O_CREAT && access(path, F_OK) != 0;
    if (!(failure == ENOSPC && makes) && !(failure == EROFS && (makes || (flags & O_ACCMODE) != O_RDONLY)))
        return false;
    note_harm();
    errno = (int)failure;
    return true;
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return refuses_open(path, flags) ? -1 : next_open(path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int unlink(const char *path) {
    if (directory_length && strncmp(path, directory, directory_length) == 0 && path[directory_length] == '/') {
        pthread_mutex_lock(&file_lock);
        note('U', path + directory_length + 1, 0, NULL, 0);
        pthread_mutex_unlock(&file_lock);
    }
    return next_unlink(path);
}

static int synchronize(int file, int (*next)(int)) {
    char path[PATH_MAX];
    const char *name = watched(file, path);
    if (!name)
        return next(file);
    happened(SYNC_BEGIN);
    pthread_mutex_lock(&file_lock);
    int64_t begin = journal_end(); /* what is written from here on may miss this sync */
    pthread_mutex_unlock(&file_lock);
    int64_t failure = get(&control->sync_error);
    /* The kernel forgets which pages a failed sync left behind: a later one that succeeds does not bring them to the disk. */
    int status = failure ? -1 : next(file);
    pthread_mutex_lock(&file_lock);
    note(status ? 'F' : 'S', name, begin, NULL, 0);
    pthread_mutex_unlock(&file_lock);
    happened(SYNC_END);
    if (failure) {
        note_harm();
        errno = (int)failure;
    }
    return status;
}

int fdatasync(int file) { return synchronize(file, next_fdatasync); }
int fsync(int file) { return synchronize(file, next_fsync); }

/* ---- network ---- */

/* Whether a message begins a Produce request: length, then key 0 and a small version (Kafka protocol, request header). */
static bool is_produce(const struct msghdr *message) {
    if (message->msg_iovlen == 0 || message->msg_iov[0].iov_len < 8)
        return false;
    const unsigned char *head = message->msg_iov[0].iov_base;
    return head[0] == 0 && head[4] == 0 && head[5] == 0 && head[6] == 0 && head[7] < 20;
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
    bool produce = is_produce(message);
    if (produce)
        happened(PRODUCE_BEGIN);
    ssize_t sent = next_sendmsg(socket, message, flags);
    if (produce && sent > 0)
        happened(PRODUCE_END);
    return sent;
}

ssize_t recvmsg(int socket, struct msghdr *message, int flags) {
    ssize_t received = next_recvmsg(socket, message, flags);
    if (received > 0)
        happened(RECEIVE_END);
    return received;
}

int connect(int socket, const struct sockaddr *address, socklen_t length) {
    struct sockaddr_in there;
    int64_t port = control ? get(&control->connect_port) : 0;
    if (port == 0 || address->sa_family != AF_INET || length < sizeof there)
        return next_connect(socket, address, length);
    memcpy(&there, address, sizeof there);
    there.sin_port = htons((uint16_t)port);
    return next_connect(socket, (struct sockaddr *)&there, sizeof there);
}

/* Descriptors run out by the limit of the process; here it is only noted. */
static int note_exhaustion(int descriptor) {
    if (descriptor < 0 && errno == EMFILE)
        note_harm();
    return descriptor;
}

int socket(int domain, int type, int protocol) { return note_exhaustion(next_socket(domain, type, protocol)); }

int accept4(int listening, struct sockaddr *restrict address, socklen_t *restrict length, int flags) {
    return note_exhaustion(next_accept4(listening, address, length, flags));
}

/* ---- clock and memory ---- */

int clock_gettime(clockid_t clock, struct timespec *time) {
    int status = next_clock_gettime ? next_clock_gettime(clock, time) : (int)syscall(SYS_clock_gettime, clock, time);
    int64_t offset = control ? get(&control->clock_offset_ms) : 0;
    if (status == 0 && clock == CLOCK_REALTIME && offset) {
        note_harm();
        int64_t nanoseconds = time->tv_nsec + offset % 1000 * 1000000;
        time->tv_sec += offset / 1000 + (nanoseconds < 0 ? -1 : nanoseconds / 1000000000);
        time->tv_nsec = (nanoseconds + 1000000000) % 1000000000;
    }
    return status;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now))
        return -1;
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *out) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* What the other libraries make of it is their own test. */
static bool refuses(const void *caller) {
    if (!control || !get(&control->allocation_left))
        return false;
    const struct text *text = &texts[get(&control->allocation_of)];
    uintptr_t where = (uintptr_t)caller;
    if (where < text->begin || where >= text->end)
        return false;
    bool is_next = count_down(&control->allocation_left);
    if (is_next && get(&control->allocation_continues))
        __atomic_store_n(&control->allocation_left, -1, __ATOMIC_SEQ_CST);
    if (!is_next && get(&control->allocation_left) >= 0)
        return false;
    note_harm();
    return true;
}

void *malloc(size_t size) {
    if (refuses(__builtin_return_address(0)))
        return errno = ENOMEM, NULL;
    resolve(next_malloc, "malloc");
    return next_malloc(size);
}

void *calloc(size_t count, size_t size) {
    if (refuses(__builtin_return_address(0)))
        return errno = ENOMEM, NULL;
    resolve(next_calloc, "calloc");
    return next_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    if (refuses(__builtin_return_address(0)))
        return errno = ENOMEM, NULL;
    resolve(next_realloc, "realloc");
    return next_realloc(block, size);
}
