/* SPDX-License-Identifier: MIT */
/*
 * Starts the parts of the admin listener from the bottom up (pool, HTTP, TLS, acceptor) and stops
 * them in the order acceptor, HTTP, TLS, pool.  On the main thread; the take_ and drop_ callbacks
 * run on the acceptor's and TLS threads.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "pg/pool.h"
#include "conf/conninfo.h"
#include "admin/admin.h"
#include "http/server.h"
#include "front/acceptor.h"
#include "front/tls_port.h"
#include "daemon/admin_listener.h"

#define CONNECTIONS_MAX	 64
#define HEAD_MAX	 16384
#define BODY_MAX	 1048576
#define REQUEST_MS	 10000
#define IDLE_S		 75
#define CONNECTIONS_WAIT 64

/* Of its own, so that it works while those of the sync API are occupied. */
#define POOL_CONNECTIONS 2
#define POOL_OPEN_MAX	 128
#define STATEMENT_MS	 10000

struct admin_listener {
	struct pg_pool *pool;
	struct admin *admin;
	struct http_server *http;
	struct tls_port *tls; /* NULL: without TLS */
	struct acceptor *acceptor;
};

static void admin_take_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct admin_listener *l = ctx;

	if (http_server_adopt(l->http, fd, peer, len, false))
		log_debug("a connection to the admin listener was refused");
}

static void admin_take_tls_http(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct admin_listener *l = ctx;

	if (http_server_adopt(l->http, fd, peer, len, true))
		log_debug("a connection to the admin listener was refused");
}

static void admin_take_tls(void *ctx, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct admin_listener *l = ctx;

	tls_port_adopt(l->tls, fd, peer, len);
}

/* With a certificate, requests in clear text could have tokens in them. */
static void admin_drop_http(void *ctx UNUSED, int fd, const struct sockaddr *peer UNUSED,
			    socklen_t len UNUSED)
{
	log_debug("a connection to the admin listener was closed: it does not use TLS");
	close(fd);
}

static void admin_drop_websocket(void *ctx UNUSED, int fd, struct str_view head UNUSED)
{
	close(fd);
}

static void admin_drop_tls_websocket(void *ctx UNUSED, int fd, SSL *ssl,
				     struct str_view head UNUSED)
{
	SSL_free(ssl);
	close(fd);
}

static int admin_start_tls(struct admin_listener *l, SSL_CTX *context)
{
	struct tls_port_conf tc = {
		.threads = 1,
		.first_bytes_ms = REQUEST_MS,
		.max_head_bytes = HEAD_MAX,
		.on_websocket = admin_drop_tls_websocket,
		.on_http = admin_take_tls_http,
		.ctx = l,
	};
	int rc;

	if (!context)
		return 0;
	SSL_CTX_up_ref(context);
	rc = tls_port_start(&tc, context, &l->tls);
	if (rc)
		SSL_CTX_free(context);
	return rc;
}

static int admin_listen(struct admin_listener *l, const struct conf_admin *conf, char **why)
{
	char host[CONF_ADMIN_HOST_SIZE] = "";
	struct acceptor_conf ac = {
		.option = "admin.listen",
		.name = "admin acceptor",
		.host = host,
		.backlog = CONNECTIONS_WAIT,
		.first_bytes_ms = REQUEST_MS,
		.max_head_bytes = HEAD_MAX,
		.congestion_control = "",
		.on_websocket = admin_drop_websocket,
		.on_tls = l->tls ? admin_take_tls : NULL,
		.on_http = l->tls ? admin_drop_http : admin_take_http,
		.ctx = l,
	};
	int rc;

	if (conf_admin_is_unix(conf))
		ac.unix_path = conf->listen;
	else if (!conf_admin_address(conf, host, &ac.port))
		return -EINVAL;
	rc = acceptor_new(&ac, &l->acceptor, why);
	if (!rc)
		rc = acceptor_start(l->acceptor);
	if (rc)
		return rc;
	if (ac.unix_path)
		log_info("admin: listening on %s", ac.unix_path);
	else
		log_info("admin: listening on %s:%u", host, acceptor_port(l->acceptor));
	return 0;
}

static void admin_make_services(struct admin_listener *l, const struct admin_listener_conf *lc)
{
	struct pg_pool_conf pc = {
		.options = conf_pg_options(&lc->conf->database, lc->conninfo),
		.pool = POOL_ADMIN,
		.connections = POOL_CONNECTIONS,
		.max_open = POOL_OPEN_MAX,
		.depth = 1,
	};
	struct admin_services services = {
		.conf = lc->conf,
		.health = lc->health,
		.directory = lc->directory,
		.publisher = lc->publisher,
		.recorder = lc->recorder,
		.live_tail = lc->live_tail,
	};

	pc.options.statement_timeout_ms = STATEMENT_MS;
	services.pool = l->pool = pg_pool_new(&pc);
	l->admin = admin_new(&services);
}

int admin_listener_start(const struct admin_listener_conf *lc, struct admin_listener **out,
			 char **why)
{
	const struct conf_admin *conf = &lc->conf->admin;
	struct http_server_conf hc = {
		.name = "admin http",
		.handle = admin_handle,
		.body_max = BODY_MAX,
		.max_connections = CONNECTIONS_MAX,
		.max_header_bytes = HEAD_MAX,
		.request_timeout_ms = REQUEST_MS,
		.idle_timeout_s = IDLE_S,
	};
	struct admin_listener *l;
	int rc;

	*out = NULL;
	if (conf_admin_is_off(conf))
		return 0;
	l = xcalloc(1, sizeof(*l));
	admin_make_services(l, lc);
	hc.handle_ctx = l->admin;
	rc = pg_pool_start(l->pool);
	if (!rc)
		rc = http_server_start(&hc, NULL, &l->http);
	if (!rc)
		rc = admin_start_tls(l, lc->tls_context);
	if (!rc)
		rc = admin_listen(l, conf, why);
	if (rc)
		admin_listener_stop(l, 0);
	else
		*out = l;
	return rc;
}

void admin_listener_reload(struct admin_listener *l, const struct conf_admin *now)
{
	if (l)
		admin_reload(l->admin, now);
}

struct tls_port *admin_listener_tls(const struct admin_listener *l)
{
	return l ? l->tls : NULL;
}

void admin_listener_stop(struct admin_listener *l, unsigned grace_ms)
{
	if (!l)
		return;
	acceptor_stop(l->acceptor);
	tls_port_close(l->tls);
	admin_close(l->admin);
	http_server_stop(l->http, grace_ms);
	tls_port_stop(l->tls, grace_ms);
	pg_pool_stop(l->pool);
	pg_pool_free(l->pool);
	admin_free(l->admin);
	free(l);
}
