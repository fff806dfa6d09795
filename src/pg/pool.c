/* SPDX-License-Identifier: MIT */
/*
 * Two threads.  The pool's thread owns the links and the jobs, and waits in poll(2) only.  The
 * connector (pg/connector.h) opens connections.  Other threads put jobs into the inbox, under the
 * lock, and wake the pool's thread when the inbox was empty.
 *
 * A job is one segment of a pipeline: [PREPARE] [timeout] statement SYNC.  The server answers in
 * order, so the results up to a SYNC are those of the link's first job.  A link is closed when its
 * connection breaks or its first job gets no answer in time.  Its jobs are then sent on another
 * link if they can be retried, and answered with an error otherwise.
 *
 * A job that cannot have a lock within LOCK_SLICE_MS fails there without having done anything.  It
 * waits for its turn again, until pg_pool_conf.lock_wait_ms have passed: so jobs that are blocked
 * occupy connections in turn with others.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdatomic.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/wake.h"
#include "pg/conn_private.h"
#include "pg/connector.h"
#include "pg/listener.h"
#include "pg/pool.h"

#define LINKS_MAX     32
#define TIMERS_MAX    16
#define DEPTH	      8 /* statements under way on one connection, by default */
#define LOCK_SLICE_MS 50
#define LOCK_TRIES    6 /* at least, because it waits for its turns too */
#define GRACE_US      (2 * USEC_PER_SEC)
#define POLL_MS	      100  /* deadlines are checked this often while a job is open */
#define IDLE_MS	      5000 /* without an open job: whatever happens wakes the thread */

struct pool_job {
	struct turn turn;      /* first: while it waits */
	struct pool_job *next; /* in the inbox, or on a link */
	struct pg_owner owner;
	struct pg_pool *pool;
	const struct pg_statement *st;
	int n;
	char *values[PG_POOL_PARAMS_MAX]; /* into the job's own block, or NULL */
	pg_pool_done *done;
	void *ctx;
	usec_t queued; /* mono */
	usec_t deadline;
	usec_t lock_deadline; /* from the first refusal of a lock on */
	unsigned n_refused;   /* how often one was refused */
	bool is_preparing;    /* the next result is PREPARE's */
	bool is_retry;
	PGresult *result; /* the last one, or the first that failed */
	bool has_failed;
};

struct pool_queue {
	struct pool_job *head, *tail;
	unsigned count;
};

struct pool_link {
	struct pg_connection *conn; /* NULL: no connection */
	struct pool_queue sent;
	/* Statement i is prepared under the name "s" and i.  NULL: the server refused it. */
	const struct pg_statement **prepared;
	size_t n_prepared, cap_prepared;
	bool is_unflushed;
};

struct pool_timer {
	usec_t every, at;
	void (*fn)(void *ctx);
	void *ctx;
	bool is_for_open; /* runs only while a job is open */
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) pool_held {
	char unused;
} pool_held UNUSED;

struct pg_pool {
	struct pg_pool_conf conf;
	pthread_t thread;
	struct pg_connector *connector;
	bool is_running;
	struct wake wake;
	atomic_bool is_stopping;
	atomic_uint n_up;
	atomic_uint n_open; /* jobs not yet answered */

	pthread_mutex_t lock;
	struct pool_queue inbox OWNED_BY(pool_held);
	bool is_closed OWNED_BY(pool_held);

	/* the pool's thread only */
	struct turns turns OWNED_BY(on_pool); /* the jobs that left the inbox */
	usec_t checked_at OWNED_BY(on_pool);  /* mono: when their deadlines were last checked */
	struct pool_link links[LINKS_MAX] OWNED_BY(on_pool);
	struct pool_timer timers[TIMERS_MAX];
	unsigned n_timers;
};

static void pool_lock(struct pg_pool *p) TSA(acquire_capability(pool_held)) NO_TSA
{
	pthread_mutex_lock(&p->lock);
}

static void pool_unlock(struct pg_pool *p) TSA(release_capability(pool_held)) NO_TSA
{
	pthread_mutex_unlock(&p->lock);
}

/* -- jobs -- */

static void pool_queue_put(struct pool_queue *q, struct pool_job *j)
{
	j->next = NULL;
	if (q->tail)
		q->tail->next = j;
	else
		q->head = j;
	q->tail = j;
	q->count++;
}

