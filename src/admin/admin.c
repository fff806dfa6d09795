/* SPDX-License-Identifier: MIT */
/*
 * Routes of the admin listener, and who may use them.  A request has the right of its token.  One
 * without a token may read if the option local_read is set and the client is on this machine.
 *
 * On the http thread of the admin listener.
 */
#include <strings.h>
#include "base/log_gate.h"
#include "base/mem.h"
#include "svc/health.h"
#include "admin/admin.h"
#include "admin/exposition.h"
#include "admin/token.h"

#define METRICS_BYTES 65536

struct admin {
	const struct conf_admin *conf;
	const struct health *health;
	struct admin_tokens *tokens;
};

struct admin_route {
	const char *method, *path;
	enum admin_scope scope; /* that the request needs */
	void (*handle)(struct admin *a, struct request *r);
};

static struct log_gate admin_refused = LOG_GATE("requests to the admin listener refused");

struct admin *admin_new(const struct conf_admin *conf, const struct health *health)
{
	struct admin *a = xcalloc(1, sizeof(*a));

	a->conf = conf;
	a->health = health;
	a->tokens = admin_tokens_new(conf->tokens);
	return a;
}

void admin_free(struct admin *a)
{
	if (!a)
		return;
	admin_tokens_free(a->tokens);
	free(a);
}

/* ---- routes ---- */

static void admin_on_up(struct admin *a UNUSED, struct request *r)
{
	request_reply(r, 200, SV("{\"health\":\"OK\"}"));
}

/* As on the public port, with the names of the checks that fail. */
static void admin_on_ready(struct admin *a, struct request *r)
{
	struct reply reply = { .status = health_is_ready(a->health) ? 200 : 503 };
	unsigned n = 0;

	strbuf_init(&reply.body, 96);
	strbuf_addf(&reply.body, "{\"ready\":%s,\"failed\":[",
		    reply.status == 200 ? "true" : "false");
	for (unsigned i = 0; i < HEALTH_CHECKS; i++)
		if (!health_passes(a->health, i))
			strbuf_addf(&reply.body, "%s\"%s\"", n++ ? "," : "", health_check_name(i));
	strbuf_add_str(&reply.body, "]}");
	request_reply_full(r, &reply);
}

static void admin_on_metrics(struct admin *a, struct request *r)
{
	struct reply reply = { .status = 200, .content_type = EXPOSITION_TYPE };

	strbuf_init(&reply.body, METRICS_BYTES);
	exposition_write(&reply.body, health_is_ready(a->health));
	request_reply_full(r, &reply);
}

static void admin_on_metrics_apps(struct admin *a UNUSED, struct request *r)
{
	struct reply reply = { .status = 200, .content_type = EXPOSITION_TYPE };

	strbuf_init(&reply.body, 1024);
	exposition_write_apps(&reply.body);
	request_reply_full(r, &reply);
}

static const struct admin_route admin_routes[] = {
	{ "GET", "/up", ADMIN_NONE, admin_on_up },
	{ "GET", "/live", ADMIN_NONE, admin_on_up },
	{ "GET", "/ready", ADMIN_NONE, admin_on_ready },
	{ "GET", "/metrics", ADMIN_METRICS, admin_on_metrics },
	{ "GET", "/metrics/apps", ADMIN_METRICS, admin_on_metrics_apps },
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

/* True when the request may do what needs the scope; otherwise it was refused. */
static bool admin_allows(struct admin *a, struct request *r, enum admin_scope needed)
{
	struct str_view auth = r->header(r, "Authorization");
	struct admin_login login;

	if (needed == ADMIN_NONE)
		return true;
	if (!auth.len && a->conf->local_read && request_is_local(r)) {
		if (needed <= ADMIN_READ)
			return true;
		admin_refuse(r, 401, "Changes need a token with the scope write.");
		return false;
	}
	if (auth.len < 7 || strncasecmp(auth.ptr, "Bearer ", 7) != 0) {
		admin_refuse(r, 401,
			     a->conf->local_read
				     ? "Send a token of admin.tokens: Authorization: Bearer."
				     : "Send a token of admin.tokens: Authorization: Bearer; or "
				       "set admin.local_read for clients on this machine.");
		return false;
	}
	login = admin_tokens_find(a->tokens, sv_skip(auth, 7), &r->peer, clock_mono());
	if (login.is_limited)
		admin_refuse(r, 429, "Too many wrong tokens from this address; wait a minute.");
	else if (login.scope == ADMIN_NONE)
		admin_refuse(r, 401, "There is no such token in admin.tokens.");
	else if (login.scope < needed)
		admin_refuse(r, 403, "The scope of this token does not include this request.");
	return login.scope >= needed;
}

void admin_handle(void *admin, struct request *r)
{
	struct admin *a = admin;
	bool has_path = false;

	r->route = ROUTE_ADMIN;
	for (size_t i = 0; i < ARRAY_SIZE(admin_routes); i++) {
		const struct admin_route *route = &admin_routes[i];

		if (!sv_eq_c(r->path, route->path))
			continue;
		has_path = true;
		if (!sv_eq_c(r->method, route->method) &&
		    !(sv_eq(r->method, SV("HEAD")) && route->method[0] == 'G'))
			continue;
		if (admin_allows(a, r, route->scope))
			route->handle(a, r);
		return;
	}
	if (has_path)
		admin_refuse(r, 405, "This path has another method.");
	else
		admin_refuse(r, 404, "This path does not exist on the admin listener.");
}
