/* SPDX-License-Identifier: MIT */
/*
 * Health, readiness, the number of connections, and the answer to a WebSocket handshake that
 * cannot be served.  Runs on the http thread.
 */
#include "base/annotate.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "svc/health.h"
#include "wire/handshake.h"

void h_status_up(struct call *c)
{
	request_reply(c->r, 200, SV("{\"health\":\"OK\"}"));
}

/* Anyone can call this, so the reason is in the log only. */
void h_status_ready(struct call *c)
{
	if (health_is_ready(c->services->health))
		request_reply(c->r, 200, SV("{\"ready\":true}"));
	else
		request_reply(c->r, 503, SV("{\"ready\":false}"));
}

void h_status_connections(struct call *c)
{
	struct strbuf b;

	strbuf_init(&b, 32);
	strbuf_addf(&b, "{\"connections\":%u}", atomic_load(&c->app->runtime->connections));
	call_reply_json(c->r, 200, &b);
}

/* What is wrong with a handshake, as RFC 6455 section 4.2.1 has it; NULL: nothing. */
static const char *status_handshake_fault(const struct request *r, unsigned *status)
{
	*status = 426;
	if (!header_has_word(r->header(r, "Upgrade"), "websocket"))
		return "This path is for WebSocket: connect with \"Upgrade: websocket\".";
	if (!sv_eq(r->header(r, "Sec-WebSocket-Version"), SV("13")))
		return "This server supports version 13 of WebSocket only; send one header "
		       "\"Sec-WebSocket-Version: 13\".";
	*status = 400;
	if (!header_has_word(r->header(r, "Connection"), "upgrade"))
		return "The WebSocket handshake lacks \"Connection: Upgrade\".";
	if (r->header(r, "Sec-WebSocket-Key").len != 24)
		return "The WebSocket handshake needs one Sec-WebSocket-Key: 16 bytes in base64.";
	return NULL;
}

/*
 * A handshake that is not valid, or one on a connection that served other requests before, as a
 * proxy that keeps its upstream connections sends it.  The socket can no longer move to a worker;
 * on a new connection the handshake will do.
 */
void h_status_websocket(struct call *c)
{
	struct reply reply = { .content_type = REQUEST_TEXT, .wants_close = true };
	const char *why = status_handshake_fault(c->r, &reply.status);

	if (!why) {
		reply.status = 426;
		why = "This WebSocket handshake is not valid (RFC 6455 section 4.2.1), or the "
		      "connection served another request before: use a new connection.";
	}
	strbuf_init(&reply.body, 0);
	strbuf_add_str(&reply.body, why);
	request_reply_full(c->r, &reply);
}
