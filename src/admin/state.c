/* SPDX-License-Identifier: MIT */
/*
 * Lists have at most LIST_MAX entries and a mark if there are more, so that an answer is bounded
 * however many channels and members there are.
 */
#include <unistd.h>
#include "base/mem.h"
#include "core/channels/users.h"
#include "svc/health.h"
#include "admin/query.h"
#include "admin/state.h"

#define LIST_MAX 1000

struct app *admin_state_app(struct request *r)
{
	struct str_view id = request_param(r, "app");
	struct app_set *set = apps_current();
	struct app *app = id.len ? app_set_by_id(set, id) : app_set_only(set);

	if (app)
		app_ref(app);
	else if (id.len)
		admin_query_refuse(r, 404, "not_found", SV("There is no such application."));
	else
		admin_query_refuse(r, 400, "invalid_request",
				   SV("\"app\" is missing, and there is not exactly one "
				      "application."));
	app_set_unref(set);
	return app;
}

static void state_reply(struct request *r, struct strbuf *body)
{
	struct reply reply = { .status = 200 };

	strbuf_move(&reply.body, body);
	request_reply_full(r, &reply);
}

/* ---- the node ---- */

bool admin_state_health(const struct health *h, struct strbuf *out)
{
	bool is_ready = health_is_ready(h);
	unsigned n = 0;

	strbuf_addf(out, "\"ready\":%s,\"failed\":[", is_ready ? "true" : "false");
	for (unsigned i = 0; i < HEALTH_CHECKS; i++)
		if (!health_passes(h, i))
			strbuf_addf(out, "%s\"%s\"", n++ ? "," : "", health_check_name(i));
	strbuf_add_c(out, ']');
	return is_ready;
}

void admin_state_status(const struct admin_services *s, struct strbuf *out)
{
	struct app_set *set = apps_current();
	char *node = conf_node(&s->conf->server);
	unsigned connections = 0;

	for (size_t i = 0; set && i < app_set_count(set); i++)
		connections += atomic_load(&app_set_at(set, i)->runtime->connections);
	strbuf_add_str(out, "\"version\":\"" PACKAGE_VERSION "\",\"node\":");
	strbuf_add_json(out, sv(node));
	strbuf_addf(out, ",\"process\":%d,", getpid());
	admin_state_health(s->health, out);
	strbuf_addf(out, ",\"apps\":%zu,\"connections\":%u", app_set_count(set), connections);
	free(node);
	app_set_unref(set);
}

/* ---- applications and channels ---- */

void admin_state_apps(const struct admin_services *s UNUSED, struct request *r)
{
	struct app_set *set = apps_current();
	struct strbuf b;

	strbuf_init(&b, 512);
	strbuf_add_str(&b, "{\"apps\":[");
	for (size_t i = 0; set && i < app_set_count(set); i++) {
		const struct app *app = app_set_at(set, i);

		strbuf_add_str(&b, i ? ",{\"id\":" : "{\"id\":");
		strbuf_add_json(&b, sv(app->id));
		strbuf_add_str(&b, ",\"key\":");
		strbuf_add_json(&b, sv(app->key));
		strbuf_addf(&b, ",\"enabled\":%s,\"connections\":%u}",
			    app->enabled ? "true" : "false",
			    atomic_load(&app->runtime->connections));
	}
	app_set_unref(set);
	strbuf_add_str(&b, "]}");
	state_reply(r, &b);
}

struct state_list {
	struct strbuf b;
	size_t n;
	bool has_more;
};

/* Begins an entry; false: the list is full. */
static bool state_list_next(struct state_list *l)
{
	if (l->n == LIST_MAX) {
		l->has_more = true;
		return false;
	}
	if (l->n++)
		strbuf_add_c(&l->b, ',');
	return true;
}

static void state_add_channel(void *ctx, struct str_view channel, unsigned subscriptions,
			      unsigned users)
{
	struct state_list *l = ctx;

	if (!state_list_next(l))
		return;
	strbuf_add_str(&l->b, "{\"channel\":");
	strbuf_add_json(&l->b, channel);
	strbuf_addf(&l->b, ",\"subscriptions\":%u", subscriptions);
	if (sv_starts_with(channel, SV("presence-")))
		strbuf_addf(&l->b, ",\"users\":%u", users);
	strbuf_add_c(&l->b, '}');
}

