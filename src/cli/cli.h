/* SPDX-License-Identifier: MIT */
#ifndef CLI_CLI_H
#define CLI_CLI_H
/* One run of scopewirectl: its options, its configuration, its connection. */
#include <stdbool.h>
#include "cli/client.h"

/* Beyond those of sysexits.h. */
enum { EXIT_OK = 0, EXIT_NO = 1 };

struct cli_options {
	const char *config, *env_file;
	struct client_options client;
	bool json, diff;
	const char *app, *channel, *event, *text, *from, *until, *before, *after, *limit, *user,
		*roles, *paths, *public, *address, *state, *cursor, *kinds, *endpoint, *path,
		*value;
	bool once;
};

/* No command has so many. */
#define CLI_GIVEN_MAX 32

struct cli {
	struct cli_options options;
	const char *given[CLI_GIVEN_MAX]; /* names of the options that not every command has */
	int n_given;
	char **environ_;
	struct conf *conf;     /* when the command or the client needs it */
	struct client *client; /* NULL for a command that does not use the listener */
	char **args;	       /* of the command */
	int n_args;
};

/* Reads the configuration as the daemon does, into cli->conf.  0, or -EINVAL with *why (heap). */
int cli_load(struct cli *cli, char **why);
#endif
