/* SPDX-License-Identifier: MIT */
/* Variables of the environment and of .env files: our names, Laravel's and soketi's. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <strings.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_table.h"
#include "conf/conf_url.h"
#include "conf/dotenv.h"

#define ENV_FILE_MAX  (1024 * 1024)
#define ENV_PREFIX    "SCOPEWIRE_"
#define SOKETI_APP_ID "SOKETI_DEFAULT_APP_ID"
#define SCALING	      "REVERB_SCALING_ENABLED"

/* Variables of Laravel's clients of the server, or of what has no setting here. */
static const char not_for_us[] = "REVERB_HOST REVERB_PORT REVERB_SCHEME REVERB_SERVER";

/*
 * Names with our prefix that are no settings of the daemon, and may be in its environment or in the
 * .env that it shares with the application.  This is the only list of them; tests/lint/variables
 * compares it with what reads them.
 */
static const char *const env_of_others[] = {
	/* the Laravel package, contrib/laravel/config/scopewire.php */
	"SCOPEWIRE_AUTH",
	"SCOPEWIRE_CONNECT_TIMEOUT",
	"SCOPEWIRE_DB_CONNECTIONS",
	"SCOPEWIRE_DB_RULES_CONNECTION",
	"SCOPEWIRE_DB_SCHEMA",
	"SCOPEWIRE_ENCRYPTION_MASTER_KEY",
	"SCOPEWIRE_HOST",
	"SCOPEWIRE_PATH",
	"SCOPEWIRE_PORT",
	"SCOPEWIRE_SCHEME",
	"SCOPEWIRE_THROW",
	"SCOPEWIRE_TIMEOUT",
	"SCOPEWIRE_TOKEN_SECRET",
	"SCOPEWIRE_TOKEN_TTL",
	"SCOPEWIRE_USER_ID",
	"SCOPEWIRE_WEBHOOK_MAX_AGE",
	/* tests */
	"SCOPEWIRE_CURSOR_ROUNDS",
	"SCOPEWIRE_CURSOR_SEED",
	"SCOPEWIRE_MODEL_FAULTS",
	"SCOPEWIRE_MODEL_SECONDS",
	"SCOPEWIRE_MODEL_SEED",
	"SCOPEWIRE_RECORD",
	"SCOPEWIRE_SCENARIO",
	"SCOPEWIRE_SCENARIO_LIST",
	"SCOPEWIRE_SYNC_ROUNDS",
	"SCOPEWIRE_SYNC_SEED",
	"SCOPEWIRE_TEST_BUS",
	"SCOPEWIRE_TEST_CLUSTER",
	"SCOPEWIRE_TEST_NODES",
	"SCOPEWIRE_TEST_TEMPLATE",
	"SCOPEWIRE_TEST_TLS",
	"SCOPEWIRE_TORTURE_SECONDS",
	"SCOPEWIRE_TORTURE_SEED",
};

static bool env_is_of_others(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(env_of_others); i++)
		if (strcmp(env_of_others[i], name) == 0)
			return true;
	return false;
}

