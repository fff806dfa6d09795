/* SPDX-License-Identifier: MIT */
/* Bearer tokens: the input as a token, and as the claims of a token that is signed well. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include "fuzz.h"
#include "wire/jwt.h"

#define NOW (1700000000 * USEC_PER_SEC)

static const struct str_view secret = { "secret", 6 };

static void add_base64url(struct strbuf *b, const void *bytes, size_t n)
{
	unsigned char *out = xmalloc(n / 3 * 4 + 5);
	int len = EVP_EncodeBlock(out, bytes, (int)n);

	for (int i = 0; i < len && out[i] != '='; i++)
		strbuf_add_c(b, out[i] == '+' ? '-' : out[i] == '/' ? '_' : (char)out[i]);
	free(out);
}

static bool is_long(void *ctx, struct str_view name)
{
	*(size_t *)ctx += name.len;
	return name.len > 3;
}

static void check(struct str_view token)
{
	struct jwt_user user;
	size_t bytes = 0;

	if (jwt_check(token, &secret, 1, NOW, &user) == JWT_OK)
		MUST(user.id > 0 && user.json && user.expires > 0);
	else
		MUST(!user.json);
	jwt_user_release(&user);
	if (jwt_audience(token, is_long, &bytes) == JWT_AUDIENCE_OURS)
		MUST(bytes > 3);
}

static void fuzz(struct str_view input)
{
	static const char header[] = "{\"alg\":\"HS256\"}";
	unsigned char mac[32];
	unsigned len = sizeof(mac);
	struct strbuf b;

	check(input);
	strbuf_init(&b, 256);
	add_base64url(&b, header, sizeof(header) - 1);
	strbuf_add_c(&b, '.');
	add_base64url(&b, input.ptr, input.len);
	HMAC(EVP_sha256(), secret.ptr, (int)secret.len, (const unsigned char *)b.ptr, b.len, mac,
	     &len);
	strbuf_add_c(&b, '.');
	add_base64url(&b, mac, len);
	check(strbuf_view(&b));
	strbuf_release(&b);
}
