/* SPDX-License-Identifier: MIT */
#ifndef PG_LOCKS_H
#define PG_LOCKS_H
/*
 * The locks in the database.  What each is for, and who holds it for how long, is in docs/sql.md.
 *
 * Those that publishing depends on are locks of empty tables, log_lock_NAME, which only roles with
 * a right on the table can take.  The SQL functions log_lock() and log_try_lock() take them by
 * name.
 */
#include <stdint.h>

/* As log_lock('serials'), for each batch of events. */
#define PG_LOCK_SERIALS "LOCK TABLE log_lock_serials IN EXCLUSIVE MODE"

/*
 * The others are advisory locks.  The SQL function lock_key() gives the same numbers by name; a
 * statement names its lock, lock_key('polling'), so that no number is in a statement.
 */
enum pg_lock {
	PG_LOCK_ACTIVITIES = 7770, /* transaction */
	PG_LOCK_POLLING = 7776,	   /* session */
	PG_LOCK_SYNC_FEED = 7781,  /* transaction; with hashtext(application) */
	PG_LOCK_VIEWING = 7784,	   /* transaction; with a hash of the resource */
	PG_LOCK_DAEMON = 7785,	   /* session; with a mark in the table daemon */
	/* transaction; with a hash of the resource, or of the client */
	PG_LOCK_SYNC_ENTITY = 7782,
};

/*
 * Held by the session that applies migrations.  A number that no other program uses; lock_key()
 * does not exist yet at that moment.
 */
static const int64_t PG_LOCK_MIGRATE = 8314882977862052210;
#endif