static struct pool_job *pool_queue_take(struct pool_queue *q)
{
	struct pool_job *j = q->head;

	if (!j)
		return NULL;
	q->head = j->next;
	if (!q->head)
		q->tail = NULL;
	q->count--;
	return j;
}

/* One block: the job, followed by its values. */
static struct pool_job *pool_job_new(const struct pg_call *call)
{
	const char *const *values = call->values;
	int n = call->n;
	size_t room = 0;
	struct pool_job *j;
	char *at;

	for (int i = 0; i < n; i++)
		room += values[i] ? strlen(values[i]) + 1 : 0;
	j = xcalloc(1, sizeof(*j) + room);
	at = (char *)(j + 1);
	j->st = call->statement;
	j->n = n;
	j->owner = call->owner;
	for (int i = 0; i < n; i++) {
		size_t size = values[i] ? strlen(values[i]) + 1 : 0;

		if (!values[i])
			continue;
		memcpy(at, values[i], size);
		j->values[i] = at;
		at += size;
	}
	return j;
}

static const char *pool_job_sqlstate(const struct pool_job *j)
{
	const char *state = j->result ? PQresultErrorField(j->result, PG_DIAG_SQLSTATE) : NULL;

	return state ? state : "";
}

/* Answers and frees the job. */
static void pool_job_end(struct pool_job *j, int rc)
{
	struct pg_answer a = { .rc = rc, .result = j->result, .sqlstate = pool_job_sqlstate(j) };

	atomic_fetch_sub(&j->pool->n_open, 1);
	metric_add_at(METRIC_POOL_WAITING, j->pool->conf.pool, -1);
	j->done(j->ctx, &a);
	PQclear(j->result);
	free(j);
}

static void pool_job_reset(struct pool_job *j)
{
	PQclear(j->result);
	j->result = NULL;
	j->has_failed = false;
}

static bool pool_job_waited_for_lock(const struct pool_job *j, usec_t now)
{
	return j->n_refused >= LOCK_TRIES && now >= j->lock_deadline;
}

static void pool_turn_end(struct turn *t, int rc)
{
	pool_job_end((struct pool_job *)t, rc);
}

/* It waited too long for its turn, or for a lock. */
static void pool_turn_end_late(struct turn *t, int rc)
{
	struct pool_job *j = (struct pool_job *)t;

	pool_job_end(j, j->n_refused ? -EBUSY : rc);
}

static bool pool_turn_is_late(const struct turn *t, usec_t now)
{
	const struct pool_job *j = (const struct pool_job *)t;

	return now >= j->deadline || pool_job_waited_for_lock(j, now);
}

/* Ends a job that is or was on a link. */
RUNS_ON(on_pool) static void pool_end_sent(struct pg_pool *p, struct pool_job *j, int rc)
{
	turns_end(&p->turns, &j->turn);
	pool_job_end(j, rc);
}

RUNS_ON(on_pool) static void pool_end_all_sent(struct pg_pool *p, struct pool_queue *q, int rc)
{
	for (struct pool_job *j = pool_queue_take(q); j; j = pool_queue_take(q))
		pool_end_sent(p, j, rc);
}

/* -- links -- */

RUNS_ON(on_pool) static void pool_notify_gap(struct pg_pool *p)
{
	if (p->conf.on_notify)
		p->conf.on_notify(p->conf.notify_ctx, NULL);
}

RUNS_ON(on_pool) static void pool_adopt(struct pg_pool *p, struct pg_connection *c)
{
	unsigned i = 0;

	while (i < p->conf.connections && p->links[i].conn)
		i++;
	if (i == p->conf.connections || !PQenterPipelineMode(pg_conn_raw(c))) {
		pg_conn_close(c);
		if (i < p->conf.connections)
			pg_connector_request(p->connector, 1);
		return;
	}
	p->links[i].conn = c;
	atomic_fetch_add(&p->n_up, 1);
	metric_add_at(METRIC_POOL_CONNECTIONS, p->conf.pool, 1);
	pool_notify_gap(p);
}

/* Keeps what libpq knows about the end of the link's connection. */
static bool pool_note_lost(struct pool_link *l)
{
	pg_conn_lost(l->conn, 0);
	return false;
}

/* Closes the link; its connection has the cause.  The first job ends with first_rc; jobs that can
 * be retried wait again, in front of the others and in their old order, but only once each. */
