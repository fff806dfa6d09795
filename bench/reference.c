/* SPDX-License-Identifier: MIT */
/*
 * The floor to measure against: a bare epoll server that takes the same WebSocket
 * connections and HTTP publishes, checks nothing, and fans out the same framed bytes
 * with send().  Nothing is stored, signed, limited or logged.  With a certificate, connections that
 * begin with TLS are served by a bare OpenSSL.
 *
 * Each thread has its listener (SO_REUSEPORT), its connections and its lists of
 * subscribers; a publish reaches the other threads as a frame in their mailbox.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "frame.h"
#include "loop.h"
#include "stream.h"
#include "util.h"

#define THREADS_MAX 8
#define RX_SIZE	    (256 * 1024)
#define EVENTS	    1024
#define CHANNELS    4096	  /* slots of the table; a power of two */
#define CHANNEL_MAX 200		  /* bytes of a name */
#define UNSENT_MAX  (1024 * 1024) /* bytes waiting for a slow reader */

/* As long as those that the measured server adds to each delivery. */
#define EXTRA ",\"id\":\"01J00000000000000000000000\",\"serial\":1000000}"

struct connection {
	struct ep_item ep;
	bool is_websocket;
	bool has_begun;		 /* its first byte was looked at */
	struct ssl_st *ssl;	 /* or NULL */
	struct channel *channel; /* subscribed to, or NULL */
	uint32_t place;		 /* in channel->list */
	struct bytes rest;	 /* read, not yet whole */
	struct bytes unsent;	 /* the socket was full */
};

struct channel {
	char name[CHANNEL_MAX + 1];
	struct connection **list; /* owned */
	uint32_t count, room;
};

struct server {
	struct ep_item listener;
	struct ep_item mailbox; /* an eventfd */
	int epoll;
	unsigned number;
	uint64_t next_id;
	struct channel channels[CHANNELS];
	pthread_mutex_t lock; /* guards mail */
	struct bytes mail;    /* struct letter, name and frame, again and again */
	struct bytes frame;   /* scratch */
	char rx[RX_SIZE + 1];
};

struct letter {
	uint32_t name_len;
	uint32_t frame_len;
};

static struct server *servers[THREADS_MAX];
static unsigned threads = 1;
static struct ssl_ctx_st *tls; /* NULL: without a certificate */

static struct channel *channel_of(struct server *s, const char *name, size_t len)
{
	uint32_t hash = 2166136261u;
	size_t i;

	if (len > CHANNEL_MAX)
		die("a channel's name is too long");
	for (i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)name[i]) * 16777619u;
	for (i = 0; i < CHANNELS; i++) {
		struct channel *c = &s->channels[(hash + i) & (CHANNELS - 1)];

		if (c->name[0] == '\0')
			memcpy(c->name, name, len);
		if (strncmp(c->name, name, len) == 0 && c->name[len] == '\0')
			return c;
	}
	die("more than %d channels", CHANNELS);
}

static void join(struct connection *c, struct channel *ch)
{
	if (c->channel)
		return;
	if (ch->count == ch->room) {
		ch->room = ch->room ? ch->room * 2 : 16;
		ch->list = xrealloc(ch->list, ch->room * sizeof(struct connection *));
	}
	c->channel = ch;
	c->place = ch->count;
	ch->list[ch->count++] = c;
}

static void leave(struct connection *c)
{
	struct channel *ch = c->channel;

	if (!ch)
		return;
	ch->list[c->place] = ch->list[--ch->count];
	ch->list[c->place]->place = c->place;
	c->channel = NULL;
}

/* The peer is done with; its memory goes when its hang-up has been read. */
static void drop(struct connection *c)
{
	leave(c);
	shutdown(c->ep.fd, SHUT_RDWR);
}

static void destroy(struct connection *c)
{
	leave(c);
	stream_free(c->ssl);
	close(c->ep.fd);
	bytes_release(&c->rest);
	bytes_release(&c->unsent);
	free(c);
}

static void put(struct server *s, struct connection *c, const char *p, size_t len)
{
	ssize_t n = 0;

	if (c->unsent.len == 0)
		n = stream_send(c->ep.fd, c->ssl, p, len);
	if (n == (ssize_t)len)
		return;
	if (n < 0 && errno != EAGAIN) {
		drop(c);
		return;
	}
	if (c->unsent.len == 0)
		ep_change(s->epoll, &c->ep, EPOLLIN | EPOLLOUT);
	bytes_add(&c->unsent, p + (n > 0 ? n : 0), len - (size_t)(n > 0 ? n : 0));
	if (c->unsent.len > UNSENT_MAX)
		drop(c);
}

