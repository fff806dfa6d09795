/* SPDX-License-Identifier: MIT */
/* Lines NAME=VALUE as the environment of the daemon: own names, Laravel's and soketi's. */
#include "fuzz.h"
#include "conf/conf.h"
#include "conf/conninfo.h"

#define LINES_MAX 64

static void load(char **environment)
{
	char program[] = "scopewired", file[] = "--config=/dev/null", *why = NULL;
	char *argv[] = { program, file, NULL };
	struct conf *c = NULL;

	if (conf_load(2, argv, environment, &c, &why) == 0) {
		free(conf_conninfo(c));
		for (size_t i = 0; i < app_set_count(c->apps); i++)
			MUST(*app_set_at(c->apps, i)->key && *app_set_at(c->apps, i)->id);
		conf_free(c);
	} else {
		MUST(why && *why);
	}
	free(why);
}

static void fuzz(struct str_view input)
{
	char *environment[LINES_MAX + 1];
	struct str_view line;
	size_t n = 0;

	while (n < LINES_MAX && sv_split(&input, '\n', &line))
		environment[n++] = sv_dup(line);
	environment[n] = NULL;
	load(environment);
	for (size_t i = 0; i < n; i++)
		free(environment[i]);
}
