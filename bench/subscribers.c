/* SPDX-License-Identifier: MIT */
/* WebSocket clients that connect, subscribe and check each delivery. */
#include "subscribers.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "frame.h"
#include "loop.h"
#include "message.h"
#include "sign.h"
#include "stream.h"

#define RX_SIZE	      (256 * 1024)
#define PER_SOURCE    25000 /* connections from one address of ours */
#define HANDSHAKE_KEY "c2NvcGV3aXJlLWJlbmNoMQ=="
#define SOCKET_ID     "\\\"socket_id\\\":\\\""

enum state { CONNECTING, SECURING, UPGRADING, ESTABLISHING, SUBSCRIBING, LIVE, ENDED };

struct subscriber {
	struct ep_item ep;
	enum state state;
	uint32_t number;
	uint32_t channel;
	uint64_t started_ns;
	struct ssl_st *ssl; /* or NULL */
	struct bytes rest;  /* an unfinished answer or frame */
};

struct subscribers {
	struct subscribers_options o;
	struct subscribers_sum sum;
	int epoll;
	uint32_t under_way;
	struct subscriber *all; /* [connections] */
	struct ledger *ledger;
	struct ssl_ctx_st *tls; /* or NULL */
	struct signer *signer;
	char accept[FRAME_ACCEPT_SIZE];
	char rx[RX_SIZE];
};

static void channel_name(const struct subscribers *s, uint32_t channel, char out[128])
{
	snprintf(out, 128, "%s%u", s->o.channel_prefix, channel);
}

static void end(struct subscribers *s, struct subscriber *c, const char *why)
{
	if (c->state == ENDED)
		return;
	if (c->state == LIVE) {
		s->sum.live--;
		s->sum.closed++;
	} else {
		s->under_way--;
		s->sum.refused++;
	}
	if (s->sum.closed + s->sum.refused == 1)
		fprintf(stderr, "loadgen: connection %u ended: %s\n", c->number, why);
	c->state = ENDED;
	stream_free(c->ssl);
	c->ssl = NULL;
	if (c->ep.fd >= 0)
		tcp_abort(c->ep.fd);
	c->ep.fd = -1;
	bytes_release(&c->rest);
}

/* Requests are small and the socket's buffer is empty then: a short write is an error. */
static void send_all(struct subscribers *s, struct subscriber *c, const char *p, size_t len)
{
	if (stream_send(c->ep.fd, c->ssl, p, len) != (ssize_t)len)
		end(s, c, "cannot send");
}

static void send_frame(struct subscribers *s, struct subscriber *c, uint8_t opcode, const char *p,
		       size_t len)
{
	uint8_t mask[4] = { 0x5c, (uint8_t)c->number, 0x17, (uint8_t)(c->number >> 8) };
	char out[FRAME_HEAD_MAX + 1024];
	size_t n = frame_head(out, opcode, len, mask);

	if (len > sizeof(out) - n) {
		end(s, c, "a frame to send is too long");
		return;
	}
	memcpy(out + n, p, len);
	frame_mask(out + n, len, mask);
	send_all(s, c, out, n + len);
}

static void upgrade(struct subscribers *s, struct subscriber *c)
{
	char out[512];
	int n;

	n = snprintf(out, sizeof(out),
		     "GET /app/%s?protocol=7&client=bench&version=1.0&flash=false HTTP/1.1\r\n"
		     "Host: %s:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		     "Sec-WebSocket-Key: " HANDSHAKE_KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n",
		     s->o.key, s->o.host, s->o.port);
	c->state = UPGRADING;
	send_all(s, c, out, (size_t)n);
}

static void secure(struct subscribers *s, struct subscriber *c)
{
	int done = stream_handshake(c->ssl);

	if (done < 0)
		end(s, c, "the TLS handshake failed");
	else if (done)
		upgrade(s, c);
}

static void on_connected(struct subscribers *s, struct subscriber *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(c->ep.fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		end(s, c, strerror(err));
		return;
	}
	ep_change(s->epoll, &c->ep, EPOLLIN);
	if (!s->tls) {
		upgrade(s, c);
		return;
	}
	c->state = SECURING;
	c->ssl = stream_tls(s->tls, c->ep.fd, true);
	secure(s, c);
}

