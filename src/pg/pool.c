/* SPDX-License-Identifier: MIT */
/*
 * Two threads.  The pool's thread owns the links and the jobs that were sent; it waits in poll(2)
 * only.  The connector opens connections, which blocks, and hands them over.  Between them and the
 * askers stand one mutex (inbox, fresh, missing) and an eventfd each.
 *
 * A job is one segment of a pipeline: [PREPARE] [timeout] statement SYNC.  The server answers in
 * order, so the answers up to a SYNC are those of the first job of its link.  A link that breaks,
 * or whose first job gets no answer in time, is closed; its jobs are sent again elsewhere when
 * they may be, and answered otherwise.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "pg/conn.h"
#include "pg/pool.h"

#define LINKS_MAX      32
#define TIMERS_MAX     16
#define DEPTH	       8 /* statements on their way on one connection, where nobody says */
#define GRACE_US       (2 * USEC_PER_SEC)
#define POLL_MS	       100  /* deadlines are looked at this often while anything is asked */
#define IDLE_MS	       5000 /* else everything that matters wakes us */
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000

struct job {
	struct job *next;
	struct pg_pool *pool;
	const struct pg_statement *st;
	int n;
	char *values[PG_POOL_PARAMS_MAX]; /* into the job's own block, or NULL */
	pg_pool_done *done;
	void *ctx;
	usec_t deadline;
	bool preparing; /* the next result is PREPARE's */
	bool is_repeat;
	PGresult *result; /* the last one, or the first that failed */
	bool failed;
};

struct queue {
	struct job *head, *tail;
	unsigned count;
};

struct link {
	struct pg_conn *conn; /* NULL: not there */
	struct queue sent;
	const struct pg_statement **prepared;
	size_t n_prepared, cap_prepared;
	bool unflushed;
};

struct timer {
	usec_t every, at;
	void (*fn)(void *ctx);
	void *ctx;
};

struct pg_pool {
	struct pg_pool_conf conf;
	pthread_t thread, connector;
	bool is_running;
	int wake_fd, connector_fd;
	atomic_bool is_stopping;
	atomic_uint n_up;
	atomic_uint n_open;  /* asked and not yet answered */
	atomic_bool is_away; /* the last try to connect failed, and no link is up */

	pthread_mutex_t lock;
	struct queue inbox;		  /* lock */
	struct pg_conn *fresh[LINKS_MAX]; /* lock */
	unsigned n_fresh;		  /* lock */
	unsigned missing;		  /* lock: links without a connection, asked for */
	bool is_closed;			  /* lock */

	/* the pool's thread only */
	struct queue waiting;
	struct link links[LINKS_MAX];
	struct timer timers[TIMERS_MAX];
	unsigned n_timers;
};

static void wake(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		log_debug("database pool: a wake-up was lost");
}

static void drain_wake(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) > 0)
		;
}

/* -- jobs -- */

static void queue_put(struct queue *q, struct job *j)
{
	j->next = NULL;
	if (q->tail)
		q->tail->next = j;
	else
		q->head = j;
	q->tail = j;
	q->count++;
}

static struct job *queue_take(struct queue *q)
{
	struct job *j = q->head;

	if (!j)
		return NULL;
	q->head = j->next;
	if (!q->head)
		q->tail = NULL;
	q->count--;
	return j;
}

/* One block: the job and behind it its values. */
static struct job *job_new(const struct pg_statement *st, int n, const char *const *values)
{
	size_t room = 0;
	struct job *j;
	char *at;