RUNS_ON(on_pool)
static void pool_link_lost(struct pg_pool *p, struct pool_link *l, int first_rc)
{
	struct pool_queue sent = l->sent;
	struct pool_job *j, *again = NULL;
	int rc = first_rc;

	log_warn("database pool: %s; connecting again", pg_conn_error(l->conn));
	pg_conn_close(l->conn);
	free(l->prepared);
	*l = (struct pool_link){ .conn = NULL };
	atomic_fetch_sub(&p->n_up, 1);
	metric_add_at(METRIC_POOL_CONNECTIONS, p->conf.pool, -1);
	pool_notify_gap(p);
	pg_connector_request(p->connector, 1);
	while ((j = pool_queue_take(&sent))) {
		if (rc == -ECONNABORTED && j->st->is_repeatable && !j->is_retry) {
			pool_job_reset(j);
			j->is_retry = true;
			j->next = again;
			again = j;
		} else {
			pool_end_sent(p, j, rc);
		}
		rc = -ECONNABORTED;
	}
	for (; (j = again); turns_put_back(&p->turns, &j->turn, true))
		again = j->next;
}

/* -- sending -- */

/* The statement's number on this link; n_prepared: it is not prepared there. */
static size_t pool_statement_number(const struct pool_link *l, const struct pg_statement *st)
{
	size_t i = 0;

	while (i < l->n_prepared && l->prepared[i] != st)
		i++;
	return i;
}

/* False: the connection is lost. */
RUNS_ON(on_pool) static bool pool_send_job(struct pool_link *l, struct pool_job *j)
{
	PGconn *pg = pg_conn_raw(l->conn);
	size_t number = j->st->is_unnamed ? 0 : pool_statement_number(l, j->st);
	char name[24];

	j->is_preparing = !j->st->is_unnamed && number == l->n_prepared;
	if (j->is_preparing) {
		if (l->n_prepared == l->cap_prepared) {
			l->cap_prepared = l->cap_prepared ? 2 * l->cap_prepared : 32;
			l->prepared =
				xreallocarray(l->prepared, l->cap_prepared, sizeof(*l->prepared));
		}
		l->prepared[l->n_prepared++] = j->st;
	}
	snprintf(name, sizeof(name), "s%zu", number);
	if (j->is_preparing && !PQsendPrepare(pg, name, j->st->sql, j->n, NULL))
		return false;
	if (j->st->timeout_ms) {
		static const char sql[] = "SELECT pg_catalog.set_config("
					  "'statement_timeout', $1::pg_catalog.text, true)";
		char ms[12];
		const char *values[] = { ms };

		/* A setting of the transaction, which ends at this job's SYNC. */
		snprintf(ms, sizeof(ms), "%u", j->st->timeout_ms);
		if (!PQsendQueryParams(pg, sql, 1, NULL, values, NULL, NULL, 0))
			return false;
	}
	if (j->st->is_unnamed ? !PQsendQueryParams(pg, j->st->sql, j->n, NULL,
						   (const char *const *)j->values, NULL, NULL, 0)
			      : !PQsendQueryPrepared(pg, name, j->n, (const char *const *)j->values,
						     NULL, NULL, 0))
		return false;
	return PQpipelineSync(pg);
}

RUNS_ON(on_pool) static void pool_send_waiting(struct pg_pool *p)
{
	for (;;) {
		struct pool_link *best = NULL;
		struct pool_job *j;

		/* The link with the fewest statements under way. */
		for (unsigned i = 0; i < p->conf.connections; i++) {
			struct pool_link *l = &p->links[i];

			if (l->conn && l->sent.count < p->conf.depth &&
			    (!best || l->sent.count < best->sent.count))
				best = l;
		}
		j = best ? (struct pool_job *)turns_take(&p->turns) : NULL;
		if (!j)
			break;
		if (pool_job_waited_for_lock(j, clock_mono())) {
			pool_end_sent(p, j, -EBUSY);
			continue;
		}
		if (!j->n_refused)
			metric_observe_at(METRIC_POOL_WAIT_SECONDS, p->conf.pool,
					  clock_mono() - j->queued, 1);
		pool_queue_put(&best->sent, j);
		if (pool_send_job(best, j)) {
			best->is_unflushed = true;
		} else {
			pool_note_lost(best);
			pool_link_lost(p, best, -ECONNABORTED);
		}
	}
	if (atomic_load(&p->n_up) == 0 && pg_connector_is_failing(p->connector))
		turns_expire(&p->turns, NULL, pool_turn_end, -EHOSTDOWN);
	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct pool_link *l = &p->links[i];
		int left;

		if (!l->conn || !l->is_unflushed)
			continue;
		left = PQflush(pg_conn_raw(l->conn));
		l->is_unflushed = left == 1;
		if (left < 0) {
			pool_note_lost(l);
			pool_link_lost(p, l, -ECONNABORTED);
		}
	}
}

