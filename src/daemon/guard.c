/* SPDX-License-Identifier: MIT */
/*
 * The lock guards what main reads: the state, and what the guard waits for.  It is held for a few
 * instructions.  The rest belongs to the guard's thread.
 *
 * With database.required = no, every fault is tried again with a growing pause, also those that
 * only an operator can repair: whether such a fault ends the daemon is for main to decide, while it
 * starts.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/backoff.h"
#include "base/hex.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/thread.h"
#include "base/wake.h"
#include "bus/bus.h"
#include "conf/conninfo.h"
#include "daemon/guard.h"
#include "pg/gate.h"
#include "pg/hosts.h"
#include "pg/listener.h"
#include "pg/migrate.h"
#include "pg/remedy.h"

#define CHECK_US       USEC_PER_SEC
#define ANSWER_US      (5 * USEC_PER_SEC)
#define CHECK_MS       100		  /* how often it looks for the end of another daemon */
#define LOST_US	       (5 * USEC_PER_SEC) /* for a busy daemon that connects again */
#define LOG_AFTER_US   (1 * USEC_PER_SEC) /* how long a wait lasts before it is logged */
#define LOG_AGAIN_US   (60 * USEC_PER_SEC)
#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define LONG_WAIT_TEXT "1000"	    /* ms, for a lock */
#define RENEWALS       5	    /* of a lease, in its duration */
#define STOP_US	       USEC_PER_SEC /* a thread that looks a host's name up cannot be woken */

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) guard_held {
	char unused;
} guard_held UNUSED;

struct guard {
	struct health *health;
	bool is_required;
	unsigned takeover_wait_s, connect_timeout_ms;
	char *conninfo, *password, *schema, *server, *node, *address;
	char instance[33]; /* a random name of this process */
	struct bus *bus;
	bool is_node;	     /* of a cluster; else it uses the database alone */
	unsigned lease_ms;   /* of a node */
	const char *driver;  /* cluster.driver */
	char *prefix;	     /* cluster.prefix */
	char *redis;	     /* conf_cluster_redis() */
	usec_t started_at;   /* mono */
	const char *user_id; /* sync.user_id */
	bool is_migrate_only;
	pthread_t thread;
	struct wake wake;    /* of the guard's thread */
	struct wake changed; /* for main */
	atomic_bool is_stopping;
	atomic_bool is_going_on; /* guard_go_on(): the guard logs its faults itself */
	atomic_bool has_held;	 /* the database, once */
	atomic_bool has_ended;	 /* the thread */

	pthread_mutex_t lock;
	enum guard_state state OWNED_BY(guard_held);
	int status OWNED_BY(guard_held);
	char *why OWNED_BY(guard_held);					/* NULL: none */
	char *waits_for OWNED_BY(guard_held);				/* NULL: it does not wait */
	usec_t since OWNED_BY(guard_held), log_at OWNED_BY(guard_held); /* mono */

	/* the guard's thread only */
	struct pg_connection *conn;
	bool is_holding, is_leaving;
	char *logged_why;  /* the last one */
	char *logged_lock; /* the last one */
	usec_t lock_again_at;
	char *logged_strangers; /* nodes that this one does not reach, as logged; NULL: none */
	char *logged_grants;	/* the last ones; NULL: none */
	usec_t renew_at;	/* mono; of a node */
	bool has_lease_ended;	/* the node's, in this session */
};

static void guard_lock(struct guard *g) TSA(acquire_capability(guard_held)) NO_TSA
{
	pthread_mutex_lock(&g->lock);
}

static void guard_unlock(struct guard *g) TSA(release_capability(guard_held)) NO_TSA
{
	pthread_mutex_unlock(&g->lock);
}

static bool guard_is_stopping(const struct guard *g)
{
	return atomic_load(&g->is_stopping);
}

/*
 * While pg_conn waits.  A node that stops needs its session once more, to deregister: a statement
 * that is under way ends first.
 */