	for (int i = 0; i < n; i++)
		room += values[i] ? strlen(values[i]) + 1 : 0;
	j = xcalloc(1, sizeof(*j) + room);
	at = (char *)(j + 1);
	j->st = st;
	j->n = n;
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

static usec_t job_patience(const struct pg_pool *p, const struct pg_statement *st)
{
	unsigned ms = st->timeout_ms ? st->timeout_ms : p->conf.statement_timeout_ms;

	return ms * USEC_PER_MSEC + GRACE_US;
}

static const char *job_state(const struct job *j)
{
	const char *state = j->result ? PQresultErrorField(j->result, PG_DIAG_SQLSTATE) : NULL;

	return state ? state : "";
}

/* Answers and frees. */
static void job_end(struct job *j, int rc)
{
	struct pg_answer a = { .rc = rc, .result = j->result, .sqlstate = job_state(j) };

	atomic_fetch_sub(&j->pool->n_open, 1);
	j->done(j->ctx, &a);
	PQclear(j->result);
	free(j);
}

/* As it came, for its second and last time. */
static void job_again(struct queue *q, struct job *j)
{
	PQclear(j->result);
	j->result = NULL;
	j->failed = false;
	j->is_repeat = true;
	queue_put(q, j);
}

/* What the server's refusal means to the asker. */
static int refusal(const struct job *j)
{
	switch (pg_fault_of(job_state(j))) {
	case PG_BUSY:
		return -ETIMEDOUT;
	case PG_LOST:
		return -ECONNABORTED;
	default:
		return -EINVAL;
	}
}

/* -- sending -- */

/* The statement's number on this link; n_prepared when it is not there yet. */
static size_t statement_number(const struct link *l, const struct pg_statement *st)
{
	size_t i = 0;

	while (i < l->n_prepared && l->prepared[i] != st)
		i++;
	return i;
}

static size_t add_statement(struct link *l, const struct pg_statement *st)
{
	if (l->n_prepared == l->cap_prepared) {
		l->cap_prepared = l->cap_prepared ? 2 * l->cap_prepared : 32;
		l->prepared = xrealloc(l->prepared, l->cap_prepared * sizeof(*l->prepared));
	}
	l->prepared[l->n_prepared] = st;
	return l->n_prepared++;
}

/* The server's clock for one statement starts when the one before it is done. */
static bool send_timeout(PGconn *pg, unsigned ms)
{
	char text[12];
	const char *values[] = { text };

	snprintf(text, sizeof(text), "%u", ms);
	return PQsendQueryParams(pg, "SELECT set_config('statement_timeout', $1, true)", 1, NULL,
				 values, NULL, NULL, 0);
}

static bool send_job(struct link *l, struct job *j)
{
	PGconn *pg = pg_conn_raw(l->conn);
	size_t number = statement_number(l, j->st);
	char name[24];

	j->preparing = number == l->n_prepared;
	if (j->preparing)
		number = add_statement(l, j->st);
	snprintf(name, sizeof(name), "s%zu", number);
	return (!j->preparing || PQsendPrepare(pg, name, j->st->sql, j->n, NULL)) &&
	       (!j->st->timeout_ms || send_timeout(pg, j->st->timeout_ms)) &&
	       PQsendQueryPrepared(pg, name, j->n, (const char *const *)j->values, NULL, NULL, 0) &&
	       PQpipelineSync(pg);
}

/* The link with the fewest statements on their way, if one has room. */
static struct link *choose(struct pg_pool *p)
{
	struct link *best = NULL;

	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct link *l = &p->links[i];

		if (l->conn && l->sent.count < p->conf.depth &&
		    (!best || l->sent.count < best->sent.count))
			best = l;
	}
	return best;
}

/* -- notifications -- */

static void tell(struct pg_pool *p, const char *payload)
{
	if (p->conf.listen)
		p->conf.on_notify(p->conf.notify_ctx, payload);
}

static void take_notifies(struct pg_pool *p, PGconn *pg)
{
	PGnotify *n;

	while ((n = PQnotifies(pg))) {
		tell(p, n->extra);
		PQfreemem(n);
	}
}

/* -- links -- */

static void ask_connector(struct pg_pool *p, unsigned n)
{
	pthread_mutex_lock(&p->lock);
	p->missing += n;
	pthread_mutex_unlock(&p->lock);
	wake(p->connector_fd);
}

/* Sent again, once, what may be; in front of those that wait, in its old order. */
static void put_back(struct pg_pool *p, struct queue *again)
{
	if (!again->head)
		return;
	again->tail->next = p->waiting.head;
	if (!p->waiting.tail)
		p->waiting.tail = again->tail;
	p->waiting.head = again->head;
	p->waiting.count += again->count;
}

static void link_lost(struct pg_pool *p, struct link *l, int first_rc)
{
	struct queue sent = l->sent, again = { NULL, NULL, 0 };
	struct job *j;
	int rc = first_rc;

	log_warn("database pool: %s; connecting again", pg_conn_error(l->conn));
	pg_conn_close(l->conn);
	free(l->prepared);
	*l = (struct link){ .conn = NULL };
	atomic_fetch_sub(&p->n_up, 1);
	tell(p, NULL);
	ask_connector(p, 1);
	while ((j = queue_take(&sent))) {
		if (rc == -ECONNABORTED && j->st->repeatable && !j->is_repeat) {
			job_again(&again, j);
		} else {
			job_end(j, rc);
		}
		rc = -ECONNABORTED;
	}
	put_back(p, &again);
}

