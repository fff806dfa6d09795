/* SPDX-License-Identifier: MIT */
/*
 * Starts the parts of the daemon in the order of one table, waits for signals, and stops them in
 * the opposite order.  The parts are connected here and nowhere else: what one layer may not know
 * of another is passed to it as a function.  Everything here runs on the main thread, except the
 * callbacks (on_...), which other threads call.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/thread.h"
#include "pg/gate.h"
#include "pg/pool.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "core/directory.h"
#include "core/limit.h"
#include "core/users.h"
#include "log/drainer.h"
#include "log/housekeeper.h"
#include "log/reader.h"
#include "log/writer.h"
#include "svc/admission.h"
#include "svc/apps_watch.h"
#include "svc/authorize.h"
#include "svc/health.h"
#include "svc/idempotency.h"
#include "svc/jobs.h"
#include "svc/presence_db.h"
#include "svc/publish.h"
#include "svc/quotas.h"
#include "svc/sockets.h"
#include "svc/viewers.h"
#include "api/call.h"
#include "api/router.h"
#include "http/server.h"
#include "ws/frame_guard.h"
#include "ws/worker.h"
#include "front/acceptor.h"
#include "front/listen_fds.h"
#include "front/tls_context.h"
#include "front/tls_port.h"
#include "daemon/admin_listener.h"
#include "daemon/embedded_pg.h"
#include "daemon/guard.h"
#include "daemon/privs.h"

#define TICK_MS		  250
#define STOP_GRACE_MS	  2000
#define CATCH_UP_MS	  3000
#define WRITER_MS	  2000
#define POLL_MS		  20
#define LOG_STUCK_US	  (5 * USEC_PER_SEC)
#define HTTP_IDLE_S	  75
#define HANDSHAKE_MAX	  32768 /* bytes; below the smallest receive buffer of a socket */
#define RESERVED_OTHER	  16	/* descriptors for what is not a socket of a client */
#define RESERVED_HTTP_MAX 1024

struct scopewired {
	int argc;
	char **argv;
	struct conf *conf;
	char *conninfo;
	unsigned open_files;
	int signals;   /* signalfd */
	int listen_fd; /* first of n_listen_fds that systemd, for instance, passed to us */
	unsigned n_listen_fds;
	struct embedded_pg *postgres;
	struct health *health;
	struct guard *guard;
	struct apps_watch *apps_watch;
	struct housekeeper *housekeeper;
	struct drainer *drainer;
	struct pg_pool *pool;		/* of the sync API */
	struct pg_pool *authorize_pool; /* of channel rules and idempotency keys */
	struct jobs *jobs;
	struct idempotency *once;
	struct quotas *quotas;
	struct sockets *sockets;
	struct presence_db *presence;
	struct viewers *viewing;
	struct log_writer *log;
	struct workers *workers;
	struct address_limits *addresses;
	struct directory *directory;
	struct publisher *publisher;
	struct admission *admission;
	struct reader *replay;
	struct authorizer *authorizer;
	struct api_services services;
	SSL_CTX *tls_context; /* until tls owns it */
	struct tls_port *tls; /* NULL: without TLS */
	struct http_server *http;
	struct acceptor *acceptor;
	struct admin_listener *admin;
	unsigned n_workers;
	bool is_serving;
	uint64_t log_commits;		   /* at the last look */
	usec_t log_since, log_stuck_until; /* mono; of the last look at which it was not stuck */
	int status;
	bool is_done; /* a signal, or the command line wanted something else, and has it */
};

extern char **environ;

/* A line of the log for each line of text. */
static void log_error_lines(const char *prefix, const char *text)
{
	struct str_view rest = sv(text), line;

	while (sv_split(&rest, '\n', &line))
		log_error("%s%.*s", prefix, SV_ARG(line));
}

/* Logs why (and frees it); returns the exit status. */
static int give_up(int status, char *why)
{
	log_error_lines("", why ? why : "out of memory");
	free(why);
	return status;
}

/* -- configuration -- */

