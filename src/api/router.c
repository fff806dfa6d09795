/* SPDX-License-Identifier: MIT */
/*
 * Finds a request's route and takes it there: the caller (api/caller.h), which rate counts, the
 * fields (api/fields.h), the handler.
 *
 * The search walks over the table and compares a few bytes of each row; nothing is allocated on
 * the way to a handler of a Pusher route.  Runs on the http thread, one request at a time.  The
 * table is constant after router_init().
 */
#include <errno.h>
#include "base/mem.h"
#include "base/metric.h"
#include "api/caller.h"
#include "api/fields.h"
#include "api/handlers.h"
#include "api/rates.h"
#include "api/reply.h"
#include "api/router.h"
#include "api/statement.h"

/* Where an application sets no limit to its requests. */
#define BODY_UNLIMITED (64u << 20)
/* Where there is no application. */
#define BODY_PUBLIC 65536

/*
 * Routes below /apps/{id} are for servers that sign the query.  All of /api/sync is served below
 * /apps/{app_id}/sync too; as SDKs that sign can send GET and POST only, each PUT and DELETE has a
 * POST with the same action.
 */
#define APPS "/apps/{app_id}"
#define API  "/api"
#define SYNC API "/sync/"

/* clang-format off */
static const struct route routes[] = {
	{ "POST", APPS "/events", BY_SERVER, RATE_HANDLER, h_events_post, NULL,
	  "publish an event" },
	{ "POST", APPS "/batch_events", BY_SERVER, RATE_HANDLER, h_events_post_batch, NULL,
	  "publish several events" },
	{ "GET", APPS "/channels", BY_SERVER, RATE_READ, h_channels_list, NULL,
	  "list occupied channels" },
	{ "GET", APPS "/channels/{channel}", BY_SERVER, RATE_READ, h_channels_get, NULL,
	  "state of a channel" },
	{ "GET", APPS "/channels/{channel}/users", BY_SERVER, RATE_READ, h_channels_users, NULL,
	  "users of a presence channel" },
	{ "POST", APPS "/channels/{channel}/events", BY_SERVER, RATE_HANDLER,
	  h_events_post_channel, NULL, "publish an event (old SDKs)" },
	{ "POST", APPS "/users/{user...}/terminate_connections", BY_SERVER, RATE_HANDLER,
	  h_users_terminate, NULL, "close a user's connections" },
	{ "POST", APPS "/users/{user...}/revoke", BY_SERVER, RATE_HANDLER, h_users_revoke, NULL,
	  "end a user's subscriptions to channels" },
	{ "POST", APPS "/users/{user}/events", BY_SERVER, RATE_HANDLER, h_events_post_user, NULL,
	  "send an event to a user" },
	{ "GET", APPS "/connections", BY_SERVER, RATE_READ, h_status_connections, NULL,
	  "number of connections" },

	{ "GET", SYNC "activities", BY_BOTH, RATE_READ, NULL, &sync_activities,
	  "read an activity feed" },
	{ "POST", SYNC "activities", BY_BOTH, RATE_EVENT, NULL, &sync_activity_add,
	  "add an activity" },
	{ "DELETE", SYNC "activities", BY_SERVER, RATE_EVENT, NULL, &sync_activities_delete,
	  "delete activities" },
	{ "POST", SYNC "activities/bulk", BY_SERVER, RATE_EVENT, NULL, &sync_activities_import,
	  "store up to 500 activities without a broadcast" },
	{ "POST", SYNC "activities/delete", BY_SERVER, RATE_EVENT, NULL, &sync_activities_delete,
	  "delete activities" },
	{ "POST", SYNC "activities/read", BY_BOTH, RATE_EVENT, NULL, &sync_activity_read,
	  "mark a feed as read" },
	{ "GET", SYNC "changes", BY_BOTH, RATE_READ, NULL, &sync_change_list,
	  "changes of resources since a position" },
	{ "POST", SYNC "changes", BY_BOTH, RATE_EVENT, NULL, &sync_change_post,
	  "change resources" },
	{ "GET", SYNC "events", BY_BOTH, RATE_READ, NULL, &sync_events_get,
	  "read the event log" },
	{ "POST", SYNC "heartbeat", BY_BOTH, RATE_EVENT, NULL, &sync_heartbeat,
	  "set a user's presence" },
	{ "GET", SYNC "locks", BY_BOTH, RATE_READ, NULL, &sync_lock_list,
	  "list edit locks" },
	{ "POST", SYNC "locks", BY_BOTH, RATE_EVENT, NULL, &sync_lock_acquire,
	  "acquire or extend an edit lock" },
	{ "DELETE", SYNC "locks", BY_BOTH, RATE_EVENT, NULL, &sync_lock_release,
	  "release an edit lock" },
	{ "POST", SYNC "locks/grant", BY_BOTH, RATE_EVENT, NULL, &sync_lock_grant,
	  "pass an edit lock to a user who requested it" },
	{ "POST", SYNC "locks/refuse", BY_BOTH, RATE_EVENT, NULL, &sync_lock_refuse,
	  "refuse a request for an edit lock" },
	{ "POST", SYNC "locks/release", BY_BOTH, RATE_EVENT, NULL, &sync_lock_release,
	  "release an edit lock" },
	{ "POST", SYNC "locks/request", BY_BOTH, RATE_EVENT, NULL, &sync_lock_request,
	  "request an edit lock from its holder" },
	{ "POST", SYNC "locks/steal", BY_BOTH, RATE_EVENT, NULL, &sync_lock_steal,
	  "take an edit lock from its holder" },
	{ "POST", SYNC "may", BY_SERVER, RATE_READ, NULL, &sync_may,
	  "which channels a user may join, and why" },
	{ "GET", SYNC "notifications", BY_BOTH, RATE_READ, NULL, &sync_notifications,
	  "list a user's notifications" },
	{ "POST", SYNC "notifications", BY_SERVER, RATE_EVENT, NULL, &sync_notification_send,
	  "send a notification" },
	{ "DELETE", SYNC "notifications", BY_BOTH, RATE_EVENT, NULL, &sync_notifications_delete,
	  "delete notifications" },
	{ "GET", SYNC "notifications/counts", BY_SERVER, RATE_READ, NULL,
	  &sync_notification_counts, "unread counts of several users" },
	{ "POST", SYNC "notifications/delete", BY_BOTH, RATE_EVENT, NULL,
	  &sync_notifications_delete, "delete notifications" },
	{ "POST", SYNC "notifications/unread", BY_BOTH, RATE_EVENT, NULL,
	  &sync_notifications_unread, "mark notifications as unread" },
	{ "POST", SYNC "notifications/read", BY_BOTH, RATE_EVENT, NULL, &sync_notifications_read,
	  "mark notifications as read" },
	{ "GET", SYNC "online-users", BY_BOTH, RATE_READ, NULL, &sync_online_users,
	  "list online users" },
	{ "GET", SYNC "rules", BY_SERVER, RATE_READ, NULL, &sync_rules,
	  "list channel rules" },
	{ "PUT", SYNC "rules", BY_SERVER, RATE_EVENT, NULL, &sync_rule_put,
	  "set a channel rule" },
	{ "POST", SYNC "rules", BY_SERVER, RATE_EVENT, NULL, &sync_rule_put,
	  "set a channel rule" },
	{ "DELETE", SYNC "rules/{id}", BY_SERVER, RATE_EVENT, NULL, &sync_rule_delete,
	  "delete a channel rule" },
	{ "POST", SYNC "rules/{id}/delete", BY_SERVER, RATE_EVENT, NULL, &sync_rule_delete,
	  "delete a channel rule" },
	{ "POST", SYNC "start-viewing", BY_BOTH, RATE_EVENT, NULL, &sync_start_viewing,
	  "start viewing or editing a resource" },
	{ "POST", SYNC "stop-viewing", BY_BOTH, RATE_EVENT, NULL, &sync_stop_viewing,
	  "stop viewing or editing a resource" },
	{ "GET", SYNC "users", BY_SERVER, RATE_READ, NULL, &sync_users_list,
	  "list users" },
	{ "PUT", SYNC "users", BY_SERVER, RATE_EVENT, NULL, &sync_users_put,
	  "set the data of up to 1,000 users" },
	{ "POST", SYNC "users", BY_SERVER, RATE_EVENT, NULL, &sync_users_put,
	  "set the data of up to 1,000 users" },
	{ "DELETE", SYNC "users/{id}", BY_SERVER, RATE_EVENT, NULL, &sync_user_delete,
	  "delete what is stored about a user" },
	{ "POST", SYNC "users/{id}/delete", BY_SERVER, RATE_EVENT, NULL, &sync_user_delete,
	  "delete what is stored about a user" },
	{ "GET", SYNC "users/{id}", BY_BOTH, RATE_READ, NULL, &sync_user_get,
	  "a user's data" },
	{ "PUT", SYNC "users/{id}", BY_SERVER, RATE_EVENT, NULL, &sync_user_put,
	  "set a user's data" },
	{ "POST", SYNC "users/{id}", BY_SERVER, RATE_EVENT, NULL, &sync_user_put,
	  "set a user's data" },
	{ "GET", SYNC "versions", BY_BOTH, RATE_READ, NULL, &sync_version_list,
	  "versions of resources" },
	{ "GET", SYNC "viewers", BY_BOTH, RATE_READ, NULL, &sync_viewers,
	  "list a resource's viewers" },
	{ "POST", "/broadcasting/auth", BY_USER, RATE_READ, NULL, &broadcasting_auth,
	  "authorize a subscription" },
	{ "POST", "/broadcasting/user-auth", BY_USER, RATE_READ, NULL, &broadcasting_user_auth,
	  "authorize a sign-in" },

	{ "GET", "/up", BY_ANYONE, RATE_NONE, h_status_up, NULL,
	  "health check" },
	{ "GET", "/live", BY_ANYONE, RATE_NONE, h_status_up, NULL,
	  "the same" },
	{ "GET", "/ready", BY_ANYONE, RATE_NONE, h_status_ready, NULL,
	  "whether the daemon can do its work" },
	{ "GET", "/app/{key...}", BY_ANYONE, RATE_NONE, h_status_websocket, NULL,
	  "WebSocket connection of a client" },
	{ "GET", "/", BY_ANYONE, RATE_NONE, h_demo_root, NULL,
	  "OK, or the demo page" },
	{ "GET", "/demo/config", BY_LOCAL, RATE_NONE, h_demo_config, NULL,
	  "the demo's application" },
	{ "POST", "/demo/auth", BY_LOCAL, RATE_NONE, h_demo_auth, NULL,
	  "authorize a subscription of the demo" },
	{ "POST", "/demo/publish", BY_LOCAL, RATE_NONE, h_demo_publish, NULL,
	  "publish an event of the demo" },
	{ "GET", "/demo/events", BY_LOCAL, RATE_NONE, NULL, &sync_events_get,
	  "rows of the event log for the demo" },
	{ "GET", "/demo/{file...}", BY_LOCAL, RATE_NONE, h_demo_file, NULL,
	  "a file of the demo" },
};
/* clang-format on */

