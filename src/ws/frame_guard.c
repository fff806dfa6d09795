/* SPDX-License-Identifier: MIT */
/*
 * Replaces recv() and SSL_read() of libwebsockets: checks the frames of clients before it reads
 * them, and returns the head of a handshake that the acceptor has read (decision 0005).
 *
 * A descriptor belongs to one worker at a time, so its slot needs no lock.  The kernel orders one
 * worker's close() before another's accept() of the same number, but C's memory model does not
 * know that: is_released orders them too.  It is set after every use of a slot, reads included.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/mem.h"
#include "ws/frame_guard.h"

enum { GUARD_OFF, GUARD_FIRST, GUARD_LENGTH, GUARD_MORE_LENGTH, GUARD_PAYLOAD };

#define MASK_BYTES 4

struct slot {
	struct frame_guard guard;
	atomic_bool is_released; /* released after each use, acquired by the next owner */
};

static struct slot *slots;
static unsigned n_slots;
static _Thread_local bool is_worker_thread;

/* Of the connection that this worker adopts: what the next reads return. */
static _Thread_local struct {
	int fd;
	struct strbuf text; /* ptr NULL: nothing is left */
	size_t at;
} head;

void frame_guard_init(unsigned max_fd)
{
	slots = xcalloc(max_fd, sizeof(*slots));
	n_slots = max_fd;
}

void frame_guard_begin(struct frame_guard *g)
{
	*g = (struct frame_guard){ .state = GUARD_FIRST };
}

void frame_guard_enter_thread(void)
{
	is_worker_thread = true;
}

static struct slot *slot_of(int fd)
{
	return fd >= 0 && (unsigned)fd < n_slots ? &slots[fd] : NULL;
}

static void guard_release_slot(struct slot *s)
{
	atomic_store_explicit(&s->is_released, true, memory_order_release);
}

void frame_guard_watch(int fd, struct strbuf *text)
{
	struct slot *s = slot_of(fd);

	frame_guard_drop_head();
	head.fd = fd;
	strbuf_move(&head.text, text);
	if (!s)
		return;
	(void)atomic_load_explicit(&s->is_released, memory_order_acquire);
	frame_guard_begin(&s->guard);
	guard_release_slot(s);
}

bool frame_guard_has_head(void)
{
	return head.text.ptr;
}

void frame_guard_drop_head(void)
{
	strbuf_release(&head.text);
	head.at = 0;
}

usec_t frame_guard_heard_at(int fd)
{
	struct slot *s = slot_of(fd);
	usec_t at;

	if (!s)
		return 0;
	at = s->guard.state != GUARD_OFF ? s->guard.heard_at : 0;
	guard_release_slot(s);
	return at;
}

/* Reserved bits, opcodes, and which frame may follow which (sections 5.2, 5.4, 5.5). */
static int guard_feed_first(struct frame_guard *g, unsigned char c)
{
	unsigned char opcode = c & 0x0f;
	bool is_final = c & 0x80;

	g->state = GUARD_LENGTH;
	g->is_control = opcode & 0x08;
	if ((c & 0x70) || (opcode > 2 && opcode < 8) || opcode > 10)
		return -EPROTO;
	if (g->is_control)
		return is_final ? 0 : -EPROTO;
	if ((opcode == 0) != g->is_in_message)
		return -EPROTO;
	g->is_in_message = !is_final;
	return 0;
}

static int guard_feed_length(struct frame_guard *g, unsigned char c)
{
	if (!(c & 0x80) || (g->is_control && (c & 0x7f) > 125))
		return -EPROTO;
	g->left = 0;
	g->header = (c & 0x7f) == 126 ? 2 : (c & 0x7f) == 127 ? 8 : 0;
	if (g->header) {
		g->state = GUARD_MORE_LENGTH;
	} else {
		g->left = MASK_BYTES + (c & 0x7f);
		g->state = GUARD_PAYLOAD;
	}
	return 0;
}

static int guard_feed_more_length(struct frame_guard *g, unsigned char c)
{
	g->left = g->left << 8 | c;
	if (--g->header)
		return 0;
	if (g->left > INT64_MAX)
		return -EPROTO;
	g->left += MASK_BYTES;
	g->state = GUARD_PAYLOAD;
	return 0;
}

int frame_guard_feed(struct frame_guard *g, const unsigned char *p, size_t n)
{
	for (const unsigned char *end = p + n; p < end;) {
		switch (g->state) {
		case GUARD_FIRST:
			if (guard_feed_first(g, *p++))
				return -EPROTO;
			break;
		case GUARD_LENGTH:
			if (guard_feed_length(g, *p++))
				return -EPROTO;
			break;
		case GUARD_MORE_LENGTH:
			if (guard_feed_more_length(g, *p++))
				return -EPROTO;
			break;
		case GUARD_PAYLOAD: {
			size_t here = (size_t)(end - p);

			if (here > g->left)
				here = (size_t)g->left;
			p += here;
			g->left -= here;
			if (!g->left)
				g->state = GUARD_FIRST;
			break;
		}
		default:
			return 0;
		}
	}
	return 0;
}

static const unsigned char close_1002[] = { 0x88, 2, 1002 >> 8, 1002 & 0xff };

/* Copies from the head that the acceptor read; 0: nothing is left of it. */
static size_t guard_take_head(int fd, void *buf, size_t max)
{
	size_t n;

	if (!head.text.ptr || head.fd != fd)
		return 0;
	n = head.text.len - head.at < max ? head.text.len - head.at : max;
	memcpy(buf, head.text.ptr + head.at, n);
	head.at += n;
	if (head.at == head.text.len)
		frame_guard_drop_head();
	return n;
}

/* False: the bytes that were read from fd violate RFC 6455; later bytes are not checked. */
static bool guard_inspect(int fd, const void *p, size_t n)
{
	struct slot *s = is_worker_thread ? slot_of(fd) : NULL;
	bool ok;

	if (!s || s->guard.state == GUARD_OFF)
		return true;
	s->guard.heard_at = clock_mono();
	ok = frame_guard_feed(&s->guard, p, n) == 0;
	if (!ok)
		s->guard.state = GUARD_OFF;
	guard_release_slot(s);
	return ok;
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t n = (ssize_t)guard_take_head(fd, buf, len);

	if (n)
		return n;
	n = recvfrom(fd, buf, len, flags, NULL, NULL);
	if (n <= 0 || (flags & MSG_PEEK) || guard_inspect(fd, buf, (size_t)n))
		return n;
	send(fd, close_1002, sizeof(close_1002), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	errno = ECONNRESET;
	return -1;
}

int SSL_read(SSL *ssl, void *buf, int num)
{
	size_t n = num > 0 ? guard_take_head(SSL_get_fd(ssl), buf, (size_t)num) : 0;

	if (n)
		return (int)n;
	if (num < 0 || !SSL_read_ex(ssl, buf, (size_t)num, &n))
		return -1;
	if (guard_inspect(SSL_get_fd(ssl), buf, n))
		return (int)n;
	SSL_write(ssl, close_1002, sizeof(close_1002));
	shutdown(SSL_get_fd(ssl), SHUT_RDWR);
	return -1;
}
