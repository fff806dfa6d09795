/* SPDX-License-Identifier: MIT */
/*
 * A job is one statement and all requests that wait for its answer.  Until its answer it is in the
 * map, under everything that decides what it reads except where it ends: a later request may need
 * more than it reads, and requests the rest then.
 *
 * Only a few jobs are in the pool; the others wait in a queue of their application, and the queues
 * take turns.  Within a queue the oldest job is first.  A session has only a few requests at a time
 * (core/sessions/catch_up_requests.c), so its turn comes after a few jobs of each other session.  A
 * job whose requests were all cancelled is not sent.
 *
 * The lock guards the map, the queues and the waiters of the jobs.  Any thread requests; answers
 * come on the pool's thread.
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
#include "wire/socket_id.h"

#define WAITING_MAX	 50000 /* jobs of one application */
#define SENT_MAX	 2     /* jobs in the pool, for each of its connections */
#define OVERDUE_CHECK_MS 100
#define HISTORY_OPEN_MAX 64
#define CHUNK_BYTES	 16384
#define COMPLAIN_US	 (10 * USEC_PER_SEC)
/* The bus delivers a message within this time, if at all. */
#define FOLLOW_US (10 * USEC_PER_SEC)

struct page_waiter {
	/* a session's worker and token, or */
	unsigned worker;
	uint64_t token;
	/* a callback */
	void (*done)(void *ctx, int rc);
	void *ctx;
	struct log_ticket *ticket; /* counted; NULL: it cannot be cancelled */
};

struct job {
	struct job *next; /* in its queue */
	struct reader *reader;
	usec_t began; /* monotonic */
	struct strbuf key;
	enum log_request_kind kind;
	struct app *app;	     /* counted */
	char *channel, *epoch, *was; /* epoch and was may be NULL */
	uint64_t from, to;
	unsigned max, max_bytes, cap, max_age_s;
	struct page_waiter *waiters;
	size_t n, room;
};

/* The jobs of one application that wait. */
struct reader_queue {
	struct reader_queue *next;
	unsigned app;
	struct job *head, **end;
	unsigned n;
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) reader_held {
	char unused;
} reader_held UNUSED;

struct reader {
	const struct conf_database *conf;
	bool is_cluster;
	struct pg_pool *pool, *history;
	struct directory *directory;
	struct log_reader reader;
	_Atomic usec_t complained;
	pthread_mutex_t lock;
	struct map jobs OWNED_BY(reader_held); /* key -> struct job */
	struct reader_queue *turns OWNED_BY(reader_held),
		**turns_end OWNED_BY(reader_held); /* none is empty; the first is next */
	unsigned n_sent OWNED_BY(reader_held);	   /* jobs in the pool */
	bool is_stopping OWNED_BY(reader_held);
};

static void reader_lock(struct reader *r) TSA(acquire_capability(reader_held)) NO_TSA
{
	pthread_mutex_lock(&r->lock);
}

static void reader_unlock(struct reader *r) TSA(release_capability(reader_held)) NO_TSA
{
	pthread_mutex_unlock(&r->lock);
}

static const struct pg_statement statements[] = {
	[LOG_REQUEST_EVENTS] = { .sql = "SELECT * FROM replay_page($1::text, $2::text, "
					"$3::boolean, "
					"$4::text, $5::bigint, $6::bigint, $7::text, $8::integer, "
					"$9::integer, $10::integer, $11::integer)",
				 .is_repeatable = true },
	[LOG_REQUEST_CACHED] = { .sql = "SELECT * FROM replay_cached($1::text, $2::boolean, "
					"$3::text, "
					"$4::integer)",
				 .is_repeatable = true },
	[LOG_REQUEST_END] = { .sql = "SELECT log_end($1::bigint)", .is_repeatable = true },
};

/* LOG_REQUEST_CACHED in a cluster. */
static const struct pg_statement statement_cluster_cached = {
	.sql = "SELECT * FROM cluster_cached($1::text, $2::boolean, $3::text, $4::integer)",
	.is_repeatable = true
};

/* -- answers -- */

