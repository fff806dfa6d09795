/* SPDX-License-Identifier: MIT */
/*
 * Makes the applications of what was gathered (struct draft).  An application of REVERB_* or
 * SOKETI_* variables begins with the limits of that server, so that what worked there works here
 * (docs/limits.md).
 */
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_table.h"

static const struct app_option of_reverb[] = {
	{ "client_events", "members" },	  { "activity_timeout", "30" },
	{ "ping_interval", "60" },	  { "max_request_bytes", "10000" },
	{ "max_message_bytes", "10000" }, { "max_channel_name_bytes", "0" },
	{ "max_event_name_bytes", "0" },  { "max_event_channels", "0" },
	{ "max_batch_events", "0" },	  { "max_channels_per_connection", "0" },
	{ "max_presence_members", "0" },  { "max_presence_member_bytes", "0" },
	{ "max_user_id_bytes", "0" },	  { "max_client_events_per_second", "0" },
};

static const struct app_option of_soketi[] = {
	{ "activity_timeout", "30" },
	{ "cache_ttl", "3600" },
	{ "max_request_bytes", "100M" },
	{ "max_message_bytes", "128K" },
	{ "max_event_payload_bytes", "100K" },
	{ "max_channels_per_connection", "0" },
	{ "max_presence_member_bytes", "2K" },
	{ "max_user_id_bytes", "0" },
	{ "max_client_events_per_second", "0" },
};

static void draft_add_all(struct draft *d, const struct app_option *options, size_t n,
			  const char *label)
{
	for (size_t i = 0; i < n; i++)
		draft_add(d, options[i].name, options[i].value, label);
}

/* The last index of an option with this name that has a value; d->n when there is none. */
static size_t draft_find(const struct draft *d, const char *name)
{
	unsigned scale;

	for (size_t i = d->n; i-- > 0;) {
		const struct option *o = option_find("app", d->options[i].name, &scale);

		if (o && strcmp(o->name, name) == 0 && *d->options[i].value)
			return i;
	}
	return d->n;
}

/*
 * Reverb limits the request and the client's message, not the event in it: the larger of both is
 * the limit of an event, and neither is reached later than there.
 */
static void draft_add_reverb_event(struct draft *target, const struct draft *env)
{
	static const char *const names[] = { "max_request_bytes", "max_message_bytes" };
	uint64_t best = 0;
	const char *value = NULL, *label = NULL;

	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		size_t i = draft_find(env, names[n]);
		const struct draft *d = i < env->n ? env : target;
		uint64_t limit;

		i = draft_find(d, names[n]);
		limit = option_limit(names[n], d->options[i].value);
		if (limit > best) {
			best = limit;
			value = d->options[i].value;
			label = d->labels[i];
		}
	}
	if (value)
		draft_add(target, "max_event_payload_bytes", value, label);
}

static void draft_add_origin(struct draft *target, const struct draft *env, enum app_origin from)
{
	if (from == APP_FROM_SOKETI)
		draft_add_all(target, of_soketi, ARRAY_SIZE(of_soketi), "soketi's default");
	if (from != APP_FROM_REVERB)
		return;
	draft_add_all(target, of_reverb, ARRAY_SIZE(of_reverb), "Reverb's default");
	draft_add_reverb_event(target, env);
}

static bool draft_is_in_file(const struct loader *l, const char *id)
{
	for (size_t i = 0; i < l->n_drafts; i++)
		if (strcmp(l->drafts[i].id, id) == 0)
			return true;
	return false;
}

/* The app of the environment joins the one it names, or the only one, or is one more. */
static void place_env_app(struct loader *l)
{
	struct draft *target, *env = &l->env;
	size_t i;

	if (!env->id && l->n_drafts == 1)
		conf_replace(&env->id, l->drafts[0].id);
	if (!env->id) {
		i = draft_find(env, "key");
		if (i == env->n)
			i = draft_find(env, "secret");
		if (i < env->n)
			loader_complain(l, textf("%s is set, but which app it belongs to is not: "
						 "set " REVERB_APP_ID,
						 env->labels[i]));
		else if (l->has_pusher && !l->n_drafts)
			loader_note(l->conf,
				    xstrdup("PUSHER_APP_* variables are not read; an application "
					    "is set with REVERB_APP_ID, REVERB_APP_KEY and "
					    "REVERB_APP_SECRET"));
		return;
	}
	if (draft_is_in_file(l, env->id))
		l->env_origin = APP_OWN;
	target = draft_of(l, env->id);
	draft_add_origin(target, env, l->env_origin);
	for (i = 0; i < env->n; i++)
		if (*env->options[i].value || draft_find(target, env->options[i].name) == target->n)
			draft_add(target, env->options[i].name, env->options[i].value,
				  env->labels[i]);
}

/* The limits of both ways to publish are below the limit of an event. */
static void app_note_contradiction(struct conf *c, const struct app *a)
{
	const struct app_limits *l = &a->limits;

	if (l->max_request_bytes && l->max_message_bytes &&
	    l->max_event_payload_bytes > l->max_request_bytes &&
	    l->max_event_payload_bytes > l->max_message_bytes)
		loader_note(c, textf("[app %s]: max_event_payload_bytes is %u, but "
				     "max_request_bytes is %u and is reached first",
				     a->id, l->max_event_payload_bytes, l->max_request_bytes));
}

static void app_note_webhooks(struct conf *c, const struct app *a)
{
	const char *warning = webhook_list_warning(&a->webhooks, c->database.deliveries);

	if (a->webhooks.ignored)
		loader_note(c, textf("[app %s] webhooks: these members have no effect: %s", a->id,
				     a->webhooks.ignored));
	if (warning)
		loader_note(c, textf("[app %s] webhooks: %s", a->id, warning));
}

static void draft_put_settings(struct conf *c, const struct draft *d)
{
	for (size_t i = 0; i < d->n; i++) {
		unsigned scale;
		const struct option *o = option_find("app", d->options[i].name, &scale);

		if (o)
			conf_setting_put(c, d->id,
					 &(struct option_value){ o, d->options[i].value, scale,
								 d->labels[i] });
	}
}

void loader_build_apps(struct loader *l)
{
	struct app **apps;
	char *why;
	size_t n = 0;
	int rc;

	place_env_app(l);
	apps = xcalloc(l->n_drafts, sizeof(*apps));
	for (size_t i = 0; i < l->n_drafts; i++) {
		struct draft *d = &l->drafts[i];

		rc = app_build_labelled(
			d->id,
			&(struct app_options){ d->options, (const char *const *)d->labels, d->n },
			&apps[n], l->why);
		if (rc < 0) {
			l->rc = l->rc ? l->rc : rc;
			continue;
		}
		draft_put_settings(l->conf, d);
		app_note_contradiction(l->conf, apps[n]);
		app_note_webhooks(l->conf, apps[n]);
		n++;
	}
	if (app_set_build(apps, n, &l->conf->apps, &why) < 0)
		loader_complain(l, why);
	free(apps);
}
