/* SPDX-License-Identifier: MIT */
/*
 * The refusal of a request before it reaches a route, on the bare socket: libmicrohttpd cannot
 * respond while a body is being received, see http/deadlines.h.  Everything runs on the http
 * thread.
 */
#include "http/server-private.h"

enum MHD_Result http_refuse(struct http_request *req, const char *status_line, const char *code,
			    const char *sentence)
{
	struct deadline *d = &req->conn->deadline;
	struct refusal refusal = { .status = (unsigned)strtoul(status_line, NULL, 10),
				   .code = code,
				   .sentence = sentence };

	if (!deadline_set(d, DEADLINE_NEVER))
		return MHD_NO;
	strbuf_init(&refusal.headers, 256);
	strbuf_init(&refusal.body, 256);
	if (req->server->conf.handle) {
		strbuf_add_str(&refusal.headers, "Content-Type: " REQUEST_TEXT "\r\n");
		strbuf_add_str(&refusal.body, sentence);
	} else {
		router_refusal(req->server->services, &req->base, &refusal);
	}
	deadlines_respond(d->fd, status_line, strbuf_view(&refusal.headers),
			  strbuf_view(&refusal.body));
	http_count(req, refusal.status);
	strbuf_release(&refusal.headers);
	strbuf_release(&refusal.body);
	return MHD_NO;
}
