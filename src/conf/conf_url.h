/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_URL_H
#define CONF_CONF_URL_H
/* DB_URL, as Laravel's ConfigurationUrlParser and PHP's parse_url() read it. */
#include <stdbool.h>
#include <stddef.h>

#define DB_URL_OPTIONS 10
/* Names of the options of [database] that a URL can set. */
extern const char *const db_url_options[DB_URL_OPTIONS];

struct db_url {
	bool is_postgres;	      /* pgsql, postgres, postgresql; else nothing was read */
	char *values[DB_URL_OPTIONS]; /* heap, decoded; NULL: the URL has none */
	char *ignored;		      /* names of other parameters, between ", "; or NULL */
};

/*
 * NULL, or what is wrong with the URL; no part of it is in that text.  The caller releases *out
 * in both cases.
 */
const char *db_url_parse(const char *url, struct db_url *out);
void db_url_release(struct db_url *url);
#endif
