/* SPDX-License-Identifier: MIT */
/* Publishers over kept-alive HTTP connections, or by SQL, at a fixed rate or as fast as answered.
 */
#include "publishers.h"

#include <errno.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include "loop.h"
#include "message.h"
#include "sign.h"
#include "sql.h"
#include "subscribers.h"

#define ANSWER_MAX 16384

struct publisher {
	struct ep_item ep;
	uint32_t number;
	bool busy;	  /* a request is under way */
	uint32_t channel; /* of the request, then of the next one */
	uint64_t due_ns;
	uint64_t sent_ns;
	uint32_t *seq;	  /* [channels]: the next number */
	PGconn *pg;	  /* with o.sql */
	struct bytes out; /* the request */
	size_t out_sent;
	size_t in_len;
	char in[ANSWER_MAX];
};

struct publishers {
	struct publishers_options o;
	struct publishers_sum sum;
	const uint32_t *subscribers_on;
	int epoll;
	bool stopped;
	uint64_t interval_ns; /* between two of one publisher; 0 for no pause */
	struct signer *signer;
	struct publisher *all; /* [publishers] */
	struct bytes body;
};

static void open_sql(struct publishers *p, struct publisher *c)
{
	c->pg = sql_open(p->o.sql);
	c->ep.fd = PQsocket(c->pg);
	ep_add(p->epoll, &c->ep, EPOLLIN);
}

struct publishers *publishers_new(int epoll, const struct publishers_options *o,
				  const uint32_t *subscribers_on)
{
	struct publishers *p = xcalloc(1, sizeof(*p));
	uint32_t i;

	p->o = *o;
	p->epoll = epoll;
	p->subscribers_on = subscribers_on;
	p->signer = signer_new(o->host, o->port, o->app_id, o->key, o->secret);
	p->interval_ns = o->rate ? NSEC_PER_SEC * o->publishers / o->rate : 0;
	p->all = xcalloc(o->publishers, sizeof(*p->all));
	for (i = 0; i < o->publishers; i++) {
		p->all[i].ep.kind = EP_PUBLISHER;
		p->all[i].ep.fd = -1;
		p->all[i].number = i;
		p->all[i].channel = (uint32_t)((uint64_t)i * o->channels / o->publishers);
		p->all[i].seq = xcalloc(o->channels, sizeof(uint32_t));
		if (o->sql)
			open_sql(p, &p->all[i]);
	}
	return p;
}

void publishers_begin(struct publishers *p)
{
	uint64_t now = now_ns();
	uint32_t i;

	for (i = 0; i < p->o.publishers; i++)
		p->all[i].due_ns = now + p->interval_ns * i / p->o.publishers;
}

void publishers_stop(struct publishers *p)
{
	p->stopped = true;
}

static void hang_up(struct publisher *c)
{
	if (c->pg)
		PQfinish(c->pg);
	else if (c->ep.fd >= 0)
		tcp_abort(c->ep.fd);
	c->pg = NULL;
	c->ep.fd = -1;
}

static void finish(struct publishers *p, struct publisher *c)
{
	c->busy = false;
	p->sum.busy--;
	if (!p->o.whisperers)
		c->channel = (c->channel + 1) % p->o.channels;
	c->due_ns += p->interval_ns;
}

static void failed(struct publishers *p, struct publisher *c, const char *why)
{
	if (p->sum.wrong++ == 0)
		fprintf(stderr, "loadgen: publisher %u: %s: %.*s\n", c->number, why,
			(int)(c->in_len < 300 ? c->in_len : 300), c->in);
	finish(p, c);
}

static void answered(struct publishers *p, struct publisher *c)
{
	p->sum.answered++;
	p->sum.expected += p->subscribers_on[c->channel];
	c->seq[c->channel]++;
	hist_add(&p->sum.answer, now_ns() - c->sent_ns);
	finish(p, c);
}

/* 503: nothing of it is delivered, and its number is used for the next one. */
static void turned_away(struct publishers *p, struct publisher *c)
{
	p->sum.turned_away++;
	finish(p, c);
}

static void flush(struct publishers *p, struct publisher *c)
{
	ssize_t n =
		send(c->ep.fd, c->out.ptr + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		hang_up(c);
		failed(p, c, "cannot send");
		return;
	}
	if (n > 0)
		c->out_sent += (size_t)n;
	if (c->out_sent < c->out.len)
		ep_change(p->epoll, &c->ep, EPOLLIN | EPOLLOUT);
}

static void dial(struct publishers *p, struct publisher *c)
{
	c->ep.fd = tcp_connect(&p->o.addr, 0);
	if (c->ep.fd < 0) {
		c->ep.fd = -1;
		failed(p, c, "cannot connect");
		return;
	}
	p->sum.connects++;
	ep_add(p->epoll, &c->ep, EPOLLIN | EPOLLOUT);
}

static void post(struct publishers *p, struct publisher *c, const struct message *m,
		 const char *channel)
{
	message_body(m, channel, p->o.size, &p->body);
	signer_post(p->signer, &p->body, &c->out);
	if (c->ep.fd >= 0)
		flush(p, c);
	else
		dial(p, c);
}

