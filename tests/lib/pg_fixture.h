/* SPDX-License-Identifier: MIT */
#ifndef PG_FIXTURE_H
#define PG_FIXTURE_H
/*
 * A private PostgreSQL for tests: made by initdb in a folder of its own, on a unix socket only,
 * run by an unprivileged user when the tests run as root, gone afterwards.  Any failure ends
 * the program with a sentence.
 */
#include <libpq-fe.h>
#include <stdbool.h>

struct pg_fixture;

/* durable: fsync on, for benchmarks. */
struct pg_fixture *pg_fixture_new(bool durable);
void pg_fixture_free(struct pg_fixture *f);		      /* stops it, removes the folder */
void pg_fixture_start(struct pg_fixture *f);		      /* waits until it serves */
void pg_fixture_stop(struct pg_fixture *f, const char *mode); /* fast, immediate */
/* Makes an empty database and returns its conninfo (heap). */
char *pg_fixture_database(struct pg_fixture *f, const char *name, const char *options);
/* A blocking superuser connection, for looking and meddling. */
PGconn *pg_fixture_connect(const char *conninfo);
/* Runs sql; the first column of the first row as text (heap), or NULL when there is no row. */
char *pg_fixture_value(PGconn *c, const char *sql);
long long pg_fixture_number(PGconn *c, const char *sql);
/* Runs program as the user that PostgreSQL runs as; its exit status. */
int pg_fixture_run(char *const argv[]);
#endif
