/* SPDX-License-Identifier: MIT */
/*
 * The load generator: connects, subscribes, publishes, waits for all answers and deliveries, and
 * prints what happened as "name value" lines.  One thread, one epoll; the server is
 * anything that speaks the Pusher protocol.
 *
 * Exits 1 when it could not run, 2 when it ran and something was lost, repeated, out of
 * order, refused or answered wrongly.
 */
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include "loop.h"
#include "options.h"
#include "proc.h"
#include "publishers.h"
#include "subscribers.h"

#define EVENTS	     1024
#define QUIET_MS     100 /* after the last delivery, for repeats to show */
#define PATIENCE_SEC 30	 /* handshakes without progress */
#define DRAIN_SEC    10	 /* deliveries without progress */
#define SETTLE_SEC   5

struct load {
	struct options o;
	int epoll;
	struct subscribers *subs;
	struct publishers *pubs;
	uint32_t *subscribers_on; /* [channels] */
};

/* One turn: waits for events until the given time at most, and serves them. */
static void turn(struct load *l, uint64_t until_ns)
{
	static struct epoll_event ev[EVENTS];
	uint64_t now = now_ns();
	uint64_t wait = until_ns > now ? until_ns - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(wait / NSEC_PER_SEC),
			       .tv_nsec = (long)(wait % NSEC_PER_SEC) };
	int i, n;

	n = epoll_pwait2(l->epoll, ev, EVENTS, &ts, NULL);
	if (n < 0 && errno != EINTR)
		die("epoll_pwait2: %s", strerror(errno));
	for (i = 0; i < n; i++) {
		struct ep_item *item = ev[i].data.ptr;

		if (item->kind == EP_SUBSCRIBER)
			subscribers_event(l->subs, item, ev[i].events);
		else
			publishers_event(l->pubs, item, ev[i].events);
	}
}

static uint64_t soon(void)
{
	return now_ns() + 10 * NSEC_PER_MSEC;
}

/* Serves until the server rests (under 2 % of a core), so that no case pays for the one before. */
static void settle(struct load *l)
{
	uint64_t stop = now_ns() + SETTLE_SEC * NSEC_PER_SEC;
	uint64_t cpu, slice, used;

	if (l->o.pid == 0)
		return;
	do {
		cpu = proc_cpu_ns(l->o.pid);
		slice = now_ns() + 150 * NSEC_PER_MSEC;
		while (now_ns() < slice)
			turn(l, slice);
		used = proc_cpu_ns(l->o.pid) - cpu;
	} while (used > 3 * NSEC_PER_MSEC && now_ns() < stop);
}

/* Opens connections until upto are live or have failed. */
static void connect_upto(struct load *l, uint32_t upto)
{
	const struct subscribers_sum *sum = subscribers_sum(l->subs);
	uint32_t done = 0;
	uint64_t stop = now_ns() + PATIENCE_SEC * NSEC_PER_SEC;

	while (sum->joined + sum->refused < upto) {
		subscribers_start(l->subs, upto);
		turn(l, soon());
		if (sum->joined + sum->refused != done)
			stop = now_ns() + PATIENCE_SEC * NSEC_PER_SEC;
		done = sum->joined + sum->refused;
		if (now_ns() > stop)
			die("%u of %u connections never got an answer", upto - done, upto);
	}
}

static void connect_all(struct load *l)
{
	uint64_t cpu = proc_cpu_ns(l->o.pid);
	uint64_t start = now_ns();
	const struct subscribers_sum *sum = subscribers_sum(l->subs);
	unsigned i;

	printf("rss_kib_0 %llu\n", (unsigned long long)proc_rss_kib(l->o.pid));
	for (i = 0; i < l->o.checkpoints; i++) {
		uint32_t n = l->o.checkpoint[i];

		connect_upto(l, n);
		settle(l);
		printf("connect_cpu_ms_%u %.2f\n", n, (double)(proc_cpu_ns(l->o.pid) - cpu) / 1e6);
		printf("rss_kib_%u %llu\n", n, (unsigned long long)proc_rss_kib(l->o.pid));
	}
	connect_upto(l, l->o.connections);
	printf("connect_seconds %.3f\n", (double)(now_ns() - start) / 1e9);
	settle(l);
	printf("connect_cpu_ms %.2f\n", (double)(proc_cpu_ns(l->o.pid) - cpu) / 1e6);
	printf("connect_p50_ms %.2f\nconnect_max_ms %.2f\n", hist_ms(&sum->join, 50),
	       hist_ms(&sum->join, 100));
}

static bool has_room(const struct load *l)
{
	const struct publishers_sum *pub = publishers_sum(l->pubs);
	uint64_t got = ledger_sum(subscribers_ledger(l->subs))->received;

	if (l->o.window == 0 || pub->answered == 0)
		return true;
	return pub->expected < got + l->o.window * (pub->expected / pub->answered + 1);
}

static void publish_all(struct load *l)
{
	uint64_t stop = now_ns() + (uint64_t)(l->o.seconds * 1e9);
	const struct publishers_sum *pub = publishers_sum(l->pubs);
	uint64_t next;

	publishers_begin(l->pubs);
	while (now_ns() < stop && !(l->o.count && pub->sent >= l->o.count && pub->busy == 0)) {
		next = publishers_run(l->pubs, has_room(l));
		turn(l, next < soon() ? next : soon());
	}
	publishers_stop(l->pubs);
}

/* Waits for the answers and deliveries that are missing while they keep coming, then for repeats.
 */
