/* SPDX-License-Identifier: MIT */
/* A descriptor belongs to one worker at a time, so its slot needs no lock. */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <sys/socket.h>
#include "base/mem.h"
#include "ws/frame_guard.h"

enum { GUARD_OFF, GUARD_HANDSHAKE, GUARD_FIRST, GUARD_LENGTH, GUARD_MORE_LENGTH, GUARD_PAYLOAD };

#define MASK_BYTES 4

static struct frame_guard *guards;
static unsigned n_guards;
static _Thread_local bool is_worker_thread;

void frame_guard_init(unsigned max_fd)
{
	guards = xcalloc(max_fd, sizeof(*guards));
	n_guards = max_fd;
}

void frame_guard_begin(struct frame_guard *g)
{
	*g = (struct frame_guard){ .state = GUARD_HANDSHAKE };
}

void frame_guard_enter_thread(void)
{
	is_worker_thread = true;
}

static struct frame_guard *guard_of(int fd)
{
	if (!is_worker_thread || fd < 0 || (unsigned)fd >= n_guards ||
	    guards[fd].state == GUARD_OFF)
		return NULL;
	return &guards[fd];
}

void frame_guard_watch(int fd)
{
	if (fd >= 0 && (unsigned)fd < n_guards)
		frame_guard_begin(&guards[fd]);
}

void frame_guard_forget(int fd)
{
	if (fd >= 0 && (unsigned)fd < n_guards)
		guards[fd].state = GUARD_OFF;
}

/* Frames follow a head with an Upgrade header; after any other come a body and more requests. */
static void feed_handshake(struct frame_guard *g, unsigned char c)
{
	static const char end[] = "\r\n\r\n", upgrade[] = "\nupgrade:";
	unsigned char lower = c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;

	if (!g->is_upgrade) {
		g->header = lower == (unsigned char)upgrade[g->header] ? g->header + 1 : c == '\n';
		g->is_upgrade = g->header == sizeof(upgrade) - 1;
	}
	g->progress = c == (unsigned char)end[g->progress] ? g->progress + 1 : c == '\r';
	if (g->progress == sizeof(end) - 1)
		g->state = g->is_upgrade ? GUARD_FIRST : GUARD_OFF;
}

/* Reserved bits, opcodes, and which frame may follow which (sections 5.2, 5.4, 5.5). */
static int feed_first(struct frame_guard *g, unsigned char c)
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

static int feed_length(struct frame_guard *g, unsigned char c)
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

static int feed_more_length(struct frame_guard *g, unsigned char c)
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
		case GUARD_HANDSHAKE:
			feed_handshake(g, *p++);
			break;
		case GUARD_FIRST:
			if (feed_first(g, *p++))
				return -EPROTO;
			break;
		case GUARD_LENGTH:
			if (feed_length(g, *p++))
				return -EPROTO;
			break;
		case GUARD_MORE_LENGTH:
			if (feed_more_length(g, *p++))
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

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	ssize_t n = recvfrom(fd, buf, len, flags, NULL, NULL);
	struct frame_guard *g = n > 0 && !(flags & MSG_PEEK) ? guard_of(fd) : NULL;

	if (!g || frame_guard_feed(g, buf, (size_t)n) == 0)
		return n;
	g->state = GUARD_OFF;
	send(fd, close_1002, sizeof(close_1002), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	errno = ECONNRESET;
	return -1;
}

int SSL_read(SSL *ssl, void *buf, int num)
{
	size_t n = 0;
	struct frame_guard *g;

	if (num < 0 || !SSL_read_ex(ssl, buf, (size_t)num, &n))
		return -1;
	g = guard_of(SSL_get_fd(ssl));
	if (!g || frame_guard_feed(g, buf, n) == 0)
		return (int)n;
	g->state = GUARD_OFF;
	SSL_write(ssl, close_1002, sizeof(close_1002));
	shutdown(SSL_get_fd(ssl), SHUT_RDWR);
	return -1;
}
