/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_PRIVS_H
#define DAEMON_PRIVS_H
/* The limit of open files, and the user that the process runs as. */
#include "base/thread.h"

/* Raises the soft limit of open files to the hard one; returns it. */
unsigned privs_raise_open_files(void) RUNS_ON(on_main);
/* Becomes that user and group for good; root only.  0 or -errno, with *why (heap). */
int privs_become(const char *user, char **why) MUSTCHECK RUNS_ON(on_main);
#endif
