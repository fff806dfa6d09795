/* SPDX-License-Identifier: MIT */
/*
 * Clients that change their channel at a fixed rate: each change leaves one channel that has no
 * other subscriber, which is vacated then, and joins a new one, which is occupied then.  Prints
 * "name value" lines; exits 2 when a subscription was not answered.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include "client.h"
#include "frame.h"
#include "util.h"

#define RX_SIZE	     65536
#define PATIENCE_SEC 30

struct client {
	int fd;
	bool is_subscribed;
	unsigned long channel; /* of its last subscription */
	struct bytes rest;     /* an unfinished frame */
};

static struct {
	const char *host, *key, *prefix;
	unsigned port;
	uint32_t connections;
	uint64_t rate;
	double seconds;
} o = { .host = "127.0.0.1",
	.key = "local-reverb-key",
	.prefix = "transitions-",
	.port = 8080,
	.connections = 100,
	.rate = 1000,
	.seconds = 5 };

static struct client *clients;
static struct pollfd *polls;
static unsigned long asked, answered, vacated;
static char rx[RX_SIZE];

/* Waits for the socket; dies when nothing happens for long. */
static void await(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	if (poll(&p, 1, PATIENCE_SEC * 1000) != 1)
		die("the server does not answer");
}

static void send_channel(struct client *c, const char *event)
{
	char text[400];
	int n = snprintf(text, sizeof(text),
			 "{\"event\":\"pusher:%s\",\"data\":{\"auth\":\"\",\"channel\":\"%s%lu\"}}",
			 event, o.prefix, c->channel);

	client_send(c->fd, text, (size_t)n);
}

static void on_frame(struct client *c, const struct frame *f)
{
	static const char ping[] = "\"event\":\"pusher:ping\"";
	static const char pong[] = "{\"event\":\"pusher:pong\",\"data\":{}}";
	static const char done[] = "pusher_internal:subscription_succeeded";

	if (memmem(f->payload, f->len, done, sizeof(done) - 1))
		answered++;
	else if (memmem(f->payload, f->len, ping, sizeof(ping) - 1))
		client_send(c->fd, pong, sizeof(pong) - 1);
}

/* Reads what has arrived. */
static void on_readable(struct client *c)
{
	ssize_t n = recv(c->fd, rx, sizeof(rx), 0);
	struct frame f;
	size_t at = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		die("a connection was closed by the server");
	bytes_add(&c->rest, rx, (size_t)n);
	while (frame_parse(c->rest.ptr + at, c->rest.len - at, &f)) {
		on_frame(c, &f);
		at += f.whole;
	}
	bytes_drop(&c->rest, at);
}

static void open_one(struct client *c, const struct sockaddr_in *addr)
{
	const char *stop = NULL;

	c->fd = tcp_connect(addr, 0);
	if (c->fd < 0)
		die("cannot connect: %s", strerror(-c->fd));
	await(c->fd, POLLOUT);
	client_upgrade(c->fd, o.host, o.port, o.key);
	while (!stop) {
		ssize_t got;

		await(c->fd, POLLIN);
		got = recv(c->fd, rx, sizeof(rx), 0);
		if (got <= 0)
			die("the upgrade was not answered");
		bytes_add(&c->rest, rx, (size_t)got);
		stop = memmem(c->rest.ptr, c->rest.len, "\r\n\r\n", 4);
	}
	if (memcmp(c->rest.ptr, "HTTP/1.1 101", 12) != 0)
		die("the upgrade was refused");
	bytes_drop(&c->rest, (size_t)(stop - c->rest.ptr) + 4);
}

/* Serves the sockets until then. */
static void serve_until(uint64_t until_ns)
{
	uint64_t now = now_ns();
	struct timespec ts = { 0, 0 };

	if (until_ns > now) {
		ts.tv_sec = (time_t)((until_ns - now) / NSEC_PER_SEC);
		ts.tv_nsec = (long)((until_ns - now) % NSEC_PER_SEC);
	}
	if (ppoll(polls, o.connections, &ts, NULL) <= 0)
		return;
	for (uint32_t i = 0; i < o.connections; i++)
		if (polls[i].revents)
			on_readable(&clients[i]);
}

/* One change: two transitions, but for the first of a client. */
static void change(struct client *c)
{
	if (c->is_subscribed) {
		send_channel(c, "unsubscribe");
		vacated++;
	}
	c->channel = asked++;
	c->is_subscribed = true;
	send_channel(c, "subscribe");
}

static void change_all(void)
{
	uint64_t start = now_ns(), due = start, interval = 2 * NSEC_PER_SEC / o.rate, stop;
	double seconds;

	while (due < start + (uint64_t)(o.seconds * 1e9)) {
		while (now_ns() < due)
			serve_until(due);
		change(&clients[asked % o.connections]);
		due += interval;
		serve_until(0);
	}
	seconds = (double)(now_ns() - start) / 1e9;
	stop = now_ns() + PATIENCE_SEC * NSEC_PER_SEC;
	while (answered < asked && now_ns() < stop)
		serve_until(now_ns() + 10 * NSEC_PER_MSEC);
	printf("transitions %lu\ntransitions_per_sec %.1f\nunanswered %lu\n", asked + vacated,
	       (double)(asked + vacated) / seconds, asked - answered);
}

static const struct option options[] = {
	{ "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },
	{ "key", required_argument, NULL, 'k' },
	{ "connections", required_argument, NULL, 'c' },
	{ "channel-prefix", required_argument, NULL, 'x' },
	{ "rate", required_argument, NULL, 'r' },
	{ "seconds", required_argument, NULL, 't' },
	{ 0 },
};

static void read_option(int option)
{
	if (option == 'h')
		o.host = optarg;
	else if (option == 'p')
		o.port = (unsigned)number("port", optarg, 1, 65535);
	else if (option == 'k')
		o.key = optarg;
	else if (option == 'c')
		o.connections = (uint32_t)number("connections", optarg, 1, 10000);
	else if (option == 'x')
		o.prefix = optarg;
	else if (option == 'r')
		o.rate = number("rate", optarg, 1, 1000000);
	else if (option == 't')
		o.seconds = (double)number("seconds", optarg, 1, 3600);
	else
		die("unknown option");
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int option;

	signal(SIGPIPE, SIG_IGN);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		read_option(option);
	if (strlen(o.prefix) > 100)
		die("--channel-prefix: over 100 bytes");
	files_raise();
	addr = tcp_address(o.host, o.port);
	clients = xcalloc(o.connections, sizeof(*clients));
	polls = xcalloc(o.connections, sizeof(*polls));
	for (uint32_t i = 0; i < o.connections; i++) {
		open_one(&clients[i], &addr);
		polls[i] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
	}
	change_all();
	for (uint32_t i = 0; i < o.connections; i++) {
		tcp_abort(clients[i].fd);
		bytes_release(&clients[i].rest);
	}
	free(clients);
	free(polls);
	return answered == asked ? 0 : 2;
}
