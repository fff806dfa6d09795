/* SPDX-License-Identifier: MIT */
/*
 * One epoll thread.  Waiting connections are watched edge-triggered: bytes that are peeked at and
 * left in the socket would wake a level-triggered watch again and again.  The connections are in a
 * list in the order of their arrival, so a deadline is checked at its head only.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/thread.h"
#include "base/wake.h"
#include "front/acceptor.h"
#include "front/first_bytes.h"

#define LISTENERS_MAX 16
#define EVENTS_MAX    128
#define ACCEPT_BATCH  64
#define RETRY_MS      50 /* after accept() found no descriptors left */
#define PORT_TRIES    50 /* for a port that is free on all addresses */

struct waiting {
	struct waiting *prev, *next;
	int fd;
	usec_t deadline;
	struct sockaddr_storage peer;
	socklen_t peer_len;
};

struct acceptor {
	struct acceptor_conf conf;
	pthread_t thread;
	bool is_started;
	int epoll;
	struct wake stop; /* signalled once */
	int listeners[LISTENERS_MAX];
	unsigned n_listeners, port;
	struct waiting *first, *last; /* oldest first */
	bool is_starved;	      /* out of descriptors: accept again soon */
	char *bytes; /* max_head_bytes: the first ones of the connection that is inspected */
};

/* epoll's tag: a listener's index, or a pointer to a waiting connection, or the stop event. */
static char stop_tag, listener_tags[LISTENERS_MAX];

static void acceptor_set_options(const struct acceptor *a, int fd, int family)
{
	const char *cc = a->conf.congestion_control;
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	/* Accepted sockets inherit both. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (cc[0] && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, (socklen_t)strlen(cc)))
		log_warn("congestion control %s is not available: using the kernel's default", cc);
}

static unsigned acceptor_port_of(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return 0;
	return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
					      : ((struct sockaddr_in *)&ss)->sin_port);
}

static void acceptor_set_port(struct sockaddr *sa, unsigned port)
{
	if (sa->sa_family == AF_INET6)
		((struct sockaddr_in6 *)sa)->sin6_port = htons((uint16_t)port);
	else
		((struct sockaddr_in *)sa)->sin_port = htons((uint16_t)port);
}

/* -EAFNOSUPPORT when this machine has no such family, which is no error for "*". */
static int acceptor_listen_on(struct acceptor *a, struct addrinfo *ai)
{
	int rc, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	acceptor_set_options(a, fd, ai->ai_family);
	acceptor_set_port(ai->ai_addr, a->port);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, (int)a->conf.backlog)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	a->port = acceptor_port_of(fd);
	a->listeners[a->n_listeners++] = fd;
	return 0;
}

static const char *acceptor_option(const struct acceptor *a)
{
	return a->conf.option ? a->conf.option : "server.host";
}

static int acceptor_fail(const struct acceptor *a, char **why, int rc, const char *host,
			 unsigned port)
{
	const char *hint = rc == -EADDRINUSE ? "another program has it; choose another port"
			   : rc == -EACCES   ? "ports below 1024 need privileges"
					     : "check";
	char text[64];

	if (asprintf(why, "cannot listen on %s port %u: %s (%s%s%s)", host, port,
		     strerror_r(-rc, text, sizeof(text)), hint,
		     strcmp(hint, "check") == 0 ? " " : "",
		     strcmp(hint, "check") == 0 ? acceptor_option(a) : "") < 0)
		*why = NULL;
	return rc;
}

/* One name of the host list; "*" is both families. */
static int acceptor_listen_host(struct acceptor *a, const char *host, char **why)
{
	bool any = strcmp(host, "*") == 0;
	struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
				  .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *ai;
	int rc = getaddrinfo(any ? NULL : host, "0", &hints, &list), worst = -EADDRNOTAVAIL;

	if (rc) {
		if (asprintf(why, "cannot listen on %s: %s (check %s)", host, gai_strerror(rc),
			     acceptor_option(a)) < 0)
			*why = NULL;
		return -EADDRNOTAVAIL;
	}
	for (ai = list; ai && a->n_listeners < LISTENERS_MAX; ai = ai->ai_next) {
		rc = acceptor_listen_on(a, ai);
		if (rc == 0)
			worst = 0;
		else if (!(any && (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL)))
			break;
	}
	freeaddrinfo(list);
	if (ai && rc)
		return acceptor_fail(a, why, rc, host, a->conf.port);
	return worst ? acceptor_fail(a, why, worst, host, a->conf.port) : 0;
}

/* True when a process listens on the socket of that path. */
static bool acceptor_unix_is_served(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool is_served = fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0;

	if (fd >= 0)
		close(fd);
	return is_served;
}

