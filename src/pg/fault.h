/* SPDX-License-Identifier: MIT */
#ifndef PG_FAULT_H
#define PG_FAULT_H
/*
 * What an SQLSTATE means to a caller that must decide whether to retry.
 */
enum pg_fault {
	PG_FINE,
	PG_LOST,    /* the connection is lost or read only; the statement under way may have run */
	PG_REFUSED, /* the server will never accept this content */
	PG_BUSY,    /* a lock, a deadlock, a statement timeout: can be retried at once */
	PG_NO_PARTITION, /* the table has no partition for the row */
	PG_UNFIT	 /* the server cannot do it now: disk full, no table, no right */
};

/* sqlstate may be NULL or empty (libpq's own errors): PG_LOST. */
enum pg_fault pg_fault_of(const char *sqlstate);
#endif
