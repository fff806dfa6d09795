/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_TOKEN_H
#define ADMIN_TOKEN_H
/*
 * Tokens of the admin listener, from the option admin.tokens and the table admin_tokens.  A token
 * has one scope, and each scope includes those below it.  Only hashes are kept in memory, and
 * comparisons take the same time wherever the bytes differ.
 */
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "wire/address.h"
#include "pg/pool.h"

enum admin_scope {
	ADMIN_NONE,
	ADMIN_METRICS, /* /metrics and /metrics/apps */
	ADMIN_READ,    /* everything that changes nothing */
	ADMIN_WRITE,
};

#define ADMIN_TOKEN_NAME_MAX 65

struct admin_tokens;

/* list: words NAME:SCOPE:TOKEN, NULL-terminated, or NULL; conf has checked them. */
struct admin_tokens *admin_tokens_new(char *const *list) MUSTCHECK;
void admin_tokens_free(struct admin_tokens *t); /* NULL is fine */
/* Reads them from the database, for admin_tokens_load(). */
extern const struct pg_statement admin_tokens_statement;
/*
 * Replaces the tokens of the database by the rows name, scope, digest (in hex).  A row without a
 * valid digest is left out.  Any thread.
 */
void admin_tokens_load(struct admin_tokens *t, const struct pg_answer *rows);

/* Replaces the tokens of the configuration by those of list, as of admin_tokens_new().  Any thread.
 */
void admin_tokens_configure(struct admin_tokens *t, char *const *list);

/* Whether the configuration has a token of this name.  Any thread. */
bool admin_tokens_is_configured(struct admin_tokens *t, struct str_view name);

struct admin_login {
	enum admin_scope scope;		 /* ADMIN_NONE: there is no such token, */
	bool is_limited;		 /* or the address has sent too many that do not exist */
	char name[ADMIN_TOKEN_NAME_MAX]; /* of the token */
	uint64_t token;			 /* for admin_tokens_has(); 0: none */
};

/* Finds the token of a client at that address.  Any thread. */
void admin_tokens_find(struct admin_tokens *t, struct str_view token, const struct address *from,
		       usec_t now, struct admin_login *out);
/* Whether the token of a login exists still, with this scope or a broader one.  Any thread. */
bool admin_tokens_has(struct admin_tokens *t, uint64_t token, enum admin_scope scope);
#endif