/* Reads and checks the configured certificate and key; *out is NULL without TLS. */
static int load_tls(const struct conf_server *s, SSL_CTX **out, char **why)
{
	char *warning;
	int rc;

	*out = NULL;
	if (!s->tls_certificate[0])
		return 0;
	rc = tls_context_new(s->tls_certificate, s->tls_key, out, why);
	if (rc)
		return rc;
	warning = tls_context_warning(*out, s->tls_certificate, s->tls_key);
	if (warning)
		log_warn("%s", warning);
	free(warning);
	return 0;
}

/* A dump of the memory would have the secrets of all applications. */
static void forbid_core_dumps(void)
{
	const struct rlimit none = { 0, 0 };

	if (setrlimit(RLIMIT_CORE, &none))
		log_warn("core dumps cannot be switched off: %s", strerror(errno));
}

static int start_conf(struct scopewired *d)
{
	char *why = NULL;
	int rc = conf_load(d->argc, d->argv, environ, &d->conf, &why);

	if (rc == 1) {
		d->is_done = true;
		return EX_OK;
	}
	if (rc)
		return give_up(rc == -ENOTSUP ? EX_USAGE : EX_CONFIG, why);
	if (d->conf->print_routes) {
		router_print(stdout);
		d->is_done = true;
		return EX_OK;
	}
	if (d->conf->print_config) {
		conf_print_settings(d->conf, stdout);
		d->is_done = true;
		return EX_OK;
	}
	forbid_core_dumps();
	log_set_level(d->conf->log.level);
	if (load_tls(&d->conf->server, &d->tls_context, &why))
		return give_up(EX_CONFIG, why);
	for (char **note = d->conf->notes; note && *note; note++)
		log_warn("%s", *note);
	if (d->conf->check_only) {
		puts("The configuration is valid.");
		d->is_done = true;
	}
	apps_install(app_set_ref(d->conf->apps));
	return EX_OK;
}

static void stop_conf(struct scopewired *d)
{
	apps_install(NULL);
	tls_context_free(d->tls_context);
	conf_free(d->conf);
}

/* -- signals -- */

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

static void stop_signals(struct scopewired *d)
{
	if (d->signals >= 0)
		close(d->signals);
}

static bool read_signals(struct scopewired *d);
static bool wait_signals(struct scopewired *d, int ms);

/* While the daemon starts: a signal says to stop.  It stays so. */
static bool is_stopped(void *ctx, int ms)
{
	struct scopewired *d = ctx;

	if (!d->is_done && wait_signals(d, ms)) {
		log_info("stopping before the start was complete");
		d->is_done = true;
	}
	return d->is_done;
}

/* -- database -- */

static int start_postgres(struct scopewired *d)
{
	char *why = NULL;

	if (!d->conf->embedded_postgres) {
		d->conninfo = conf_conninfo(d->conf);
		return EX_OK;
	}
	if (d->conf->server.user[0] && geteuid() == 0)
		return give_up(EX_CONFIG,
			       xstrdup("server.user cannot be used with --embedded-postgres: the "
				       "server belongs to another user and could not be stopped; "
				       "leave it empty, or start the daemon as that user"));
	if (embedded_pg_start(d->conf->embedded_postgres, is_stopped, d, &d->postgres, &d->conninfo,
			      &why) == 0)
		return EX_OK;
	if (!d->is_done)
		return give_up(EX_UNAVAILABLE, why);
	free(why);
	return EX_OK;
}

static void stop_postgres(struct scopewired *d)
{
	embedded_pg_stop(d->postgres);
	free(d->conninfo);
}

/* Waits for a change of the guard's state, or a moment; true when a signal says to stop. */
static bool wait_guard(struct scopewired *d)
{
	struct pollfd p[] = { { .fd = d->signals, .events = POLLIN },
			      { .fd = guard_fd(d->guard), .events = POLLIN } };

	ASSERT_ON(on_main);
	poll(p, ARRAY_SIZE(p), TICK_MS);
	guard_report(d->guard);
	if (d->postgres)
		embedded_pg_tend(d->postgres);
	return is_stopped(d, 0);
}

/*
 * A database that is only away does not hinder the start when it is not required.  A fault that an
 * operator has to repair does, and so does another daemon.
 */
