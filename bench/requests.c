/* SPDX-License-Identifier: MIT */
/*
 * HTTP requests at a fixed rate over kept-alive connections, each with one under way, as an
 * application's server (HTTP Basic).  What they are is read from standard input, a line each,
 * taken in turn: METHOD PATH [BODY]; {n} in a line is replaced by a number that goes round below
 * --numbers.  Prints "name value" lines; exits 2 when any answer was not of status 2xx.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <openssl/evp.h>
#include "hist.h"
#include "loop.h"
#include "proc.h"
#include "util.h"

#define ANSWER_MAX   (1 << 20)
#define TEMPLATES    32
#define TEMPLATE_MAX 1024
#define PATIENCE_SEC 20

struct client {
	struct ep_item ep;
	bool busy;
	uint64_t due_ns, sent_ns;
	struct bytes out, in;
	size_t out_sent;
};

static struct {
	const char *host, *key, *secret;
	unsigned port, connections;
	uint64_t rate, numbers;
	double seconds;
	pid_t pid;
} o = { "127.0.0.1", "local-reverb-key", "local-reverb-secret", 8080, 8, 0, 1000, 5, 0 };

static struct sockaddr_in address;
static char templates[TEMPLATES][TEMPLATE_MAX], credentials[512];
static unsigned n_templates;
static int epoll;
static uint64_t sent, answered, wrong, reconnects;
static struct hist times;

static void read_templates(void)
{
	while (n_templates < TEMPLATES && fgets(templates[n_templates], TEMPLATE_MAX, stdin)) {
		char *line = templates[n_templates];

		line[strcspn(line, "\n")] = '\0';
		n_templates += strchr(line, ' ') != NULL;
	}
	if (!n_templates)
		die("no requests on standard input");
}

/* Appends the text with every {n} as the number. */
static void add_filled(struct bytes *b, const char *text, size_t len, uint64_t n)
{
	const char *end = text + len, *hole;

	while ((hole = memmem(text, (size_t)(end - text), "{n}", 3))) {
		bytes_add(b, text, (size_t)(hole - text));
		bytes_addf(b, "%llu", (unsigned long long)n);
		text = hole + 3;
	}
	bytes_add(b, text, (size_t)(end - text));
}

static void make_request(struct bytes *out)
{
	const char *line = templates[sent % n_templates];
	size_t method = strcspn(line, " "), path = strcspn(line + method + 1, " ");
	const char *body = line + method + 1 + path;
	uint64_t n = sent / n_templates % o.numbers + 1;
	struct bytes filled = { NULL, 0, 0 };

	body += *body == ' ';
	add_filled(&filled, body, strlen(body), n);
	out->len = 0;
	bytes_add(out, line, method + 1);
	add_filled(out, line + method + 1, path, n);
	bytes_addf(out, " HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\n", o.host,
		   credentials);
	if (filled.len)
		bytes_addf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			   filled.len);
	bytes_add(out, "\r\n", 2);
	if (filled.len)
		bytes_add(out, filled.ptr, filled.len);
	bytes_release(&filled);
}

static void dial(struct client *c)
{
	c->ep.fd = tcp_connect(&address, 0);
	if (c->ep.fd < 0)
		die("cannot connect");
	reconnects++;
	ep_add(epoll, &c->ep, EPOLLIN | EPOLLOUT);
}