/* Names of routes in metrics, and those of requests that have no route of the table. */
static char route_texts[ARRAY_SIZE(routes)][64];
static const char *route_names[ARRAY_SIZE(routes) + ROUTE_FIRST] = { "none", "admin" };
_Static_assert(ARRAY_SIZE(route_names) <= METRIC_ROUTES_MAX, "raise METRIC_ROUTES_MAX");

void router_init(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (routes[i].action)
			statement_prepare(routes[i].action, routes[i].method[0] != 'G');
		snprintf(route_texts[i], sizeof(route_texts[i]), "%s %s", routes[i].method,
			 routes[i].path);
		route_names[i + ROUTE_FIRST] = route_texts[i];
	}
	metric_set_routes(route_names, ARRAY_SIZE(route_names));
}

/* ---- paths --------------------------------------------------------------------- */

/* A request's path, taken apart. */
struct target {
	struct str_view path;	/* without server.path */
	struct str_view app_id; /* of /apps/{app_id}/, or empty */
	struct str_view rest;	/* what follows /apps/{id}, or all of it */
	bool is_sync;
};

/*
 * server.path may be there or not, as a proxy may have removed it; SDKs given a base such as "/ws/"
 * double the slash.
 */
static void target_parse(struct target *t, struct str_view path, struct str_view prefix)
{
	ptrdiff_t slash;

	if (prefix.len && sv_starts_with(path, prefix) &&
	    (path.len == prefix.len || path.ptr[prefix.len] == '/'))
		path = sv_skip(path, prefix.len);
	while (path.len > 1 && path.ptr[0] == '/' && path.ptr[1] == '/')
		path = sv_skip(path, 1);
	if (!path.len)
		path = SV("/");
	*t = (struct target){ .path = path, .app_id = SV(""), .rest = path };
	t->is_sync = sv_starts_with(path, SV(SYNC)) || sv_starts_with(path, SV("/broadcasting/"));
	if (!sv_starts_with(path, SV("/apps/")))
		return;
	path = sv_skip(path, 6);
	slash = sv_find(path, '/');
	if (slash == 0)
		return;
	t->app_id = sv_n(path.ptr, slash < 0 ? path.len : (size_t)slash);
	t->rest = sv_skip(path, t->app_id.len);
	t->is_sync = sv_starts_with(t->rest, SV("/sync/"));
}