static int check_guard(struct scopewired *d, enum guard_state state, int status, char *why)
{
	if (state == GUARD_AWAY && !d->conf->database.required && !d->conf->migrate_only &&
	    status == EX_UNAVAILABLE) {
		log_warn("starting without a database: %s", why);
		free(why);
		return EX_OK;
	}
	if (status == EX_UNAVAILABLE && state == GUARD_AWAY && d->conf->database_hint)
		log_error("%s", d->conf->database_hint);
	return give_up(status, why);
}

static int start_guard(struct scopewired *d)
{
	enum guard_state state;
	char *why = NULL;
	int status = EX_OK;

	ASSERT_ON(on_main);
	d->health = health_new();
	if (guard_start(d->conf, d->conninfo, d->health, &d->guard))
		return give_up(EX_OSERR, xstrdup("the guard of the database could not be started"));
	while ((state = guard_state(d->guard, &status, &why)) == GUARD_STARTS)
		if (wait_guard(d))
			return EX_OK;
	if (state != GUARD_HOLDS)
		status = check_guard(d, state, status, why);
	guard_go_on(d->guard);
	if (!status && d->conf->migrate_only) {
		puts("The schema is up to date.");
		d->is_done = true;
	}
	return status;
}

static void stop_guard(struct scopewired *d)
{
	guard_stop(d->guard);
	health_free(d->health);
}

/* -- workers and services, made but not running -- */

static void on_socket(void *ctx, const struct app *app, uint64_t socket_id, bool is_open)
{
	struct scopewired *d = ctx;

	if (is_open) {
		sockets_add(d->sockets, socket_id, app->runtime->number);
		return;
	}
	/* in this order: see viewers_watch() */
	sockets_remove(d->sockets, socket_id);
	viewers_on_closed(d->viewing, socket_id);
}

static void on_socket_user(void *ctx, uint64_t socket_id, struct str_view user_id, bool is_signin)
{
	struct scopewired *d = ctx;

	sockets_identify(d->sockets, socket_id, user_id, is_signin);
}

/* One core is left to HTTP, the log writer and PostgreSQL: see docs/decisions/0007. */
static unsigned default_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	return cores > 1 ? (unsigned)cores - 1 : 1;
}

/* A handshake is looked at in the socket's buffer until it is complete. */
static unsigned max_handshake_bytes(const struct conf_server *s)
{
	return s->max_header_bytes < HANDSHAKE_MAX ? s->max_header_bytes : HANDSHAKE_MAX;
}

/*
 * The kernel gives the lowest free descriptor.  The highest ones are for the database and for
 * files, those below them for HTTP as well; WebSocket connections get the rest.
 */
static unsigned reserved_for_database(const struct scopewired *d)
{
	const struct conf *c = d->conf;
	unsigned n =
		c->database.replay_connections + c->sync.connections + c->sync.rule_connections;

	return n + RESERVED_OTHER < d->open_files / 4 ? n + RESERVED_OTHER : d->open_files / 4;
}

static unsigned reserved_for_http(const struct scopewired *d)
{
	return d->open_files / 8 < RESERVED_HTTP_MAX ? d->open_files / 8 : RESERVED_HTTP_MAX;
}

static int make_workers(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	unsigned n = s->workers ? s->workers : default_workers();
	struct workers_conf wc = {
		.n = n > DIRECTORY_MAX_WORKERS ? DIRECTORY_MAX_WORKERS : n,
		.has_tls = s->tls_certificate[0],
		.max_head_bytes = max_handshake_bytes(s),
		.request_timeout_ms = s->request_timeout_ms,
		.max_connections = s->max_connections,
		.proxies = &s->trusted_proxies,
		.reserved_from =
			(int)(d->open_files - reserved_for_database(d) - reserved_for_http(d)),
		.path = sv(s->path),
		.replay_timeout_ms = d->conf->database.replay_timeout_ms,
		.on_socket = on_socket,
		.on_socket_user = on_socket_user,
		.socket_ctx = d,
	};

	d->addresses =
		address_limits_new(s->max_connections_per_address, s->max_handshakes_per_address);
	wc.addresses = d->addresses;
	frame_guard_init(d->open_files);
	d->replay = reader_new(&d->conf->database, d->conninfo);
	wc.log = reader_interface(d->replay);
	d->n_workers = wc.n;
	d->workers = workers_new(&wc);
	return EX_OK;
}

