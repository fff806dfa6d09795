/* SPDX-License-Identifier: MIT */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/mem.h"
#include "pg_relay.h"

#define TURN_MS	    2
#define HELD_MAX    (4 << 20)
#define CONNS_MAX   64
#define SOCKET_NAME ".s.PGSQL.5499"

struct conn {
	int client, server;
	atomic_int mode;
	atomic_bool cut, over, holds;
	pthread_t thread;
	char *held;
	size_t n_held;
};

struct pg_relay {
	char dir[64];
	struct sockaddr_un own, server;
	char *rest; /* conninfo behind the host */
	int listener;
	atomic_bool stop;
	pthread_t thread;
	struct conn conns[CONNS_MAX];
	atomic_uint n;
	struct conn *on_hold;
};

static void give_up(const char *what)
{
	perror(what);
	exit(1);
}

static void send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return; /* the other side has closed: its reader will notice */
		p += sent;
		n -= (size_t)sent;
	}
}

static void forward_request(struct conn *c, const char *p, size_t n)
{
	if (atomic_load(&c->mode) != RELAY_HOLD) {
		send_all(c->server, p, n);
		return;
	}
	if (c->n_held + n > HELD_MAX)
		give_up("relay: held too much");
	memcpy(c->held + c->n_held, p, n);
	c->n_held += n;
	atomic_store(&c->holds, true);
}

/* False at the end of the stream. */
static bool pump(struct conn *c, int from, bool is_request)
{
	char room[65536];
	ssize_t n = recv(from, room, sizeof(room), 0);

	if (n <= 0)
		return false;
	if (is_request)
		forward_request(c, room, (size_t)n);
	else if (atomic_load(&c->mode) != RELAY_SWALLOW && c->client >= 0)
		send_all(c->client, room, (size_t)n);
	return true;
}

static void drop_client(struct conn *c)
{
	if (c->client >= 0)
		close(c->client);
	c->client = -1;
}

/* What was held goes out once the mode allows it. */
static void send_held(struct conn *c)
{
	if (atomic_load(&c->mode) == RELAY_HOLD || !c->n_held)
		return;
	send_all(c->server, c->held, c->n_held);
	c->n_held = 0;
}

static void *serve(void *arg)
{
	struct conn *c = arg;
	bool alive = true;

	while (alive) {
		struct pollfd fds[] = { { .fd = c->server, .events = POLLIN },
					{ .fd = c->client, .events = POLLIN } };

		poll(fds, 2, TURN_MS);
		if (fds[1].revents && !pump(c, c->client, true))
			atomic_store(&c->cut, true);
		if (atomic_load(&c->cut))
			drop_client(c);
		send_held(c);
		if (fds[0].revents && !pump(c, c->server, false))
			alive = false;
		if (c->client < 0 && atomic_load(&c->mode) != RELAY_HOLD)
			alive = false;
	}
	drop_client(c);
	close(c->server);
	atomic_store(&c->over, true);
	return NULL;
}

static void take_connection(struct pg_relay *r)
{
	struct conn *c = &r->conns[atomic_load(&r->n)];

	if (atomic_load(&r->n) == CONNS_MAX)
		give_up("relay: too many connections");
	c->client = accept(r->listener, NULL, NULL);
	if (c->client < 0)
		return;
	c->server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(c->server, (struct sockaddr *)&r->server, sizeof(r->server))) {
		close(c->client);
		close(c->server);
		return;
	}
	c->held = xmalloc(HELD_MAX);
	if (pthread_create(&c->thread, NULL, serve, c))
		give_up("pthread_create");
	atomic_fetch_add(&r->n, 1);
}

static void *listen_on(void *arg)
{
	struct pg_relay *r = arg;

	while (!atomic_load(&r->stop)) {
		struct pollfd fd = { .fd = r->listener, .events = POLLIN };

		if (poll(&fd, 1, TURN_MS) > 0)
			take_connection(r);
	}
	return NULL;
}

static struct sockaddr_un address(const char *dir, size_t len)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	snprintf(a.sun_path, sizeof(a.sun_path), "%.*s/" SOCKET_NAME, (int)len, dir);
	return a;
}

struct pg_relay *pg_relay_new(const char *conninfo)
{
	struct pg_relay *r = xcalloc(1, sizeof(*r));
	const char *dir = conninfo + strlen("host="), *end = strchr(dir, ' ');

	snprintf(r->dir, sizeof(r->dir), "/tmp/scopewire-relay-XXXXXX");
	if (!mkdtemp(r->dir))
		give_up("mkdtemp");
	r->rest = xstrdup(end);
	r->server = address(dir, (size_t)(end - dir));
	r->own = address(r->dir, strlen(r->dir));
	r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(r->listener, (struct sockaddr *)&r->own, sizeof(r->own)) ||
	    listen(r->listener, 16))
		give_up("relay: bind");
	if (pthread_create(&r->thread, NULL, listen_on, r))
		give_up("pthread_create");
	return r;
}

void pg_relay_free(struct pg_relay *r)
{
	atomic_store(&r->stop, true);
	pthread_join(r->thread, NULL);
	for (unsigned i = 0; i < atomic_load(&r->n); i++) {
		atomic_store(&r->conns[i].mode, RELAY_PASS);
		atomic_store(&r->conns[i].cut, true);
		pthread_join(r->conns[i].thread, NULL);
		free(r->conns[i].held);
	}
	close(r->listener);
	unlink(r->own.sun_path);
	rmdir(r->dir);
	free(r->rest);
	free(r);
}

char *pg_relay_conninfo(const struct pg_relay *r)
{
	char *out = NULL;

	if (asprintf(&out, "host=%s%s", r->dir, r->rest) < 0)
		give_up("asprintf");
	return out;
}

static struct conn *newest(struct pg_relay *r)
{
	return &r->conns[atomic_load(&r->n) - 1];
}

void pg_relay_set(struct pg_relay *r, enum relay_mode mode)
{
	if (mode == RELAY_HOLD)
		r->on_hold = newest(r);
	atomic_store(&newest(r)->mode, (int)mode);
}

void pg_relay_cut(struct pg_relay *r)
{
	atomic_store(&newest(r)->cut, true);
}

bool pg_relay_holds(struct pg_relay *r)
{
	return atomic_load(&r->on_hold->holds);
}

void pg_relay_release(struct pg_relay *r)
{
	atomic_store(&r->on_hold->mode, RELAY_PASS);
	while (!atomic_load(&r->on_hold->over))
		poll(NULL, 0, TURN_MS);
}
