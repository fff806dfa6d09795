/* SPDX-License-Identifier: MIT */
/* The configuration is read when a command needs it: most use the admin listener only. */
#include <errno.h>
#include "base/mem.h"
#include "conf/conf.h"
#include "cli/cli.h"

int cli_load(struct cli *cli, char **why)
{
	char *argv[6] = { (char *)"scopewirectl" };
	int argc = 1;

	if (cli->options.config) {
		argv[argc++] = (char *)"--config";
		argv[argc++] = (char *)cli->options.config;
	}
	if (cli->options.env_file) {
		argv[argc++] = (char *)"--env-file";
		argv[argc++] = (char *)cli->options.env_file;
	}
	if (conf_load(argc, argv, cli->environ_, &cli->conf, why) == 0)
		return 0;
	if (!*why)
		*why = xstrdup("the configuration cannot be read");
	return -EINVAL;
}
