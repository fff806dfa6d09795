/* SPDX-License-Identifier: MIT */
/*
 * A job is one statement and all who wait for its answer.  It is in the map while it is under way,
 * by all that decides what it finds except for where it ends: who comes later may want more than
 * it reads, and asks for the rest then.
 *
 * The lock guards the map and the waiters of the jobs in it.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "conf/conninfo.h"
#include "pg/pool.h"
#include "log/reader.h"
#include "wire/pusher.h"

#define OPEN_MAX	 50000 /* statements that wait */
#define HISTORY_OPEN_MAX 64
#define CHUNK_BYTES	 16384
#define COMPLAIN_US	 (10 * USEC_PER_SEC)

struct waiter {
	/* a session, or */
	unsigned worker;
	uint64_t token;
	/* a call */
	void (*done)(void *ctx, int rc);
	void *ctx;
};

struct job {
	struct replay *replay;
	struct strbuf key;
	enum log_ask_kind kind;
	struct app *app; /* counted */
	char *channel;
	uint64_t to;
	unsigned max;
	struct waiter *waiters;
	size_t n, room;
};

struct replay {
	const struct conf_database *conf;
	struct pg_pool *pool, *history;
	struct directory *directory;
	struct log_reader reader;
	_Atomic usec_t complained;
	pthread_mutex_t lock;
	struct map jobs; /* key -> struct job */
};

enum { COL_FAULT, COL_SERIAL, COL_ID, COL_TYPE, COL_PAYLOAD, COL_IS_TEXT, COL_LEFT };

static const struct pg_statement statements[] = {
	[LOG_ASK_EVENTS] = { .sql = "SELECT * FROM replay_page($1, $2, $3::boolean, $4, "
				    "$5::bigint, $6::bigint, $7, $8::integer, $9::integer)",
			     .repeatable = true },
	[LOG_ASK_CACHED] = { .sql = "SELECT * FROM replay_cached($1, $2::boolean, $3, "
				    "$4::integer)",
			     .repeatable = true },
};

/* -- what the log says -- */

/* A row's frame, as it was when it was live. */
static void add_frame(struct strbuf *chunk, struct strbuf *text, const struct job *j,
		      const struct pg_answer *a, int row)
{
	struct frame_event f = { .event = sv(pg_answer_text(a, row, COL_TYPE)),
				 .channel = sv(j->channel),
				 .data = sv(pg_answer_text(a, row, COL_PAYLOAD)),
				 .data_is_json = pg_answer_text(a, row, COL_IS_TEXT)[0] == 't',
				 .id = sv(pg_answer_text(a, row, COL_ID)) };

	f.serial = strtoull(pg_answer_text(a, row, COL_SERIAL), NULL, 10);
	strbuf_reset(text);
	frame_event(text, &f);
	ws_text_frame_add(chunk, strbuf_view(text));
}

static void end_chunk(struct log_page *page, struct strbuf *chunk, unsigned *n)
{
	if (*n)
		log_page_add(page, msgbuf_from(strbuf_view(chunk)), *n);
	strbuf_reset(chunk);
	*n = 0;
}

static void add_frames(struct log_page *page, const struct job *j, const struct pg_answer *a,
		       int rows)
{
	struct strbuf chunk, text;
	unsigned n = 0;

	strbuf_init(&chunk, CHUNK_BYTES + 1024);
	strbuf_init(&text, 1024);
	for (int row = 0; row < rows; row++) {
		add_frame(&chunk, &text, j, a, row);
		n++;
		if (chunk.len >= CHUNK_BYTES)
			end_chunk(page, &chunk, &n);
	}
	end_chunk(page, &chunk, &n);
	strbuf_release(&text);
	strbuf_release(&chunk);
}

static enum log_outcome outcome_of(const char *fault)
{
	static const struct {
		const char *fault;
		enum log_outcome outcome;
	} outcomes[] = {
		{ "expired", LOG_EXPIRED },
		{ "epoch", LOG_OTHER_EPOCH },
		{ "too_many", LOG_TOO_MANY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(outcomes); i++)
		if (strcmp(fault, outcomes[i].fault) == 0)
			return outcomes[i].outcome;
	return LOG_SERVED;
}

static struct log_page *page_of_events(const struct job *j, const struct pg_answer *a)
{
	int rows = pg_answer_rows(a);
	enum log_outcome outcome =
		rows ? outcome_of(pg_answer_text(a, rows - 1, COL_FAULT)) : LOG_SERVED;
	struct log_page *page = log_page_new(outcome);

