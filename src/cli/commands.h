/* SPDX-License-Identifier: MIT */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H
/* The commands of scopewirectl.  Each returns an exit status; see the manual page. */
#include <stdio.h>
#include "cli/cli.h"

/* The command args[0] with its arguments; prints errors to stderr. */
int commands_run(struct cli *cli, char **args, int n);
void commands_print(FILE *out); /* for --help */
void commands_print_names(FILE *out);
#endif
