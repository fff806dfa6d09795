/* SPDX-License-Identifier: MIT */
/*
 * Routes of the admin listener, and who may use them.  A request has the right of its token.  One
 * without a token may read if the option local_read is set and the client is on this machine.
 *
 * Requests arrive on the http thread of the admin listener.  What needs the database is answered on
 * the thread of the pool.
 */
#include <strings.h>
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/metric.h"
#include "pg/chore.h"
#include "conf/conf_table.h"
#include "svc/health.h"
#include "trace/live_tail.h"
#include "admin/admin-private.h"
#include "admin/change.h"
#include "admin/connections.h"
#include "admin/exposition.h"
#include "admin/pages.h"
#include "admin/query.h"
#include "admin/replay.h"
#include "admin/settings.h"
#include "admin/state.h"
#include "admin/tail.h"

#define METRICS_BYTES 65536

#define TOKENS_MS 1000
#define TAIL_MS	  1000

struct admin_route {
	const char *method, *path;
	enum admin_scope scope; /* that the request needs */
	/* who is the token's name, "" without a token */
	void (*handle)(struct admin *a, struct request *r, const char *who);
	const char *parameters;		      /* of the statement, between spaces */
	const struct pg_statement *statement; /* instead of handle */
};

static struct log_gate admin_refused = LOG_GATE("requests to the admin listener refused");

/* ---- at intervals ---- */

/* On the pool's thread. */
static void admin_on_tokens(void *ctx, const struct pg_answer *rows)
{
	struct admin *a = ctx;

	admin_tokens_load(a->tokens, rows);
}

/* Whether a live tail that was opened with this token, or without one (0), may go on. */
static bool admin_may_watch(void *ctx, uint64_t token)
{
	struct admin *a = ctx;

	return token ? admin_tokens_has(a->tokens, token, ADMIN_READ) : atomic_load(&a->local_read);
}

/* On the pool's thread, also while the database is away. */
static void admin_tick_tail(void *ctx)
{
	struct admin *a = ctx;

	live_tail_review(a->services.live_tail, admin_may_watch, a);
	live_tail_tick(a->services.live_tail, clock_mono());
}

/* On the pool's thread, with or without a database. */
static void admin_sample(void *ctx)
{
	struct admin *a = ctx;
	int64_t *sums = metrics_collect();

	history_add(a->history, clock_wall(), sums);
	free(sums);
}

struct admin *admin_new(const struct admin_services *services)
{
	struct admin *a = xcalloc(1, sizeof(*a));

	a->services = *services;
	a->tokens = admin_tokens_new(services->conf->admin.tokens);
	atomic_init(&a->local_read, services->conf->admin.local_read);
	a->history = history_new();
	a->read_tokens = (struct pg_pool_chore){ .name = "tokens of the admin listener",
						 .statement = &admin_tokens_statement,
						 .on_rows = admin_on_tokens,
						 .every_ms = TOKENS_MS,
						 .ctx = a };
	pg_pool_chore_add(services->pool, &a->read_tokens);
	pg_pool_every(services->pool, TAIL_MS, admin_tick_tail, a);
	pg_pool_every(services->pool, HISTORY_MS, admin_sample, a);
	return a;
}

void admin_reload(struct admin *a, const struct conf_admin *now)
{
	admin_tokens_configure(a->tokens, now->tokens);
	atomic_store(&a->local_read, now->local_read);
}

void admin_close(struct admin *a)
{
	live_tail_close(a->services.live_tail);
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	admin_tokens_free(a->tokens);
	history_free(a->history);
	free(a);
}

/* ---- routes ---- */

static void admin_on_up(struct admin *a UNUSED, struct request *r, const char *who UNUSED)
{
	request_reply(r, 200, SV("{\"health\":\"OK\"}"));
}

/* As on the public port, with the names of the checks that fail. */
static void admin_on_ready(struct admin *a, struct request *r, const char *who UNUSED)
{
	struct reply reply = { 0 };

	strbuf_init(&reply.body, 96);
	strbuf_add_c(&reply.body, '{');
	reply.status = admin_state_health(a->services.health, &reply.body) ? 200 : 503;
	strbuf_add_c(&reply.body, '}');
	request_reply_full(r, &reply);
}

static void admin_on_metrics(struct admin *a, struct request *r, const char *who UNUSED)
{
	struct reply reply = { .status = 200, .content_type = EXPOSITION_TYPE };

	strbuf_init(&reply.body, METRICS_BYTES);
	exposition_write(&reply.body, health_is_ready(a->services.health));
	request_reply_full(r, &reply);
}

