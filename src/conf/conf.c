/* SPDX-License-Identifier: MIT */
/*
 * Sources in their order, each value checked as it comes so that the message can name its place;
 * options of apps are gathered and checked when all of an app is known.
 */
#include <errno.h>
#include <limits.h>
#include <unistd.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"
#include "conf/conf_url.h"
#include "pg/dsn.h"

#define DEFAULT_CONFIG SCOPEWIRE_SYSCONFDIR "/scopewire.conf"
#define DEFAULT_DEMO   SCOPEWIRE_PKGDATADIR "/demo"
#define APP_SECTION    "app "

char *conf_node(const struct conf_server *s)
{
	char host[HOST_NAME_MAX + 1] = "";

	if (s->node && *s->node)
		return xstrdup(s->node);
	if (gethostname(host, sizeof(host) - 1) || !*host)
		return xstrdup("localhost");
	return xstrdup(host);
}

const char *conf_cluster_driver(const struct conf_cluster *c)
{
	static const char *const names[] = {
		[CLUSTER_LOCAL] = "local",
		[CLUSTER_POSTGRES] = "postgres",
		[CLUSTER_REDIS] = "redis",
	};

	return names[c->driver];
}

char *conf_cluster_redis(const struct conf_cluster *c)
{
	if (c->driver != CLUSTER_REDIS)
		return xstrdup("");
	if (*c->redis_host == '/')
		return textf("%s/%u", c->redis_host, c->redis_db);
	return textf(strchr(c->redis_host, ':') ? "[%s]:%u/%u" : "%s:%u/%u", c->redis_host,
		     c->redis_port, c->redis_db);
}

/* Where the file set an option first; the key is owned. */
struct ini_place {
	char *key;
	unsigned line;
};

static void ini_places_release(struct loader *l)
{
	struct ini_place *p;
	size_t at = 0;

	while ((p = map_next(&l->places, &at))) {
		free(p->key);
		free(p);
	}
	map_release(&l->places);
}

static void loader_release(struct loader *l)
{
	for (size_t i = 0; i < l->n_drafts; i++)
		draft_release(&l->drafts[i]);
	free(l->drafts);
	draft_release(&l->env);
	free(l->db_connection);
	free(l->db_url_label);
	ini_places_release(l);
}

/* The same option twice in a section, by any of its names, is a mistake. */
static void ini_check_once(struct loader *l, const struct setting *s, const struct option *o,
			   const char *label)
{
	char *key = textf("%s\n%s", s->section, o->name);
	struct ini_place *p = map_get(&l->places, sv(key));

	if (p) {
		loader_complain(l, textf("%s: is set twice; first in line %u", label, p->line));
		free(key);
		return;
	}
	p = xcalloc(1, sizeof(*p));
	*p = (struct ini_place){ key, s->line };
	map_put(&l->places, sv(key), p);
}

/* Comments and quotes of other formats, which would be part of the value. */
static void ini_check_value(struct loader *l, const char *value, const char *label)
{
	size_t n = strlen(value);

	if (n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value)
		loader_complain(l, textf("%s: write the value without quotes", label));
	for (size_t i = 0; i < n; i++) {
		bool after_blank = i == 0 ? value[1] == ' ' || !value[1]
					  : value[i - 1] == ' ' || value[i - 1] == '\t';

		if (value[i] == '#' && after_blank) {
			loader_complain(l, textf("%s: a comment after a value begins with ; and "
						 "not with #",
						 label));
			return;
		}
	}
}

/* The value so far and its continuation; heap. */
static char *conf_join_value(const char *first, const char *more)
{
	return textf("%s %s", first, more);
}

static void ini_read_app(struct loader *l, const char *id, const struct setting *s,
			 const char *label)
{
	struct draft *d = draft_of(l, id);
	unsigned scale;
	const struct option *o = option_find("app", s->name, &scale);
	char *whole;

	if (!s->is_continued || !d->n) {
		if (o)
			ini_check_once(l, s, o, label);
		if (o && (o->flags & OPTION_SECRET))
			l->has_secret = true;
		draft_add(d, s->name, s->value, label);
		return;
	}
	whole = conf_join_value(d->options[d->n - 1].value, s->value);
	secret_free((char *)d->options[d->n - 1].value);
	d->options[d->n - 1].value = whole;
}

static void ini_read_option(struct loader *l, const struct setting *s, const char *label)
{
	unsigned scale;
	const struct option *o = option_find(s->section, s->name, &scale);
	char *whole;

	if (!o) {
		loader_complain(l, option_unknown(s->section, s->name, label));
		return;
	}
	if (!s->is_continued) {
		ini_check_once(l, s, o, label);
		loader_set(l, o, s->value, scale, label);
		return;
	}
	if (o->type != OPTION_STRING) {
		loader_complain(l, textf("%s: only text can continue in the next line", label));
		return;
	}
	whole = conf_join_value(*(char **)((char *)l->conf + o->offset), s->value);
	loader_set(l, o, whole, scale, label);
	secret_free(whole);
}

static int on_ini(void *ctx, const struct setting *s)
{
	struct loader *l = ctx;
	struct str_view section = sv(s->section);
	char *label = textf("%s:%u: [%s] %s", l->label, s->line, s->section, s->name);

	ini_check_value(l, s->value, label);
	if (sv_starts_with(section, SV(APP_SECTION)) && section.len > sizeof(APP_SECTION) - 1) {
		ini_read_app(l, s->section + sizeof(APP_SECTION) - 1, s, label);
	} else if (strcmp(s->section, "app") == 0) {
		loader_complain(
			l, textf("%s:%u: the section of an app is [app ID]", l->label, s->line));
	} else if (!conf_is_section(s->section)) {
		loader_complain(l, textf("%s:%u: there is no section [%s]; use server, database, "
					 "cluster, sync, admin, webhooks, log or app ID",
					 l->label, s->line, s->section));
	} else {
		ini_read_option(l, s, label);
	}
	free(label);
	return 0;
}

