/* SPDX-License-Identifier: MIT */
/*
 * A job is one statement and all requests that wait for its answer.  While it is under way it is in
 * the map, under everything that decides what it reads except where it ends: a later request may
 * need more than it reads, and requests the rest then.
 *
 * The lock guards the map and the waiters of the jobs in it.  Any thread requests; answers come on
 * the pool's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "conf/conninfo.h"
#include "log/reader.h"
#include "log/row.h"
#include "pg/pool.h"
#include "wire/pusher.h"

#define OPEN_MAX	 50000 /* statements that wait */
#define HISTORY_OPEN_MAX 64
#define CHUNK_BYTES	 16384
#define COMPLAIN_US	 (10 * USEC_PER_SEC)

struct waiter {
	/* a session's worker and token, or */
	unsigned worker;
	uint64_t token;
	/* a callback */
	void (*done)(void *ctx, int rc);
	void *ctx;
};

struct job {
	struct reader *reader;
	struct strbuf key;
	enum log_ask_kind kind;
	struct app *app; /* counted */
	char *channel;
	uint64_t to;
	unsigned max;
	struct waiter *waiters;
	size_t n, room;
};

struct reader {
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
	[LOG_ASK_EVENTS] = { .sql = "SELECT * FROM replay_page($1::text, $2::text, $3::boolean, "
				    "$4::text, "
				    "$5::bigint, $6::bigint, $7::text, $8::integer, $9::integer)",
			     .repeatable = true },
	[LOG_ASK_CACHED] = { .sql = "SELECT * FROM replay_cached($1::text, $2::boolean, $3::text, "
				    "$4::integer)",
			     .repeatable = true },
};

/* -- answers -- */

static void reader_read_row(const struct job *j, const struct pg_answer *a, int row,
			    struct log_row *out)
{
	*out = (struct log_row){
		.serial = (uint64_t)pg_answer_int(a, row, COL_SERIAL),
		.id = pg_answer_view(a, row, COL_ID),
		.channel = sv(j->channel),
		.name = pg_answer_view(a, row, COL_TYPE),
		.payload = pg_answer_view(a, row, COL_PAYLOAD),
		.is_text = pg_answer_bool(a, row, COL_IS_TEXT),
	};
}

/* Frames as they were when the events were live, in chunks of some kilobytes. */
static void reader_add_frames(struct log_page *page, const struct job *j, const struct pg_answer *a,
			      int rows)
{
	struct strbuf chunk, text;
	unsigned n = 0;

	strbuf_init(&chunk, CHUNK_BYTES + 1024);
	strbuf_init(&text, 1024);
	for (int i = 0; i < rows; i++) {
		struct log_row row;

		reader_read_row(j, a, i, &row);
		log_row_add_frame(&row, &chunk, &text);
		n++;
		if (chunk.len >= CHUNK_BYTES || i == rows - 1) {
			log_page_add(page, msgbuf_from(strbuf_view(&chunk)), n);
			strbuf_reset(&chunk);
			n = 0;
		}
	}
	strbuf_release(&text);
	strbuf_release(&chunk);
}

static enum log_outcome reader_outcome(const char *fault)
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

static struct log_page *reader_events_page(const struct job *j, const struct pg_answer *a)
{
	int rows = pg_answer_rows(a);
	enum log_outcome outcome =
		rows ? reader_outcome(pg_answer_text(a, rows - 1, COL_FAULT)) : LOG_SERVED;
	struct log_page *page = log_page_new(outcome);

	if (outcome != LOG_SERVED)
		return page;
	reader_add_frames(page, j, a, rows);
	page->to =
		(unsigned)rows < j->max ? j->to : (uint64_t)pg_answer_int(a, rows - 1, COL_SERIAL);
	return page;
}

static struct log_page *reader_cached_page(const struct job *j, const struct pg_answer *a)
{
	struct log_page *page = log_page_new(LOG_SERVED);
	usec_t left = 0;

	if (pg_answer_rows(a)) {
		struct log_row row;

		reader_read_row(j, a, 0, &row);
		page->cached = log_row_event(&row, j->app, NULL);
		left = pg_answer_int(a, 0, COL_LEFT);
	}
	directory_cache_put(j->reader->directory, j->app, sv(j->channel), page->cached, left);
	return page;
}

/* The log cannot be read: logged once in a while. */
static struct log_page *reader_fault_page(struct reader *r, const struct pg_answer *a)
{
	usec_t now = clock_mono();

