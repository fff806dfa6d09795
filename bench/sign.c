/* SPDX-License-Identifier: MIT */
/* Signs requests as the Pusher HTTP API requires. */
#include "sign.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <time.h>

#define MD5_SIZE    16
#define SHA256_SIZE 32

struct signer {
	const char *host;
	unsigned port;
	const char *app_id;
	const char *key;
	EVP_MAC *mac;
	EVP_MAC_CTX *mac_ctx; /* keyed once */
	EVP_MD *md5;
	EVP_MD_CTX *md5_ctx;
};

struct signer *signer_new(const char *host, unsigned port, const char *app_id, const char *key,
			  const char *secret)
{
	struct signer *s = xcalloc(1, sizeof(*s));
	char digest[] = "SHA256";
	OSSL_PARAM params[] = { OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
				OSSL_PARAM_construct_end() };

	s->host = host;
	s->port = port;
	s->app_id = app_id;
	s->key = key;
	s->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	s->mac_ctx = s->mac ? EVP_MAC_CTX_new(s->mac) : NULL;
	s->md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	s->md5_ctx = EVP_MD_CTX_new();
	if (!s->mac_ctx || !s->md5 || !s->md5_ctx ||
	    !EVP_MAC_init(s->mac_ctx, (const unsigned char *)secret, strlen(secret), params))
		die("libcrypto has no HMAC-SHA256 or no MD5");
	return s;
}

void signer_free(struct signer *s)
{
	EVP_MAC_CTX_free(s->mac_ctx);
	EVP_MAC_free(s->mac);
	EVP_MD_CTX_free(s->md5_ctx);
	EVP_MD_free(s->md5);
	free(s);
}

static void hex(const unsigned char *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
}

static void md5_hex(struct signer *s, const struct bytes *body, char out[2 * MD5_SIZE + 1])
{
	unsigned char digest[MD5_SIZE];

	if (!EVP_DigestInit_ex2(s->md5_ctx, s->md5, NULL) ||
	    !EVP_DigestUpdate(s->md5_ctx, body->ptr, body->len) ||
	    !EVP_DigestFinal_ex(s->md5_ctx, digest, NULL))
		die("MD5 failed");
	hex(digest, sizeof(digest), out);
}

static void hmac_hex(struct signer *s, const char *text, size_t len, char out[2 * SHA256_SIZE + 1])
{
	unsigned char digest[SHA256_SIZE];
	size_t n;

	if (!EVP_MAC_init(s->mac_ctx, NULL, 0, NULL) ||
	    !EVP_MAC_update(s->mac_ctx, (const unsigned char *)text, len) ||
	    !EVP_MAC_final(s->mac_ctx, digest, &n, sizeof(digest)) || n != sizeof(digest))
		die("HMAC failed");
	hex(digest, sizeof(digest), out);
}

void signer_post_at(struct signer *s, int64_t at, const struct bytes *body, struct bytes *out)
{
	char md5[2 * MD5_SIZE + 1], signature[2 * SHA256_SIZE + 1];
	char query[512], text[1024];
	int n;

	md5_hex(s, body, md5);
	snprintf(query, sizeof(query),
		 "auth_key=%s&auth_timestamp=%lld&auth_version=1.0&body_md5=%s", s->key,
		 (long long)at, md5);
	n = snprintf(text, sizeof(text), "POST\n/apps/%s/events\n%s", s->app_id, query);
	if (n < 0 || (size_t)n >= sizeof(text))
		die("app id and key are too long");
	hmac_hex(s, text, (size_t)n, signature);
	bytes_addf(out,
		   "POST /apps/%s/events?%s&auth_signature=%s HTTP/1.1\r\nHost: %s:%u\r\n"
		   "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
		   s->app_id, query, signature, s->host, s->port, body->len);
	bytes_add(out, body->ptr, body->len);
}

void signer_post(struct signer *s, const struct bytes *body, struct bytes *out)
{
	signer_post_at(s, time(NULL), body, out);
}

void signer_channel(struct signer *s, const char *socket_id, const char *channel,
		    char out[SIGNER_HEX + 1])
{
	char text[256];
	int n = snprintf(text, sizeof(text), "%s:%s", socket_id, channel);

	if (n < 0 || (size_t)n >= sizeof(text))
		die("the channel's name is too long");
	hmac_hex(s, text, (size_t)n, out);
}
