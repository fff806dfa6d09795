/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_SOURCE_H
#define CONF_CONF_SOURCE_H
/*
 * The two kinds of file that settings come from: INI, and .env as Laravel reads it.
 * Both pass one setting after the other to the caller, who knows what each means.
 */
#include <stdio.h>
#include "base/str.h"

struct setting {
	const char *section; /* INI; "" above the first */
	const char *name, *value;
	unsigned line;
	bool continued; /* INI: value goes on from the setting before */
};

/* 0 to go on, or -errno, which ends the reading and is its result. */
typedef int setting_fn(void *ctx, const struct setting *s);

/*
 * Reads INI text: [section], name = value, comments from # or ; at a line's start or " ;" behind a
 * value.  An indented line without '=' continues the value above it; fn then gets the same name
 * again.  Lines hold at most INI_LINE_MAX bytes.  label names the file in *why (heap) on -EINVAL.
 */
#define INI_LINE_MAX 198
int ini_read(FILE *in, const char *label, setting_fn *fn, void *ctx, char **why) MUSTCHECK;

/*
 * Reads .env text: NAME=value with an optional "export ", # comments, '...' as it stands, "..."
 * with backslash escapes, both over several lines if need be.  ${NAME} outside of '...' stands for
 * that of environ_, else of a line above, else for itself.  A value has at most ENV_VALUE_MAX
 * bytes.
 */
#define ENV_VALUE_MAX 65536
int env_file_read(struct str_view text, char **environ_, const char *label, setting_fn *fn,
		  void *ctx, char **why) MUSTCHECK;
/* The value of name in environ_, or NULL. */
const char *environ_get(char **environ_, struct str_view name);
#endif