static void conf_read_file(struct loader *l, const char *path)
{
	bool must_exist = path != NULL;
	FILE *in;
	int rc;

	l->label = must_exist ? path : DEFAULT_CONFIG;
	in = fopen(l->label, "re");
	if (!in && !must_exist && errno == ENOENT)
		return;
	if (!in) {
		loader_cannot_read(l, l->label, errno);
		return;
	}
	rc = ini_read(in, l->label, on_ini, l, l->why);
	if (rc < 0 && l->rc == 0)
		l->rc = rc;
	loader_check_mode(l, l->label, fileno(in));
	fclose(in);
}

/* "/ws" of "ws", "//ws/" and "/ws". */
static void conf_normalize_path(char **path)
{
	struct str_view rest = sv(*path), part;
	struct strbuf clean;

	strbuf_init(&clean, rest.len + 2);
	while (sv_split(&rest, '/', &part))
		if (part.len)
			strbuf_addf(&clean, "/%.*s", SV_ARG(part));
	free(*path);
	*path = strbuf_detach(&clean);
	strbuf_release(&clean);
}

/* Bytes that clients and proxies send as they are. */
static bool conf_is_path(const char *path)
{
	struct str_view rest = sv(path), part;

	if (path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			      "-._~!$&'()*+,;=:@/")])
		return false;
	while (sv_split(&rest, '/', &part))
		if (sv_eq_c(part, ".") || sv_eq_c(part, ".."))
			return false;
	return true;
}

static void conf_check_hosts(struct loader *l)
{
	const char *hosts = l->conf->server.host;

	if (!hosts[strspn(hosts, ", ")])
		loader_complain_of(l, "server", "host",
				   xstrdup(": is empty; use * for all addresses"));
	else if (strpbrk(hosts, "[]"))
		loader_complain_of(l, "server", "host",
				   textf(" = %s: write IPv6 addresses without "
					 "brackets, such as ::1",
					 hosts));
	else if (strstr(hosts, "://") || strchr(hosts, '/'))
		loader_complain_of(l, "server", "host",
				   textf(" = %s: must be addresses, not URLs", hosts));
}

/* libpq's own messages could repeat a part of the password: none is logged for a bad dsn. */
static void conf_check_dsn(struct loader *l)
{
	struct conf_database *d = &l->conf->database;
	char *password = NULL;
	const char *wrong;

	if (!*d->dsn)
		return;
	wrong = dsn_check(d->dsn, &password);
	if (wrong)
		loader_complain_of(l, "database", "dsn", textf(": %s", wrong));
	if (password)
		conf_replace(&d->password, password);
	secret_free(password);
}

/* Checks that concern several options together. */
static void conf_check_whole(struct loader *l)
{
	struct conf *c = l->conf;

	conf_normalize_path(&c->server.path);
	if (!*c->server.demo_dir)
		conf_replace(&c->server.demo_dir, DEFAULT_DEMO);
	if (!conf_is_path(c->server.path))
		loader_complain_of(l, "server", "path",
				   textf(" = %s: must be without spaces, any of ? # "
					 "%%, and the parts . and ..",
					 c->server.path));
	loader_check_pair(l, "server", (const char *const[]){ "tls_certificate", "tls_key" },
			  (const char *const[]){ c->server.tls_certificate, c->server.tls_key });
	if (!option_is_identifier(c->database.schema))
		loader_complain_of(l, "database", "schema",
				   textf(" = %s: must be of lower-case letters, "
					 "digits and _",
					 c->database.schema));
	if (*c->log.file && *c->log.file != '/')
		loader_complain_of(l, "log", "file",
				   textf(" = %s: must be an absolute path", c->log.file));
	conf_check_hosts(l);
	conf_check_dsn(l);
	loader_check_cluster(l);
	loader_check_admin(l);
}

static int conf_load_all(struct loader *l, int argc, char **argv)
{
	struct conf_modes m = { NULL, NULL, false, false };
	int rc = loader_read_flags(l, argc, argv, &m, false);

	if (rc < 0)
		return rc;
	if (m.wants_help)
		conf_print_help(stdout);
	else if (m.wants_version)
		puts("scopewired " PACKAGE_VERSION);
	if (m.wants_help || m.wants_version)
		return 1;
	if (l->conf->print_routes)
		return 0;
	conf_read_file(l, m.config);
	if (m.env_file)
		loader_read_env_file(l, m.env_file);
	loader_read_environment(l);
	rc = loader_read_flags(l, argc, argv, &m, true);
	loader_build_apps(l);
	conf_check_whole(l);
	return l->rc ? l->rc : rc;
}

int conf_load(int argc, char **argv, char **environ_, struct conf **out, char **why)
{
	struct conf *c = xcalloc(1, sizeof(*c));
	char *problems = NULL;
	struct loader l = { .conf = c, .environ_ = environ_, .why = &problems };
	int rc;

	map_init(&l.places);
	options_default(conf_options, n_conf_options, c);
	rc = conf_load_all(&l, argc, argv);
	loader_release(&l);
	if (rc < 0)
		*why = problems;
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
	free(c->database_hint);
	for (char **p = c->notes; p && *p; p++)
		free(*p);
	free(c->notes);
	conf_settings_release(c);
	free(c);
}