	if (outcome != LOG_SERVED)
		return page;
	add_frames(page, j, a, rows);
	page->to = (unsigned)rows < j->max
			   ? j->to
			   : strtoull(pg_answer_text(a, rows - 1, COL_SERIAL), NULL, 10);
	return page;
}

/* What the publisher gave: the json text, or the string in it. */
static struct msgbuf *data_of(const struct pg_answer *a)
{
	const char *text = pg_answer_text(a, 0, COL_PAYLOAD);
	json_t *string = NULL;
	struct msgbuf *m;

	if (pg_answer_text(a, 0, COL_IS_TEXT)[0] == 't')
		string = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	m = msgbuf_from(json_is_string(string)
				? sv_n(json_string_value(string), json_string_length(string))
				: sv(text));
	json_decref(string);
	return m;
}

static struct event *event_of(const struct job *j, const struct pg_answer *a)
{
	struct msgbuf *data = data_of(a);
	struct event *e =
		event_new(j->app, sv(j->channel), sv(pg_answer_text(a, 0, COL_TYPE)), data);

	msgbuf_unref(data);
	snprintf(e->id, sizeof(e->id), "%s", pg_answer_text(a, 0, COL_ID));
	e->serial = strtoull(pg_answer_text(a, 0, COL_SERIAL), NULL, 10);
	return e;
}

static struct log_page *page_of_cached(const struct job *j, const struct pg_answer *a)
{
	struct log_page *page = log_page_new(LOG_SERVED);
	usec_t left = 0;

	if (pg_answer_rows(a)) {
		page->cached = event_of(j, a);
		left = strtoll(pg_answer_text(a, 0, COL_LEFT), NULL, 10);
	}
	directory_cache_put(j->replay->directory, j->app, sv(j->channel), page->cached, left);
	return page;
}

static void complain(struct replay *r, const struct pg_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc == -ECANCELED || now - atomic_load(&r->complained) < COMPLAIN_US)
		return;
	atomic_store(&r->complained, now);
	log_warn("replay: the log could not be read (%s): %s", strerror(-a->rc),
		 pg_answer_message(a));
}

static struct log_page *page_of(const struct job *j, const struct pg_answer *a)
{
	if (a->rc) {
		complain(j->replay, a);
		return log_page_new(LOG_UNAVAILABLE);
	}
	return j->kind == LOG_ASK_CACHED ? page_of_cached(j, a) : page_of_events(j, a);
}

/* -- jobs -- */

static void job_free(struct job *j)
{
	app_unref(j->app);
	strbuf_release(&j->key);
	free(j->channel);
	free(j->waiters);
	free(j);
}

static void on_answer(void *ctx, const struct pg_answer *a)
{
	struct job *j = ctx;
	struct log_page *page = page_of(j, a);

	pthread_mutex_lock(&j->replay->lock);
	map_del(&j->replay->jobs, strbuf_view(&j->key));
	pthread_mutex_unlock(&j->replay->lock);
	for (size_t i = 0; i < j->n; i++) {
		struct waiter *w = &j->waiters[i];

		if (w->done)
			w->done(w->ctx, page->outcome == LOG_SERVED ? 0 : -EHOSTDOWN);
		else
			directory_post_page(j->replay->directory, w->worker, w->token,
					    log_page_ref(page));
	}
	log_page_unref(page);
	job_free(j);
}

static void make_key(struct strbuf *key, const struct log_ask *a)
{
	strbuf_init(key, 128);
	strbuf_addf(key, "%d %u %" PRIu64 " %u %u ", (int)a->kind, a->app->runtime->number, a->from,
		    a->max, a->cap);
	strbuf_add_sv(key, a->was);
	strbuf_add_c(key, ' ');
	if (a->epoch)
		strbuf_add_str(key, a->epoch);
	strbuf_add_c(key, ' ');
	strbuf_add_sv(key, a->channel);
}

static struct job *job_new(struct replay *r, const struct log_ask *a)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->replay = r;
	j->kind = a->kind;
	j->app = app_ref(a->app);
	j->channel = sv_dup(a->channel);
	j->to = a->to;
	j->max = a->max;
	make_key(&j->key, a);
	return j;
}

static void add_waiter(struct job *j, const struct waiter *w)
{
	if (j->n == j->room) {
		j->room = j->room ? j->room * 2 : 1;
		j->waiters = xreallocarray(j->waiters, j->room, sizeof(*j->waiters));
	}
	j->waiters[j->n++] = *w;
}

