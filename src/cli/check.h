/* SPDX-License-Identifier: MIT */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H
/*
 * scopewirectl check: whether the configuration, the machine, the database, the daemon, its admin
 * listener and a proxy before it work together; a sentence with the remedy for each fault.
 */
#include "cli/cli.h"

/* An exit status: EXIT_OK, or EXIT_NO when a check has failed; warnings do not count. */
int command_on_check(struct cli *cli);

#endif
