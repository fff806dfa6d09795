/* SPDX-License-Identifier: MIT */
/*
 * Starts and stops libmicrohttpd, and passes it the sockets that the acceptor accepted.
 *
 * http_server_*() are called on other threads than http; http_server_start() and
 * http_server_stop() on main.
 *
 * libmicrohttpd's own connection limit is not used: in 0.9.75 reaching it leaves a mutex locked.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mem.h"
#include "http/server-private.h"

/* ---- connections from the acceptor -------------------------------------------------- */

/* A connection on its way to the http thread. */
struct adoption {
	struct loop_call call;
	struct http_server *server;
	int fd;
	bool is_tls;
	struct address_count *address;
	socklen_t peer_len;
	struct sockaddr_storage peer;
};

static void on_adoption(struct loop_call *call)
{
	struct adoption *a = CONTAINER_OF(call, struct adoption, call);
	struct http_server *s = a->server;

	ASSERT_ON(on_http);
	s->is_announced = false;
	s->is_tls = a->is_tls;
	s->adopting = a->address;
	if (MHD_add_connection(s->mhd, a->fd, (struct sockaddr *)&a->peer, a->peer_len) == MHD_NO) {
		log_warn("http: a connection could not be added: %s", strerror(errno));
		if (!s->is_announced) {
			atomic_fetch_sub(&s->connections, 1);
			address_limits_leave(s->conf.addresses, a->address);
		}
	}
	free(a);
}

/* False: the address is at its limit.  A proxy's address is not counted:
 * conn.c counts the requests of its clients. */
static bool server_count_address(struct http_server *s, const struct sockaddr *peer,
				 struct address_count **out)
{
	struct address address = address_of_sockaddr(peer);

	*out = NULL;
	if (s->conf.proxies && trusted_proxies_contain(s->conf.proxies, &address))
		return true;
	return address_limits_connect(s->conf.addresses, &address, clock_mono(), out) ==
	       ADDRESS_ADMITTED;
}