static void adopt(struct pg_pool *p, struct pg_conn *c)
{
	for (unsigned i = 0; i < p->conf.connections; i++) {
		if (p->links[i].conn)
			continue;
		if (!PQenterPipelineMode(pg_conn_raw(c)))
			break;
		p->links[i].conn = c;
		atomic_fetch_add(&p->n_up, 1);
		tell(p, NULL);
		return;
	}
	pg_conn_close(c);
}

/* -- receiving -- */

static void forget_statement(struct link *l, const struct pg_statement *st)
{
	size_t i = statement_number(l, st);

	/* the number stays taken: names are never used twice on a link */
	if (i < l->n_prepared)
		l->prepared[i] = NULL;
}

static void take_result(struct link *l, struct job *j, PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);
	bool ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;

	if (j->preparing && !ok)
		forget_statement(l, j->st);
	j->preparing = false;
	if (j->failed || status == PGRES_PIPELINE_ABORTED) {
		PQclear(r);
		return;
	}
	PQclear(j->result);
	j->result = r;
	j->failed = !ok;
}

/* It followed one whose PREPARE failed: it has to bring its own. */
static bool lacks_statement(const struct job *j)
{
	return j->failed && !j->is_repeat && strcmp(job_state(j), "26000") == 0;
}

/* At the SYNC behind the link's first job. */
static void finish_first(struct pg_pool *p, struct link *l)
{
	struct job *j = queue_take(&l->sent);

	if (lacks_statement(j))
		job_again(&p->waiting, j);
	else
		job_end(j, j->failed ? refusal(j) : 0);
}

/* All that has come; false: the link is lost. */
static bool receive(struct pg_pool *p, struct link *l)
{
	PGconn *pg = pg_conn_raw(l->conn);

	if (!PQconsumeInput(pg) || PQstatus(pg) != CONNECTION_OK)
		return false;
	take_notifies(p, pg);
	while (l->sent.head && !PQisBusy(pg)) {
		PGresult *r = PQgetResult(pg);

		if (!r) {
			if (PQstatus(pg) != CONNECTION_OK)
				return false;
			continue;
		}
		if (PQresultStatus(r) == PGRES_PIPELINE_SYNC) {
			PQclear(r);
			finish_first(p, l);
		} else {
			take_result(l, l->sent.head, r);
		}
	}
	take_notifies(p, pg);
	return PQstatus(pg) == CONNECTION_OK;
}

/* -- the pool's thread -- */

static void take_mail(struct pg_pool *p)
{
	struct pg_conn *fresh[LINKS_MAX];
	struct queue inbox;
	unsigned n;

	pthread_mutex_lock(&p->lock);
	inbox = p->inbox;
	p->inbox = (struct queue){ NULL, NULL, 0 };
	n = p->n_fresh;
	memcpy(fresh, p->fresh, n * sizeof(*fresh));
	p->n_fresh = 0;
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < n; i++)
		adopt(p, fresh[i]);
	for (struct job *j = queue_take(&inbox); j; j = queue_take(&inbox))
		queue_put(&p->waiting, j);
}

static void send_waiting(struct pg_pool *p)
{
	struct link *l;

	while (p->waiting.head && (l = choose(p))) {
		struct job *j = queue_take(&p->waiting);

		queue_put(&l->sent, j);
		if (send_job(l, j))
			l->unflushed = true;
		else
			link_lost(p, l, -ECONNABORTED);
	}
	if (atomic_load(&p->n_up) == 0 && atomic_load(&p->is_away))
		for (struct job *j = queue_take(&p->waiting); j; j = queue_take(&p->waiting))
			job_end(j, -EHOSTDOWN);
}

static void flush(struct pg_pool *p)
{
	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct link *l = &p->links[i];
		int left;

		if (!l->conn || !l->unflushed)
			continue;
		left = PQflush(pg_conn_raw(l->conn));
		l->unflushed = left == 1;
		if (left < 0)
			link_lost(p, l, -ECONNABORTED);
	}
}

