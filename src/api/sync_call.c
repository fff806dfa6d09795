/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <zlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "conf/app.h"
#include "api/sync_call.h"
#include "wire/auth.h"

#define GZIP_ABOVE_BYTES 1400 /* a smaller body fits one packet as it is */
#define GZIP_LEVEL	 1
#define MESSAGE_BYTES	 512
#define PREFLIGHT_AGE	 "600"
#define ASKED_MAX	 100	 /* channels: no request names more */
#define SQLSTATE_ASK	 "SW001" /* of require_channel() */

static const char *const mounts[] = { "/api/sync/", "/broadcasting/" };

/* ---- a call's life ------------------------------------------------------ */

static char *copy_header(const struct request *r, const char *name)
{
	struct str_view v = r->header(r, name);

	return v.len ? sv_dup(v) : NULL;
}

static struct sync_call *call_new(struct call *from)
{
	struct sync_call *c = xcalloc(1, sizeof(*c));
	char *encodings = copy_header(from->r, "Accept-Encoding");

	c->r = from->r;
	c->services = from->services;
	c->origin = copy_header(from->r, "Origin");
	c->if_none_match = copy_header(from->r, "If-None-Match");
	c->takes_gzip = encodings && strstr(encodings, "gzip");
	c->is_head = sv_eq(from->r->method, SV("HEAD"));
	strbuf_init(&c->asked, 0);
	free(encodings);
	return c;
}

static void call_free(struct sync_call *c)
{
	for (size_t i = 0; i < SYNC_FIELDS_MAX; i++)
		free(c->values[i]);
	app_unref(c->app);
	free(c->caller.json);
	free(c->origin);
	free(c->if_none_match);
	strbuf_release(&c->asked);
	free(c);
}

const char *sync_value(const struct sync_call *c, const char *name)
{
	const struct sync_action *a = c->route->action;

	for (size_t i = 0; i < a->n_fields; i++)
		if (strcmp(a->fields[i].name, name) == 0)
			return c->values[i];
	return NULL;
}

/* ---- replies ------------------------------------------------------------ */

static bool allows_origin(const struct sync_call *c)
{
	struct app_set *set;
	bool allowed = false;

	if (c->app)
		return app_allows_origin(c->app, sv(c->origin));
	set = apps_current();
	for (size_t i = 0; !allowed && i < app_set_count(set); i++)
		allowed = app_allows_origin(app_set_at(set, i), sv(c->origin));
	app_set_unref(set);
	return allowed;
}

/* https://fetch.spec.whatwg.org/#http-cors-protocol */
static void add_cors(const struct sync_call *c, struct reply *reply)
{
	if (!c->origin)
		return;
	reply_add_header(reply, "Vary", SV("Origin, Accept-Encoding"));
	if (!allows_origin(c))
		return;
	reply_add_header(reply, "Access-Control-Allow-Origin", sv(c->origin));
	reply_add_header(reply, "Access-Control-Expose-Headers", SV("ETag, Retry-After"));
}

static bool is_broadcasting(const struct sync_call *c)
{
	return c->route && c->route->path[0] == '/';
}

static void send(struct sync_call *c, struct reply *reply)
{
	struct request *r = c->r;

	add_cors(c, reply);
	call_free(c);
	request_reply_full(r, reply);
}

/* The body in gzip's clothes (RFC 1952); false: it did not get smaller. */
static bool compress_body(struct strbuf *body)
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

/* Weak: the same content may travel compressed or not (RFC 9110 section 8.8.3). */
static bool is_unchanged(const struct sync_call *c, const struct strbuf *body, struct reply *reply)
{
	char hex[AUTH_MD5_HEX_BYTES + 1], tag[AUTH_MD5_HEX_BYTES + 8];

	auth_md5_hex(strbuf_view(body), hex);
	snprintf(tag, sizeof(tag), "W/\"%s\"", hex);
	reply_add_header(reply, "ETag", sv(tag));
	reply_add_header(reply, "Cache-Control", SV("private, no-cache"));
	return c->if_none_match &&
	       (strstr(c->if_none_match, hex) || strcmp(c->if_none_match, "*") == 0);
}

void sync_reply(struct sync_call *c, unsigned status, struct strbuf *body)
{
	/* pusher-php-server takes every answer but 200 for an error */
	struct reply reply = { .status = c->is_signed && status < 300 ? 200 : status };

	if (status == 200 && c->route && c->route->method[0] == 'G' &&
	    is_unchanged(c, body, &reply)) {
		reply.status = 304;
		strbuf_reset(body);
	}
	if (c->takes_gzip && body->len >= GZIP_ABOVE_BYTES && compress_body(body))
		reply_add_header(&reply, "Content-Encoding", SV("gzip"));
	reply.body = *body;
	*body = (struct strbuf){ NULL, 0, 0 };
	send(c, &reply);
}

