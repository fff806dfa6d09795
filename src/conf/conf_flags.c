/* SPDX-License-Identifier: MIT */
/* The command line: modes such as --check-config, and every option of the table as a flag. */
#include <errno.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_table.h"

#define OPTION_NAME_MAX 64

struct args {
	int argc;
	char **argv;
	int at;
	char name[OPTION_NAME_MAX]; /* of the flag, dashes as underscores */
	const char *flag;	    /* as given */
	const char *value;	    /* of "--flag=value", or NULL */
};

/* Flags that are no option of the table. */
enum flag_kind {
	FLAG_OPTION,
	FLAG_CONFIG,
	FLAG_ENV_FILE,
	FLAG_EMBEDDED,
	FLAG_MIGRATE,
	FLAG_CHECK,
	FLAG_ROUTES,
	FLAG_PRINT_CONFIG,
	FLAG_HELP,
	FLAG_VERSION,
};

static const struct {
	const char *name, *option;
	enum flag_kind kind;
} flags[] = {
	{ "config", NULL, FLAG_CONFIG },
	{ "env_file", NULL, FLAG_ENV_FILE },
	{ "embedded_postgres", NULL, FLAG_EMBEDDED },
	{ "migrate", NULL, FLAG_MIGRATE },
	{ "check_config", NULL, FLAG_CHECK },
	{ "print_routes", NULL, FLAG_ROUTES },
	{ "print_config", NULL, FLAG_PRINT_CONFIG },
	{ "help", NULL, FLAG_HELP },
	{ "version", NULL, FLAG_VERSION },
	{ "host", "server_host", FLAG_OPTION },
	{ "port", "server_port", FLAG_OPTION },
};

/* 1 and the next flag's name and value; 0 at the end. */
static int next_flag(struct args *a, char **why)
{
	const char *equals;
	size_t len;

	if (a->at >= a->argc)
		return 0;
	a->flag = a->argv[a->at++];
	if (strcmp(a->flag, "-h") == 0)
		a->flag = "--help";
	if (!sv_starts_with(sv(a->flag), SV("--")) || !a->flag[2]) {
		*why = textf("\"%s\" is not a flag; see --help", a->flag);
		return -ENOTSUP;
	}
	equals = strchr(a->flag, '=');
	len = equals ? (size_t)(equals - a->flag) - 2 : strlen(a->flag) - 2;
	a->value = equals ? equals + 1 : NULL;
	if (len >= sizeof(a->name))
		len = sizeof(a->name) - 1; /* no flag is that long: it stays unknown */
	for (size_t i = 0; i < len; i++)
		a->name[i] = a->flag[i + 2] == '-' ? '_' : a->flag[i + 2];
	a->name[len] = '\0';
	return 1;
}

/* The flag's value, from the next argument if need be. */
static int flag_need_value(struct args *a, char **why)
{
	if (a->value)
		return 0;
	if (a->at >= a->argc) {
		*why = textf("%s needs a value; see --help", a->flag);
		return -ENOTSUP;
	}
	a->value = a->argv[a->at++];
	return 0;
}

static enum flag_kind flag_kind(struct args *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (strcmp(a->name, flags[i].name) != 0)
			continue;
		if (flags[i].option)
			snprintf(a->name, sizeof(a->name), "%s", flags[i].option);
		return flags[i].kind;
	}
	return FLAG_OPTION;
}

/* Splits a->name ("server_port"); NULL when there is no such option.  app_id is one too. */
static const char *flag_split_option(struct args *a, const struct option **o)
{
	char *option = strchr(a->name, '_');
	unsigned scale;

	if (!option)
		return NULL;
	*option++ = '\0';
	*o = option_find(a->name, option, &scale);
	return *o || (strcmp(a->name, "app") == 0 && strcmp(option, "id") == 0) ? option : NULL;
}

static int flag_option(struct loader *l, struct args *a, bool apply)
{
	const struct option *o = NULL;
	const char *option = flag_split_option(a, &o);
	char *label;
	int rc;

	if (!option) {
		*l->why = textf("there is no flag %.*s; see --help", (int)strcspn(a->flag, "="),
				a->flag);
		return -ENOTSUP;
	}
	if (!a->value && o && o->type == OPTION_BOOL)
		a->value = "yes";
	rc = flag_need_value(a, l->why);
	if (rc < 0 || !apply)
		return rc;
	label = textf("%.*s", (int)strcspn(a->flag, "="), a->flag);
	loader_set_named(l, a->name, option, a->value, label);
	free(label);
	return 0;
}

static int flag_mode(struct loader *l, struct args *a, enum flag_kind kind, struct conf_modes *m)
{
	bool with_value = kind == FLAG_CONFIG || kind == FLAG_ENV_FILE || kind == FLAG_EMBEDDED;

	if (!with_value && a->value) {
		*l->why = textf("%.*s takes no value; see --help", (int)strcspn(a->flag, "="),
				a->flag);
		return -ENOTSUP;
	}
	if (with_value && flag_need_value(a, l->why) < 0)
		return -ENOTSUP;
	if (kind == FLAG_CONFIG)
		m->config = a->value;
	else if (kind == FLAG_ENV_FILE)
		m->env_file = a->value;
	else if (kind == FLAG_EMBEDDED)
		conf_replace(&l->conf->embedded_postgres, a->value);
	l->conf->migrate_only |= kind == FLAG_MIGRATE;
	l->conf->check_only |= kind == FLAG_CHECK;
	l->conf->print_routes |= kind == FLAG_ROUTES;
	l->conf->print_config |= kind == FLAG_PRINT_CONFIG;
	m->wants_help |= kind == FLAG_HELP;
	m->wants_version |= kind == FLAG_VERSION;
	return 0;
}

/* Goes over all flags: first for the modes, later again to apply the options over the files. */
int loader_read_flags(struct loader *l, int argc, char **argv, struct conf_modes *m, bool apply)
{
	struct args a = { .argc = argc, .argv = argv, .at = 1 };
	int rc;

	while ((rc = next_flag(&a, l->why)) > 0) {
		enum flag_kind kind = flag_kind(&a);

		rc = kind == FLAG_OPTION ? flag_option(l, &a, apply) : flag_mode(l, &a, kind, m);
		if (rc < 0)
			return rc;
	}
	return rc;
}
