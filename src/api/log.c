/* SPDX-License-Identifier: MIT */
/*
 * Published events, read from the event log: events.  As pages of JSON, or, with Accept:
 * application/x-ndjson, as one stream with an event a line, which is read page by page.
 *
 * The statements run on a pool of their own: a long search delays no other request.  A stream's
 * pages are requested on the transport's thread and arrive on the pool's.  Each page checks the
 * rights of the caller anew.  A stream that cannot be completed has the error as its last line, and
 * is cut off after it.
 */
#include "base/mem.h"
#include "log/reader.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "api/statement.h"

enum {
	EVENTS_CHANNELS,
	EVENTS_PREFIX,
	EVENTS_EVENT,
	EVENTS_SINCE,
	EVENTS_FROM,
	EVENTS_UNTIL,
	EVENTS_DELIVERED,
	EVENTS_TEXT,
	EVENTS_ORDER,
	EVENTS_LIMIT,
	EVENTS_CURSOR,
	EVENTS_FIELDS
};

static const struct sync_field events_fields[EVENTS_FIELDS] = {
	[EVENTS_CHANNELS] = { .name = "channels", .type = FIELD_STRINGS, .max = 100 },
	[EVENTS_PREFIX] = { .name = "channel_prefix", .type = FIELD_TEXT, .min = 1, .max = 200 },
	[EVENTS_EVENT] = { .name = "event", .type = FIELD_TEXT, .min = 1, .max = 200 },
	[EVENTS_SINCE] = { .name = "since", .type = FIELD_TEXT, .min = 1, .max = POSITION_SIZE },
	[EVENTS_FROM] = { .name = "from", .type = FIELD_TIME },
	[EVENTS_UNTIL] = { .name = "until", .type = FIELD_TIME },
	[EVENTS_DELIVERED] = { .name = "delivered", .type = FIELD_BOOL },
	[EVENTS_TEXT] = { .name = "text", .type = FIELD_TEXT, .min = 1, .max = 200 },
	[EVENTS_ORDER] = { .name = "order",
			   .type = FIELD_CHOICE,
			   .choices = "oldest|newest",
			   .fallback = "oldest" },
	[EVENTS_LIMIT] = { .name = "limit",
			   .type = FIELD_INT,
			   .min = 1,
			   .max = 1000,
			   .fallback = "100" },
	[EVENTS_CURSOR] = { .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 200 },
};

#define PAGE_ROWS "500"
#define NDJSON	  "application/x-ndjson"

/* The same range in one reply, a line an event, read page by page. */
struct events_stream {
	struct reply_stream base; /* first */
	struct sync_call *call;	  /* until the first page has arrived */
	struct pg_pool *pool;
	struct app *app; /* counted */
	struct pg_owner owner;
	char *caller;
	struct verdicts verdicts;
	char *values[EVENTS_FIELDS];
	struct strbuf first; /* the first page, until it is requested */
	bool has_first, is_last;
};

static const struct pg_statement stream_statement = {
	.sql = "SELECT status, body, lines, next FROM sync_events($1::text, $2::jsonb, "
	       "$3::json, $4::text, $5::text, $6::text, $7::timestamptz, $8::timestamptz, "
	       "$9::boolean, $10::text, $11::boolean, $12::integer, $13::text, true)",
	.is_repeatable = true
};

static void stream_set(char **value, const char *text)
{
	free(*value);
	*value = xstrdup(text);
}

static void stream_release(struct reply_stream *base)
{
	struct events_stream *s = (struct events_stream *)base;

	for (size_t i = 0; i < EVENTS_FIELDS; i++)
		free(s->values[i]);
	if (s->has_first)
		strbuf_release(&s->first);
	verdicts_release(&s->verdicts);
	app_unref(s->app);
	free(s->caller);
	free(s);
}

/* A page's lines; false: the statement failed. */
static bool stream_read(struct events_stream *s, const struct pg_answer *a, struct strbuf *lines)
{
	const char *next;

	strbuf_init(lines, 0);
	if (a->rc || pg_answer_rows(a) != 1)
		return false;
	strbuf_add_str(lines, pg_answer_text(a, 0, 2));
	if (lines->len)
		strbuf_add_c(lines, '\n');
	next = pg_answer_text(a, 0, 3);
	s->is_last = !*next;
	if (*next)
		stream_set(&s->values[EVENTS_CURSOR], next);
	return true;
}

/* The first page: nothing was sent yet, so an error is an ordinary reply. */
static void stream_on_first_page(struct events_stream *s, const struct pg_answer *a)
{
	struct sync_call *sc = s->call;

	s->call = NULL;
	s->has_first = true;
	if (stream_read(s, a, &s->first)) {
		sync_reply_stream(sc, &s->base);
	} else {
		statement_reply(sc, a);
		stream_release(&s->base);
	}
}

