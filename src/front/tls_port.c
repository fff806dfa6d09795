/* SPDX-License-Identifier: MIT */
/*
 * Each connection belongs to one thread and goes through the phases below, in their order.  A phase
 * has one length for all, so each has a list in the order of their deadlines, and only heads of
 * lists are checked.  Sockets are watched edge-triggered: a function that reads or writes one goes
 * on until it would wait, or arms the watch again.
 *
 * The lock guards two words, the context and the flag closed; it is held while a connection is
 * passed on, so that none is after tls_port_close().
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/wake.h"
#include "front/first_bytes.h"
#include "front/tls_port.h"
#include "front/tls_tunnel.h"

#define EVENTS_MAX   128
#define RECORD_BYTES 16384
#define ENDING_MS    10000 /* without progress */
#define LINGER_MS    2000

struct thread_role on_tls = { "tls" };

enum tls_phase {
	TLS_FIRST,  /* handshake and head */
	TLS_TUNNEL, /* the HTTP server has it, and limits its time */
	TLS_ENDING, /* the HTTP server closed it; the client has not read all */
	TLS_LINGER, /* the client has all; what it still sends is discarded, so that it gets no
		       reset */
	N_PHASES,
	TLS_GONE = N_PHASES, /* freed after this iteration of the loop */
};

struct tls_conn {
	struct mailbox_entry entry; /* to its thread */
	struct tls_conn *next, *prev;
	enum tls_phase phase;
	usec_t deadline;
	int fd;
	SSL *ssl;
	struct strbuf head;   /* its bytes so far, in TLS_FIRST */
	struct tunnel tunnel; /* in TLS_TUNNEL and TLS_ENDING */
	socklen_t peer_len;
	struct sockaddr_storage peer;
};

struct tls_list {
	struct tls_conn *first, *last;
};

struct tls_thread {
	struct tls_port *port;
	pthread_t thread;
	bool is_started;
	int epoll;
	struct wake wake;
	struct mailbox box;
	struct tls_list phases[N_PHASES], gone;
	usec_t stop_at; /* monotonic; 0: not stopping */
};

struct tls_port {
	struct tls_port_conf conf;
	unsigned next; /* of the threads, for tls_port_adopt() */
	pthread_mutex_t lock;
	SSL_CTX *context;
	bool is_closed;
	atomic_uint stop_ms; /* plus 1; 0: not stopping */
	struct tls_thread threads[];
};

static char wake_tag; /* epoll's tag; all others are connections */

/* ---- phases -------------------------------------------------------------------- */

static void list_remove(struct tls_list *l, struct tls_conn *c)
{
	*(c->prev ? &c->prev->next : &l->first) = c->next;
	*(c->next ? &c->next->prev : &l->last) = c->prev;
}

static void list_append(struct tls_list *l, struct tls_conn *c)
{
	c->next = NULL;
	c->prev = l->last;
	*(l->last ? &l->last->next : &l->first) = c;
	l->last = c;
}

static usec_t tls_phase_length(const struct tls_thread *t, enum tls_phase phase)
{
	return (phase == TLS_FIRST    ? t->port->conf.first_bytes_ms
		: phase == TLS_ENDING ? ENDING_MS
				      : LINGER_MS) *
	       USEC_PER_MSEC;
}

/* Enters the phase, or begins it anew. */
static void conn_enter(struct tls_thread *t, struct tls_conn *c, enum tls_phase phase)
	RUNS_ON(on_tls)
{
	list_remove(&t->phases[c->phase], c);
	c->phase = phase;
	c->deadline = clock_mono() + tls_phase_length(t, phase);
	list_append(&t->phases[phase], c);
}

static void conn_watch(struct tls_thread *t, struct tls_conn *c, int op, int fd) RUNS_ON(on_tls)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				  .data.ptr = c };

	if (epoll_ctl(t->epoll, op, fd, &ev))
		log_error("epoll_ctl failed: descriptors or memory ran out");
}

/* While a child is forked, a closed descriptor that is still watched would cause events. */
static void conn_end_tunnel(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	epoll_ctl(t->epoll, EPOLL_CTL_DEL, c->tunnel.pair, NULL);
	tunnel_release(&c->tunnel);
}

