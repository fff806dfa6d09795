/* SPDX-License-Identifier: MIT */
/*
 * Finding the route is a walk over some twenty rows, a compare of a few bytes each; nothing is
 * allocated on the way to a handler.
 */
#include <errno.h>
#include <stdarg.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "conf/app.h"
#include "core/limit.h"
#include "api/call.h"
#include "api/router.h"
#include "api/sync_call.h"
#include "wire/auth.h"
#include "wire/pusher.h"

/* How far a caller's clock may be from ours (protocol A9). */
#define AUTH_WINDOW_US (600 * USEC_PER_SEC)
/* Where an application sets no limit to its requests. */
#define BODY_UNLIMITED (64u << 20)

enum right {
	ANYBODY,
	SIGNED, /* the query is signed with the secret of the app the path names */
	DEMO,	/* server.demo is on, and the caller sits at this machine */
};

enum rate {
	RATE_NONE,
	RATE_READ,
	RATE_EVENTS, /* the handler counts them */
};

struct route {
	const char *method;
	const char *pattern; /* {}: a segment; {...}: all the rest */
	enum right right;
	enum rate rate;
	void (*handle)(struct call *c);
};

/* The first placeholder of a SIGNED route is the app's id. */
static const struct route routes[] = {
	{ "POST", "/apps/{}/events", SIGNED, RATE_EVENTS, h_events_post },
	{ "POST", "/apps/{}/batch_events", SIGNED, RATE_EVENTS, h_events_post_batch },
	{ "GET", "/apps/{}/channels", SIGNED, RATE_READ, h_channels_list },
	{ "GET", "/apps/{}/channels/{}", SIGNED, RATE_READ, h_channels_get },
	{ "GET", "/apps/{}/channels/{}/users", SIGNED, RATE_READ, h_channels_users },
	{ "POST", "/apps/{}/channels/{}/events", SIGNED, RATE_EVENTS, h_events_post_channel },
	{ "POST", "/apps/{}/users/{}/terminate_connections", SIGNED, RATE_EVENTS,
	  h_users_terminate },
	{ "POST", "/apps/{}/users/{}/events", SIGNED, RATE_EVENTS, h_events_post_user },
	{ "GET", "/apps/{}/connections", SIGNED, RATE_READ, h_status_connections },
	{ "GET", "/up", ANYBODY, RATE_NONE, h_status_up },
	{ "GET", "/app/{...}", ANYBODY, RATE_NONE, h_status_websocket },
	{ "GET", "/", ANYBODY, RATE_NONE, h_demo_root },
	{ "GET", "/demo/config", DEMO, RATE_NONE, h_demo_config },
	{ "POST", "/demo/auth", DEMO, RATE_NONE, h_demo_auth },
	{ "POST", "/demo/publish", DEMO, RATE_NONE, h_demo_publish },
	{ "GET", "/demo/{...}", DEMO, RATE_NONE, h_demo_file },
};

/* ---- what handlers use ---------------------------------------------- */

void call_fail(struct call *c, unsigned status, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		n = 0;
	if ((size_t)n >= sizeof(text))
		n = sizeof(text) - 1;
	request_reply_text(c->r, status, sv_n(text, (size_t)n));
}

static void reply_later(struct request *r, unsigned status, unsigned retry_after_s,
			const char *text)
{
	struct reply reply = { .status = status,
			       .content_type = REQUEST_TEXT,
			       .retry_after_s = retry_after_s };

	strbuf_init(&reply.body, 0);
	strbuf_add_str(&reply.body, text);
	request_reply_full(r, &reply);
}

bool call_app_take_events(struct app *app, unsigned n)
{
	unsigned rate = app->limits.max_backend_events_per_second;

	/* a trigger of more channels than the rate takes the whole second's worth */
	return !rate || limit_take_shared(&app->runtime->backend_bucket, rate, USEC_PER_SEC,
					  n < rate ? n : rate, clock_mono());
}

bool call_app_take_read(struct app *app)
{
	unsigned rate = app->limits.max_read_requests_per_second;

	return !rate ||
	       limit_take_shared(&app->runtime->read_bucket, rate, USEC_PER_SEC, 1, clock_mono());
}

bool call_take_events(struct call *c, unsigned n)
{
	if (call_app_take_events(c->app, n))
		return true;
	reply_later(c->r, 429, 1, "Too many events a second; slow down.");
	return false;
}

static bool take_read(struct call *c)
{
	if (call_app_take_read(c->app))
		return true;
	reply_later(c->r, 429, 1, "Too many requests a second; slow down.");
	return false;
}

