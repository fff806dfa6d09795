/* SPDX-License-Identifier: MIT */
#ifndef API_REQUEST_H
#define API_REQUEST_H
/*
 * An HTTP request, independent of its transport, which is src/http (libmicrohttpd) for HTTP and for
 * HTTPS: what arrives over TLS passes through front/tls_tunnel.c first.  A handler replies exactly
 * once with request_reply(), now or later, from any thread; the transport's send function moves the
 * reply to the http thread.
 */
#include <stdbool.h>
#include <stddef.h>
#include "base/str.h"
#include "wire/address.h"
#include "wire/auth.h"

#define REQUEST_PARAMS_MAX AUTH_PARAMS_MAX
#define REQUEST_TEXT	   "text/plain; charset=utf-8"

/* Indices of routes in metrics: those of the table begin at ROUTE_FIRST. */
enum { ROUTE_NONE, ROUTE_ADMIN, ROUTE_FIRST };

/* A header of a reply beyond those that have a member of their own. */
struct reply_header {
	const char *name; /* static */
	char *value;	  /* heap, the reply's */
};
#define REPLY_HEADERS_MAX 8

enum stream_end { STREAM_GOES_ON, STREAM_ENDS, STREAM_FAILS };

/*
 * A body that is made while it is sent: a part is requested when the one before is being sent, so
 * no more than one is kept.
 */
struct reply_stream {
	/* Requests a part, on the transport's thread; part() is called once, now or later. */
	void (*next)(struct reply_stream *s);
	/* Any thread; never between next() and part(). */
	void (*release)(struct reply_stream *s);
	/* The transport's, set before next(); any thread.  text is taken over; with STREAM_FAILS
	 * the body is cut off after it, so that the client sees that it is incomplete. */
	void (*part)(struct reply_stream *s, struct strbuf *text, enum stream_end end);
	void *transport;
};

struct reply {
	unsigned status;
	const char *content_type; /* static; NULL: application/json */
	unsigned retry_after_s;	  /* 0: no header */
	bool wants_close;	  /* Connection: close */
	unsigned n_headers;
	struct reply_header headers[REPLY_HEADERS_MAX];
	struct strbuf body;	     /* the transport releases it */
	struct reply_stream *stream; /* instead of the body, or NULL; the transport's from now on */
};

/* What the transport sends before a request is complete. */
struct refusal {
	unsigned status;
	const char *code; /* for paths whose errors are JSON */
	const char *sentence;
	struct strbuf headers, body; /* headers: lines with CR LF */
};

/* Adds a header, value copied; one over REPLY_HEADERS_MAX, or with a control character, is left
 * out. */
void reply_add_header(struct reply *reply, const char *name, struct str_view value);
/* Frees what it holds. */
void reply_release(struct reply *reply);

struct request {
	/* Views are valid until the reply. */
	struct str_view method;
	struct str_view path; /* as received, without query, unescaped, prefix still there */
	struct auth_param params[REQUEST_PARAMS_MAX]; /* query, unescaped */
	size_t n_params;
	struct str_view body;
	bool is_tls;
	bool is_unix;	     /* the socket is a Unix socket */
	struct address peer; /* the other end of the socket, which may be a proxy */
	unsigned route;	     /* for metrics; set by the router */
	/* Value of a header, case-insensitive; empty view when absent. */
	struct str_view (*header)(const struct request *r, const char *name);
	/* The values of all headers of that name, with commas between them; NULL: header() has
	 * them. */
	void (*header_list)(const struct request *r, const char *name, struct strbuf *out);
	/* Sends the reply; takes body over.  Called by request_reply only. */
	void (*send)(struct request *r, struct reply *reply);
};

/* Whether a list such as Accept-Encoding has the word, or "*", with a weight above 0 (RFC 9110
 * section 12.4.2).  An empty list has none. */
bool request_accepts(struct str_view list, struct str_view word);
/*
 * The client is on this machine: the peer is, no proxy has passed the request on, and the page that
 * makes it, if one does, was not loaded under another name (DNS rebinding).
 */
bool request_is_local(const struct request *r);
/* Who makes the request, by the headers of trusted proxies. */
struct client_address request_client(const struct request *r,
				     const struct trusted_proxies *proxies);
/* Empty view when absent. */
struct str_view request_param(const struct request *r, const char *name);
/*
 * Splits "a=b&c=d" into r->params, unescaping in place; -E2BIG over REQUEST_PARAMS_MAX.
 * Lists as PHP writes them, "k[0]=a&k[1]=b", become one k with "a,b", which is how its SDK signs
 * them.  A value may hold any byte, NUL too.
 */
int request_parse_query(struct request *r, char *query, size_t len) MUSTCHECK;
/*
 * Takes the target of a request line apart, in place: path (unescaped) and params.
 * -E2BIG as above, -EINVAL for a NUL in the path.
 */
int request_set_target(struct request *r, char *target, size_t len) MUSTCHECK;
/* body is JSON text, copied. */
void request_reply(struct request *r, unsigned status, struct str_view body);
/* {"error":{"code","message"}} for /api/sync; the Pusher API answers errors as a plain sentence. */
void request_reply_text(struct request *r, unsigned status, struct str_view text);
void request_reply_full(struct request *r, struct reply *reply);

#endif
