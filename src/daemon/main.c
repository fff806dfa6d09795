/* SPDX-License-Identifier: MIT */
/*
 * Starts everything in order, waits for signals, stops everything in reverse.  The parts meet
 * here and nowhere else: what one layer may not know of another is handed over as functions.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "core/directory.h"
#include "core/users.h"
#include "daemon/embedded_pg.h"
#include "daemon/privs.h"
#include "front/acceptor.h"
#include "front/listen_fds.h"
#include "api/call.h"
#include "api/router.h"
#include "http/server.h"
#include "log/housekeeper.h"
#include "log/drainer.h"
#include "log/writer.h"
#include "pg/migrate.h"
#include "pg/pool.h"
#include "svc/apps_watch.h"
#include "svc/idempotency.h"
#include "svc/presence_db.h"
#include "svc/publish.h"
#include "svc/authorize.h"
#include "log/reader.h"
#include "svc/jobs.h"
#include "svc/viewers.h"
#include "ws/frame_guard.h"
#include "ws/worker.h"

#define TICK_MS	      250
#define STOP_GRACE_MS 2000
#define CATCH_UP_MS   3000
#define HTTP_IDLE_S   75

struct scopewired {
	int argc;
	char **argv;
	struct conf *conf;
	char *conninfo;
	unsigned open_files;
	int signals;   /* signalfd */
	int listen_fd; /* first of n_listen_fds that were handed over */
	unsigned n_listen_fds;
	struct embedded_pg *postgres;
	struct apps_watch *apps_watch;
	struct housekeeper *housekeeper;
	struct drainer *drainer;
	struct pg_pool *pool;
	struct jobs *jobs;
	struct idempotency *once;
	struct presence_db *presence;
	struct viewers *viewing;
	struct log_writer *log;
	struct workers *workers;
	struct directory *directory;
	struct publisher *publisher;
	struct reader *replay;
	struct authorizer *authorizer;
	struct api_services services;
	struct http_server *http;
	struct acceptor *acceptor;
};

extern char **environ;

/* Logs why (and frees it); returns the exit status. */
static int give_up(int status, char *why)
{
	log_error("%s", why ? why : "out of memory");
	free(why);
	return status;
}

static int start_conf(struct scopewired *d, int *done)
{
	char *why = NULL;
	int rc = conf_load(d->argc, d->argv, environ, &d->conf, &why);

	if (rc == 1) {
		*done = 1;
		return EX_OK;
	}
	if (rc)
		return give_up(rc == -ENOTSUP ? EX_USAGE : EX_CONFIG, why);
	if (d->conf->print_routes) {
		router_print(stdout);
		*done = 1;
		return EX_OK;
	}
	log_set_level(d->conf->log.level);
	for (char **note = d->conf->notes; note && *note; note++)
		log_warn("%s", *note);
	if (d->conf->check_only) {
		puts("The configuration is valid.");
		*done = 1;
	}
	return EX_OK;
}

static int start_signals(struct scopewired *d)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	d->open_files = privs_raise_open_files();
	return d->signals < 0 ? give_up(EX_OSERR, xstrdup("signalfd failed")) : EX_OK;
}

static int start_postgres(struct scopewired *d)
{
	char *why = NULL;

	if (!d->conf->embedded_postgres) {
		d->conninfo = conf_conninfo(d->conf);
		return EX_OK;
	}
	if (embedded_pg_start(d->conf->embedded_postgres, &d->postgres, &d->conninfo, &why))
		return give_up(EX_UNAVAILABLE, why);
	return EX_OK;
}

static int start_schema(struct scopewired *d, int *done)
{
	char *why = NULL;
	int rc = migrate_run(d->conninfo, d->conf->database.schema, &why);

	if (rc == -EPROTO || rc == -EILSEQ)
		return give_up(EX_DATAERR, why);
	if (rc && (d->conf->database.required || d->conf->migrate_only))
		return give_up(EX_UNAVAILABLE, why);
	if (rc)
		log_warn("starting without a database: %s", why);
	free(why);
	if (d->conf->migrate_only) {
		puts("The schema is up to date.");
		*done = 1;
	}
	return EX_OK;
}

