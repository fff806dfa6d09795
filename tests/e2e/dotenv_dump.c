/* SPDX-License-Identifier: MIT */
/*
 * Reads .env files that a NUL byte ends each from standard input, and prints a line of JSON for
 * each: the variables as the daemon reads them, or null when it refuses the file.
 */
#include <stdio.h>
#include "base/mem.h"
#include "base/str.h"
#include "conf/dotenv.h"

extern char **environ;

/* [value, what env() makes of it] */
static int on_variable(void *ctx, const struct setting *s)
{
	struct strbuf *b = ctx;
	struct str_view text;

	/* what the process had before stays */
	if (environ_get(environ, sv(s->name)))
		return 0;
	strbuf_add_str(b, b->len > 1 ? "," : "");
	strbuf_add_json(b, sv(s->name));
	strbuf_add_str(b, ":[");
	strbuf_add_json(b, sv(s->value));
	strbuf_add_c(b, ',');
	switch (env_convert(sv(s->value), &text)) {
	case ENV_TEXT:
		strbuf_add_json(b, text);
		break;
	case ENV_EMPTY:
		strbuf_add_str(b, "\"\"");
		break;
	case ENV_NULL:
		strbuf_add_str(b, "null");
		break;
	case ENV_TRUE:
		strbuf_add_str(b, "true");
		break;
	case ENV_FALSE:
		strbuf_add_str(b, "false");
		break;
	}
	strbuf_add_c(b, ']');
	return 0;
}

int main(void)
{
	char *file = NULL;
	size_t cap = 0;
	ssize_t n;

	while ((n = getdelim(&file, &cap, '\0', stdin)) > 0) {
		struct strbuf b;
		char *why = NULL;
		size_t len = (size_t)n - (file[n - 1] == '\0');

		strbuf_init(&b, 256);
		strbuf_add_c(&b, '{');
		if (env_file_read(&(struct env_file){ sv_n(file, len), environ, ".env" },
				  on_variable, &b, &why) < 0)
			puts("null");
		else
			printf("%s}\n", b.ptr);
		free(why);
		strbuf_release(&b);
	}
	free(file);
	return 0;
}
