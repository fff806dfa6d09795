/* SPDX-License-Identifier: MIT */
/*
 * A call: what can be said of its client, and the life of a call of the sync API.  Runs on the http
 * thread; sync_call_free() on the thread that has the call.
 */
#include <strings.h>
#include "base/mem.h"
#include "core/channels/directory.h"
#include "svc/quotas.h"
#include "api/call.h"

void call_release(struct call *c)
{
	app_unref(c->app);
	free(c->caller.user_json);
}

struct client_address call_client(const struct call *c)
{
	if (c->client)
		return *c->client;
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
	sc->client = call_client(from);
	sc->call.client = &sc->client;
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

void sync_call_free(struct sync_call *sc)
{
	quotas_end(sc->call.services->quotas, sc->call.app, sc->call.caller.user);
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
