/* SPDX-License-Identifier: MIT */
/*
 * Clients that come back, each to one channel (number modulo channels), and count what is replayed,
 * its order held.  All connect, then all subscribe at once from one position; the clock runs from
 * the first subscribe to the last end of a replay.  With --within-ms they are a storm: their
 * connects are spread over that time, each subscribes when it is greeted, and the clock runs from
 * the first connect.  Without --since a client is done when it is subscribed.  Prints "name value"
 * lines; exits 2 when anything was missing, repeated, out of order, or not served.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "client.h"
#include "frame.h"
#include "hist.h"
#include "loop.h"
#include "proc.h"
#include "util.h"

#define RX_SIZE	     (256 * 1024)
#define PATIENCE_SEC 60
#define SOON_NS	     (2 * NSEC_PER_SEC) /* of what a client missed, the share in this time */

enum state { CONNECTING, UPGRADING, ESTABLISHING, READY, REPLAYING, DONE };

struct client {
	struct ep_item ep;
	enum state state;
	uint32_t number;
	uint64_t serial, events;
	uint64_t since_ns; /* its subscribe, in a storm its connect */
	struct bytes rest;
};

static struct {
	const char *host, *key, *prefix, *since;
	unsigned port;
	uint32_t connections, channels;
	uint32_t within_ms; /* 0: all connect before any subscribes */
	uint64_t expect;
	pid_t pid;
} o = { .host = "127.0.0.1",
	.key = "local-reverb-key",
	.prefix = "bench-",
	.since = "",
	.port = 8080,
	.connections = 1,
	.channels = 1 };

static struct client *clients;
static int epoll;
static uint32_t started, ready, done;
static uint64_t events, soon, wrong, started_ns;
static struct hist times;
static char rx[RX_SIZE];

static void upgrade(struct client *c)
{
	c->state = UPGRADING;
	ep_change(epoll, &c->ep, EPOLLIN);
	client_upgrade(c->ep.fd, o.host, o.port, o.key);
}

static void subscribe(struct client *c)
{
	char text[400];
	int n = snprintf(text, sizeof(text),
			 "{\"event\":\"pusher:subscribe\",\"data\":{\"auth\":\"\","
			 "\"channel\":\"%s%u\"%s%s%s}}",
			 o.prefix, c->number % o.channels, *o.since ? ",\"since\":\"" : "", o.since,
			 *o.since ? "\"" : "");

	if (!o.within_ms)
		c->since_ns = now_ns();
	c->state = REPLAYING;
	client_send(c->ep.fd, text, (size_t)n);
}

static bool has(const struct frame *f, const char *text)
{
	return memmem(f->payload, f->len, text, strlen(text)) != NULL;
}

/* The last member but for a closing brace: found from behind. */
static uint64_t serial_of(const struct frame *f)
{
	static const char name[] = "\"serial\":";
	const char *p = f->payload + f->len;

	while (p > f->payload + sizeof(name) && p[-1] != ':')
		p--;
	if (memcmp(p - (sizeof(name) - 1), name, sizeof(name) - 1) != 0)
		return 0;
	return strtoull(p, NULL, 10);
}

static void finish(struct client *c)
{
	c->state = DONE;
	done++;
	hist_add(&times, now_ns() - c->since_ns);
}

static void on_replayed(struct client *c, const struct frame *f)
{
	wrong += c->events != o.expect || !has(f, "scopewire:replayed");
	finish(c);
}

static void on_text(struct client *c, const struct frame *f)
{
	uint64_t serial;

	if (c->state == ESTABLISHING && has(f, "pusher:connection_established")) {
		c->state = READY;
		ready++;
		if (o.within_ms)
			subscribe(c);
	} else if (c->state == REPLAYING && f->len > 20 &&
		   memcmp(f->payload, "{\"event\":\"scopewire:", 20) == 0) {
		on_replayed(c, f);
	} else if (c->state == REPLAYING && (serial = serial_of(f))) {
		wrong += serial <= c->serial;
		c->serial = serial;
		c->events++;
		events++;
		soon += now_ns() - c->since_ns <= SOON_NS;
	} else if (!has(f, "pusher_internal:subscription_succeeded")) {
		wrong++;
	} else if (!*o.since) {
		finish(c);
	}
}

static size_t take(struct client *c, char *p, size_t len)
{
	struct frame f;
	size_t at = 0;

	if (c->state == UPGRADING) {
		const char *stop = memmem(p, len, "\r\n\r\n", 4);

		if (!stop)
			return 0;
		if (memcmp(p, "HTTP/1.1 101", 12) != 0)
			die("connection %u: the upgrade was refused", c->number);
		at = (size_t)(stop - p) + 4;
		c->state = ESTABLISHING;
	}
	while (frame_parse(p + at, len - at, &f)) {
		if (f.opcode == FRAME_TEXT)
			on_text(c, &f);
		at += f.whole;
	}
	return at;
}

