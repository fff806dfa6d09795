/* SPDX-License-Identifier: MIT */
/*
 * What handlers of several resources need of a call: its rates, and the parameters that Pusher
 * routes share.  Runs on the http thread.
 */
#include <errno.h>
#include <strings.h>
#include "base/mem.h"
#include "base/metric.h"
#include "core/directory.h"
#include "core/limit.h"
#include "svc/quotas.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"
#include "api/call.h"
#include "api/reply.h"

void call_release(struct call *c)
{
	app_unref(c->app);
	free(c->caller.user_json);
}

/* ---- rates ------------------------------------------------------------------ */

bool call_take_events(struct call *c, unsigned n)
{
	unsigned rate = c->app->limits.max_backend_events_per_second;

	/* an event for more channels than the rate allows takes a whole second's worth */
	if (!rate || limit_take_shared(&c->app->runtime->backend_bucket, rate, USEC_PER_SEC,
				       n < rate ? n : rate, clock_mono()))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_EVENTS, 1);
	if (c->is_sync)
		call_fail_code(c, 429, "rate_limited", NULL,
			       "Too many requests per second; try again later.");
	else
		call_fail(c, 429, "Too many events per second; try again later.");
	return false;
}

bool call_take_read(struct call *c)
{
	unsigned rate = c->app->limits.max_read_requests_per_second;

	if (!rate ||
	    limit_take_shared(&c->app->runtime->read_bucket, rate, USEC_PER_SEC, 1, clock_mono()))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_READS, 1);
	call_fail_code(c, 429, "rate_limited", NULL,
		       "Too many requests per second; try again later.");
	return false;
}

static bool call_fail_quota(struct call *c, struct quota_refusal refusal)
{
	bool is_user;

	if (!refusal.option)
		return true;
	is_user = strstr(refusal.option, "max_user_") != NULL;
	metric_add_at(METRIC_RATE_LIMITED, is_user ? RATED_USER_CALLS : RATED_APP_CALLS, 1);
	call_fail_code(c, 429, "rate_limited", NULL, "%s exceeds %s (%u); try again later.",
		       is_user ? "The user" : "The application", refusal.option, refusal.limit);
	return false;
}

bool call_take_quota(struct call *c)
{
	return call_fail_quota(
		c, quotas_begin(c->services->quotas, c->app, c->caller.user_id, c->r->body.len));
}

struct client_address call_client(const struct call *c)
{
	if (!c->services) /* a late reply, which has the request only */
		return (struct client_address){ .address = c->r->peer, .is_secure = c->r->is_tls };
	return request_client(c->r, &c->services->conf->server.trusted_proxies);
}

bool call_has_scheme(const struct call *c, const char *scheme, struct str_view *rest)
{
	struct str_view header = c->r->header(c->r, "Authorization");
	size_t n = strlen(scheme);

	if (header.len <= n || strncasecmp(header.ptr, scheme, n) != 0 || header.ptr[n] != ' ')
		return false;
	while (n < header.len && header.ptr[n] == ' ')
		n++;
	*rest = sv_skip(header, n);
	return true;
}

bool call_is_secure(const struct call *c)
{
	struct client_address client = call_client(c);

	return client.is_secure || address_is_loopback(&client.address);
}

bool call_may_demo(const struct call *c)
{
	return c->services->conf->server.demo && request_is_local(c->r);
}

/* ---- parameters --------------------------------------------------------------- */

bool call_read_info(struct call *c, struct str_view text, unsigned *out)
{
	struct str_view word;
	unsigned info = 0;

	while (sv_split(&text, ',', &word)) {
		if (sv_eq(word, SV("user_count"))) {
			info |= INFO_USER_COUNT;
		} else if (sv_eq(word, SV("subscription_count"))) {
			info |= INFO_SUBSCRIPTION_COUNT;
		} else if (sv_eq(word, SV("cache"))) {
			info |= INFO_CACHE;
		} else if (word.len) {
			call_fail(c, 400,
				  "Unknown attribute in \"info\": use user_count, "
				  "subscription_count or cache.");
			return false;
		}
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
		call_fail(c, 400, "A channel name may have at most %u bytes.", max);
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
	call_fail(c, 400, "Invalid socket_id: it must look like \"123.456\".");
	return false;
}

/* ---- calls of the sync API ------------------------------------------------------ */

static char *call_copy_header(const struct request *r, const char *name)
{
	struct str_view v = r->header(r, name);

	return v.len ? sv_dup(v) : NULL;
}

struct sync_call *sync_call_new(struct call *from)
{
	struct sync_call *sc = xcalloc(1, sizeof(*sc));
	struct str_view encodings = from->r->header(from->r, "Accept-Encoding");

	sc->call = *from;
	from->app = NULL;
	from->caller.user_json = NULL;
	sc->is_signed = from->app_id.len > 0;
	sc->origin = from->origin.len ? sv_dup(from->origin) : NULL;
	sc->call.origin = sv(sc->origin);
	sc->if_none_match = call_copy_header(from->r, "If-None-Match");
	sc->takes_gzip = request_accepts(encodings, SV("gzip"));
	verdicts_init(&sc->verdicts);
	strbuf_init(&sc->body, 0);
	sc->wants_serial = request_accepts(from->r->header(from->r, "Prefer"), SV("wait"));
	directory_position(sc->call.services->directory, &sc->position);
	return sc;
}

bool sync_call_take(struct sync_call *sc, unsigned n)
{
	struct call *c = &sc->call;

	if (!n || !c->caller.user_id ||
	    call_fail_quota(c, quotas_take(c->services->quotas, c->app, c->caller.user_id, n)))
		return true;
	sync_call_free(sc);
	return false;
}

void sync_call_free(struct sync_call *sc)
{
	quotas_end(sc->call.services->quotas, sc->call.app, sc->call.caller.user_id);
	for (size_t i = 0; i < SYNC_FIELDS_MAX; i++)
		free(sc->values[i].text);
	call_release(&sc->call);
	free(sc->origin);
	free(sc->if_none_match);
	free(sc->key);
	free(sc->digest);
	verdicts_release(&sc->verdicts);
	strbuf_release(&sc->body);
	free(sc);
}

const char *sync_caller_json(const struct sync_call *sc)
{
	return sc->call.caller.user_json ? sc->call.caller.user_json : "{\"server\":true}";
}