static void check_deadlines(struct pg_pool *p)
{
	usec_t now = clock_mono();

	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct link *l = &p->links[i];

		if (l->conn && l->sent.head && now >= l->sent.head->deadline)
			link_lost(p, l, -ETIMEDOUT);
	}
	while (p->waiting.head && now >= p->waiting.head->deadline)
		job_end(queue_take(&p->waiting), -ETIMEDOUT);
}

static void run_timers(struct pg_pool *p)
{
	usec_t now = clock_mono();

	for (unsigned i = 0; i < p->n_timers; i++) {
		if (now < p->timers[i].at)
			continue;
		p->timers[i].at = now + p->timers[i].every;
		p->timers[i].fn(p->timers[i].ctx);
	}
}

/* Until something comes, or the next timer, or deadlines want a look. */
static int rest_ms(const struct pg_pool *p)
{
	usec_t now = clock_mono();
	usec_t left = (atomic_load(&p->n_open) ? POLL_MS : IDLE_MS) * USEC_PER_MSEC;

	for (unsigned i = 0; i < p->n_timers; i++)
		if (p->timers[i].at - now < left)
			left = p->timers[i].at - now;
	return left <= 0 ? 0 : (int)((left + USEC_PER_MSEC - 1) / USEC_PER_MSEC);
}

static void wait_and_receive(struct pg_pool *p)
{
	struct pollfd fds[LINKS_MAX + 1] = { { .fd = p->wake_fd, .events = POLLIN } };

	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct link *l = &p->links[i];

		fds[i + 1].fd = l->conn ? PQsocket(pg_conn_raw(l->conn)) : -1;
		fds[i + 1].events = l->unflushed ? POLLIN | POLLOUT : POLLIN;
	}
	if (poll(fds, p->conf.connections + 1, rest_ms(p)) <= 0)
		return;
	if (fds[0].revents)
		drain_wake(p->wake_fd);
	for (unsigned i = 0; i < p->conf.connections; i++) {
		struct link *l = &p->links[i];

		if (fds[i + 1].revents && l->conn && !receive(p, l))
			link_lost(p, l, -ECONNABORTED);
	}
}

static void *run(void *arg)
{
	struct pg_pool *p = arg;

	ask_connector(p, p->conf.connections);
	while (!atomic_load(&p->is_stopping)) {
		take_mail(p);
		run_timers(p);
		send_waiting(p);
		flush(p);
		wait_and_receive(p);
		check_deadlines(p);
	}
	return NULL;
}

/* -- the connector's thread -- */

static int tick(void *ctx)
{
	struct pg_pool *p = ctx;

	return atomic_load(&p->is_stopping);
}

static bool is_missing(struct pg_pool *p)
{
	bool missing;

	pthread_mutex_lock(&p->lock);
	missing = p->missing > 0;
	pthread_mutex_unlock(&p->lock);
	return missing;
}

static void hand_over(struct pg_pool *p, struct pg_conn *c)
{
	pthread_mutex_lock(&p->lock);
	p->fresh[p->n_fresh++] = c;
	p->missing--;
	pthread_mutex_unlock(&p->lock);
	wake(p->wake_fd);
}

/* One more connection, listening if it is to; NULL: not now. */
static struct pg_conn *connect_one(struct pg_pool *p, const struct pg_options *o)
{
	struct pg_conn *c = NULL;
	char sql[80];

	if (pg_conn_open(o, &c, NULL))
		return NULL;
	if (!p->conf.listen)
		return c;
	snprintf(sql, sizeof(sql), "LISTEN %s", p->conf.listen);
	if (pg_conn_script(c, clock_mono() + o->connect_timeout_ms * USEC_PER_MSEC, sql) == PG_FINE)
		return c;
	pg_conn_close(c);
	return NULL;
}