static int guard_tick(void *ctx)
{
	const struct guard *g = ctx;

	return guard_is_stopping(g) && !g->is_leaving && !(g->is_node && g->is_holding);
}

/* -- what main sees -- */

static void guard_set_wait(void *ctx, const char *what)
{
	struct guard *g = ctx;

	guard_lock(g);
	if (!what || !g->waits_for || strcmp(what, g->waits_for) != 0) {
		free(g->waits_for);
		g->waits_for = what ? xstrdup(what) : NULL;
		g->since = clock_mono();
		g->log_at = g->since + LOG_AFTER_US;
	}
	guard_unlock(g);
}

/* Takes why (heap). */
static void guard_set_state(struct guard *g, enum guard_state state, int status, char *why)
{
	guard_lock(g);
	g->state = state;
	g->status = status;
	free(g->why);
	g->why = why;
	guard_unlock(g);
	wake_signal(&g->changed);
}

int guard_fd(const struct guard *g)
{
	return wake_fd(&g->changed);
}

enum guard_state guard_state(struct guard *g, int *status, char **why)
{
	enum guard_state state;

	wake_drain(&g->changed);
	guard_lock(g);
	state = g->state;
	*status = g->status;
	*why = g->why ? xstrdup(g->why) : NULL;
	guard_unlock(g);
	return state;
}

void guard_go_on(struct guard *g)
{
	atomic_store(&g->is_going_on, true);
}

void guard_report(struct guard *g)
{
	usec_t now = clock_mono();
	long long waited_s = 0;
	char *what = NULL;

	guard_lock(g);
	if (g->waits_for && now >= g->log_at) {
		what = xstrdup(g->waits_for);
		waited_s = (now - g->since) / USEC_PER_SEC;
		g->log_at = now + LOG_AGAIN_US;
	}
	guard_unlock(g);
	if (what)
		log_info("database: still waiting after %lld s for %s", waited_s, what);
	free(what);
}

/* -- another daemon -- */

struct guard_other {
	bool is_there, is_alive;
	char *instance, *name;
};

static void guard_other_release(struct guard_other *o)
{
	free(o->instance);
	free(o->name);
	*o = (struct guard_other){ 0 };
}

/* -errno with *why (heap) for a statement that failed. */
static int guard_fail(struct guard *g, char **why)
{
	struct strbuf text;

	if (guard_tick(g))
		return -ECANCELED;
	strbuf_init(&text, 256);
	strbuf_add_str(&text, pg_conn_error(g->conn));
	pg_remedy_add(&text, g->conn);
	*why = text.ptr;
	return -EHOSTDOWN;
}

/* A schema without the table is older than all daemons that use it. */
static int guard_find_other(struct guard *g, struct guard_other *out, char **why)
{
	const char *values[] = { g->instance, g->is_node ? g->node : NULL };
	const struct pg_query exists = { .sql = "SELECT to_regclass('nodes') IS NOT NULL" };
	const struct pg_query q = {
		.sql = "SELECT is_alive, instance, name FROM node_conflict($1::text, $2::text)",
		.n = 2,
		.values = values
	};
	struct pg_answer a = { 0 };
	bool is_there;

	*out = (struct guard_other){ 0 };
	if (pg_conn_run(g->conn, clock_mono() + ANSWER_US, &exists, &a) != PG_FINE)
		return guard_fail(g, why);
	is_there = pg_answer_bool(&a, 0, 0);
	pg_answer_release(&a);
	if (!is_there)
		return 0;
	if (pg_conn_run(g->conn, clock_mono() + ANSWER_US, &q, &a) != PG_FINE)
		return guard_fail(g, why);
	if (pg_answer_rows(&a) == 1)
		*out = (struct guard_other){ true, pg_answer_bool(&a, 0, 0),
					     xstrdup(pg_answer_text(&a, 0, 1)),
					     xstrdup(pg_answer_text(&a, 0, 2)) };
	pg_answer_release(&a);
	return 0;
}