/* Closes what the connection still owns; it is freed after this iteration. */
static void conn_leave(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	if (c->phase == TLS_TUNNEL || c->phase == TLS_ENDING)
		conn_end_tunnel(t, c);
	SSL_free(c->ssl);
	if (c->fd >= 0) {
		epoll_ctl(t->epoll, EPOLL_CTL_DEL, c->fd, NULL);
		close(c->fd);
	}
	strbuf_release(&c->head);
	list_remove(&t->phases[c->phase], c);
	c->phase = TLS_GONE;
	list_append(&t->gone, c);
}

static void tls_free_gone(struct tls_thread *t) RUNS_ON(on_tls)
{
	struct tls_conn *c, *next;

	for (c = t->gone.first; c; c = next) {
		next = c->next;
		free(c);
	}
	t->gone = (struct tls_list){ NULL, NULL };
}

/* ---- tunnel and end --------------------------------------------------------------- */

static void conn_linger(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	char discarded[RECORD_BYTES];
	ssize_t n;

	do
		n = recv(c->fd, discarded, sizeof(discarded), MSG_DONTWAIT);
	while (n > 0);
	if (n == 0 || (errno != EAGAIN && errno != EINTR) || t->stop_at)
		conn_leave(t, c);
}

static void conn_tunnel(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	bool moved;

	switch (tunnel_run(&c->tunnel, &moved)) {
	case TUNNEL_WAITS:
		if (c->tunnel.is_http_ended && (moved || c->phase == TLS_TUNNEL))
			conn_enter(t, c, TLS_ENDING);
		break;
	case TUNNEL_BUSY:
		conn_watch(t, c, EPOLL_CTL_MOD, c->fd);
		break;
	case TUNNEL_ENDED:
		shutdown(c->fd, SHUT_WR);
		conn_end_tunnel(t, c);
		conn_enter(t, c, TLS_LINGER);
		conn_linger(t, c);
		break;
	case TUNNEL_BROKEN:
		conn_leave(t, c);
		break;
	}
}

/* ---- handshake and head ------------------------------------------------------------ */

static void tls_refuse_for_descriptors(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
				   "Content-Length: 0\r\nConnection: close\r\n\r\n";

	log_warn("a connection over TLS was refused: no descriptor is left");
	if (SSL_write(c->ssl, text, sizeof(text) - 1) > 0)
		SSL_shutdown(c->ssl);
	conn_leave(t, c);
}

static void tls_pass_to_http(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	struct tls_port *p = t->port;
	bool closed;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends)) {
		tls_refuse_for_descriptors(t, c);
		return;
	}
	pthread_mutex_lock(&p->lock);
	closed = p->is_closed;
	if (!closed)
		p->conf.on_http(p->conf.ctx, ends[1], (struct sockaddr *)&c->peer, c->peer_len);
	pthread_mutex_unlock(&p->lock);
	if (closed) {
		close(ends[0]);
		close(ends[1]);
		conn_leave(t, c);
		return;
	}
	tunnel_init(&c->tunnel, c->ssl, ends[0], strbuf_view(&c->head));
	strbuf_release(&c->head);
	conn_enter(t, c, TLS_TUNNEL);
	conn_watch(t, c, EPOLL_CTL_ADD, ends[0]);
	conn_tunnel(t, c);
}

static void tls_pass_to_worker(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	struct tls_port *p = t->port;

	epoll_ctl(t->epoll, EPOLL_CTL_DEL, c->fd, NULL);
	pthread_mutex_lock(&p->lock);
	if (!p->is_closed) {
		p->conf.on_websocket(p->conf.ctx, c->fd, c->ssl, strbuf_view(&c->head));
		c->fd = -1;
		c->ssl = NULL;
	}
	pthread_mutex_unlock(&p->lock);
	conn_leave(t, c);
}

/* False: the connection waits for more, or was closed. */
static bool conn_handshake(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	int rc, error;

	if (SSL_is_init_finished(c->ssl))
		return true;
	ERR_clear_error();
	rc = SSL_accept(c->ssl);
	if (rc == 1)
		return true;
	error = SSL_get_error(c->ssl, rc);
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return false;
	log_debug("a TLS handshake failed: %s",
		  error == SSL_ERROR_SSL ? ERR_reason_error_string(ERR_peek_error()) : "closed");
	conn_leave(t, c);
	return false;
}

