/* SPDX-License-Identifier: MIT */
/*
 * Sources in their order, each value checked as it comes so that the message can name its place;
 * options of apps are gathered and checked when all of an app is known.
 */
#include <ctype.h>
#include <errno.h>
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"

#define ENV_FILE_MAX	(1024 * 1024)
#define DEFAULT_CONFIG	SCOPEWIRE_SYSCONFDIR "/scopewire.conf"
#define DEFAULT_DEMO	SCOPEWIRE_PKGDATADIR "/demo"
#define ENV_PREFIX	"SCOPEWIRE_"
#define APP_SECTION	"app "
#define REVERB_APP_ID	"REVERB_APP_ID"
#define SOKETI_APP_ID	"SOKETI_DEFAULT_APP_ID"
#define OPTION_NAME_MAX 64

/* An app whose options are being gathered; names and values are owned. */
struct draft {
	char *id; /* NULL: not known yet */
	struct app_option *options;
	char **labels; /* where each came from */
	size_t n;
};

struct loader {
	struct conf *conf;
	char **environ_;
	char **why;
	const char *label;    /* of the file that is read */
	struct draft *drafts; /* of the file */
	size_t n_drafts;
	struct draft env;   /* of the environment and flags */
	bool env_is_reverb; /* REVERB_APP_ID named it */
	bool take_db;	    /* DB_* of the source that is read count */
	bool left_db;	    /* some did not */
	char *db_connection;
};

struct args {
	int argc;
	char **argv;
	int at;
	char name[OPTION_NAME_MAX]; /* of the flag, dashes as underscores */
	const char *flag;	    /* as given */
	const char *value;	    /* of "--flag=value", or NULL */
};

static void draft_add(struct draft *d, const char *name, const char *value, const char *label)
{
	d->options = xreallocarray(d->options, d->n + 1, sizeof(*d->options));
	d->labels = xreallocarray(d->labels, d->n + 1, sizeof(*d->labels));
	d->options[d->n] = (struct app_option){ xstrdup(name), xstrdup(value) };
	d->labels[d->n++] = xstrdup(label);
}

static void draft_release(struct draft *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free((char *)d->options[i].name);
		free((char *)d->options[i].value);
		free(d->labels[i]);
	}
	free(d->options);
	free(d->labels);
	free(d->id);
}

static void loader_release(struct loader *l)
{
	for (size_t i = 0; i < l->n_drafts; i++)
		draft_release(&l->drafts[i]);
	free(l->drafts);
	draft_release(&l->env);
	free(l->db_connection);
}

static void replace(char **at, const char *text)
{
	char *copy = text ? xstrdup(text) : NULL;

	free(*at);
	*at = copy;
}

static void add_note(struct conf *c, char *note)
{
	size_t n = 0;

	while (c->notes && c->notes[n])
		n++;
	c->notes = xreallocarray(c->notes, n + 2, sizeof(*c->notes));
	c->notes[n] = note;
	c->notes[n + 1] = NULL;
}

static int set_conf(struct loader *l, const struct option *o, const char *value, const char *label)
{
	char *complaint;

	if (option_set(o, l->conf, value, 1, &complaint) == 0)
		return 0;
	*l->why = option_error(o, label, value, complaint);
	return -EINVAL;
}

static bool is_section(const char *name)
{
	if (strcmp(name, "app") == 0)
		return true;
	for (size_t i = 0; i < n_conf_options; i++)
		if (strcmp(conf_options[i].section, name) == 0)
			return true;
	return false;
}

static int no_such_option(struct loader *l, const char *section, const char *name,
			  const char *label)
{
	const char *near = option_nearest(section, name);

	*l->why = textf("%s: there is no such option%s%s%s", label, near ? "; did you mean " : "",
			near ? near : "", near ? "?" : "");
	return -EINVAL;
}

