/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/wake.h"
#include "http/deadlines.h"

#define TICK_MS	     1000
#define LINGER_MAX   64 /* connections that linger at a time; more are just closed */
#define LINGER_US    (2 * USEC_PER_SEC)
#define LINGER_STEPS 64 /* reads in one turn */
#define LINGER_PIECE 65536

struct watch {
	pthread_t thread;
	struct wake wake; /* a new socket lingers, or stop */
	pthread_mutex_t lock;
	struct watched *head;
	bool stopping;
	/* sockets whose peer is still sending what nobody wants, and when we lose patience */
	struct pollfd linger[LINGER_MAX + 1]; /* the first is wake */
	usec_t until[LINGER_MAX + 1];
	unsigned n_linger;
	/* handed over by watch_remove, under the lock */
	int fresh[LINGER_MAX];
	unsigned n_fresh;
};

void watch_refuse(int fd, const char *status_line, struct str_view sentence)
{
	struct strbuf b;

	strbuf_init(&b, 256);
	strbuf_addf(&b,
		    "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
		    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		    status_line, sentence.len);
	strbuf_add_sv(&b, sentence);
	/* fits an empty send buffer; a peer that does not read has none of our pity */
	if (send(fd, b.ptr, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		errno = 0;
	strbuf_release(&b);
}

static void watch_cut_off(struct watched *c)
{
	watch_refuse(c->fd, "408 Request Timeout",
		     SV("The request did not arrive in time; send it again, faster."));
	shutdown(c->fd, SHUT_RDWR); /* the http thread sees the end and frees */
}

/* All that came was read, and no more will come. */
static bool at_end(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void check(struct watched *c, usec_t now)
{
	usec_t d = atomic_load_explicit(&c->deadline, memory_order_relaxed);

	if (d <= 0)
		return;
	if (d <= now && atomic_compare_exchange_strong(&c->deadline, &d, WATCH_CUT))
		watch_cut_off(c);
	else if (at_end(c->fd))
		/* wakes the http thread, which was told of the end and of the bytes before it at
		 * once, and read no further than the bytes */
		shutdown(c->fd, SHUT_RD);
}

static void check_all(struct watch *w)
{
	usec_t now = clock_mono();

	pthread_mutex_lock(&w->lock);
	for (struct watched *c = w->head; c; c = c->next)
		check(c, now);
	pthread_mutex_unlock(&w->lock);
}

static void linger_drop(struct watch *w, unsigned i)
{
	close(w->linger[i].fd);
	w->linger[i] = w->linger[w->n_linger];
	w->until[i] = w->until[w->n_linger];
	w->n_linger--;
}

/* Throws away what came; true when the peer is done. */
static bool linger_read(int fd)
{
	char piece[LINGER_PIECE];

	for (int i = 0; i < LINGER_STEPS; i++) {
		ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);

		if (n > 0)
			continue;
		return n == 0 || (errno != EAGAIN && errno != EINTR);
	}
	return false;
}

static void linger_turn(struct watch *w)
{
	usec_t now = clock_mono();

	for (unsigned i = w->n_linger; i > 0; i--)
		if (now >= w->until[i] || (w->linger[i].revents && linger_read(w->linger[i].fd)))
			linger_drop(w, i);
}

static void take_fresh(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	while (w->n_fresh) {
		int fd = w->fresh[--w->n_fresh];

		if (w->n_linger == LINGER_MAX) {
			close(fd);
			continue;
		}
		w->n_linger++;
		w->linger[w->n_linger] = (struct pollfd){ .fd = fd, .events = POLLIN };
		w->until[w->n_linger] = clock_mono() + LINGER_US;
	}
	pthread_mutex_unlock(&w->lock);
}

static bool watch_is_stopping(struct watch *w)
{
	bool yes;

	pthread_mutex_lock(&w->lock);
	yes = w->stopping;
	pthread_mutex_unlock(&w->lock);
	return yes;
}

static void *watch_run(void *arg)
{
	struct watch *w = arg;

	w->linger[0] = (struct pollfd){ .fd = wake_fd(&w->wake), .events = POLLIN };
	while (!watch_is_stopping(w)) {
		poll(w->linger, w->n_linger + 1, TICK_MS);
		if (w->linger[0].revents)
			wake_drain(&w->wake);
		linger_turn(w);
		take_fresh(w);
		check_all(w);
	}
	take_fresh(w);
	while (w->n_linger)
		linger_drop(w, w->n_linger);
	return NULL;
}

static void watch_free(struct watch *w)
{
	wake_release(&w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int watch_start(struct watch **out)
{
	struct watch *w = xcalloc(1, sizeof(*w));
	int rc;

	pthread_mutex_init(&w->lock, NULL);
	rc = wake_init(&w->wake);
	if (rc == 0)
		rc = thread_start(&w->thread, "http-watch", &on_http, watch_run, w);
	if (rc)
		watch_free(w);
	else
		*out = w;
	return rc;
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_mutex_unlock(&w->lock);
	wake_signal(&w->wake);
	pthread_join(w->thread, NULL);
	watch_free(w);
}

void watch_add(struct watch *w, struct watched *c, int fd, usec_t deadline)
{
	c->fd = fd;
	c->linger = true;
	atomic_store(&c->deadline, deadline);
	pthread_mutex_lock(&w->lock);
	c->prev = NULL;
	c->next = w->head;
	if (w->head)
		w->head->prev = c;
	w->head = c;
	pthread_mutex_unlock(&w->lock);
}

/* An answer may still be on its way to a peer that is not done sending. */
static bool wants_linger(const struct watched *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && errno == EAGAIN && c->linger);
}

/* Keeps a copy of the socket: the original may be closed without a reset. */
static void linger_locked(struct watch *w, int fd)
{
	int copy;

	if (w->n_fresh == LINGER_MAX)
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return;
	shutdown(copy, SHUT_WR);
	w->fresh[w->n_fresh++] = copy;
	wake_signal(&w->wake);
}

void watch_remove(struct watch *w, struct watched *c)
{
	pthread_mutex_lock(&w->lock);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		w->head = c->next;
	if (!w->stopping && wants_linger(c))
		linger_locked(w, c->fd);
	pthread_mutex_unlock(&w->lock);
}

bool watch_set(struct watched *c, usec_t deadline)
{
	usec_t old = atomic_load_explicit(&c->deadline, memory_order_relaxed);

	while (old != WATCH_CUT)
		if (atomic_compare_exchange_weak(&c->deadline, &old, deadline))
			return true;
	return false;
}