static int guard_refuse_other(const struct guard *g, const struct guard_other *o, char **why)
{
	struct strbuf text;

	strbuf_init(&text, 256);
	if (g->is_node && atomic_load(&g->has_held))
		strbuf_addf(&text, "another daemon has taken the place of the node \"%s\": %s",
			    g->node, o->name);
	else if (g->is_node)
		strbuf_addf(&text,
			    "another daemon runs as node \"%s\": %s; it did not end "
			    "within %u s (database.takeover_wait_s): give each node a name of its "
			    "own (server.node), and all of them cluster.driver = postgres",
			    g->node, o->name, g->takeover_wait_s);
	else if (atomic_load(&g->has_held))
		strbuf_addf(&text, "another daemon now uses the database: %s", o->name);
	else
		strbuf_addf(&text,
			    "another daemon uses this database: %s; it did not end within %u s "
			    "(database.takeover_wait_s): stop it, or give each daemon a database "
			    "of its own",
			    o->name, g->takeover_wait_s);
	*why = text.ptr;
	return -EBUSY;
}

/*
 * Until no other daemon uses the database.  One whose session was lost just now has a moment to
 * connect again: it is running, and this one is not yet.
 */
static int guard_wait_for_other(struct guard *g, char **why)
{
	usec_t until = clock_mono() + g->takeover_wait_s * USEC_PER_SEC, lost_at = 0;
	struct guard_other o;
	bool was_alive = false;
	int rc;

	while ((rc = guard_find_other(g, &o, why)) == 0 && o.is_there &&
	       (o.is_alive || was_alive)) {
		struct strbuf text;

		was_alive = true;
		lost_at = o.is_alive ? 0 : lost_at ? lost_at : clock_mono();
		if (lost_at && clock_mono() - lost_at > LOST_US)
			break;
		if (o.is_alive && (atomic_load(&g->has_held) || clock_mono() >= until)) {
			rc = guard_refuse_other(g, &o, why);
			break;
		}
		strbuf_init(&text, 256);
		strbuf_addf(&text, "the end of the daemon that uses the database: %s", o.name);
		guard_set_wait(g, text.ptr);
		strbuf_release(&text);
		guard_other_release(&o);
		wake_wait(&g->wake, CHECK_MS);
		if (guard_is_stopping(g))
			return -ECANCELED;
	}
	guard_other_release(&o);
	return rc;
}

/* *has: false when another daemon was faster. */
static int guard_take_alone(struct guard *g, const char *process, bool *has, char **why)
{
	const char *values[] = { g->instance, g->node, process, g->address };
	const struct pg_query q = {
		.sql = "SELECT daemon_take($1::text, $2::text, $3::integer, $4::text)",
		.n = 4,
		.values = values
	};
	struct pg_answer a = { 0 };

	guard_set_wait(g, "the table \"daemon\", which another session has locked");
	if (pg_conn_run(g->conn, clock_mono() + ANSWER_US, &q, &a) != PG_FINE)
		return guard_fail(g, why);
	*has = pg_answer_bool(&a, 0, 0);
	pg_answer_release(&a);
	return 0;
}

/* As nodes.redis has it (heap): other nodes may be configured with another server of the cluster.
 */
static char *guard_redis(const struct guard *g)
{
	return textf(bus_has_redis_cluster(g->bus) ? "cluster %s" : "%s", g->redis);
}