static void on_readable(struct client *c)
{
	size_t kept = c->rest.len, len, used;
	ssize_t n;

	if (kept)
		memcpy(rx, c->rest.ptr, kept);
	n = recv(c->ep.fd, rx + kept, RX_SIZE - kept, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		die("connection %u was closed", c->number);
	len = kept + (size_t)n;
	used = take(c, rx, len);
	c->rest.len = 0;
	if (used < len)
		bytes_add(&c->rest, rx + used, len - used);
}

static void start(struct client *c, uint32_t number, const struct sockaddr_in *addr)
{
	c->number = number;
	c->ep.kind = EP_CONNECTION;
	c->since_ns = now_ns();
	c->ep.fd = tcp_connect(addr, 0);
	if (c->ep.fd < 0)
		die("cannot connect: %s", strerror(-c->ep.fd));
	ep_add(epoll, &c->ep, EPOLLOUT);
}

/* Connects those whose time has come; returns the ms until the next one. */
static int start_due(const struct sockaddr_in *addr)
{
	uint64_t passed = now_ns() - started_ns, all = o.within_ms * NSEC_PER_MSEC;
	uint64_t due = passed >= all ? o.connections : (uint64_t)o.connections * passed / all;

	while (started < due) {
		start(&clients[started], started, addr);
		started++;
	}
	return started < o.connections ? 1 : 100;
}

/* Serves until *count is all; dies when nothing comes any more. */
static void serve_until(const uint32_t *count, const char *what, const struct sockaddr_in *addr)
{
	struct epoll_event ev[256];
	uint64_t seen = 0, stop = now_ns() + PATIENCE_SEC * NSEC_PER_SEC;

	while (*count < o.connections) {
		int n = epoll_wait(epoll, ev, 256, start_due(addr));

		for (int i = 0; i < n; i++) {
			struct client *c = ev[i].data.ptr;

			if (c->state == CONNECTING)
				upgrade(c);
			else
				on_readable(c);
		}
		if (*count + events != seen)
			stop = now_ns() + PATIENCE_SEC * NSEC_PER_SEC;
		seen = *count + events;
		if (now_ns() > stop)
			die("%s: %u of %u", what, *count, o.connections);
	}
}

static void return_all(void)
{
	struct sockaddr_in addr = tcp_address(o.host, o.port);
	uint64_t cpu = proc_cpu_ns(o.pid);
	double seconds;

	clients = xcalloc(o.connections, sizeof(*clients));
	started_ns = now_ns();
	if (!o.within_ms) {
		serve_until(&ready, "greeted", &addr);
		started_ns = now_ns();
		cpu = proc_cpu_ns(o.pid);
		for (uint32_t i = 0; i < o.connections; i++)
			subscribe(&clients[i]);
	}
	serve_until(&done, "replayed", &addr);
	seconds = (double)(now_ns() - started_ns) / 1e9;
	printf("replay_seconds %.3f\nevents %llu\nevents_per_sec %.0f\n", seconds,
	       (unsigned long long)events, (double)events / seconds);
	printf("cpu_us_per_event %.3f\n",
	       (double)(proc_cpu_ns(o.pid) - cpu) / 1e3 / (double)(events ? events : 1));
	printf("cpu_us_per_client %.1f\nrss_kib_after %llu\n",
	       (double)(proc_cpu_ns(o.pid) - cpu) / 1e3 / o.connections,
	       (unsigned long long)proc_rss_kib(o.pid));
	printf("soon_percent %.2f\n", events ? 100.0 * (double)soon / (double)events : 100.0);
	printf("replay_p50_ms %.1f\nreplay_p99_ms %.1f\nreplay_max_ms %.1f\nwrong %llu\n",
	       hist_ms(&times, 50), hist_ms(&times, 99), hist_ms(&times, 100),
	       (unsigned long long)wrong);
}

static const struct option options[] = {
	{ "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },
	{ "key", required_argument, NULL, 'k' },
	{ "pid", required_argument, NULL, 'i' },
	{ "connections", required_argument, NULL, 'c' },
	{ "channels", required_argument, NULL, 'n' },
	{ "channel-prefix", required_argument, NULL, 'x' },
	{ "since", required_argument, NULL, 's' },
	{ "expect", required_argument, NULL, 'e' },
	{ "within-ms", required_argument, NULL, 'w' },
	{ 0 },
};

static void read_option(int option)
{
	switch (option) {
	case 'h':
		o.host = optarg;
		break;
	case 'p':
		o.port = (unsigned)number("port", optarg, 1, 65535);
		break;
	case 'k':
		o.key = optarg;
		break;
	case 'i':
		o.pid = (pid_t)number("pid", optarg, 1, INT32_MAX);
		break;
	case 'c':
		o.connections = (uint32_t)number("connections", optarg, 1, 100000);
		break;
	case 'n':
		o.channels = (uint32_t)number("channels", optarg, 1, 100000);
		break;
	case 'x':
		o.prefix = optarg;
		break;
	case 's':
		o.since = optarg;
		break;
	case 'w':
		o.within_ms = (uint32_t)number("within-ms", optarg, 1, 600000);
		break;
	case 'e':
		o.expect = number("expect", optarg, 0, UINT64_MAX / 2);
		break;
	default:
		die("unknown option");
	}
}

int main(int argc, char **argv)
{
	int option;

	signal(SIGPIPE, SIG_IGN);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		read_option(option);
	files_raise();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	return_all();
	for (uint32_t i = 0; i < o.connections; i++) {
		tcp_abort(clients[i].ep.fd);
		bytes_release(&clients[i].rest);
	}
	free(clients);
	return wrong ? 2 : 0;
}
