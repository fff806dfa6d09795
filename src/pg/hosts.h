/* SPDX-License-Identifier: MIT */
#ifndef PG_HOSTS_H
#define PG_HOSTS_H
/*
 * The servers that a connection string names: "host=a,b port=5432,5433" are two.
 *
 * libpq goes through such a list by itself, but only when a host refuses: one that does not answer
 * at all would take the whole time, because connect_timeout counts in blocking calls only.  So each
 * host gets an attempt of its own.
 */
#include "base/annotate.h"

struct pg_host {
	char *host, *hostaddr, *port; /* heap; NULL: as the connection string has it */
};

/* At least 1, also for a string that libpq refuses: the attempt to connect explains that. */
unsigned pg_hosts_count(const char *conninfo);
/* Number i of them. */
void pg_host_read(const char *conninfo, unsigned i, struct pg_host *out);
void pg_host_release(struct pg_host *h);
/* The servers as text for messages (heap): "127.0.0.1:5432, db2".  Nothing else of conninfo is in
 * it. */
char *pg_hosts_text(const char *conninfo) MUSTCHECK;
#endif