static void free_workers(struct scopewired *d)
{
	workers_free(d->workers);
	address_limits_free(d->addresses);
	reader_free(d->replay);
}

/* The sync API's connections. */
static struct pg_pool_conf pool_conf(const struct scopewired *d)
{
	struct pg_pool_conf pc = {
		.options = conf_pg_options(&d->conf->database, d->conninfo),
		.connections = d->conf->sync.connections,
		.max_open = d->conf->sync.max_waiting,
		.depth = 1,
		.lock_wait_ms = d->conf->sync.lock_wait_ms,
	};

	pc.options.statement_timeout_ms = d->conf->sync.statement_timeout_ms;
	return pc;
}

static int make_services(struct scopewired *d)
{
	struct pg_pool_conf pc = pool_conf(d);

	d->pool = pg_pool_new(&pc);
	d->jobs = jobs_new(d->pool, &d->conf->sync);
	d->presence = presence_db_new(d->pool, &d->conf->sync);
	d->sockets = sockets_new();
	d->viewing = viewers_new(d->pool, d->sockets, &d->conf->sync);
	pc.pool = POOL_AUTHORIZE;
	pc.connections = d->conf->sync.authorize_connections;
	d->authorize_pool = pg_pool_new(&pc);
	d->once = idempotency_new(d->authorize_pool);
	d->quotas = quotas_new(&d->conf->sync);
	return EX_OK;
}

static void free_services(struct scopewired *d)
{
	presence_db_free(d->presence);
	viewers_free(d->viewing);
	idempotency_free(d->once);
	quotas_free(d->quotas);
	sockets_free(d->sockets);
	pg_pool_free(d->pool);
	pg_pool_free(d->authorize_pool);
	jobs_free(d->jobs);
	authorizer_free(d->authorizer);
}

/* -- events: the directory and the event log -- */

/* No event exists any more. */
static void stop_delivery_records(struct scopewired *d)
{
	log_writer_stop(d->log, STOP_GRACE_MS);
	publisher_free(d->publisher);
	admission_free(d->admission);
}

/* Where a role may have few connections only, the log's writer gets one before the pools. */
static void wait_for_writer(struct scopewired *d)
{
	usec_t until = clock_mono() + WRITER_MS * USEC_PER_MSEC;
	struct log_writer_stats stats = { 0 };

	while (pg_gate_is_open() && !stats.is_connected && clock_mono() < until &&
	       !is_stopped(d, stats.reconnects ? POLL_MS : 1))
		log_writer_stats(d->log, &stats);
}

static int start_events(struct scopewired *d)
{
	struct directory_post post;

	workers_directory_post(d->workers, &post);
	d->directory = directory_new(d->n_workers, &post);
	if (d->conf->sync.presence_from_sockets)
		directory_watch_users(d->directory, presence_db_on_user, d->presence);
	if (log_writer_start(d->conf, d->conninfo, d->directory, &d->log))
		return give_up(EX_OSERR, xstrdup("the log writer could not be started"));
	d->publisher = publisher_new(d->directory, log_writer_queue(d->log),
				     d->conf->database.commit_timeout_ms);
	d->admission = admission_new(d->directory);
	if (!d->admission)
		return give_up(EX_OSERR,
			       xstrdup("the admission of publishes could not be started"));
	wait_for_writer(d);
	return EX_OK;
}

static void free_directory(struct scopewired *d)
{
	directory_free(d->directory);
}

static int start_workers(struct scopewired *d)
{
	if (workers_start(d->workers, d->directory))
		return give_up(EX_OSERR, xstrdup("the workers could not be started"));
	return EX_OK;
}

static void stop_workers(struct scopewired *d)
{
	workers_stop(d->workers);
}

static void stop_drainer(struct scopewired *d)
{
	drainer_stop(d->drainer);
}

/* Publishes under way are written, delivered and answered. */
static void close_log(struct scopewired *d)
{
	log_writer_close(d->log, STOP_GRACE_MS);
}

/* -- services -- */

static void stop_presence(struct scopewired *d)
{
	presence_db_stop(d->presence);
}

static int start_reader(struct scopewired *d)
{
	if (reader_start(d->replay, d->directory))
		return give_up(EX_OSERR, xstrdup("the replay threads could not be started"));
	return EX_OK;
}