/*
 * The bytes of path that the placeholder at pattern takes: up to the next slash, or, if it ends
 * with "...", all but what follows it in the pattern.
 */
static size_t route_placeholder_takes(const char *pattern, struct str_view path)
{
	const char *end = strchr(pattern, '}');
	size_t n_after = strlen(end + 1);
	ptrdiff_t slash;

	if (end[-1] == '.')
		return path.len > n_after ? path.len - n_after : 0;
	slash = sv_find(path, '/');
	return slash < 0 ? path.len : (size_t)slash;
}

/* args has room for CALL_ARGS_MAX values of placeholders.  Only the end of a path may be empty. */
static bool route_path_matches(const char *pattern, struct str_view path, struct str_view *args)
{
	while (*pattern) {
		const char *end;
		size_t n;

		if (*pattern != '{') {
			if (!path.len || path.ptr[0] != *pattern++)
				return false;
			path = sv_skip(path, 1);
			continue;
		}
		end = strchr(pattern, '}');
		n = route_placeholder_takes(pattern, path);
		if (!n && (end[-1] != '.' || end[1]))
			return false;
		*args++ = sv_n(path.ptr, n);
		path = sv_skip(path, n);
		pattern = end + 1;
	}
	return path.len == 0;
}

/* The pattern of what follows /apps/{id}; NULL: the route is not served there. */
static const char *route_signed_pattern(const struct route *route)
{
	if (strncmp(route->path, APPS "/", strlen(APPS "/")) == 0)
		return route->path + strlen(APPS);
	if (strncmp(route->path, SYNC, strlen(SYNC)) == 0)
		return route->path + strlen(API);
	return NULL;
}