static void insert(struct publishers *p, struct publisher *c, const struct message *m,
		   const char *channel)
{
	message_data(m, p->o.size, &c->out);
	if (!sql_send(c->pg, channel, MESSAGE_EVENT, &c->out))
		die("--sql: %s", PQerrorMessage(c->pg));
}

static void on_sql_answer(struct publishers *p, struct publisher *c)
{
	enum sql_answer answer = sql_read(c->pg);

	if (answer == SQL_REFUSED)
		die("--sql: %s", PQerrorMessage(c->pg));
	if (answer == SQL_COMMITTED && c->busy)
		answered(p, c);
}

static void publish(struct publishers *p, struct publisher *c, uint64_t now)
{
	struct message m = { c->number, c->channel, c->seq[c->channel],
			     p->interval_ns && !p->o.sql ? c->due_ns : now };
	char channel[128];

	snprintf(channel, sizeof(channel), "%s%u", p->o.channel_prefix, c->channel);
	p->body.len = 0;
	c->out.len = 0;
	c->out_sent = 0;
	c->in_len = 0;
	c->busy = true;
	c->sent_ns = now;
	p->sum.busy++;
	p->sum.sent++;
	if (p->o.whisperers) {
		message_whisper(&m, channel, p->o.size, &c->out);
		subscribers_send(p->o.whisperers, c->number, &c->out);
		answered(p, c);
	} else if (p->o.sql)
		insert(p, c, &m, channel);
	else
		post(p, c, &m, channel);
}

uint64_t publishers_run(struct publishers *p, bool may_send)
{
	uint64_t now = now_ns();
	uint64_t next = UINT64_MAX;
	uint32_t i;

	if (p->stopped || !may_send)
		return next;
	for (i = 0; i < p->o.publishers; i++) {
		struct publisher *c = &p->all[i];

		if (p->o.limit && p->sum.sent >= p->o.limit)
			return UINT64_MAX;
		if (!c->busy && c->due_ns <= now)
			publish(p, c, now);
		if (!c->busy && c->due_ns < next)
			next = c->due_ns;
	}
	return next;
}

/* The value of a header in the answer's head, or NULL. */
static const char *header(const char *head, const char *stop, const char *name)
{
	const char *line = head;
	size_t len = strlen(name);

	while ((line = memmem(line, (size_t)(stop - line), "\r\n", 2))) {
		line += 2;
		if ((size_t)(stop - line) > len && strncasecmp(line, name, len) == 0 &&
		    line[len] == ':')
			return line + len + 1 + strspn(line + len + 1, " ");
	}
	return NULL;
}

static bool is_right(const char *head, const char *body, size_t len)
{
	if (memcmp(head, "HTTP/1.1 200", 12) != 0)
		return false;
	return (len == 2 && memcmp(body, "{}", 2) == 0) ||
	       (len == 11 && memcmp(body, "{\"ok\":true}", 11) == 0);
}

/* Looks whether the answer is whole; at_end: the server closed, so it is. */
static void look(struct publishers *p, struct publisher *c, bool at_end)
{
	const char *stop, *length, *connection;
	size_t head, body;

	c->in[c->in_len] = '\0';
	stop = memmem(c->in, c->in_len, "\r\n\r\n", 4);
	if (!stop && !at_end)
		return;
	if (!stop) {
		failed(p, c, "closed in the middle");
		return;
	}
	head = (size_t)(stop - c->in) + 4;
	length = header(c->in, stop, "Content-Length");
	body = length ? strtoul(length, NULL, 10) : c->in_len - head;
	if (!at_end && (!length || body > c->in_len - head))
		return;
	connection = header(c->in, stop, "Connection");
	if (connection && strncasecmp(connection, "close", 5) == 0)
		hang_up(c);
	if (body == c->in_len - head && is_right(c->in, c->in + head, body))
		answered(p, c);
	else if (memcmp(c->in, "HTTP/1.1 503", 12) == 0)
		turned_away(p, c);
	else
		failed(p, c, "wrong answer");
}

static void on_readable(struct publishers *p, struct publisher *c)
{
	ssize_t n = recv(c->ep.fd, c->in + c->in_len, ANSWER_MAX - 1 - c->in_len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		hang_up(c);
	else
		c->in_len += (size_t)n;
	if (c->busy)
		look(p, c, n <= 0);
}

void publishers_event(struct publishers *p, struct ep_item *item, uint32_t events)
{
	struct publisher *c = (struct publisher *)item;

	if (c->ep.fd < 0)
		return;
	if (c->pg) {
		on_sql_answer(p, c);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		on_readable(p, c);
		return;
	}
	ep_change(p->epoll, &c->ep, EPOLLIN);
	if (c->busy)
		flush(p, c);
}

const struct publishers_sum *publishers_sum(const struct publishers *p)
{
	return &p->sum;
}

uint32_t publishers_count(const struct publishers *p, uint32_t publisher, uint32_t channel)
{
	return p->all[publisher].seq[channel];
}

void publishers_free(struct publishers *p)
{
	uint32_t i;

	for (i = 0; i < p->o.publishers; i++) {
		hang_up(&p->all[i]);
		free(p->all[i].seq);
		bytes_release(&p->all[i].out);
	}
	signer_free(p->signer);
	bytes_release(&p->body);
	free(p->all);
	free(p);
}