static void stop_reader(struct scopewired *d)
{
	reader_stop(d->replay);
}

static int start_authorizer(struct scopewired *d)
{
	struct authorizer_conf ac = { pool_conf(d), d->conf->sync.rule_cache_ms };

	ac.predicates.connections = d->conf->sync.rule_connections;
	ac.predicates.options.statement_timeout_ms = d->conf->sync.rule_timeout_ms;
	ac.predicates.lock_wait_ms = 0; /* the predicates' timeout is short */
	if (authorizer_start(d->authorize_pool, &ac, &d->authorizer))
		return give_up(EX_OSERR, xstrdup("channel rules could not be started"));
	return EX_OK;
}

static void stop_authorizer(struct scopewired *d)
{
	authorizer_stop(d->authorizer);
}

static int start_pool(struct scopewired *d)
{
	if (pg_pool_start(d->pool) || pg_pool_start(d->authorize_pool))
		return give_up(EX_OSERR, xstrdup("the database pool could not be started"));
	return EX_OK;
}

static void stop_pool(struct scopewired *d)
{
	pg_pool_stop(d->pool);
	pg_pool_stop(d->authorize_pool);
}

static void take_tls_websocket(void *ctx, int fd, SSL *ssl, struct str_view head)
{
	struct scopewired *d = ctx;

	workers_adopt(d->workers, fd, ssl, head);
}

static void take_tls_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;
	int rc = http_server_adopt(d->http, fd, peer, len, true);

	if (rc)
		log_debug("an HTTPS connection was refused: %d", rc);
}

static int start_tls(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	struct tls_port_conf tc = {
		.threads = d->n_workers,
		.first_bytes_ms = s->request_timeout_ms,
		.max_head_bytes = max_handshake_bytes(s),
		.on_websocket = take_tls_websocket,
		.on_http = take_tls_http,
		.ctx = d,
	};

	if (!d->tls_context)
		return EX_OK;
	if (tls_port_start(&tc, d->tls_context, &d->tls))
		return give_up(EX_OSERR, xstrdup("the TLS threads could not be started"));
	d->tls_context = NULL;
	return EX_OK;
}

/* The HTTP server has stopped: what it answered is sent. */
static void stop_tls(struct scopewired *d)
{
	tls_port_stop(d->tls, STOP_GRACE_MS);
}

static int start_http(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	struct http_server_conf hc = {
		.max_connections = d->open_files / 2,
		.proxies = &s->trusted_proxies,
		.addresses = d->addresses,
		.admission = d->admission,
		.reserved_from = (int)(d->open_files - reserved_for_database(d)),
		.max_header_bytes = s->max_header_bytes,
		.request_timeout_ms = s->request_timeout_ms,
		.idle_timeout_s = HTTP_IDLE_S,
	};

	d->services = (struct api_services){ .conf = d->conf,
					     .directory = d->directory,
					     .health = d->health,
					     .publisher = d->publisher,
					     .admission = d->admission,
					     .pool = d->pool,
					     .once = d->once,
					     .replay = d->replay,
					     .presence = d->presence,
					     .viewing = d->viewing,
					     .authorizer = d->authorizer,
					     .quotas = d->quotas,
					     .sockets = d->sockets };
	router_init();
	if (http_server_start(&hc, &d->services, &d->http))
		return give_up(EX_OSERR, xstrdup("the HTTP server could not be started"));
	return EX_OK;
}

static void stop_http(struct scopewired *d)
{
	if (d->http)
		http_server_stop(d->http, STOP_GRACE_MS);
	admission_close(d->admission);
}

static int start_admin(struct scopewired *d)
{
	char *why = NULL;

	if (admin_listener_start(d->conf, d->health, &d->admin, &why))
		return give_up(EX_OSERR, why);
	return EX_OK;
}

static void stop_admin(struct scopewired *d)
{
	admin_listener_stop(d->admin, STOP_GRACE_MS);
}

static int start_housekeeper(struct scopewired *d)
{
	if (housekeeper_start(d->conf, d->conninfo, &d->housekeeper))
		return give_up(EX_OSERR, xstrdup("the housekeeper could not be started"));
	return EX_OK;
}

static void stop_housekeeper(struct scopewired *d)
{
	housekeeper_stop(d->housekeeper);
}

