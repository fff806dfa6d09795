/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_TABLE_H
#define CONF_CONF_TABLE_H
/*
 * Every option once: from its row come the parser's checks, --help, scopewire.conf(5) and
 * etc/scopewire.conf.  Options of the daemon lie in struct conf, those of an app in struct app.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

enum option_type {
	OPTION_STRING,	 /* char * */
	OPTION_UINT,	 /* unsigned */
	OPTION_BOOL,	 /* bool */
	OPTION_ENUM,	 /* int-sized; the value is the word's index */
	OPTION_LIST,	 /* char **, NULL-terminated; words between commas or spaces */
	OPTION_RULES,	 /* rules and n_rules of struct app: PATTERN:DURABILITY, ... */
	OPTION_PROXIES,	 /* struct trusted_proxies */
	OPTION_WEBHOOKS, /* struct webhook_list */
};

enum option_flag {
	OPTION_RELOADABLE = 1, /* SIGHUP is enough */
	OPTION_SECRET = 2,     /* the value is in no message */
	OPTION_LIMIT = 4,      /* 0, -1 and "unlimited" are no limit */
	OPTION_BOOL_TOO = 8, /* an enum that takes "no" for its first word, "yes" for its second */
	OPTION_REQUIRED = 16,
};

struct option {
	const char *section; /* "app" for an option of [app ID] */
	const char *name;
	enum option_type type;
	size_t offset;
	const char *fallback; /* the default, as the file would have it; "" for none */
	uint64_t min, max;    /* OPTION_UINT */
	const char *unit;     /* "seconds", "bytes", ...; NULL */
	unsigned flags;
	const char *const *words; /* OPTION_ENUM; NULL-terminated */
	const char *env; /* names in the environment in addition to SCOPEWIRE_*, between spaces */
	const char *aliases;  /* other names in an app's section or row, between spaces */
	const char *alias_kb; /* an alias whose value is in units of 1024 */
	const char *env_kb;   /* a name in the environment for units of 1024 */
	const char *help;
};

extern const char *const durabilities[]; /* by enum durability; NULL ends it */
extern const struct option conf_options[], app_options[];
extern const size_t n_conf_options, n_app_options;

/* NULL when the section has no such option; name may be an alias.  *scale is for option_set. */
const struct option *option_find(const char *section, const char *name, unsigned *scale);
/* The row whose env names name, or NULL. *scale is for option_set. */
const struct option *option_find_env(const struct option *options, size_t n, const char *name,
				     unsigned *scale);
/* The value of an application's limit: UINT64_MAX for none, 0 when the value is not valid. */
uint64_t option_limit(const char *name, const char *value);
/* "LABEL: there is no such option; did you mean NAME?", with the nearest name if one is near. */
char *option_unknown(const char *section, const char *name, const char *label) MUSTCHECK;
/*
 * Appends a sentence (heap, taken) to *why, in a line of its own; *why may be NULL.  A sentence is
 * there once, and the number of lines has a bound.
 */
void complaint_add(char **why, char *sentence);
/* Is it a name of PostgreSQL that needs no quotes? */
bool option_is_identifier(const char *s);
/* Is word in list ("a b c")? */
bool word_in_list(const char *list, const char *word);

/*
 * Reads value into base.  0, or -EINVAL with what the value must be in *complaint (heap): then
 * nothing changed.
 */
int option_set(const struct option *o, void *base, const char *value, unsigned scale,
	       char **complaint) MUSTCHECK;
/* Gives every option of the table its default; base was all zero. */
void options_default(const struct option *options, size_t n, void *base);
/* Has the option the same value in both? */
bool option_is_equal(const struct option *o, const void *a, const void *b);
/* Frees what the options own. */
void options_release(const struct option *options, size_t n, void *base);
/* "LABEL = VALUE: complaint", without the value of a secret; frees complaint. */
char *option_error(const struct option *o, const char *label, const char *value, char *complaint)
	MUSTCHECK;

struct app;
struct app_option;
struct app_options {
	const struct app_option *list;
	const char *const *labels; /* of each option, where it is, for messages; NULL: none */
	size_t n;
};
/* As app_build(), for options with labels; adds to *why. */
int app_build_labelled(const char *id, const struct app_options *options, struct app **out,
		       char **why) MUSTCHECK;
#endif