/* The head of the answer to the upgrade; returns its length, 0 when more is needed. */
static size_t on_upgraded(struct subscribers *s, struct subscriber *c, const char *p, size_t len)
{
	const char *stop = memmem(p, len, "\r\n\r\n", 4);

	if (!stop)
		return 0;
	if (len < 12 || memcmp(p, "HTTP/1.1 101", 12) != 0 ||
	    !memmem(p, (size_t)(stop - p), s->accept, FRAME_ACCEPT_SIZE - 1)) {
		end(s, c, "the upgrade was not accepted");
		return len;
	}
	c->state = ESTABLISHING;
	return (size_t)(stop - p) + 4;
}

static bool is_event(const struct frame *f, const char *name)
{
	char text[96];
	int n = snprintf(text, sizeof(text), "\"event\":\"%s\"", name);

	return memmem(f->payload, f->len, text, (size_t)n) != NULL;
}

/* The socket_id of connection_established, which is JSON in a JSON string; empty if there is none.
 */
static void read_socket_id(const struct frame *f, char out[64])
{
	const char *at = memmem(f->payload, f->len, SOCKET_ID, sizeof(SOCKET_ID) - 1);
	const char *stop = f->payload + f->len;
	size_t n = 0;

	if (at)
		for (at += sizeof(SOCKET_ID) - 1; at < stop && *at != '\\' && n < 63; at++)
			out[n++] = *at;
	out[n] = '\0';
}

static void subscribe(struct subscribers *s, struct subscriber *c, const char *socket_id)
{
	char channel[128], signature[SIGNER_HEX + 1] = "", out[512];
	int n;

	channel_name(s, c->channel, channel);
	if (strncmp(channel, "private-", 8) == 0)
		signer_channel(s->signer, socket_id, channel, signature);
	n = snprintf(out, sizeof(out),
		     "{\"event\":\"pusher:subscribe\",\"data\":{\"auth\":\"%s%s%s\",\"channel\":\"%"
		     "s\"}}",
		     *signature ? s->o.key : "", *signature ? ":" : "", signature, channel);
	c->state = SUBSCRIBING;
	send_frame(s, c, FRAME_TEXT, out, (size_t)n);
}

static void joined(struct subscribers *s, struct subscriber *c)
{
	c->state = LIVE;
	s->under_way--;
	s->sum.joined++;
	s->sum.live++;
	hist_add(&s->sum.join, now_ns() - c->started_ns);
}

static void strange(struct subscribers *s, const struct subscriber *c, const struct frame *f)
{
	if (s->sum.strange++ == 0)
		fprintf(stderr,
			"loadgen: connection %u received a frame that no publisher sent: %.*s\n",
			c->number, (int)(f->len < 400 ? f->len : 400), f->payload);
}

static void on_delivery(struct subscribers *s, struct subscriber *c, const struct frame *f,
			uint64_t at_ns)
{
	struct message m;
	char channel[128];

	channel_name(s, c->channel, channel);
	if (!message_read(f->payload, f->len, channel, s->o.size, &m) || m.channel != c->channel ||
	    m.publisher >= s->o.publishers) {
		strange(s, c, f);
		return;
	}
	s->sum.frames++;
	ledger_got(s->ledger, c->number, m.publisher, m.seq);
	hist_add(&s->sum.delay, at_ns > m.due_ns ? at_ns - m.due_ns : 0);
}

static void on_text(struct subscribers *s, struct subscriber *c, const struct frame *f,
		    uint64_t at_ns)
{
	static const char pong[] = "{\"event\":\"pusher:pong\",\"data\":{}}";
	char socket_id[64] = "";

	if (c->state == ESTABLISHING && is_event(f, "pusher:connection_established"))
		read_socket_id(f, socket_id);
	if (c->state == LIVE && message_is_event(f->payload, f->len))
		on_delivery(s, c, f, at_ns);
	else if (*socket_id)
		subscribe(s, c, socket_id);
	else if (c->state == SUBSCRIBING && is_event(f, "pusher_internal:subscription_succeeded"))
		joined(s, c);
	else if (is_event(f, "pusher:ping"))
		send_frame(s, c, FRAME_TEXT, pong, sizeof(pong) - 1);
	else if (!is_event(f, "pusher_internal:subscription_count"))
		strange(s, c, f);
}

