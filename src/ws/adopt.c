/* SPDX-License-Identifier: MIT */
/*
 * Gives accepted connections to libwebsockets.  Their handshakes were read before, and the TLS
 * handshake before that.  libwebsockets can be given neither, so this file and
 * frame_guard.c define functions that it calls: SSL_new() returns the TLS state that is there
 * already (whose SSL_accept() then has nothing to do), and the first read returns the handshake.
 *
 * All of it happens in one call: when worker_adopt() returns, the handshake was answered.
 */
#include <dlfcn.h>
#include <openssl/ssl.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "wire/handshake.h"
#include "ws/frame_guard.h"
#include "ws/worker-private.h"

/* What the next SSL_new() of this thread returns. */
static _Thread_local SSL *adopted_ssl;

SSL *SSL_new(SSL_CTX *context)
{
	static SSL *(*_Atomic real)(SSL_CTX *);
	SSL *ssl = adopted_ssl;

	if (ssl) {
		adopted_ssl = NULL;
		return ssl;
	}
	if (!real)
		real = (SSL * (*)(SSL_CTX *)) dlsym(RTLD_NEXT, "SSL_new");
	return real(context);
}

/* libwebsockets reads once for each call, as if the socket were readable. */
static void adopt_read_head(struct worker *w, int fd, const SSL *ssl)
{
	struct lws_pollfd p = { .fd = fd, .events = LWS_POLLIN, .revents = LWS_POLLIN };

	while (frame_guard_has_head()) {
		p.revents = LWS_POLLIN;
		if (lws_service_fd(w->context, &p))
			return; /* it has closed fd */
	}
	/* Frames that came with the head: it looks for them only after a read that filled its
	 * buffer. */
	if (ssl && SSL_pending(ssl)) {
		p.revents = LWS_POLLIN;
		lws_service_fd(w->context, &p);
	}
}

void worker_adopt(struct worker *w, struct worker_command *c)
{
	struct lws_vhost *vhost = c->ssl ? w->tls : w->plain;
	struct handshake h = { SV("") };
	struct strbuf head;

	if (!vhost || handshake_read(strbuf_view(&c->head), &h)) {
		SSL_free(c->ssl);
		close(c->fd);
		atomic_fetch_sub(&w->load, 1);
		strbuf_release(&c->head);
		return;
	}
	strbuf_init(&head, c->head.len);
	handshake_rewrite(strbuf_view(&c->head), &head);
	frame_guard_watch(c->fd, &head);
	adopted_ssl = c->ssl;
	w->head = strbuf_view(&c->head);
	w->subprotocol = h.protocol;
	/* On failure libwebsockets has closed fd. */
	if (lws_adopt_socket_vhost(vhost, c->fd))
		adopt_read_head(w, c->fd, c->ssl);
	else
		log_debug("worker %u: a socket could not be adopted", w->index);
	frame_guard_drop_head();
	SSL_free(adopted_ssl); /* it failed early */
	adopted_ssl = NULL;
	w->head = w->subprotocol = SV("");
	w->needs_service = true; /* more frames may wait in the TLS state */
	strbuf_release(&c->head);
}
