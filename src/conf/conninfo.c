/* SPDX-License-Identifier: MIT */
/*
 * Quotes values as libpq's connection strings require (libpq's manual, "Keyword/Value Connection
 * Strings").  No state; any thread.
 */
#include "base/mem.h"
#include "conf/conninfo.h"

void conninfo_add(struct strbuf *b, const char *keyword, const char *value)
{
	if (!*value)
		return;
	strbuf_addf(b, "%s%s='", b->len ? " " : "", keyword);
	for (const char *p = value; *p; p++) {
		if (*p == '\'' || *p == '\\')
			strbuf_add_c(b, '\\');
		strbuf_add_c(b, *p);
	}
	strbuf_add_c(b, '\'');
}

char *conf_conninfo(const struct conf *c)
{
	const struct conf_database *d = &c->database;
	struct strbuf b;
	char *text;

	if (*d->dsn)
		return xstrdup(d->dsn);
	strbuf_init(&b, 200);
	conninfo_add(&b, "host", d->host);
	strbuf_addf(&b, "%sport=%u", b.len ? " " : "", d->port);
	conninfo_add(&b, "dbname", d->name);
	conninfo_add(&b, "user", d->user);
	conninfo_add(&b, "password", d->password);
	conninfo_add(&b, "sslmode", d->sslmode);
	conninfo_add(&b, "sslrootcert", d->sslrootcert);
	conninfo_add(&b, "sslcert", d->sslcert);
	conninfo_add(&b, "sslkey", d->sslkey);
	strbuf_addf(&b, " connect_timeout=%u", d->connect_timeout_s);
	text = strbuf_detach(&b);
	strbuf_release(&b);
	return text;
}

struct pg_options conf_pg_options(const struct conf_database *db, const char *conninfo)
{
	return (struct pg_options){ .conninfo = conninfo,
				    .password = db->password,
				    .schema = db->schema,
				    .connect_timeout_ms = db->connect_timeout_s * 1000 };
}
