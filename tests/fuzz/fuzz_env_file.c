/* SPDX-License-Identifier: MIT */
/* The .env of a Laravel application. */
#include "fuzz.h"
#include "conf/dotenv.h"

static int on_setting(void *ctx, const struct setting *s)
{
	unsigned *lines = ctx;

	MUST(*s->name && strlen(s->value) <= ENV_VALUE_MAX);
	MUST(s->line > *lines);
	*lines = s->line;
	return 0;
}

static void fuzz(struct str_view input)
{
	const struct env_file f = { input, NULL, ".env" };
	unsigned lines = 0;
	char *why = NULL;

	if (env_file_read(&f, on_setting, &lines, &why) < 0)
		MUST(why);
	else
		MUST(!why);
	free(why);
}