/* For the user and the group of the daemon. */
static int acceptor_listen_unix(struct acceptor *a, char **why)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	struct stat st;
	int rc = -ENAMETOOLONG, fd = -1;
	char text[64];

	if (strlen(a->conf.unix_path) < sizeof(at.sun_path)) {
		memcpy(at.sun_path, a->conf.unix_path, strlen(a->conf.unix_path) + 1);
		if (lstat(at.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
		    !acceptor_unix_is_served(&at))
			unlink(at.sun_path);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		rc = fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
				     chmod(at.sun_path, 0660) || listen(fd, (int)a->conf.backlog)
			     ? -errno
			     : 0;
	}
	if (!rc) {
		a->listeners[a->n_listeners++] = fd;
		return 0;
	}
	if (asprintf(why, "cannot listen on %s: %s (check %s)", a->conf.unix_path,
		     strerror_r(-rc, text, sizeof(text)), acceptor_option(a)) < 0)
		*why = NULL;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int acceptor_listen_hosts(struct acceptor *a, char **why)
{
	char *hosts = xstrdup(a->conf.host), *save = NULL;
	int rc = 0;

	for (char *h = strtok_r(hosts, ", ", &save); h && !rc; h = strtok_r(NULL, ", ", &save))
		rc = acceptor_listen_host(a, h, why);
	free(hosts);
	return rc;
}

static void acceptor_close_listeners(struct acceptor *a)
{
	while (a->n_listeners)
		close(a->listeners[--a->n_listeners]);
}

/*
 * All addresses have one port.  With port 0 the kernel chooses it for the first address; where
 * another address has no such port free, it chooses again.
 */
static int acceptor_listen_all(struct acceptor *a, char **why)
{
	int rc = acceptor_listen_hosts(a, why);

	for (unsigned i = 1; rc == -EADDRINUSE && !a->conf.port && i < PORT_TRIES; i++) {
		free(*why);
		*why = NULL;
		acceptor_close_listeners(a);
		a->port = 0;
		rc = acceptor_listen_hosts(a, why);
	}
	return rc;
}

/* Uses the sockets that the service manager passed, and sets the options that they lack. */
static int acceptor_take_listeners(struct acceptor *a, char **why)
{
	for (int fd = a->conf.first_fd; fd < a->conf.first_fd + (int)a->conf.n_fds; fd++) {
		int listens = 0;
		socklen_t len = sizeof(listens);

		if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) || !listens) {
			*why = xstrdup("a descriptor of LISTEN_FDS is no listening socket; its "
				       "socket unit needs ListenStream");
			return -EINVAL;
		}
		acceptor_set_options(a, fd, AF_UNSPEC);
		a->port = acceptor_port_of(fd);
		a->listeners[a->n_listeners++] = fd;
	}
	return 0;
}

static void acceptor_watch(struct acceptor *a, int fd, unsigned events, void *tag)
{
	struct epoll_event ev = { .events = events, .data.ptr = tag };

	if (epoll_ctl(a->epoll, EPOLL_CTL_ADD, fd, &ev))
		log_error("epoll_ctl failed: descriptors or memory ran out");
}

int acceptor_new(const struct acceptor_conf *conf, struct acceptor **out, char **why)
{
	struct acceptor *a = xcalloc(1, sizeof(*a));
	int rc;

	a->conf = *conf;
	a->port = conf->port;
	a->bytes = xmalloc(conf->max_head_bytes);
	a->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (a->epoll < 0 || wake_init(&a->stop))
		rc = -EMFILE;
	else if (conf->unix_path)
		rc = acceptor_listen_unix(a, why);
	else
		rc = conf->n_fds ? acceptor_take_listeners(a, why) : acceptor_listen_all(a, why);
	if (rc) {
		acceptor_stop(a);
		return rc;
	}
	*out = a;
	return 0;
}

static void waiting_unlink(struct acceptor *a, struct waiting *w)
{
	*(w->prev ? &w->prev->next : &a->first) = w->next;
	*(w->next ? &w->next->prev : &a->last) = w->prev;
}

static void acceptor_drop(struct acceptor *a, struct waiting *w)
{
	waiting_unlink(a, w);
	/* A child that is being started has the descriptor too: the close alone keeps it there. */
	epoll_ctl(a->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	close(w->fd);
	free(w);
}

/* head: bytes of the handshake at the start of a->bytes. */
static void acceptor_pass_on(struct acceptor *a, struct waiting *w, enum first_bytes what,
			     size_t head) RUNS_ON(on_front)
{
	const struct acceptor_conf *c = &a->conf;

	if ((what == FIRST_TLS && !c->on_tls) ||
	    /* the handshake was peeked at only: it is read here */
	    (what == FIRST_WEBSOCKET && recv(w->fd, a->bytes, head, 0) != (ssize_t)head)) {
		acceptor_drop(a, w);
		return;
	}
	waiting_unlink(a, w);
	epoll_ctl(a->epoll, EPOLL_CTL_DEL, w->fd, NULL);
	if (what == FIRST_TLS)
		c->on_tls(c->ctx, w->fd, (struct sockaddr *)&w->peer, w->peer_len);
	else if (what == FIRST_WEBSOCKET)
		c->on_websocket(c->ctx, w->fd, sv_n(a->bytes, head));
	else
		c->on_http(c->ctx, w->fd, (struct sockaddr *)&w->peer, w->peer_len);
	free(w);
}

static void acceptor_inspect(struct acceptor *a, struct waiting *w) RUNS_ON(on_front)
{
	ssize_t n = recv(w->fd, a->bytes, a->conf.max_head_bytes, MSG_PEEK | MSG_DONTWAIT);
	enum first_bytes what;
	size_t head;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		acceptor_drop(a, w);
		return;
	}
	what = first_bytes_sort(a->bytes, (size_t)n, a->conf.max_head_bytes, &head);
	if (what != FIRST_UNDECIDED)
		acceptor_pass_on(a, w, what, head);
}