int http_server_adopt(struct http_server *s, int fd, const struct sockaddr *peer, socklen_t len,
		      bool is_tls)
{
	unsigned max = s->conf.max_connections;
	struct address_count *address;
	struct adoption *a;
	int on = 1;

	if (atomic_load(&s->is_stopping)) {
		close(fd);
		return -ESHUTDOWN;
	}
	if ((atomic_fetch_add(&s->connections, 1) >= max && max) ||
	    (s->conf.reserved_from && fd >= s->conf.reserved_from)) {
		atomic_fetch_sub(&s->connections, 1);
		deadlines_refuse(fd, "503 Service Unavailable\r\nRetry-After: 1",
				 SV("Too many connections; try again"));
		close(fd);
		return -EMFILE;
	}
	if (!server_count_address(s, peer, &address)) {
		atomic_fetch_sub(&s->connections, 1);
		deadlines_refuse(fd, "429 Too Many Requests\r\nRetry-After: 1",
				 SV("Too many connections from this address (option "
				    "max_connections_per_address)."));
		close(fd);
		return -EDQUOT;
	}
	if (!is_tls && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		log_debug("http: TCP_NODELAY could not be set");
	a = xmalloc(sizeof(*a));
	a->call.fn = on_adoption;
	a->server = s;
	a->fd = fd;
	a->is_tls = is_tls;
	a->address = address;
	a->peer_len = len < sizeof(a->peer) ? len : (socklen_t)sizeof(a->peer);
	memcpy(&a->peer, peer, a->peer_len);
	http_loop_post(s->loop, &a->call);
	return 0;
}

/* ---- start and stop ------------------------------------------------------------------ */

static void server_free(struct http_server *s)
{
	if (s->empty_object)
		MHD_destroy_response(s->empty_object);
	deadlines_stop(s->deadlines);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* Leaves escapes as they are: request_set_target() decodes the target. */
static size_t server_keep_escapes(void *cls UNUSED, struct MHD_Connection *mhd UNUSED, char *s)
{
	return strlen(s);
}

/* The library answers some requests itself: a head that is too large, a request line that is none.
 */
PRINTF_LIKE(2, 0)
static void server_on_mhd_message(void *cls UNUSED, const char *fmt, va_list args)
{
	static struct log_gate refused = LOG_GATE("requests refused by the HTTP parser");
	char text[160];

	if (strncmp(fmt, "Error processing request", 24) != 0)
		return;
	vsnprintf(text, sizeof(text), fmt, args);
	text[strcspn(text, "\n")] = '\0';
	log_gated(&refused, "request refused: %s", text);
}

static int server_start_mhd(struct http_server *s)
{
	/* the headers, an index of them, the response's head, and room to read into */
	size_t pool_bytes = (size_t)s->conf.max_header_bytes + s->conf.max_header_bytes / 4 + 4096;
	int rc;

	s->mhd = MHD_start_daemon(
		LOOP_MHD_FLAGS | MHD_USE_ERROR_LOG, 0, NULL, NULL, conn_on_request, s,
		/* the first of the options */
		MHD_OPTION_EXTERNAL_LOGGER, server_on_mhd_message, NULL,
		MHD_OPTION_URI_LOG_CALLBACK, conn_on_target, s, MHD_OPTION_UNESCAPE_CALLBACK,
		server_keep_escapes, s, MHD_OPTION_NOTIFY_COMPLETED, conn_on_completed, s,
		MHD_OPTION_NOTIFY_CONNECTION, conn_on_connection, s, MHD_OPTION_CONNECTION_LIMIT,
		(unsigned)INT_MAX, MHD_OPTION_CONNECTION_TIMEOUT, s->conf.idle_timeout_s,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, pool_bytes,
		/* threads of ours block all signals */
		MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	if (!s->mhd)
		return -EIO;
	rc = http_loop_start(s->mhd, s->conf.name ? s->conf.name : "http", s->conf.admission,
			     &s->loop);
	if (rc)
		MHD_stop_daemon(s->mhd);
	return rc;
}

static struct MHD_Response *server_make_empty_object(void)
{
	static char text[] = "{}";
	struct MHD_Response *r = MHD_create_response_from_buffer(2, text, MHD_RESPMEM_PERSISTENT);

	if (r)
		http_add_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	return r;
}

int http_server_start(const struct http_server_conf *conf, const struct api_services *services,
		      struct http_server **out)
{
	struct http_server *s = xcalloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int rc;

	s->conf = *conf;
	s->services = services;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	s->empty_object = server_make_empty_object();
	rc = s->empty_object ? deadlines_start(conn_on_deadline, &s->deadlines) : -ENOMEM;
	if (!rc)
		rc = server_start_mhd(s);
	if (rc)
		server_free(s);
	else
		*out = s;
	return rc;
}

static void server_wait_until_idle_locked(struct http_server *s, unsigned ms)
	NEEDS_LOCK(http_lock_held)
{
	usec_t until = clock_mono() + ms * USEC_PER_MSEC;
	struct timespec ts = { .tv_sec = until / USEC_PER_SEC,
			       .tv_nsec = until % USEC_PER_SEC * 1000 };

	while (atomic_load(&s->busy))
		if (pthread_cond_timedwait(&s->changed, &s->lock, &ts))
			break;
}

void http_server_stop(struct http_server *s, unsigned grace_ms)
{
	if (!s)
		return;
	http_lock(s);
	atomic_store(&s->is_stopping, true);
	server_wait_until_idle_locked(s, grace_ms);
	/*
	 * No connection may stay suspended, or the library aborts: a waiting one is resumed by us
	 * or by its reply, and no other is suspended from now on.
	 */
	s->is_closed = true;
	while (s->waiting || atomic_load(&s->resumptions)) {
		for (struct http_request *req = s->waiting; req; req = req->next) {
			int was = WAITING;

			if (atomic_compare_exchange_strong(&req->phase, &was, DROPPED))
				http_resume(req);
		}
		server_wait_until_idle_locked(s, 10);
	}
	http_unlock(s);
	http_loop_stop(s->loop);
	server_free(s);
}