static void admin_on_metrics_apps(struct admin *a UNUSED, struct request *r, const char *who UNUSED)
{
	struct reply reply = { .status = 200, .content_type = EXPOSITION_TYPE };

	strbuf_init(&reply.body, 1024);
	exposition_write_apps(&reply.body);
	request_reply_full(r, &reply);
}

/* ---- /admin/api: reading ---- */

static void admin_on_apps(struct admin *a, struct request *r, const char *who UNUSED)
{
	admin_state_apps(&a->services, r);
}

static void admin_on_channels(struct admin *a, struct request *r, const char *who UNUSED)
{
	admin_state_channels(&a->services, r);
}

static void admin_on_who(struct admin *a, struct request *r, const char *who UNUSED)
{
	admin_state_who(&a->services, r);
}

static void admin_on_connections(struct admin *a, struct request *r, const char *who UNUSED)
{
	admin_connections_list(&a->services, r);
}

static void admin_on_connection(struct admin *a, struct request *r, const char *who UNUSED)
{
	admin_connections_show(&a->services, r);
}

/* The token of a request that was allowed; its number is 0 without one. */
static void admin_find_login(struct admin *a, struct request *r, const char *who,
			     struct admin_login *login)
{
	*login = (struct admin_login){ .scope = ADMIN_READ };
	if (*who)
		admin_tokens_find(a->tokens, sv_skip(r->header(r, "Authorization"), 7), &r->peer,
				  clock_mono(), login);
}

static void admin_on_tail(struct admin *a, struct request *r, const char *who)
{
	struct admin_login login;

	admin_find_login(a, r, who, &login);
	admin_tail(&a->services, r, login.token);
}

static void admin_on_replay(struct admin *a, struct request *r, const char *who)
{
	admin_replay(a, &a->services, r, who);
}

static void admin_on_settings(struct admin *a, struct request *r, const char *who UNUSED)
{
	admin_settings(a->services.conf, r);
}

/* For the pages: what the client may do.  Without a token it is on this machine, and may read. */
static void admin_on_session(struct admin *a, struct request *r, const char *who)
{
	static const char *const scopes[] = { "none", "metrics", "read", "write" };
	struct reply reply = { .status = 200 };
	struct admin_login login;

	admin_find_login(a, r, who, &login);
	strbuf_init(&reply.body, 96);
	strbuf_add_str(&reply.body, "{\"token\":");
	if (*who)
		strbuf_add_json(&reply.body, sv(who));
	else
		strbuf_add_str(&reply.body, "null");
	strbuf_addf(&reply.body, ",\"scope\":\"%s\"}", scopes[login.scope]);
	request_reply_full(r, &reply);
}

/* after: the time of the newest sample that the client has, in milliseconds since 1970. */
static void admin_on_history(struct admin *a, struct request *r, const char *who UNUSED)
{
	struct str_view text = request_param(r, "after");
	struct reply reply = { .status = 200 };
	uint64_t after = 0;

	if (text.len && !sv_to_u64(text, INT64_MAX / USEC_PER_MSEC, &after)) {
		admin_query_refuse(r, 400, "invalid_request",
				   SV("\"after\" must be a number of milliseconds since 1970."));
		return;
	}
	strbuf_init(&reply.body, 4096);
	history_write(a->history, (usec_t)after * USEC_PER_MSEC, &reply.body);
	request_reply_full(r, &reply);
}

/* Members of the node, which are in q->text, and those of the database, or why there are none. */
static void admin_reply_joined(struct admin_query *q, const struct pg_answer *a)
{
	struct reply reply = { .status = 200 };

	strbuf_init(&reply.body, 1024);
	strbuf_addf(&reply.body, "{%s,\"database\":", q->text);
	if (!a->rc && pg_answer_rows(a) == 1)
		strbuf_add_sv(&reply.body, pg_answer_view(a, 0, 1));
	else
		strbuf_add_str(&reply.body, "null");
	strbuf_add_c(&reply.body, '}');
	request_reply_full(q->r, &reply);
	admin_query_free(q);
}

static const struct pg_statement status_statement = {
	.sql = "SELECT 200, admin_status($1::jsonb)",
	.is_repeatable = true,
};

static void admin_on_status(struct admin *a, struct request *r, const char *who)
{
	struct admin_query *q = admin_query_new(a, r, who);
	const char *values[] = { "{}" };
	struct strbuf b;

	strbuf_init(&b, 256);
	admin_state_status(&a->services, &b);
	q->text = strbuf_detach(&b);
	q->done = admin_reply_joined;
	admin_query_send(q, a->services.pool, &status_statement, 1, values);
}