/* The same for a node. */
static int guard_take_node(struct guard *g, const char *process, bool *has, char **why)
{
	char lease[12], kept[12], age[21], *redis;
	const char *values[] = { g->instance, g->node,	 process,   g->address, PACKAGE_VERSION,
				 lease,	      g->driver, g->prefix, NULL,	kept,
				 age };
	const struct pg_query q = {
		.sql = "SELECT number, others FROM node_take($1::text, $2::text, $3::integer, "
		       "$4::text, $5::text, $6::integer, $7::text, $8::text, $9::text, "
		       "$10::integer, $11::bigint)",
		.n = ARRAY_SIZE(values),
		.values = values
	};
	struct pg_answer a = { 0 };
	enum pg_fault fault;
	unsigned joins;

	snprintf(lease, sizeof(lease), "%u", g->lease_ms);
	snprintf(kept, sizeof(kept), "%u", atomic_load(bus_node_number(g->bus)));
	joins = bus_joins(g->bus);
	guard_set_wait(g, "the table \"nodes\", which another session has locked");
	/* An age, because the clocks of the machines need not agree. */
	snprintf(age, sizeof(age), "%" PRIu64,
		 (uint64_t)((clock_mono() - g->started_at) / USEC_PER_MSEC));
	values[8] = redis = guard_redis(g);
	fault = pg_conn_run(g->conn, clock_mono() + ANSWER_US, &q, &a);
	free(redis);
	if (fault != PG_FINE)
		return guard_fail(g, why);
	*has = !pg_answer_is_null(&a, 0, 0);
	if (*has) {
		unsigned number = (unsigned)pg_answer_int(&a, 0, 0);
		unsigned others = (unsigned)pg_answer_int(&a, 0, 1);

		log_info("cluster: this is the node \"%s\", number %u; others: %u", g->node, number,
			 others);
		bus_set_number(g->bus, number);
		bus_set_others(g->bus, joins, others);
		g->renew_at = clock_mono() + g->lease_ms * USEC_PER_MSEC / RENEWALS;
	}
	pg_answer_release(&a);
	return 0;
}

static int guard_take(struct guard *g, bool *has, char **why)
{
	char process[12];

	snprintf(process, sizeof(process), "%d", (int)getpid());
	return g->is_node ? guard_take_node(g, process, has, why)
			  : guard_take_alone(g, process, has, why);
}

/* -- one session -- */

static int guard_open(struct guard *g, char **why)
{
	const struct pg_options o = { .conninfo = g->conninfo,
				      .password = g->password,
				      .schema = g->schema,
				      .connect_timeout_ms = g->connect_timeout_ms,
				      .tick = guard_tick,
				      .ctx = g };
	struct strbuf text;

	strbuf_init(&text, 64);
	strbuf_addf(&text, "the database server at %s", g->server);
	guard_set_wait(g, text.ptr);
	strbuf_release(&text);
	return pg_conn_open(&o, &g->conn, why);
}

/* 0: this daemon has the database. */
static int guard_attempt(struct guard *g, char **why)
{
	const struct migrate_conf migrate = { .schema = g->schema,
					      .list = migrations,
					      .n = migrations_count,
					      .user_id = g->user_id,
					      .on_wait = guard_set_wait,
					      .ctx = g,
					      .lock_wait_s = g->takeover_wait_s };
	bool has = g->is_migrate_only;
	int rc = guard_open(g, why);

	do {
		if (rc == 0 && !g->is_migrate_only)
			rc = guard_wait_for_other(g, why);
		if (rc == 0)
			rc = migrate_run(g->conn, &migrate, why);
		if (rc == 0 && !g->is_migrate_only)
			rc = guard_take(g, &has, why);
	} while (rc == 0 && !has);
	guard_set_wait(g, NULL);
	return rc;
}