/* An option of the environment or the command line; those of the section app are of one app. */
static int set_named(struct loader *l, const char *section, const char *name, const char *value,
		     const char *label)
{
	unsigned scale;
	const struct option *o = option_find(section, name, &scale);
	bool app = strcmp(section, "app") == 0;

	if (app && strcmp(name, "id") == 0) {
		replace(&l->env.id, value);
		return 0;
	}
	if (!o)
		return no_such_option(l, section, name, label);
	if (!app)
		return set_conf(l, o, value, label);
	draft_add(&l->env, name, value, label);
	return 0;
}

static struct draft *draft_of(struct loader *l, const char *id)
{
	for (size_t i = 0; i < l->n_drafts; i++)
		if (strcmp(l->drafts[i].id, id) == 0)
			return &l->drafts[i];
	l->drafts = xreallocarray(l->drafts, l->n_drafts + 1, sizeof(*l->drafts));
	l->drafts[l->n_drafts] = (struct draft){ .id = xstrdup(id) };
	return &l->drafts[l->n_drafts++];
}

/* The value so far and its continuation; heap. */
static char *joined(const char *first, const char *more)
{
	return textf("%s %s", first, more);
}

static int ini_app(struct loader *l, const char *id, const struct setting *s, const char *label)
{
	struct draft *d = draft_of(l, id);
	char *whole;

	if (!s->continued || !d->n) {
		draft_add(d, s->name, s->value, label);
		return 0;
	}
	whole = joined(d->options[d->n - 1].value, s->value);
	free((char *)d->options[d->n - 1].value);
	d->options[d->n - 1].value = whole;
	return 0;
}

static int ini_option(struct loader *l, const struct setting *s, const char *label)
{
	unsigned scale;
	const struct option *o = option_find(s->section, s->name, &scale);
	char *whole;
	int rc;

	if (!o)
		return no_such_option(l, s->section, s->name, label);
	if (!s->continued)
		return set_conf(l, o, s->value, label);
	if (o->type != OPTION_STRING) {
		*l->why = textf("%s: only text goes on in the next line", label);
		return -EINVAL;
	}
	whole = joined(*(char **)((char *)l->conf + o->offset), s->value);
	rc = set_conf(l, o, whole, label);
	free(whole);
	return rc;
}

static int on_ini(void *ctx, const struct setting *s)
{
	struct loader *l = ctx;
	struct str_view section = sv(s->section);
	char *label = textf("%s:%u: [%s] %s", l->label, s->line, s->section, s->name);
	int rc = -EINVAL;

	if (sv_starts_with(section, SV(APP_SECTION)) && section.len > sizeof(APP_SECTION) - 1) {
		rc = ini_app(l, s->section + sizeof(APP_SECTION) - 1, s, label);
	} else if (strcmp(s->section, "app") == 0) {
		*l->why = textf("%s:%u: the section of an app is [app ID]", l->label, s->line);
	} else if (!is_section(s->section)) {
		*l->why = textf("%s:%u: there is no section [%s]; use server, database, sync, "
				"log or app ID",
				l->label, s->line, s->section);
	} else {
		rc = ini_option(l, s, label);
	}
	free(label);
	return rc;
}

static int cannot_read(struct loader *l, const char *path, int error)
{
	*l->why = textf("%s: cannot be read: %s", path, strerror(error));
	return -error;
}

