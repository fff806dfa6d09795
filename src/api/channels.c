/* SPDX-License-Identifier: MIT */
/*
 * Who is where: GET channels, channels/{name}, channels/{name}/users.  In a cluster the answer is
 * read from the database; without one it is what this node has.
 */
#include "base/annotate.h"
#include "base/mem.h"
#include "core/channels/directory.h"
#include "log/reader.h"
#include "svc/occupancy.h"
#include "api/handlers.h"
#include "api/parameters.h"
#include "api/reply.h"

struct listing {
	struct strbuf b;
	unsigned info;
	bool some;
};

static void channels_open_member(struct strbuf *b, bool *some, const char *name)
{
	strbuf_add_str(b, *some ? ",\"" : "\"");
	strbuf_add_str(b, name);
	strbuf_add_str(b, "\":");
	*some = true;
}

static void list_channel(void *ctx, struct str_view channel, unsigned subscription_count,
			 unsigned user_count)
{
	struct listing *l = ctx;
	bool some = false;

	if (l->some)
		strbuf_add_c(&l->b, ',');
	l->some = true;
	strbuf_add_json(&l->b, channel);
	strbuf_add_str(&l->b, ":{");
	if (l->info & INFO_USER_COUNT) {
		channels_open_member(&l->b, &some, "user_count");
		strbuf_add_u64(&l->b, user_count);
	}
	if (l->info & INFO_SUBSCRIPTION_COUNT) {
		channels_open_member(&l->b, &some, "subscription_count");
		strbuf_add_u64(&l->b, subscription_count);
	}
	strbuf_add_c(&l->b, '}');
}

/* A request that waits for the database. */
struct lookup {
	struct request *r;
	const struct api_services *services;
	struct app *app; /* counted */
	char *channel;	 /* or the prefix of channels */
	unsigned info;
	struct channel_info ci; /* of one channel */
};

static struct lookup *lookup_new(const struct call *c, struct str_view channel, unsigned info)
{
	struct lookup *l = xcalloc(1, sizeof(*l));

	l->r = c->r;
	l->services = c->services;
	l->app = app_ref(c->app);
	l->channel = sv_dup(channel);
	l->info = info;
	return l;
}

static void lookup_free(struct lookup *l)
{
	channel_info_release(&l->ci);
	app_unref(l->app);
	free(l->channel);
	free(l);
}

static void on_channels(void *ctx, const struct pg_answer *a)
{
	struct lookup *up = ctx;
	struct listing l = { .info = up->info };

	strbuf_init(&l.b, 256);
	strbuf_add_str(&l.b, "{\"channels\":{");
	for (int row = 0; !a->rc && row < pg_answer_rows(a); row++)
		list_channel(&l, pg_answer_view(a, row, 0), (unsigned)pg_answer_int(a, row, 1),
			     (unsigned)pg_answer_int(a, row, 2));
	if (a->rc)
		directory_each_channel(up->services->directory, up->app, sv(up->channel),
				       list_channel, &l);
	strbuf_add_str(&l.b, "}}");
	call_reply_json(up->r, 200, &l.b);
	lookup_free(up);
}

void h_channels_list(struct call *c)
{
	struct str_view prefix = request_param(c->r, "filter_by_prefix");
	struct listing l = { .info = 0 };

	if (!parameters_read_info(c, request_param(c->r, "info"), &l.info))
		return;
	if (l.info & INFO_CACHE) {
		call_fail(c, 400, "info=cache is available for a single channel only.");
		return;
	}
	if ((l.info & INFO_USER_COUNT) && !sv_starts_with(prefix, SV("presence-"))) {
		call_fail(c, 400,
			  "user_count is of presence channels: add "
			  "filter_by_prefix=presence- to the request.");
		return;
	}
	if (occupancy_is_shared(c->services->conf)) {
		occupancy_list(c->services->pool, c->app, prefix, on_channels,
			       lookup_new(c, prefix, l.info));
		return;
	}
	strbuf_init(&l.b, 256);
	strbuf_add_str(&l.b, "{\"channels\":{");
	directory_each_channel(c->services->directory, c->app, prefix, list_channel, &l);
	strbuf_add_str(&l.b, "}}");
	call_reply_json(c->r, 200, &l.b);
}

static void channels_add_cache(struct strbuf *b, const struct channel_info *ci)
{
	if (!ci->has_cache) {
		strbuf_add_str(b, "null");
		return;
	}
	strbuf_add_str(b, "{\"data\":");
	strbuf_add_json(b, sv(ci->cache_data));
	strbuf_addf(b, ",\"ttl\":%u}", ci->cache_ttl_s);
}

