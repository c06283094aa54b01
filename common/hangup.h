/* SIGHUP: load again what can be loaded again. */
#ifndef COMMON_HANGUP_H
#define COMMON_HANGUP_H

/* Blocks SIGHUP, so that it waits for hangup_watch() and ends nobody. Before any thread starts. */
void hangup_block(void);
/* From now on a thread calls on_hangup for each SIGHUP, also for one that came before. Once at a time in a process. */
void hangup_watch(void (*on_hangup)(void *context), void *context);
/* Ends the thread; after that on_hangup is not running. Nothing when none was started. */
void hangup_stop(void);

#endif
