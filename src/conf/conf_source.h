/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_SOURCE_H
#define CONF_CONF_SOURCE_H
/*
 * The INI file that settings come from (a .env file: conf/dotenv.h).  Readers pass one setting
 * after the other to the caller, who knows what each means.
 */
#include <stdio.h>
#include "base/str.h"

struct setting {
	const char *section; /* INI; "" above the first */
	const char *name, *value;
	unsigned line;
	bool is_continued; /* INI: value continues that of the setting before */
};

/* 0, or -errno, which is the result of the reading; the settings that follow are passed too. */
typedef int setting_fn(void *ctx, const struct setting *s);

/*
 * Reads INI text: [section], name = value, comments from # or ; at a line's start or " ;" after a
 * value.  An indented line without '=' continues the value above it; fn then gets the same name
 * again.  Lines have at most INI_LINE_MAX bytes.  -EINVAL with a sentence for each bad line in
 * *why (heap, added as a line to what is there); label names the file in them.
 */
#define INI_LINE_MAX 4096
int ini_read(FILE *in, const char *label, setting_fn *fn, void *ctx, char **why) MUSTCHECK;
/* The value of name in environ_, or NULL. */
const char *environ_get(char **environ_, struct str_view name);
#endif
