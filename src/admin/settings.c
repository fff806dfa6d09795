/* SPDX-License-Identifier: MIT */
/*
 * Writes the settings as JSON in one pass, under the lock of the settings.
 * No other state; any thread.
 */
#include "base/mem.h"
#include "conf/conf_table.h"
#include "admin/settings.h"

struct settings_writer {
	struct strbuf b;
	unsigned n;
	bool *is_set; /* of each option of the daemon */
};

/* value is NULL for a secret. */
static void settings_add(struct settings_writer *w, const struct option *o, const char *app_id,
			 const char *value, const char *source)
{
	strbuf_add_str(&w->b, w->n++ ? ",{\"section\":" : "{\"section\":");
	strbuf_add_json(&w->b, sv(o->section));
	strbuf_add_str(&w->b, ",\"app\":");
	if (app_id)
		strbuf_add_json(&w->b, sv(app_id));
	else
		strbuf_add_str(&w->b, "null");
	strbuf_add_str(&w->b, ",\"option\":");
	strbuf_add_json(&w->b, sv(o->name));
	strbuf_add_str(&w->b, ",\"value\":");
	if (value)
		strbuf_add_json(&w->b, sv(value));
	else
		strbuf_add_str(&w->b, "null");
	strbuf_addf(&w->b,
		    ",\"secret\":%s,\"default\":", o->flags & OPTION_SECRET ? "true" : "false");
	strbuf_add_json(&w->b, sv(o->fallback));
	strbuf_add_str(&w->b, ",\"source\":");
	if (source)
		strbuf_add_json(&w->b, sv(source));
	else
		strbuf_add_str(&w->b, "null");
	strbuf_addf(&w->b, ",\"reloadable\":%s,\"help\":",
		    o->flags & OPTION_RELOADABLE ? "true" : "false");
	strbuf_add_json(&w->b, sv(o->help));
	strbuf_add_c(&w->b, '}');
}

static void settings_add_set(void *ctx, const struct conf_setting *set)
{
	struct settings_writer *w = ctx;

	if (!set->app_id && set->option >= conf_options &&
	    set->option < conf_options + n_conf_options)
		w->is_set[set->option - conf_options] = true;
	settings_add(w, set->option, set->app_id, set->value, set->label);
}

static void settings_add_waiting(const struct conf *conf, struct strbuf *out)
{
	char *names = conf_settings_waiting(conf);
	struct str_view rest = names ? sv(names) : SV(""), name;

	strbuf_add_str(out, "],\"restart\":[");
	for (unsigned n = 0; sv_split(&rest, ',', &name); n++) {
		if (n)
			strbuf_add_c(out, ',');
		strbuf_add_json(out, sv_skip(name, name.len && name.ptr[0] == ' '));
	}
	strbuf_add_str(out, "]}");
	free(names);
}

void admin_settings(const struct conf *conf, struct request *r)
{
	struct settings_writer w = { .is_set = xcalloc(n_conf_options, sizeof(bool)) };
	struct reply reply = { .status = 200 };

	strbuf_init(&w.b, 4096);
	strbuf_add_str(&w.b, "{\"settings\":[");
	conf_settings_each(conf, settings_add_set, &w);
	for (size_t i = 0; request_param(r, "all").len && i < n_conf_options; i++)
		if (!w.is_set[i])
			settings_add(&w, &conf_options[i], NULL,
				     conf_options[i].flags & OPTION_SECRET
					     ? NULL
					     : conf_options[i].fallback,
				     NULL);
	free(w.is_set);
	settings_add_waiting(conf, &w.b);
	strbuf_move(&reply.body, &w.b);
	request_reply_full(r, &reply);
}
