/* SPDX-License-Identifier: MIT */
/*
 * The limits are those of the application, and the end is the position up to which this node has
 * delivered, as for a client.  The function that reads the log is the one of replays, too.
 */
#include <inttypes.h>
#include "core/channels/directory.h"
#include "admin/query.h"
#include "admin/replay.h"
#include "admin/state.h"

static const struct pg_statement replay_statement = {
	.sql = "SELECT 200, admin_replay($1::jsonb)",
	.is_repeatable = true,
};

/* False: from is neither a position nor a serial. */
static bool replay_read_from(struct str_view from, const struct position *now, struct position *out)
{
	if (position_parse(from, out))
		return true;
	*out = *now;
	return sv_to_u64(from, INT64_MAX, &out->serial);
}

static bool replay_is_only_app(void)
{
	struct app_set *set = apps_current();
	bool is_only = app_set_count(set) == 1;

	app_set_unref(set);
	return is_only;
}

static void replay_send(struct admin_query *q, struct pg_pool *pool, const struct app *app,
			const struct position *since, const struct position *now)
{
	const char *values[1];
	struct strbuf b;

	strbuf_init(&b, 256);
	strbuf_add_str(&b, "{\"app\":");
	strbuf_add_json(&b, sv(app->id));
	strbuf_add_str(&b, ",\"channel\":");
	strbuf_add_json(&b, request_param(q->r, "channel"));
	strbuf_addf(&b,
		    ",\"epoch\":\"%s\",\"after\":%" PRIu64 ",\"now\":\"%s\",\"until\":%" PRIu64
		    ",\"only\":%s,\"most\":%u,\"age_s\":%u}",
		    since->epoch, since->serial, now->epoch, now->serial,
		    replay_is_only_app() ? "true" : "false", app->limits.max_replay_events,
		    app->limits.max_replay_age_s);
	values[0] = b.ptr;
	admin_query_send(q, pool, &replay_statement, 1, values);
	strbuf_release(&b);
}

void admin_replay(struct admin *a, const struct admin_services *s, struct request *r,
		  const char *who)
{
	struct position now, since;
	struct app *app;

	directory_position(s->directory, &now);
	if (!now.epoch[0]) {
		admin_query_refuse(r, 503, "database_unavailable",
				   SV("The daemon has not reached its database yet."));
		return;
	}
	if (!request_param(r, "channel").len ||
	    !replay_read_from(request_param(r, "from"), &now, &since)) {
		admin_query_refuse(
			r, 400, "invalid_request",
			SV("Give \"channel\", and \"from\": a position, as epoch:serial, "
			   "or a serial."));
		return;
	}
	app = admin_state_app(r);
	if (!app)
		return;
	replay_send(admin_query_new(a, r, who), s->pool, app, &since, &now);
	app_unref(app);
}
