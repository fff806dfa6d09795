/* SPDX-License-Identifier: MIT */
/* Who is where: GET channels, channels/{name}, channels/{name}/users. */
#include "base/annotate.h"
#include "base/mem.h"
#include "core/directory.h"
#include "log/reader.h"
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

/* A channel whose cached event is read from the log first. */
struct lookup {
	struct request *r;
	struct directory *directory;
	struct app *app; /* counted */
	char *channel;
	unsigned info;
};

static void reply_channel(struct request *r, const struct channel_info *ci, unsigned info)
{
	struct strbuf b;

	strbuf_init(&b, 128);
	add_channel(&b, ci, info);
	call_reply_json(r, 200, &b);
}

/* Without the log the answer is what memory has. */
static void on_cached(void *ctx, int rc UNUSED)
{
	struct lookup *l = ctx;
	struct channel_info ci = { .is_occupied = false };

	directory_channel_info(l->directory, l->app, sv(l->channel), &ci);
	reply_channel(l->r, &ci, l->info);
	channel_info_release(&ci);
	app_unref(l->app);
	free(l->channel);
	free(l);
}

static void channels_look_up(struct call *c, unsigned info)
{
	struct lookup *l = xmalloc(sizeof(*l));

	*l = (struct lookup){ c->r, c->services->directory, app_ref(c->app), sv_dup(c->arg[0]),
			      info };
	reader_read_cached(c->services->replay, l->app, sv(l->channel), on_cached, l);
}

void h_channels_get(struct call *c)
{
	struct channel_traits t;
	struct channel_info ci = { .is_occupied = false };
	unsigned info;

	if (!parameters_read_channel(c, c->arg[0], &t) ||
	    !parameters_read_info(c, request_param(c->r, "info"), &info) ||
	    !channels_check_applies(c, &t, info))
		return;
	directory_channel_info(c->services->directory, c->app, c->arg[0], &ci);
	if ((info & INFO_CACHE) && ci.is_cache_unknown && c->services->replay)
		channels_look_up(c, info);
	else
		reply_channel(c->r, &ci, info);
	channel_info_release(&ci);
}

static void channels_list_user(void *ctx, struct str_view user_id)
{
	struct listing *l = ctx;

	strbuf_add_str(&l->b, l->some ? ",{\"id\":" : "{\"id\":");
	l->some = true;
	strbuf_add_json(&l->b, user_id);
	strbuf_add_c(&l->b, '}');
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
	strbuf_init(&l.b, 256);
	strbuf_add_str(&l.b, "{\"users\":[");
	directory_each_member(c->services->directory, c->app, c->arg[0], channels_list_user, &l);
	strbuf_add_str(&l.b, "]}");
	call_reply_json(c->r, 200, &l.b);
}