/* Logs each new set of locks once, and the same one each minute. */
static void guard_log_locks(struct guard *g, const struct pg_answer *a)
{
	struct strbuf text;
	usec_t now = clock_mono();
	bool is_of_log = false;

	strbuf_init(&text, 0);
	for (int i = 0; i < pg_answer_rows(a); i++) {
		is_of_log |= pg_answer_bool(a, i, 2);
		strbuf_addf(&text, "%sthe lock \"%s\" is held by %s", i ? "; " : "",
			    pg_answer_text(a, i, 0), pg_answer_text(a, i, 1));
	}
	if (text.len &&
	    (!g->logged_lock || strcmp(text.ptr, g->logged_lock) != 0 || now >= g->lock_again_at)) {
		log_warn("database: the daemon has been waiting for more than a second: %s",
			 text.ptr);
		g->lock_again_at = now + LOG_AGAIN_US;
	}
	health_set(g->health, HEALTH_LOCKS,
		   is_of_log ? "another session holds a lock of the log" : NULL);
	free(g->logged_lock);
	g->logged_lock = text.len ? xstrdup(text.ptr) : NULL;
	strbuf_release(&text);
}

/* One round trip; false: the session is lost. */
static bool guard_check(struct guard *g)
{
	static const char sql[] =
		"SELECT lock, holder, is_of_log FROM lock_waits(" LONG_WAIT_TEXT ") "
		"ORDER BY 1";
	const struct pg_query q = { .sql = sql };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(g->conn, clock_mono() + ANSWER_US, &q, &a);

	if (fault == PG_FINE)
		guard_log_locks(g, &a);
	else if (fault != PG_LOST)
		log_debug("guard: %s", pg_conn_error(g->conn));
	pg_answer_release(&a);
	return fault != PG_LOST;
}

/* Whether text, NULL for none, differs from *logged, which it replaces. */
static bool guard_has_changed(char **logged, const char *text)
{
	if (text ? *logged && strcmp(*logged, text) == 0 : !*logged)
		return false;
	free(*logged);
	*logged = text ? xstrdup(text) : NULL;
	return true;
}

/* What the renewal of a lease has found; NULL: nothing. */
static void guard_log_others(struct guard *g, const char *strangers, const char *grants)
{
	if (guard_has_changed(&g->logged_strangers, strangers)) {
		if (strangers)
			log_warn("cluster: settings of nodes differ: %s", strangers);
		else
			log_info("cluster: all nodes have the same driver, prefix and Redis");
	}
	/* The same remedy is logged once, also when another node ends later. */
	if (grants && guard_has_changed(&g->logged_grants, grants))
		log_warn("cluster: a node has ended, and its sessions may not be ended by the "
			 "role of this node; if it is paused, they can fill PostgreSQL's queue of "
			 "notifications: %s",
			 grants);
}

/* A node's lease.  False: the session is lost, or the lease has ended. */
static bool guard_renew(struct guard *g)
{
	char lease[12], *redis;
	const char *values[] = { g->instance, lease, NULL };
	const struct pg_query q = {
		.sql = "SELECT others, strangers, grants FROM node_renew($1::text, $2::integer, "
		       "$3::text)",
		.n = ARRAY_SIZE(values),
		.values = values
	};
	struct pg_answer a = { 0 };
	enum pg_fault fault;
	unsigned joins;

	if (!g->is_node || clock_mono() < g->renew_at)
		return true;
	joins = bus_joins(g->bus);
	snprintf(lease, sizeof(lease), "%u", g->lease_ms);
	/* Until then, another server of the same Redis Cluster looks like another Redis. */
	redis = bus_has_connected(g->bus) ? guard_redis(g) : NULL;
	values[2] = redis;
	fault = pg_conn_run(g->conn, clock_mono() + ANSWER_US, &q, &a);
	free(redis);
	if (fault == PG_FINE && pg_answer_is_null(&a, 0, 0)) {
		log_warn("cluster: the lease of this node has ended; it registers again");
		g->has_lease_ended = true;
	} else if (fault == PG_FINE) {
		bus_set_others(g->bus, joins, (unsigned)pg_answer_int(&a, 0, 0));
		g->renew_at = clock_mono() + g->lease_ms * USEC_PER_MSEC / RENEWALS;
		guard_log_others(g, pg_answer_is_null(&a, 0, 1) ? NULL : pg_answer_text(&a, 0, 1),
				 pg_answer_is_null(&a, 0, 2) ? NULL : pg_answer_text(&a, 0, 2));
	} else if (fault != PG_LOST) {
		log_debug("guard: %s", pg_conn_error(g->conn));
	}
	pg_answer_release(&a);
	return !g->has_lease_ended && fault != PG_LOST;
}

