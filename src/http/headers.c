/* SPDX-License-Identifier: MIT */
/* Headers of responses.  Runs on the http thread. */
#include "base/log.h"
#include "http/server-private.h"

void http_add_header(struct MHD_Response *response, const char *name, const char *value)
{
	if (MHD_add_response_header(response, name, value) == MHD_NO)
		log_debug("http: the header %s could not be added", name);
}

void http_add_headers(struct http_server *s, const struct reply *reply,
		      struct MHD_Response *response)
{
	char seconds[16];

	http_add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
			reply->content_type ? reply->content_type : "application/json");
	if (reply->retry_after_s) {
		snprintf(seconds, sizeof(seconds), "%u", reply->retry_after_s);
		http_add_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
	}
	for (unsigned i = 0; i < reply->n_headers; i++)
		http_add_header(response, reply->headers[i].name, reply->headers[i].value);
	if (reply->status == MHD_HTTP_UPGRADE_REQUIRED) {
		http_add_header(response, MHD_HTTP_HEADER_UPGRADE, "websocket");
		http_add_header(response, "Sec-WebSocket-Version", "13");
	}
	if (reply->wants_close || atomic_load(&s->is_stopping))
		http_add_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
}