static void drain(struct load *l)
{
	const struct publishers_sum *pub = publishers_sum(l->pubs);
	const struct ledger_sum *got = ledger_sum(subscribers_ledger(l->subs));
	uint64_t stop = now_ns() + DRAIN_SEC * NSEC_PER_SEC;
	uint64_t seen = 0;

	while ((pub->busy > 0 || got->received < pub->expected) && now_ns() < stop) {
		turn(l, soon());
		if (got->received + pub->answered != seen)
			stop = now_ns() + DRAIN_SEC * NSEC_PER_SEC;
		seen = got->received + pub->answered;
	}
	stop = now_ns() + QUIET_MS * NSEC_PER_MSEC;
	while (now_ns() < stop)
		turn(l, stop);
}

static void close_ledger(struct load *l)
{
	uint32_t i, p;

	for (i = 0; i < l->o.connections; i++)
		for (p = 0; p < l->o.publishers; p++)
			ledger_close(subscribers_ledger(l->subs), i, p,
				     l->o.is_whisper && i == p
					     ? 0
					     : publishers_count(l->pubs, p, i % l->o.channels));
}

static void print_hist(const char *name, const struct hist *h)
{
	static const struct {
		const char *text;
		double percent;
	} marks[] = {
		{ "p50", 50 }, { "p90", 90 }, { "p99", 99 }, { "p999", 99.9 }, { "max", 100 }
	};

	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		printf("%s_%s_ms %.3f\n", name, marks[i].text, hist_ms(h, marks[i].percent));
}

static void measure(struct load *l)
{
	const struct publishers_sum *pub = publishers_sum(l->pubs);
	const struct ledger_sum *got = ledger_sum(subscribers_ledger(l->subs));
	uint64_t cpu = proc_cpu_ns(l->o.pid);
	uint64_t start = now_ns();
	double seconds, used;

	publish_all(l);
	seconds = (double)(now_ns() - start) / 1e9;
	drain(l);
	used = (double)(proc_cpu_ns(l->o.pid) - cpu) / 1e3;
	close_ledger(l);
	printf("seconds %.3f\nevents %llu\nevents_per_sec %.1f\n", seconds,
	       (unsigned long long)pub->answered, (double)pub->answered / seconds);
	printf("deliveries %llu\n", (unsigned long long)got->received);
	printf("rss_kib_after %llu\n", (unsigned long long)proc_rss_kib(l->o.pid));
	printf("server_cpu_us %.0f\n", used);
	if (got->received)
		printf("cpu_us_per_delivery %.3f\n", used / (double)got->received);
	if (pub->answered)
		printf("cpu_us_per_event %.3f\n", used / (double)pub->answered);
	print_hist("delay", &subscribers_sum(l->subs)->delay);
	print_hist("answer", &pub->answer);
}

/* The exact counts; false when any of what must not be is. */
static bool print_counts(struct load *l)
{
	const struct subscribers_sum *sub = subscribers_sum(l->subs);
	const struct publishers_sum *pub = publishers_sum(l->pubs);
	const struct ledger_sum *got = ledger_sum(subscribers_ledger(l->subs));

	printf("connections %u\nrefused %u\nclosed %u\n", sub->joined, sub->refused, sub->closed);
	printf("lost %llu\nrepeated %llu\nout_of_order %llu\nstrange %llu\n",
	       (unsigned long long)got->lost, (unsigned long long)got->repeated,
	       (unsigned long long)got->out_of_order, (unsigned long long)sub->strange);
	printf("wrong_answers %llu\nturned_away %llu\nhttp_connects %llu\n",
	       (unsigned long long)pub->wrong, (unsigned long long)pub->turned_away,
	       (unsigned long long)pub->connects);
	return sub->refused + sub->closed == 0 && pub->wrong == 0 &&
	       got->lost + got->repeated + got->out_of_order + sub->strange == 0;
}

static void load_init(struct load *l)
{
	const struct options *o = &l->o;
	unsigned to = o->publish_port ? o->publish_port : o->port;
	struct sockaddr_in addr = tcp_address(o->host, o->port);
	struct subscribers_options so = { addr,	       o->host,	       o->port,	    o->key,
					  o->prefix,   o->connections, o->channels, o->publishers,
					  o->inflight, o->size,	       o->has_tls,  o->secret };
	struct publishers_options po = { tcp_address(o->host, to),
					 o->host,
					 to,
					 o->app_id,
					 o->key,
					 o->secret,
					 o->prefix,
					 o->publishers,
					 o->channels,
					 o->sql,
					 NULL,
					 o->size,
					 o->rate,
					 o->count };
	uint32_t i;

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		die("epoll_create1: %s", strerror(errno));
	l->subs = subscribers_new(l->epoll, &so);
	l->subscribers_on = xcalloc(o->channels, sizeof(uint32_t));
	for (i = 0; i < o->channels; i++)
		l->subscribers_on[i] = subscribers_on(l->subs, i) - (o->is_whisper ? 1 : 0);
	if (o->is_whisper)
		po.whisperers = l->subs;
	l->pubs = publishers_new(l->epoll, &po, l->subscribers_on);
}

int main(int argc, char **argv)
{
	static struct load l = { .o = { .host = "127.0.0.1",
					.port = 8080,
					.app_id = "client-portal",
					.key = "local-reverb-key",
					.secret = "local-reverb-secret",
					.prefix = "bench-",
					.channels = 1,
					.publishers = 1,
					.inflight = 200,
					.size = 200,
					.seconds = 5,
					.window = 64 } };
	bool good;

	signal(SIGPIPE, SIG_IGN);
	options_parse(argc, argv, &l.o);
	if (files_raise() < l.o.connections + l.o.publishers + 16)
		die("%u connections: the limit of open files is too low", l.o.connections);
	load_init(&l);
	connect_all(&l);
	if (l.o.seconds > 0)
		measure(&l);
	good = print_counts(&l);
	publishers_free(l.pubs);
	subscribers_free(l.subs);
	free(l.subscribers_on);
	return good ? 0 : 2;
}
