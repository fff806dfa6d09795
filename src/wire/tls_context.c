/* SPDX-License-Identifier: MIT */
/* OpenSSL's context; it is counted, so that connections may outlive a newer one.  Any thread. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "wire/tls_context.h"

#define EXPIRY_WARNING_DAYS 14

static const unsigned char alpn[] = "\x08http/1.1";
/* Resumed sessions belong to us. */
static const unsigned char session_name[] = "scopewire";

/* A daemon cannot ask for a passphrase. */
static int tls_no_passphrase(char *buf UNUSED, int size UNUSED, int writing UNUSED,
			     void *ctx UNUSED)
{
	return 0;
}

static int tls_select_alpn(SSL *ssl UNUSED, const unsigned char **out, unsigned char *out_len,
			   const unsigned char *in, unsigned in_len, void *ctx UNUSED)
{
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, out_len, alpn, sizeof(alpn) - 1, in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int tls_fail(char **why, const char *option, const char *file)
{
	unsigned long code = ERR_peek_error(); /* the first one is the cause */
	const char *reason = ERR_reason_error_string(code);
	char text[128];

	if (ERR_SYSTEM_ERROR(code)) /* GNU's form, which need not use text */
		reason = strerror_r(ERR_GET_REASON(code), text, sizeof(text));
	if (asprintf(why, "%s: %s cannot be used: %s", option, file,
		     reason ? reason : "it is no PEM file of the right kind") < 0)
		*why = NULL;
	ERR_clear_error();
	return -EINVAL;
}

int tls_context_new(const char *certificate, const char *key, SSL_CTX **out, char **why)
{
	SSL_CTX *ctx;
	int rc = 0;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_server_method());
	if (!ctx)
		return tls_fail(why, "TLS", "OpenSSL");
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	/* A client that closes without close_notify has closed: a half-closed one gets its answer.
	 */
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_RENEGOTIATION |
					 SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_id_context(ctx, session_name, sizeof(session_name) - 1);
	SSL_CTX_set_alpn_select_cb(ctx, tls_select_alpn, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, tls_no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
		rc = tls_fail(why, "server.tls_certificate", certificate);
	else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
		 SSL_CTX_check_private_key(ctx) != 1)
		rc = tls_fail(why, "server.tls_key", key);
	if (rc)
		SSL_CTX_free(ctx);
	else
		*out = ctx;
	return rc;
}

char *tls_context_warning(SSL_CTX *ctx, const char *certificate, const char *key)
{
	time_t soon = time(NULL) + EXPIRY_WARNING_DAYS * 24 * 3600;
	const X509 *x = SSL_CTX_get0_certificate(ctx);
	const char *what = NULL, *file = certificate;
	struct stat st;
	char *text;

	if (X509_cmp_current_time(X509_get0_notAfter(x)) < 0) {
		what = "the certificate has expired";
	} else if (X509_cmp_current_time(X509_get0_notBefore(x)) > 0) {
		what = "the certificate is not valid yet";
	} else if (X509_cmp_time(X509_get0_notAfter(x), &soon) < 0) {
		what = "the certificate expires within two weeks";
	} else if (stat(key, &st) == 0 && (st.st_mode & S_IROTH)) {
		what = "every user of this machine can read the key; use chmod o-r";
		file = key;
	}
	if (!what || asprintf(&text, "%s: %s", file, what) < 0)
		return NULL;
	return text;
}

void tls_context_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}
