/* SPDX-License-Identifier: MIT */
#ifndef TESTS_DATABASE_H
#define TESTS_DATABASE_H
/*
 * The database of a test: one private PostgreSQL for the whole program, and for each test a
 * database of its own with Scopewire's tables.
 */
#include "pg_fixture.h"

extern struct pg_fixture *pg;

/* For tcase_add_unchecked_fixture(): starts and stops the server. */
void database_set_up(void);
void database_tear_down(void);
/*
 * Makes a database with all migrations applied.  Returns its conninfo (heap); *c is a superuser
 * connection to it (PQfinish() it) with search_path on Scopewire's schema.
 */
char *database_new(const char *name, PGconn **c);
/* Runs sql; an error ends the program. */
void database_run(PGconn *c, const char *sql);
#endif