/* One core is left to HTTP, the log's writer and PostgreSQL: see docs/decisions/0007. */
static unsigned default_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores > 1 ? (unsigned)cores - 1 : 1;
}

static void on_socket_closed(void *ctx, uint64_t socket_id)
{
	struct scopewired *d = ctx;

	viewers_on_closed(d->viewing, socket_id);
}

static struct workers_conf workers_conf_of(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	unsigned n = s->workers ? s->workers : default_workers();

	return (struct workers_conf){
		.n = n > DIRECTORY_MAX_WORKERS ? DIRECTORY_MAX_WORKERS : n,
		.tls_certificate = s->tls_certificate,
		.tls_key = s->tls_key,
		.max_header_bytes = s->max_header_bytes,
		.request_timeout_ms = s->request_timeout_ms,
		.max_connections = s->max_connections,
		.path = sv(s->path),
		.services = &d->services,
		.log = reader_interface(d->replay),
		.replay_timeout_ms = d->conf->database.replay_timeout_ms,
		.on_closed = on_socket_closed,
		.closed_ctx = d,
	};
}

/* Publishing: the directory, the log behind it, and the way in. */
static int start_events(struct scopewired *d)
{
	struct workers_conf wc;
	struct directory_post post;

	frame_guard_init(d->open_files);
	d->replay = reader_new(&d->conf->database, d->conninfo);
	wc = workers_conf_of(d);
	d->workers = workers_new(&wc);
	workers_directory_post(d->workers, &post);
	d->directory = directory_new(wc.n, &post);
	if (log_writer_start(d->conf, d->conninfo, d->directory, &d->log))
		return give_up(EX_OSERR, xstrdup("the log writer could not be started"));
	d->publisher = publisher_new(d->directory, log_writer_queue(d->log),
				     d->conf->database.commit_timeout_ms);
	if (reader_start(d->replay, d->directory))
		return give_up(EX_OSERR, xstrdup("the replay threads could not be started"));
	return EX_OK;
}

/* Lets the sockets' side know how far the log was handed on, if only to tell clients where they
 * stand. */
static void tell_position(struct scopewired *d)
{
	struct position p;

	if (log_tail_position(log_writer_tail(d->log), &p))
		directory_log_reached(d->directory, &p);
}

static void on_apps_changed(void *ctx)
{
	struct scopewired *d = ctx;

	workers_reload(d->workers);
}

/* The sync API's way to the database. */
static int start_pool(struct scopewired *d)
{
	struct pg_pool_conf pc = {
		.options = conf_pg_options(&d->conf->database, d->conninfo),
		.connections = d->conf->sync.connections,
		.max_open = d->conf->sync.max_waiting,
	};
	struct authorizer_conf ac = { pc, d->conf->sync.rule_cache_ms };

	pc.options.statement_timeout_ms = d->conf->sync.statement_timeout_ms;
	d->pool = pg_pool_new(&pc);
	ac.predicates.connections = d->conf->sync.rule_connections;
	ac.predicates.options.statement_timeout_ms = d->conf->sync.rule_timeout_ms;
	if (authorizer_start(d->pool, &ac, &d->authorizer))
		return give_up(EX_OSERR, xstrdup("channel rules could not be started"));
	d->jobs = jobs_new(d->pool, &d->conf->sync);
	d->presence = presence_db_new(d->pool, &d->conf->sync);
	d->viewing = viewers_new(d->pool, &d->conf->sync);
	if (d->conf->sync.presence_from_sockets)
		directory_watch_users(d->directory, presence_db_on_user, d->presence);
	return pg_pool_start(d->pool)
		       ? give_up(EX_OSERR, xstrdup("the database pool could not be started"))
		       : EX_OK;
}