static void on_apps_changed(void *ctx)
{
	struct scopewired *d = ctx;

	workers_reload(d->workers);
}

static int start_apps_watch(struct scopewired *d)
{
	if (apps_watch_start(d->conf, d->conninfo, on_apps_changed, d, &d->apps_watch))
		return give_up(EX_OSERR, xstrdup("the apps watch could not be started"));
	return EX_OK;
}

static void stop_apps_watch(struct scopewired *d)
{
	apps_watch_stop(d->apps_watch);
}

/* -- clients -- */

/* Clients get positions in the log, whether there are events for them or not. */
static void update_position(struct scopewired *d)
{
	struct position p;

	if (log_tail_position(log_writer_tail(d->log), &p))
		directory_log_reached(d->directory, &p);
}

static void wait_for_drainer(struct scopewired *d)
{
	usec_t until = clock_mono() + CATCH_UP_MS * USEC_PER_MSEC;
	usec_t say_at = clock_mono() + USEC_PER_SEC;

	while (pg_gate_is_open() && !drainer_wait(d->drainer, POLL_MS) && clock_mono() < until &&
	       !is_stopped(d, POLL_MS)) {
		if (clock_mono() < say_at)
			continue;
		log_info("database: waiting since 1 s for the end of the event log");
		say_at = until;
	}
}

/*
 * The drainer starts when the applications are followed.  What an earlier process left in the log
 * is delivered before a client can see it twice.
 */
static int start_drainer(struct scopewired *d)
{
	if (drainer_start(d->conf, d->conninfo, log_writer_tail(d->log), &d->drainer))
		return give_up(EX_OSERR, xstrdup("the drainer could not be started"));
	wait_for_drainer(d);
	update_position(d);
	return EX_OK;
}

static void take_websocket(void *ctx, int fd, struct str_view head)
{
	struct scopewired *d = ctx;

	workers_adopt(d->workers, fd, NULL, head);
}

static void take_tls(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;

	tls_port_adopt(d->tls, fd, peer, len);
}

static void take_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;
	int rc = http_server_adopt(d->http, fd, peer, len, false);

	if (rc)
		log_debug("an HTTP connection was refused: %d", rc);
}

