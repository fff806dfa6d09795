/* SPDX-License-Identifier: MIT */
/*
 * Shapes replies: errors in the form of their route, CORS, ETag, gzip.  Nothing here keeps state;
 * a reply is made on the thread that has the call, and the transport moves it to its own.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <zlib.h>
#include "base/log_gate.h"
#include "base/mem.h"
#include "wire/auth.h"
#include "api/reply.h"
#include "trace/live_tail.h"

#define GZIP_ABOVE_BYTES 1400 /* a smaller body fits one packet as it is */
#define GZIP_LEVEL	 1
#define MESSAGE_BYTES	 512
#define PREFLIGHT_AGE_S	 "600"
#define CORS_HEADERS_MAX 1024 /* bytes */

/* ---- CORS ------------------------------------------------------------------- */

/* Without an app, as before the caller is known: the origin of any. */
static bool reply_cors_allows(const struct call *c)
{
	struct app_set *set;
	bool allowed = false;

	if (c->app)
		return app_allows_origin(c->app, c->origin);
	set = apps_current();
	for (size_t i = 0; !allowed && i < app_set_count(set); i++)
		allowed = app_allows_origin(app_set_at(set, i), c->origin);
	app_set_unref(set);
	return allowed;
}

/* https://fetch.spec.whatwg.org/#http-cors-protocol */
static void reply_add_cors(const struct call *c, struct reply *reply)
{
	if (!c->origin.len)
		return;
	reply_add_header(reply, "Vary", SV("Origin, Accept-Encoding"));
	if (!reply_cors_allows(c))
		return;
	reply_add_header(reply, "Access-Control-Allow-Origin", c->origin);
	reply_add_header(reply, "Access-Control-Allow-Credentials", SV("true"));
	reply_add_header(reply, "Access-Control-Expose-Headers",
			 SV("ETag, Idempotent-Replayed, Retry-After, Scopewire-Position"));
}

/* Whether it is a list of header names, as a preflight has it. */
static bool reply_cors_is_list(struct str_view names)
{
	static const char others[] = "!#$%&'*+-.^_`|~, ";

	for (size_t i = 0; i < names.len; i++) {
		char ch = names.ptr[i];

		if (!ch || (!isalnum((unsigned char)ch) && !strchr(others, ch)))
			return false;
	}
	return names.len > 0 && names.len <= CORS_HEADERS_MAX;
}

void call_reply_preflight(struct call *c, const char *allow)
{
	struct str_view wanted = c->r->header(c->r, "Access-Control-Request-Headers");
	struct reply reply = { .status = 204 };

	reply_add_header(&reply, "Allow", sv(allow));
	if (reply_cors_allows(c)) {
		reply_add_header(&reply, "Access-Control-Allow-Methods", sv(allow));
		/* No header gives a page a right that its origin does not have. */
		reply_add_header(&reply, "Access-Control-Allow-Headers",
				 reply_cors_is_list(wanted) ? wanted
							    : SV("Authorization, Content-Type, "
								 "If-None-Match, Idempotency-Key"));
		reply_add_header(&reply, "Access-Control-Max-Age", SV(PREFLIGHT_AGE_S));
	}
	strbuf_init(&reply.body, 0);
	reply_add_cors(c, &reply);
	request_reply_full(c->r, &reply);
}

/* ---- errors ------------------------------------------------------------------ */

/* A gate for each status, so that many of one kind do not hide another. */
static struct {
	unsigned status; /* 0: any other */
	struct log_gate gate;
} refused[] = {
	{ 400, LOG_GATE("requests refused with 400") },
	{ 401, LOG_GATE("requests refused with 401") },
	{ 403, LOG_GATE("requests refused with 403") },
	{ 404, LOG_GATE("requests refused with 404") },
	{ 413, LOG_GATE("requests refused with 413") },
	{ 429, LOG_GATE("requests refused with 429") },
	{ 503, LOG_GATE("requests refused with 503") },
	{ 0, LOG_GATE("requests refused") },
};

/* To operators who watch.  A publish that fails late has no services any more. */
static void reply_show_refusal(const struct call *c, unsigned status, const char *message)
{
	struct live_tail *tail = c->services ? c->services->live_tail : NULL;
	const struct tail_message m = { .kind = TAIL_REFUSAL,
					.app = c->app ? sv(c->app->id) : SV(""),
					.event = SV("request_refused"),
					.data = c->r->path,
					.reason = sv(message),
					.code = status,
					.reached = -1 };

	live_tail_add(tail, &m);
}

