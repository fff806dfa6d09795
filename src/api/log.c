/* SPDX-License-Identifier: MIT */
/* What was published, out of the log: events. */
#include "base/mem.h"
#include "api/sync_table.h"
#include "log/reader.h"

static const struct sync_field events_fields[] = {
	{ .name = "channels", .type = FIELD_STRINGS, .max = 100 },
	{ .name = "channel_prefix", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "event", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "since", .type = FIELD_TEXT, .min = 1, .max = POSITION_SIZE },
	{ .name = "from", .type = FIELD_TIME },
	{ .name = "until", .type = FIELD_TIME },
	{ .name = "delivered", .type = FIELD_BOOL },
	{ .name = "text", .type = FIELD_TEXT, .min = 1, .max = 200 },
	{ .name = "order", .type = FIELD_CHOICE, .choices = "oldest|newest", .fallback = "oldest" },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 1000, .fallback = "100" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1, .max = 200 },
};

#define N_FIELDS  ARRAY_SIZE(events_fields)
#define PART_ROWS "500"
#define NDJSON	  "application/x-ndjson"

/* The same range in one answer, a line an event, read from page to page. */
struct events_stream {
	struct reply_stream base; /* first */
	struct sync_call *call;	  /* until the first page is here */
	struct pg_pool *pool;
	struct app *app; /* counted */
	char *caller;
	char *values[N_FIELDS];
	struct strbuf first; /* the first page, until it is asked for */
	bool has_first, is_last;
};

static const struct pg_statement stream_statement = {
	.sql = "SELECT status, body, lines, next FROM sync_events($1, $2, $3, $4, $5, $6, $7, $8, "
	       "$9, $10, $11 = 'newest', $12, $13, true)",
	.repeatable = true
};

static void stream_release(struct reply_stream *base)
{
	struct events_stream *s = (struct events_stream *)base;

	for (size_t i = 0; i < N_FIELDS; i++)
		free(s->values[i]);
	if (s->has_first)
		strbuf_release(&s->first);
	app_unref(s->app);
	free(s->caller);
	free(s);
}

static void set_value(struct events_stream *s, const char *name, const char *value)
{
	size_t i = 0;

	while (strcmp(events_fields[i].name, name) != 0)
		i++;
	free(s->values[i]);
	s->values[i] = xstrdup(value);
}

static void ask_page(struct events_stream *s, pg_pool_done *done)
{
	const char *values[N_FIELDS + 2] = { s->app->id, s->caller };

	for (size_t i = 0; i < N_FIELDS; i++)
		values[i + 2] = s->values[i];
	pg_pool_query(s->pool, &stream_statement, N_FIELDS + 2, values, done, s);
}

/* A page's lines; false: there is none. */
static bool read_page(struct events_stream *s, const struct pg_answer *a, struct strbuf *lines)
{
	const char *next;

	strbuf_init(lines, 0);
	if (a->rc || PQntuples(a->result) != 1)
		return false;
	strbuf_add_str(lines, pg_answer_text(a, 0, 2));
	if (lines->len)
		strbuf_add_c(lines, '\n');
	next = pg_answer_text(a, 0, 3);
	s->is_last = !*next;
	if (*next)
		set_value(s, "cursor", next);
	return true;
}

static void on_page(void *ctx, const struct pg_answer *a)
{
	struct events_stream *s = ctx;
	struct strbuf lines;
	bool ok = read_page(s, a, &lines);

	s->base.part(&s->base, &lines,
		     !ok	  ? STREAM_FAILS
		     : s->is_last ? STREAM_ENDS
				  : STREAM_GOES_ON);
}

static void stream_next(struct reply_stream *base)
{
	struct events_stream *s = (struct events_stream *)base;

	if (!s->has_first) {
		ask_page(s, on_page);
		return;
	}
	s->has_first = false;
	base->part(base, &s->first, s->is_last ? STREAM_ENDS : STREAM_GOES_ON);
}

/* Errors are answered as ever while nothing was sent. */
static void on_first_page(void *ctx, const struct pg_answer *a)
{
	struct events_stream *s = ctx;

	s->has_first = true;
	if (read_page(s, a, &s->first)) {
		sync_reply_stream(s->call, &s->base);
	} else {
		sync_reply_answer(s->call, a);
		stream_release(&s->base);
	}
}

static void begin_stream(struct sync_call *c)
{
	struct events_stream *s = xcalloc(1, sizeof(*s));

	s->base.next = stream_next;
	s->base.release = stream_release;
	s->call = c;
	s->pool = replay_history_pool(c->services->replay);
	s->app = app_ref(c->app);
	s->caller = xstrdup(c->caller.json);
	for (size_t i = 0; i < N_FIELDS; i++)
		s->values[i] = c->values[i] ? xstrdup(c->values[i]) : NULL;
	set_value(s, "limit", PART_ROWS);
	ask_page(s, on_first_page);
}

static bool wants_lines(const struct sync_call *c)
{
	struct str_view accept = c->r->header(c->r, "Accept");

	return accept.len >= sizeof(NDJSON) - 1 &&
	       memmem(accept.ptr, accept.len, NDJSON, sizeof(NDJSON) - 1);
}

/* Long searches keep nobody else waiting: they have a connection of their own. */
static void run_events(struct sync_call *c)
{
	if (!wants_lines(c))
		sync_run_statement_on(c, replay_history_pool(c->services->replay));
	else if (c->r->tls)
		sync_fail(c, 406, "not_over_tls", NULL,
			  "Lines are streamed over plain HTTP only, as behind a proxy: read pages "
			  "of JSON.");
	else
		begin_stream(c);
}

const struct sync_action sync_events_get = {
	.fields = events_fields,
	.n_fields = ARRAY_SIZE(events_fields),
	.statement = { .sql = "SELECT status, body FROM sync_events($1, $2, $3, $4, $5, $6, $7, "
			      "$8, $9, $10, $11 = 'newest', $12, $13)",
		       .repeatable = true },
	.run = run_events,
};
