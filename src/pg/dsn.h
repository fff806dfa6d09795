/* SPDX-License-Identifier: MIT */
#ifndef PG_DSN_H
#define PG_DSN_H
/* A connection string or URI of libpq, checked before it is used. */

/*
 * NULL, or what is wrong with the dsn, without any part of it.  Also wrong is what libpq would
 * accept and then repeat in its messages although it is a part of a password that was not encoded.
 * *password (heap) is the dsn's, or NULL; on an error it is NULL.
 */
const char *dsn_check(const char *dsn, char **password);
#endif
