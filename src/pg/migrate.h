/* SPDX-License-Identifier: MIT */
#ifndef PG_MIGRATE_H
#define PG_MIGRATE_H
/*
 * Brings the schema to what this binary needs.  Forward only: each migration runs once, in its
 * own transaction, under an advisory lock that other daemons starting now wait for; where all were
 * applied, no lock is taken.  What was applied is in schema_migrations with a checksum of its text.
 */
#include "base/annotate.h"
#include "pg/conn.h"
#include "pg/migrations.h"

struct migrate_conf {
	const char *schema;	      /* created when it is missing */
	const struct migration *list; /* by ascending version */
	unsigned n;
	const char *user_id; /* the type of the ids of users, for @USER_ID@; NULL: of no account */
	/* Called repeatedly with what it waits for, valid during the call only; may be NULL. */
	void (*on_wait)(void *ctx, const char *what);
	void *ctx;
	/* For a session of another role.  One of the same role migrates: it has ten minutes. */
	unsigned lock_wait_s;
};

/*
 * On a connection that is open; its tick can end it.  It blocks: up to ten minutes while
 * another migration runs.  The lock is released after success, and ends with the connection
 * otherwise.
 *
 * 0; -EPROTO: the database was migrated by a newer program, or by one from before the first
 * release, or its users have ids of another type; -EILSEQ: an applied migration is not the one of
 * the list, or the database is not UTF8; -EBUSY: a session held the lock for too long; -EHOSTDOWN:
 * the connection was lost; -EIO: a statement failed; -ECANCELED; each with a sentence in *why
 * (heap).
 */
int migrate_run(struct pg_connection *c, const struct migrate_conf *conf, char **why) MUSTCHECK;
#endif