static const struct pg_statement channel_statement = {
	.sql = "SELECT 200, json_build_object('rules', admin_rules($1::jsonb), "
	       "'events', admin_events($1::jsonb || '{\"limit\":10}')->'events')",
	.is_repeatable = true,
};

static void admin_on_channel(struct admin *a, struct request *r, const char *who)
{
	struct str_view channel = request_param(r, "channel");
	struct admin_query *q;
	const char *values[1];
	struct strbuf b, args;
	struct app *app;

	if (!channel.len || !sv_is_utf8(channel)) {
		admin_query_refuse(r, 400, "invalid_request", SV("\"channel\" is missing."));
		return;
	}
	app = admin_state_app(r);
	if (!app)
		return;
	strbuf_init(&args, 128);
	strbuf_add_str(&args, "{\"app\":");
	strbuf_add_json(&args, sv(app->id));
	strbuf_add_str(&args, ",\"channel\":");
	strbuf_add_json(&args, channel);
	strbuf_add_c(&args, '}');
	strbuf_init(&b, 512);
	admin_state_channel(&a->services, app, channel, &b);
	app_unref(app);
	q = admin_query_new(a, r, who);
	q->text = strbuf_detach(&b);
	q->done = admin_reply_joined;
	values[0] = args.ptr;
	admin_query_send(q, a->services.pool, &channel_statement, 1, values);
	strbuf_release(&args);
}

#define API ADMIN_API

#define READS(function)                                                                            \
	&(const struct pg_statement)                                                               \
	{                                                                                          \
		.sql = "SELECT 200, " function "($1::jsonb)", .is_repeatable = true                \
	}

static const struct admin_route admin_routes[] = {
	{ "GET", "/up", ADMIN_NONE, admin_on_up, NULL, NULL },
	{ "GET", "/live", ADMIN_NONE, admin_on_up, NULL, NULL },
	{ "GET", "/ready", ADMIN_NONE, admin_on_ready, NULL, NULL },
	{ "GET", "/metrics", ADMIN_METRICS, admin_on_metrics, NULL, NULL },
	{ "GET", "/metrics/apps", ADMIN_METRICS, admin_on_metrics_apps, NULL, NULL },
	{ "GET", API "status", ADMIN_READ, admin_on_status, "", NULL },
	{ "GET", API "settings", ADMIN_READ, admin_on_settings, "all", NULL },
	{ "GET", API "session", ADMIN_READ, admin_on_session, "", NULL },
	{ "GET", API "history", ADMIN_READ, admin_on_history, "after", NULL },
	{ "GET", API "apps", ADMIN_READ, admin_on_apps, "", NULL },
	{ "GET", API "channels", ADMIN_READ, admin_on_channels, "app prefix", NULL },
	{ "GET", API "channel", ADMIN_READ, admin_on_channel, "app channel", NULL },
	{ "GET", CONNECTIONS_PATH, ADMIN_READ, admin_on_connections,
	  "app user channel address state limit cursor", NULL },
	{ "GET", CONNECTIONS_PATH "/{}", ADMIN_READ, admin_on_connection, "", NULL },
	{ "POST", CONNECTIONS_PATH "/{}/disconnect", ADMIN_WRITE, admin_on_connection_disconnect,
	  NULL, NULL },
	{ "GET", API "replay", ADMIN_READ, admin_on_replay, "app channel from", NULL },
	{ "GET", API "tail", ADMIN_READ, admin_on_tail, "app channel event user kinds", NULL },
	{ "GET", API "who", ADMIN_READ, admin_on_who, "app user", NULL },
	{ "GET", API "events", ADMIN_READ, NULL,
	  "app channel event text path value from until before after limit",
	  READS("admin_events") },
	{ "GET", API "explain", ADMIN_READ, NULL, "app user channel roles",
	  READS("admin_explain") },
	{ "GET", API "user", ADMIN_READ, NULL, "app user paths after", READS("admin_user") },
	{ "GET", API "sync", ADMIN_READ, NULL, "app", READS("admin_sync") },
	{ "GET", API "audit", ADMIN_READ, NULL, "action before limit", READS("admin_audit_list") },
	{ "GET", API "webhooks", ADMIN_READ, NULL, "app endpoint state before limit",
	  READS("admin_webhooks") },
	{ "GET", API "tokens", ADMIN_READ, NULL, "", READS("admin_token_list") },
	{ "GET", API "nodes", ADMIN_READ, NULL, "", READS("admin_nodes") },
	{ "POST", API "send", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "resend", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "disconnect", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "reload", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "drain", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "token", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "token-remove", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "user-erase", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "lock-release", ADMIN_WRITE, admin_on_write, NULL, NULL },
	{ "POST", API "webhook-resend", ADMIN_WRITE, admin_on_write, NULL, NULL },
};

