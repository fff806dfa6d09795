/* SPDX-License-Identifier: MIT */
#ifndef CONF_CONF_URL_H
#define CONF_CONF_URL_H
/* DB_URL and REDIS_URL, as Laravel's ConfigurationUrlParser and PHP's parse_url() read it. */
#include <stdbool.h>
#include <stddef.h>

#define DB_URL_OPTIONS 10
enum { URL_HOST, URL_PORT, URL_NAME, URL_USER, URL_PASSWORD };
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
/*
 * The same for REDIS_URL: redis, tcp, rediss and tls are its schemes, the last two with *is_tls. Of
 * the values, host, port, name (the number of the database), user and password can be set.
 */
const char *redis_url_parse(const char *url, struct db_url *out, bool *is_tls);
void db_url_release(struct db_url *url);
#endif