void sync_reply_stream(struct sync_call *c, struct reply_stream *stream)
{
	struct reply reply = { .status = 200,
			       .content_type = "application/x-ndjson",
			       .stream = stream };

	send(c, &reply);
}

/* like_laravel: with a message where whoever expects Laravel's answers looks for it. */
static void add_error(struct strbuf *b, bool like_laravel, const char *code, const char *message,
		      const char *field)
{
	strbuf_add_c(b, '{');
	if (like_laravel) {
		strbuf_add_str(b, "\"message\":");
		strbuf_add_json(b, sv(message));
		strbuf_add_c(b, ',');
	}
	strbuf_add_str(b, "\"error\":{\"code\":");
	strbuf_add_json(b, sv(code));
	strbuf_add_str(b, ",\"message\":");
	strbuf_add_json(b, sv(message));
	if (field && *field) {
		strbuf_add_str(b, ",\"field\":");
		strbuf_add_json(b, sv(field));
	}
	strbuf_add_str(b, "}}");
}

static void fail_text(struct sync_call *c, unsigned status, const char *code, const char *field,
		      const char *message)
{
	struct reply reply = { .status = status };

	if (status == 503 || status == 429)
		reply.retry_after_s = status == 503 ? 2 : 1;
	if (status == 401)
		reply_add_header(&reply, "WWW-Authenticate",
				 SV("Basic realm=\"scopewire\", Bearer realm=\"scopewire\""));
	strbuf_init(&reply.body, 128);
	add_error(&reply.body, is_broadcasting(c), code, message, field);
	send(c, &reply);
}

/* Ends in whole characters: a cut in the midst of one would not be JSON. */
static void trim_utf8(char *text)
{
	size_t n = strlen(text);

	while (n && !sv_is_utf8(sv_n(text, n)))
		n--;
	text[n] = '\0';
}