/* -- receiving -- */

RUNS_ON(on_pool) static void pool_take_result(struct pool_link *l, struct pool_job *j, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);
	bool is_ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;

	if (j->is_preparing && !is_ok) {
		size_t i = pool_statement_number(l, j->st);

		/* The number stays taken: no name is used twice on a link. */
		if (i < l->n_prepared)
			l->prepared[i] = NULL;
	}
	j->is_preparing = false;
	if (j->has_failed || status == PGRES_PIPELINE_ABORTED) {
		PQclear(r);
		return;
	}
	PQclear(j->result);
	j->result = r;
	j->has_failed = !is_ok;
}

/* False: the job is answered.  Its transaction was rolled back for want of a lock. */
RUNS_ON(on_pool) static bool pool_retry_lock(struct pg_pool *p, struct pool_job *j)
{
	usec_t now = clock_mono();

	if (!p->conf.lock_wait_ms || strcmp(pool_job_sqlstate(j), "55P03") != 0)
		return false;
	if (!j->n_refused++) {
		usec_t tried = (usec_t)p->conf.options.lock_timeout_ms * USEC_PER_MSEC;

		j->lock_deadline = now + p->conf.lock_wait_ms * USEC_PER_MSEC - tried;
	}
	if (pool_job_waited_for_lock(j, now))
		return false;
	pool_job_reset(j);
	turns_put_back(&p->turns, &j->turn, false);
	return true;
}

/* The server reported the fault and will go on with the session: the statement did nothing. */
static bool pool_job_was_refused(const struct pool_job *j)
{
	const char *severity = PQresultErrorField(j->result, PG_DIAG_SEVERITY_NONLOCALIZED);

	return severity && strcmp(severity, "ERROR") == 0;
}

/* At the SYNC after the link's first job; false: the connection is of no more use. */
RUNS_ON(on_pool) static bool pool_finish_first(struct pg_pool *p, struct pool_link *l)
{
	struct pool_job *j = pool_queue_take(&l->sent);
	const char *sqlstate = pool_job_sqlstate(j);
	enum pg_fault fault = j->has_failed ? pg_fault_of(sqlstate) : PG_FINE;
	int rc = -EINVAL;
	bool is_fit;

	/* The PREPARE that came with an earlier job failed: this one has to bring its own. */
	if (j->has_failed && !j->is_retry && strcmp(sqlstate, "26000") == 0) {
		pool_job_reset(j);
		j->is_retry = true;
		turns_put_back(&p->turns, &j->turn, true);
		return true;
	}
	if (fault == PG_BUSY && pool_retry_lock(p, j))
		return true;
	if (!j->has_failed)
		rc = 0;
	else if (fault == PG_BUSY)
		rc = strcmp(sqlstate, "57014") == 0 ? -ETIMEDOUT : -EBUSY;
	else if (fault == PG_LOST)
		rc = pool_job_was_refused(j) ? -EHOSTDOWN : -ECONNABORTED;
	is_fit = fault != PG_LOST;
	if (!is_fit)
		pg_conn_keep_error(l->conn, PQresultErrorMessage(j->result));
	pool_end_sent(p, j, rc);
	return is_fit;
}

/* Reads all that has arrived; false: the connection is lost. */
RUNS_ON(on_pool) static bool pool_receive(struct pg_pool *p, struct pool_link *l)
{
	PGconn *pg = pg_conn_raw(l->conn);

	if (!PQconsumeInput(pg) || PQstatus(pg) != CONNECTION_OK)
		return pool_note_lost(l);
	pg_listener_take(l->conn, p->conf.on_notify, p->conf.notify_ctx);
	while (l->sent.head && !PQisBusy(pg)) {
		PGresult *r = PQgetResult(pg);

		if (!r) {
			if (PQstatus(pg) != CONNECTION_OK)
				return pool_note_lost(l);
			continue;
		}
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			if (!pool_finish_first(p, l))
				return false;
		} else {
			pool_take_result(l, l->sent.head, r);
		}
	}
	pg_listener_take(l->conn, p->conf.on_notify, p->conf.notify_ctx);
	return PQstatus(pg) == CONNECTION_OK || pool_note_lost(l);
}

