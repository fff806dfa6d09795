/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_PRIVS_H
#define DAEMON_PRIVS_H
/* What the operating system allows us: file descriptors, and the user we run as. */
#include "base/annotate.h"

/* Raises the soft limit of open files to the hard one; returns it. */
unsigned privs_raise_open_files(void);
/* Becomes that user and group for good; root only.  0 or -errno, with *why (heap). */
int privs_become(const char *user, char **why) MUSTCHECK;
#endif