	if (a->rc != -ECANCELED && now - atomic_load(&r->complained) >= COMPLAIN_US) {
		atomic_store(&r->complained, now);
		log_warn("replay: the log could not be read (%s): %s", strerror(-a->rc),
			 pg_answer_message(a));
	}
	return log_page_new(LOG_UNAVAILABLE);
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

static void job_on_answer(void *ctx, const struct pg_answer *a)
{
	struct job *j = ctx;
	struct log_page *page = a->rc			    ? reader_fault_page(j->reader, a)
				: j->kind == LOG_ASK_CACHED ? reader_cached_page(j, a)
							    : reader_events_page(j, a);

	pthread_mutex_lock(&j->reader->lock);
	map_del(&j->reader->jobs, strbuf_view(&j->key));
	pthread_mutex_unlock(&j->reader->lock);
	for (size_t i = 0; i < j->n; i++) {
		struct waiter *w = &j->waiters[i];

		if (w->done)
			w->done(w->ctx, page->outcome == LOG_SERVED ? 0 : -EHOSTDOWN);
		else
			directory_post_page(j->reader->directory, w->worker, w->token,
					    log_page_ref(page));
	}
	log_page_unref(page);
	job_free(j);
}

static struct job *job_new(struct reader *r, const struct log_ask *a)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->reader = r;
	j->kind = a->kind;
	j->app = app_ref(a->app);
	j->channel = sv_dup(a->channel);
	j->to = a->to;
	j->max = a->max;
	strbuf_init(&j->key, 128);
	strbuf_addf(&j->key, "%d %u %" PRIu64 " %u %u ", (int)a->kind, a->app->runtime->number,
		    a->from, a->max, a->cap);
	strbuf_add_sv(&j->key, a->was);
	strbuf_add_c(&j->key, ' ');
	if (a->epoch)
		strbuf_add_str(&j->key, a->epoch);
	strbuf_add_c(&j->key, ' ');
	strbuf_add_sv(&j->key, a->channel);
	return j;
}

/* As a parameter: a row that names no application belongs to the only one. */
static const char *reader_is_only_app(void)
{
	struct app_set *apps = apps_current();
	const char *text = app_set_count(apps) == 1 ? "true" : "false";

	app_set_unref(apps);
	return text;
}

static void job_query_events(struct job *j, const struct log_ask *a)
{
	char from[24], to[24], max[12], cap[12];
	char *was = a->was.len ? sv_dup(a->was) : NULL;
	const char *values[] = { a->epoch,   a->app->id, reader_is_only_app(),
				 j->channel, from,	 to,
				 was,	     max,	 cap };

	snprintf(from, sizeof(from), "%" PRIu64, a->from);
	snprintf(to, sizeof(to), "%" PRIu64, a->to);
	snprintf(max, sizeof(max), "%u", a->max);
	snprintf(cap, sizeof(cap), "%u", a->cap);
	pg_pool_query(j->reader->pool, &statements[LOG_ASK_EVENTS], ARRAY_SIZE(values), values,
		      job_on_answer, j);
	free(was);
}

static void job_query_cached(struct job *j, const struct log_ask *a)
{
	char ttl[12];
	const char *values[] = { a->app->id, reader_is_only_app(), j->channel, ttl };

	snprintf(ttl, sizeof(ttl), "%u", a->app->cache_ttl_s);
	pg_pool_query(j->reader->pool, &statements[LOG_ASK_CACHED], ARRAY_SIZE(values), values,
		      job_on_answer, j);
}

/* Adds the request to a job that is under way, or starts one. */
static void reader_request(struct reader *r, const struct log_ask *a, const struct waiter *w)
{
	struct job *j = job_new(r, a), *old, *to;

	pthread_mutex_lock(&r->lock);
	old = map_get(&r->jobs, strbuf_view(&j->key));
	to = old ? old : j;
	if (to->n == to->room) {
		to->room = to->room ? to->room * 2 : 1;
		to->waiters = xreallocarray(to->waiters, to->room, sizeof(*to->waiters));
	}
	to->waiters[to->n++] = *w;
	if (!old)
		map_put(&r->jobs, strbuf_view(&j->key), j);
	pthread_mutex_unlock(&r->lock);
	if (old)
		job_free(j);
	else if (a->kind == LOG_ASK_CACHED)
		job_query_cached(j, a);
	else
		job_query_events(j, a);
}

static void reader_ask(void *ctx, const struct log_ask *a)
{
	const struct waiter w = { .worker = a->worker, .token = a->token };

	reader_request(ctx, a, &w);
}

void reader_read_cached(struct reader *r, struct app *app, struct str_view channel,
			void (*done)(void *ctx, int rc), void *ctx)
{
	const struct log_ask a = { .kind = LOG_ASK_CACHED, .app = app, .channel = channel };
	const struct waiter w = { .done = done, .ctx = ctx };

	reader_request(r, &a, &w);
}

/* -- start and stop -- */

struct reader *reader_new(const struct conf_database *conf, const char *conninfo)
{
	struct reader *r = xcalloc(1, sizeof(*r));
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

int reader_start(struct reader *r, struct directory *d)
{
	int rc;

	r->directory = d;
	rc = pg_pool_start(r->pool);
	return rc ? rc : pg_pool_start(r->history);
}

void reader_stop(struct reader *r)
{
	if (!r)
		return;
	pg_pool_stop(r->history);
	pg_pool_stop(r->pool);
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	pg_pool_free(r->history);
	pg_pool_free(r->pool);
	map_release(&r->jobs);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct pg_pool *reader_history_pool(struct reader *r)
{
	return r->history;
}

const struct log_reader *reader_interface(const struct reader *r)
{
	return &r->reader;
}
