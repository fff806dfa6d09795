/* SPDX-License-Identifier: MIT */
#ifndef TESTS_FUZZ_TOKEN_H
#define TESTS_FUZZ_TOKEN_H
/* Bearer tokens that are signed well, with any claims. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "fuzz.h"

static inline void fuzz_token_add_part(struct strbuf *b, const void *bytes, size_t n)
{
	unsigned char *out = xmalloc(n / 3 * 4 + 5);
	int len = EVP_EncodeBlock(out, bytes, (int)n);

	for (int i = 0; i < len && out[i] != '='; i++)
		strbuf_add_c(b, out[i] == '+' ? '-' : out[i] == '/' ? '_' : (char)out[i]);
	free(out);
}

/* Appends the token to b, which is empty. */
static inline void fuzz_token_make(struct strbuf *b, struct str_view secret, struct str_view claims)
{
	static const char header[] = "{\"alg\":\"HS256\"}";
	unsigned char mac[32];
	unsigned len = sizeof(mac);

	fuzz_token_add_part(b, header, sizeof(header) - 1);
	strbuf_add_c(b, '.');
	fuzz_token_add_part(b, claims.ptr, claims.len);
	HMAC(EVP_sha256(), secret.ptr, (int)secret.len, (const unsigned char *)b->ptr, b->len, mac,
	     &len);
	strbuf_add_c(b, '.');
	fuzz_token_add_part(b, mac, len);
}
#endif