/* Until the session or the lease is lost, or the daemon stops. */
static void guard_hold(struct guard *g)
{
	bool is_there = true;

	g->has_lease_ended = false;
	g->is_holding = true;
	health_set(g->health, HEALTH_DATABASE, NULL);
	atomic_store(&g->has_held, true);
	pg_gate_set(true);
	guard_set_state(g, GUARD_HOLDS, EX_OK, NULL);
	while (is_there && !guard_is_stopping(g)) {
		usec_t until = clock_mono() + CHECK_US;

		is_there = guard_check(g) && guard_renew(g);
		if (g->is_node && g->renew_at < until)
			until = g->renew_at;
		if (is_there)
			is_there = pg_conn_idle(g->conn, wake_fd(&g->wake), until) == PG_FINE;
	}
	g->is_holding = false;
}

/* The next daemon need not find out that this one has ended. */
static void guard_leave(struct guard *g)
{
	const char *values[] = { g->instance };
	const struct pg_query q = { .sql = g->is_node ? "SELECT node_leave($1::text)"
						      : "SELECT daemon_leave($1::text)",
				    .n = 1,
				    .values = values };

	g->is_leaving = true;
	if (pg_conn_run(g->conn, clock_mono() + ANSWER_US, &q, NULL) != PG_FINE)
		log_debug("guard: %s", pg_conn_error(g->conn));
}

/* -- the thread -- */

static int guard_exit_status(int rc)
{
	if (rc == -EPROTO || rc == -EILSEQ)
		return EX_DATAERR;
	return rc == -ENOTSUP ? EX_CONFIG : EX_UNAVAILABLE;
}

/* Takes why (heap); rc < 0. */
static void guard_failed(struct guard *g, int rc, char *why)
{
	struct strbuf text;

	if (guard_is_stopping(g)) {
		free(why);
		return;
	}
	if (!why || !*why) {
		free(why);
		why = xstrdup(strerror(-rc));
	}
	strbuf_init(&text, 256);
	strbuf_addf(&text, "the database cannot be used: %s", why);
	/* The first reason is main's to log, or that of the change to 503. */
	if (atomic_load(&g->is_going_on) && rc != -EBUSY && g->logged_why &&
	    strcmp(g->logged_why, why) != 0)
		log_warn("database: %s", why);
	health_set(g->health, HEALTH_DATABASE, text.ptr);
	strbuf_release(&text);
	free(g->logged_why);
	g->logged_why = xstrdup(why);
	guard_set_state(g, rc == -EBUSY ? GUARD_ENDS : GUARD_AWAY, guard_exit_status(rc), why);
}

static bool guard_tries_again(const struct guard *g, int rc)
{
	return rc != -EBUSY &&
	       (atomic_load(&g->has_held) || (!g->is_required && !g->is_migrate_only));
}

RUNS_ON(on_db) static void *guard_run(void *arg)
{
	struct guard *g = arg;
	struct backoff backoff;
	int rc = 0;

	backoff_init(&backoff, BACKOFF_MIN_MS, BACKOFF_MAX_MS);
	while (!guard_is_stopping(g)) {
		char *why = NULL;

		rc = guard_attempt(g, &why);
		if (rc == 0 && g->is_migrate_only) {
			guard_set_state(g, GUARD_HOLDS, EX_OK, NULL);
			break;
		}
		if (rc == 0) {
			backoff_reset(&backoff);
			free(g->logged_why);
			g->logged_why = NULL;
			guard_hold(g);
			if (guard_is_stopping(g))
				guard_leave(g);
			else
				guard_failed(g, -EHOSTDOWN,
					     xstrdup(g->has_lease_ended
							     ? "the lease of this node has ended"
							     : pg_conn_error(g->conn)));
		} else if (rc != -ECANCELED) {
			guard_failed(g, rc, why);
			why = NULL;
		}
		free(why);
		pg_conn_close(g->conn);
		g->conn = NULL;
		if (!guard_tries_again(g, rc))
			break;
		wake_wait(&g->wake, (int)backoff_next(&backoff));
	}
	pg_conn_close(g->conn);
	g->conn = NULL;
	atomic_store(&g->has_ended, true);
	wake_signal(&g->changed);
	return NULL;
}