void call_reply_failure(struct request *r, int rc)
{
	switch (rc) {
	case -EAGAIN:
		reply_later(r, 503, 1, "Too many events are waiting; try again.");
		break;
	case -EHOSTDOWN:
		reply_later(r, 503, 2, "The database is away; nothing was published, try again.");
		break;
	case -ETIMEDOUT:
		reply_later(
			r, 503, 2,
			"The database did not confirm in time; the event may still be published.");
		break;
	case -EINVAL:
		request_reply_text(r, 400, SV("The database refused the event's content."));
		break;
	default:
		request_reply_text(r, 500, SV("The event could not be published."));
	}
}

void call_reply_json(struct request *r, unsigned status, struct strbuf *b)
{
	struct reply reply = { .status = status, .body = *b };

	*b = (struct strbuf){ NULL, 0, 0 };
	request_reply_full(r, &reply);
}

static unsigned info_flag(struct str_view word)
{
	if (sv_eq(word, SV("user_count")))
		return INFO_USER_COUNT;
	if (sv_eq(word, SV("subscription_count")))
		return INFO_SUBSCRIPTION_COUNT;
	return sv_eq(word, SV("cache")) ? INFO_CACHE : 0;
}

bool call_read_info(struct call *c, struct str_view text, unsigned *out)
{
	unsigned info = 0;

	while (text.len) {
		ptrdiff_t comma = sv_find(text, ',');
		size_t len = comma < 0 ? text.len : (size_t)comma;
		unsigned flag = info_flag(sv_n(text.ptr, len));

		if (len && !flag) {
			call_fail(c, 400,
				  "Unknown attribute in info; known are user_count, "
				  "subscription_count and cache.");
			return false;
		}
		info |= flag;
		text = sv_skip(text, len + 1);
	}
	*out = info;
	return true;
}

bool call_read_channel(struct call *c, struct str_view name, struct channel_traits *out)
{
	unsigned max = c->app->limits.max_channel_name_bytes;
	int rc = channel_name_parse(name, max, out);

	if (!rc)
		return true;
	if (rc == -ENAMETOOLONG)
		call_fail(c, 400, "A channel's name may have at most %u bytes.", max);
	else if (sv_is_utf8(name) && name.len <= 200)
		call_fail(c, 400,
			  "Invalid channel name \"%.*s\": use letters, digits and _-=@,.; only.",
			  SV_ARG(name));
	else
		call_fail(c, 400, "Invalid channel name: use letters, digits and _-=@,.; only.");
	return false;
}

bool call_read_socket(struct call *c, struct str_view text, uint64_t *out)
{
	*out = 0;
	if (!text.len || socket_id_parse(text, out))
		return true;
	call_fail(c, 400, "Invalid socket_id: it looks like \"123.456\".");
	return false;
}

/* ---- finding the route ----------------------------------------------- */

/*
 * The path within our part of the URL space: the configured prefix may be there or not, and
 * SDKs given a base of "/ws/" double the slash.
 */
static struct str_view strip_prefix(struct str_view path, const char *prefix)
{
	struct str_view p = sv(prefix);

	if (p.len && sv_starts_with(path, p) && (path.len == p.len || path.ptr[p.len] == '/'))
		path = sv_skip(path, p.len);
	while (path.len > 1 && path.ptr[0] == '/' && path.ptr[1] == '/')
		path = sv_skip(path, 1);
	return path.len ? path : SV("/");
}

/* Length of the segment at the start of s. */
static size_t segment(struct str_view s)
{
	ptrdiff_t slash = sv_find(s, '/');

	return slash < 0 ? s.len : (size_t)slash;
}

/* args gets room for the placeholders' values. */
static bool match(const char *pattern, struct str_view path, struct str_view *args)
{
	const char *p = pattern;

	while (*p) {
		size_t n;

		if (*p != '{') {
			if (!path.len || path.ptr[0] != *p)
				return false;
			p++;
			path = sv_skip(path, 1);
			continue;
		}
		n = p[1] == '.' ? path.len : segment(path);
		if (!n && p[1] != '.')
			return false;
		*args++ = sv_n(path.ptr, n);
		path = sv_skip(path, n);
		p = strchr(p, '}') + 1;
	}
	return path.len == 0;
}

/* HEAD is a GET whose body the transport leaves out. */
static bool method_fits(const struct route *route, struct str_view method)
{
	return sv_eq_c(method, route->method) ||
	       (sv_eq(method, SV("HEAD")) && strcmp(route->method, "GET") == 0);
}