static void add_channel(struct strbuf *b, const struct channel_info *ci, unsigned info)
{
	strbuf_addf(b, "{\"occupied\":%s", ci->is_occupied ? "true" : "false");
	if (info & INFO_USER_COUNT)
		strbuf_addf(b, ",\"user_count\":%u", ci->user_count);
	if (info & INFO_SUBSCRIPTION_COUNT)
		strbuf_addf(b, ",\"subscription_count\":%u", ci->subscription_count);
	if (info & INFO_CACHE) {
		strbuf_add_str(b, ",\"cache\":");
		channels_add_cache(b, ci);
	}
	strbuf_add_c(b, '}');
}

static bool channels_check_applies(struct call *c, const struct channel_traits *t, unsigned info)
{
	if ((info & INFO_USER_COUNT) && !t->is_presence)
		call_fail(c, 400, "user_count is available for presence channels only.");
	else if ((info & INFO_CACHE) && !t->is_cache)
		call_fail(c, 400, "info=cache is available for cache channels only.");
	else
		return true;
	return false;
}

static void reply_channel(struct request *r, const struct channel_info *ci, unsigned info)
{
	struct strbuf b;

	strbuf_init(&b, 128);
	add_channel(&b, ci, info);
	call_reply_json(r, 200, &b);
}

static void lookup_reply(struct lookup *l)
{
	reply_channel(l->r, &l->ci, l->info);
	lookup_free(l);
}

static void on_occupancy(void *ctx, const struct pg_answer *a)
{
	struct lookup *l = ctx;

	if (!a->rc && pg_answer_rows(a) == 1) {
		l->ci.subscription_count = (unsigned)pg_answer_int(a, 0, 0);
		l->ci.user_count = (unsigned)pg_answer_int(a, 0, 1);
		l->ci.is_occupied = l->ci.subscription_count > 0;
	}
	lookup_reply(l);
}

static void lookup_count(struct lookup *l)
{
	if (occupancy_is_shared(l->services->conf))
		occupancy_read(l->services->pool, l->app, sv(l->channel), on_occupancy, l);
	else
		lookup_reply(l);
}

/* The cached event was read from the log, or there is no log: then it is what memory has. */
static void on_cached(void *ctx, int rc UNUSED)
{
	struct lookup *l = ctx;
	struct channel_info with = { .is_occupied = false };

	directory_channel_info(l->services->directory, l->app, sv(l->channel), &with);
	l->ci.has_cache = with.has_cache;
	l->ci.cache_data = with.cache_data;
	l->ci.cache_ttl_s = with.cache_ttl_s;
	lookup_count(l);
}

void h_channels_get(struct call *c)
{
	const struct api_services *s = c->services;
	struct channel_traits t;
	struct lookup *l;
	unsigned info;

	if (!parameters_read_channel(c, c->arg[0], &t) ||
	    !parameters_read_info(c, request_param(c->r, "info"), &info) ||
	    !channels_check_applies(c, &t, info))
		return;
	l = lookup_new(c, c->arg[0], info);
	directory_channel_info(s->directory, c->app, c->arg[0], &l->ci);
	if ((info & INFO_CACHE) && l->ci.is_cache_unknown && s->replay)
		reader_read_cached(s->replay, l->app, sv(l->channel), on_cached, l);
	else
		lookup_count(l);
}

static void channels_list_user(void *ctx, struct str_view user_id)
{
	struct listing *l = ctx;

	strbuf_add_str(&l->b, l->some ? ",{\"id\":" : "{\"id\":");
	l->some = true;
	strbuf_add_json(&l->b, user_id);
	strbuf_add_c(&l->b, '}');
}

static void on_users(void *ctx, const struct pg_answer *a)
{
	struct lookup *up = ctx;
	struct listing l = { .info = 0 };

	strbuf_init(&l.b, 256);
	strbuf_add_str(&l.b, "{\"users\":[");
	for (int row = 0; !a->rc && row < pg_answer_rows(a); row++)
		channels_list_user(&l, pg_answer_view(a, row, 0));
	if (a->rc)
		directory_each_member(up->services->directory, up->app, sv(up->channel),
				      channels_list_user, &l);
	strbuf_add_str(&l.b, "]}");
	call_reply_json(up->r, 200, &l.b);
	lookup_free(up);
}

void h_channels_users(struct call *c)
{
	struct channel_traits t;
	struct listing l = { .info = 0 };

	if (!parameters_read_channel(c, c->arg[0], &t))
		return;
	if (!t.is_presence) {
		call_fail(c, 400, "Only presence channels have a list of users.");
		return;
	}
	if (occupancy_is_shared(c->services->conf)) {
		occupancy_users(c->services->pool, c->app, c->arg[0], on_users,
				lookup_new(c, c->arg[0], 0));
		return;
	}
	strbuf_init(&l.b, 256);
	strbuf_add_str(&l.b, "{\"users\":[");
	directory_each_member(c->services->directory, c->app, c->arg[0], channels_list_user, &l);
	strbuf_add_str(&l.b, "]}");
	call_reply_json(c->r, 200, &l.b);
}