static void *connect_all(void *arg)
{
	struct pg_pool *p = arg;
	unsigned backoff_ms = BACKOFF_MIN_MS;
	struct pg_options o = {
		.conninfo = p->conf.conninfo,
		.password = p->conf.password,
		.schema = p->conf.schema,
		.connect_timeout_ms = p->conf.connect_timeout_ms,
		.statement_timeout_ms = p->conf.statement_timeout_ms,
		.tick = tick,
		.ctx = p,
	};

	while (!atomic_load(&p->is_stopping)) {
		struct pollfd fd = { .fd = p->connector_fd, .events = POLLIN };
		struct pg_conn *c = NULL;
		int wait_ms = -1;

		if (is_missing(p) && (c = connect_one(p, &o))) {
			atomic_store(&p->is_away, false);
			backoff_ms = BACKOFF_MIN_MS;
			hand_over(p, c);
			continue;
		}
		if (is_missing(p)) {
			atomic_store(&p->is_away, true);
			wake(p->wake_fd);
			wait_ms = (int)backoff_ms;
			backoff_ms =
				backoff_ms * 2 < BACKOFF_MAX_MS ? backoff_ms * 2 : BACKOFF_MAX_MS;
		}
		if (poll(&fd, 1, wait_ms) > 0)
			drain_wake(p->connector_fd);
	}
	return NULL;
}

/* -- the outside -- */

struct pg_pool *pg_pool_new(const struct pg_pool_conf *conf)
{
	struct pg_pool *p = xcalloc(1, sizeof(*p));

	p->conf = *conf;
	if (p->conf.connections > LINKS_MAX)
		p->conf.connections = LINKS_MAX;
	if (!p->conf.depth)
		p->conf.depth = DEPTH;
	p->wake_fd = p->connector_fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void pg_pool_every(struct pg_pool *p, unsigned ms, void (*fn)(void *ctx), void *ctx)
{
	if (p->n_timers == TIMERS_MAX) {
		log_error("database pool: too many timers");
		return;
	}
	p->timers[p->n_timers++] = (struct timer){ ms * USEC_PER_MSEC, 0, fn, ctx };
}

static void end_connector(struct pg_pool *p)
{
	atomic_store(&p->is_stopping, true);
	wake(p->connector_fd);
	pthread_join(p->connector, NULL);
}

int pg_pool_start(struct pg_pool *p)
{
	int rc;

	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->connector_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->wake_fd < 0 || p->connector_fd < 0)
		return -errno;
	rc = thread_start(&p->connector, "db connector", &on_db, connect_all, p);
	if (rc)
		return rc;
	rc = thread_start(&p->thread, "db pool", &on_db, run, p);
	if (rc)
		end_connector(p);
	p->is_running = rc == 0;
	return rc;
}

static void end_all(struct queue *q)
{
	for (struct job *j = queue_take(q); j; j = queue_take(q))
		job_end(j, -ECANCELED);
}

void pg_pool_stop(struct pg_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->is_closed = true;
	pthread_mutex_unlock(&p->lock);
	if (!p->is_running)
		return;
	p->is_running = false;
	end_connector(p);
	wake(p->wake_fd);
	pthread_join(p->thread, NULL);
	take_mail(p);
	for (unsigned i = 0; i < p->conf.connections; i++) {
		end_all(&p->links[i].sent);
		pg_conn_close(p->links[i].conn);
		free(p->links[i].prepared);
		p->links[i] = (struct link){ .conn = NULL };
	}
	end_all(&p->waiting);
}

void pg_pool_free(struct pg_pool *p)
{
	if (!p)
		return;
	pg_pool_stop(p);
	if (p->wake_fd >= 0)
		close(p->wake_fd);
	if (p->connector_fd >= 0)
		close(p->connector_fd);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void pg_pool_query(struct pg_pool *p, const struct pg_statement *st, int n,
		   const char *const *values, pg_pool_done *done, void *ctx)
{
	struct job *j = job_new(st, n, values);
	bool was_empty = false;
	int rc = 0;

	j->pool = p;
	j->done = done;
	j->ctx = ctx;
	j->deadline = clock_mono() + job_patience(p, st);
	if (atomic_fetch_add(&p->n_open, 1) >= p->conf.max_open) {
		job_end(j, -EAGAIN);
		return;
	}
	pthread_mutex_lock(&p->lock);
	if (p->is_closed) {
		rc = -ECANCELED;
	} else {
		was_empty = p->inbox.count == 0;
		queue_put(&p->inbox, j);
	}
	pthread_mutex_unlock(&p->lock);
	if (rc)
		job_end(j, rc);
	else if (was_empty)
		wake(p->wake_fd);
}

bool pg_pool_is_up(const struct pg_pool *p)
{
	return atomic_load(&p->n_up) > 0;
}
