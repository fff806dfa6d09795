/* SPDX-License-Identifier: MIT */
#ifndef PG_LOCKS_H
#define PG_LOCKS_H
/*
 * The advisory locks in the database.  The SQL function lock_key() gives the same numbers by
 * name; a statement names its lock, lock_key('serials'), so that no number is in a statement.
 * What each is for, and who holds it for how long, is in docs/sql.md.
 */
#include <stdint.h>

enum pg_lock {
	PG_LOCK_ACTIVITIES = 7770, /* transaction */
	PG_LOCK_RETENTION = 7775,  /* transaction, only tried */
	PG_LOCK_POLLING = 7776,	   /* session */
	PG_LOCK_SERIALS = 7777,	   /* transaction */
	PG_LOCK_DRAIN = 7778,	   /* transaction, only tried */
	PG_LOCK_PARTITIONS = 7779, /* transaction */
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