#define ALLOW_BYTES 64

/*
 * The route, with args set; or NULL with the methods that the path has in allow, "GET, HEAD, POST",
 * empty when there is no such path.  HEAD is a GET whose body the transport leaves out.
 */
static const struct route *route_find(const struct target *t, struct str_view method,
				      struct str_view *args, char allow[ALLOW_BYTES])
{
	bool is_head = sv_eq(method, SV("HEAD"));

	allow[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		const struct route *route = &routes[i];
		const char *pattern = t->app_id.len ? route_signed_pattern(route) : route->path;
		size_t n = strlen(allow);

		if (!pattern || !route_path_matches(pattern, t->rest, args))
			continue;
		if (sv_eq_c(method, route->method) || (is_head && route->method[0] == 'G'))
			return route;
		if (!strstr(allow, route->method))
			snprintf(allow + n, ALLOW_BYTES - n, "%s%s", n ? ", " : "",
				 route->method[0] == 'G' ? "GET, HEAD" : route->method);
	}
	return NULL;
}

/* ---- a request ---------------------------------------------------------------------- */

static void route_fail_path(struct call *c)
{
	call_fail_code(c, 404, "not_found", NULL, "This path does not exist.");
}

static bool route_take_rate(struct call *c)
{
	/* a user has rates of its own: see svc/quotas.h */
	if (c->caller.kind == BY_USER)
		return true;
	switch (c->route->rate) {
	case RATE_READ:
		return rates_take_read(c);
	case RATE_EVENT:
		return rates_take_events(c, 1);
	case RATE_NONE:
	case RATE_HANDLER:
		break;
	}
	return true;
}

