/* SPDX-License-Identifier: MIT */
/*
 * Connection strings: the input as a dsn that an administrator wrote, and its lines as the options
 * of [database].
 */
#include <libpq-fe.h>
#include "fuzz.h"
#include "conf/conninfo.h"
#include "pg/dsn.h"
#include "pg/hosts.h"

static void check_hosts(const char *conninfo)
{
	unsigned n = pg_hosts_count(conninfo);
	char *text = pg_hosts_text(conninfo);

	MUST(n >= 1 && *text);
	for (unsigned i = 0; i < n && i < 100; i++) {
		struct pg_host h;

		pg_host_read(conninfo, i, &h);
		MUST(n == 1 || h.host || h.hostaddr);
		MUST(!h.host || !strchr(h.host, ','));
		MUST(!h.port || !strchr(h.port, ','));
		pg_host_release(&h);
	}
	free(text);
}

static void check_dsn(const char *dsn)
{
	char *password;
	const char *wrong = dsn_check(dsn, &password);

	if (wrong)
		MUST(*wrong && !password);
	else
		check_hosts(dsn);
	free(password);
}

static void must_be(const PQconninfoOption *options, const char *keyword, const char *value)
{
	for (const PQconninfoOption *o = options; *value && o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0)
			MUST(o->val && strcmp(o->val, value) == 0);
}

/* What was configured is what libpq reads, whatever characters it has. */
static void check_options(struct str_view input)
{
	struct conf c = { .database = { .port = 5432, .connect_timeout_s = 5 } };
	struct conf_database *d = &c.database;
	char **values[] = { &d->host,	 &d->name,	  &d->user,    &d->password,
			    &d->sslmode, &d->sslrootcert, &d->sslcert, &d->sslkey };
	static const char *const names[] = { "host",	"dbname",      "user",	  "password",
					     "sslmode", "sslrootcert", "sslcert", "sslkey" };
	PQconninfoOption *options;
	static char none[] = "";
	char *conninfo;

	d->dsn = none;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		struct str_view line = { 0 };

		(void)sv_split(&input, '\n', &line);
		*values[i] = sv_dup(line);
	}
	conninfo = conf_conninfo(&c);
	options = PQconninfoParse(conninfo, NULL);
	MUST(options);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		must_be(options, names[i], *values[i]);
		free(*values[i]);
	}
	must_be(options, "port", "5432");
	must_be(options, "connect_timeout", "5");
	PQconninfoFree(options);
	check_hosts(conninfo);
	free(conninfo);
}

static void fuzz(struct str_view input)
{
	char *text = sv_dup(input);

	check_dsn(text);
	check_options(input);
	free(text);
}
