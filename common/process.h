/* What holds for the whole process: whom its files are for, and that its memory, which holds keys, goes nowhere. */
#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

/* Files that are made are their owner's alone (umask 077); no core dump is written, and no other process of this user may
 * attach (prctl(2), PR_SET_DUMPABLE). First thing in main(). Programs that this one runs inherit the umask. */
void process_protect(void);
/* For developers: core dumps as the limits allow, and debuggers. Before threads start. */
void process_allow_core_dumps(void);
/* Before SQLite is used: it need not count its memory, under one lock of all threads, which nobody asks for. 4 % less processor
 * time per update. */
void process_prepare_sqlite(void);

#endif
