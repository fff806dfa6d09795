/* SPDX-License-Identifier: MIT */
/* Bearer tokens: the input as a token, and as the claims of a token that is signed well. */
#include "fuzz_token.h"
#include "wire/jwt.h"

#define NOW (1700000000 * USEC_PER_SEC)

static const struct str_view secret = { "secret", 6 };

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
		MUST(*user.id && user.json && user.expires > 0);
	else
		MUST(!user.json);
	jwt_user_release(&user);
	if (jwt_audience(token, is_long, &bytes) == JWT_AUDIENCE_OURS)
		MUST(bytes > 3);
}

static void fuzz(struct str_view input)
{
	struct strbuf b;

	check(input);
	strbuf_init(&b, 256);
	fuzz_token_make(&b, secret, input);
	check(strbuf_view(&b));
	strbuf_release(&b);
}
