/* SPDX-License-Identifier: MIT */
/*
 * The thread "http-deadlines" polls the sockets that linger and checks all deadlines once a second.
 * deadlines_add() and _remove() run on the http thread.  The lock guards the list, the flag and the
 * sockets that begin to linger; under it only system calls that do not block are made.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/log_gate.h"
#include "base/mem.h"
#include "base/thread.h"
#include "base/wake.h"
#include "http/deadlines.h"

#define CHECK_MS     1000
#define LINGER_MAX   64 /* connections that linger at a time; others are closed at once */
#define LINGER_US    (2 * USEC_PER_SEC)
#define LINGER_STEPS 64 /* reads per poll */
#define LINGER_PIECE 65536

struct thread_role on_http_deadlines = { "http deadlines" };

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) deadlines_held {
	char unused;
} deadlines_held UNUSED;

struct deadlines {
	pthread_t thread;
	void (*on_passed)(struct deadline *c);
	struct wake wake; /* a socket begins to linger, or stop */
	pthread_mutex_t lock;
	struct deadline *head OWNED_BY(deadlines_held);
	bool is_stopping OWNED_BY(deadlines_held);
	/* sockets whose client is still sending, and when each is closed */
	struct pollfd linger[LINGER_MAX + 1] OWNED_BY(on_http_deadlines); /* the first is wake */
	usec_t until[LINGER_MAX + 1] OWNED_BY(on_http_deadlines);
	unsigned n_linger OWNED_BY(on_http_deadlines);
	/* for linger, from deadlines_remove() */
	int fresh[LINGER_MAX] OWNED_BY(deadlines_held);
	unsigned n_fresh OWNED_BY(deadlines_held);
};

static void deadlines_lock(struct deadlines *d) TSA(acquire_capability(deadlines_held)) NO_TSA
{
	pthread_mutex_lock(&d->lock);
}

static void deadlines_unlock(struct deadlines *d) TSA(release_capability(deadlines_held)) NO_TSA
{
	pthread_mutex_unlock(&d->lock);
}

void deadlines_refuse(int fd, const char *status_line, struct str_view sentence)
{
	static struct log_gate refused = LOG_GATE("requests refused before they were complete");

	log_gated(&refused, "request refused: %.3s, %.*s", status_line, SV_ARG(sentence));
	deadlines_respond(fd, status_line, SV("Content-Type: text/plain; charset=utf-8\r\n"),
			  sentence);
}

void deadlines_respond(int fd, const char *status_line, struct str_view headers,
		       struct str_view body)
{
	struct strbuf b;