void sync_fail(struct sync_call *c, unsigned status, const char *code, const char *field,
	       const char *fmt, ...)
{
	char message[MESSAGE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	trim_utf8(message);
	fail_text(c, status, code, field, message);
}

/* ---- what the database said ---------------------------------------------- */

/* SW404 and the like: a function's own refusal, with the status in its SQLSTATE. */
static unsigned own_status(const char *sqlstate)
{
	unsigned status = 0;

	if (strncmp(sqlstate, "SW", 2) == 0)
		status = (unsigned)strtoul(sqlstate + 2, NULL, 10);
	return status >= 400 && status < 600 ? status : 0;
}

static void fail_refused(struct sync_call *c, const struct pg_answer *a)
{
	const char *message = pg_answer_field(a, PG_DIAG_MESSAGE_PRIMARY);
	unsigned status = own_status(a->sqlstate);

	if (status) {
		fail_text(c, status, pg_answer_field(a, PG_DIAG_CONSTRAINT_NAME),
			  pg_answer_field(a, PG_DIAG_COLUMN_NAME), message);
	} else if (strncmp(a->sqlstate, "22", 2) == 0 || strncmp(a->sqlstate, "23", 2) == 0) {
		fail_text(c, 400, "invalid_value", NULL, message);
	} else {
		log_error("sync: %s %s: the database refused with %s: %s", c->route->method,
			  c->route->path, a->sqlstate, message);
		sync_fail(c, 500, "internal", NULL,
			  "The request could not be served; the log of the server says why.");
	}
}

static void fail_unanswered(struct sync_call *c, int rc)
{
	switch (rc) {
	case -EAGAIN:
		sync_fail(c, 503, "busy", NULL, "Too many requests are waiting; try again.");
		break;
	case -EHOSTDOWN:
		sync_fail(c, 503, "database_away", NULL,
			  "The database is away; nothing was changed, try again.");
		break;
	case -ECANCELED:
		sync_fail(c, 503, "stopping", NULL, "The server is stopping; try again.");
		break;
	default:
		sync_fail(c, 503, "database_slow", NULL,
			  "The database did not answer in time; what was asked may still have "
			  "been done.");
	}
}

void sync_reply_answer(struct sync_call *c, const struct pg_answer *a)
{
	struct strbuf body;

	if (a->rc == -EINVAL) {
		fail_refused(c, a);
	} else if (a->rc) {
		fail_unanswered(c, a->rc);
	} else if (PQntuples(a->result) != 1 || PQnfields(a->result) < 2) {
		log_error("sync: %s %s: no answer from its function", c->route->method,
			  c->route->path);
		sync_fail(c, 500, "internal", NULL, "The request could not be served.");
	} else {
		strbuf_init(&body, 0);
		strbuf_add(&body, PQgetvalue(a->result, 0, 1),
			   (size_t)PQgetlength(a->result, 0, 1));
		sync_reply(c, (unsigned)strtoul(pg_answer_text(a, 0, 0), NULL, 10), &body);
	}
}

/* ---- what predicates say --------------------------------------------------- */

void sync_ask_channel(struct sync_call *c, const char *channel, authorize_done *done)
{
	struct authorize_question q = { c->app->id, c->caller.json, channel, c->caller.user_id };

	authorize_check(c->services->authorizer, &q, done, c);
}

void sync_fail_unasked(struct sync_call *c, const struct authorize_answer *a)
{
	if (a->in_predicate && a->failure->rc == -ETIMEDOUT)
		sync_fail(c, 503, "rule_slow", NULL,
			  "The rules of this channel took too long; try again later.");
	else
		sync_reply_answer(c, a->failure);
}

static void on_asked(void *ctx, const struct authorize_answer *a)
{
	struct sync_call *c = ctx;

	if (a->failure) {
		sync_fail_unasked(c, a);
		return;
	}
	strbuf_add_str(&c->asked, a->allowed ? ":true" : ":false");
	sync_run_statement_on(c, c->pool);
}

/* channel: as require_channel() named it, in what the database answered. */
static void ask_for_statement(struct sync_call *c, const char *channel)
{
	if (c->n_asked++ == ASKED_MAX) {
		log_error("sync: %s %s: asks about channels without end", c->route->method,
			  c->route->path);
		sync_fail(c, 500, "internal", NULL, "The request could not be served.");
		return;
	}
	if (c->n_asked > 1)
		strbuf_add_c(&c->asked, ',');
	strbuf_add_json(&c->asked, sv(channel));
	sync_ask_channel(c, channel, on_asked);
}

static void on_answer(void *ctx, const struct pg_answer *a)
{
	struct sync_call *c = ctx;

	if (a->rc == -EINVAL && strcmp(a->sqlstate, SQLSTATE_ASK) == 0)
		ask_for_statement(c, pg_answer_field(a, PG_DIAG_MESSAGE_PRIMARY));
	else
		sync_reply_answer(c, a);
}

/* The caller, with what is known of channels: require_channel() may ask for more.  Heap. */
static char *asking_caller(const struct sync_call *c)
{
	struct strbuf b;
	char *text;

	strbuf_init(&b, strlen(c->caller.json) + c->asked.len + 16);
	strbuf_add_sv(&b, sv_n(c->caller.json, strlen(c->caller.json) - 1));
	strbuf_add_str(&b, ",\"asked\":{");
	strbuf_add_sv(&b, strbuf_view(&c->asked));
	strbuf_add_str(&b, "}}");
	text = strbuf_detach(&b);
	strbuf_release(&b);
	return text;
}

void sync_run_statement(struct sync_call *c)
{
	sync_run_statement_on(c, c->services->pool);
}

void sync_run_statement_on(struct sync_call *c, struct pg_pool *pool)
{
	const struct sync_action *action = c->route->action;
	const char *values[PG_POOL_PARAMS_MAX] = { c->app->id };
	char *caller = asking_caller(c);

	c->pool = pool;
	values[1] = caller;
	for (size_t i = 0; i < action->n_fields; i++)
		values[i + 2] = c->values[i];
	for (unsigned i = 0; i < c->n_extra; i++)
		values[action->n_fields + 2 + i] = c->extra[i];
	pg_pool_query(pool, &action->statement, (int)(action->n_fields + 2 + c->n_extra), values,
		      on_answer, c);
	free(caller);
}

/* ---- finding the action --------------------------------------------------- */

/* A placeholder takes a segment; args has room for CALL_ARGS_MAX. */
static bool match(const char *pattern, struct str_view path, struct str_view *args)
{
	size_t n_args = 0;

	while (*pattern) {
		ptrdiff_t slash;
		size_t n;

		if (*pattern != '{') {
			if (!path.len || path.ptr[0] != *pattern++)
				return false;
			path = sv_skip(path, 1);
			continue;
		}
		slash = sv_find(path, '/');
		n = slash < 0 ? path.len : (size_t)slash;
		if (!n || n_args == CALL_ARGS_MAX)
			return false;
		args[n_args++] = sv_n(path.ptr, n);
		path = sv_skip(path, n);
		pattern += 2;
	}
	return path.len == 0;
}

static bool method_fits(const struct sync_route *route, struct str_view method)
{
	return sv_eq_c(method, route->method) ||
	       (sv_eq(method, SV("HEAD")) && route->method[0] == 'G');
}

/* Adds what the path takes to allow, "GET, HEAD, POST". */
static void add_allowed(char *allow, size_t size, const struct sync_route *route)
{
	size_t n = strlen(allow);

	if (!strstr(allow, route->method))
		snprintf(allow + n, size - n, "%s%s", n ? ", " : "",
			 route->method[0] == 'G' ? "GET, HEAD" : route->method);
}

static const struct sync_route *find(struct str_view method, struct str_view path,
				     struct str_view *args, char *allow, size_t size)
{
	allow[0] = '\0';
	for (size_t i = 0; i < n_sync_routes; i++) {
		if (!match(sync_routes[i].path, path, args))
			continue;
		if (method_fits(&sync_routes[i], method))
			return &sync_routes[i];
		add_allowed(allow, size, &sync_routes[i]);
	}
	return NULL;
}

static void fail_method(struct sync_call *c, const char *allow)
{
	struct reply reply = { .status = 405 };

	reply_add_header(&reply, "Allow", sv(allow));
	strbuf_init(&reply.body, 128);
	strbuf_add_str(&reply.body, "{\"error\":{\"code\":\"method_not_allowed\",\"message\":"
				    "\"This path takes ");
	strbuf_add_str(&reply.body, allow);
	strbuf_add_str(&reply.body, " only.\"}}");
	send(c, &reply);
}

/* ---- the way in ------------------------------------------------------------ */

/* Before a browser sends what a plain form could not, it asks. */
static void answer_preflight(struct sync_call *c, const char *allow)
{
	struct reply reply = { .status = 204 };

	reply_add_header(&reply, "Allow", sv(allow));
	if (allows_origin(c)) {
		reply_add_header(&reply, "Access-Control-Allow-Methods", sv(allow));
		reply_add_header(&reply, "Access-Control-Allow-Headers",
				 SV("Authorization, Content-Type, If-None-Match, Idempotency-Key, "
				    "X-CSRF-TOKEN, X-Requested-With, X-Socket-Id"));
		reply_add_header(&reply, "Access-Control-Max-Age", SV(PREFLIGHT_AGE));
	}
	strbuf_init(&reply.body, 0);
	send(c, &reply);
}

/*
 * The path behind its mount; *signed_app is set for /apps/{id}/sync/.  The mount of /broadcasting
 * stays part of its paths.
 */
static struct str_view behind_mount(struct str_view path, struct str_view *signed_app)
{
	ptrdiff_t slash;

	*signed_app = SV("");
	if (sv_starts_with(path, sv(mounts[0])))
		return sv_skip(path, strlen(mounts[0]));
	if (!sv_starts_with(path, SV("/apps/")))
		return path;
	path = sv_skip(path, 6);
	slash = sv_find(path, '/');
	*signed_app = sv_n(path.ptr, (size_t)slash);
	return sv_skip(path, (size_t)slash + strlen("/sync/"));
}

bool sync_owns_path(struct str_view path)
{
	ptrdiff_t slash;

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++)
		if (sv_starts_with(path, sv(mounts[i])))
			return true;
	if (!sv_starts_with(path, SV("/apps/")))
		return false;
	path = sv_skip(path, 6);
	slash = sv_find(path, '/');
	return slash > 0 && sv_starts_with(sv_skip(path, (size_t)slash), SV("/sync/"));
}