/*
 * Reads until it is known who the connection is for.  What follows the head of a WebSocket
 * handshake stays in ssl, for its worker.  FIRST_UNDECIDED: it waits for more, or was closed.
 */
static enum first_bytes conn_read_head(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	enum first_bytes what = FIRST_UNDECIDED;
	char record[RECORD_BYTES];
	size_t n, old, head;

	while (what == FIRST_UNDECIDED) {
		old = c->head.len;
		ERR_clear_error();
		if (!SSL_peek_ex(c->ssl, record, sizeof(record), &n)) {
			int error = SSL_get_error(c->ssl, 0);

			if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
				conn_leave(t, c);
			return FIRST_UNDECIDED;
		}
		strbuf_add(&c->head, record, n);
		what = first_bytes_sort(c->head.ptr, c->head.len, t->port->conf.max_head_bytes,
					&head);
		if (what == FIRST_WEBSOCKET)
			c->head.len = head;
		/* what was looked at is there */
		if (!SSL_read_ex(c->ssl, record, c->head.len - old, &n)) {
			conn_leave(t, c);
			return FIRST_UNDECIDED;
		}
	}
	return what;
}

static void conn_first(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	enum first_bytes what;

	if (!conn_handshake(t, c))
		return;
	what = conn_read_head(t, c);
	if (what == FIRST_WEBSOCKET)
		tls_pass_to_worker(t, c);
	else if (what != FIRST_UNDECIDED)
		tls_pass_to_http(t, c);
}

static void conn_begin(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	struct tls_port *p = t->port;

	c->phase = TLS_FIRST;
	c->deadline = clock_mono() + tls_phase_length(t, TLS_FIRST);
	list_append(&t->phases[TLS_FIRST], c);
	strbuf_init(&c->head, 0);
	pthread_mutex_lock(&p->lock);
	c->ssl = p->is_closed ? NULL : SSL_new(p->context);
	pthread_mutex_unlock(&p->lock);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) {
		conn_leave(t, c);
		return;
	}
	conn_watch(t, c, EPOLL_CTL_ADD, c->fd);
	conn_first(t, c);
}

/* ---- the thread ---------------------------------------------------------------------- */

static void conn_on_event(struct tls_thread *t, struct tls_conn *c) RUNS_ON(on_tls)
{
	switch (c->phase) {
	case TLS_FIRST:
		conn_first(t, c);
		break;
	case TLS_TUNNEL:
	case TLS_ENDING:
		conn_tunnel(t, c);
		break;
	case TLS_LINGER:
		conn_linger(t, c);
		break;
	case TLS_GONE:
		break;
	}
}

/* Closes who is late; milliseconds until the next one is, or -1. */
static int tls_expire(struct tls_thread *t) RUNS_ON(on_tls)
{
	usec_t now = clock_mono(), next = t->stop_at;

	for (int phase = 0; phase < N_PHASES; phase++) {
		struct tls_list *l = &t->phases[phase];

		if (phase == TLS_TUNNEL)
			continue;
		while (l->first && l->first->deadline <= now)
			conn_leave(t, l->first);
		if (l->first && (!next || l->first->deadline < next))
			next = l->first->deadline;
	}
	if (!next)
		return -1;
	return next <= now ? 0 : (int)((next - now) / USEC_PER_MSEC) + 1;
}

/* After tls_port_stop(): only answers that were made are still sent. */
static void tls_begin_stop(struct tls_thread *t) RUNS_ON(on_tls)
{
	unsigned ms = atomic_load(&t->port->stop_ms);

	if (!ms || t->stop_at)
		return;
	t->stop_at = clock_mono() + (ms - 1) * USEC_PER_MSEC;
	while (t->phases[TLS_FIRST].first)
		conn_leave(t, t->phases[TLS_FIRST].first);
	while (t->phases[TLS_LINGER].first)
		conn_leave(t, t->phases[TLS_LINGER].first);
}

