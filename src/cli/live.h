/* SPDX-License-Identifier: MIT */
#ifndef CLI_LIVE_H
#define CLI_LIVE_H
/* Commands that show what happens; each is in a file of its own. */
#include "cli/cli.h"

int command_on_tail(struct cli *cli);
/* EXIT_NO when the client would have to fetch its data again. */
int command_on_replay(struct cli *cli);
int command_on_top(struct cli *cli);
#endif