static void route_run(struct call *c)
{
	const struct sync_action *action = c->route->action;
	struct sync_call *sc;

	if (!action) {
		c->route->handle(c);
		return;
	}
	if (!rates_take_quota(c))
		return;
	sc = sync_call_new(c);
	if (!statement_take_key(sc) || !fields_read(sc, c->arg))
		return;
	if (action->run)
		action->run(sc);
	else
		statement_run(sc);
}

void router_handle(const struct api_services *services, struct request *r)
{
	struct call c = { .r = r, .services = services };
	char allow[ALLOW_BYTES];
	struct target t;

	target_parse(&t, r->path, sv(services->conf->server.path));
	c.path = t.path;
	c.app_id = t.app_id;
	c.is_sync = t.is_sync;
	c.origin = t.is_sync ? r->header(r, "Origin") : SV("");
	c.route = route_find(&t, r->method, c.arg, allow);
	r->route = c.route ? (unsigned)(c.route - routes) + ROUTE_FIRST : ROUTE_NONE;
	if (!c.route && !allow[0])
		route_fail_path(&c);
	else if (!c.route && t.is_sync && sv_eq(r->method, SV("OPTIONS")))
		call_reply_preflight(&c, allow);
	else if (!c.route)
		call_fail_method(&c, allow);
	else if (c.route->rights == BY_LOCAL && !call_may_demo(&c))
		route_fail_path(&c);
	else if (c.route->rights == BY_LOCAL && c.route->action && !demo_identify(&c))
		; /* replied */
	else if (!(c.route->rights & BY_BOTH) || (caller_identify(&c) && route_take_rate(&c)))
		route_run(&c);
	call_release(&c);
}

size_t router_body_limit(const struct api_services *services, const struct request *r)
{
	size_t limit = BODY_PUBLIC;
	struct app_set *set;
	const struct app *app;
	struct target t;

	target_parse(&t, r->path, sv(services->conf->server.path));
	if (t.is_sync)
		return services->conf->sync.max_request_bytes;
	if (!t.app_id.len)
		return limit;
	set = apps_current();
	app = app_set_by_id(set, t.app_id);
	if (app)
		limit = app->limits.max_request_bytes ? app->limits.max_request_bytes
						      : BODY_UNLIMITED;
	app_set_unref(set);
	return limit;
}

void router_refusal(const struct api_services *services, const struct request *r,
		    struct refusal *refusal)
{
	struct call c = { .r = (struct request *)r, .services = services };
	struct target t;

	target_parse(&t, r->path, sv(services->conf->server.path));
	c.is_sync = t.is_sync;
	c.origin = t.is_sync ? c.r->header(c.r, "Origin") : SV("");
	call_write_refusal(&c, refusal);
}

/* ---- --print-routes ------------------------------------------------------------------ */

static void route_print(FILE *out, const struct route *route, const char *root, const char *path,
			const char *callers)
{
	fprintf(out, "%-6s  %s%-*s  %-19s  %s\n", route->method, root, (int)(54 - strlen(root)),
		path, callers, route->help);
}

static const char *route_callers(const struct route *route)
{
	switch (route->rights) {
	case BY_SERVER:
		return "basic";
	case BY_USER:
		return "bearer";
	case BY_BOTH:
		return "basic, bearer";
	case BY_LOCAL:
		return "this machine";
	default:
		return "anyone";
	}
}

void router_print(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		const char *pattern = route_signed_pattern(&routes[i]);

		if (pattern)
			route_print(out, &routes[i], APPS, pattern, "signature");
		if (!pattern || routes[i].action)
			route_print(out, &routes[i], "", routes[i].path, route_callers(&routes[i]));
	}
}