static void on_writable(struct server *s, struct connection *c)
{
	ssize_t n = stream_send(c->ep.fd, c->ssl, c->unsent.ptr, c->unsent.len);

	if (n > 0)
		bytes_drop(&c->unsent, (size_t)n);
	if (c->unsent.len == 0)
		ep_change(s->epoll, &c->ep, EPOLLIN);
}

static void put_text(struct server *s, struct connection *c, const char *text, size_t len)
{
	char out[FRAME_HEAD_MAX + 512];
	size_t n = frame_head(out, FRAME_TEXT, len, NULL);

	if (len > sizeof(out) - n)
		die("an answer is too long");
	memcpy(out + n, text, len);
	put(s, c, out, n + len);
}

/*
 * To all but one (or NULL).  Backwards: put() may drop the one it serves, which moves the last into
 * its place.
 */
static void fan_out(struct server *s, struct channel *ch, const struct connection *except,
		    const struct bytes *frame)
{
	uint32_t i;

	for (i = ch->count; i > 0; i--)
		if (ch->list[i - 1] != except)
			put(s, ch->list[i - 1], frame->ptr, frame->len);
}

static void mail(struct server *to, const char *name, size_t name_len, const struct bytes *frame)
{
	struct letter head = { (uint32_t)name_len, (uint32_t)frame->len };
	uint64_t one = 1;
	bool wake;

	pthread_mutex_lock(&to->lock);
	wake = to->mail.len == 0;
	bytes_add(&to->mail, &head, sizeof(head));
	bytes_add(&to->mail, name, name_len);
	bytes_add(&to->mail, frame->ptr, frame->len);
	pthread_mutex_unlock(&to->lock);
	if (wake && write(to->mailbox.fd, &one, sizeof(one)) < 0)
		die("eventfd: %s", strerror(errno));
}

static void on_mail(struct server *s)
{
	struct bytes got;
	struct letter head;
	uint64_t count;
	size_t at = 0;

	if (read(s->mailbox.fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&s->lock);
	got = s->mail;
	memset(&s->mail, 0, sizeof(s->mail));
	pthread_mutex_unlock(&s->lock);
	while (at < got.len) {
		struct bytes frame;

		memcpy(&head, got.ptr + at, sizeof(head));
		at += sizeof(head);
		frame = (struct bytes){ got.ptr + at + head.name_len, head.frame_len, 0 };
		fan_out(s, channel_of(s, got.ptr + at, head.name_len), NULL, &frame);
		at += head.name_len + head.frame_len;
	}
	bytes_release(&got);
}

/* The JSON string behind `field`, as it stands, without quotes. */
static const char *field_of(const char *p, size_t len, const char *field, size_t *out_len)
{
	const char *at = memmem(p, len, field, strlen(field));
	const char *stop = p + len;
	const char *end;

	if (!at)
		return NULL;
	at += strlen(field);
	for (end = at; end < stop && *end != '"'; end++)
		if (*end == '\\')
			end++;
	*out_len = (size_t)(end - at);
	return end < stop ? at : NULL;
}

static void answer_hook(struct server *s, struct connection *c)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

	put(s, c, answer, sizeof(answer) - 1);
}

static void on_publish(struct server *s, struct connection *c, const char *body, size_t len)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
				     "Content-Length: 2\r\n\r\n{}";
	size_t name_len = 0, data_len = 0;
	const char *name = field_of(body, len, "\"channels\":[\"", &name_len);
	const char *data = field_of(body, len, "\"data\":\"", &data_len);
	char head[FRAME_HEAD_MAX];
	int text_len;
	unsigned i;

	if (!name || !data) {
		drop(c);
		return;
	}
	text_len = snprintf(NULL, 0, "{\"event\":\"bench\",\"channel\":\"%.*s\",\"data\":\"",
			    (int)name_len, name);
	s->frame.len = 0;
	bytes_add(&s->frame, head,
		  frame_head(head, FRAME_TEXT, (size_t)text_len + data_len + 1 + sizeof(EXTRA) - 1,
			     NULL));
	bytes_addf(&s->frame, "{\"event\":\"bench\",\"channel\":\"%.*s\",\"data\":\"",
		   (int)name_len, name);
	bytes_add(&s->frame, data, data_len);
	bytes_add(&s->frame, "\"" EXTRA, sizeof("\"" EXTRA) - 1);
	for (i = 0; i < threads; i++)
		if (i != s->number)
			mail(servers[i], name, name_len, &s->frame);
	fan_out(s, channel_of(s, name, name_len), NULL, &s->frame);
	put(s, c, answer, sizeof(answer) - 1);
}