void admin_state_channels(const struct admin_services *s, struct request *r)
{
	struct app *app = admin_state_app(r);
	struct state_list l = { .n = 0 };

	if (!app)
		return;
	strbuf_init(&l.b, 1024);
	strbuf_add_str(&l.b, "{\"channels\":[");
	directory_each_channel(s->directory, app, request_param(r, "prefix"), state_add_channel,
			       &l);
	strbuf_addf(&l.b, "],\"more\":%s}", l.has_more ? "true" : "false");
	app_unref(app);
	state_reply(r, &l.b);
}

static void state_add_member(void *ctx, struct str_view user_id)
{
	struct state_list *l = ctx;

	if (state_list_next(l))
		strbuf_add_json(&l->b, user_id);
}

void admin_state_channel(const struct admin_services *s, const struct app *app,
			 struct str_view channel, struct strbuf *out)
{
	struct state_list l = { .n = 0 };
	struct channel_info info;

	directory_channel_info(s->directory, app, channel, &info);
	strbuf_add_str(out, "\"app\":");
	strbuf_add_json(out, sv(app->id));
	strbuf_add_str(out, ",\"channel\":");
	strbuf_add_json(out, channel);
	strbuf_addf(out, ",\"occupied\":%s,\"subscriptions\":%u",
		    info.is_occupied ? "true" : "false", info.subscription_count);
	channel_info_release(&info);
	strbuf_init(&l.b, 256);
	directory_each_member(s->directory, app, channel, state_add_member, &l);
	strbuf_add_str(out, ",\"members\":[");
	strbuf_add_sv(out, strbuf_view(&l.b));
	strbuf_addf(out, "],\"more_members\":%s", l.has_more ? "true" : "false");
	strbuf_release(&l.b);
}

/* ---- a user ---- */

struct state_names {
	char **names;
	size_t n;
};

static void state_keep_presence(void *ctx, struct str_view channel, unsigned subscriptions UNUSED,
				unsigned users UNUSED)
{
	struct state_names *names = ctx;

	names->names = xreallocarray(names->names, names->n + 1, sizeof(*names->names));
	names->names[names->n++] = sv_dup(channel);
}

struct state_search {
	struct str_view user;
	bool is_found;
};

static void state_compare_member(void *ctx, struct str_view user_id)
{
	struct state_search *search = ctx;

	search->is_found = search->is_found || sv_eq(user_id, search->user);
}

/* Where the user is a member.  No channel's lock is held while another is looked at. */
void admin_state_who(const struct admin_services *s, struct request *r)
{
	struct str_view user = request_param(r, "user");
	struct state_names names = { NULL, 0 };
	struct state_list l = { .n = 0 };
	struct app *app;

	if (!user.len || !sv_is_utf8(user)) {
		admin_query_refuse(r, 400, "invalid_request", SV("\"user\" is missing."));
		return;
	}
	app = admin_state_app(r);
	if (!app)
		return;
	strbuf_init(&l.b, 256);
	strbuf_add_str(&l.b, "{\"user\":");
	strbuf_add_json(&l.b, user);
	strbuf_addf(&l.b, ",\"signed_in\":%s,\"channels\":[",
		    users_is_online(s->directory, app, user) ? "true" : "false");
	directory_each_channel(s->directory, app, SV("presence-"), state_keep_presence, &names);
	for (size_t i = 0; i < names.n; i++) {
		struct state_search search = { user, false };

		directory_each_member(s->directory, app, sv(names.names[i]), state_compare_member,
				      &search);
		if (search.is_found)
			state_add_member(&l, sv(names.names[i]));
		free(names.names[i]);
	}
	free(names.names);
	strbuf_addf(&l.b, "],\"more\":%s}", l.has_more ? "true" : "false");
	app_unref(app);
	state_reply(r, &l.b);
}