static int start_servers(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	struct http_server_conf hc = {
		.max_connections = d->open_files / 2,
		.max_header_bytes = s->max_header_bytes,
		.request_timeout_ms = s->request_timeout_ms,
		.idle_timeout_s = HTTP_IDLE_S,
	};
	int rc;

	d->once = idempotency_new(d->pool);
	d->services =
		(struct api_services){ d->conf,	  d->directory, d->publisher, d->pool,	    d->once,
				       d->replay, d->presence,	d->viewing,   d->authorizer };
	router_init();
	rc = workers_start(d->workers, d->directory);
	if (rc == -EINVAL)
		return give_up(EX_CONFIG,
			       xstrdup("server.tls_certificate and server.tls_key do not "
				       "name a readable PEM certificate and its key"));
	if (rc || http_server_start(&hc, &d->services, &d->http))
		return give_up(EX_OSERR, xstrdup("the server threads could not be started"));
	if (apps_watch_start(d->conf, d->conninfo, on_apps_changed, d, &d->apps_watch))
		return give_up(EX_OSERR, xstrdup("the apps watch could not be started"));
	if (housekeeper_start(d->conf, d->conninfo, &d->housekeeper))
		return give_up(EX_OSERR, xstrdup("the housekeeper could not be started"));
	if (drainer_start(d->conf, d->conninfo, log_writer_tail(d->log), &d->drainer))
		return give_up(EX_OSERR, xstrdup("the drainer could not be started"));
	/* What an earlier process left in the log goes before anybody is here to see it twice. */
	if (!drainer_wait(d->drainer, CATCH_UP_MS))
		log_debug("starting before the log was read to its end");
	tell_position(d);
	return EX_OK;
}

static void take_websocket(void *ctx, int fd)
{
	struct scopewired *d = ctx;

	workers_adopt(d->workers, fd, false);
}

static void take_tls(void *ctx, int fd)
{
	struct scopewired *d = ctx;

	workers_adopt(d->workers, fd, true);
}

static void take_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;
	int rc = http_server_adopt(d->http, fd, peer, len);

	if (rc)
		log_debug("an HTTP connection was refused: %d", rc);
}

static int start_front(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	struct acceptor_conf ac = {
		.host = s->host,
		.port = s->port,
		.backlog = s->backlog,
		.first_bytes_ms = s->request_timeout_ms,
		.path = s->path,
		.congestion_control = s->congestion_control,
		.first_fd = d->listen_fd,
		.n_fds = d->n_listen_fds,
		.on_websocket = take_websocket,
		.on_tls = workers_have_tls(d->workers) ? take_tls : NULL,
		.on_http = take_http,
		.ctx = d,
	};
	char *why = NULL;
	int rc = acceptor_new(&ac, &d->acceptor, &why);

	if (rc)
		return give_up(EX_OSERR, why);
	if (s->user[0] && geteuid() == 0 && privs_become(s->user, &why))
		return give_up(EX_CONFIG, why);
	if (acceptor_start(d->acceptor))
		return give_up(EX_OSERR, xstrdup("the acceptor could not be started"));
	log_info("ready: listening on %s:%u", s->host, acceptor_port(d->acceptor));
	if (s->demo)
		log_info("demo page: http://127.0.0.1:%u%s/", acceptor_port(d->acceptor), s->path);
	return EX_OK;
}

/* Takes the new configuration's apps; the rest of it needs a restart. */
static void reload(struct scopewired *d)
{
	struct conf *now = NULL;
	char *why = NULL;

	if (conf_load(d->argc, d->argv, environ, &now, &why)) {
		log_error("reload refused, nothing changed: %s",
			  why ? why : "see the command line");
		free(why);
		return;
	}
	log_set_level(now->log.level);
	apps_watch_set_file(d->apps_watch, now->apps);
	conf_free(now);
	log_info("configuration reloaded");
}

