/* SPDX-License-Identifier: MIT */
/* The context is made before the bus's thread starts; all else is on that thread. */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "base/str.h"
#include "bus/redis_tls.h"

/* A daemon cannot ask for a passphrase. */
static int redis_tls_no_passphrase(char *buf UNUSED, int size UNUSED, int writing UNUSED,
				   void *ctx UNUSED)
{
	return 0;
}

static int redis_tls_refuse(SSL_CTX *ctx, const char *option, const char *file, char **why)
{
	unsigned long code = ERR_peek_error(); /* the first one is the cause */
	const char *reason = ERR_reason_error_string(code);
	char text[128];

	if (ERR_SYSTEM_ERROR(code)) /* GNU's form, which need not use text */
		reason = strerror_r(ERR_GET_REASON(code), text, sizeof(text));
	*why = textf("cluster.%s: %s cannot be used: %s", option, file,
		     reason ? reason : "it is no PEM file of the right kind");
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return -EINVAL;
}

int redis_tls_new(const struct conf_cluster *conf, SSL_CTX **out, char **why)
{
	const char *ca = conf->redis_tls_ca, *certificate = conf->redis_tls_certificate;
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_client_method());
	if (!ctx)
		return redis_tls_refuse(NULL, "redis_tls", "OpenSSL", why);
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_default_passwd_cb(ctx, redis_tls_no_passphrase);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	if (!*ca && SSL_CTX_set_default_verify_paths(ctx) != 1)
		return redis_tls_refuse(ctx, "redis_tls_ca", "the system's list", why);
	if (*ca && SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1)
		return redis_tls_refuse(ctx, "redis_tls_ca", ca, why);
	if (*certificate && SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1)
		return redis_tls_refuse(ctx, "redis_tls_certificate", certificate, why);
	if (*certificate &&
	    (SSL_CTX_use_PrivateKey_file(ctx, conf->redis_tls_key, SSL_FILETYPE_PEM) != 1 ||
	     SSL_CTX_check_private_key(ctx) != 1))
		return redis_tls_refuse(ctx, "redis_tls_key", conf->redis_tls_key, why);
	*out = ctx;
	return 0;
}

void redis_tls_free(SSL_CTX *ctx)
{
	SSL_CTX_free(ctx);
}

static bool redis_tls_is_address(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

SSL *redis_tls_connect(SSL_CTX *ctx, int fd, const char *host)
{
	SSL *ssl = SSL_new(ctx);
	bool is_set;

	if (!ssl)
		return NULL;
	if (redis_tls_is_address(host))
		is_set = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	else
		is_set = SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
	if (!is_set || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_connect_state(ssl);
	return ssl;
}

/* The options to look at for an error of OpenSSL. */
static const char *redis_tls_remedy(int reason)
{
	switch (reason) {
	case SSL_R_WRONG_VERSION_NUMBER:
		return "; check cluster.redis_tls, and whether this port is one for TLS";
	/* Before TLS 1.3 a server that requires a certificate reports the failure of the handshake.
	 */
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
	case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
	case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
		return "; the server requires a certificate of its clients: set "
		       "cluster.redis_tls_certificate and cluster.redis_tls_key";
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
		return "; the server does not accept the certificate in "
		       "cluster.redis_tls_certificate";
	default:
		return "";
	}
}

char *redis_tls_error(const SSL *ssl)
{
	long verdict = SSL_get_verify_result(ssl);
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_reason_error_string(code);
	char *why = NULL;

	if (verdict != X509_V_OK)
		why = textf("TLS: its certificate is not accepted (%s); check cluster.redis_tls_ca "
			    "and the name in cluster.redis_host",
			    X509_verify_cert_error_string(verdict));
	else if (reason && ERR_GET_REASON(code) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
		why = textf("TLS: %s%s", reason, redis_tls_remedy(ERR_GET_REASON(code)));
	ERR_clear_error();
	return why;
}