/* ---- requests ---- */

static void admin_refuse(struct request *r, unsigned status, const char *text)
{
	struct reply reply = { .status = status, .content_type = REQUEST_TEXT };
	char from[ADDRESS_TEXT_SIZE];

	log_gated(&admin_refused, "admin request refused: %u %.*s from %s, %s", status,
		  SV_ARG(r->path), address_format(&r->peer, from), text);
	if (status == 401)
		reply_add_header(&reply, "WWW-Authenticate",
				 SV("Bearer realm=\"scopewire admin\""));
	if (status == 429)
		reply.retry_after_s = 60;
	strbuf_init(&reply.body, 0);
	strbuf_add_str(&reply.body, text);
	request_reply_full(r, &reply);
}

/* True when the request may do what needs the scope, with who's token; otherwise it was refused. */
static bool admin_allows(struct admin *a, struct request *r, enum admin_scope needed,
			 struct admin_login *login)
{
	struct str_view auth = r->header(r, "Authorization");
	bool local_read = atomic_load(&a->local_read);

	*login = (struct admin_login){ .scope = ADMIN_NONE };
	if (needed == ADMIN_NONE)
		return true;
	if (!auth.len && local_read && request_is_local(r)) {
		if (needed <= ADMIN_READ)
			return true;
		admin_refuse(r, 401, "Changes need a token with the scope write.");
		return false;
	}
	if (auth.len < 7 || strncasecmp(auth.ptr, "Bearer ", 7) != 0) {
		admin_refuse(r, 401,
			     local_read ? "Send a token of admin.tokens: Authorization: Bearer."
					: "Send a token of admin.tokens: Authorization: Bearer; or "
					  "set admin.local_read for clients on this machine.");
		return false;
	}
	admin_tokens_find(a->tokens, sv_skip(auth, 7), &r->peer, clock_mono(), login);
	if (login->is_limited)
		admin_refuse(r, 429, "Too many wrong tokens from this address; wait a minute.");
	else if (login->scope == ADMIN_NONE)
		admin_refuse(r, 401, "There is no such token in admin.tokens or the database.");
	else if (login->scope < needed)
		admin_refuse(r, 403, "The scope of this token does not include this request.");
	if (login->scope != ADMIN_NONE && login->scope < needed && needed == ADMIN_WRITE)
		admin_audit_refused(a, r, login->name,
				    "refused: the token does not have the scope write");
	return login->scope >= needed;
}

/* {} in the route's path stands for a segment. */
static bool admin_path_matches(struct str_view path, const char *pattern)
{
	struct str_view rest = sv(pattern), part, segment;

	if (sv_ends_with(path, SV("/")))
		return false;
	while (sv_split(&rest, '/', &part)) {
		if (!sv_split(&path, '/', &segment))
			return false;
		if (sv_eq(part, SV("{}")) ? !segment.len : !sv_eq(part, segment))
			return false;
	}
	return !path.len;
}

static void admin_run(struct admin *a, const struct admin_route *route, struct request *r,
		      const char *who)
{
	struct strbuf args;
	const char *values[1];

	if (route->handle && !route->parameters) {
		route->handle(a, r, who);
		return;
	}
	if (!admin_query_arguments(r, route->parameters, &args))
		return;
	values[0] = args.ptr;
	if (route->handle)
		route->handle(a, r, who);
	else
		admin_query_send(admin_query_new(a, r, who), a->services.pool, route->statement, 1,
				 values);
	strbuf_release(&args);
}

void admin_handle(void *admin, struct request *r)
{
	struct admin *a = admin;
	struct admin_login login;
	const char *method = NULL; /* of the path, when it has another one */

	r->route = ROUTE_ADMIN;
	for (size_t i = 0; i < ARRAY_SIZE(admin_routes); i++) {
		const struct admin_route *route = &admin_routes[i];

		if (!admin_path_matches(r->path, route->path))
			continue;
		method = route->method;
		if (!sv_eq_c(r->method, route->method) &&
		    !(sv_eq(r->method, SV("HEAD")) && route->method[0] == 'G'))
			continue;
		if (admin_allows(a, r, route->scope, &login))
			admin_run(a, route, r, login.name);
		return;
	}
	if (!method && admin_pages_serve(r))
		return;
	if (method && strcmp(method, "GET") == 0)
		admin_refuse(r, 405, "This path accepts GET only.");
	else if (method)
		admin_refuse(r, 405, "This path accepts POST only.");
	else
		admin_refuse(r, 404, "This path does not exist on the admin listener.");
}