static void on_upgrade(struct server *s, struct connection *c, const char *head)
{
	const char *key = strcasestr(head, "\r\nSec-WebSocket-Key: ");
	char accept[FRAME_ACCEPT_SIZE], out[256], hello[160];
	int n;

	if (!key || strlen(key) < 21 + 24) {
		drop(c);
		return;
	}
	frame_accept(key + 21, accept);
	n = snprintf(out, sizeof(out),
		     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		     accept);
	put(s, c, out, (size_t)n);
	c->is_websocket = true;
	n = snprintf(hello, sizeof(hello),
		     "{\"event\":\"pusher:connection_established\",\"data\":\"{\\\"socket_id\\\":"
		     "\\\"%u.%llu\\\",\\\"activity_timeout\\\":120}\"}",
		     s->number + 1, (unsigned long long)++s->next_id);
	put_text(s, c, hello, (size_t)n);
}

/* One request at p, which ends in a NUL; returns its length, 0 when more is needed. */
static size_t on_request(struct server *s, struct connection *c, const char *p, size_t len)
{
	const char *stop = memmem(p, len, "\r\n\r\n", 4);
	const char *length;
	size_t head, body;

	if (!stop)
		return 0;
	head = (size_t)(stop - p) + 4;
	if (memcmp(p, "GET /app/", 9) == 0) {
		on_upgrade(s, c, p);
		return head;
	}
	length = strcasestr(p, "\r\nContent-Length: ");
	body = length && length < stop ? strtoul(length + 18, NULL, 10) : 0;
	if (body > len - head)
		return 0;
	if (memcmp(p, "POST /hook ", 11) == 0) /* a webhook */
		answer_hook(s, c);
	else
		on_publish(s, c, p + head, body);
	return head + body;
}

static void on_subscribe(struct server *s, struct connection *c, const struct frame *f)
{
	char out[512];
	size_t len;
	const char *name = field_of(f->payload, f->len, "\"channel\":\"", &len);
	int n;

	if (!name || len > CHANNEL_MAX)
		return;
	join(c, channel_of(s, name, len));
	n = snprintf(out, sizeof(out),
		     "{\"event\":\"pusher_internal:subscription_succeeded\",\"data\":\"{}\","
		     "\"channel\":\"%.*s\"}",
		     (int)len, name);
	put_text(s, c, out, (size_t)n);
}

/* A client event goes to the others of its channel as it is. */
static void on_whisper(struct server *s, struct connection *c, const struct frame *f)
{
	char head[FRAME_HEAD_MAX];
	unsigned i;

	if (!c->channel)
		return;
	s->frame.len = 0;
	bytes_add(&s->frame, head, frame_head(head, FRAME_TEXT, f->len, NULL));
	bytes_add(&s->frame, f->payload, f->len);
	for (i = 0; i < threads; i++)
		if (i != s->number)
			mail(servers[i], c->channel->name, strlen(c->channel->name), &s->frame);
	fan_out(s, c->channel, c, &s->frame);
}

static void on_frame(struct server *s, struct connection *c, const struct frame *f)
{
	static const char pong[] = "{\"event\":\"pusher:pong\",\"data\":{}}";

	if (f->opcode == FRAME_CLOSE)
		drop(c);
	else if (f->len > 17 && memcmp(f->payload, "{\"event\":\"client-", 17) == 0)
		on_whisper(s, c, f);
	else if (memmem(f->payload, f->len, "pusher:subscribe", 16))
		on_subscribe(s, c, f);
	else if (memmem(f->payload, f->len, "pusher:ping", 11))
		put_text(s, c, pong, sizeof(pong) - 1);
}

static size_t take(struct server *s, struct connection *c, char *p, size_t len)
{
	size_t done = 0;
	size_t n = 1;
	struct frame f;

	while (done < len && n > 0) {
		if (!c->is_websocket) {
			n = on_request(s, c, p + done, len - done);
		} else if (frame_parse(p + done, len - done, &f)) {
			on_frame(s, c, &f);
			n = f.whole;
		} else {
			n = 0;
		}
		done += n;
	}
	return done;
}

