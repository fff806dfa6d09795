/* SPDX-License-Identifier: MIT */
#ifndef CLI_REDIS_CHECK_H
#define CLI_REDIS_CHECK_H
/* Whether the nodes' Redis can be reached, and lets the daemon log in. */
#include "conf/conf.h"

/* NULL: it can; else a sentence with the remedy (heap).  Waits some seconds at most. */
char *redis_check(const struct conf_cluster *conf) MUSTCHECK;
#endif
