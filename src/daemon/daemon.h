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
#include "pg/pool.h"
#include "api/call.h"

#define STOP_GRACE_MS 2000

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

/* -- main.c -- */

void log_error_lines(const char *prefix, const char *text);
int give_up(int status, char *why);

/* -- configuration.c -- */

int start_conf(struct scopewired *d);
void stop_conf(struct scopewired *d);
void reload(struct scopewired *d);

/* -- signals.c -- */

int start_signals(struct scopewired *d);
void stop_signals(struct scopewired *d);
bool wait_signals(struct scopewired *d, int ms);
bool is_stopped(void *ctx, int ms);

/* -- start_database.c -- */

int start_postgres(struct scopewired *d);
void stop_postgres(struct scopewired *d);
int start_guard(struct scopewired *d);
void stop_guard(struct scopewired *d);

/* -- start_events.c -- */

int make_workers(struct scopewired *d);
void free_workers(struct scopewired *d);
void stop_delivery_records(struct scopewired *d);
int start_events(struct scopewired *d);
void free_directory(struct scopewired *d);
int start_workers(struct scopewired *d);
void stop_workers(struct scopewired *d);
void close_log(struct scopewired *d);
int start_reader(struct scopewired *d);
void stop_reader(struct scopewired *d);
int start_drainer(struct scopewired *d);
void stop_drainer(struct scopewired *d);
void update_position(struct scopewired *d);

/* -- start_services.c -- */

struct pg_pool_conf pool_conf(const struct scopewired *d);
int make_services(struct scopewired *d);
void free_services(struct scopewired *d);
int start_pool(struct scopewired *d);
void stop_pool(struct scopewired *d);
void stop_presence(struct scopewired *d);
int start_authorizer(struct scopewired *d);
void stop_authorizer(struct scopewired *d);
int start_housekeeper(struct scopewired *d);
void stop_housekeeper(struct scopewired *d);
int start_apps_watch(struct scopewired *d);
void stop_apps_watch(struct scopewired *d);

/* -- start_listeners.c -- */

unsigned max_handshake_bytes(const struct conf_server *s);
unsigned reserved_for_database(const struct scopewired *d);
unsigned reserved_for_http(const struct scopewired *d);
int start_tls(struct scopewired *d);
void stop_tls(struct scopewired *d);
int start_http(struct scopewired *d);
void stop_http(struct scopewired *d);
int start_admin(struct scopewired *d);
void stop_admin(struct scopewired *d);
int start_acceptor(struct scopewired *d);
void stop_acceptor(struct scopewired *d);
void send_clients_away(struct scopewired *d);

/* -- serve.c -- */

void serve_until_signal(struct scopewired *d);

#endif
