/* SPDX-License-Identifier: MIT */
#ifndef CONF_DOTENV_H
#define CONF_DOTENV_H
/*
 * .env files, read as Laravel does: with the grammar of vlucas/phpdotenv 5, and the conversions
 * of Laravel's Env::get.  tests/integration/dotenv.test.mjs compares both parsers.
 */
#include "conf/conf_source.h"

struct env_file {
	struct str_view text;
	char **environ_;   /* for ${NAME}; NULL: none */
	const char *label; /* of the file, for messages */
};
/*
 * Passes every variable that the file sets to fn, once, with its last value and the line of that.
 * ${NAME} is the value of NAME in environ_, else that of a line above, else text.
 *
 * What phpdotenv refuses is refused, each line with a sentence of its own in *why (heap, lines
 * joined with "\n"); no sentence has any part of a value.  Refused as well, unlike there: a NUL
 * byte, bytes that are not UTF-8, and values of more than ENV_VALUE_MAX bytes.
 */
#define ENV_VALUE_MAX 65536
int env_file_read(const struct env_file *f, setting_fn *fn, void *ctx, char **why) MUSTCHECK;

/* What Laravel's env() makes of a value. */
enum env_kind {
	ENV_TEXT,
	ENV_NULL,  /* null, (null) in any case */
	ENV_EMPTY, /* empty, (empty), or no bytes */
	ENV_TRUE,  /* true, (true) */
	ENV_FALSE, /* false, (false) */
};
/* *text is the value without the one pair of quotes that Env::get takes off. */
enum env_kind env_convert(struct str_view value, struct str_view *text);
#endif
