/* SPDX-License-Identifier: MIT */
/* What the server says of itself. */
#include "base/annotate.h"
#include "api/handlers.h"
#include "api/reply.h"

void h_status_up(struct call *c)
{
	request_reply(c->r, 200, SV("{\"health\":\"OK\"}"));
}

void h_status_connections(struct call *c)
{
	struct strbuf b;

	strbuf_init(&b, 32);
	strbuf_addf(&b, "{\"connections\":%u}", atomic_load(&c->app->runtime->connections));
	call_reply_json(c->r, 200, &b);
}

/*
 * A WebSocket handshake on a connection that served plain requests before, as a proxy that keeps
 * its upstream connections sends it.  The socket can no longer move to a worker; on a new
 * connection the handshake will do.
 */
void h_status_websocket(struct call *c)
{
	struct reply reply = { .status = 426, .content_type = REQUEST_TEXT, .close = true };

	strbuf_init(&reply.body, 0);
	strbuf_add_str(&reply.body, "This path is for WebSocket: connect with an Upgrade header, "
				    "on a connection that served no other request.");
	request_reply_full(c->r, &reply);
}
