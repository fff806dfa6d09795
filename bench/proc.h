/* SPDX-License-Identifier: MIT */
#ifndef BENCH_PROC_H
#define BENCH_PROC_H
/*
 * What another process has used.  Its children are not counted: the database that a
 * server started is measured apart.
 */
#include <stdint.h>
#include <sys/types.h>

/*
 * User and system time of all threads of pid, in ns: utime + stime of /proc/PID/stat,
 * from the process clock behind them where the kernel gives it (those two are that
 * clock, cut to 10 ms).  0 for pid 0; exits when the process has ended.
 */
uint64_t proc_cpu_ns(pid_t pid);
/* Resident memory (VmRSS) in KiB; 0 for pid 0. */
uint64_t proc_rss_kib(pid_t pid);
#endif
