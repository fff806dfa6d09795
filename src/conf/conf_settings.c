/* SPDX-License-Identifier: MIT */
/* Which source set which option: remembered while a configuration is read, and printed. */
#include <pthread.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_table.h"

/* The settings of the running configuration change at a reload, while requests print them. */
static pthread_mutex_t settings_lock = PTHREAD_MUTEX_INITIALIZER;

static struct conf_setting *setting_find(struct conf *c, const char *app_id, const struct option *o)
{
	for (size_t i = 0; i < c->n_settings; i++) {
		struct conf_setting *s = &c->settings[i];

		if (s->option == o && !s->app_id == !app_id &&
		    (!app_id || strcmp(s->app_id, app_id) == 0))
			return s;
	}
	return NULL;
}

void conf_setting_put(struct conf *c, const char *app_id, const struct option_value *v)
{
	struct conf_setting *s = setting_find(c, app_id, v->option);

	if (!s) {
		c->settings = xreallocarray(c->settings, c->n_settings + 1, sizeof(*c->settings));
		s = &c->settings[c->n_settings++];
		*s = (struct conf_setting){ .app_id = app_id ? xstrdup(app_id) : NULL,
					    .option = v->option };
	}
	free(s->value);
	free(s->label);
	s->value = NULL;
	if (!(v->option->flags & OPTION_SECRET))
		s->value = textf("%s%s", v->value, v->scale == 1024 ? "K" : "");
	s->label = xstrdup(v->label);
}

char *conf_setting_label(struct conf *c, const char *section, const char *name)
{
	unsigned scale;
	const struct option *o = option_find(section, name, &scale);
	const struct conf_setting *s = o ? setting_find(c, NULL, o) : NULL;

	return s ? xstrdup(s->label) : textf("[%s] %s", section, name);
}

static void setting_release(struct conf_setting *s)
{
	free(s->app_id);
	free(s->value);
	free(s->label);
}

void conf_settings_release(struct conf *c)
{
	for (size_t i = 0; i < c->n_settings; i++)
		setting_release(&c->settings[i]);
	free(c->settings);
	free(c->waiting);
}

void conf_settings_each(const struct conf *c, void (*fn)(void *ctx, const struct conf_setting *s),
			void *ctx)
{
	pthread_mutex_lock(&settings_lock);
	for (size_t i = 0; i < c->n_settings; i++)
		fn(ctx, &c->settings[i]);
	pthread_mutex_unlock(&settings_lock);
}

char *conf_settings_waiting(const struct conf *c)
{
	char *names;

	pthread_mutex_lock(&settings_lock);
	names = c->waiting ? xstrdup(c->waiting) : NULL;
	pthread_mutex_unlock(&settings_lock);
	return names;
}

/* Whether a reload from running to now puts the option's new value in force. */
static bool setting_is_reloadable(const struct option *o, const struct conf *running,
				  const struct conf *now)
{
	bool is_admin = sv_eq_c(sv(o->section), "admin");
	const char *old =
		is_admin ? running->admin.tls_certificate : running->server.tls_certificate;
	const char *new = is_admin ? now->admin.tls_certificate : now->server.tls_certificate;

	/* TLS itself is switched on or off at start */
	if (sv_eq_c(sv(o->name), "tls_certificate") && !*old != !*new)
		return false;
	return o->flags & OPTION_RELOADABLE;
}

char *conf_needs_restart(const struct conf *running, const struct conf *now)
{
	struct strbuf names;
	char *text;

	strbuf_init(&names, 0);
	for (size_t i = 0; i < n_conf_options; i++) {
		const struct option *o = &conf_options[i];

		if (option_is_equal(o, running, now) || setting_is_reloadable(o, running, now))
			continue;
		strbuf_addf(&names, "%s%s.%s", names.len ? ", " : "", o->section, o->name);
	}
	text = names.len ? strbuf_detach(&names) : NULL;
	strbuf_release(&names);
	return text;
}

void conf_settings_reload(struct conf *running, struct conf *now)
{
	struct conf_setting *all = xcalloc(running->n_settings + now->n_settings + 1, sizeof(*all));
	size_t n = 0, left = 0;

	pthread_mutex_lock(&settings_lock);
	free(running->waiting);
	running->waiting = conf_needs_restart(running, now);
	for (size_t i = 0; i < running->n_settings; i++)
		if (setting_is_reloadable(running->settings[i].option, running, now))
			setting_release(&running->settings[i]);
		else
			all[n++] = running->settings[i];
	for (size_t i = 0; i < now->n_settings; i++)
		if (setting_is_reloadable(now->settings[i].option, running, now))
			all[n++] = now->settings[i];
		else
			now->settings[left++] = now->settings[i];
	now->n_settings = left;
	free(running->settings);
	running->settings = all;
	running->n_settings = n;
	pthread_mutex_unlock(&settings_lock);
}

/* The options of one section, in the order of the table; app_id is NULL outside [app ID]. */
static void settings_print(const struct conf *c, const char *section, const char *app_id, FILE *out)
{
	bool has_head = false;

	for (size_t i = 0; i < c->n_settings; i++) {
		const struct conf_setting *s = &c->settings[i];

		if (strcmp(s->option->section, section) != 0 ||
		    (app_id && strcmp(s->app_id, app_id) != 0))
			continue;
		if (!has_head)
			fprintf(out, "[%s%s%s]\n", section, app_id ? " " : "",
				app_id ? app_id : "");
		has_head = true;
		if (s->value)
			fprintf(out, "; %s\n%s = %s\n", s->label, s->option->name, s->value);
		else
			fprintf(out, "; %s: a secret, which is not printed\n;%s =\n", s->label,
				s->option->name);
	}
	if (has_head)
		putc('\n', out);
}

void conf_print_settings(const struct conf *c, FILE *out)
{
	for (size_t i = 0; i < n_conf_options; i++)
		if (i == 0 || strcmp(conf_options[i].section, conf_options[i - 1].section) != 0)
			settings_print(c, conf_options[i].section, NULL, out);
	for (size_t i = 0; i < c->n_settings; i++) {
		const char *id = c->settings[i].app_id;
		size_t first = 0;

		if (!id)
			continue;
		while (!c->settings[first].app_id || strcmp(c->settings[first].app_id, id) != 0)
			first++;
		if (first == i)
			settings_print(c, "app", id, out);
	}
}
