/* SPDX-License-Identifier: MIT */
/*
 * Starts and stops what clients connect to: the acceptor, the TLS threads, the HTTP servers.  The
 * functions take_...() pass a connection on to the part that serves it.
 */
#include <sysexits.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "log/writer.h"
#include "svc/admission.h"
#include "api/call.h"
#include "api/router.h"
#include "http/server.h"
#include "ws/worker.h"
#include "front/acceptor.h"
#include "front/tls_port.h"
#include "daemon/admin_listener.h"
#include "daemon/daemon.h"
#include "daemon/privs.h"

#define HTTP_IDLE_S	  75
#define HANDSHAKE_MAX	  32768 /* bytes; below the smallest receive buffer of a socket */
#define RESERVED_OTHER	  16	/* descriptors for what is not a socket of a client */
#define RESERVED_HTTP_MAX 1024

unsigned max_handshake_bytes(const struct conf_server *s)
{
	return s->max_header_bytes < HANDSHAKE_MAX ? s->max_header_bytes : HANDSHAKE_MAX;
}

unsigned reserved_for_database(const struct scopewired *d)
{
	const struct conf *c = d->conf;
	unsigned n =
		c->database.replay_connections + c->sync.connections + c->sync.rule_connections;

	return n + RESERVED_OTHER < d->open_files / 4 ? n + RESERVED_OTHER : d->open_files / 4;
}

unsigned reserved_for_http(const struct scopewired *d)
{
	return d->open_files / 8 < RESERVED_HTTP_MAX ? d->open_files / 8 : RESERVED_HTTP_MAX;
}

static void listener_take_tls_websocket(void *ctx, int fd, SSL *ssl, struct str_view head)
{
	struct scopewired *d = ctx;

	workers_adopt(d->workers, fd, ssl, head);
}

static void listener_take_tls_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;
	int rc = http_server_adopt(d->http, fd, peer, len, true);

	if (rc)
		log_debug("an HTTPS connection was refused: %d", rc);
}

int start_tls(struct scopewired *d)
{
	const struct conf_server *s = &d->conf->server;
	struct tls_port_conf tc = {
		.threads = d->n_workers,
		.first_bytes_ms = s->request_timeout_ms,
		.max_head_bytes = max_handshake_bytes(s),
		.on_websocket = listener_take_tls_websocket,
		.on_http = listener_take_tls_http,
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
void stop_tls(struct scopewired *d)
{
	tls_port_stop(d->tls, STOP_GRACE_MS);
}

int start_http(struct scopewired *d)
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
					     .tail = d->log ? log_writer_tail(d->log) : NULL,
					     .presence = d->presence,
					     .ties = d->ties,
					     .authorizer = d->authorizer,
					     .app_auth = d->app_auth,
					     .quotas = d->quotas,
					     .sockets = d->sockets,
					     .recorder = d->recorder,
					     .live_tail = d->live_tail };
	router_init();
	if (http_server_start(&hc, &d->services, &d->http))
		return give_up(EX_OSERR, xstrdup("the HTTP server could not be started"));
	return EX_OK;
}

void stop_http(struct scopewired *d)
{
	if (d->http)
		http_server_stop(d->http, STOP_GRACE_MS);
	admission_close(d->admission);
}

int start_admin(struct scopewired *d)
{
	const struct admin_listener_conf lc = {
		.conf = d->conf,
		.conninfo = d->conninfo,
		.health = d->health,
		.directory = d->directory,
		.publisher = d->publisher,
		.recorder = d->recorder,
		.live_tail = d->live_tail,
		.tls_context = d->admin_tls_context,
	};
	char *why = NULL;

	if (admin_listener_start(&lc, &d->admin, &why))
		return give_up(EX_OSERR, why);
	return EX_OK;
}

void stop_admin(struct scopewired *d)
{
	admin_listener_stop(d->admin, STOP_GRACE_MS);
}

static void listener_take_websocket(void *ctx, int fd, struct str_view head)
{
	struct scopewired *d = ctx;

	workers_adopt(d->workers, fd, NULL, head);
}

static void listener_take_tls(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;

	tls_port_adopt(d->tls, fd, peer, len);
}

static void listener_take_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct scopewired *d = ctx;
	int rc = http_server_adopt(d->http, fd, peer, len, false);

	if (rc)
		log_debug("an HTTP connection was refused: %d", rc);
}

int start_acceptor(struct scopewired *d)
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
		.on_websocket = listener_take_websocket,
		.on_tls = d->tls ? listener_take_tls : NULL,
		.on_http = listener_take_http,
		.ctx = d,
	};
	char *why = NULL;
	int rc = acceptor_new(&ac, &d->acceptor, &why);

	if (rc)
		return give_up(EX_OSERR, why);
	if (s->user[0] && geteuid() == 0 && privs_become(s->user, &why))
		return give_up(EX_CONFIG, why);
	if (start_log_file(d))
		return EX_CONFIG;
	if (acceptor_start(d->acceptor))
		return give_up(EX_OSERR, xstrdup("the acceptor could not be started"));
	log_info("ready: listening on %s:%u", s->host, acceptor_port(d->acceptor));
	if (s->demo)
		log_info("demo page: http://127.0.0.1:%u%s/", acceptor_port(d->acceptor), s->path);
	d->is_serving = true;
	return EX_OK;
}

void stop_acceptor(struct scopewired *d)
{
	acceptor_stop(d->acceptor);
	tls_port_close(d->tls);
}

void send_clients_away(struct scopewired *d)
{
	usec_t until;

	if (!d->is_serving)
		return;
	log_info("stopping: sending %u clients away", workers_sessions(d->workers));
	workers_drain(d->workers, d->conf->server.drain_ms);
	until = clock_mono() + (d->conf->server.drain_ms + STOP_GRACE_MS) * USEC_PER_MSEC;
	while (workers_sessions(d->workers) && clock_mono() < until)
		if (signals_wait(d, 20))
			return;
}
