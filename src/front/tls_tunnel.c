/* SPDX-License-Identifier: MIT */
/* One thread at a time uses a tunnel.  Pieces are read into the stack and kept only when they must
 * be. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "front/tls_tunnel.h"

#define PIECE_BYTES 16384 /* a record's most */
#define PIECES_MAX  16	  /* in one run, so that other connections get their turn */

enum step { STEP_BLOCKED, STEP_MOVED, STEP_BROKEN };

static void tunnel_keep(struct strbuf *left, const char *p, size_t n)
{
	strbuf_init(left, n);
	strbuf_add(left, p, n);
}

/* The first n bytes of what was kept were written. */
static void tunnel_drop_kept(struct strbuf *left, size_t n)
{
	if (n < left->len) {
		memmove(left->ptr, left->ptr + n, left->len - n);
		left->len -= n;
		return;
	}
	strbuf_release(left);
}

void tunnel_init(struct tunnel *r, SSL *ssl, int pair, struct str_view first)
{
	*r = (struct tunnel){ .ssl = ssl, .pair = pair };
	if (first.len)
		tunnel_keep(&r->to_http, first.ptr, first.len);
}

void tunnel_release(struct tunnel *r)
{
	tunnel_drop_kept(&r->to_http, r->to_http.len);
	tunnel_drop_kept(&r->to_client, r->to_client.len);
	close(r->pair);
}

/* ---- from the client to the HTTP server ---------------------------------------- */

/* Bytes written; a server that closed takes all, and its end arrives by the other direction. */
static size_t tunnel_write_http(struct tunnel *r, const char *p, size_t n)
{
	ssize_t sent = send(r->pair, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent >= 0)
		return (size_t)sent;
	return errno == EAGAIN || errno == EINTR ? 0 : n;
}

static enum step tunnel_pass_http_end(struct tunnel *r)
{
	if (r->has_http_end)
		return STEP_BLOCKED;
	shutdown(r->pair, SHUT_WR);
	r->has_http_end = true;
	return STEP_MOVED;
}

static enum step tunnel_read_client(struct tunnel *r)
{
	char piece[PIECE_BYTES];
	size_t n, sent;

	ERR_clear_error();
	if (SSL_read_ex(r->ssl, piece, sizeof(piece), &n)) {
		sent = tunnel_write_http(r, piece, n);
		if (sent < n)
			tunnel_keep(&r->to_http, piece + sent, n - sent);
		return STEP_MOVED;
	}
	switch (SSL_get_error(r->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return STEP_BLOCKED;
	case SSL_ERROR_ZERO_RETURN:
		r->is_client_ended = true;
		return STEP_MOVED;
	default:
		return STEP_BROKEN;
	}
}

static enum step tunnel_move_to_http(struct tunnel *r)
{
	size_t sent;

	if (r->to_http.len) {
		sent = tunnel_write_http(r, r->to_http.ptr, r->to_http.len);
		tunnel_drop_kept(&r->to_http, sent);
		return sent ? STEP_MOVED : STEP_BLOCKED;
	}
	return r->is_client_ended ? tunnel_pass_http_end(r) : tunnel_read_client(r);
}

/* ---- from the HTTP server to the client ---------------------------------------- */

static enum step tunnel_write_client(struct tunnel *r, const char *p, size_t n, size_t *sent)
{
	*sent = 0;
	ERR_clear_error();
	if (SSL_write_ex(r->ssl, p, n, sent))
		return STEP_MOVED;
	switch (SSL_get_error(r->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return STEP_BLOCKED;
	default:
		return STEP_BROKEN;
	}
}

static enum step tunnel_pass_client_end(struct tunnel *r)
{
	int rc;

	if (r->has_closed)
		return STEP_BLOCKED;
	ERR_clear_error();
	rc = SSL_shutdown(r->ssl);
	if (rc < 0)
		return SSL_get_error(r->ssl, rc) == SSL_ERROR_WANT_WRITE ? STEP_BLOCKED
									 : STEP_BROKEN;
	r->has_closed = true;
	return STEP_MOVED;
}

static enum step tunnel_read_http(struct tunnel *r)
{
	char piece[PIECE_BYTES];
	ssize_t n = recv(r->pair, piece, sizeof(piece), MSG_DONTWAIT);
	enum step step;
	size_t sent;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return STEP_BLOCKED;
	if (n <= 0) {
		/* ECONNRESET: it closed before it had read all; what it had written was read. */
		r->is_http_ended = true;
		return STEP_MOVED;
	}
	step = tunnel_write_client(r, piece, (size_t)n, &sent);
	if (step != STEP_BROKEN && sent < (size_t)n)
		tunnel_keep(&r->to_client, piece + sent, (size_t)n - sent);
	return step == STEP_BROKEN ? STEP_BROKEN : STEP_MOVED;
}

static enum step tunnel_move_to_client(struct tunnel *r)
{
	enum step step;
	size_t sent;

	if (r->to_client.len) {
		step = tunnel_write_client(r, r->to_client.ptr, r->to_client.len, &sent);
		tunnel_drop_kept(&r->to_client, sent);
		return step;
	}
	return r->is_http_ended ? tunnel_pass_client_end(r) : tunnel_read_http(r);
}

enum tunnel_state tunnel_run(struct tunnel *r, bool *moved)
{
	*moved = false;
	for (int i = 0; i < PIECES_MAX; i++) {
		enum step in = r->is_http_ended ? STEP_BLOCKED : tunnel_move_to_http(r);
		enum step out = in == STEP_BROKEN ? STEP_BROKEN : tunnel_move_to_client(r);

		if (out == STEP_BROKEN)
			return TUNNEL_BROKEN;
		if (r->has_closed)
			return TUNNEL_ENDED;
		if (in == STEP_BLOCKED && out == STEP_BLOCKED)
			return TUNNEL_WAITS;
		*moved = true;
	}
	return TUNNEL_BUSY;
}