static bool check_right(struct sync_call *c)
{
	if (c->origin && !allows_origin(c))
		sync_fail(c, 403, "origin_not_allowed", NULL,
			  "Pages of this origin may not call: see allowed_origins.");
	else if (!(c->route->rights & c->caller.right))
		sync_fail(c, 403, "forbidden", NULL,
			  c->caller.right == BY_USER
				  ? "Only the application's server may do this."
				  : "Only a user may do this: call with its bearer token.");
	else
		return true;
	return false;
}

static bool check_rate(struct sync_call *c)
{
	bool reads = c->route->method[0] == 'G' || is_broadcasting(c);

	if (reads ? call_app_take_read(c->app) : call_app_take_events(c->app, 1))
		return true;
	sync_fail(c, 429, "rate_limited", NULL, "Too many requests a second; slow down.");
	return false;
}

void sync_handle(struct call *call, struct str_view path)
{
	struct str_view args[CALL_ARGS_MAX], signed_app, rest = behind_mount(path, &signed_app);
	struct sync_call *c = call_new(call);
	char allow[64];

	c->is_signed = signed_app.len > 0;
	c->route = find(c->r->method, rest, args, allow, sizeof(allow));
	if (!c->route && !allow[0]) {
		sync_fail(c, 404, "not_found", NULL, "There is nothing at this path.");
		return;
	}
	if (!c->route && sv_eq(c->r->method, SV("OPTIONS"))) {
		answer_preflight(c, allow);
		return;
	}
	if (!c->route) {
		fail_method(c, allow);
		return;
	}
	if (!sync_identify(c, path, signed_app) || !check_right(c) || !check_rate(c) ||
	    !sync_read_fields(c, args))
		return;
	if (c->route->action->run)
		c->route->action->run(c);
	else
		sync_run_statement(c);
}
