/* SPDX-License-Identifier: MIT */
/*
 * What all sources need while a configuration is read: to set an option, to gather those of an
 * application until all of it is known, and to report what is wrong.
 */
#include <errno.h>
#include <sys/stat.h>
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_source.h"
#include "conf/conf_table.h"

void conf_replace(char **at, const char *text)
{
	char *copy = text ? xstrdup(text) : NULL;

	secret_free(*at);
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

void loader_complain(struct loader *l, char *sentence)
{
	complaint_add(l->why, sentence);
	if (l->rc == 0)
		l->rc = -EINVAL;
}

void loader_complain_of(struct loader *l, const char *section, const char *name, char *complaint)
{
	char *label = conf_setting_label(l->conf, section, name);

	loader_complain(l, textf("%s%s", label, complaint));
	free(label);
	free(complaint);
}

void loader_check_pair(struct loader *l, const char *section, const char *const names[2],
		       const char *const values[2])
{
	bool is_second = *values[1];

	if (!*values[0] != !*values[1])
		loader_complain_of(l, section, names[is_second],
				   textf(": %s is not set; set both or none", names[!is_second]));
}

void loader_cannot_read(struct loader *l, const char *path, int error)
{
	loader_complain(l, textf("%s: cannot be read: %s", path, strerror(error)));
	l->rc = -error;
}

void loader_check_mode(struct loader *l, const char *path, int fd)
{
	struct stat st;

	if (l->has_secret && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH))
		loader_note(l->conf, textf("%s: has secrets and can be read by every user; use "
					   "chmod o-r %s",
					   path, path));
	l->has_secret = false;
}

void draft_add(struct draft *d, const char *name, const char *value, const char *label)
{
	d->options = xreallocarray(d->options, d->n + 1, sizeof(*d->options));
	d->labels = xreallocarray(d->labels, d->n + 1, sizeof(*d->labels));
	d->options[d->n] = (struct app_option){ xstrdup(name), xstrdup(value) };
	d->labels[d->n++] = xstrdup(label);
}

void draft_release(struct draft *d)
{
	for (size_t i = 0; i < d->n; i++) {
		free((char *)d->options[i].name);
		secret_free((char *)d->options[i].value);
		free(d->labels[i]);
	}
	free(d->options);
	free(d->labels);
	free(d->id);
}

struct draft *draft_of(struct loader *l, const char *id)
{
	for (size_t i = 0; i < l->n_drafts; i++)
		if (strcmp(l->drafts[i].id, id) == 0)
			return &l->drafts[i];
	l->drafts = xreallocarray(l->drafts, l->n_drafts + 1, sizeof(*l->drafts));
	l->drafts[l->n_drafts] = (struct draft){ .id = xstrdup(id) };
	return &l->drafts[l->n_drafts++];
}

void loader_set(struct loader *l, const struct option *o, const char *value, unsigned scale,
		const char *label)
{
	char *complaint;

	if (option_set(o, l->conf, value, scale, &complaint) < 0)
		loader_complain(l, option_error(o, label, value, complaint));
	else
		conf_setting_put(l->conf, NULL, &(struct option_value){ o, value, scale, label });
	if ((o->flags & OPTION_SECRET) && *value)
		l->has_secret = true;
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

void loader_set_named(struct loader *l, const char *section, const char *name, const char *value,
		      const char *label)
{
	unsigned scale;
	const struct option *o = option_find(section, name, &scale);
	bool app = strcmp(section, "app") == 0;

	if (app && strcmp(name, "id") == 0)
		conf_replace(&l->env.id, value);
	else if (!o)
		loader_complain(l, option_unknown(section, name, label));
	else if (!app)
		loader_set(l, o, value, scale, label);
	else
		draft_add(&l->env, name, value, label);
}
