/* A thread that takes the signal, because what it leads to (reading files, logging) is not for a signal handler. */
#include "hangup.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

static struct {
    pthread_t thread;
    bool started;
    atomic_bool stopping;
    void (*on_hangup)(void *context);
    void *context;
} watch;

static sigset_t hangup_signal(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGHUP);
    return set;
}

void hangup_block(void) {
    sigset_t set = hangup_signal();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *run(void *unused) {
    sigset_t set = hangup_signal();
    int number;
    (void)unused;
    while (sigwait(&set, &number) == 0 && !atomic_load(&watch.stopping))
        watch.on_hangup(watch.context);
    return NULL;
}

void hangup_watch(void (*on_hangup)(void *context), void *context) {
    watch.on_hangup = on_hangup;
    watch.context = context;
    atomic_store(&watch.stopping, false);
    if (pthread_create(&watch.thread, NULL, run, NULL) != 0)
        abort(); /* no threads at start: nothing can work */
    pthread_setname_np(watch.thread, "hangup");
    watch.started = true;
}

void hangup_stop(void) {
    if (!watch.started)
        return;
    atomic_store(&watch.stopping, true);
    pthread_kill(watch.thread, SIGHUP);
    pthread_join(watch.thread, NULL);
    watch.started = false;
}