static int read_config(struct loader *l, const char *path)
{
	bool must_exist = path != NULL;
	FILE *in;
	int rc;

	l->label = must_exist ? path : DEFAULT_CONFIG;
	in = fopen(l->label, "re");
	if (!in && !must_exist && errno == ENOENT)
		return 0;
	if (!in)
		return cannot_read(l, l->label, errno);
	rc = ini_read(in, l->label, on_ini, l, l->why);
	fclose(in);
	return rc;
}

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
		return set_conf(l, o, value, label);
	dsn = textf("postgresql%s", value + sizeof("pgsql") - 1);
	rc = set_conf(l, o, dsn, label);
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
		if (is_section(words))
			rc = set_named(l, words, option, value, label);
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
		replace(&l->env.id, value);
		l->env_is_reverb = strcmp(name, REVERB_APP_ID) == 0;
		return 0;
	}
	o = option_find_env(conf_options, n_conf_options, name);
	if (o && strcmp(o->section, "database") == 0)
		return env_database(l, o, name, value, label);
	if (o)
		return set_conf(l, o, value, label);
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
		replace(&l->db_connection, s->value);
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
		add_note(l->conf, textf("%s: DB_CONNECTION is not pgsql, so its DB_* settings were "
					"left aside",
					source));
	else if (l->left_db)
		add_note(l->conf, textf("%s: the database's URL is not one of PostgreSQL and was "
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

static int read_env_file(struct loader *l, const char *path)
{
	FILE *in = fopen(path, "re");
	char *text;
	size_t n;
	int rc;

	if (!in)
		return cannot_read(l, path, errno);
	text = xmalloc(ENV_FILE_MAX + 1);
	errno = 0;
	n = fread(text, 1, ENV_FILE_MAX + 1, in);
	l->label = path;
	if (ferror(in)) {
		rc = cannot_read(l, path, errno ? errno : EIO);
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

static int read_environment(struct loader *l)
{
	const char *driver = environ_get(l->environ_, SV("DB_CONNECTION"));
	int rc = 0;

	if (driver)
		replace(&l->db_connection, driver);
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

/* Flags that are no option of the table. */
enum flag_kind {
	FLAG_OPTION,
	FLAG_CONFIG,
	FLAG_ENV_FILE,
	FLAG_EMBEDDED,
	FLAG_MIGRATE,
	FLAG_CHECK,
	FLAG_ROUTES,
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
static int need_value(struct args *a, char **why)
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
static const char *split_option(struct args *a, const struct option **o)
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
	const char *option = split_option(a, &o);
	char *label;
	int rc;

	if (!option) {
		*l->why = textf("there is no flag %.*s; see --help", (int)strcspn(a->flag, "="),
				a->flag);
		return -ENOTSUP;
	}
	if (!a->value && o && o->type == OPTION_BOOL)
		a->value = "yes";
	rc = need_value(a, l->why);
	if (rc < 0 || !apply)
		return rc;
	label = textf("%.*s", (int)strcspn(a->flag, "="), a->flag);
	rc = set_named(l, a->name, option, a->value, label);
	free(label);
	return rc;
}

struct modes {
	const char *config, *env_file;
	bool help, version;
};

static int flag_mode(struct loader *l, struct args *a, enum flag_kind kind, struct modes *m)
{
	bool with_value = kind == FLAG_CONFIG || kind == FLAG_ENV_FILE || kind == FLAG_EMBEDDED;

	if (!with_value && a->value) {
		*l->why = textf("%.*s takes no value; see --help", (int)strcspn(a->flag, "="),
				a->flag);
		return -ENOTSUP;
	}
	if (with_value && need_value(a, l->why) < 0)
		return -ENOTSUP;
	if (kind == FLAG_CONFIG)
		m->config = a->value;
	else if (kind == FLAG_ENV_FILE)
		m->env_file = a->value;
	else if (kind == FLAG_EMBEDDED)
		replace(&l->conf->embedded_postgres, a->value);
	l->conf->migrate_only |= kind == FLAG_MIGRATE;
	l->conf->check_only |= kind == FLAG_CHECK;
	l->conf->print_routes |= kind == FLAG_ROUTES;
	m->help |= kind == FLAG_HELP;
	m->version |= kind == FLAG_VERSION;
	return 0;
}

/* Goes over all flags: first for the modes, later again to apply the options over the files. */
static int read_flags(struct loader *l, int argc, char **argv, struct modes *m, bool apply)
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

static bool draft_has(const struct draft *d, const char *name)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->options[i].name, name) == 0)
			return true;
	return false;
}

/* The app of the environment joins the one it names, or the only one, or is one more. */
static int place_env_app(struct loader *l)
{
	struct draft *target;

	if (!l->env.id && l->n_drafts == 1)
		replace(&l->env.id, l->drafts[0].id);
	if (!l->env.id) {
		if (!draft_has(&l->env, "key") && !draft_has(&l->env, "secret"))
			return 0;
		*l->why = textf("%s is set, but which app it belongs to is not: set " REVERB_APP_ID,
				l->env.labels[0]);
		return -EINVAL;
	}
	for (size_t i = 0; i < l->n_drafts; i++)
		if (strcmp(l->drafts[i].id, l->env.id) == 0)
			l->env_is_reverb = false;
	target = draft_of(l, l->env.id);
	/* Reverb's own default, which its users count on */
	if (l->env_is_reverb)
		draft_add(target, "client_events", "members", REVERB_APP_ID);
	for (size_t i = 0; i < l->env.n; i++)
		draft_add(target, l->env.options[i].name, l->env.options[i].value,
			  l->env.labels[i]);
	return 0;
}

static int build_apps(struct loader *l)
{
	struct app **apps;
	size_t n = 0;
	int rc = place_env_app(l);

	if (rc < 0)
		return rc;
	apps = xcalloc(l->n_drafts, sizeof(*apps));
	for (; rc == 0 && n < l->n_drafts; n++) {
		struct draft *d = &l->drafts[n];

		rc = app_build_labelled(d->id, d->options, (const char *const *)d->labels, d->n,
					&apps[n], l->why);
	}
	if (rc == 0)
		rc = app_set_build(apps, n, &l->conf->apps, l->why);
	else
		for (size_t i = 0; i + 1 < n; i++)
			app_unref(apps[i]);
	free(apps);
	return rc == -EEXIST ? -EINVAL : rc;
}

/* "/ws" of "ws", "/ws/" and "/ws". */
static void normalize_path(char **path)
{
	size_t n = strlen(*path);
	char *clean;

	while (n && (*path)[n - 1] == '/')
		n--;
	clean = textf("%s%.*s", n && **path != '/' ? "/" : "", (int)n, *path);
	free(*path);
	*path = clean;
}

static bool is_identifier(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return n > 0 && n < 64 && !s[n] && !(*s >= '0' && *s <= '9');
}

/* What no option can tell by itself. */
static int conf_check_whole(struct conf *c, char **why)
{
	normalize_path(&c->server.path);
	if (!*c->server.demo_dir)
		replace(&c->server.demo_dir, DEFAULT_DEMO);
	if (c->server.path[strcspn(c->server.path, " \t?#%")])
		*why = textf("[server] path = %s: must be without spaces and any of ? # %%",
			     c->server.path);
	else if (!*c->server.tls_certificate != !*c->server.tls_key)
		*why = xstrdup("[server] tls_certificate and tls_key: set both or none");
	else if (!is_identifier(c->database.schema))
		*why = textf("[database] schema = %s: must be of lower-case letters, digits and _",
			     c->database.schema);
	else
		return 0;
	return -EINVAL;
}

static int load(struct loader *l, int argc, char **argv)
{
	struct modes m = { NULL, NULL, false, false };
	int rc = read_flags(l, argc, argv, &m, false);

	if (rc < 0)
		return rc;
	if (m.help)
		conf_print_help(stdout);
	else if (m.version)
		puts("scopewired " PACKAGE_VERSION);
	if (m.help || m.version)
		return 1;
	if (l->conf->print_routes)
		return 0;
	rc = read_config(l, m.config);
	if (rc == 0 && m.env_file)
		rc = read_env_file(l, m.env_file);
	if (rc == 0)
		rc = read_environment(l);
	if (rc == 0)
		rc = read_flags(l, argc, argv, &m, true);
	if (rc == 0)
		rc = build_apps(l);
	if (rc == 0)
		rc = conf_check_whole(l->conf, l->why);
	return rc;
}

int conf_load(int argc, char **argv, char **environ_, struct conf **out, char **why)
{
	struct conf *c = xcalloc(1, sizeof(*c));
	struct loader l = { .conf = c, .environ_ = environ_, .why = why };
	int rc;

	options_default(conf_options, n_conf_options, c);
	rc = load(&l, argc, argv);
	loader_release(&l);
	if (rc != 0)
		conf_free(c);
	else
		*out = c;
	return rc;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	options_release(conf_options, n_conf_options, c);
	app_set_unref(c->apps);
	free(c->embedded_postgres);
	for (char **p = c->notes; p && *p; p++)
		free(*p);
	free(c->notes);
	free(c);
}
