/* SPDX-License-Identifier: MIT */
/* Variables of the environment and of .env files: our names, Laravel's and soketi's. */
#include <ctype.h>
#include <errno.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"

#define ENV_FILE_MAX  (1024 * 1024)
#define ENV_PREFIX    "SCOPEWIRE_"
#define SOKETI_APP_ID "SOKETI_DEFAULT_APP_ID"

static bool is_postgres_url(const char *url)
{
	struct str_view u = sv(url);

	return sv_starts_with(u, SV("pgsql://")) || sv_starts_with(u, SV("postgres://")) ||
	       sv_starts_with(u, SV("postgresql://"));
}

static int env_database(struct loader *l, const struct option *o, const char *name,
			const char *value, const char *label)
{
	char *dsn;
	int rc;

	if (!l->take_db || (strcmp(o->name, "dsn") == 0 && !is_postgres_url(value))) {
		l->left_db = true;
		return 0;
	}
	/* Laravel's driver is called pgsql; libpq does not know that scheme */
	if (strcmp(name, "DB_URL") != 0 || !sv_starts_with(sv(value), SV("pgsql:")))
		return loader_set(l, o, value, label);
	dsn = textf("postgresql%s", value + sizeof("pgsql") - 1);
	rc = loader_set(l, o, dsn, label);
	free(dsn);
	return rc;
}

/* SCOPEWIRE_SECTION_OPTION */
static int env_own(struct loader *l, const char *name, const char *value, const char *label)
{
	char *words = xstrdup(name + sizeof(ENV_PREFIX) - 1), *option;
	int rc = 0;

	for (char *p = words; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	option = strchr(words, '_');
	if (option) {
		*option++ = '\0';
		if (conf_is_section(words))
			rc = loader_set_named(l, words, option, value, label);
	}
	free(words);
	return rc;
}

/* Laravel reads an empty value and "null" as not set; so do we for its names. */
static bool is_unset(const char *value)
{
	return !*value || strcmp(value, "null") == 0 || strcmp(value, "(null)") == 0;
}

static int env_setting(struct loader *l, const char *name, const char *value, const char *label)
{
	const struct option *o;

	if (sv_starts_with(sv(name), SV(ENV_PREFIX)))
		return env_own(l, name, value, label);
	if (is_unset(value))
		return 0;
	if (strcmp(name, REVERB_APP_ID) == 0 || strcmp(name, SOKETI_APP_ID) == 0) {
		conf_replace(&l->env.id, value);
		l->env_is_reverb = strcmp(name, REVERB_APP_ID) == 0;
		return 0;
	}
	o = option_find_env(conf_options, n_conf_options, name);
	if (o && strcmp(o->section, "database") == 0)
		return env_database(l, o, name, value, label);
	if (o)
		return loader_set(l, o, value, label);
	o = option_find_env(app_options, n_app_options, name);
	if (o)
		draft_add(&l->env, o->name, value, label);
	return 0;
}

static int on_env_file(void *ctx, const struct setting *s)
{
	struct loader *l = ctx;
	char *label = textf("%s:%u: %s", l->label, s->line, s->name);
	int rc = env_setting(l, s->name, s->value, label);

	free(label);
	return rc;
}

static int note_db_connection(void *ctx, const struct setting *s)
{
	struct loader *l = ctx;

	if (strcmp(s->name, "DB_CONNECTION") == 0)
		conf_replace(&l->db_connection, s->value);
	return 0;
}

/* A source begins whose database driver is as l->db_connection says. */
static void begin_env(struct loader *l)
{
	l->left_db = false;
	l->take_db = !l->db_connection || is_unset(l->db_connection) ||
		     strcmp(l->db_connection, "pgsql") == 0;
}

static void end_env(struct loader *l, const char *source)
{
	if (l->left_db && !l->take_db)
		loader_note(l->conf,
			    textf("%s: DB_CONNECTION is not pgsql, so its DB_* settings were "
				  "left aside",
				  source));
	else if (l->left_db)
		loader_note(l->conf,
			    textf("%s: the database's URL is not one of PostgreSQL and was "
				  "left aside",
				  source));
}

static int parse_env_file(struct loader *l, struct str_view text)
{
	int rc;

	rc = env_file_read(text, l->environ_, l->label, note_db_connection, l, l->why);
	if (rc < 0)
		return rc;
	begin_env(l);
	rc = env_file_read(text, l->environ_, l->label, on_env_file, l, l->why);
	end_env(l, l->label);
	return rc;
}

int loader_read_env_file(struct loader *l, const char *path)
{
	FILE *in = fopen(path, "re");
	char *text;
	size_t n;
	int rc;

	if (!in)
		return loader_cannot_read(l, path, errno);
	text = xmalloc(ENV_FILE_MAX + 1);
	errno = 0;
	n = fread(text, 1, ENV_FILE_MAX + 1, in);
	l->label = path;
	if (ferror(in)) {
		rc = loader_cannot_read(l, path, errno ? errno : EIO);
	} else if (n > ENV_FILE_MAX) {
		*l->why = textf("%s: is larger than 1 MiB; is it the right file?", path);
		rc = -EINVAL;
	} else {
		rc = parse_env_file(l, sv_n(text, n));
	}
	fclose(in);
	free(text);
	return rc;
}

int loader_read_environment(struct loader *l)
{
	const char *driver = environ_get(l->environ_, SV("DB_CONNECTION"));
	int rc = 0;

	if (driver)
		conf_replace(&l->db_connection, driver);
	begin_env(l);
	for (char **e = l->environ_; rc == 0 && e && *e; e++) {
		char *name = xstrdup(*e), *equals = strchr(name, '=');

		if (equals) {
			*equals = '\0';
			rc = env_setting(l, name, equals + 1, name);
		}
		free(name);
	}
	end_env(l, "environment");
	return rc;
}