static int start_acceptor(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	struct acceptor_conf ac = {
		.host = s->host,
		.port = s->port,
		.backlog = s->backlog,
		.reserved_from = (int)(d->open_files - reserved_for_database(d)),
		.first_bytes_ms = s->request_timeout_ms,
		.max_head_bytes = max_handshake_bytes(s),
		.congestion_control = s->congestion_control,
		.first_fd = d->listen_fd,
		.n_fds = d->n_listen_fds,
		.on_websocket = take_websocket,
		.on_tls = d->tls ? take_tls : NULL,
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
	d->is_serving = true;
	return EX_OK;
}

static void stop_acceptor(struct scopewired *d)
{
	acceptor_stop(d->acceptor);
	tls_port_close(d->tls);
}

/* -- running -- */

/*
 * The log is stuck while events wait and nothing is committed.  Publishers that were refused go
 * away, so that is not forgotten at once.
 */
static void check_log(struct scopewired *d)
{
	struct log_writer_stats stats;
	usec_t now = clock_mono();
	bool is_late;

	log_writer_stats(d->log, &stats);
	if (stats.commits != d->log_commits || (!stats.queued_events && now >= d->log_stuck_until))
		d->log_since = now;
	d->log_commits = stats.commits;
	is_late = now - d->log_since >= d->conf->database.commit_timeout_ms * USEC_PER_MSEC / 2;
	if (is_late && stats.queued_events)
		d->log_stuck_until = now + LOG_STUCK_US;
	health_set(d->health, HEALTH_LOG,
		   is_late ? "the log is stuck: events wait, and nothing is committed" : NULL);
}

/* A pair that cannot be used changes nothing: the old one stays. */
static void reload_tls(struct scopewired *d, const struct conf *now)
{
	SSL_CTX *context;
	char *why = NULL;

	if (!d->tls)
		return;
	if (load_tls(&now->server, &context, &why)) {
		log_error("the TLS certificate was not reloaded, the old one stays: %s", why);
		free(why);
	} else if (context) {
		tls_port_use(d->tls, context);
	}
}

/* The applications of the new configuration are in force; other changes need a restart. */
static void reload(struct scopewired *d)
{
	struct conf *now = NULL;
	char *why = NULL, *names;

	if (conf_load(d->argc, d->argv, environ, &now, &why)) {
		log_error_lines("reload refused, nothing changed: ",
				why ? why : "see the command line");
		free(why);
		return;
	}
	log_set_level(now->log.level);
	for (char **note = now->notes; note && *note; note++)
		log_warn("%s", *note);
	apps_watch_set_file(d->apps_watch, now->apps);
	reload_tls(d, now);
	names = conf_needs_restart(d->conf, now);
	if (names)
		log_warn("configuration reloaded; these changes take effect after a restart: %s",
			 names);
	else
		log_info("configuration reloaded");
	free(names);
	conf_free(now);
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

/* True, with the exit status logged and kept, when the database belongs to another daemon now. */
static bool is_replaced(struct scopewired *d)
{
	char *why = NULL;
	int status;

	ASSERT_ON(on_main);
	if (guard_state(d->guard, &status, &why) == GUARD_ENDS)
		d->status = give_up(status, why);
	else
		free(why);
	return d->status != EX_OK;
}

static void serve_until_signal(struct scopewired *d)
{
	ASSERT_ON(on_main);
	while (!wait_signals(d, TICK_MS) && !is_replaced(d)) {
		guard_report(d->guard);
		check_log(d);
		update_position(d);
		users_tick(d->directory, clock_mono());
		log_gates_flush(clock_mono());
		if (d->postgres)
			embedded_pg_tend(d->postgres);
	}
}

/* Sends the clients away; a second signal skips the rest. */
static void send_clients_away(struct scopewired *d)
{
	usec_t until;

	if (!d->is_serving)
		return;
	log_info("stopping: sending %u clients away", workers_sessions(d->workers));
	workers_drain(d->workers, d->conf->server.drain_ms);
	until = clock_mono() + (d->conf->server.drain_ms + STOP_GRACE_MS) * USEC_PER_MSEC;
	while (workers_sessions(d->workers) && clock_mono() < until)
		if (wait_signals(d, 20))
			return;
}

/*
 * The parts, in the order of their start; they stop in the opposite order, so that each needs only
 * what is still running (docs/architecture.md, Stopping).  A start returns an exit status, after it
 * has logged why.  A stop also follows a start that failed.
 */
static const struct {
	int (*start)(struct scopewired *d);
	void (*stop)(struct scopewired *d);
} parts[] = {
	{ start_conf, stop_conf },
	{ start_signals, stop_signals },
	{ start_postgres, stop_postgres },
	{ start_guard, stop_guard },
	{ make_workers, free_workers },
	{ make_services, free_services },
	{ NULL, stop_delivery_records },
	{ start_events, free_directory },
	{ start_workers, stop_workers },
	{ NULL, stop_drainer },
	{ NULL, close_log },
	{ NULL, stop_presence },
	{ start_reader, stop_reader },
	{ start_authorizer, stop_authorizer },
	{ start_pool, stop_pool },
	{ start_tls, stop_tls },
	{ start_http, stop_http },
	{ start_housekeeper, stop_housekeeper },
	{ start_apps_watch, stop_apps_watch },
	{ start_admin, stop_admin },
	{ start_drainer, send_clients_away },
	{ start_acceptor, stop_acceptor },
};

int main(int argc, char **argv)
{
	struct scopewired d = { .argc = argc, .argv = argv, .signals = -1 };
	size_t n = 0;
	int rc = EX_OK;

	thread_take_role(&on_main);
	d.n_listen_fds = listen_fds_take(&d.listen_fd);
	for (; n < ARRAY_SIZE(parts) && !rc && !d.is_done; n++)
		if (parts[n].start)
			rc = parts[n].start(&d);
	if (d.is_serving && !d.is_done) {
		serve_until_signal(&d);
		health_set(d.health, HEALTH_STOP, "the daemon is stopping");
		rc = d.status;
	}
	while (n-- > 0)
		if (parts[n].stop)
			parts[n].stop(&d);
	if (d.is_serving)
		log_info("stopped");
	return rc;
}