/* True when a signal says to stop. */
static bool read_signals(struct scopewired *d)
{
	struct signalfd_siginfo si;
	bool stop = false;

	while (read(d->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP && d->apps_watch)
			reload(d);
		else if (si.ssi_signo == SIGCHLD && d->postgres)
			embedded_pg_tend(d->postgres);
		else if (si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT)
			stop = true;
	}
	return stop;
}

/* Waits at most ms; true when a signal says to stop. */
static bool wait_signals(struct scopewired *d, int ms)
{
	struct pollfd p = { .fd = d->signals, .events = POLLIN };

	return poll(&p, 1, ms) > 0 && read_signals(d);
}

static void serve_until_signal(struct scopewired *d)
{
	while (!wait_signals(d, TICK_MS)) {
		tell_position(d);
		users_tick(d->directory, clock_mono());
		if (d->postgres)
			embedded_pg_tend(d->postgres);
	}
}

/* Sends the clients away; a second signal cuts it short. */
static void drain(struct scopewired *d)
{
	usec_t until;

	log_info("stopping: sending %u clients away", workers_sessions(d->workers));
	workers_drain(d->workers, d->conf->server.drain_ms);
	until = clock_mono() + (d->conf->server.drain_ms + STOP_GRACE_MS) * USEC_PER_MSEC;
	while (workers_sessions(d->workers) && clock_mono() < until)
		if (wait_signals(d, 20))
			return;
}

static void stop(struct scopewired *d)
{
	bool served = d->acceptor && d->http;

	acceptor_stop(d->acceptor);
	if (served)
		drain(d);
	apps_watch_stop(d->apps_watch);
	housekeeper_stop(d->housekeeper);
	if (d->http)
		http_server_stop(d->http, STOP_GRACE_MS);
	if (d->pool)
		pg_pool_stop(d->pool);
	authorizer_stop(d->authorizer);
	reader_stop(d->replay);
	if (d->presence)
		presence_db_stop(d->presence);
	/* Publishes under way are committed, delivered and answered. */
	log_writer_close(d->log, STOP_GRACE_MS);
	drainer_stop(d->drainer);
	if (d->workers)
		workers_stop(d->workers);
	directory_free(d->directory);
	presence_db_free(d->presence);
	viewers_free(d->viewing);
	/* No event exists any more: the last delivery records are written. */
	log_writer_stop(d->log, STOP_GRACE_MS);
	publisher_free(d->publisher);
	reader_free(d->replay);
	workers_free(d->workers);
	idempotency_free(d->once);
	pg_pool_free(d->pool);
	jobs_free(d->jobs);
	authorizer_free(d->authorizer);
	embedded_pg_stop(d->postgres);
	free(d->conninfo);
	if (d->signals >= 0)
		close(d->signals);
}

static int start_all(struct scopewired *d, int *done)
{
	int rc = start_conf(d, done);

	if (rc || *done)
		return rc;
	apps_install(app_set_ref(d->conf->apps));
	if ((rc = start_signals(d)) || (rc = start_postgres(d)) || (rc = start_schema(d, done)) ||
	    *done)
		return rc;
	if ((rc = start_events(d)) || (rc = start_pool(d)) || (rc = start_servers(d)))
		return rc;
	return start_front(d);
}

int main(int argc, char **argv)
{
	struct scopewired d = { .argc = argc, .argv = argv, .signals = -1 };
	int done = 0, rc;

	thread_take_role(&on_main);
	d.n_listen_fds = listen_fds_take(&d.listen_fd);
	rc = start_all(&d, &done);
	if (!rc && !done)
		serve_until_signal(&d);
	stop(&d);
	apps_install(NULL);
	conf_free(d.conf);
	if (!rc && !done)
		log_info("stopped");
	return rc;
}
