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

/*
 * Creates the schema when it is missing.  0; -EPROTO: the database was migrated by a newer
 * program, or by one from before the first release; -EILSEQ: an applied migration is not the one
 * this binary holds, or the database is not UTF8; -EHOSTDOWN, -EACCES, -ENODEV as pg_conn_open();
 * -EIO: a statement failed; each with a sentence in *why (heap).  It blocks: up to a minute while
 * another migration runs.
 */
int migrate_run(const char *conninfo, const char *schema, char **why) MUSTCHECK;
/*
 * As migrate_run, on a connection that is open; its tick can end it (-ECANCELED).  The lock is
 * released after success, and ends with the connection otherwise.  on_wait is called repeatedly
 * with what it waits for; the text is valid during the call only.
 */
int migrate_session_run(struct pg_connection *c, const char *schema,
			void (*on_wait)(void *ctx, const char *what), void *ctx, char **why)
	MUSTCHECK;
/* As migrate_run, with another list; for tests. */
int migrate_run_list(const char *conninfo, const char *schema, const struct migration *list,
		     unsigned n, char **why) MUSTCHECK;
#endif