/*
 * The route, with args set; or NULL with *allow the method that the path does have, or NULL when
 * there is no such path.
 */
static const struct route *find(struct str_view method, struct str_view path, struct str_view *args,
				const char **allow)
{
	*allow = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		const struct route *route = &routes[i];

		if (!match(route->pattern, path, args))
			continue;
		if (method_fits(route, method))
			return route;
		if (!*allow)
			*allow = route->method[0] == 'G' ? "GET, HEAD" : "POST";
	}
	return NULL;
}

/* ---- who may call ---------------------------------------------------- */

static void fail_method(struct call *c, const char *allow)
{
	struct reply reply = { .status = 405, .content_type = REQUEST_TEXT, .allow = allow };

	strbuf_init(&reply.body, 0);
	strbuf_addf(&reply.body, "This path takes %s only.", allow);
	request_reply_full(c->r, &reply);
}

static void fail_path(struct call *c)
{
	request_reply_text(c->r, 404, SV("There is nothing at this path."));
}

static bool check_signature(struct call *c, struct str_view path)
{
	struct auth_request a = { c->r->method, path, c->r->params, c->r->n_params, c->r->body };
	enum auth_verdict v = auth_check_request(sv(c->app->key), c->app->secret, &a, clock_wall(),
						 AUTH_WINDOW_US);

	if (v == AUTH_OK)
		return true;
	request_reply_text(c->r, 401, sv(auth_verdict_text(v)));
	return false;
}

/* Over plain HTTP on this machine nobody can listen in; a proxy that ends TLS sits there. */
static bool check_enabled(struct call *c)
{
	if (!c->app->enabled)
		call_fail(c, 403, "This application is disabled.");
	else if (c->app->tls_only && !c->r->tls && !c->r->loopback)
		call_fail(c, 403, "This application is for TLS only: use https.");
	else
		return true;
	return false;
}

static void run_signed(struct call *c, const struct route *route, struct str_view path,
		       const struct str_view *args)
{
	struct app_set *set = apps_current();

	c->app = app_set_by_id(set, args[0]);
	c->arg[0] = args[1];
	if (!c->app)
		request_reply_text(c->r, 404, SV("There is no application with this id."));
	else if (check_signature(c, path) && check_enabled(c) &&
		 (route->rate != RATE_READ || take_read(c)))
		route->handle(c);
	app_set_unref(set);
}

bool call_may_demo(const struct call *c)
{
	const struct request *r = c->r;

	return c->services->conf->server.demo && r->loopback &&
	       !r->header(r, "X-Forwarded-For").len && !r->header(r, "Forwarded").len &&
	       !r->header(r, "X-Real-IP").len;
}

static void run(struct call *c, const struct route *route, struct str_view path,
		const struct str_view *args)
{
	if (route->right == SIGNED) {
		run_signed(c, route, path, args);
		return;
	}
	c->arg[0] = args[0];
	if (route->right == DEMO && !call_may_demo(c))
		fail_path(c);
	else
		route->handle(c);
}

static void handle(void *ctx, struct request *r)
{
	const struct http_services *services = ctx;
	struct call c = { .r = r, .services = services };
	struct str_view args[CALL_ARGS_MAX + 1] = { { "", 0 }, { "", 0 }, { "", 0 } };
	struct str_view path = strip_prefix(r->path, services->conf->server.path);
	const char *allow;
	const struct route *route;

	if (sync_owns_path(path)) {
		sync_handle(&c, path);
		return;
	}
	route = find(r->method, path, args, &allow);
	if (route)
		run(&c, route, path, args);
	else if (allow)
		fail_method(&c, allow);
	else
		fail_path(&c);
}

static size_t body_limit(void *ctx, const struct request *r)
{
	const struct http_services *services = ctx;
	struct str_view path = strip_prefix(r->path, services->conf->server.path);
	struct app_set *set;
	const struct app *app;
	size_t limit = CALL_BODY_MAX;

	if (sync_owns_path(path))
		return services->conf->sync.max_request_bytes;
	if (!sv_starts_with(path, SV("/apps/")))
		return limit;
	path = sv_skip(path, 6);
	set = apps_current();
	app = app_set_by_id(set, sv_n(path.ptr, segment(path)));
	if (app)
		limit = app->limits.max_request_bytes ? app->limits.max_request_bytes
						      : BODY_UNLIMITED;
	app_set_unref(set);
	return limit;
}

void router_init(struct api *api, const struct http_services *services)
{
	*api = (struct api){ handle, body_limit, (void *)services };
}