/* -- the pool's thread -- */

RUNS_ON(on_pool) static void pool_take_inbox(struct pg_pool *p)
{
	struct pool_queue inbox;
	struct pool_job *j;
	struct pg_connection *c;

	while ((c = pg_connector_take(p->connector)))
		pool_adopt(p, c);
	pool_lock(p);
	inbox = p->inbox;
	p->inbox = (struct pool_queue){ NULL, NULL, 0 };
	pool_unlock(p);
	while ((j = pool_queue_take(&inbox)))
		turns_put(&p->turns, &j->turn, j->owner, j->st->takes_locks);
}

static bool pool_timer_counts(const struct pg_pool *p, const struct pool_timer *t)
{
	return !t->is_for_open || atomic_load(&p->n_open) > 0;
}

/* At multiples of their period, so that those of one period share a wake-up. */
RUNS_ON(on_pool) static void pool_run_timers(struct pg_pool *p)
{
	usec_t now = clock_mono();

	for (unsigned i = 0; i < p->n_timers; i++) {
		struct pool_timer *t = &p->timers[i];

		if (now < t->at || !pool_timer_counts(p, t))
			continue;
		t->at = now - now % t->every + t->every;
		t->fn(t->ctx);
	}
}

/* Until the next timer, or the next check of deadlines. */
static int pool_poll_ms(const struct pg_pool *p)
{
	usec_t now = clock_mono();
	usec_t left = (atomic_load(&p->n_open) ? POLL_MS : IDLE_MS) * USEC_PER_MSEC;

	for (unsigned i = 0; i < p->n_timers; i++)
		if (p->timers[i].at - now < left && pool_timer_counts(p, &p->timers[i]))
			left = p->timers[i].at - now;
	return left <= 0 ? 0 : (int)((left + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

RUNS_ON(on_pool) static void pool_wait_and_receive(struct pg_pool *p)
{
	struct pollfd fds[LINKS_MAX + 1] = { { .fd = wake_fd(&p->wake), .events = POLLIN } };

	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct pool_link *l = &p->links[i];

		fds[i + 1].fd = l->conn ? PQsocket(pg_conn_raw(l->conn)) : -1;
		fds[i + 1].events = l->is_unflushed ? POLLIN | POLLOUT : POLLIN;
	}
	if (poll(fds, p->conf.connections + 1, pool_poll_ms(p)) <= 0)
		return;
	if (fds[0].revents)
		wake_drain(&p->wake);
	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct pool_link *l = &p->links[i];

		if (fds[i + 1].revents && l->conn && !pool_receive(p, l))
			pool_link_lost(p, l, -ECONNABORTED);
	}
}

RUNS_ON(on_pool) static void pool_check_deadlines(struct pg_pool *p)
{
	usec_t now = clock_mono();

	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct pool_link *l = &p->links[i];

		if (!l->conn || !l->sent.head || now < l->sent.head->deadline)
			continue;
		pg_conn_lost(l->conn, -ETIMEDOUT);
		pool_link_lost(p, l, -ETIMEDOUT);
	}
	if (now - p->checked_at < POLL_MS * USEC_PER_MSEC)
		return;
	p->checked_at = now;
	turns_expire(&p->turns, pool_turn_is_late, pool_turn_end_late, -EAGAIN);
}

RUNS_ON(on_pool) static void *pool_run(void *arg)
{
	struct pg_pool *p = arg;

	pg_connector_request(p->connector, p->conf.connections);
	while (!atomic_load(&p->is_stopping)) {
		pool_take_inbox(p);
		pool_run_timers(p);
		pool_send_waiting(p);
		pool_wait_and_receive(p);
		pool_check_deadlines(p);
	}
	pool_take_inbox(p);
	for (unsigned i = 0; i < p->conf.connections; i++) {
		pool_end_all_sent(p, &p->links[i].sent, -ECANCELED);
		pg_conn_close(p->links[i].conn);
		free(p->links[i].prepared);
		p->links[i] = (struct pool_link){ .conn = NULL };
	}
	turns_expire(&p->turns, NULL, pool_turn_end, -ECANCELED);
	return NULL;
}