/* -- start and stop -- */

static void guard_free(struct guard *g) NO_TSA /* no other thread has it any more */
{
	wake_release(&g->wake);
	wake_release(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g->conninfo);
	free(g->password);
	free(g->schema);
	free(g->server);
	free(g->node);
	free(g->prefix);
	free(g->redis);
	free(g->logged_strangers);
	free(g->logged_grants);
	free(g->address);
	free(g->why);
	free(g->waits_for);
	free(g->logged_why);
	free(g->logged_lock);
	free(g);
}

int guard_start(const struct conf *conf, const char *conninfo, struct health *health,
		struct bus *bus, struct guard **out)
{
	struct guard *g = xcalloc(1, sizeof(*g));
	unsigned char random[16];
	struct strbuf address;
	int rc;

	g->is_required = conf->database.required;
	g->takeover_wait_s = conf->database.takeover_wait_s;
	g->connect_timeout_ms = conf->database.connect_timeout_s * 1000;
	g->health = health;
	g->bus = bus;
	g->is_node = conf->cluster.driver != CLUSTER_LOCAL;
	g->lease_ms = conf->cluster.lease_ms;
	g->driver = conf_cluster_driver(&conf->cluster);
	g->prefix = xstrdup(conf->cluster.prefix);
	g->redis = conf_cluster_redis(&conf->cluster);
	g->started_at = clock_mono();
	g->user_id = conf->sync.user_id == USER_ID_TEXT ? "text" : "bigint";
	g->is_migrate_only = conf->migrate_only;
	g->conninfo = xstrdup(conninfo);
	g->password = conf->database.password ? xstrdup(conf->database.password) : NULL;
	g->schema = xstrdup(conf->database.schema);
	g->server = pg_hosts_text(conninfo);
	g->node = conf_node(&conf->server);
	strbuf_init(&address, 32);
	strbuf_addf(&address, "%s:%u", conf->server.host, conf->server.port);
	g->address = address.ptr;
	random_bytes(random, sizeof(random));
	hex_encode(random, sizeof(random), g->instance);
	pthread_mutex_init(&g->lock, NULL);
	pg_gate_set(false);
	if (g->is_node)
		pg_listener_set_node(g->instance);
	rc = wake_init(&g->wake);
	if (rc == 0)
		rc = wake_init(&g->changed);
	if (rc == 0)
		rc = thread_start(&g->thread, "guard", &on_db, guard_run, g);
	if (rc)
		guard_free(g);
	else
		*out = g;
	return rc;
}

/*
 * A thread that looks up the name of a host ends when the resolver gives up.  The process does not
 * wait for it.
 */
bool guard_stop(struct guard *g)
{
	usec_t until;

	if (!g)
		return true;
	until = clock_mono() + STOP_US + (atomic_load(&g->has_held) ? ANSWER_US : 0);
	atomic_store(&g->is_stopping, true);
	wake_signal(&g->wake);
	while (!atomic_load(&g->has_ended) && clock_mono() < until)
		wake_wait(&g->changed, 20);
	if (!atomic_load(&g->has_ended)) {
		pthread_detach(g->thread);
		return false;
	}
	pthread_join(g->thread, NULL);
	guard_free(g);
	return true;
}