static void on_frame(struct subscribers *s, struct subscriber *c, const struct frame *f,
		     uint64_t at_ns)
{
	if (f->reserved || !f->fin)
		end(s, c, "a frame with reserved bits, or in parts");
	else if (f->opcode == FRAME_TEXT)
		on_text(s, c, f, at_ns);
	else if (f->opcode == FRAME_PING)
		send_frame(s, c, FRAME_PONG, f->payload, f->len);
	else if (f->opcode == FRAME_CLOSE)
		end(s, c, "the server sent a close frame");
	else if (f->opcode != FRAME_PONG)
		strange(s, c, f);
}

/* Takes all that is whole in p; returns how much that was. */
static size_t take(struct subscribers *s, struct subscriber *c, char *p, size_t len)
{
	uint64_t at_ns = now_ns();
	size_t done = 0;
	struct frame f;

	if (c->state == UPGRADING)
		done = on_upgraded(s, c, p, len);
	while (c->state > UPGRADING && c->state < ENDED && frame_parse(p + done, len - done, &f)) {
		on_frame(s, c, &f, at_ns);
		done += f.whole;
	}
	return done;
}

static void on_readable(struct subscribers *s, struct subscriber *c)
{
	size_t kept = c->rest.len;
	ssize_t n;
	size_t done, len;

	if (kept >= RX_SIZE) {
		end(s, c, "a frame too long");
		return;
	}
	if (kept)
		memcpy(s->rx, c->rest.ptr, kept);
	n = stream_recv(c->ep.fd, c->ssl, s->rx + kept, RX_SIZE - kept);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end(s, c, n ? strerror(errno) : "closed by the server");
		return;
	}
	len = kept + (size_t)n;
	done = take(s, c, s->rx, len);
	c->rest.len = 0;
	if (c->state != ENDED && done < len)
		bytes_add(&c->rest, s->rx + done, len - done);
}

struct subscribers *subscribers_new(int epoll, const struct subscribers_options *o)
{
	struct subscribers *s = xcalloc(1, sizeof(*s));

	s->o = *o;
	s->epoll = epoll;
	s->all = xcalloc(o->connections, sizeof(*s->all));
	s->ledger = ledger_new(o->connections, o->publishers);
	if (o->has_tls)
		s->tls = stream_client();
	s->signer = signer_new(o->host, o->port, "", o->key, o->secret);
	frame_accept(HANDSHAKE_KEY, s->accept);
	return s;
}

static void start_one(struct subscribers *s)
{
	uint32_t number = s->sum.started++;
	struct subscriber *c = &s->all[number];

	c->ep.kind = EP_SUBSCRIBER;
	c->number = number;
	c->channel = number % s->o.channels;
	c->state = CONNECTING;
	c->started_ns = now_ns();
	c->ep.fd = tcp_connect(&s->o.addr, number / PER_SOURCE);
	s->under_way++;
	if (c->ep.fd < 0)
		end(s, c, strerror(-c->ep.fd));
	else
		ep_add(s->epoll, &c->ep, EPOLLOUT);
}

void subscribers_start(struct subscribers *s, uint32_t upto)
{
	while (s->sum.started < upto && s->under_way < s->o.inflight)
		start_one(s);
}

void subscribers_event(struct subscribers *s, struct ep_item *item, uint32_t events)
{
	struct subscriber *c = (struct subscriber *)item;

	if (c->state == ENDED)
		return;
	if (c->state == CONNECTING)
		on_connected(s, c);
	else if (c->state == SECURING)
		secure(s, c);
	else if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		on_readable(s, c);
}

void subscribers_send(struct subscribers *s, uint32_t number, const struct bytes *text)
{
	if (s->all[number].state == LIVE)
		send_frame(s, &s->all[number], FRAME_TEXT, text->ptr, text->len);
}

const struct subscribers_sum *subscribers_sum(const struct subscribers *s)
{
	return &s->sum;
}

struct ledger *subscribers_ledger(struct subscribers *s)
{
	return s->ledger;
}

uint32_t subscribers_on(const struct subscribers *s, uint32_t channel)
{
	return s->o.connections / s->o.channels + (channel < s->o.connections % s->o.channels);
}

void subscribers_free(struct subscribers *s)
{
	uint32_t i;

	for (i = 0; i < s->sum.started; i++) {
		stream_free(s->all[i].ssl);
		if (s->all[i].ep.fd >= 0)
			tcp_abort(s->all[i].ep.fd);
		bytes_release(&s->all[i].rest);
	}
	signer_free(s->signer);
	ledger_free(s->ledger);
	free(s->all);
	free(s);
}