static const char *only_app(void)
{
	struct app_set *apps = apps_current();
	const char *text = app_set_count(apps) == 1 ? "true" : "false";

	app_set_unref(apps);
	return text;
}

static void query_events(struct replay *r, const struct log_ask *a, struct job *j)
{
	char from[24], to[24], max[12], cap[12];
	char *was = a->was.len ? sv_dup(a->was) : NULL;
	const char *values[] = { a->epoch, a->app->id, only_app(), j->channel, from,
				 to,	   was,	       max,	   cap };

	snprintf(from, sizeof(from), "%" PRIu64, a->from);
	snprintf(to, sizeof(to), "%" PRIu64, a->to);
	snprintf(max, sizeof(max), "%u", a->max);
	snprintf(cap, sizeof(cap), "%u", a->cap);
	pg_pool_query(r->pool, &statements[LOG_ASK_EVENTS], ARRAY_SIZE(values), values, on_answer,
		      j);
	free(was);
}

static void query_cached(struct replay *r, const struct log_ask *a, struct job *j)
{
	char ttl[12];
	const char *values[] = { a->app->id, only_app(), j->channel, ttl };

	snprintf(ttl, sizeof(ttl), "%u", a->app->cache_ttl_s);
	pg_pool_query(r->pool, &statements[LOG_ASK_CACHED], ARRAY_SIZE(values), values, on_answer,
		      j);
}

/* Adds to a job that is under way; false: j is it now, and has to be sent. */
static bool join_job(struct replay *r, struct job *j, const struct waiter *w)
{
	struct job *old;

	pthread_mutex_lock(&r->lock);
	old = map_get(&r->jobs, strbuf_view(&j->key));
	add_waiter(old ? old : j, w);
	if (!old)
		map_put(&r->jobs, strbuf_view(&j->key), j);
	pthread_mutex_unlock(&r->lock);
	return old != NULL;
}

static void reader_query(struct replay *r, const struct log_ask *a, const struct waiter *w)
{
	struct job *j = job_new(r, a);

	if (join_job(r, j, w))
		job_free(j);
	else if (a->kind == LOG_ASK_CACHED)
		query_cached(r, a, j);
	else
		query_events(r, a, j);
}

static void reader_ask(void *ctx, const struct log_ask *a)
{
	struct waiter w = { .worker = a->worker, .token = a->token };

	reader_query(ctx, a, &w);
}

void replay_read_cached(struct replay *r, struct app *app, struct str_view channel,
			void (*done)(void *ctx, int rc), void *ctx)
{
	struct log_ask a = { .kind = LOG_ASK_CACHED, .app = app, .channel = channel };
	struct waiter w = { .done = done, .ctx = ctx };

	reader_query(r, &a, &w);
}

/* -- the outside -- */

struct replay *replay_new(const struct conf_database *conf, const char *conninfo)
{
	struct replay *r = xcalloc(1, sizeof(*r));
	struct pg_pool_conf pc = { .options = conf_pg_options(conf, conninfo),
				   .connections = conf->replay_connections,
				   .max_open = OPEN_MAX };

	pc.options.statement_timeout_ms = conf->replay_timeout_ms;
	r->conf = conf;
	r->pool = pg_pool_new(&pc);
	pc.connections = 1;
	pc.max_open = HISTORY_OPEN_MAX;
	r->history = pg_pool_new(&pc);
	r->reader = (struct log_reader){ .ask = reader_ask, .ctx = r };
	atomic_init(&r->complained, -COMPLAIN_US);
	pthread_mutex_init(&r->lock, NULL);
	map_init(&r->jobs);
	return r;
}

int replay_start(struct replay *r, struct directory *d)
{
	int rc;

	r->directory = d;
	rc = pg_pool_start(r->pool);
	return rc ? rc : pg_pool_start(r->history);
}

void replay_stop(struct replay *r)
{
	if (!r)
		return;
	pg_pool_stop(r->history);
	pg_pool_stop(r->pool);
}

void replay_free(struct replay *r)
{
	if (!r)
		return;
	pg_pool_free(r->history);
	pg_pool_free(r->pool);
	map_release(&r->jobs);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct pg_pool *replay_history_pool(struct replay *r)
{
	return r->history;
}

const struct log_reader *replay_reader(const struct replay *r)
{
	return &r->reader;
}