static struct log_gate acceptor_starved =
	LOG_GATE("connections refused because too few file descriptors are left");

/* False when there is nothing more to accept now. */
static bool acceptor_accept(struct acceptor *a, int listener) RUNS_ON(on_front)
{
	struct waiting *w = xcalloc(1, sizeof(*w));

	w->peer_len = sizeof(w->peer);
	w->fd = accept4(listener, (struct sockaddr *)&w->peer, &w->peer_len,
			SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (w->fd < 0) {
		a->is_starved = errno == EMFILE || errno == ENFILE || errno == ENOBUFS;
		if (a->is_starved)
			log_gated(&acceptor_starved, "connection not accepted: %s",
				  strerror(errno));
		free(w);
		return errno == ECONNABORTED || errno == EINTR;
	}
	if (a->conf.reserved_from && w->fd >= a->conf.reserved_from) {
		log_gated(&acceptor_starved,
			  "connection refused: too few file descriptors are left "
			  "(raise the limit of open files)");
		close(w->fd);
		free(w);
		return true;
	}
	w->deadline = clock_mono() + a->conf.first_bytes_ms * USEC_PER_MSEC;
	w->prev = a->last;
	*(a->last ? &a->last->next : &a->first) = w;
	a->last = w;
	acceptor_watch(a, w->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, w);
	return true;
}

/* Drops the connections past their deadline; milliseconds until the next deadline, or -1. */
static int acceptor_expire(struct acceptor *a) RUNS_ON(on_front)
{
	usec_t now = clock_mono();

	while (a->first && a->first->deadline <= now)
		acceptor_drop(a, a->first);
	if (a->is_starved) {
		/* Level-triggered listeners would spin: wait a moment. */
		a->is_starved = false;
		usleep(RETRY_MS * 1000);
	}
	return a->first ? (int)((a->first->deadline - now) / USEC_PER_MSEC) + 1 : -1;
}

/* True when acceptor_stop() was called. */
static bool acceptor_dispatch(struct acceptor *a, const struct epoll_event *ev) RUNS_ON(on_front)
{
	char *tag = ev->data.ptr;

	if (tag == &stop_tag)
		return true;
	if (tag >= listener_tags && tag < listener_tags + LISTENERS_MAX)
		for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
			if (!acceptor_accept(a, a->listeners[tag - listener_tags]))
				break;
		}
	else
		acceptor_inspect(a, ev->data.ptr);
	return false;
}

static void *acceptor_run(void *arg)
{
	struct acceptor *a = arg;
	struct epoll_event events[EVENTS_MAX];

	ASSERT_ON(on_front);
	for (;;) {
		int n = epoll_wait(a->epoll, events, EVENTS_MAX, acceptor_expire(a));

		for (int i = 0; i < n; i++)
			if (acceptor_dispatch(a, &events[i]))
				return NULL;
	}
}

int acceptor_start(struct acceptor *a)
{
	int rc;

	acceptor_watch(a, wake_fd(&a->stop), EPOLLIN, &stop_tag);
	for (unsigned i = 0; i < a->n_listeners; i++)
		acceptor_watch(a, a->listeners[i], EPOLLIN, &listener_tags[i]);
	rc = thread_start(&a->thread, a->conf.name ? a->conf.name : "acceptor", &on_front,
			  acceptor_run, a);
	a->is_started = rc == 0;
	return rc;
}

unsigned acceptor_port(const struct acceptor *a)
{
	return a->port;
}

void acceptor_stop(struct acceptor *a)
{
	if (!a)
		return;
	if (a->is_started) {
		wake_signal(&a->stop);
		pthread_join(a->thread, NULL);
	}
	while (a->first)
		acceptor_drop(a, a->first);
	if (a->conf.unix_path && a->n_listeners)
		unlink(a->conf.unix_path);
	acceptor_close_listeners(a);
	wake_release(&a->stop);
	if (a->epoll >= 0)
		close(a->epoll);
	free(a->bytes);
	free(a);
}