static void stream_on_page(struct events_stream *s, const struct pg_answer *a)
{
	struct strbuf lines;
	bool ok = stream_read(s, a, &lines);

	if (!ok)
		statement_add_error(&lines, a);
	s->base.part(&s->base, &lines,
		     !ok	  ? STREAM_FAILS
		     : s->is_last ? STREAM_ENDS
				  : STREAM_GOES_ON);
}

static void stream_on_no_verdict(struct events_stream *s, const struct authorize_answer *failure)
{
	struct strbuf line;

	if (s->call) {
		statement_fail_verdict(s->call, failure);
		stream_release(&s->base);
	} else {
		strbuf_init(&line, 128);
		statement_add_verdict_error(&line, failure);
		s->base.part(&s->base, &line, STREAM_FAILS);
	}
}

static void stream_query(struct events_stream *s);

/* On the thread of a pool, like the next. */
static void stream_on_verdicts(void *ctx, const struct authorize_answer *failure)
{
	struct events_stream *s = ctx;

	if (failure)
		stream_on_no_verdict(s, failure);
	else
		stream_query(s);
}

static void stream_on_answer(void *ctx, const struct pg_answer *a)
{
	struct events_stream *s = ctx;

	if (verdicts_are_needed(a))
		verdicts_request(&s->verdicts, a, stream_on_verdicts, s);
	else if (s->call)
		stream_on_first_page(s, a);
	else
		stream_on_page(s, a);
}

static void stream_query(struct events_stream *s)
{
	const char *values[EVENTS_FIELDS + 2] = { s->app->id };
	struct strbuf caller;
	struct pg_call call;

	strbuf_init(&caller, strlen(s->caller) + s->verdicts.known.len + 16);
	verdicts_add_caller(&caller, s->caller, &s->verdicts);
	values[1] = caller.ptr;
	for (size_t i = 0; i < EVENTS_FIELDS; i++)
		values[i + 2] = s->values[i];
	call = (struct pg_call){ &stream_statement, EVENTS_FIELDS + 2, values, s->owner };
	pg_pool_call(s->pool, &call, stream_on_answer, s);
	strbuf_release(&caller);
}

/* On the transport's thread. */
static void stream_next(struct reply_stream *base)
{
	struct events_stream *s = (struct events_stream *)base;

	if (!s->has_first) {
		verdicts_forget(&s->verdicts);
		stream_query(s);
		return;
	}
	s->has_first = false;
	base->part(base, &s->first, s->is_last ? STREAM_ENDS : STREAM_GOES_ON);
}

static void stream_begin(struct sync_call *sc)
{
	struct events_stream *s = xcalloc(1, sizeof(*s));

	s->base.next = stream_next;
	s->base.release = stream_release;
	s->call = sc;
	s->pool = reader_history_pool(sc->call.services->replay);
	s->app = app_ref(sc->call.app);
	s->owner = statement_owner(sc);
	s->caller = xstrdup(sync_caller_json(sc));
	verdicts_init(&s->verdicts);
	s->verdicts.authorizer = sc->call.services->authorizer;
	s->verdicts.question = (struct authorize_question){ .app = s->app,
							    .caller = s->caller,
							    .user = sc->call.caller.user };
	for (size_t i = 0; i < EVENTS_FIELDS; i++)
		s->values[i] = sc->values[i].text ? xstrdup(sc->values[i].text) : NULL;
	stream_set(&s->values[EVENTS_LIMIT], PAGE_ROWS);
	stream_query(s);
}

static bool log_wants_lines(const struct sync_call *sc)
{
	struct str_view accept = sc->call.r->header(sc->call.r, "Accept");

	return accept.len >= sizeof(NDJSON) - 1 &&
	       memmem(accept.ptr, accept.len, NDJSON, sizeof(NDJSON) - 1);
}

/* A user reads as far back as a replay goes. */
static void events_limit_age(struct sync_call *sc)
{
	char **user = &sc->call.caller.user_json;
	struct strbuf b;

	if (!*user)
		return;
	strbuf_init(&b, strlen(*user) + 40);
	strbuf_addf(&b, "{\"replay_age_s\":%u,%s", sc->call.app->limits.max_replay_age_s,
		    *user + 1);
	free(*user);
	*user = strbuf_detach(&b);
	strbuf_release(&b);
}

static void run_events(struct sync_call *sc)
{
	char **order = &sc->values[EVENTS_ORDER].text;

	/* the function's parameter is whether the newest events come first */
	stream_set(order, strcmp(*order, "newest") == 0 ? "true" : "false");
	events_limit_age(sc);
	if (!log_wants_lines(sc))
		statement_run_on(sc, reader_history_pool(sc->call.services->replay));
	else
		stream_begin(sc);
}

struct sync_action sync_events_get = {
	.fields = events_fields,
	.n_fields = EVENTS_FIELDS,
	.function = "sync_events",
	.is_repeatable = true,
	.has_position = true,
	.run = run_events,
};