/* The query is left out: it has a signature. */
static void reply_log_refusal(const struct call *c, unsigned status, const char *message)
{
	struct client_address client = call_client(c);
	char address[ADDRESS_TEXT_SIZE];
	size_t i = 0;

	while (refused[i].status && refused[i].status != status)
		i++;
	log_gated(&refused[i].gate, "request refused: %.*s %.*s: %u, %s Client %s%s%s",
		  SV_ARG(c->r->method), SV_ARG(c->r->path), status, message,
		  address_format(&client.address, address), c->app ? ", application " : "",
		  c->app ? c->app->id : "");
	reply_show_refusal(c, status, message);
}

/* Cuts an incomplete character at the end: JSON would not be valid with it. */
static void reply_trim_utf8(char *text)
{
	size_t n = strlen(text);

	while (n && !sv_is_utf8(sv_n(text, n)))
		n--;
	text[n] = '\0';
}

/* Messages are sentences; clients show them in sentences of their own, with a full stop. */
static struct str_view reply_without_stop(const char *message)
{
	struct str_view s = sv(message);

	if (sv_ends_with(s, SV(".")))
		s.len--;
	return s;
}

static void reply_add_error(struct strbuf *b, const struct call *c, const char *code,
			    struct str_view message, const char *field)
{
	strbuf_add_c(b, '{');
	if (c->route && sv_starts_with(sv(c->route->path), SV("/broadcasting/"))) {
		strbuf_add_str(b, "\"message\":");
		strbuf_add_json(b, message);
		strbuf_add_c(b, ',');
	}
	strbuf_add_str(b, "\"error\":{\"code\":");
	strbuf_add_json(b, sv(code));
	strbuf_add_str(b, ",\"message\":");
	strbuf_add_json(b, message);
	if (field && *field) {
		strbuf_add_str(b, ",\"field\":");
		strbuf_add_json(b, sv(field));
	}
	strbuf_add_str(b, "}}");
}

struct failure {
	int rc;
	unsigned status, retry_after_s;
	const char *code, *message;
	const char *read_message; /* of a GET; NULL: the same */
};

/* The one place where an errno becomes a status. */
static const struct failure failures[] = {
	{ -EAGAIN, 503, 1, "busy", "Too many requests are waiting for the database; try again.",
	  NULL },
	{ -ENOBUFS, 503, 1, "overloaded",
	  "Events arrive faster than the subscribers take them; nothing was published, try "
	  "again.",
	  NULL },
	{ -EBUSY, 503, 1, "database_locked",
	  "Another transaction has locked what this request needs; nothing was changed, try "
	  "again.",
	  "Another transaction has locked what this request needs; try again." },
	{ -EHOSTDOWN, 503, 2, "database_away",
	  "The database is not reachable; nothing was published or changed, try again.",
	  "The database is not reachable; try again." },
	{ -ETIMEDOUT, 503, 2, "database_slow",
	  "The database did not answer in time; the request may still take effect.",
	  "The database did not answer in time; try again." },
	{ -ECONNABORTED, 503, 2, "database_slow",
	  "The connection to the database broke; the request may still take effect.",
	  "The connection to the database broke; try again." },
	{ -ECANCELED, 503, 2, "stopping", "The server is stopping; try again.", NULL },
	{ -EINVAL, 400, 0, "invalid_value", "The database rejected the content of the request.",
	  NULL },
};

static const struct failure *failure_of(int rc)
{
	static const struct failure unknown = { 0,
						500,
						0,
						"internal",
						"The request failed; the server's log may have "
						"the reason.",
						NULL };

	for (size_t i = 0; i < ARRAY_SIZE(failures); i++)
		if (failures[i].rc == rc)
			return &failures[i];
	return &unknown;
}