static void flush(struct client *c)
{
	ssize_t n =
		send(c->ep.fd, c->out.ptr + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);

	if (n > 0)
		c->out_sent += (size_t)n;
	ep_change(epoll, &c->ep, c->out_sent < c->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void begin(struct client *c)
{
	make_request(&c->out);
	c->out_sent = 0;
	c->in.len = 0;
	c->busy = true;
	c->sent_ns = now_ns();
	sent++;
	if (c->ep.fd < 0)
		dial(c);
	else
		flush(c);
}

static void finish(struct client *c, bool good)
{
	if (good)
		answered++;
	else if (wrong++ == 0)
		fprintf(stderr, "requests: wrong answer: %.*s\n",
			(int)(c->in.len < 400 ? c->in.len : 400), c->in.ptr);
	hist_add(&times, now_ns() - c->sent_ns);
	c->busy = false;
	if (o.rate)
		c->due_ns += NSEC_PER_SEC * o.connections / o.rate;
}

/* The answer is complete when its body has Content-Length bytes. */
static void look(struct client *c)
{
	const char *stop = memmem(c->in.ptr, c->in.len, "\r\n\r\n", 4);
	const char *line = c->in.ptr;
	size_t length = 0;

	if (!stop)
		return;
	for (; line && line < stop; line = memmem(line, (size_t)(stop - line), "\r\n", 2)) {
		line += line == c->in.ptr ? 0 : 2;
		if (strncasecmp(line, "Content-Length:", 15) == 0)
			length = strtoul(line + 15, NULL, 10);
		line++;
	}
	if (c->in.len < (size_t)(stop - c->in.ptr) + 4 + length)
		return;
	finish(c, strncmp(c->in.ptr, "HTTP/1.1 2", 10) == 0);
}

static void on_event(struct client *c, uint32_t events)
{
	char part[65536];
	ssize_t n;

	if ((events & EPOLLOUT) && c->busy)
		flush(c);
	if (!(events & ~(uint32_t)EPOLLOUT))
		return;
	n = recv(c->ep.fd, part, sizeof(part), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		bytes_add(&c->in, part, (size_t)n);
		if (c->busy && c->in.len <= ANSWER_MAX)
			look(c);
		return;
	}
	tcp_abort(c->ep.fd);
	c->ep.fd = -1;
	if (c->busy)
		finish(c, false);
}

/* Sends what is due; the time of the next. */
static uint64_t send_due(struct client *all)
{
	uint64_t now = now_ns(), next = UINT64_MAX;

	for (unsigned i = 0; i < o.connections; i++) {
		if (!all[i].busy && all[i].due_ns <= now)
			begin(&all[i]);
		if (!all[i].busy && all[i].due_ns < next)
			next = all[i].due_ns;
	}
	return next;
}

static void turn(uint64_t until)
{
	struct epoll_event ev[256];
	uint64_t now = now_ns(), wait = until > now ? until - now : 0;
	struct timespec ts = { .tv_sec = (time_t)(wait / NSEC_PER_SEC),
			       .tv_nsec = (long)(wait % NSEC_PER_SEC) };
	int n = epoll_pwait2(epoll, ev, 256, &ts, NULL);

	for (int i = 0; i < n; i++)
		on_event(ev[i].data.ptr, ev[i].events);
}

static void run(struct client *all)
{
	uint64_t start = now_ns(), stop = start + (uint64_t)(o.seconds * 1e9), next;

	for (unsigned i = 0; i < o.connections; i++)
		all[i].due_ns = start + (o.rate ? NSEC_PER_SEC * i / o.rate : 0);
	while (now_ns() < stop) {
		next = send_due(all);
		turn(next < stop ? next : stop);
	}
	stop += PATIENCE_SEC * NSEC_PER_SEC;
	while (answered + wrong < sent && now_ns() < stop)
		turn(now_ns() + NSEC_PER_MSEC);
}

static void print(double seconds, double cpu_us)
{
	printf("requests %llu\nrequests_per_sec %.1f\nwrong_answers %llu\nhttp_connects %llu\n",
	       (unsigned long long)answered, (double)answered / seconds,
	       (unsigned long long)(wrong + (sent - answered - wrong)),
	       (unsigned long long)reconnects);
	if (answered)
		printf("cpu_us_per_request %.3f\n", cpu_us / (double)answered);
	printf("answer_p50_ms %.3f\nanswer_p99_ms %.3f\nanswer_max_ms %.3f\n", hist_ms(&times, 50),
	       hist_ms(&times, 99), hist_ms(&times, 100));
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", 1, NULL, 'p' },    { "connections", 1, NULL, 'c' },
		{ "rate", 1, NULL, 'r' },    { "seconds", 1, NULL, 's' },
		{ "numbers", 1, NULL, 'n' }, { "pid", 1, NULL, 'P' },
		{ NULL, 0, NULL, 0 }
	};
	int ch;

	while ((ch = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (ch) {
		case 'p':
			o.port = (unsigned)number("--port", optarg, 1, 65535);
			break;
		case 'c':
			o.connections = (unsigned)number("--connections", optarg, 1, 10000);
			break;
		case 'r':
			o.rate = number("--rate", optarg, 0, 1000000);
			break;
		case 's':
			o.seconds = (double)number("--seconds", optarg, 1, 600);
			break;
		case 'n':
			o.numbers = number("--numbers", optarg, 1, 100000000);
			break;
		case 'P':
			o.pid = (pid_t)number("--pid", optarg, 1, INT32_MAX);
			break;
		default:
			die("usage: requests [--port N] [--connections N] [--rate N] [--seconds N] "
			    "[--numbers N] [--pid PID] <REQUESTS");
		}
	}
}

int main(int argc, char **argv)
{
	struct client *all;
	char plain[256];
	uint64_t start, cpu;

	signal(SIGPIPE, SIG_IGN);
	parse(argc, argv);
	read_templates();
	snprintf(plain, sizeof(plain), "%s:%s", o.key, o.secret);
	EVP_EncodeBlock((unsigned char *)credentials, (unsigned char *)plain, (int)strlen(plain));
	files_raise();
	address = tcp_address(o.host, o.port);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	all = xcalloc(o.connections, sizeof(*all));
	for (unsigned i = 0; i < o.connections; i++)
		all[i].ep = (struct ep_item){ EP_CONNECTION, -1 };
	cpu = o.pid ? proc_cpu_ns(o.pid) : 0;
	start = now_ns();
	run(all);
	print((double)(now_ns() - start) / 1e9,
	      o.pid ? (double)(proc_cpu_ns(o.pid) - cpu) / 1e3 : 0);
	for (unsigned i = 0; i < o.connections; i++) {
		if (all[i].ep.fd >= 0)
			tcp_abort(all[i].ep.fd);
		bytes_release(&all[i].out);
		bytes_release(&all[i].in);
	}
	free(all);
	return answered == sent ? 0 : 2;
}
