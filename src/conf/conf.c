/* SPDX-License-Identifier: MIT */
/*
 * Sources in their order, each value checked as it comes so that the message can name its place;
 * options of apps are gathered and checked when all of an app is known.
 */
#include <errno.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"

#define DEFAULT_CONFIG SCOPEWIRE_SYSCONFDIR "/scopewire.conf"
#define DEFAULT_DEMO   SCOPEWIRE_PKGDATADIR "/demo"
#define APP_SECTION    "app "

void draft_add(struct draft *d, const char *name, const char *value, const char *label)
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

void conf_replace(char **at, const char *text)
{
	char *copy = text ? xstrdup(text) : NULL;

	free(*at);
	*at = copy;
}

void loader_note(struct conf *c, char *note)
{
	size_t n = 0;

	while (c->notes && c->notes[n])
		n++;
	c->notes = xreallocarray(c->notes, n + 2, sizeof(*c->notes));
	c->notes[n] = note;
	c->notes[n + 1] = NULL;
}

int loader_set(struct loader *l, const struct option *o, const char *value, const char *label)
{
	char *complaint;

	if (option_set(o, l->conf, value, 1, &complaint) == 0)
		return 0;
	*l->why = option_error(o, label, value, complaint);
	return -EINVAL;
}

bool conf_is_section(const char *name)
{
	if (strcmp(name, "app") == 0)
		return true;
	for (size_t i = 0; i < n_conf_options; i++)
		if (strcmp(conf_options[i].section, name) == 0)
			return true;
	return false;
}

/* An option of the environment or the command line; those of the section app are of one app. */
int loader_set_named(struct loader *l, const char *section, const char *name, const char *value,
		     const char *label)
{
	unsigned scale;
	const struct option *o = option_find(section, name, &scale);
	bool app = strcmp(section, "app") == 0;

	if (app && strcmp(name, "id") == 0) {
		conf_replace(&l->env.id, value);
		return 0;
	}
	if (!o) {
		*l->why = option_unknown(section, name, label);
		return -EINVAL;
	}
	if (!app)
		return loader_set(l, o, value, label);
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

	if (!o) {
		*l->why = option_unknown(s->section, s->name, label);
		return -EINVAL;
	}
	if (!s->continued)
		return loader_set(l, o, s->value, label);
	if (o->type != OPTION_STRING) {
		*l->why = textf("%s: only text goes on in the next line", label);
		return -EINVAL;
	}
	whole = joined(*(char **)((char *)l->conf + o->offset), s->value);
	rc = loader_set(l, o, whole, label);
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
	} else if (!conf_is_section(s->section)) {
		*l->why = textf("%s:%u: there is no section [%s]; use server, database, sync, "
				"log or app ID",
				l->label, s->line, s->section);
	} else {
		rc = ini_option(l, s, label);
	}
	free(label);
	return rc;
}

int loader_cannot_read(struct loader *l, const char *path, int error)
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
		return loader_cannot_read(l, l->label, errno);
	rc = ini_read(in, l->label, on_ini, l, l->why);
	fclose(in);
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
		conf_replace(&l->env.id, l->drafts[0].id);
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
		conf_replace(&c->server.demo_dir, DEFAULT_DEMO);
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
	struct conf_modes m = { NULL, NULL, false, false };
	int rc = loader_read_flags(l, argc, argv, &m, false);

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
		rc = loader_read_env_file(l, m.env_file);
	if (rc == 0)
		rc = loader_read_environment(l);
	if (rc == 0)
		rc = loader_read_flags(l, argc, argv, &m, true);
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