static void failure_reply(struct call *c, const struct failure *f, const char *field)
{
	struct reply reply = { .status = f->status, .retry_after_s = f->retry_after_s };
	bool is_read = c->route && c->route->method[0] == 'G' && f->read_message;
	struct str_view credentials;
	const char *message = is_read ? f->read_message : f->message;

	reply_log_refusal(c, f->status, message);
	strbuf_init(&reply.body, 128);
	/* RFC 9110 section 11.6.1; browsers show a password dialog for Basic */
	if (f->status == 401 && c->is_sync)
		reply_add_header(&reply, "WWW-Authenticate",
				 call_has_scheme(c, "Basic", &credentials)
					 ? SV("Basic realm=\"scopewire\"")
					 : SV("Bearer realm=\"scopewire\""));
	if (!c->is_sync) {
		reply.content_type = REQUEST_TEXT;
		strbuf_add_sv(&reply.body, reply_without_stop(message));
	} else {
		reply_add_error(&reply.body, c, f->code, reply_without_stop(message), field);
		reply_add_cors(c, &reply);
	}
	request_reply_full(c->r, &reply);
}

static void failure_reply_text(struct call *c, unsigned status, const char *code, const char *field,
			       const char *message)
{
	struct failure f = { .status = status, .code = code, .message = message };

	if (status == 429 || status == 503)
		f.retry_after_s = status == 429 ? 1 : 2;
	failure_reply(c, &f, field);
}

PRINTF_LIKE(5, 0)
static void failure_reply_va(struct call *c, unsigned status, const char *code, const char *field,
			     const char *fmt, va_list ap)
{
	char message[MESSAGE_BYTES];

	vsnprintf(message, sizeof(message), fmt, ap);
	reply_trim_utf8(message);
	failure_reply_text(c, status, code, field, message);
}

void call_fail(struct call *c, unsigned status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	failure_reply_va(c, status, "", NULL, fmt, ap);
	va_end(ap);
}

void call_fail_code(struct call *c, unsigned status, const char *code, const char *field,
		    const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	failure_reply_va(c, status, code, field, fmt, ap);
	va_end(ap);
}

void call_write_refusal(const struct call *c, struct refusal *refusal)
{
	struct str_view message = reply_without_stop(refusal->sentence);
	struct reply cors = { .status = refusal->status };

	reply_log_refusal(c, refusal->status, refusal->sentence);
	strbuf_addf(&refusal->headers, "Content-Type: %s\r\n",
		    c->is_sync ? "application/json" : REQUEST_TEXT);
	if (!c->is_sync) {
		strbuf_add_sv(&refusal->body, message);
		return;
	}
	reply_add_error(&refusal->body, c, refusal->code, message, NULL);
	strbuf_init(&cors.body, 0);
	reply_add_cors(c, &cors);
	for (unsigned i = 0; i < cors.n_headers; i++)
		strbuf_addf(&refusal->headers, "%s: %s\r\n", cors.headers[i].name,
			    cors.headers[i].value);
	reply_release(&cors);
}

void call_fail_method(struct call *c, const char *allow)
{
	struct reply reply = { .status = 405 };
	char message[MESSAGE_BYTES];

	reply_add_header(&reply, "Allow", sv(allow));
	snprintf(message, sizeof(message), "This path accepts %s only.", allow);
	reply_log_refusal(c, 405, message);
	strbuf_init(&reply.body, 128);
	if (c->is_sync) {
		reply_add_error(&reply.body, c, "method_not_allowed", reply_without_stop(message),
				NULL);
		reply_add_cors(c, &reply);
	} else {
		reply.content_type = REQUEST_TEXT;
		strbuf_add_sv(&reply.body, reply_without_stop(message));
	}
	request_reply_full(c->r, &reply);
}

void call_reply_failure(struct request *r, int rc)
{
	struct call c = { .r = r };

	failure_reply(&c, failure_of(rc), NULL);
}

void call_reply_json(struct request *r, unsigned status, struct strbuf *b)
{
	struct reply reply = { .status = status, .body = *b };

	*b = (struct strbuf){ NULL, 0, 0 };
	request_reply_full(r, &reply);
}

/* ---- the sync API --------------------------------------------------------------- */

void sync_fail(struct sync_call *sc, unsigned status, const char *code, const char *field,
	       const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	failure_reply_va(&sc->call, status, code, field, fmt, ap);
	va_end(ap);
	sync_call_free(sc);
}

void sync_fail_text(struct sync_call *sc, unsigned status, const char *code, const char *field,
		    const char *message)
{
	failure_reply_text(&sc->call, status, code, field, message);
	sync_call_free(sc);
}