/* Frames as they were when the events were live, in chunks of some kilobytes. */
static void reader_add_frames(struct log_page *page, const struct job *j, const struct pg_answer *a,
			      int rows)
{
	struct strbuf chunk, text;
	unsigned n = 0;

	strbuf_init(&chunk, CHUNK_BYTES + 1024);
	strbuf_init(&text, 1024);
	for (int i = 0; i < rows; i++) {
		size_t offset = chunk.len;
		struct log_row row;
		uint64_t socket;

		log_row_read_replayed(a, i, sv(j->channel), &row);
		row.exclude = pg_answer_view(a, i, LOG_REPLAY_EXCLUDE);
		log_row_add_frame(&row, &chunk, &text);
		if (row.exclude.len && socket_id_parse(row.exclude, &socket))
			log_page_exclude(page, (unsigned)offset, (unsigned)(chunk.len - offset),
					 socket);
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

/* The last row may be no event, but a fault, or the note that more events follow. */
static struct log_page *reader_events_page(const struct job *j, const struct pg_answer *a)
{
	int rows = pg_answer_rows(a);
	const char *fault = rows ? pg_answer_text(a, rows - 1, LOG_REPLAY_FAULT) : "";
	struct log_page *page = log_page_new(reader_outcome(fault));

	if (page->outcome != LOG_SERVED)
		return page;
	rows -= *fault != '\0';
	reader_add_frames(page, j, a, rows);
	page->to = *fault && rows ? (uint64_t)pg_answer_int(a, rows - 1, LOG_REPLAY_SERIAL) : j->to;
	return page;
}

static struct log_page *reader_cached_page(const struct job *j, const struct pg_answer *a)
{
	struct log_page *page = log_page_new(LOG_SERVED);
	struct cache_reading reading = { .began = j->began };
	struct event *e = NULL;

	if (pg_answer_rows(a)) {
		struct log_row row;

		log_row_read_replayed(a, 0, sv(j->channel), &row);
		reading.event = e = log_row_event(&row, j->app, NULL);
		reading.left = pg_answer_int(a, 0, LOG_REPLAY_LEFT);
	}
	if (e && j->reader->is_cluster)
		e->published_at = pg_answer_int(a, 0, LOG_REPLAY_PUBLISHED);
	if (e && !e->serial)
		e->durability = DURABILITY_NONE;
	page->cached = directory_cache_put(j->reader->directory, j->app, sv(j->channel), &reading);
	page->may_follow = e && page->cached == e && j->reader->is_cluster &&
			   j->app->cache_ttl_s * USEC_PER_SEC - reading.left < FOLLOW_US;
	event_unref(e);
	return page;
}

static struct log_page *reader_end_page(const struct pg_answer *a)
{
	struct log_page *page = log_page_new(LOG_SERVED);

	page->to = (uint64_t)pg_answer_int(a, 0, 0);
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
	for (size_t i = 0; i < j->n; i++)
		log_ticket_unref(j->waiters[i].ticket);
	app_unref(j->app);
	strbuf_release(&j->key);
	free(j->channel);
	free(j->epoch);
	free(j->was);
	free(j->waiters);
	free(j);
}

/* No later request joins the job. */
static void reader_forget_locked(struct reader *r, const struct job *j) NEEDS_LOCK(reader_held)
{
	if (map_get(&r->jobs, strbuf_view(&j->key)) == j)
		map_del(&r->jobs, strbuf_view(&j->key));
}

/* Answers all requests of the job and frees it; takes the page. */
static void job_end(struct job *j, struct log_page *page)
{
	struct reader *r = j->reader;

	reader_lock(r);
	reader_forget_locked(r, j);
	reader_unlock(r);
	for (size_t i = 0; i < j->n; i++) {
		struct page_waiter *w = &j->waiters[i];

		if (w->done)
			w->done(w->ctx, page->outcome == LOG_SERVED ? 0 : -EHOSTDOWN);
		else
			directory_post_page(r->directory, w->worker, w->token, log_page_ref(page));
	}
	log_page_unref(page);
	job_free(j);
}

static struct job *job_new(struct reader *r, const struct log_request *a)
{
	struct job *j = xcalloc(1, sizeof(*j));

	j->reader = r;
	j->began = clock_mono();
	j->kind = a->kind;
	j->app = app_ref(a->app);
	j->channel = sv_dup(a->channel);
	j->epoch = a->epoch ? xstrdup(a->epoch) : NULL;
	j->was = a->was.len ? sv_dup(a->was) : NULL;
	j->from = a->from;
	j->to = a->to;
	j->max = a->max;
	j->max_bytes = a->max_bytes;
	j->cap = a->cap;
	j->max_age_s = a->max_age_s;
	strbuf_init(&j->key, 128);
	strbuf_addf(&j->key, "%d %u %" PRIu64 " %u %u %u %u %d ", (int)a->kind,
		    a->app->runtime->number, a->from, a->max, a->max_bytes, a->cap, a->max_age_s,
		    a->from > a->to);
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
	const char *text = app_set_only(apps) ? "true" : "false";

	app_set_unref(apps);
	return text;
}

static void job_query_events(struct job *j, pg_pool_done *done)
{
	char from[24], to[24], max[12], max_bytes[12], cap[12], max_age[12];
	const char *values[] = { j->epoch,   j->app->id, reader_is_only_app(),
				 j->channel, from,	 to,
				 j->was,     max,	 max_bytes,
				 cap,	     max_age };
	struct pg_call call = { .statement = &statements[LOG_REQUEST_EVENTS],
				.n = ARRAY_SIZE(values),
				.values = values };

	snprintf(from, sizeof(from), "%" PRIu64, j->from);
	snprintf(to, sizeof(to), "%" PRIu64, j->to);
	snprintf(max, sizeof(max), "%u", j->max);
	snprintf(max_bytes, sizeof(max_bytes), "%u", j->max_bytes);
	snprintf(cap, sizeof(cap), "%u", j->cap);
	snprintf(max_age, sizeof(max_age), "%u", j->max_age_s);
	pg_pool_call(j->reader->pool, &call, done, j);
}

static void job_query_cached(struct job *j, pg_pool_done *done)
{
	char ttl[12];
	const char *values[] = { j->app->id, reader_is_only_app(), j->channel, ttl };
	struct pg_call call = { .statement = j->reader->is_cluster
						     ? &statement_cluster_cached
						     : &statements[LOG_REQUEST_CACHED],
				.n = ARRAY_SIZE(values),
				.values = values };

	snprintf(ttl, sizeof(ttl), "%u", j->app->cache_ttl_s);
	pg_pool_call(j->reader->pool, &call, done, j);
}

/* Only what this node has not reached is looked at. */
static void job_query_end(struct job *j, pg_pool_done *done)
{
	struct position now;
	char above[24];
	const char *values[] = { above };
	struct pg_call call = { .statement = &statements[LOG_REQUEST_END],
				.n = ARRAY_SIZE(values),
				.values = values };

	directory_position(j->reader->directory, &now);
	snprintf(above, sizeof(above), "%" PRIu64, now.serial);
	pg_pool_call(j->reader->pool, &call, done, j);
}

/* -- the queues -- */

static void reader_queue_put_locked(struct reader *r, struct job *j) NEEDS_LOCK(reader_held)
{
	struct reader_queue *q = r->turns;

	while (q && q->app != j->app->runtime->number)
		q = q->next;
	if (!q) {
		q = xcalloc(1, sizeof(*q));
		q->app = j->app->runtime->number;
		q->end = &q->head;
		*r->turns_end = q;
		r->turns_end = &q->next;
	}
	*q->end = j;
	q->end = &j->next;
	q->n++;
}

static unsigned reader_queue_length_locked(const struct reader *r, unsigned app)
	NEEDS_LOCK(reader_held)
{
	const struct reader_queue *q = r->turns;

	while (q && q->app != app)
		q = q->next;
	return q ? q->n : 0;
}

/* The first job of the application whose turn it is, or NULL. */
static struct job *reader_queue_take_locked(struct reader *r) NEEDS_LOCK(reader_held)
{
	struct reader_queue *q = r->turns;
	struct job *j;

	if (!q)
		return NULL;
	r->turns = q->next;
	if (!r->turns)
		r->turns_end = &r->turns;
	j = q->head;
	q->head = j->next;
	j->next = NULL;
	if (--q->n == 0) {
		free(q);
		return j;
	}
	q->next = NULL;
	*r->turns_end = q;
	r->turns_end = &q->next;
	return j;
}

static bool job_is_wanted(const struct job *j)
{
	for (size_t i = 0; i < j->n; i++)
		if (!j->waiters[i].ticket || !atomic_load(&j->waiters[i].ticket->is_cancelled))
			return true;
	return false;
}

/* -- sending -- */

static void reader_send(struct reader *r);

static void job_on_answer(void *ctx, const struct pg_answer *a)
{
	struct job *j = ctx;
	struct reader *r = j->reader;

	job_end(j, a->rc			   ? reader_fault_page(r, a)
		   : j->kind == LOG_REQUEST_CACHED ? reader_cached_page(j, a)
		   : j->kind == LOG_REQUEST_END	   ? reader_end_page(a)
						   : reader_events_page(j, a));
	reader_lock(r);
	r->n_sent--;
	reader_unlock(r);
	reader_send(r);
}

/* Sends the jobs whose turn it is, while the pool has room. */
static void reader_send(struct reader *r)
{
	for (;;) {
		struct job *j = NULL;
		bool is_wanted = false;

		reader_lock(r);
		if (r->is_stopping || r->n_sent < r->conf->replay_connections * SENT_MAX)
			j = reader_queue_take_locked(r);
		if (j) {
			is_wanted = !r->is_stopping && job_is_wanted(j);
			/* A later request must see what was committed before it. */
			if (!is_wanted || j->kind == LOG_REQUEST_END ||
			    (j->kind == LOG_REQUEST_CACHED && r->is_cluster))
				reader_forget_locked(r, j);
		}
		r->n_sent += is_wanted;
		reader_unlock(r);
		if (!j)
			return;
		if (!is_wanted)
			job_end(j, log_page_new(LOG_UNAVAILABLE));
		else if (j->kind == LOG_REQUEST_CACHED)
			job_query_cached(j, job_on_answer);
		else if (j->kind == LOG_REQUEST_END)
			job_query_end(j, job_on_answer);
		else
			job_query_events(j, job_on_answer);
	}
}

/* Answers the jobs that have waited too long.  On the pool's thread, now and then. */
static void reader_end_overdue(void *ctx)
{
	struct reader *r = ctx;
	usec_t before = clock_mono() - r->conf->replay_timeout_ms * USEC_PER_MSEC;
	struct job *overdue = NULL, **end = &overdue, *j;

	reader_lock(r);
	for (struct reader_queue **at = &r->turns; *at;) {
		struct reader_queue *q = *at;

		while (q->head && q->head->began < before) {
			j = q->head;
			q->head = j->next;
			q->n--;
			j->next = NULL;
			*end = j;
			end = &j->next;
			reader_forget_locked(r, j);
		}
		if (q->head) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		if (!q->next)
			r->turns_end = at;
		free(q);
	}
	reader_unlock(r);
	while ((j = overdue)) {
		overdue = j->next;
		job_end(j, log_page_new(LOG_UNAVAILABLE));
	}
}

/* Adds the request to a job that has no answer yet, or makes one; false: too many wait. */
static bool reader_request(struct reader *r, const struct log_request *a,
			   const struct page_waiter *w)
{
	struct job *j = job_new(r, a), *old, *to;

	reader_lock(r);
	old = map_get(&r->jobs, strbuf_view(&j->key));
	if (!old && reader_queue_length_locked(r, a->app->runtime->number) >= WAITING_MAX) {
		reader_unlock(r);
		job_free(j);
		return false;
	}
	to = old ? old : j;
	if (to->n == to->room) {
		to->room = to->room ? to->room * 2 : 1;
		to->waiters = xreallocarray(to->waiters, to->room, sizeof(*to->waiters));
	}
	to->waiters[to->n++] = *w;
	if (w->ticket)
		log_ticket_ref(w->ticket);
	if (!old) {
		map_put(&r->jobs, strbuf_view(&j->key), j);
		reader_queue_put_locked(r, j);
	}
	reader_unlock(r);
	if (old)
		job_free(j);
	else
		reader_send(r);
	return true;
}

static void reader_query(void *ctx, const struct log_request *a)
{
	const struct page_waiter w = { .worker = a->worker,
				       .token = a->token,
				       .ticket = a->ticket };
	struct reader *r = ctx;

	if (!reader_request(r, a, &w))
		directory_post_page(r->directory, a->worker, a->token,
				    log_page_new(LOG_UNAVAILABLE));
}

void reader_read_cached(struct reader *r, struct app *app, struct str_view channel,
			void (*done)(void *ctx, int rc), void *ctx)
{
	const struct log_request a = { .kind = LOG_REQUEST_CACHED, .app = app, .channel = channel };
	const struct page_waiter w = { .done = done, .ctx = ctx };

	if (!reader_request(r, &a, &w))
		done(ctx, -EHOSTDOWN);
}

/* -- start and stop -- */

struct reader *reader_new(const struct conf_database *conf, const char *conninfo,
			  bool is_cluster) NO_TSA /* before other threads have it */
{
	struct reader *r = xcalloc(1, sizeof(*r));
	struct pg_pool_conf pc = { .options = conf_pg_options(conf, conninfo),
				   .pool = POOL_REPLAY,
				   .connections = conf->replay_connections,
				   .max_open = conf->replay_connections * SENT_MAX };

	pc.options.statement_timeout_ms = conf->replay_timeout_ms;
	r->conf = conf;
	r->is_cluster = is_cluster;
	r->pool = pg_pool_new(&pc);
	/* While a job waits here, others are open in the pool. */
	pg_pool_while_open(r->pool, OVERDUE_CHECK_MS, reader_end_overdue, r);
	pc.pool = POOL_HISTORY;
	pc.connections = 1;
	pc.max_open = HISTORY_OPEN_MAX;
	r->history = pg_pool_new(&pc);
	r->reader = (struct log_reader){ .request = reader_query, .ctx = r };
	atomic_init(&r->complained, -COMPLAIN_US);
	pthread_mutex_init(&r->lock, NULL);
	map_init(&r->jobs);
	r->turns_end = &r->turns;
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
	reader_lock(r);
	r->is_stopping = true;
	reader_unlock(r);
	pg_pool_stop(r->history);
	pg_pool_stop(r->pool);
	reader_send(r); /* answers those that wait */
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