/* TLS begins with a record of the handshake. */
static void begin(struct connection *c)
{
	char first;

	if (recv(c->ep.fd, &first, 1, MSG_PEEK) != 1)
		return;
	c->has_begun = true;
	if (tls && first == 0x16)
		c->ssl = stream_tls(tls, c->ep.fd, false);
}

static void on_readable(struct server *s, struct connection *c)
{
	size_t kept = c->rest.len;
	ssize_t n;
	size_t done, len;

	if (kept)
		memcpy(s->rx, c->rest.ptr, kept);
	if (!c->has_begun)
		begin(c);
	n = stream_recv(c->ep.fd, c->ssl, s->rx + kept, RX_SIZE - kept);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		destroy(c);
		return;
	}
	len = kept + (size_t)n;
	s->rx[len] = '\0';
	done = take(s, c, s->rx, len);
	c->rest.len = 0;
	bytes_add(&c->rest, s->rx + done, len - done);
}

static void on_accept(struct server *s)
{
	struct connection *c;
	int on = 1;
	int fd;

	while ((fd = accept4(s->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		c = xcalloc(1, sizeof(*c));
		c->ep.kind = EP_CONNECTION;
		c->ep.fd = fd;
		ep_add(s->epoll, &c->ep, EPOLLIN);
	}
	if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept: %s", strerror(errno));
}

static void on_event(struct server *s, struct ep_item *item, uint32_t events)
{
	struct connection *c = (struct connection *)item;

	if (item->kind == EP_LISTENER) {
		on_accept(s);
	} else if (item->kind == EP_MAILBOX) {
		on_mail(s);
	} else {
		if ((events & EPOLLOUT) && c->unsent.len > 0)
			on_writable(s, c);
		if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			on_readable(s, c);
	}
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct epoll_event ev[EVENTS];
	int i, n;

	for (;;) {
		n = epoll_wait(s->epoll, ev, EVENTS, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait: %s", strerror(errno));
		for (i = 0; i < n; i++)
			on_event(s, ev[i].data.ptr, ev[i].events);
	}
	return NULL;
}

static struct server *server_new(unsigned number, const struct sockaddr_in *addr,
				 const char *congestion)
{
	struct server *s = xcalloc(1, sizeof(*s));

	s->number = number;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->listener.kind = EP_LISTENER;
	s->listener.fd = tcp_listen(addr, congestion);
	s->mailbox.kind = EP_MAILBOX;
	s->mailbox.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&s->lock, NULL);
	ep_add(s->epoll, &s->listener, EPOLLIN);
	ep_add(s->epoll, &s->mailbox, EPOLLIN);
	return s;
}

static unsigned port_of(int fd)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &len))
		die("getsockname: %s", strerror(errno));
	return ntohs(addr.sin_port);
}

static const struct option LONG[] = {
	{ "port", required_argument, NULL, 'p' },
	{ "threads", required_argument, NULL, 't' },
	{ "congestion", required_argument, NULL, 'c' },
	{ "certificate", required_argument, NULL, 'C' },
	{ "key", required_argument, NULL, 'k' },
	{ NULL, 0, NULL, 0 },
};

int main(int argc, char **argv)
{
	const char *congestion = NULL, *certificate = NULL, *key = NULL;
	struct sockaddr_in addr;
	unsigned port = 0;
	pthread_t thread;
	int letter;
	unsigned i;

	while ((letter = getopt_long(argc, argv, "", LONG, NULL)) != -1) {
		if (letter == 'p')
			port = (unsigned)number("port", optarg, 0, 65535);
		else if (letter == 't')
			threads = (unsigned)number("threads", optarg, 1, THREADS_MAX);
		else if (letter == 'c')
			congestion = optarg;
		else if (letter == 'C')
			certificate = optarg;
		else if (letter == 'k')
			key = optarg;
		else
			die("options: --port N (0: any), --threads N, --congestion NAME, "
			    "--certificate FILE and --key FILE");
	}
	if (certificate && key)
		tls = stream_server(certificate, key);
	signal(SIGPIPE, SIG_IGN);
	files_raise();
	for (i = 0; i < threads; i++) {
		addr = tcp_address("127.0.0.1", port);
		servers[i] = server_new(i, &addr, congestion);
		port = port_of(servers[i]->listener.fd);
	}
	for (i = 1; i < threads; i++)
		if (pthread_create(&thread, NULL, serve, servers[i]))
			die("cannot start a thread");
	printf("ready: listening on 127.0.0.1:%u\n", port);
	fflush(stdout);
	serve(servers[0]);
	return 0;
}
