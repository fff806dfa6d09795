/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_TOKEN_H
#define ADMIN_TOKEN_H
/*
 * Tokens of the admin listener, from the option admin.tokens.  A token has one scope, and each
 * scope includes those below it.  Only hashes are kept in memory, and comparisons take the same
 * time wherever the bytes differ.
 */
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "wire/address.h"

enum admin_scope {
	ADMIN_NONE,
	ADMIN_METRICS, /* /metrics and /metrics/apps */
	ADMIN_READ,    /* everything that changes nothing */
	ADMIN_WRITE,
};

struct admin_tokens;

/* list: words NAME:SCOPE:TOKEN, NULL-terminated, or NULL; conf has checked them. */
struct admin_tokens *admin_tokens_new(char *const *list) MUSTCHECK;
void admin_tokens_free(struct admin_tokens *t); /* NULL is fine */

struct admin_login {
	enum admin_scope scope; /* ADMIN_NONE: there is no such token */
	const char *name;	/* of the token; owned by the tokens */
	bool is_limited;	/* the address has sent too many tokens that do not exist */
};
/* What a client at that address may do with a token; now is mono. */
struct admin_login admin_tokens_find(struct admin_tokens *t, struct str_view token,
				     const struct address *from, usec_t now);
#endif
