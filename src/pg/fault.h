/* SPDX-License-Identifier: MIT */
#ifndef PG_FAULT_H
#define PG_FAULT_H
/*
 * What an SQLSTATE means to a caller that must decide whether to try again.
 */
enum pg_fault {
	PG_FINE,
	PG_LOST,	 /* the connection is gone; what was under way may have happened */
	PG_REFUSED,	 /* this content will never be taken */
	PG_BUSY,	 /* a lock, a deadlock, a statement timeout: again at once is fine */
	PG_NO_PARTITION, /* no partition of the table has a place for the row */
	PG_UNFIT	 /* the server cannot now: disk full, read only, no table, no right */
};

/* sqlstate may be NULL or empty (libpq's own errors): PG_LOST. */
enum pg_fault pg_fault_of(const char *sqlstate);
#endif