static bool tls_is_done(const struct tls_thread *t)
{
	return t->stop_at && ((!t->phases[TLS_TUNNEL].first && !t->phases[TLS_ENDING].first) ||
			      clock_mono() >= t->stop_at);
}

static void *tls_run(void *arg)
{
	struct tls_thread *t = arg;
	struct epoll_event events[EVENTS_MAX];

	ASSERT_ON(on_tls);
	while (!tls_is_done(t)) {
		int n = epoll_wait(t->epoll, events, EVENTS_MAX, tls_expire(t));
		struct mailbox_entry *e, *next;

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &wake_tag)
				wake_drain(&t->wake);
			else
				conn_on_event(t, events[i].data.ptr);
		}
		for (e = mailbox_take(&t->box); e; e = next) {
			next = e->next;
			conn_begin(t, CONTAINER_OF(e, struct tls_conn, entry));
		}
		tls_begin_stop(t);
		tls_free_gone(t);
	}
	for (int phase = 0; phase < N_PHASES; phase++)
		while (t->phases[phase].first)
			conn_leave(t, t->phases[phase].first);
	tls_free_gone(t);
	return NULL;
}

/* ---- start and stop ------------------------------------------------------------------- */

static int tls_thread_start(struct tls_port *p, unsigned i)
{
	struct tls_thread *t = &p->threads[i];
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &wake_tag };
	char name[16];

	snprintf(name, sizeof(name), "tls-%u", i);
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (t->epoll < 0 || wake_init(&t->wake) ||
	    epoll_ctl(t->epoll, EPOLL_CTL_ADD, wake_fd(&t->wake), &ev))
		return -EMFILE;
	t->is_started = thread_start(&t->thread, name, &on_tls, tls_run, t) == 0;
	return t->is_started ? 0 : -EAGAIN;
}

int tls_port_start(const struct tls_port_conf *conf, SSL_CTX *context, struct tls_port **out)
{
	struct tls_port *p = xcalloc(1, sizeof(*p) + conf->threads * sizeof(p->threads[0]));
	int rc = 0;

	p->conf = *conf;
	pthread_mutex_init(&p->lock, NULL);
	for (unsigned i = 0; i < conf->threads; i++) {
		p->threads[i].port = p;
		p->threads[i].epoll = -1;
		mailbox_init(&p->threads[i].box, 0);
	}
	for (unsigned i = 0; i < conf->threads && !rc; i++)
		rc = tls_thread_start(p, i);
	if (rc) {
		tls_port_stop(p, 0);
		return rc;
	}
	p->context = context;
	*out = p;
	return 0;
}

void tls_port_adopt(struct tls_port *p, int fd, const struct sockaddr *peer, socklen_t len)
{
	struct tls_thread *t = &p->threads[p->next++ % p->conf.threads];
	struct tls_conn *c = xcalloc(1, sizeof(*c));

	c->fd = fd;
	c->peer_len = len < sizeof(c->peer) ? len : (socklen_t)sizeof(c->peer);
	memcpy(&c->peer, peer, c->peer_len);
	if (mailbox_put_owed(&t->box, &c->entry) > 0)
		wake_signal(&t->wake);
}

void tls_port_use(struct tls_port *p, SSL_CTX *context)
{
	SSL_CTX *old;

	pthread_mutex_lock(&p->lock);
	old = p->context;
	p->context = context;
	pthread_mutex_unlock(&p->lock);
	SSL_CTX_free(old);
}

void tls_port_close(struct tls_port *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->is_closed = true;
	pthread_mutex_unlock(&p->lock);
}

static void tls_thread_stop(struct tls_thread *t)
{
	if (t->is_started) {
		wake_signal(&t->wake);
		pthread_join(t->thread, NULL);
	}
	wake_release(&t->wake);
	if (t->epoll >= 0)
		close(t->epoll);
	mailbox_release(&t->box);
}

void tls_port_stop(struct tls_port *p, unsigned grace_ms)
{
	if (!p)
		return;
	tls_port_close(p);
	atomic_store(&p->stop_ms, grace_ms + 1);
	for (unsigned i = 0; i < p->conf.threads; i++)
		tls_thread_stop(&p->threads[i]);
	SSL_CTX_free(p->context);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
