/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H
/*
 * The daemon: its parts, and how each of them is started and stopped.  main.c has the table of the
 * starts and stops.  The parts are connected in these files and nowhere else: what one layer may
 * not know of another is passed to it as a function.  All functions are for the main thread; the
 * callbacks in the files (on_..., take_...) are called by other threads.
 */
#include <openssl/ssl.h>
#include "base/clock.h"
#include "base/thread.h"
#include "pg/pool.h"
#include "api/call.h"

#define STOP_GRACE_MS 2000

/* Members are owned by the main thread; what a part shares with other threads is in the part. */
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
	struct bus *bus;
	struct cluster *cluster; /* NULL: the daemon is alone */
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
	struct socket_ties *ties;
	struct webhooks *webhooks;
	struct app_auth *app_auth;
	struct log_writer *log;
	struct workers *workers;
	struct address_limits *addresses;
	struct recorder *recorder;   /* NULL without an admin listener */
	struct live_tail *live_tail; /* the same */
	struct directory *directory;
	struct publisher *publisher;
	struct admission *admission;
	struct reader *replay;
	struct authorizer *authorizer;
	struct grants *grants;
	struct api_services services;
	SSL_CTX *tls_context;	    /* until tls owns it */
	SSL_CTX *admin_tls_context; /* that of the start; NULL: without TLS */
	struct tls_port *tls;	    /* the same */
	struct http_server *http;
	struct acceptor *acceptor;
	struct admin_listener *admin;
	unsigned n_workers;
	bool is_serving;
	bool is_reload_due;		   /* SIGHUP arrived before that */
	uint64_t log_commits;		   /* at the last check */
	usec_t log_since, log_stuck_until; /* mono; of the last check at which it was not stuck */
	int status;
	bool is_done; /* a signal requested the stop, or the command line requested no more than
			 what is done */
};

/* -- failure.c -- */

/* Logs one line for each line of text, after prefix. */
void log_error_lines(const char *prefix, const char *text);
/* Logs why (NULL: out of memory) and frees it; returns status, an exit status. */
int give_up(int status, char *why);

/*
 * The rows of the table in main.c.  A start_ or make_ function returns an exit status, after it has
 * logged why; a stop_ or free_ function also follows a start that failed or was not tried.
 */

/* -- configuration.c -- */

int start_conf(struct scopewired *d) RUNS_ON(on_main);
void stop_conf(struct scopewired *d) RUNS_ON(on_main);
/* Begins to log to log.file.  An exit status. */
int start_log_file(struct scopewired *d) RUNS_ON(on_main);
/* Reads the configuration again; if it has a fault, that is logged and the old one stays. */
void reload_conf(struct scopewired *d) RUNS_ON(on_main);

/* -- signals.c -- */

int start_signals(struct scopewired *d) RUNS_ON(on_main);
void stop_signals(struct scopewired *d) RUNS_ON(on_main);
/* Waits at most ms for signals and handles them; true when one requests to stop. */
bool signals_wait(struct scopewired *d, int ms) RUNS_ON(on_main);
/*
 * The same while the daemon starts (ctx is the struct scopewired): remembers the request in
 * is_done, and is true at each later call.
 */
bool is_stop_requested(void *ctx, int ms) RUNS_ON(on_main);

/* -- start_database.c -- */

int start_postgres(struct scopewired *d) RUNS_ON(on_main);
void stop_postgres(struct scopewired *d) RUNS_ON(on_main);
int make_bus(struct scopewired *d) RUNS_ON(on_main);
void free_bus(struct scopewired *d) RUNS_ON(on_main);
int start_guard(struct scopewired *d) RUNS_ON(on_main);
void stop_guard(struct scopewired *d) RUNS_ON(on_main);
int start_bus(struct scopewired *d) RUNS_ON(on_main);
void stop_bus(struct scopewired *d) RUNS_ON(on_main);

/* -- start_events.c -- */

int make_workers(struct scopewired *d) RUNS_ON(on_main);
void free_workers(struct scopewired *d) RUNS_ON(on_main);
/* The last step of the events: no event exists any more. */
void stop_delivery_records(struct scopewired *d) RUNS_ON(on_main);
int start_events(struct scopewired *d) RUNS_ON(on_main);
void free_directory(struct scopewired *d) RUNS_ON(on_main);
int start_workers(struct scopewired *d) RUNS_ON(on_main);
void stop_workers(struct scopewired *d) RUNS_ON(on_main);
/* Publishes in progress are written, delivered and answered. */
void close_log(struct scopewired *d) RUNS_ON(on_main);
int start_reader(struct scopewired *d) RUNS_ON(on_main);
void stop_reader(struct scopewired *d) RUNS_ON(on_main);
int start_drainer(struct scopewired *d) RUNS_ON(on_main);
void stop_drainer(struct scopewired *d) RUNS_ON(on_main);
/* Clients get positions in the log, whether there are events for them or not. */
void update_log_position(struct scopewired *d) RUNS_ON(on_main);

/* -- start_services.c -- */

int make_services(struct scopewired *d) RUNS_ON(on_main);
void free_services(struct scopewired *d) RUNS_ON(on_main);
int start_pool(struct scopewired *d) RUNS_ON(on_main);
void stop_pool(struct scopewired *d) RUNS_ON(on_main);
int start_webhooks(struct scopewired *d) RUNS_ON(on_main);
void stop_webhooks(struct scopewired *d) RUNS_ON(on_main);
void stop_presence(struct scopewired *d) RUNS_ON(on_main);
int start_authorizer(struct scopewired *d) RUNS_ON(on_main);
void stop_authorizer(struct scopewired *d) RUNS_ON(on_main);
int start_housekeeper(struct scopewired *d) RUNS_ON(on_main);
void stop_housekeeper(struct scopewired *d) RUNS_ON(on_main);
int start_apps_watch(struct scopewired *d) RUNS_ON(on_main);
void stop_apps_watch(struct scopewired *d) RUNS_ON(on_main);

/* -- start_listeners.c -- */

/* A handshake is kept in the socket's buffer until it is complete, so its size has a limit. */
unsigned max_handshake_bytes(const struct conf_server *s);
/*
 * The kernel gives the lowest free descriptor.  The highest ones are for the database and for
 * files, those below them for HTTP as well; WebSocket connections get the rest.
 */
unsigned reserved_for_database(const struct scopewired *d);
unsigned reserved_for_http(const struct scopewired *d);
int start_tls(struct scopewired *d) RUNS_ON(on_main);
void stop_tls(struct scopewired *d) RUNS_ON(on_main);
int start_http(struct scopewired *d) RUNS_ON(on_main);
void stop_http(struct scopewired *d) RUNS_ON(on_main);
int start_admin(struct scopewired *d) RUNS_ON(on_main);
void stop_admin(struct scopewired *d) RUNS_ON(on_main);
int start_acceptor(struct scopewired *d) RUNS_ON(on_main);
void stop_acceptor(struct scopewired *d) RUNS_ON(on_main);
/* Closes the WebSocket connections in portions; a second signal skips the rest. */
void send_clients_away(struct scopewired *d) RUNS_ON(on_main);

/* -- serve.c -- */

/* Returns when a signal requests to stop, or the guard ends the daemon (status). */
void serve_until_signal(struct scopewired *d) RUNS_ON(on_main);
/*
 * The same for server.drain_wait_ms after it, while /ready answers 503: a load balancer notices.  A
 * second signal ends it.
 */
void serve_until_noticed(struct scopewired *d) RUNS_ON(on_main);

#endif