	strbuf_init(&b, 256);
	strbuf_addf(&b,
		    "HTTP/1.1 %s\r\n%.*s"
		    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		    status_line, SV_ARG(headers), body.len);
	strbuf_add_sv(&b, body);
	/* fits an empty send buffer; a client that does not read gets no response */
	if (send(fd, b.ptr, b.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		errno = 0;
	strbuf_release(&b);
}

static void deadlines_check(struct deadlines *d) RUNS_ON(on_http_deadlines)
{
	usec_t now = clock_mono();
	char byte;

	deadlines_lock(d);
	for (struct deadline *c = d->head; c; c = c->next) {
		usec_t at = atomic_load_explicit(&c->at, memory_order_relaxed);

		if (at <= 0)
			continue;
		if (at <= now && atomic_compare_exchange_strong(&c->at, &at, DEADLINE_PASSED)) {
			d->on_passed(c);
			shutdown(c->fd, SHUT_RDWR); /* the http thread sees the end and frees */
		} else if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
			/* all bytes were read and the client has closed: wakes the http thread,
			 * which had one event for the end and for the bytes before it, and read no
			 * further than the bytes */
			shutdown(c->fd, SHUT_RD);
		}
	}
	deadlines_unlock(d);
}

static void deadlines_drop_lingering(struct deadlines *d, unsigned i) RUNS_ON(on_http_deadlines)
{
	close(d->linger[i].fd);
	d->linger[i] = d->linger[d->n_linger];
	d->until[i] = d->until[d->n_linger];
	d->n_linger--;
}

/* Discards received bytes; true when the client has closed. */
static bool deadlines_read_lingering(int fd)
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

static void deadlines_poll_lingering(struct deadlines *d) RUNS_ON(on_http_deadlines)
{
	usec_t now = clock_mono();

	for (unsigned i = d->n_linger; i > 0; i--)
		if (now >= d->until[i] ||
		    (d->linger[i].revents && deadlines_read_lingering(d->linger[i].fd)))
			deadlines_drop_lingering(d, i);
}

/* Takes the sockets that begin to linger; false: the thread is to stop. */
static bool deadlines_take_lingering(struct deadlines *d) RUNS_ON(on_http_deadlines)
{
	bool stopping;

	deadlines_lock(d);
	while (d->n_fresh) {
		int fd = d->fresh[--d->n_fresh];

		if (d->n_linger == LINGER_MAX) {
			close(fd);
			continue;
		}
		d->n_linger++;
		d->linger[d->n_linger] = (struct pollfd){ .fd = fd, .events = POLLIN };
		d->until[d->n_linger] = clock_mono() + LINGER_US;
	}
	stopping = d->is_stopping;
	deadlines_unlock(d);
	return !stopping;
}

static void *deadlines_run(void *arg)
{
	struct deadlines *d = arg;

	ASSERT_ON(on_http_deadlines);
	d->linger[0] = (struct pollfd){ .fd = wake_fd(&d->wake), .events = POLLIN };
	while (deadlines_take_lingering(d)) {
		deadlines_check(d);
		poll(d->linger, d->n_linger + 1, CHECK_MS);
		if (d->linger[0].revents)
			wake_drain(&d->wake);
		deadlines_poll_lingering(d);
	}
	while (d->n_linger)
		deadlines_drop_lingering(d, d->n_linger);
	return NULL;
}

static void deadlines_free(struct deadlines *d)
{
	wake_release(&d->wake);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

int deadlines_start(void (*on_passed)(struct deadline *c), struct deadlines **out)
{
	struct deadlines *d = xcalloc(1, sizeof(*d));
	int rc;

	d->on_passed = on_passed;
	pthread_mutex_init(&d->lock, NULL);
	rc = wake_init(&d->wake);
	if (!rc)
		rc = thread_start(&d->thread, "http-deadlines", &on_http_deadlines, deadlines_run,
				  d);
	if (rc)
		deadlines_free(d);
	else
		*out = d;
	return rc;
}

void deadlines_stop(struct deadlines *d)
{
	if (!d)
		return;
	deadlines_lock(d);
	d->is_stopping = true;
	deadlines_unlock(d);
	wake_signal(&d->wake);
	pthread_join(d->thread, NULL);
	deadlines_free(d);
}

void deadlines_add(struct deadlines *d, struct deadline *c, int fd, usec_t at)
{
	c->fd = fd;
	c->wants_linger = true;
	atomic_store(&c->at, at);
	deadlines_lock(d);
	c->prev = NULL;
	c->next = d->head;
	if (d->head)
		d->head->prev = c;
	d->head = c;
	deadlines_unlock(d);
}

/* A response may still be under way to a client that has not finished sending. */
static bool deadline_wants_linger(const struct deadline *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n > 0 || (n < 0 && errno == EAGAIN && c->wants_linger);
}

/* Keeps a copy of the socket: the original may be closed without a reset. */
static void deadlines_linger_locked(struct deadlines *d, int fd) NEEDS_LOCK(deadlines_held)
{
	int copy;

	if (d->n_fresh == LINGER_MAX)
		return;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return;
	shutdown(copy, SHUT_WR);
	d->fresh[d->n_fresh++] = copy;
	wake_signal(&d->wake);
}

void deadlines_remove(struct deadlines *d, struct deadline *c)
{
	deadlines_lock(d);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		d->head = c->next;
	if (!d->is_stopping && deadline_wants_linger(c))
		deadlines_linger_locked(d, c->fd);
	deadlines_unlock(d);
}

/* on_passed() runs under the lock, so it has returned once the lock could be taken. */
void deadlines_wait(struct deadlines *d)
{
	deadlines_lock(d);
	deadlines_unlock(d);
}

bool deadline_set(struct deadline *c, usec_t at)
{
	usec_t old = atomic_load_explicit(&c->at, memory_order_relaxed);

	while (old != DEADLINE_PASSED)
		if (atomic_compare_exchange_weak(&c->at, &old, at))
			return true;
	return false;
}
