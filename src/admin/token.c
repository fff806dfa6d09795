/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 of each token; a client's token is hashed too and compared with all of them, so the time
 * depends on their number only.  Failures are counted in a table of fixed size by a hash of the
 * client's network: the table does not grow with the number of addresses, but two networks may
 * share a count.
 *
 * The tokens of the database are read again every second, so that a request needs no statement and
 * the database may be away; those of the configuration at a reload.  One mutex, a leaf, is held for
 * a lookup.
 */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include "base/annotate.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/str.h"
#include "admin/token.h"

#define DIGEST_BYTES  32
#define FAILURE_SLOTS 256
#define FAILURES_MAX  10
#define FAILURES_US   (60 * USEC_PER_SEC)

struct admin_token {
	char name[ADMIN_TOKEN_NAME_MAX];
	enum admin_scope scope;
	unsigned char digest[DIGEST_BYTES];
};

struct admin_failures {
	usec_t since; /* monotonic */
	unsigned n;
};

const struct pg_statement admin_tokens_statement = {
	.sql = "SELECT name, scope, encode(digest, 'hex') FROM admin_tokens ORDER BY name LIMIT "
	       "1000",
	.is_repeatable = true,
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) tokens_held {
	char unused;
} tokens_held UNUSED;

struct admin_tokens {
	pthread_mutex_t lock;
	struct admin_token *tokens OWNED_BY(tokens_held); /* those of the configuration first */
	size_t n OWNED_BY(tokens_held), n_configured OWNED_BY(tokens_held);
	struct admin_failures failures[FAILURE_SLOTS] OWNED_BY(tokens_held);
};

static void tokens_lock(struct admin_tokens *t) TSA(acquire_capability(tokens_held)) NO_TSA
{
	pthread_mutex_lock(&t->lock);
}

static void tokens_unlock(struct admin_tokens *t) TSA(release_capability(tokens_held)) NO_TSA
{
	pthread_mutex_unlock(&t->lock);
}

static void token_hash(struct str_view token, unsigned char digest[DIGEST_BYTES])
{
	if (!EVP_Digest(token.ptr, token.len, digest, NULL, EVP_sha256(), NULL))
		abort();
}

/* Not 0, and of one token only: it is a part of the digest. */
static uint64_t token_number(const struct admin_token *token)
{
	uint64_t number;

	memcpy(&number, token->digest, sizeof(number));
	return number | 1;
}

static enum admin_scope token_scope(struct str_view word)
{
	return sv_eq(word, SV("write"))	 ? ADMIN_WRITE
	       : sv_eq(word, SV("read")) ? ADMIN_READ
					 : ADMIN_METRICS;
}

static struct admin_token *tokens_add_locked(struct admin_tokens *t, struct str_view name,
					     struct str_view scope) NEEDS_LOCK(tokens_held)
{
	struct admin_token *token;

	t->tokens = xreallocarray(t->tokens, t->n + 1, sizeof(*t->tokens));
	token = &t->tokens[t->n++];
	snprintf(token->name, sizeof(token->name), "%.*s", SV_ARG(name));
	token->scope = token_scope(scope);
	return token;
}

void admin_tokens_configure(struct admin_tokens *t, char *const *list)
{
	struct admin_token *old;
	size_t n_old, first; /* of those of the database */

	tokens_lock(t);
	old = t->tokens;
	n_old = t->n;
	first = t->n_configured;
	t->tokens = NULL;
	t->n = 0;
	for (; list && *list; list++) {
		struct str_view word = sv(*list), name, scope;

		if (sv_split(&word, ':', &name) && sv_split(&word, ':', &scope) && word.len)
			token_hash(word, tokens_add_locked(t, name, scope)->digest);
	}
	t->n_configured = t->n;
	t->tokens = xreallocarray(t->tokens, t->n + n_old - first + 1, sizeof(*t->tokens));
	for (size_t i = first; i < n_old; i++)
		t->tokens[t->n++] = old[i];
	tokens_unlock(t);
	free(old);
}

struct admin_tokens *admin_tokens_new(char *const *list)
{
	struct admin_tokens *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->lock, NULL);
	admin_tokens_configure(t, list);
	return t;
}

void admin_tokens_free(struct admin_tokens *t) NO_TSA /* no other thread has it any more */
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t->tokens);
	free(t);
}

static bool tokens_read_digest(struct str_view hex, unsigned char digest[DIGEST_BYTES])
{
	if (hex.len != 2 * DIGEST_BYTES)
		return false;
	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		int high = hex_value(hex.ptr[2 * i]), low = hex_value(hex.ptr[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		digest[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

void admin_tokens_load(struct admin_tokens *t, const struct pg_answer *rows)
{
	unsigned char digest[DIGEST_BYTES];

	tokens_lock(t);
	t->n = t->n_configured;
	for (int i = 0; i < pg_answer_rows(rows); i++)
		if (tokens_read_digest(pg_answer_view(rows, i, 2), digest))
			memcpy(tokens_add_locked(t, pg_answer_view(rows, i, 0),
						 pg_answer_view(rows, i, 1))
				       ->digest,
			       digest, DIGEST_BYTES);
	tokens_unlock(t);
}

bool admin_tokens_is_configured(struct admin_tokens *t, struct str_view name)
{
	bool found = false;

	tokens_lock(t);
	for (size_t i = 0; i < t->n_configured; i++)
		found = found || sv_eq_c(name, t->tokens[i].name);
	tokens_unlock(t);
	return found;
}

static void tokens_find_locked(struct admin_tokens *t, struct str_view token,
			       struct admin_failures *f, struct admin_login *out)
	NEEDS_LOCK(tokens_held)
{
	const struct admin_token *found = NULL;
	unsigned char digest[DIGEST_BYTES];

	token_hash(token, digest);
	for (size_t i = 0; i < t->n; i++)
		if (CRYPTO_memcmp(digest, t->tokens[i].digest, DIGEST_BYTES) == 0)
			found = &t->tokens[i];
	if (!found) {
		f->n++;
		return;
	}
	out->scope = found->scope;
	out->token = token_number(found);
	memcpy(out->name, found->name, sizeof(out->name));
}

bool admin_tokens_has(struct admin_tokens *t, uint64_t token, enum admin_scope scope)
{
	bool found = false;

	tokens_lock(t);
	for (size_t i = 0; i < t->n; i++)
		found = found ||
			(token_number(&t->tokens[i]) == token && t->tokens[i].scope >= scope);
	tokens_unlock(t);
	return found;
}

void admin_tokens_find(struct admin_tokens *t, struct str_view token, const struct address *from,
		       usec_t now, struct admin_login *out)
{
	struct address network = address_network(from);
	struct str_view bytes = sv_n((const char *)network.bytes, sizeof(network.bytes));
	struct admin_failures *f = &t->failures[sv_hash(bytes, 0) % FAILURE_SLOTS];

	*out = (struct admin_login){ .scope = ADMIN_NONE };
	tokens_lock(t);
	if (now - f->since >= FAILURES_US)
		*f = (struct admin_failures){ .since = now };
	out->is_limited = f->n >= FAILURES_MAX;
	if (!out->is_limited)
		tokens_find_locked(t, token, f, out);
	tokens_unlock(t);
}