void sync_fail_rc(struct sync_call *sc, int rc)
{
	failure_reply(&sc->call, failure_of(rc), NULL);
	sync_call_free(sc);
}

void line_add_error(struct strbuf *b, const char *code, const char *message)
{
	const struct call none = { 0 };

	reply_add_error(b, &none, code, reply_without_stop(message), NULL);
	strbuf_add_c(b, '\n');
}

void line_add_error_rc(struct strbuf *b, int rc)
{
	const struct failure *f = failure_of(rc);

	line_add_error(b, f->code, f->read_message ? f->read_message : f->message);
}

/* Compresses the body with gzip (RFC 1952); false: it did not get smaller. */
static bool reply_compress_body(struct strbuf *body)
{
	z_stream z = { .next_in = (Bytef *)body->ptr, .avail_in = (uInt)body->len };
	struct strbuf out;
	bool ok;

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	strbuf_init(&out, body->len);
	z.next_out = (Bytef *)out.ptr;
	z.avail_out = (uInt)body->len;
	ok = deflate(&z, Z_FINISH) == Z_STREAM_END;
	out.len = z.total_out;
	deflateEnd(&z);
	if (ok) {
		strbuf_release(body);
		*body = out;
	} else {
		strbuf_release(&out);
	}
	return ok;
}

/*
 * Adds the body's ETag; true when the client has the same.  Weak, because the same content can be
 * sent compressed or not (RFC 9110 section 8.8.3).
 */
static bool reply_is_unchanged(const struct sync_call *sc, const struct strbuf *body,
			       struct reply *reply)
{
	char hex[AUTH_MD5_HEX_BYTES + 1], tag[AUTH_MD5_HEX_BYTES + 8];

	auth_md5_hex(strbuf_view(body), hex);
	snprintf(tag, sizeof(tag), "W/\"%s\"", hex);
	reply_add_header(reply, "ETag", sv(tag));
	reply_add_header(reply, "Cache-Control", SV("private, no-cache"));
	return sc->if_none_match &&
	       (strstr(sc->if_none_match, hex) || strcmp(sc->if_none_match, "*") == 0);
}

/*
 * Adds the position to what a GET replies.  After the ETag, which is that of the state alone; so a
 * 304 has it in the header.
 */
static void reply_add_position(const struct sync_call *sc, struct strbuf *body, struct reply *reply)
{
	char text[POSITION_SIZE];

	position_format(&sc->position, text);
	if (*text)
		reply_add_header(reply, "Scopewire-Position", sv(text));
	if (!body->len || body->ptr[body->len - 1] != '}')
		return;
	body->ptr[--body->len] = '\0';
	strbuf_addf(body, *text ? "%s\"position\":\"%s\"}" : "%s\"position\":null%s}",
		    body->len > 1 ? "," : "", text);
}

void sync_reply(struct sync_call *sc, unsigned status, struct strbuf *body)
{
	/* pusher-php-server takes every status but 200 for an error */
	struct reply reply = { .status = sc->is_signed && status < 300 ? 200 : status };

	if (status == 200 && sc->call.route->method[0] == 'G' &&
	    reply_is_unchanged(sc, body, &reply)) {
		reply.status = 304;
		strbuf_reset(body);
	}
	if (status == 200 && sc->call.route->method[0] == 'G' &&
	    !sc->call.route->action->has_position)
		reply_add_position(sc, body, &reply);
	if (sc->is_repeat)
		reply_add_header(&reply, "Idempotent-Replayed", SV("true"));
	if (sc->takes_gzip && body->len >= GZIP_ABOVE_BYTES && reply_compress_body(body))
		reply_add_header(&reply, "Content-Encoding", SV("gzip"));
	strbuf_move(&reply.body, body);
	reply_add_cors(&sc->call, &reply);
	request_reply_full(sc->call.r, &reply);
	sync_call_free(sc);
}

void sync_reply_stream(struct sync_call *sc, struct reply_stream *stream)
{
	struct reply reply = { .status = 200,
			       .content_type = "application/x-ndjson",
			       .stream = stream };

	reply_add_cors(&sc->call, &reply);
	request_reply_full(sc->call.r, &reply);
	sync_call_free(sc);
}