/* -- for other threads -- */

/* No thread of the pool runs yet, or any more. */
static void pool_init_turns(struct pg_pool *p) NO_TSA
{
	turns_init(&p->turns, p->conf.connections);
}

static void pool_release_turns(struct pg_pool *p) NO_TSA
{
	turns_release(&p->turns);
}

struct pg_pool *pg_pool_new(const struct pg_pool_conf *conf)
{
	struct pg_pool *p = xcalloc(1, sizeof(*p));
	struct pg_connector_conf kc = { conf->options, conf->listen, &p->wake };
	unsigned lock_ms = conf->lock_wait_ms;

	p->conf = *conf;
	if (lock_ms)
		kc.options.lock_timeout_ms = p->conf.options.lock_timeout_ms =
			lock_ms < LOCK_SLICE_MS ? lock_ms : LOCK_SLICE_MS;
	if (p->conf.connections > LINKS_MAX)
		p->conf.connections = LINKS_MAX;
	if (!p->conf.depth)
		p->conf.depth = DEPTH;
	pool_init_turns(p);
	p->connector = pg_connector_new(&kc);
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

static struct pool_timer *pool_timer_new(struct pg_pool *p)
{
	static struct pool_timer none;

	if (p->n_timers < TIMERS_MAX)
		return &p->timers[p->n_timers++];
	log_error("database pool: too many timers");
	return &none;
}

void pg_pool_every(struct pg_pool *p, unsigned ms, void (*fn)(void *ctx), void *ctx)
{
	*pool_timer_new(p) =
		(struct pool_timer){ .every = ms * USEC_PER_MSEC, .fn = fn, .ctx = ctx };
}

void pg_pool_while_open(struct pg_pool *p, unsigned ms, void (*fn)(void *ctx), void *ctx)
{
	*pool_timer_new(p) = (struct pool_timer){
		.every = ms * USEC_PER_MSEC, .fn = fn, .ctx = ctx, .is_for_open = true
	};
}

int pg_pool_start(struct pg_pool *p)
{
	int rc = wake_init(&p->wake);

	if (rc == 0)
		rc = pg_connector_start(p->connector);
	if (rc)
		return rc;
	rc = thread_start(&p->thread, "db pool", &on_pool, pool_run, p);
	if (rc)
		pg_connector_stop(p->connector);
	p->is_running = rc == 0;
	return rc;
}

void pg_pool_stop(struct pg_pool *p)
{
	pool_lock(p);
	p->is_closed = true;
	pool_unlock(p);
	if (!p->is_running)
		return;
	p->is_running = false;
	pg_connector_stop(p->connector);
	atomic_store(&p->is_stopping, true);
	wake_signal(&p->wake);
	pthread_join(p->thread, NULL);
}

void pg_pool_free(struct pg_pool *p)
{
	if (!p)
		return;
	pg_pool_stop(p);
	pg_connector_free(p->connector);
	pool_release_turns(p);
	wake_release(&p->wake);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pg_pool_call(struct pg_pool *p, const struct pg_call *call, pg_pool_done *done, void *ctx)
{
	struct pool_job *j = pool_job_new(call);
	unsigned timeout_ms = call->statement->timeout_ms ? call->statement->timeout_ms
							  : p->conf.options.statement_timeout_ms;
	bool was_empty = false;
	int rc = 0;

	j->pool = p;
	j->done = done;
	j->ctx = ctx;
	j->queued = clock_mono();
	j->deadline = j->queued + timeout_ms * USEC_PER_MSEC + GRACE_US;
	metric_add_at(METRIC_POOL_WAITING, p->conf.pool, 1);
	if (atomic_fetch_add(&p->n_open, 1) >= p->conf.max_open) {
		pool_job_end(j, -EAGAIN);
		return;
	}
	pool_lock(p);
	if (p->is_closed) {
		rc = -ECANCELED;
	} else {
		was_empty = p->inbox.count == 0;
		pool_queue_put(&p->inbox, j);
	}
	pool_unlock(p);
	if (rc)
		pool_job_end(j, rc);
	else if (was_empty)
		wake_signal(&p->wake);
}

bool pg_pool_is_up(const struct pg_pool *p)
{
	return atomic_load(&p->n_up) > 0;
}