/* Takes candidate, and returns it or nearest; the other one is freed. */
static char *env_nearer(const char *name, char *nearest, char *candidate, unsigned *least)
{
	for (char *p = candidate; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	/* without the prefix, which is the same */
	if (!str_is_nearer(sv(name + sizeof(ENV_PREFIX) - 1), candidate + sizeof(ENV_PREFIX) - 1,
			   least)) {
		free(candidate);
		return nearest;
	}
	free(nearest);
	return candidate;
}

static char *env_nearest_option(const char *name, char *nearest, unsigned *least,
				const struct option *options, size_t n)
{
	for (size_t i = 0; i < n; i++)
		nearest = env_nearer(name, nearest,
				     textf(ENV_PREFIX "%s_%s", options[i].section, options[i].name),
				     least);
	return nearest;
}

/* A name with our prefix that is in no section. */
static void env_own_unknown(struct loader *l, const char *name, const char *label)
{
	unsigned least = UINT_MAX;
	char *near = NULL;

	near = env_nearest_option(name, near, &least, conf_options, n_conf_options);
	near = env_nearest_option(name, near, &least, app_options, n_app_options);
	for (size_t i = 0; i < ARRAY_SIZE(env_of_others); i++)
		near = env_nearer(name, near, xstrdup(env_of_others[i]), &least);
	loader_note(l->conf,
		    textf("%s: there is no such setting, it has no effect%s%s%s", label,
			  near ? "; did you mean " : "", near ? near : "", near ? "?" : ""));
	free(near);
}

/* SCOPEWIRE_SECTION_OPTION */
static void env_own(struct loader *l, const char *name, const char *value, const char *label)
{
	char *words, *option;

	if (env_is_of_others(name))
		return;
	words = xstrdup(name + sizeof(ENV_PREFIX) - 1);
	for (char *p = words; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	option = strchr(words, '_');
	if (option)
		*option++ = '\0';
	if (option && conf_is_section(words))
		loader_set_named(l, words, option, value, label);
	else
		env_own_unknown(l, name, label);
	free(words);
}

/*
 * Laravel's config/database.php: each option of the connection is replaced by what the URL has
 * for it, whatever the order in the file.
 */
static void env_take_url(struct loader *l)
{
	struct db_url url;
	const char *wrong;

	if (!l->db_url || !l->is_db_read)
		return;
	wrong = db_url_parse(l->db_url, &url);
	if (wrong) {
		loader_complain(l, textf("%s: %s", l->db_url_label, wrong));
	} else if (!url.is_postgres) {
		l->has_left_db = true;
	} else {
		conf_replace(&l->conf->database.dsn, "");
		for (size_t i = 0; i < DB_URL_OPTIONS; i++)
			if (url.values[i])
				loader_set_named(l, "database", db_url_options[i], url.values[i],
						 l->db_url_label);
		if (url.ignored)
			loader_note(l->conf, textf("%s: these parameters were ignored: %s",
						   l->db_url_label, url.ignored));
	}
	db_url_release(&url);
}

static void env_database(struct loader *l, const struct option *o, const char *value,
			 const char *label)
{
	if (!l->is_db_read) {
		l->has_left_db = true;
	} else if (strcmp(o->name, "dsn") == 0) {
		conf_replace(&l->db_url, value);
		conf_replace(&l->db_url_label, label);
	} else {
		loader_set(l, o, value, 1, label);
	}
}

/* The REVERB_* or SOKETI_* that no option has; they are named in one warning. */
static void env_unknown(struct loader *l, const char *name)
{
	struct str_view s = sv(name);

	if (sv_starts_with(s, SV("PUSHER_APP_")))
		l->has_pusher = true;
	if (!sv_starts_with(s, SV("REVERB_")) && !sv_starts_with(s, SV("SOKETI_")))
		return;
	if (word_in_list(not_for_us, name))
		return;
	if (l->unknown.len)
		strbuf_add_str(&l->unknown, ", ");
	strbuf_add_str(&l->unknown, name);
}

/* A text option that Laravel sees as a boolean. */
static void env_complain_word(struct loader *l, const char *label)
{
	loader_complain(l, textf("%s: Laravel reads this word as a boolean and not as text; choose "
				 "another value",
				 label));
}

/* REVERB_SCALING_ENABLED.  false, Laravel's default, changes nothing. */
static void env_scaling(struct loader *l, const struct option *driver, const char *value,
			const char *label)
{
	struct str_view text;
	enum env_kind kind = env_convert(sv(value), &text);

	if (kind == ENV_TRUE || sv_eq_c(text, "1"))
		loader_set(l, driver, "redis", 1, label);
	else if (kind == ENV_TEXT && !sv_eq_c(text, "0"))
		loader_note(l->conf,
			    textf("%s = %s: has no effect; true sets cluster.driver = redis, and "
				  "false changes nothing",
				  label, value));
}

/*
 * Words that are no here and that Laravel reads as text, which PHP takes for true unless it is
 * empty or 0: Reverb and this daemon would differ.
 */
static void env_note_no(struct loader *l, const char *value, const char *label)
{
	if (strcasecmp(value, "no") == 0 || strcasecmp(value, "off") == 0)
		loader_note(l->conf,
			    textf("%s = %s: counts as no, but Laravel reads this word as true; "
				  "write false or true",
				  label, value));
}

/* A value as env() gives it to Laravel, for one of Laravel's or soketi's names. */
static void env_laravel(struct loader *l, const char *name, const char *raw, const char *label)
{
	bool reverb_id = strcmp(name, REVERB_APP_ID) == 0, id;
	unsigned scale = 1;
	const struct option *of_conf, *of_app, *o;
	struct str_view text;
	enum env_kind kind = env_convert(sv(raw), &text);
	char *value;

	id = reverb_id || strcmp(name, SOKETI_APP_ID) == 0;
	of_conf = option_find_env(conf_options, n_conf_options, name, &scale);
	of_app = of_conf ? NULL : option_find_env(app_options, n_app_options, name, &scale);
	o = of_conf ? of_conf : of_app;
	if (!o && !id) {
		env_unknown(l, name);
		return;
	}
	if (strcmp(name, SCALING) == 0) {
		env_scaling(l, o, raw, label);
		return;
	}
	if ((kind == ENV_TRUE || kind == ENV_FALSE) && (!o || o->type == OPTION_STRING)) {
		env_complain_word(l, label);
		return;
	}
	if (kind == ENV_NULL || kind == ENV_EMPTY) {
		/* noted, so that an application without key or secret is reported with its line */
		if (of_app && (of_app->flags & OPTION_REQUIRED))
			draft_add(&l->env, of_app->name, "", label);
		return;
	}
	value = sv_dup(text);
	if (o && o->type == OPTION_BOOL && sv_starts_with(sv(name), SV("REVERB_")))
		env_note_no(l, value, label);
	if (id) {
		conf_replace(&l->env.id, value);
		l->env_origin = reverb_id ? APP_FROM_REVERB : APP_FROM_SOKETI;
	} else if (of_conf && strcmp(o->section, "database") == 0) {
		env_database(l, o, value, label);
	} else if (of_conf) {
		loader_set(l, o, value, scale, label);
	} else {
		draft_add(&l->env, scale == 1 ? o->name : o->alias_kb, value, label);
	}
	secret_free(value);
}

static void env_setting(struct loader *l, const char *name, const char *value, const char *label)
{
	if (sv_starts_with(sv(name), SV(ENV_PREFIX)))
		env_own(l, name, value, label);
	else
		env_laravel(l, name, value, label);
}

static int on_env_file(void *ctx, const struct setting *s)
{
	struct loader *l = ctx;
	char *label = textf("%s:%u: %s", l->label, s->line, s->name);

	env_setting(l, s->name, s->value, label);
	free(label);
	return 0;
}

static int env_note_db_connection(void *ctx, const struct setting *s)
{
	struct loader *l = ctx;

	if (strcmp(s->name, "DB_CONNECTION") == 0)
		conf_replace(&l->db_connection, s->value);
	return 0;
}

/* A source begins; l->db_connection is its database driver. */
static void begin_env(struct loader *l)
{
	struct str_view driver;
	enum env_kind kind = env_convert(sv(l->db_connection), &driver);

	strbuf_init(&l->unknown, 0);
	l->has_left_db = false;
	l->is_db_read = kind != ENV_TEXT || sv_eq_c(driver, "pgsql");
}

static void end_env(struct loader *l, const char *source)
{
	env_take_url(l);
	if (l->has_left_db && !l->is_db_read) {
		conf_replace(&l->conf->database_hint, "");
		free(l->conf->database_hint);
		l->conf->database_hint =
			textf("%s: DB_CONNECTION is %s, and events are stored in PostgreSQL only: "
			      "its DB_* settings were ignored; set [database] in scopewire.conf, "
			      "or start with --embedded-postgres DIR",
			      source, l->db_connection);
		loader_note(l->conf, xstrdup(l->conf->database_hint));
	} else if (l->has_left_db) {
		loader_note(l->conf,
			    textf("%s: the database's URL is not one of PostgreSQL and was ignored",
				  source));
	}
	if (l->unknown.len)
		loader_note(l->conf, textf("%s: these variables have no effect here: %s", source,
					   l->unknown.ptr));
	strbuf_release(&l->unknown);
	secret_free(l->db_url);
	l->db_url = NULL;
}

static void parse_env_file(struct loader *l, struct str_view text)
{
	const struct env_file f = { text, l->environ_, l->label };
	int rc = env_file_read(&f, env_note_db_connection, l, l->why);

	begin_env(l);
	if (rc == 0)
		rc = env_file_read(&f, on_env_file, l, l->why);
	end_env(l, l->label);
	if (rc < 0 && l->rc == 0)
		l->rc = rc;
}

void loader_read_env_file(struct loader *l, const char *path)
{
	FILE *in = fopen(path, "re");
	char *text;
	size_t n;

	if (!in) {
		loader_cannot_read(l, path, errno);
		return;
	}
	text = xmalloc(ENV_FILE_MAX + 1);
	errno = 0;
	n = fread(text, 1, ENV_FILE_MAX + 1, in);
	l->label = path;
	if (ferror(in))
		loader_cannot_read(l, path, errno ? errno : EIO);
	else if (n > ENV_FILE_MAX)
		loader_complain(l, textf("%s: is larger than 1 MiB; is it the right file?", path));
	else
		parse_env_file(l, sv_n(text, n));
	loader_check_mode(l, path, fileno(in));
	fclose(in);
	explicit_bzero(text, n);
	free(text);
}

void loader_read_environment(struct loader *l)
{
	const char *driver = environ_get(l->environ_, SV("DB_CONNECTION"));

	if (driver)
		conf_replace(&l->db_connection, driver);
	begin_env(l);
	for (char **e = l->environ_; e && *e; e++) {
		char *name = xstrdup(*e), *equals = strchr(name, '=');

		if (equals) {
			*equals = '\0';
			env_setting(l, name, *e + (equals + 1 - name), name);
			explicit_bzero(equals + 1, strlen(equals + 1));
		}
		free(name);
	}
	end_env(l, "environment");
}
