/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 of each token; a client's token is hashed too and compared with all of them, so the time
 * depends on their number only.  Failures are counted in a table of fixed size by a hash of the
 * client's network: two networks may share a count, and no number of addresses fills it.
 *
 * On the admin listener's http thread.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "base/mem.h"
#include "base/str.h"
#include "admin/token.h"

#define DIGEST_BYTES  32
#define FAILURE_SLOTS 256
#define FAILURES_MAX  10
#define FAILURES_US   (60 * USEC_PER_SEC)

struct admin_token {
	char *name;
	enum admin_scope scope;
	unsigned char digest[DIGEST_BYTES];
};

struct admin_failures {
	usec_t since; /* monotonic */
	unsigned n;
};

struct admin_tokens {
	struct admin_token *tokens;
	size_t n;
	struct admin_failures failures[FAILURE_SLOTS];
};

static void token_hash(struct str_view token, unsigned char digest[DIGEST_BYTES])
{
	if (!EVP_Digest(token.ptr, token.len, digest, NULL, EVP_sha256(), NULL))
		abort();
}

static enum admin_scope token_scope(struct str_view word)
{
	return sv_eq(word, SV("write"))	 ? ADMIN_WRITE
	       : sv_eq(word, SV("read")) ? ADMIN_READ
					 : ADMIN_METRICS;
}

static void tokens_add(struct admin_tokens *t, struct str_view word)
{
	struct admin_token *token;
	struct str_view name, scope;

	if (!word.len || !sv_split(&word, ':', &name) || !sv_split(&word, ':', &scope) || !word.len)
		return;
	t->tokens = xreallocarray(t->tokens, t->n + 1, sizeof(*t->tokens));
	token = &t->tokens[t->n++];
	token->name = sv_dup(name);
	token->scope = token_scope(scope);
	token_hash(word, token->digest);
}

struct admin_tokens *admin_tokens_new(char *const *list)
{
	struct admin_tokens *t = xcalloc(1, sizeof(*t));

	for (; list && *list; list++)
		tokens_add(t, sv(*list));
	return t;
}

void admin_tokens_free(struct admin_tokens *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++)
		free(t->tokens[i].name);
	free(t->tokens);
	free(t);
}

struct admin_login admin_tokens_find(struct admin_tokens *t, struct str_view token,
				     const struct address *from, usec_t now)
{
	struct address network = address_network(from);
	struct str_view bytes = sv_n((const char *)network.bytes, sizeof(network.bytes));
	struct admin_failures *f = &t->failures[sv_hash(bytes, 0) % FAILURE_SLOTS];
	const struct admin_token *found = NULL;
	unsigned char digest[DIGEST_BYTES];

	if (now - f->since >= FAILURES_US)
		*f = (struct admin_failures){ .since = now };
	if (f->n >= FAILURES_MAX)
		return (struct admin_login){ .is_limited = true };
	token_hash(token, digest);
	for (size_t i = 0; i < t->n; i++)
		if (CRYPTO_memcmp(digest, t->tokens[i].digest, DIGEST_BYTES) == 0)
			found = &t->tokens[i];
	if (!found) {
		f->n++;
		return (struct admin_login){ .scope = ADMIN_NONE };
	}
	return (struct admin_login){ .scope = found->scope, .name = found->name };
}
