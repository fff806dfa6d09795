/* SPDX-License-Identifier: MIT */
/* Sockets with TLS or without, for the load generator and the reference. */
#include "stream.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include "util.h"

static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		die("TLS cannot be used");
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	return ctx;
}

SSL_CTX *stream_client(void)
{
	return context(TLS_client_method());
}

SSL_CTX *stream_server(const char *certificate, const char *key)
{
	SSL_CTX *ctx = context(TLS_server_method());

	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		die("%s and %s: no certificate and its key", certificate, key);
	return ctx;
}

SSL *stream_tls(SSL_CTX *ctx, int fd, bool is_client)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl || SSL_set_fd(ssl, fd) != 1)
		die("out of memory");
	if (is_client)
		SSL_set_connect_state(ssl);
	else
		SSL_set_accept_state(ssl);
	return ssl;
}

/* What recv() and send() would have returned. */
static ssize_t result(SSL *ssl, int n)
{
	int error = n > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, n);

	if (n > 0)
		return n;
	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
	return -1;
}

int stream_handshake(SSL *ssl)
{
	ERR_clear_error();
	if (result(ssl, SSL_do_handshake(ssl)) > 0)
		return 1;
	return errno == EAGAIN ? 0 : -1;
}

ssize_t stream_recv(int fd, SSL *ssl, void *p, size_t len)
{
	if (!ssl)
		return recv(fd, p, len, 0);
	ERR_clear_error();
	return result(ssl, SSL_read(ssl, p, len < INT32_MAX ? (int)len : INT32_MAX));
}

ssize_t stream_send(int fd, SSL *ssl, const void *p, size_t len)
{
	if (!ssl)
		return send(fd, p, len, MSG_NOSIGNAL);
	ERR_clear_error();
	return result(ssl, SSL_write(ssl, p, len < INT32_MAX ? (int)len : INT32_MAX));
}

void stream_free(SSL *ssl)
{
	SSL_free(ssl);
}
